//! What the safetensors writer writes is read back, and what breaks a rule leaves nothing behind.

mod common;

use std::fs;

use argand_weights::safetensors::{TensorSpec, Writer};
use argand_weights::{Checkpoint, Error};

fn spec(name: &str, dtype: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), dtype: dtype.to_owned() }
}

#[test]
fn files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let specs = [
        spec("nothing", "F32", &[0, 3]),
        spec("w \"quoted\"", "BF16", &[2, 3]),
        spec("ids", "I64", &[2]),
        spec("scale", "F32", &[]),
        spec("last", "BOOL", &[0]),
    ];
    let metadata = [("format".to_owned(), "pt".to_owned())];
    let mut writer = Writer::create(&path, &metadata, &specs).unwrap();
    let bytes = writer.file_bytes();
    // In pieces, to show that they may come so.
    writer.write("w \"quoted\"", &[1, 2, 3, 4, 5]).unwrap();
    writer.write("w \"quoted\"", &[6, 7, 8, 9, 10, 11, 12]).unwrap();
    writer.write("ids", &[7; 16]).unwrap();
    writer.write("scale", &[0, 0, 128, 63]).unwrap();
    assert!(!path.exists(), "a file appears when it is whole");
    writer.finish().unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    assert_eq!(checkpoint.metadata().get_str("format"), Some("pt"));
    let view = checkpoint.require("w \"quoted\"").unwrap();
    assert_eq!((view.bytes, &view.info.shape[..]), (&(1..=12).collect::<Vec<u8>>()[..], &[2, 3][..]));
    assert_eq!(view.info.offset() % 8, 0);
    assert_eq!(checkpoint.foreign_bytes("ids").unwrap(), [7; 16]);
    let foreign: Vec<_> = checkpoint.foreign_tensors().iter().map(|one| (one.name.as_str(), one.dtype)).collect();
    assert_eq!(foreign, [("nothing", "F32"), ("ids", "I64"), ("last", "BOOL")]);
}

#[test]
fn what_breaks_a_rule_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let refuse = |specs: &[TensorSpec], expected: &str| {
        let message = Writer::create(&path, &[], specs).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refuse(&[spec("w", "Q4_K", &[256])], "dtype: \"Q4_K\" is not supported");
    refuse(&[spec("", "F32", &[1])], "name of a tensor");
    refuse(&[spec("__metadata__", "F32", &[1])], "found a second one");
    refuse(&[spec("w", "F32", &[1]), spec("w", "F32", &[1])], "found a second one");
    refuse(&[spec("w", "F32", &[usize::MAX, 2])], "fits in memory");
    refuse(&[spec("w", "F32", &[1; 9])], "found 9 dimensions");
    let two = [spec("a", "F32", &[1]), spec("b", "F32", &[1])];
    let mut writer = Writer::create(&path, &[], &two).unwrap();
    assert!(writer.write("b", &[0; 4]).unwrap_err().to_string().contains("data of a first"));
    assert!(writer.write("a", &[0; 5]).unwrap_err().to_string().contains("found 5 more bytes, expected 4"));
    writer.write("a", &[0; 4]).unwrap();
    assert!(matches!(writer.finish(), Err(Error::Malformed { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
