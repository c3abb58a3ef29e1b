//! safetensors, the file format of Hugging Face, in one file or in shards beside a JSON index.
//!
//! A file is the length of its header as u64, the header as JSON, and tensor data without gaps (specification:
//! safetensors `README.md`, "Format").

mod header;
mod write;

pub(crate) use header::Unique;
pub use write::{TensorSpec, Writer};

use argand_codec::Codec;

use crate::Error;
use crate::error::{printable, quote};
use crate::metadata::{Metadata, Value};
use crate::source::Source;
use crate::tensor::{Element, Place, Tensor, check_name, check_overlap};
use header::{Header, RawTensor};

/// Longest header that is read, in bytes; the limit of the reference implementation.
pub const MAX_HEADER: usize = 100_000_000;

/// Most dimensions that are accepted.
pub const MAX_DIMS: usize = 8;

/// Bytes in front of the header.
const LENGTH_BYTES: usize = 8;

/// Reads the header of one file. `file_index` is put into the place of each tensor.
pub(crate) fn read(source: &Source, file_index: usize) -> Result<(Metadata, Vec<Tensor>), Error> {
    let (file, bytes) = (source.path(), source.bytes());
    let truncated = |field: &str, needed: u64, left: usize| Error::Truncated {
        file: file.to_path_buf(),
        field: field.to_owned(),
        needed,
        left: left as u64,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(truncated("header length", LENGTH_BYTES as u64, bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER as u64 {
        return Err(Error::malformed(file, "header length", length, format!("at most {MAX_HEADER}")));
    }
    let Some((json, data)) = rest.split_at_checked(length as usize) else {
        return Err(truncated("header", length, rest.len()));
    };
    let Unique(header) = serde_json::from_slice::<Unique<Header>>(json)
        .map_err(|error| Error::malformed(file, "header", printable(&error), "the JSON of a safetensors header"))?;

    let section = DataSection { source, start: LENGTH_BYTES + json.len(), len: data.len(), file_index };
    let tensors = header.tensors.into_iter().map(|(name, raw)| section.place(name, raw));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    check_overlap(file, &tensors)?;
    check_no_gaps(source, &tensors, section.start)?;
    let mut metadata = Metadata::new();
    for (key, text) in header.metadata {
        metadata.set(key, Value::Str(text));
    }
    Ok((metadata, tensors))
}

struct DataSection<'a> {
    source: &'a Source,
    start: usize,
    len: usize,
    file_index: usize,
}

impl DataSection<'_> {
    fn place(&self, name: String, raw: RawTensor) -> Result<Tensor, Error> {
        let file = self.source.path();
        let field = |what: &str| format!("tensor {}: {what}", quote(&name));
        check_name(file, "name of a tensor", &name)?;
        let element = element(&raw.dtype).ok_or_else(|| Error::Unsupported {
            file: file.to_path_buf(),
            field: field("dtype"),
            found: quote(&raw.dtype),
            advice: "save the tensor as F32, F16 or BF16".to_owned(),
        })?;
        let bad_shape = |expected: String| {
            // A hostile shape can be as long as the header.
            let found: String = format!("{:?}", raw.shape).chars().take(200).collect();
            Error::malformed(file, field("shape"), found, expected)
        };
        if raw.shape.len() > MAX_DIMS {
            return Err(bad_shape(format!("at most {MAX_DIMS} dimensions")));
        }
        let shape: Result<Vec<usize>, _> = raw.shape.iter().map(|&dim| dim.try_into()).collect();
        let shape = shape.map_err(|_| bad_shape("dimensions that fit in memory".to_owned()))?;
        let size = element.size_of(&shape).map_err(bad_shape)?;

        let [begin, end] = raw.data_offsets;
        let bad_offsets =
            |expected: String| Error::malformed(file, field("data_offsets"), format!("[{begin}, {end}]"), expected);
        if end > self.len as u64 {
            return Err(Error::Truncated {
                file: file.to_path_buf(),
                field: field("data_offsets"),
                needed: end,
                left: self.len as u64,
            });
        }
        if end.checked_sub(begin) != Some(size as u64) {
            let spelled = format!("{size} bytes apart, as shape {shape:?} of {} takes", raw.dtype);
            return Err(bad_offsets(spelled));
        }
        let range = self.start + begin as usize..self.start + end as usize;
        Ok(element.place(name, shape, Place::mapped(self.file_index, range)))
    }
}

/// The format forbids bytes that belong to no tensor: they could hide anything.
fn check_no_gaps(source: &Source, tensors: &[Tensor], data_start: usize) -> Result<(), Error> {
    let mut ranges: Vec<_> = tensors.iter().map(|tensor| tensor.place().range.clone()).collect();
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let file_end = source.bytes().len();
    let mut covered = data_start;
    for range in ranges.into_iter().chain(std::iter::once(file_end..file_end)) {
        if range.start != covered {
            let found = format!("bytes {covered} to {} of the file in no tensor", range.start);
            return Err(Error::malformed(source.path(), "tensor data", found, "tensors without gaps"));
        }
        covered = range.end;
    }
    Ok(())
}

/// Element types of the format (safetensors `Dtype`).
fn element(dtype: &str) -> Option<Element> {
    Some(match dtype {
        "F32" => Element::Coded(Codec::F32),
        "F16" => Element::Coded(Codec::F16),
        "BF16" => Element::Coded(Codec::BF16),
        "BOOL" => Element::Foreign("BOOL", 8),
        "U8" => Element::Foreign("U8", 8),
        "I8" => Element::Foreign("I8", 8),
        "U16" => Element::Foreign("U16", 16),
        "I16" => Element::Foreign("I16", 16),
        "U32" => Element::Foreign("U32", 32),
        "I32" => Element::Foreign("I32", 32),
        "U64" => Element::Foreign("U64", 64),
        "I64" => Element::Foreign("I64", 64),
        "F64" => Element::Foreign("F64", 64),
        "C64" => Element::Foreign("C64", 64),
        "F8_E5M2" => Element::Foreign("F8_E5M2", 8),
        "F8_E4M3" => Element::Foreign("F8_E4M3", 8),
        "F8_E8M0" => Element::Foreign("F8_E8M0", 8),
        "F6_E2M3" => Element::Foreign("F6_E2M3", 6),
        "F6_E3M2" => Element::Foreign("F6_E3M2", 6),
        "F4" => Element::Foreign("F4", 4),
        _ => return None,
    })
}
