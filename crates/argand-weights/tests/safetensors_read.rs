//! safetensors files, shards and folders, valid and hostile.

mod common;

use std::fs;
use std::path::Path;

use argand_weights::{Checkpoint, Error, Format};
use common::{refusal, safetensors, tiny_safetensors};

#[test]
fn a_file_is_read_with_its_foreign_tensors() {
    let checkpoint = Checkpoint::from_bytes("m.safetensors", tiny_safetensors()).unwrap();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(checkpoint.metadata().get_str("format"), Some("pt"));
    let names: Vec<&str> = checkpoint.tensors().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["embed.weight", "norm.weight", "scale"]);
    assert_eq!(checkpoint.tensor("norm.weight").unwrap().bytes, (24..32).collect::<Vec<u8>>());
    assert!(checkpoint.tensor("scale").unwrap().info.shape.is_empty());
    let foreign: Vec<_> =
        checkpoint.foreign_tensors().iter().map(|one| (one.name.as_str(), one.dtype, one.shape.as_slice())).collect();
    assert_eq!(foreign, [("position_ids", "I64", [1, 2].as_slice()), ("nothing", "F32", &[0, 7])]);
    assert_eq!(checkpoint.foreign_bytes("position_ids").unwrap().len(), 16);
    let message = checkpoint.require("nothing").unwrap_err().to_string();
    assert!(message.contains("dtype F32 of shape [0, 7] as a weight"), "{message}");
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |body: &str| format!(r#"{{"w":{{{body}}}}}"#);
    let f32 =
        |shape: &str, offsets: &str| tensor(&format!(r#""dtype":"F32","shape":{shape},"data_offsets":{offsets}"#));
    let cases = [
        (f32("[2,2]", "[0,12]"), "tensor \"w\": data_offsets: found [0, 12], expected 16 bytes apart"),
        (f32("[2]", "[16,8]"), "tensor \"w\": data_offsets: found [16, 8]"),
        (f32("[4]", "[8,24]"), "tensor \"w\": data_offsets: needs 24 bytes, but only 16 are left"),
        (f32("[4]", "[18446744073709551608,8]"), "tensor \"w\": data_offsets"),
        (f32("[2]", "[0,8]"), "tensor data: found bytes 70 to 78 of the file in no tensor"),
        (f32("[2]", "[8,16]"), "tensor data: found bytes"),
        (f32("[4611686018427387904,2]", "[0,16]"), "tensor \"w\": shape"),
        (f32("[4294967296,4294967296]", "[0,16]"), "tensor \"w\": shape"),
        (f32("[-1]", "[0,16]"), "name \\\"w\\\": invalid value"),
        (f32("[1e9]", "[0,16]"), "name \\\"w\\\""),
        (f32("[4]", "[0]"), "name \\\"w\\\""),
        (f32("[1,1,1,1,1,1,1,1,4]", "[0,16]"), "tensor \"w\": shape: found [1, 1, 1, 1, 1, 1, 1, 1, 4]"),
        (tensor(r#""dtype":"Q9","shape":[4],"data_offsets":[0,16]"#), "tensor \"w\": dtype: \"Q9\" is not supported"),
        (tensor(r#""dtype":"F4","shape":[3],"data_offsets":[0,16]"#), "expected a whole number of bytes"),
        (tensor(r#""dtype":"F32","shape":[4]"#), "missing field"),
        (tensor(r#""dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1"#), "unknown field"),
        (tensor(r#""dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]"#), "duplicate field"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), "name \\\"__metadata__\\\""),
        (r#"{"__metadata__":{"a":"1","a":"2"}}"#.to_owned(), "found a second time"),
        (r#"{"":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#.to_owned(), "name of a tensor"),
        (r#"{"a\u0000":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#.to_owned(), "name of a tensor"),
        ("[]".to_owned(), "header: found"),
        ("{".to_owned(), "header: found"),
        ("[".repeat(100_000), "header: found"),
        (r#"{"w":"#.repeat(100_000), "header: found"),
    ];
    for (header, expected) in cases {
        let message = refusal(safetensors(&header, &[0; 16]));
        // serde's message is shown as it is, our own names are quoted.
        let found = message.contains(expected) || message.contains(&expected.replace("\\\"", "\""));
        assert!(found, "{message}\nshould contain {expected}");
    }
}

#[test]
fn shared_bytes_and_repeated_names_are_refused() {
    let two = |first: &str, second: &str, offsets: &str| {
        let header = format!(
            r#"{{"{first}":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}},
               "{second}":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}}}"#
        );
        refusal(safetensors(&header, &[0; 16]))
    };
    assert!(two("a", "b", "[8,16]").contains("tensor \"b\": its data begins at byte"));
    assert!(two("a", "a", "[8,16]").contains("name \"a\": found a second time"));
}

#[test]
fn lengths_that_lie_are_refused() {
    let length = |length: u64| [length.to_le_bytes().as_slice(), b"{}"].concat();
    assert!(
        refusal(length(u64::MAX)).contains("header length: found 18446744073709551615, expected at most 100000000")
    );
    assert!(refusal(length(100_000_001)).contains("header length"));
    assert!(refusal(length(3)).contains("header: needs 3 bytes, but only 2 are left"));
    assert!(refusal(vec![]).contains("header length: needs 8 bytes, but only 0 are left"));
    let not_text = [2u64.to_le_bytes().as_slice(), b"\xff\xfe"].concat();
    assert!(refusal(not_text).contains("header: found"));
}

fn shard(name: &str, value: u8) -> Vec<u8> {
    safetensors(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#), &[value; 4])
}

/// A folder of two shards, each with one tensor.
fn sharded(folder: &Path) {
    fs::write(folder.join("model-00001-of-00002.safetensors"), shard("a", 1)).unwrap();
    fs::write(folder.join("model-00002-of-00002.safetensors"), shard("b", 2)).unwrap();
    write_index(folder, r#"{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}"#);
    fs::write(folder.join("config.json"), r#"{"model_type":"tiny"}"#).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
}

fn write_index(folder: &Path, map: &str) {
    let index = format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{map}}}"#);
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
}

#[test]
fn any_path_opens_all_shards() {
    let folder = tempfile::tempdir().unwrap();
    sharded(folder.path());
    let paths =
        ["", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for path in paths {
        let checkpoint = Checkpoint::open(folder.path().join(path)).unwrap();
        assert_eq!(checkpoint.files().len(), 2, "{path}");
        assert_eq!(checkpoint.tensor("b").unwrap().bytes, [2; 4]);
        assert_eq!(checkpoint.tensor("b").unwrap().info.file(), 1);
        assert_eq!(checkpoint.config().unwrap()["model_type"], "tiny");
        assert_eq!(checkpoint.sidecar("tokenizer.json").unwrap().unwrap(), b"{}");
        assert_eq!(checkpoint.sidecar("generation_config.json").unwrap(), None);
    }
}

#[test]
fn missing_shards_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    sharded(folder.path());
    for no in 1..=2 {
        fs::remove_file(folder.path().join(format!("model-0000{no}-of-00002.safetensors"))).unwrap();
    }
    let Err(Error::MissingParts { count, missing, file }) = Checkpoint::open(folder.path()) else {
        panic!("missing parts are an error of their own");
    };
    assert_eq!((count, missing.len()), (2, 2));
    assert!(file.ends_with("model.safetensors.index.json"));
}

#[test]
fn an_index_that_contradicts_its_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    sharded(folder.path());
    let refuse = |map: &str, expected: &str| {
        write_index(folder.path(), map);
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    refuse(&format!(r#"{{"a":"{two}","b":"{one}"}}"#), "weight_map: tensor \"a\": found the tensor in model-00001");
    refuse(
        &format!(r#"{{"a":"{one}","b":"{two}","c":"{two}"}}"#),
        "tensor \"c\": found the tensor in none of the shards",
    );
    refuse(r#"{"a":"../secret.safetensors"}"#, "weight_map: tensor \"a\": found \"../secret.safetensors\"");
    fs::write(folder.path().join(two), shard("a", 2)).unwrap();
    refuse(&format!(r#"{{"a":"{one}","b":"{two}"}}"#), "tensor \"b\": found the tensor in none");
    fs::write(folder.path().join("model-00003.safetensors"), shard("a", 3)).unwrap();
    refuse(&format!(r#"{{"a":"{one}","z":"model-00003.safetensors"}}"#), "tensor \"z\"");
}

#[test]
fn sidecars_stay_in_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    fs::create_dir(&folder).unwrap();
    sharded(&folder);
    fs::create_dir(folder.join("1_Pooling")).unwrap();
    fs::write(folder.join("1_Pooling/config.json"), "{\"a\": 1}").unwrap();
    fs::write(outer.path().join("secret"), "x").unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.sidecar_json("1_Pooling/config.json").unwrap().unwrap()["a"], 1);
    for name in ["../secret", "/etc/passwd", "1_Pooling/../../secret", "", "a\0b", r"..\secret", "."] {
        let message = checkpoint.sidecar(name).unwrap_err().to_string();
        assert!(message.contains("stays inside the model's folder"), "{message}");
    }
}

#[test]
fn a_config_that_is_not_json_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), shard("a", 1)).unwrap();
    assert!(Checkpoint::open(folder.path()).unwrap().config().is_none());
    fs::write(folder.path().join("config.json"), "{").unwrap();
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("config.json: JSON: found EOF"), "{message}");
}

#[test]
fn folders_and_files_without_a_model_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refuse = |path: &Path, expected: &str| {
        let message = Checkpoint::open(path).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refuse(path, "a folder without a model");
    refuse(&path.join("nothing"), "cannot open");
    fs::write(path.join("args.bin"), b"\x80\x04.").unwrap();
    refuse(&path.join("args.bin"), "a plain pickle, which torch.save did not write");
    fs::write(path.join("args.bin"), "PK").unwrap();
    refuse(&path.join("args.bin"), "a file of another format");
    fs::write(path.join("empty.gguf"), "").unwrap();
    refuse(&path.join("empty.gguf"), "empty.gguf: magic: needs 4 bytes, but only 0 are left");
    fs::write(path.join("wrong.gguf"), "ggml etc").unwrap();
    refuse(&path.join("wrong.gguf"), "wrong.gguf: magic: found the bytes [67, 67, 6d, 6c], expected \"GGUF\"");
    refuse(path, "a folder of 2 models, empty.gguf and wrong.gguf among them");
    fs::write(path.join("empty"), "").unwrap();
    refuse(&path.join("empty"), "an empty file, or not a file");
}
