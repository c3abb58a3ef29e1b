//! The GGUF writer: header first, then tensor data as it is made, so that a model larger than memory can be written.

use std::collections::HashSet;
use std::path::Path;

use argand_codec::Codec;

use super::read::value_type as t;
use super::{ALIGNMENT_KEY, ALIGNMENT_RULE, MAGIC, MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_DIMS, VERSION, alignment};
use crate::Error;
use crate::error::quote;
use crate::metadata::{Array, Metadata, Value};
use crate::output::Output;
use crate::tensor::{Element, check_name};

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique in the file.
    pub name: String,
    /// Dimensions, outermost first; at most four, none zero.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub codec: Codec,
}

/// Writes one GGUF file, version 3.
///
/// Nothing appears under the final name before [`finish`](Self::finish): data goes to a temporary file in the same
/// folder, which is removed when anything fails or the writer is dropped.
pub struct Writer {
    output: Output,
    tensors: Vec<(TensorSpec, usize)>,
    alignment: usize,
    /// The tensor that is being written, and how many of its bytes are there.
    current: usize,
    filled: usize,
}

impl Writer {
    /// Begins the file `path` and writes its header. The alignment is that of `metadata`, see
    /// [`ALIGNMENT_KEY`].
    ///
    /// # Errors
    /// A tensor or the alignment breaks a rule of the format, or the folder cannot be written.
    pub fn create(path: impl AsRef<Path>, metadata: &Metadata, tensors: Vec<TensorSpec>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let alignment = alignment(metadata)
            .map_err(|found| Error::malformed(&path, format!("metadata key {ALIGNMENT_KEY}"), found, ALIGNMENT_RULE))?;
        let tensors = check_specs(&path, tensors)?;
        let (header, total) = header(&path, metadata, &tensors, alignment)?;
        let mut output = Output::create(&path, total)?;
        output.put(&header)?;
        Ok(Self { output, tensors, alignment, current: 0, filled: 0 })
    }

    /// Size in bytes that the finished file will have.
    pub fn file_bytes(&self) -> u64 {
        self.output.total()
    }

    /// Appends data of the tensor `name`, all of it or the next piece. Tensors come in the order in which they were
    /// given to [`create`](Self::create).
    ///
    /// # Errors
    /// It is another tensor's turn, the tensor gets more bytes than it has, or the disk refuses.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let wrong = |found: String, expected: String| {
            Err(Error::malformed(self.output.path(), format!("tensor {}", quote(name)), found, expected))
        };
        let Some((spec, size)) = self.tensors.get(self.current) else {
            return wrong("another tensor".to_owned(), "no more tensors".to_owned());
        };
        if spec.name != name {
            return wrong("its data".to_owned(), format!("data of tensor {} first", quote(&spec.name)));
        }
        let (left, size) = (size - self.filled, *size);
        if bytes.len() > left {
            return wrong(format!("{} more bytes", bytes.len()), format!("{left} more, {size} in all"));
        }
        self.output.put(bytes)?;
        self.filled += bytes.len();
        if self.filled == size {
            self.output.put(&vec![0; padding(size, self.alignment)])?;
            self.current += 1;
            self.filled = 0;
        }
        Ok(())
    }

    /// Makes the file durable and gives it its name, replacing an older file of that name.
    ///
    /// # Errors
    /// A tensor is not complete, or the disk refuses; then nothing is left behind.
    pub fn finish(self) -> Result<(), Error> {
        if let Some((spec, size)) = self.tensors.get(self.current) {
            let field = format!("tensor {}", quote(&spec.name));
            let found = format!("{} bytes", self.filled);
            return Err(Error::malformed(self.output.path(), field, found, format!("{size} before the end")));
        }
        self.output.finish()
    }
}

/// Checks each tensor and computes its size in bytes.
fn check_specs(path: &Path, tensors: Vec<TensorSpec>) -> Result<Vec<(TensorSpec, usize)>, Error> {
    let mut names = HashSet::new();
    for spec in &tensors {
        check_name(path, "name of a tensor", &spec.name)?;
        if !names.insert(spec.name.as_str()) {
            let field = format!("tensor {}", quote(&spec.name));
            return Err(Error::Duplicate { file: path.to_path_buf(), field });
        }
    }
    let sized = tensors.into_iter().map(|spec| {
        let bad = |expected: String| {
            let field = format!("tensor {}: shape", quote(&spec.name));
            Error::malformed(path, field, format!("{:?}", spec.shape), expected)
        };
        if spec.shape.len() > MAX_DIMS || spec.shape.contains(&0) {
            return Err(bad(format!("at most {MAX_DIMS} dimensions, none zero")));
        }
        let size = Element::Coded(spec.codec).size_of(&spec.shape).map_err(bad)?;
        Ok((spec, size))
    });
    sized.collect()
}

/// Bytes up to the next multiple of the alignment.
fn padding(len: usize, alignment: usize) -> usize {
    debug_assert!(alignment <= MAX_ALIGNMENT);
    len.wrapping_neg() % alignment
}

/// The header with its padding, and the size of the whole file.
fn header(
    path: &Path,
    metadata: &Metadata,
    tensors: &[(TensorSpec, usize)],
    alignment: usize,
) -> Result<(Vec<u8>, u64), Error> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (at, (key, value)) in metadata.iter().enumerate() {
        check_name(path, &format!("key of metadata pair {at}"), key)?;
        if let Value::Array(array) = value
            && depth(array) > MAX_ARRAY_DEPTH
        {
            let field = format!("metadata key {}", quote(key));
            let expected = format!("at most {MAX_ARRAY_DEPTH} arrays inside each other");
            return Err(Error::malformed(path, field, "more", expected));
        }
        put_str(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for (spec, size) in tensors {
        put_str(&mut out, &spec.name);
        out.extend((spec.shape.len() as u32).to_le_bytes());
        for &dim in spec.shape.iter().rev() {
            out.extend((dim as u64).to_le_bytes());
        }
        out.extend(spec.codec.ggml_type().to_le_bytes());
        out.extend(offset.to_le_bytes());
        let padded = *size as u64 + padding(*size, alignment) as u64;
        offset = offset.checked_add(padded).ok_or_else(|| {
            let field = format!("tensor {}", quote(&spec.name));
            Error::malformed(path, field, "tensors of more than 2^64 bytes", "a file that can exist")
        })?;
    }
    out.resize(out.len() + padding(out.len(), alignment), 0);
    let total = offset.saturating_add(out.len() as u64);
    Ok((out, total))
}

fn depth(array: &Array) -> usize {
    match array {
        Array::Array(inner) => 1 + inner.iter().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! scalar {
        ($kind:expr, $bytes:expr) => {{
            out.extend($kind.to_le_bytes());
            out.extend($bytes);
        }};
    }
    match value {
        Value::U8(v) => scalar!(t::U8, v.to_le_bytes()),
        Value::I8(v) => scalar!(t::I8, v.to_le_bytes()),
        Value::U16(v) => scalar!(t::U16, v.to_le_bytes()),
        Value::I16(v) => scalar!(t::I16, v.to_le_bytes()),
        Value::U32(v) => scalar!(t::U32, v.to_le_bytes()),
        Value::I32(v) => scalar!(t::I32, v.to_le_bytes()),
        Value::F32(v) => scalar!(t::F32, v.to_le_bytes()),
        Value::Bool(v) => scalar!(t::BOOL, [u8::from(*v)]),
        Value::U64(v) => scalar!(t::U64, v.to_le_bytes()),
        Value::I64(v) => scalar!(t::I64, v.to_le_bytes()),
        Value::F64(v) => scalar!(t::F64, v.to_le_bytes()),
        Value::Str(text) => {
            out.extend(t::STRING.to_le_bytes());
            put_str(out, text);
        }
        Value::Array(array) => {
            out.extend(t::ARRAY.to_le_bytes());
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut head = |kind: u32| {
        out.extend(kind.to_le_bytes());
        out.extend((array.len() as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($kind:expr, $values:expr) => {{
            head($kind);
            $values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(v) => numbers!(t::U8, v),
        Array::I8(v) => numbers!(t::I8, v),
        Array::U16(v) => numbers!(t::U16, v),
        Array::I16(v) => numbers!(t::I16, v),
        Array::U32(v) => numbers!(t::U32, v),
        Array::I32(v) => numbers!(t::I32, v),
        Array::F32(v) => numbers!(t::F32, v),
        Array::U64(v) => numbers!(t::U64, v),
        Array::I64(v) => numbers!(t::I64, v),
        Array::F64(v) => numbers!(t::F64, v),
        Array::Bool(v) => {
            head(t::BOOL);
            out.extend(v.iter().map(|&truth| u8::from(truth)));
        }
        Array::Str(strings) => {
            head(t::STRING);
            strings.iter().for_each(|text| put_str(out, text));
        }
        Array::Array(arrays) => {
            head(t::ARRAY);
            arrays.iter().for_each(|inner| put_array(out, inner));
        }
    }
}
