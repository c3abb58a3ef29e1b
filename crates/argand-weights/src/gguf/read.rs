//! The GGUF reader: from the bytes of one file to its metadata and tensor descriptions.

use std::collections::HashSet;
use std::path::Path;

use argand_codec::Codec;

use super::cursor::Cursor;
use super::{ALIGNMENT_KEY, ALIGNMENT_RULE, MAGIC, MAX_ARRAY_DEPTH, MAX_DIMS, VERSION, alignment};
use crate::error::quote;
use crate::metadata::{Array, Metadata, StrArray, Value};
use crate::tensor::{Element, Place, Tensor, check_name, check_overlap};
use crate::{Error, source::Source};

/// A description of a tensor takes at least: name length, one byte of name, dimension count, type, offset.
const SMALLEST_TENSOR: usize = 8 + 1 + 4 + 4 + 8;
/// A pair takes at least: key length, one byte of key, type, one byte of value.
const SMALLEST_PAIR: usize = 8 + 1 + 4 + 1;

/// Reads the header of one file. `file_index` is put into the place of each tensor.
pub(crate) fn read(source: &Source, file_index: usize) -> Result<(Metadata, Vec<Tensor>), Error> {
    let (file, bytes) = (source.path(), source.bytes());
    let mut cursor = Cursor::new(file, bytes);
    check_magic_and_version(&mut cursor)?;
    let tensor_count = cursor.count(SMALLEST_TENSOR, || "tensor_count".to_owned())?;
    let pair_count = cursor.count(SMALLEST_PAIR, || "metadata_kv_count".to_owned())?;

    let metadata = read_metadata(&mut cursor, pair_count)?;
    let alignment = alignment(&metadata)
        .map_err(|found| Error::malformed(file, format!("metadata key {ALIGNMENT_KEY}"), found, ALIGNMENT_RULE))?;
    let described = read_descriptions(&mut cursor, tensor_count)?;
    let data_start = cursor.position().next_multiple_of(alignment).min(bytes.len());
    let data = DataSection { file, alignment, start: data_start, len: bytes.len() - data_start };
    let tensors = described.into_iter().map(|one| data.place(one, file_index)).collect::<Result<Vec<_>, _>>()?;
    check_overlap(file, &tensors)?;
    Ok((metadata, tensors))
}

fn check_magic_and_version(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    let file = cursor.file();
    let magic = cursor.take(4, || "magic".to_owned())?;
    if magic != MAGIC {
        let found = format!("the bytes {magic:02x?}");
        return Err(Error::malformed(file, "magic", found, "\"GGUF\""));
    }
    let version = cursor.u32(|| "version".to_owned())?;
    let unsupported = |found: String, advice: &str| Error::Unsupported {
        file: file.to_path_buf(),
        field: "version".to_owned(),
        found,
        advice: advice.to_owned(),
    };
    match version {
        2 | VERSION => Ok(()),
        1 => Err(unsupported("GGUF version 1".to_owned(), "convert the original model again")),
        // Every version so far fits in 16 bits, so a number with those empty was written byte-swapped.
        _ if version != 0 && version & 0xffff == 0 => Err(unsupported(
            format!("a big-endian file (version {} byte-swapped)", version.swap_bytes()),
            "use the little-endian file of this model",
        )),
        _ => Err(unsupported(format!("GGUF version {version}"), "this program reads versions 2 and 3")),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Metadata, Error> {
    let mut metadata = Metadata::new();
    for at in 0..count {
        let key = cursor.string(|| format!("key of metadata pair {at}"))?;
        check_name(cursor.file(), &format!("key of metadata pair {at}"), key)?;
        let field = || format!("metadata key {}", quote(key));
        if metadata.contains(key) {
            return Err(Error::Duplicate { file: cursor.file().to_path_buf(), field: field() });
        }
        let value = read_value(cursor, &field)?;
        metadata.set(key, value);
    }
    Ok(metadata)
}

/// Numbers of the value types in a file.
pub(super) mod value_type {
    pub(in crate::gguf) const U8: u32 = 0;
    pub(in crate::gguf) const I8: u32 = 1;
    pub(in crate::gguf) const U16: u32 = 2;
    pub(in crate::gguf) const I16: u32 = 3;
    pub(in crate::gguf) const U32: u32 = 4;
    pub(in crate::gguf) const I32: u32 = 5;
    pub(in crate::gguf) const F32: u32 = 6;
    pub(in crate::gguf) const BOOL: u32 = 7;
    pub(in crate::gguf) const STRING: u32 = 8;
    pub(in crate::gguf) const ARRAY: u32 = 9;
    pub(in crate::gguf) const U64: u32 = 10;
    pub(in crate::gguf) const I64: u32 = 11;
    pub(in crate::gguf) const F64: u32 = 12;
}
use value_type as t;

fn read_value(cursor: &mut Cursor<'_>, field: &dyn Fn() -> String) -> Result<Value, Error> {
    let kind = cursor.u32(|| format!("{}: value type", field()))?;
    match kind {
        t::STRING => cursor.string(field).map(|text| Value::Str(text.to_owned())),
        t::ARRAY => read_array(cursor, field, 1).map(Value::Array),
        // A scalar is read as an array of one, so that each type is decoded in one place.
        _ => Ok(match read_elements(cursor, field, kind, 1)? {
            Array::U8(v) => Value::U8(v[0]),
            Array::I8(v) => Value::I8(v[0]),
            Array::U16(v) => Value::U16(v[0]),
            Array::I16(v) => Value::I16(v[0]),
            Array::U32(v) => Value::U32(v[0]),
            Array::I32(v) => Value::I32(v[0]),
            Array::F32(v) => Value::F32(v[0]),
            Array::Bool(v) => Value::Bool(v[0]),
            Array::U64(v) => Value::U64(v[0]),
            Array::I64(v) => Value::I64(v[0]),
            Array::F64(v) => Value::F64(v[0]),
            array @ (Array::Str(_) | Array::Array(_)) => Value::Array(array),
        }),
    }
}

fn read_array(cursor: &mut Cursor<'_>, field: &dyn Fn() -> String, depth: usize) -> Result<Array, Error> {
    if depth > MAX_ARRAY_DEPTH {
        let expected = format!("at most {MAX_ARRAY_DEPTH} arrays inside each other");
        return Err(Error::malformed(cursor.file(), field(), "more", expected));
    }
    let kind = cursor.u32(|| format!("{}: element type", field()))?;
    let count_field = || format!("{}: array length", field());
    match kind {
        t::STRING => {
            let count = cursor.count(8, count_field)?;
            read_strings(cursor, field, count).map(Array::Str)
        }
        t::ARRAY => {
            // An inner array takes at least its type and its length.
            let count = cursor.count(4 + 8, count_field)?;
            let inner = (0..count).map(|_| read_array(cursor, field, depth + 1));
            inner.collect::<Result<_, _>>().map(Array::Array)
        }
        _ => {
            let count = cursor.u64(count_field)?;
            read_elements(cursor, field, kind, count)
        }
    }
}

/// Reads strings end to end and checks their encoding at once, which is several times faster than one by one.
fn read_strings(cursor: &mut Cursor<'_>, field: &dyn Fn() -> String, count: usize) -> Result<StrArray, Error> {
    // Words of a vocabulary take about 8 bytes; `count` is bounded by an eighth of the header.
    let mut text = Vec::with_capacity(8 * count);
    let mut ends = Vec::with_capacity(count);
    for at in 0..count {
        text.extend_from_slice(cursor.string_bytes(|| format!("{}: element {at}", field()))?);
        ends.push(text.len());
    }
    StrArray::from_utf8(text, ends).map_err(|at| {
        let field = format!("{}: element {at}", field());
        Error::malformed(cursor.file(), field, "bytes that are not UTF-8", "UTF-8 text")
    })
}

/// Decodes `count` numbers or truth values of one type.
fn read_elements(cursor: &mut Cursor<'_>, field: &dyn Fn() -> String, kind: u32, count: u64) -> Result<Array, Error> {
    macro_rules! numbers {
        ($type:ty) => {{
            const SIZE: usize = size_of::<$type>();
            let bytes = cursor.take(count.saturating_mul(SIZE as u64), field)?;
            let (chunks, _) = bytes.as_chunks::<SIZE>();
            chunks.iter().map(|&chunk| <$type>::from_le_bytes(chunk)).collect()
        }};
    }
    Ok(match kind {
        t::U8 => Array::U8(numbers!(u8)),
        t::I8 => Array::I8(numbers!(i8)),
        t::U16 => Array::U16(numbers!(u16)),
        t::I16 => Array::I16(numbers!(i16)),
        t::U32 => Array::U32(numbers!(u32)),
        t::I32 => Array::I32(numbers!(i32)),
        t::F32 => Array::F32(numbers!(f32)),
        t::U64 => Array::U64(numbers!(u64)),
        t::I64 => Array::I64(numbers!(i64)),
        t::F64 => Array::F64(numbers!(f64)),
        t::BOOL => {
            let bytes = cursor.take(count, field)?;
            if let Some(odd) = bytes.iter().find(|byte| **byte > 1) {
                let found = format!("a truth value stored as {odd}");
                return Err(Error::malformed(cursor.file(), field(), found, "0 or 1"));
            }
            Array::Bool(bytes.iter().map(|byte| *byte == 1).collect())
        }
        _ => {
            let found = format!("value type {kind}");
            return Err(Error::malformed(cursor.file(), field(), found, "a type from 0 to 12"));
        }
    })
}

/// A tensor as its description says, its data not yet looked for.
struct Description<'a> {
    name: &'a str,
    shape: Vec<usize>,
    element: Element,
    offset: u64,
}

fn read_descriptions<'a>(cursor: &mut Cursor<'a>, count: usize) -> Result<Vec<Description<'a>>, Error> {
    let mut names = HashSet::with_capacity(count);
    let mut described = Vec::with_capacity(count);
    for at in 0..count {
        let one = read_description(cursor, at)?;
        if !names.insert(one.name) {
            let field = format!("tensor {}", quote(one.name));
            return Err(Error::Duplicate { file: cursor.file().to_path_buf(), field });
        }
        described.push(one);
    }
    Ok(described)
}

fn read_description<'a>(cursor: &mut Cursor<'a>, at: usize) -> Result<Description<'a>, Error> {
    let name_field = || format!("name of tensor {at}");
    let name = cursor.string(name_field)?;
    check_name(cursor.file(), &name_field(), name)?;
    let field = |what: &str| format!("tensor {}: {what}", quote(name));

    let dims = cursor.u32(|| field("dimension count"))? as usize;
    if dims > MAX_DIMS {
        let expected = format!("at most {MAX_DIMS}");
        return Err(Error::malformed(cursor.file(), field("dimension count"), dims, expected));
    }
    let mut shape = Vec::with_capacity(dims);
    for dim in 0..dims {
        let name_dim = || field(&format!("dimension {dim}"));
        let size = cursor.u64(name_dim)?;
        // ggml counts in i64.
        let fits = i64::try_from(size).is_ok_and(|size| size > 0);
        match usize::try_from(size) {
            Ok(size) if fits => shape.push(size),
            _ => {
                return Err(Error::malformed(cursor.file(), name_dim(), size, "from 1 to 2^63 - 1"));
            }
        }
    }
    // Files list the innermost dimension first.
    shape.reverse();
    let kind = cursor.u32(|| field("type"))?;
    let element = element(kind).map_err(|found| Error::Unsupported {
        file: cursor.file().to_path_buf(),
        field: field("type"),
        found,
        advice: "use a file of this model in another quantisation, for example Q4_K_M or Q8_0".to_owned(),
    })?;
    let offset = cursor.u64(|| field("offset"))?;
    Ok(Description { name, shape, element, offset })
}

/// The element type for ggml's number of it; `Err` describes a type that cannot be read.
fn element(kind: u32) -> Result<Element, String> {
    if let Some(codec) = Codec::from_ggml_type(kind) {
        return Ok(Element::Coded(codec));
    }
    Ok(match kind {
        24 => Element::Foreign("I8", 8),
        25 => Element::Foreign("I16", 16),
        26 => Element::Foreign("I32", 32),
        27 => Element::Foreign("I64", 64),
        28 => Element::Foreign("F64", 64),
        _ => {
            let known = UNREAD_TYPES.iter().find(|(number, _)| *number == kind);
            let name = known.map_or("unknown", |(_, name)| name);
            return Err(format!("ggml type {kind} ({name})"));
        }
    })
}

/// Block types of ggml for which there is no codec, named for the error.
const UNREAD_TYPES: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
];

/// The part of a file behind the header, in which offsets count.
struct DataSection<'a> {
    file: &'a Path,
    alignment: usize,
    start: usize,
    len: usize,
}

impl DataSection<'_> {
    fn place(&self, one: Description<'_>, file_index: usize) -> Result<Tensor, Error> {
        let field = |what: &str| format!("tensor {}: {what}", quote(one.name));
        let size = one
            .element
            .size_of(&one.shape)
            .map_err(|expected| Error::malformed(self.file, field("shape"), format!("{:?}", one.shape), expected))?;
        if !one.offset.is_multiple_of(self.alignment as u64) {
            let expected = format!("a multiple of the alignment {}", self.alignment);
            return Err(Error::malformed(self.file, field("offset"), one.offset, expected));
        }
        let begin = usize::try_from(one.offset).ok().filter(|begin| *begin <= self.len);
        let left = begin.map_or(0, |begin| self.len - begin);
        match begin {
            Some(begin) if size <= left => {
                let begin = self.start + begin;
                let place = Place::mapped(file_index, begin..begin + size);
                Ok(one.element.place(one.name.to_owned(), one.shape, place))
            }
            _ => Err(Error::Truncated {
                file: self.file.to_path_buf(),
                field: field(&format!("data at offset {}", one.offset)),
                needed: size as u64,
                left: left as u64,
            }),
        }
    }
}
