//! Reads numbers and strings of a GGUF header front to back, and names the field when the bytes run out.

use std::path::Path;

use super::MAX_HEADER;
use crate::Error;

/// A position in a file. `field` arguments are closures, so that names are only put together for errors.
pub(super) struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the front of a file. Only its first [`MAX_HEADER`] bytes can be read.
    pub(super) fn new(file: &'a Path, bytes: &'a [u8]) -> Self {
        Self { file, bytes: &bytes[..bytes.len().min(MAX_HEADER)], at: 0 }
    }

    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, len: u64, field: impl FnOnce() -> String) -> Result<&'a [u8], Error> {
        let left = self.left();
        match usize::try_from(len).ok().filter(|len| *len <= left) {
            Some(len) => {
                let taken = &self.bytes[self.at..self.at + len];
                self.at += len;
                Ok(taken)
            }
            None if self.bytes.len() == MAX_HEADER => {
                let found = format!("{len} bytes at byte {}", self.at);
                let expected = format!("a header that ends within {MAX_HEADER} bytes");
                Err(Error::malformed(self.file, field(), found, expected))
            }
            None => {
                Err(Error::Truncated { file: self.file.to_path_buf(), field: field(), needed: len, left: left as u64 })
            }
        }
    }

    fn array<const N: usize>(&mut self, field: impl FnOnce() -> String) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, field)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, field: impl FnOnce() -> String) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: impl FnOnce() -> String) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The bytes of a string: their number as u64, then they.
    pub(super) fn string_bytes(&mut self, field: impl Fn() -> String) -> Result<&'a [u8], Error> {
        let len = self.u64(|| format!("{}: length", field()))?;
        self.take(len, field)
    }

    /// A string, checked to be UTF-8.
    pub(super) fn string(&mut self, field: impl Fn() -> String) -> Result<&'a str, Error> {
        let bytes = self.string_bytes(&field)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let found = format!("bytes that are not UTF-8 after {} bytes", error.valid_up_to());
            Error::malformed(self.file, field(), found, "UTF-8 text")
        })
    }

    /// A count of things that take at least `smallest` bytes each, so that it bounds what may be allocated for them.
    pub(super) fn count(&mut self, smallest: usize, field: impl Fn() -> String) -> Result<usize, Error> {
        let count = self.u64(&field)?;
        let most = self.left() / smallest;
        usize::try_from(count).ok().filter(|count| *count <= most).ok_or_else(|| {
            let expected = format!("at most {most}, as only {} bytes follow", self.left());
            Error::malformed(self.file, field(), count, expected)
        })
    }
}
