//! The GGUF reader against the writer, and against files that lie.

mod common;

use argand_weights::{Array, Checkpoint, Format, Value};
use common::{RawGguf, RawTensor, array_head, pair, refusal, string};

fn open(raw: &RawGguf) -> Checkpoint {
    Checkpoint::from_bytes("test.gguf", raw.bytes()).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let checkpoint = Checkpoint::from_bytes("tiny.gguf", common::tiny_gguf()).unwrap();
    assert_eq!(checkpoint.format(), Format::Gguf);
    assert_eq!(checkpoint.metadata(), &common::every_type());
    let expected = common::tiny_tensors();
    assert_eq!(checkpoint.tensors().len(), expected.len());
    for (info, (spec, data)) in checkpoint.tensors().zip(&expected) {
        assert_eq!((&info.name, &info.shape, info.codec), (&spec.name, &spec.shape, spec.codec));
        assert_eq!(info.offset() % 32, 0);
        assert_eq!(checkpoint.tensor(&spec.name).unwrap().bytes, data);
    }
}

#[test]
fn version_2_and_dimension_order() {
    let checkpoint = open(&RawGguf { version: 2, ..RawGguf::default() });
    assert_eq!(checkpoint.tensor("w").unwrap().info.shape, [2, 4]);
    assert!(checkpoint.tensor("v").is_none());
    assert!(checkpoint.require("v").unwrap_err().to_string().contains("tensor \"v\": not in this"));
}

#[test]
fn alignment_of_the_file_is_kept() {
    let mut raw = RawGguf::with_pair(pair("general.alignment", 4, &64u32.to_le_bytes()));
    raw.tensors.push(RawTensor::new("v", &[1], 0, 32));
    raw.data = vec![1; 128];
    assert!(refusal(raw.bytes()).contains("tensor \"v\": offset: found 32, expected a multiple of the alignment 64"));
    raw.tensors[1].offset = 64;
    let bytes = raw.bytes();
    // The builder pads to 32, the file says 64.
    let header = bytes.len() - 128;
    let checkpoint = Checkpoint::from_bytes("test.gguf", bytes).unwrap();
    assert_eq!(checkpoint.tensor("w").unwrap().info.offset(), header.next_multiple_of(64));
}

#[test]
fn integer_tensors_are_foreign() {
    let checkpoint = open(&RawGguf::with_tensors(&[RawTensor::new("ids", &[4], 26, 0)]));
    assert_eq!(checkpoint.tensors().len(), 0);
    assert_eq!(checkpoint.foreign_tensors()[0].dtype, "I32");
    assert_eq!(checkpoint.foreign_bytes("ids").unwrap(), [1; 16]);
    assert!(checkpoint.require("ids").unwrap_err().to_string().contains("dtype I32"));
}

#[test]
fn headers_that_lie_are_refused() {
    let base = RawGguf::default;
    let cases = [
        (RawGguf { magic: *b"GGML", ..base() }, "header"),
        (RawGguf { version: 1, ..base() }, "version: GGUF version 1"),
        (RawGguf { version: 4, ..base() }, "version: GGUF version 4"),
        (RawGguf { version: 0, ..base() }, "version: GGUF version 0"),
        (RawGguf { version: 3u32.swap_bytes(), ..base() }, "version: a big-endian file (version 3 byte-swapped)"),
        (
            RawGguf { tensor_count: Some(1 << 63), ..base() },
            "tensor_count: found 9223372036854775808, expected at most",
        ),
        (RawGguf { pair_count: Some(u64::MAX), ..base() }, "metadata_kv_count: found 18446744073709551615"),
        (RawGguf { tensor_count: Some(2), ..base() }, "name of tensor 1"),
        (
            RawGguf { data: vec![0; 31], ..base() },
            "tensor \"w\": data at offset 0: needs 32 bytes, but only 31 are left",
        ),
    ];
    for (raw, expected) in cases {
        let message = refusal(raw.bytes());
        assert!(message.contains(expected), "{message}\nshould contain {expected}");
    }
}

#[test]
fn metadata_that_lies_is_refused() {
    let u64_bytes = |value: u64| value.to_le_bytes().to_vec();
    let deep: Vec<u8> = (0..9).flat_map(|_| array_head(9, 1)).collect();
    let very_deep: Vec<u8> = (0..100_000).flat_map(|_| array_head(9, 1)).collect();
    let long_key = "k".repeat(4000);
    let cases = [
        (pair("general.architecture", 0, &[1]), "metadata key \"general.architecture\": found a second one"),
        (pair("k", 13, &[0; 8]), "metadata key \"k\": found value type 13"),
        (pair("k", 9, &array_head(77, 1)), "metadata key \"k\": found value type 77"),
        (pair("k", 7, &[2]), "metadata key \"k\": found a truth value stored as 2, expected 0 or 1"),
        (pair("k", 8, &u64_bytes(u64::MAX)), "metadata key \"k\": needs 18446744073709551615 bytes"),
        (pair("k", 8, &string(b"a\xff")), "metadata key \"k\": found bytes that are not UTF-8 after 1 bytes"),
        (pair("k", 9, &array_head(8, 1 << 63)), "metadata key \"k\": array length: found 9223372036854775808"),
        (pair("k", 9, &array_head(12, 1 << 62)), "metadata key \"k\": needs 18446744073709551615 bytes"),
        (pair("k", 9, &[array_head(8, 2), string(b"a"), string(b"\xc3")].concat()), "metadata key \"k\": element 1"),
        (pair("k", 9, &deep), "metadata key \"k\": found more, expected at most 8 arrays inside each other"),
        (pair("k", 9, &very_deep), "expected at most 8 arrays inside each other"),
        (pair("", 0, &[1]), "key of metadata pair 1: found \"\""),
        (pair("a\0b", 0, &[1]), "key of metadata pair 1: found \"a\\0b\""),
        (pair(&long_key, 13, &[0; 8]), "(4000 bytes): found value type 13"),
        (pair("general.alignment", 4, &[0; 4]), "metadata key general.alignment: found U32(0)"),
        (pair("general.alignment", 4, &48u32.to_le_bytes()), "found U32(48), expected a power of two"),
        (pair("general.alignment", 4, &(1u32 << 31).to_le_bytes()), "found U32(2147483648)"),
        (pair("general.alignment", 8, &string(b"32")), "metadata key general.alignment: found Str"),
    ];
    for (one, expected) in cases {
        let message = refusal(RawGguf::with_pair(one).bytes());
        assert!(message.contains(expected), "{message}\nshould contain {expected}");
    }
}

#[test]
fn tensors_that_lie_are_refused() {
    let one = |name: &str, dims: &[u64], kind: u32, offset: u64| vec![RawTensor::new(name, dims, kind, offset)];
    let two = |second: RawTensor| vec![RawTensor::new("a", &[4], 0, 0), second];
    let not_text = RawTensor { name: vec![0xff], ..RawTensor::new("", &[1], 0, 0) };
    let cases = [
        (one("w", &[0, 2], 0, 0), "tensor \"w\": dimension 0: found 0, expected from 1"),
        (one("w", &[1 << 63], 0, 0), "tensor \"w\": dimension 0: found 9223372036854775808"),
        (one("w", &[1 << 40, 1 << 40], 0, 0), "tensor \"w\": shape: found [1099511627776, 1099511627776]"),
        (one("w", &[1 << 62, 2, 1, 1], 0, 0), "tensor \"w\": shape"),
        (one("w", &[1; 5], 0, 0), "tensor \"w\": dimension count: found 5, expected at most 4"),
        (one("w", &[33], 8, 0), "tensor \"w\": shape: found [33]"),
        (one("w", &[256], 16, 0), "tensor \"w\": type: ggml type 16 (IQ2_XXS) is not supported"),
        (one("w", &[4], 99, 0), "tensor \"w\": type: ggml type 99 (unknown)"),
        (one("w", &[4], 4, 0), "tensor \"w\": type: ggml type 4 (unknown)"),
        (one("w", &[4], 0, 4), "tensor \"w\": offset: found 4, expected a multiple of the alignment 32"),
        (one("w", &[4], 0, 96), "tensor \"w\": data at offset 96: needs 16 bytes, but only 0 are left"),
        (one("w", &[4], 0, u64::MAX - 31), "tensor \"w\": data at offset 18446744073709551584"),
        (one("", &[4], 0, 0), "name of tensor 0: found \"\""),
        (one("w\0", &[4], 0, 0), "name of tensor 0: found \"w\\0\""),
        (vec![not_text], "name of tensor 0: found bytes that are not UTF-8"),
        (two(RawTensor::new("a", &[4], 0, 32)), "tensor \"a\": found a second one"),
        (two(RawTensor::new("b", &[4], 0, 0)), "tensor \"b\": its data begins at byte"),
    ];
    for (tensors, expected) in cases {
        let message = refusal(RawGguf::with_tensors(&tensors).bytes());
        assert!(message.contains(expected), "{message}\nshould contain {expected}");
    }
}

#[test]
fn arrays_in_arrays_up_to_the_limit() {
    let mut nested: Vec<u8> = (0..7).flat_map(|_| array_head(9, 1)).collect();
    nested.extend([array_head(0, 2), vec![5, 6]].concat());
    let checkpoint = open(&RawGguf::with_pair(pair("k", 9, &nested)));
    let mut array = checkpoint.metadata().get_array("k").unwrap();
    let mut depth = 1;
    while let Array::Array(inner) = array {
        array = &inner[0];
        depth += 1;
    }
    assert_eq!((depth, array), (8, &Array::U8(vec![5, 6])));
}

#[test]
fn every_prefix_is_refused_or_complete() {
    let whole = common::tiny_gguf();
    let full = Checkpoint::from_bytes("whole", whole.clone()).unwrap();
    let end_of_data = full.tensors().map(|info| info.offset() + info.bytes()).max().unwrap();
    for len in 0..end_of_data {
        refusal(whole[..len].to_vec());
    }
    Checkpoint::from_bytes("only padding is missing", whole[..end_of_data].to_vec()).unwrap();
}

#[test]
fn typed_getters_read_what_the_file_holds() {
    let checkpoint = Checkpoint::from_bytes("tiny.gguf", common::tiny_gguf()).unwrap();
    let meta = checkpoint.metadata();
    assert_eq!(meta.get("u8"), Some(&Value::U8(255)));
    assert_eq!(meta.require_str("general.architecture").unwrap(), "tiny");
    assert_eq!(meta.require_strs("strings").unwrap().get(2), Some("ä€"));
    assert_eq!(meta.require_i64s("i32s").unwrap(), [-5, 5]);
    assert_eq!(meta.require_f32s("f32s").unwrap().as_ref(), [0.25, -0.0]);
    assert_eq!(meta.get_u64s("i32s"), None);
    assert_eq!(meta.get_bools("bools"), Some([true, false].as_slice()));
}
