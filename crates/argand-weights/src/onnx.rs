//! The initialisers of an ONNX model (`onnx/onnx.proto`, IR version 3 and later): its weights, by their names in the file. What
//! the graph computes is not read; a page does that.
//!
//! A file is a tree of protobuf messages. Every length is compared with the bytes that are left before anything is taken, and tensors
//! are used where they lie, as raw bytes or packed floats. Tensors of texts, and of integers that are written one by one, are no
//! weights and are left out; data in files beside the model is refused.

use std::ops::Range;
use std::path::Path;

use crate::Error;
use crate::error::quote;
use crate::metadata::Metadata;
use crate::pytorch::{Contents, dtype};
use crate::source::Source;
use crate::strided::{Copies, Dtype, MAX_DIMS, View};
use crate::tensor::{Place, Tensor, check_name};

/// How the names of such files end: the format has no magic number.
pub(crate) const SUFFIX: &str = ".onnx";

/// Whether a file is one: it is called so, or begins with a field 1 that is a number, as models do, and is no safetensors, whose
/// header begins at its eighth byte.
pub(crate) fn is_onnx(source: &Source) -> bool {
    let bytes = source.bytes();
    source.path().to_string_lossy().ends_with(SUFFIX) || bytes.first() == Some(&0x08) && bytes.get(8) != Some(&b'{')
}

/// Fields that are read, by the messages that they are in.
mod field {
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const GRAPH_INITIALIZER: u64 = 5;
    pub(super) const TENSOR_DIMS: u64 = 1;
    pub(super) const TENSOR_TYPE: u64 = 2;
    pub(super) const TENSOR_FLOATS: u64 = 4;
    pub(super) const TENSOR_NAME: u64 = 8;
    pub(super) const TENSOR_RAW: u64 = 9;
    pub(super) const TENSOR_DOUBLES: u64 = 10;
    pub(super) const TENSOR_LOCATION: u64 = 14;
    /// Integers of 32 bits, texts, integers of 64 bits, and those without a sign, one by one.
    pub(super) const TENSOR_OTHERS: [u64; 4] = [5, 6, 7, 11];
}

/// The element type that a number stands for; none for texts, an error for what nothing here can hold.
fn element(number: u64) -> Result<Option<Dtype>, ()> {
    let name = match number {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => return Ok(None),
        9 => "bool",
        10 => "float16",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        14 => "complex64",
        15 => "complex128",
        16 => "bfloat16",
        17 => "float8_e4m3fn",
        19 => "float8_e5m2",
        _ => return Err(()),
    };
    dtype(name).map(Some).ok_or(())
}

/// What a field of a message holds.
#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    /// A message, a text or a packed row of numbers: bytes of the file.
    Bytes(Range<usize>),
    /// Four or eight bytes.
    Fixed,
}

/// What is left of a message.
struct Message<'b> {
    file: &'b Path,
    bytes: &'b [u8],
    at: usize,
    end: usize,
    /// What errors call it.
    name: &'static str,
}

impl<'b> Message<'b> {
    fn inner(&self, range: Range<usize>, name: &'static str) -> Message<'b> {
        Message { at: range.start, end: range.end, name, ..*self }
    }

    fn wrong(&self, found: impl ToString, expected: &str) -> Error {
        Error::malformed(self.file, format!("{} at byte {}", self.name, self.at), found, expected)
    }

    fn left(&self) -> usize {
        self.end - self.at
    }

    /// The next so many bytes.
    fn take(&mut self, count: u64) -> Result<Range<usize>, Error> {
        let left = self.left();
        match usize::try_from(count).ok().filter(|count| *count <= left) {
            Some(count) => {
                self.at += count;
                Ok(self.at - count..self.at)
            }
            None => Err(Error::Truncated {
                file: self.file.to_path_buf(),
                field: format!("{} at byte {}", self.name, self.at),
                needed: count,
                left: left as u64,
            }),
        }
    }

    /// Seven bits of each byte, the least first, as long as the eighth is set.
    fn number(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let at = self.take(1)?;
            let byte = self.bytes[at.start];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number that does not end", "at most 64 bits"))
    }

    /// The next field and what it holds.
    fn next(&mut self) -> Result<Option<(u64, Value)>, Error> {
        if self.left() == 0 {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            other => return Err(self.wrong(format!("wire type {other}"), "a field of protobuf")),
        };
        match tag >> 3 {
            0 => Err(self.wrong("field 0", "a field of protobuf")),
            field => Ok(Some((field, value))),
        }
    }
}

/// A tensor as its message describes it.
#[derive(Default)]
struct Described {
    name: Range<usize>,
    shape: Vec<usize>,
    kind: u64,
    /// Raw bytes, or packed floats or doubles, which are the same.
    data: Option<Range<usize>>,
    /// The data is written one by one.
    others: bool,
    external: bool,
}

/// Reads a model.
pub(crate) fn read(source: &Source, file_index: usize) -> Result<Contents, Error> {
    let (file, bytes) = (source.path(), source.bytes());
    let mut copies = Copies::of(source);
    let mut tensors = Vec::new();
    let mut model = Message { file, bytes, at: 0, end: bytes.len(), name: "model" };
    let mut graphs = 0;
    while let Some((field, value)) = model.next()? {
        let (field::MODEL_GRAPH, Value::Bytes(range)) = (field, value) else { continue };
        graphs += 1;
        let mut graph = model.inner(range, "graph");
        while let Some((field, value)) = graph.next()? {
            let (field::GRAPH_INITIALIZER, Value::Bytes(range)) = (field, value) else { continue };
            let described = describe(graph.inner(range, "initializer"))?;
            tensors.extend(tensor(source, file_index, &described, &mut copies)?);
        }
    }
    if graphs != 1 {
        return Err(Error::malformed(file, "model", format!("{graphs} graphs"), "a model of ONNX, with one graph"));
    }
    Ok(Contents { metadata: Metadata::new(), tensors, copies: copies.into_chunks() })
}

fn describe(mut message: Message<'_>) -> Result<Described, Error> {
    let mut found = Described::default();
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (field::TENSOR_DIMS, Value::Number(dim)) => add_dim(&message, &mut found.shape, dim)?,
            (field::TENSOR_DIMS, Value::Bytes(range)) => {
                let mut dims = message.inner(range, "dims");
                while dims.left() > 0 {
                    let dim = dims.number()?;
                    add_dim(&dims, &mut found.shape, dim)?;
                }
            }
            (field::TENSOR_TYPE, Value::Number(kind)) => found.kind = kind,
            (field::TENSOR_NAME, Value::Bytes(range)) => found.name = range,
            (field::TENSOR_RAW | field::TENSOR_FLOATS | field::TENSOR_DOUBLES, Value::Bytes(range)) => {
                let twice = found.data.replace(range).is_some();
                if twice {
                    return Err(message.wrong("data in several fields", "raw bytes, or one packed row of numbers"));
                }
            }
            (field::TENSOR_LOCATION, Value::Number(place)) => found.external = place != 0,
            (field, _) if field::TENSOR_OTHERS.contains(&field) => found.others = true,
            (field::TENSOR_FLOATS | field::TENSOR_DOUBLES, _) => {
                return Err(message.wrong("numbers that are not packed", "raw bytes, or one packed row of numbers"));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn add_dim(message: &Message<'_>, shape: &mut Vec<usize>, dim: u64) -> Result<(), Error> {
    // A negative number has its highest bit set.
    let dim = i64::try_from(dim).ok().and_then(|dim| usize::try_from(dim).ok());
    match dim {
        Some(dim) if shape.len() < MAX_DIMS => {
            shape.push(dim);
            Ok(())
        }
        Some(_) => Err(message.wrong("more dimensions", "at most 8")),
        None => Err(message.wrong("a negative dimension", "a size")),
    }
}

/// The tensor, unless it is one that is left out.
fn tensor(
    source: &Source,
    file_index: usize,
    described: &Described,
    copies: &mut Copies,
) -> Result<Option<Tensor>, Error> {
    let file = source.path();
    let name = std::str::from_utf8(&source.bytes()[described.name.clone()])
        .map_err(|_| Error::malformed(file, "name of an initializer", "other bytes", "UTF-8"))?;
    check_name(file, "name of an initializer", name)?;
    let field = format!("initializer {}", quote(name));
    let unsupported = |found: String, advice: &str| Error::Unsupported {
        file: file.to_path_buf(),
        field: field.clone(),
        found,
        advice: advice.to_owned(),
    };
    if described.external {
        return Err(unsupported("data in a file beside".into(), "save the model with its data inside"));
    }
    let element = element(described.kind)
        .map_err(|()| unsupported(format!("element type {}", described.kind), "save it as floats of 32 or 16 bits"))?;
    let Some(dtype) = element else { return Ok(None) };
    let view = View::whole(dtype, described.shape.clone(), false);
    let wrong = |found: String, expected: &str| Error::malformed(file, &*field, found, expected);
    let too_big = || wrong(format!("shape {:?}", described.shape), "a size that fits in memory");
    let view = view.ok_or_else(too_big)?;
    let count = described.shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim)).ok_or_else(too_big)?;
    let data = match &described.data {
        None if described.others => return Ok(None),
        data => data.clone().unwrap_or(0..0),
    };
    if count.checked_mul(dtype.bytes) != Some(data.len()) {
        let found = format!("{} bytes for shape {:?} of {}", data.len(), described.shape, dtype.name);
        return Err(wrong(found, "as many as the shape takes"));
    }
    let placed = copies.place(source, name.to_owned(), view, &Place::mapped(file_index, data));
    placed.map(Some).map_err(|expected| wrong(format!("shape {:?}", described.shape), &expected))
}
