//! Arrays of NumPy: one as `.npy`, several as `.npz`, a zip archive of them (NumPy `numpy/lib/_format_impl.py`, versions 1
//! to 3). Arrays of objects are pickles and are refused. Fortran's order is put in C's; doubles become F32.

use crate::Error;
use crate::archive::{Archive, field};
use crate::error::quote;
use crate::metadata::Metadata;
use crate::pytorch::{Contents, dtype};
use crate::source::Source;
use crate::strided::{Copies, Dtype, MAX_DIMS, View};
use crate::tensor::{Place, Tensor, check_name};

/// The bytes by which an array begins.
pub(crate) const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// The end of the name of an array in an archive.
const SUFFIX: &str = ".npy";

/// Longest header that is read, in bytes; it describes one array.
const MAX_HEADER: usize = 64 << 10;

/// Whether the archive holds arrays.
pub(crate) fn is_numpy(archive: &Archive<'_>) -> bool {
    archive.members.iter().any(|member| member.name.ends_with(SUFFIX))
}

/// Reads all arrays of an archive; each is called like its member without `.npy`.
pub(crate) fn read_npz(source: &Source, mut archive: Archive<'_>, file_index: usize) -> Result<Contents, Error> {
    let mut copies = Copies::of(source);
    let mut tensors = Vec::new();
    for member in archive.members.clone() {
        // What else lies in the archive is none of ours.
        let Some(name) = member.name.strip_suffix(SUFFIX) else { continue };
        check_name(source.path(), &field(&member.name), name)?;
        let place = archive.place(&member, file_index, &mut copies)?;
        tensors.push(array(source, name, &field(&member.name), &place, &mut copies)?);
    }
    Ok(Contents { metadata: Metadata::new(), tensors, copies: copies.into_chunks() })
}

/// Reads a file that is one array; the array is called like the file.
pub(crate) fn read_npy(source: &Source, file_index: usize) -> Result<Contents, Error> {
    let mut copies = Copies::of(source);
    let name = source.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    check_name(source.path(), "name of the array", &name)?;
    let place = Place::mapped(file_index, 0..source.bytes().len());
    let tensor = array(source, &name, "array", &place, &mut copies)?;
    Ok(Contents { metadata: Metadata::new(), tensors: vec![tensor], copies: copies.into_chunks() })
}

fn array(source: &Source, name: &str, field: &str, place: &Place, copies: &mut Copies) -> Result<Tensor, Error> {
    let file = source.path();
    let wrong = |found: String, expected: &str| Error::malformed(file, field, found, expected);
    let bytes = copies.bytes(source, place);
    let short = |needed: usize| Error::Truncated {
        file: file.to_path_buf(),
        field: format!("{field}: header"),
        needed: needed as u64,
        left: bytes.len() as u64,
    };
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or_else(|| short(MAGIC.len()))?;
    if magic != MAGIC {
        return Err(wrong(format!("the bytes {magic:02x?}"), "an array of NumPy"));
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(|| short(8))?;
    let (length, rest) = match version {
        [1, 0] => rest.split_first_chunk::<2>().map(|(n, rest)| (usize::from(u16::from_le_bytes(*n)), rest)),
        [2 | 3, 0] => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        other => return Err(wrong(format!("version {other:?}"), "version 1.0, 2.0 or 3.0")),
    }
    .ok_or_else(|| short(12))?;
    if length > MAX_HEADER {
        return Err(wrong(format!("a header of {length} bytes"), "a header of at most 65536 bytes"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| short(bytes.len() - rest.len() + length))?;
    let header = std::str::from_utf8(header).map_err(|_| wrong("other bytes".to_owned(), "a header in UTF-8"))?;
    let header = Header::parse(header).map_err(|expected| wrong(quote(header.trim_end()), expected))?;
    let dtype = element(&header.descr).ok_or_else(|| Error::Unsupported {
        file: file.to_path_buf(),
        field: format!("{field}: descr"),
        found: format!("the element type {}", quote(&header.descr)),
        advice: "save it as little-endian numbers, <f4 or <f2".to_owned(),
    })?;
    let view = View::whole(dtype, header.shape.clone(), header.fortran);
    let view = view.ok_or_else(|| wrong(format!("shape {:?}", header.shape), "a size that fits in memory"))?;
    let elements: usize = header.shape.iter().product();
    if elements.checked_mul(dtype.bytes) != Some(data.len()) {
        let found = format!("{} bytes for shape {:?} of {}", data.len(), header.shape, dtype.name);
        return Err(wrong(found, "as many as the shape takes"));
    }
    let row = Place { range: place.range.end - data.len()..place.range.end, ..place.clone() };
    copies.place(source, name.to_owned(), view, &row).map_err(|expected| wrong(header.descr.clone(), &expected))
}

/// Element types as NumPy spells them: order of bytes, kind, bytes.
fn element(descr: &str) -> Option<Dtype> {
    let (order, kind) = descr.split_at_checked(1)?;
    let known = match kind {
        "b1" => "bool",
        "i1" => "int8",
        "u1" => "uint8",
        _ if order != "<" => return None,
        "f2" => "float16",
        "f4" => "float32",
        "f8" => "float64",
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "c8" => "complex64",
        "c16" => "complex128",
        _ => return None,
    };
    if matches!(order, "<" | "|") { dtype(known) } else { None }
}

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads the literal of a Python dictionary with exactly the three keys, in any order. An error says what was
    /// expected.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut rest = Literal(text.trim());
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        rest.need("{")?;
        while !rest.take("}") {
            let key = rest.string()?;
            rest.need(":")?;
            let first = match key {
                "descr" => descr.replace(rest.string()?).is_none(),
                "fortran_order" => fortran.replace(rest.truth()?).is_none(),
                "shape" => shape.replace(rest.shape()?).is_none(),
                _ => return Err("the keys descr, fortran_order and shape"),
            };
            if !first {
                return Err("each key once");
            }
            if !rest.take(",") {
                rest.need("}")?;
                break;
            }
        }
        if !rest.0.is_empty() {
            return Err("nothing behind the dictionary");
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Self { descr: descr.to_owned(), fortran, shape }),
            _ => Err("the keys descr, fortran_order and shape"),
        }
    }
}

/// What is left of a literal.
struct Literal<'t>(&'t str);

impl<'t> Literal<'t> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0).trim_start();
        rest.is_some()
    }

    fn need(&mut self, token: &'static str) -> Result<(), &'static str> {
        if self.take(token) { Ok(()) } else { Err("the literal of a dictionary, its texts in quotes") }
    }

    fn string(&mut self) -> Result<&'t str, &'static str> {
        let quote = if self.0.starts_with('"') { "\"" } else { "'" };
        // A list of fields begins with a bracket, an array of objects is a text.
        let inner = self.0.strip_prefix(quote).ok_or("the literal of a dictionary, its texts in quotes; no fields")?;
        let (text, rest) = inner.split_once(quote).ok_or("a text that ends")?;
        self.0 = rest.trim_start();
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool, &'static str> {
        let truth = self.take("True");
        if truth || self.take("False") { Ok(truth) } else { Err("fortran_order True or False") }
    }

    /// `()`, `(3,)`, `(3, 4)`; Python 2 wrote `3L`.
    fn shape(&mut self) -> Result<Vec<usize>, &'static str> {
        let mut shape = Vec::new();
        self.need("(")?;
        while !self.take(")") {
            let digits = self.0.len() - self.0.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let dim = self.0[..digits].parse().map_err(|_| "a shape of sizes that fit in memory")?;
            self.0 = self.0[digits..].trim_start_matches('L').trim_start();
            if shape.len() == MAX_DIMS {
                return Err("at most 8 dimensions");
            }
            shape.push(dim);
            if !self.take(",") {
                self.need(")")?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_every_spelling() {
        let header = |descr: &str, fortran, shape: &[usize]| {
            Ok(Header { descr: descr.to_owned(), fortran, shape: shape.to_vec() })
        };
        let cases = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n", header("<f4", false, &[3, 4])),
            ("{'shape':(3,),'fortran_order':True,'descr':\"|b1\"}", header("|b1", true, &[3])),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", header("<f8", false, &[])),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 5L), }", header("<f8", false, &[2, 5])),
        ];
        for (text, expected) in cases {
            assert_eq!(Header::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + eval('x')",
            "{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': ''}",
        ] {
            assert!(Header::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn element_types_that_are_no_little_endian_numbers_are_unknown() {
        for descr in [">f4", "|O", "O", "<U3", "|V2", "=f4", "<f16", "", "é", "<M8[ns]"] {
            assert_eq!(element(descr), None, "{descr}");
        }
        assert_eq!(element("|b1"), dtype("bool"));
    }
}
