//! Any bytes as a safetensors file: opening and reading must end without a panic.
//!
//! The length in front is put right for every second input, so that the fuzzer gets to the JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    if let Some((length, rest)) = file.split_first_chunk_mut::<8>()
        && length[7] & 1 == 1
    {
        let header = usize::from(u16::from_le_bytes([length[0], length[1]])) % (rest.len() + 1);
        *length = (header as u64).to_le_bytes();
    }
    argand_weights_fuzz::open_and_read("fuzzed.safetensors", file);
});
