//! Any bytes as a model of ONNX: opening and reading must end without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    argand_weights_fuzz::open_and_read("fuzzed.onnx", bytes.to_vec());
});
