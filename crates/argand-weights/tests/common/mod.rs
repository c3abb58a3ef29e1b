//! Tiny checkpoints: valid ones for seeds and mutations, and a GGUF builder that can lie about everything.
#![allow(dead_code)]

pub mod pickle;

use std::path::Path;

use argand_codec::Codec;
use argand_weights::gguf::{TensorSpec, Writer};
use argand_weights::{Array, Checkpoint, Error, Metadata, Value};

/// One value of every type.
pub fn every_type() -> Metadata {
    let mut meta = Metadata::new();
    meta.set("general.architecture", Value::Str("tiny".to_owned()));
    meta.set("u8", Value::U8(u8::MAX));
    meta.set("i8", Value::I8(i8::MIN));
    meta.set("u16", Value::U16(u16::MAX));
    meta.set("i16", Value::I16(i16::MIN));
    meta.set("u32", Value::U32(u32::MAX));
    meta.set("i32", Value::I32(i32::MIN));
    meta.set("u64", Value::U64(u64::MAX));
    meta.set("i64", Value::I64(i64::MIN));
    meta.set("f32", Value::F32(1.5));
    meta.set("f64", Value::F64(-0.1));
    meta.set("bool", Value::Bool(true));
    meta.set("empty", Value::Str(String::new()));
    let arrays = [
        ("u8s", Array::U8(vec![1, 2])),
        ("i8s", Array::I8(vec![-1])),
        ("u16s", Array::U16(vec![3])),
        ("i16s", Array::I16(vec![-3])),
        ("u32s", Array::U32(vec![])),
        ("i32s", Array::I32(vec![-5, 5])),
        ("u64s", Array::U64(vec![7])),
        ("i64s", Array::I64(vec![-7])),
        ("f32s", Array::F32(vec![0.25, -0.0])),
        ("f64s", Array::F64(vec![1e300])),
        ("bools", Array::Bool(vec![true, false])),
        ("strings", Array::Str(["a", "", "ä€"].into_iter().collect())),
        ("nested", Array::Array(vec![Array::U8(vec![1]), Array::Array(vec![Array::Str(["x"].into_iter().collect())])])),
    ];
    for (key, array) in arrays {
        meta.set(key, Value::Array(array));
    }
    meta
}

/// Tensors of several codecs and ranks, with data.
pub fn tiny_tensors() -> Vec<(TensorSpec, Vec<u8>)> {
    let shapes: [(&str, &[usize], Codec); 5] = [
        ("token_embd.weight", &[3, 64], Codec::Q8_0),
        ("norm.weight", &[5], Codec::F32),
        ("ffn.weight", &[2, 256], Codec::Q4K),
        ("conv.weight", &[2, 3, 4], Codec::F16),
        ("scale", &[], Codec::F32),
    ];
    let tensor = |(name, shape, codec): (&str, &[usize], Codec)| {
        let spec = TensorSpec { name: name.to_owned(), shape: shape.to_vec(), codec };
        let columns = shape.last().copied().unwrap_or(1);
        let rows: usize = shape.iter().rev().skip(1).product();
        let size = rows * codec.row_bytes(columns).unwrap();
        (spec, (0..size).map(|at| (at * 7 + name.len()) as u8).collect())
    };
    shapes.into_iter().map(tensor).collect()
}

/// Writes a model with the writer under test.
pub fn write_gguf(path: &Path, meta: &Metadata, tensors: &[(TensorSpec, Vec<u8>)]) -> Result<(), Error> {
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = Writer::create(path, meta, specs)?;
    for (spec, data) in tensors {
        writer.write(&spec.name, data)?;
    }
    writer.finish()
}

/// A valid GGUF file with every value type and several codecs.
pub fn tiny_gguf() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_gguf(&path, &every_type(), &tiny_tensors()).unwrap();
    std::fs::read(path).unwrap()
}

/// A safetensors file with this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A valid safetensors file with a foreign and an empty tensor.
pub fn tiny_safetensors() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},
        "embed.weight":{"dtype":"F16","shape":[4,3],"data_offsets":[0,24]},
        "norm.weight":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},
        "scale":{"dtype":"F32","shape":[],"data_offsets":[32,36]},
        "position_ids":{"dtype":"I64","shape":[1,2],"data_offsets":[36,52]},
        "nothing":{"dtype":"F32","shape":[0,7],"data_offsets":[52,52]}}   "#;
    safetensors(header, &(0..52).collect::<Vec<u8>>())
}

/// Looks at every byte and every description, as a user of the checkpoint would.
pub fn read_everything(checkpoint: &Checkpoint) -> u64 {
    let mut sum = 0;
    for info in checkpoint.tensors() {
        let view = checkpoint.tensor(&info.name).expect("a listed tensor is found");
        assert_eq!(view.bytes.len(), info.bytes());
        assert!(info.elements() > 0);
        checkpoint.will_need(&view);
        sum += view.bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        checkpoint.release(&view.info.name);
    }
    for foreign in checkpoint.foreign_tensors() {
        let bytes = checkpoint.foreign_bytes(&foreign.name).expect("a listed tensor is found");
        sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    for (key, value) in checkpoint.metadata().iter() {
        assert!(checkpoint.metadata().contains(key));
        sum += value.type_name().len() as u64;
    }
    sum
}

/// A GGUF file spelled field by field; defaults are valid, every field can lie.
#[derive(Clone)]
pub struct RawGguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub pair_count: Option<u64>,
    pub pairs: Vec<Vec<u8>>,
    pub tensors: Vec<RawTensor>,
    pub data: Vec<u8>,
}

/// A tensor description; dimensions innermost first, as in the file.
#[derive(Clone)]
pub struct RawTensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub kind: u32,
    pub offset: u64,
}

impl RawTensor {
    pub fn new(name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        Self { name: name.as_bytes().to_vec(), dims: dims.to_vec(), kind, offset }
    }
}

impl Default for RawGguf {
    /// One F32 tensor `w` of shape `[2, 4]`.
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: vec![pair("general.architecture", 8, &string(b"tiny"))],
            tensors: vec![RawTensor::new("w", &[4, 2], 0, 0)],
            data: vec![1; 32],
        }
    }
}

impl RawGguf {
    pub fn with_pair(pair: Vec<u8>) -> Self {
        let mut raw = Self::default();
        raw.pairs.push(pair);
        raw
    }

    pub fn with_tensors(tensors: &[RawTensor]) -> Self {
        Self { tensors: tensors.to_vec(), data: vec![1; 64], ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.concat());
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

/// A string as GGUF spells it.
pub fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// A metadata pair as GGUF spells it.
pub fn pair(key: &str, kind: u32, payload: &[u8]) -> Vec<u8> {
    [&string(key.as_bytes()), kind.to_le_bytes().as_slice(), payload].concat()
}

/// The start of an array as GGUF spells it.
pub fn array_head(kind: u32, count: u64) -> Vec<u8> {
    [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat()
}

/// The error that these bytes give; it names the file.
pub fn refusal(bytes: Vec<u8>) -> String {
    let message = Checkpoint::from_bytes("hostile.bin", bytes).expect_err("must be refused").to_string();
    assert!(message.starts_with("hostile.bin: "), "{message}");
    assert!(message.len() < 1500 && !message.contains(char::is_control), "{message}");
    message
}
