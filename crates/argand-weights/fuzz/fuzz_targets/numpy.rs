//! Any bytes as an array of NumPy, alone or in an archive: opening and reading must end without a panic.
#![no_main]

#[path = "../../tests/common/pickle.rs"]
mod pickle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let file = match choice % 2 {
        0 => rest.to_vec(),
        _ => pickle::zip(&[pickle::Member::new("a.npy", rest)]),
    };
    argand_weights_fuzz::open_and_read("fuzzed.npy", file);
});
