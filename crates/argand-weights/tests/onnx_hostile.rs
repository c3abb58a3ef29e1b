//! Models of ONNX that lie about themselves: each is an error that names the file and the field, and takes no memory for what is not
//! there.

use argand_weights::{Checkpoint, Error};

/// A number of protobuf.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that is a number.
fn plain(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

/// A field that is a message, a text or a packed row.
fn inner(field: u64, bytes: &[u8]) -> Vec<u8> {
    [number(field << 3 | 2), number(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A model with these initialisers.
fn model(initializers: &[Vec<u8>]) -> Vec<u8> {
    let graph: Vec<u8> = initializers.iter().flat_map(|tensor| inner(5, tensor)).collect();
    [plain(1, 8), inner(7, &graph)].concat()
}

/// An initialiser of floats called `w`.
fn floats(shape: &[u64], data: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|dim| plain(1, *dim)).collect();
    [dims, plain(2, 1), inner(8, b"w"), inner(9, data)].concat()
}

fn told(bytes: Vec<u8>) -> String {
    let error: Error = Checkpoint::from_bytes("model.onnx", bytes).expect_err("it lies");
    let text = error.to_string();
    assert!(text.starts_with("model.onnx: "), "{text}");
    text
}

#[test]
fn a_sound_model_opens() {
    let checkpoint = Checkpoint::from_bytes("model.onnx", model(&[floats(&[2, 1], &[1; 8])])).unwrap();
    assert_eq!(checkpoint.require("w").unwrap().info.shape, [2, 1]);
    // A packed shape, and fields that nobody knows, are the same model.
    let packed = [inner(1, &[2, 1]), plain(2, 1), inner(8, b"w"), inner(9, &[1; 8]), inner(99, b"new")].concat();
    assert_eq!(Checkpoint::from_bytes("m", model(&[packed])).unwrap().require("w").unwrap().info.shape, [2, 1]);
}

#[test]
fn lies_are_told() {
    let huge = [number(7 << 3 | 2), number(u64::MAX)].concat();
    let unending = [vec![0x38], vec![0xff; 12]].concat();
    let external = [floats(&[2], &[0; 8]), plain(14, 1)].concat();
    let twice = [floats(&[2], &[0; 8]), inner(4, &[0; 8])].concat();
    let one_by_one = [plain(1, 1), plain(2, 1), inner(8, b"w"), number(4 << 3 | 5), vec![0; 4]].concat();
    let many = [(0..9).flat_map(|_| plain(1, 1)).collect(), plain(2, 1), inner(8, b"w"), inner(9, &[0; 4])].concat();
    let int4 = [plain(1, 2), plain(2, 22), inner(8, b"w"), inner(9, &[0; 1])].concat();
    let cases = [
        ("no graph", plain(1, 8), "found 0 graphs, expected a model of ONNX"),
        ("two graphs", [model(&[]), inner(7, &[])].concat(), "found 2 graphs"),
        ("a length beyond the file", [plain(1, 8), huge].concat(), "needs 18446744073709551615 bytes"),
        ("a number without end", unending, "a number that does not end"),
        ("a group", vec![0x08, 0x08, 0x0b], "wire type 3"),
        ("field 0", vec![0x08, 0x08, 0x00, 0x00], "field 0"),
        ("too few bytes", model(&[floats(&[2, 2], &[0; 12])]), "12 bytes for shape [2, 2] of F32"),
        ("too many bytes", model(&[floats(&[2], &[0; 12])]), "12 bytes for shape [2] of F32"),
        ("a size beyond memory", model(&[floats(&[1 << 62, 1 << 62], &[0; 8])]), "a size that fits in memory"),
        ("no size, but a great one", model(&[floats(&[1 << 62, 8, 0], &[])]), ""),
        ("a negative size", model(&[floats(&[u64::MAX], &[0; 8])]), "a negative dimension"),
        ("many dimensions", model(&[many]), "at most 8"),
        ("data beside", model(&[external]), "data in a file beside"),
        ("data twice", model(&[twice]), "data in several fields"),
        ("numbers one by one", model(&[one_by_one]), "numbers that are not packed"),
        ("an unknown type", model(&[int4]), "element type 22"),
        ("no name", model(&[[plain(1, 1), plain(2, 1), inner(9, &[0; 4])].concat()]), "a name that is not empty"),
        ("a name of other bytes", model(&[[plain(2, 1), inner(8, &[0xff])].concat()]), "expected UTF-8"),
        ("two of a name", model(&[floats(&[1], &[0; 4]), floats(&[1], &[0; 4])]), "a second one"),
        ("no data", model(&[[plain(1, 3), plain(2, 1), inner(8, b"w")].concat()]), "0 bytes for shape [3]"),
    ];
    for (what, bytes, expected) in cases {
        let error = told(bytes);
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn every_beginning_of_a_model_is_refused_or_read() {
    let whole = model(&[floats(&[2, 1], &[1; 8])]);
    for len in 0..whole.len() {
        if let Ok(checkpoint) = Checkpoint::from_bytes("model.onnx", whole[..len].to_vec()) {
            panic!("{len} of {} bytes opened: {checkpoint:?}", whole.len());
        }
    }
}
