//! Decoding and encoding against files that `parity/codec_golden.py` made with the reference implementations.

use std::{fs, path::PathBuf};

use argand_codec::Codec;

fn golden(file: String) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&file);
    fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / 4];
    Codec::F32.decode(bytes, &mut values).unwrap();
    values
}

fn decoded(codec: Codec, blocks: &[u8]) -> Vec<f32> {
    let mut values = vec![f32::NAN; blocks.len() / codec.block_bytes() * codec.block_len()];
    codec.decode(blocks, &mut values).unwrap();
    values
}

fn encoded(codec: Codec, values: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0xA5; codec.row_bytes(values.len()).unwrap()];
    codec.encode(values, &mut blocks).unwrap();
    blocks
}

#[test]
fn decode_is_bit_exact() {
    for &codec in Codec::ALL.iter().filter(|&&codec| codec != Codec::F32) {
        let expected = floats(&golden(format!("decode/{codec}.f32")));
        let found = decoded(codec, &golden(format!("decode/{codec}.blocks")));
        assert_eq!(found.len(), expected.len(), "{codec}");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.to_bits(), expected.to_bits(), "{codec}[{i}]: {found} not {expected}");
        }
    }
}

#[test]
fn encode_is_bit_exact_where_extremes_decide() {
    use Codec::*;
    let values = floats(&golden("encode/input.f32".into()));
    for codec in [F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1] {
        let expected = golden(format!("encode/{codec}.blocks"));
        let found = encoded(codec, &values);
        let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{codec}: differing bytes of {}", expected.len());
    }
}

/// Where a factor rounds to zero the levels do not matter, and ggml leaves others there; so values are compared, not bytes.
#[test]
fn encode_finds_the_values_of_ggml_where_a_search_decides() {
    let values = floats(&golden("encode/input.f32".into()));
    for codec in [Codec::Q4K, Codec::Q5K, Codec::Q6K] {
        let expected = decoded(codec, &golden(format!("encode/{codec}.blocks")));
        let found = decoded(codec, &encoded(codec, &values));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "{codec}[{i}] of {}", values[i]);
        }
    }
}
