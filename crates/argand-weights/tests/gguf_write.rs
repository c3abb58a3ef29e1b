//! The GGUF writer: split models, replacement, and failures that leave nothing behind.

mod common;

use std::fs;
use std::path::Path;

use argand_codec::Codec;
use argand_weights::gguf::{TensorSpec, Writer};
use argand_weights::{Array, Checkpoint, Error, Metadata, Value};
use common::{every_type, tiny_tensors, write_gguf};

fn spec(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), codec: Codec::F32 }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes `count` parts, each with the tensor `t<no>`.
fn write_split(folder: &Path, count: u16) {
    for no in 0..count {
        let mut meta = if no == 0 { every_type() } else { Metadata::new() };
        meta.set("split.no", Value::U16(no));
        meta.set("split.count", Value::U16(count));
        meta.set("split.tensors.count", Value::I32(count.into()));
        let tensor = (spec(&format!("t{no}"), &[2]), vec![no as u8; 8]);
        let name = format!("m-{:05}-of-{count:05}.gguf", no + 1);
        write_gguf(&folder.join(name), &meta, &[tensor]).unwrap();
    }
}

#[test]
fn any_part_opens_the_whole_split_model() {
    let folder = tempfile::tempdir().unwrap();
    write_split(folder.path(), 3);
    for path in ["", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"] {
        let checkpoint = Checkpoint::open(folder.path().join(path)).unwrap();
        assert_eq!(checkpoint.files().len(), 3);
        assert_eq!(checkpoint.metadata(), &every_type(), "the keys of the split are not the model's");
        for no in 0..3 {
            let view = checkpoint.tensor(&format!("t{no}")).unwrap();
            assert_eq!((view.bytes, view.info.file()), ([no as u8; 8].as_slice(), no));
        }
    }
}

#[test]
fn missing_and_foreign_parts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |no: u32| folder.path().join(format!("m-{no:05}-of-00004.gguf"));
    write_split(folder.path(), 4);
    fs::rename(path(1), path(2)).unwrap();
    fs::remove_file(path(3)).unwrap();
    let Err(Error::MissingParts { missing, count: 4, .. }) = Checkpoint::open(path(4)) else {
        panic!("missing parts are an error of their own");
    };
    assert_eq!(missing, [path(1), path(3)]);
    // Part 1 lies about its place now.
    let message = Checkpoint::open(path(2)).unwrap_err().to_string();
    assert!(
        message.contains("file name: found \"m-00002-of-00004.gguf\", expected a name that ends in -00001"),
        "{message}"
    );
    fs::copy(path(2), path(1)).unwrap();
    fs::copy(path(2), path(3)).unwrap();
    let message = Checkpoint::open(path(1)).unwrap_err().to_string();
    assert!(message.contains("metadata key split.no: found part 0 of 4, expected part 1 of 4"), "{message}");
}

#[test]
fn splits_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m-00001-of-00002.gguf");
    let refuse = |pairs: &[(&str, Value)], expected: &str| {
        let mut meta = Metadata::new();
        for (key, value) in pairs {
            meta.set(*key, value.clone());
        }
        write_gguf(&path, &meta, &[(spec("t", &[1]), vec![0; 4])]).unwrap();
        let message = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let count = |count: u64| ("split.count", Value::U64(count));
    refuse(&[count(u64::MAX)], "metadata key split.count: found \"U64(18446744073709551615)\"");
    refuse(&[count(2)], "metadata key split.no: found nothing, expected an integer from 0 to 1");
    refuse(&[count(2), ("split.no", Value::U8(2))], "metadata key split.no: found \"U8(2)\"");
    refuse(&[("split.count", Value::Str("2".to_owned()))], "metadata key split.count: found \"Str(");
    write_split(folder.path(), 2);
    fs::copy(folder.path().join("m-00002-of-00002.gguf"), folder.path().join("n.gguf")).unwrap();
    let message = Checkpoint::open(folder.path().join("n.gguf")).unwrap_err().to_string();
    assert!(message.contains("n.gguf: file name"), "{message}");
}

#[test]
fn a_model_is_copied_with_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.gguf"), folder.path().join("to.gguf"));
    write_gguf(&from, &every_type(), &tiny_tensors()).unwrap();
    let source = Checkpoint::open(&from).unwrap();
    let mut meta = source.metadata().clone();
    meta.set("general.alignment", Value::U32(256));
    meta.remove("u8");
    let spec = |info: &argand_weights::TensorInfo| TensorSpec {
        name: info.name.clone(),
        shape: info.shape.clone(),
        codec: info.codec,
    };
    let mut writer = Writer::create(&to, &meta, source.tensors().map(spec).collect()).unwrap();
    for info in source.tensors() {
        // In pieces, as a converter does that makes a few rows at a time.
        for piece in source.tensor(&info.name).unwrap().bytes.chunks(10) {
            writer.write(&info.name, piece).unwrap();
        }
    }
    let announced = writer.file_bytes();
    writer.finish().unwrap();
    let copy = Checkpoint::open(&to).unwrap();
    assert_eq!(copy.metadata(), &meta);
    assert_eq!(copy.file_bytes(), announced);
    for info in source.tensors() {
        let view = copy.tensor(&info.name).unwrap();
        assert_eq!(view.bytes, source.tensor(&info.name).unwrap().bytes);
        assert_eq!(view.info.offset() % 256, 0);
    }
}

#[test]
fn nothing_appears_before_the_end_or_after_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, "older").unwrap();
    let specs = || vec![spec("a", &[2]), spec("b", &[1])];

    let mut writer = Writer::create(&path, &Metadata::new(), specs()).unwrap();
    assert_eq!(names_in(folder.path()).len(), 2);
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert!(message(writer.write("b", &[0; 4])).contains("expected data of tensor \"a\" first"));
    assert!(message(writer.write("a", &[0; 9])).contains("found 9 more bytes, expected 8 more, 8 in all"));
    writer.write("a", &[0; 8]).unwrap();
    assert!(message(writer.finish()).contains("tensor \"b\": found 0 bytes, expected 4 before the end"));
    assert_eq!(names_in(folder.path()), ["m.gguf"]);

    drop(Writer::create(&path, &Metadata::new(), specs()).unwrap());
    assert_eq!(names_in(folder.path()), ["m.gguf"]);
    assert_eq!(fs::read(&path).unwrap(), b"older");
}

#[test]
fn what_the_reader_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let refuse = |meta: &Metadata, specs: Vec<TensorSpec>, expected: &str| {
        let message = Writer::create(&path, meta, specs).err().expect("must be refused").to_string();
        assert!(message.contains("m.gguf") && message.contains(expected), "{message}");
    };
    let none = Metadata::new();
    refuse(&none, vec![spec("a", &[1]), spec("a", &[1])], "tensor \"a\": found a second one");
    refuse(&none, vec![spec("", &[1])], "name of a tensor");
    refuse(&none, vec![spec("a", &[0])], "tensor \"a\": shape");
    refuse(&none, vec![spec("a", &[1; 5])], "tensor \"a\": shape");
    refuse(&none, vec![spec("a", &[usize::MAX, 2])], "tensor \"a\": shape");
    refuse(&none, vec![TensorSpec { codec: Codec::Q4K, ..spec("a", &[100]) }], "tensor \"a\": shape");
    let mut meta = Metadata::new();
    meta.set("general.alignment", Value::U32(3));
    refuse(&meta, vec![], "general.alignment");
    let deep = (0..8).fold(Array::U8(vec![1]), |inner, _| Array::Array(vec![inner]));
    let mut meta = Metadata::new();
    meta.set("deep", Value::Array(deep));
    refuse(&meta, vec![], "metadata key \"deep\": found more, expected at most 8 arrays");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    let missing = folder.path().join("no/such/folder/m.gguf");
    assert!(matches!(Writer::create(missing, &none, vec![]), Err(Error::NoFolder { .. })));
}
