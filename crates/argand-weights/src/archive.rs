//! Zip archives as PyTorch and NumPy write them. Their members are found in the file and looked at there; nothing is
//! ever written to a path of an archive.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use crate::Error;
use crate::error::{printable, quote};
use crate::source::Source;
use crate::strided::Copies;
use crate::tensor::Place;

/// The bytes by which an archive with members begins.
pub(crate) const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// Where a member lies.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    at: usize,
    /// Its stored bytes in the file, maybe compressed.
    range: Range<usize>,
    stored: bool,
    /// Its length once unpacked, as the archive says.
    size: u64,
    crc: u32,
}

/// An archive whose members were found to lie apart inside the file, each name once.
pub(crate) struct Archive<'s> {
    source: &'s Source,
    zip: ZipArchive<Cursor<&'s [u8]>>,
    pub(crate) members: Vec<Member>,
    by_name: HashMap<String, usize>,
}

impl<'s> Archive<'s> {
    /// Reads the directory of an archive.
    pub(crate) fn read(source: &'s Source) -> Result<Self, Error> {
        let file = source.path();
        let damaged = |error| Error::malformed(file, "zip archive", printable(&error), "a whole zip archive");
        let mut zip = ZipArchive::new(Cursor::new(source.bytes())).map_err(damaged)?;
        if zip.has_duplicate_names() {
            let expected = "each name once";
            return Err(Error::malformed(file, "zip archive", "members of the same name", expected));
        }
        let members = (0..zip.len()).map(|at| member(source, &mut zip, at)).collect::<Result<Vec<_>, _>>()?;
        check_apart(source, &members)?;
        let by_name = members.iter().map(|member| (member.name.clone(), member.at)).collect();
        Ok(Self { source, zip, members, by_name })
    }

    /// The member of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).map(|&at| &self.members[at])
    }

    /// Puts the bytes of a member in their place: in the file if they are stored as they are, in a copy if they have to
    /// be unpacked. Stored bytes are not compared with their sum, which would mean reading all of them; torch does not
    /// either.
    pub(crate) fn place(&mut self, member: &Member, file_index: usize, copies: &mut Copies) -> Result<Place, Error> {
        if member.stored {
            return Ok(Place::mapped(file_index, member.range.clone()));
        }
        let field = field(&member.name);
        let size = usize::try_from(member.size).unwrap_or(usize::MAX);
        copies.reserve(size).map_err(|expected| {
            Error::malformed(self.source.path(), field, format!("{size} bytes when unpacked"), expected)
        })?;
        let bytes = self.contents(member, size)?;
        Ok(copies.keep(file_index, bytes))
    }

    /// The bytes of a member of at most `limit` bytes, compared with their sum.
    pub(crate) fn contents(&mut self, member: &Member, limit: usize) -> Result<Vec<u8>, Error> {
        let file = self.source.path();
        let wrong = |found: String, expected: String| Error::malformed(file, field(&member.name), found, expected);
        if member.size > limit as u64 {
            return Err(wrong(format!("{} bytes", member.size), format!("at most {limit}")));
        }
        // What torch writes when it was told to compute no sums.
        if member.stored && member.crc == 0 {
            return Ok(self.source.bytes()[member.range.clone()].to_vec());
        }
        let damaged = |error: String| wrong(printable(&error), "bytes that agree with their sum".to_owned());
        let packed = self.zip.by_index(member.at).map_err(|error| damaged(error.to_string()))?;
        let mut bytes = Vec::new();
        packed.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 != member.size {
            return Err(wrong(format!("{} bytes or more", bytes.len()), format!("{}, as it says", member.size)));
        }
        Ok(bytes)
    }
}

/// How messages call a member.
pub(crate) fn field(name: &str) -> String {
    format!("zip member {}", quote(name))
}

fn member(source: &Source, zip: &mut ZipArchive<Cursor<&[u8]>>, at: usize) -> Result<Member, Error> {
    let file = source.path();
    let damaged = |error| Error::malformed(file, format!("zip member {at}"), printable(&error), "a whole zip member");
    let entry = zip.by_index_raw(at).map_err(damaged)?;
    let name = std::str::from_utf8(entry.name_raw());
    let name = name.map_err(|_| Error::malformed(file, format!("zip member {at}"), "another name", "one in UTF-8"))?;
    let stored = match entry.compression() {
        CompressionMethod::Stored => true,
        CompressionMethod::Deflated => false,
        other => {
            let advice = "pack it without compression or with deflate".to_owned();
            let found = format!("compression {other}");
            return Err(Error::Unsupported { file: file.to_path_buf(), field: field(name), found, advice });
        }
    };
    if entry.encrypted() {
        let advice = "decrypt it first".to_owned();
        let found = "encryption".to_owned();
        return Err(Error::Unsupported { file: file.to_path_buf(), field: field(name), found, advice });
    }
    let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
    let length = usize::try_from(entry.compressed_size()).ok();
    let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let range = range.filter(|range| range.end <= source.bytes().len()).ok_or_else(|| Error::Truncated {
        file: file.to_path_buf(),
        field: field(name),
        needed: entry.compressed_size(),
        left: (source.bytes().len() as u64).saturating_sub(entry.data_start().unwrap_or(0)),
    })?;
    if stored && entry.size() != entry.compressed_size() {
        let found = format!("{} bytes stored as {}", entry.size(), entry.compressed_size());
        return Err(Error::malformed(file, field(name), found, "as many stored as there are"));
    }
    Ok(Member { name: name.to_owned(), at, range, stored, size: entry.size(), crc: entry.crc32() })
}

/// Members that share bytes make small files huge.
fn check_apart(source: &Source, members: &[Member]) -> Result<(), Error> {
    let mut order: Vec<&Member> = members.iter().filter(|member| !member.range.is_empty()).collect();
    order.sort_by_key(|member| member.range.start);
    for pair in order.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            return Err(Error::Overlap {
                file: source.path().to_path_buf(),
                name: quote(&pair[1].name),
                other: quote(&pair[0].name),
                begin: pair[1].range.start as u64,
                end: pair[0].range.end as u64,
            });
        }
    }
    Ok(())
}
