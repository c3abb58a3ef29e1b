//! Any bytes behind the magic of GGUF: opening and reading must end without a panic.
#![no_main]

use argand_weights::gguf::MAGIC;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    file.splice(..file.len().min(MAGIC.len()), MAGIC);
    argand_weights_fuzz::open_and_read("fuzzed.gguf", file);
});
