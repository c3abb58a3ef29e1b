//! Any bytes as a file of torch: opening and reading must end without a panic.
//!
//! The first byte chooses: the bytes are a whole file, the pickle of an archive, or the pickle of a legacy file, so that the
//! fuzzer gets past sums and offsets.
#![no_main]

#[path = "../../tests/common/pickle.rs"]
mod pickle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let file = match choice % 3 {
        0 => rest.to_vec(),
        1 => pickle::torch(rest, &pickle::FLOATS),
        _ => pickle::legacy(rest, &["0"], &[&4u64.to_le_bytes()[..], &pickle::FLOATS].concat()),
    };
    argand_weights_fuzz::open_and_read("fuzzed.pt", file);
});
