//! Models split over several GGUF files, as llama.cpp's `gguf-split` names them: `NAME-00002-of-00003.gguf`, with
//! `split.no`, `split.count` and `split.tensors.count` in the metadata.

use std::path::{Path, PathBuf};

use crate::metadata::Metadata;
use crate::{Error, error::quote};

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Most parts that a name with five digits can count.
const MAX_PARTS: u64 = 99_999;

/// What the metadata of one file says about the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Place among the parts, from 0.
    pub(crate) no: u64,
    /// How many parts there are.
    pub(crate) count: u64,
    /// Tensors in all parts together.
    pub(crate) tensors: Option<u64>,
}

impl Part {
    /// Reads the split keys of a file; `None` when the file is a whole model.
    pub(crate) fn of(file: &Path, metadata: &Metadata) -> Result<Option<Self>, Error> {
        if !metadata.contains(COUNT) {
            return Ok(None);
        }
        let number = |key: &str, range: std::ops::RangeInclusive<u64>| {
            let value = metadata.get(key);
            value.and_then(|value| value.as_u64()).filter(|v| range.contains(v)).ok_or_else(|| {
                let found = value.map_or("nothing".to_owned(), |v| quote(&format!("{v:?}")));
                let expected = format!("an integer from {} to {}", range.start(), range.end());
                Error::malformed(file, format!("metadata key {key}"), found, expected)
            })
        };
        let count = number(COUNT, 0..=MAX_PARTS)?;
        if count <= 1 {
            return Ok(None);
        }
        let no = number(NO, 0..=count - 1)?;
        let tensors = metadata.contains(TENSORS).then(|| number(TENSORS, 0..=i64::MAX as u64));
        Ok(Some(Self { no, count, tensors: tensors.transpose()? }))
    }

    /// Paths of all parts, from the path of this one.
    pub(crate) fn siblings(&self, file: &Path) -> Result<Vec<PathBuf>, Error> {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let suffix = |no: u64| format!("-{:05}-of-{:05}.gguf", no + 1, self.count);
        let Some(prefix) = name.strip_suffix(&suffix(self.no)) else {
            let expected = format!("a name that ends in {}, as its metadata says", suffix(self.no));
            return Err(Error::malformed(file, "file name", quote(name), expected));
        };
        Ok((0..self.count).map(|no| file.with_file_name(format!("{prefix}{}", suffix(no)))).collect())
    }

    /// Checks that part `no` belongs to the same split as this one.
    pub(crate) fn check_sibling(&self, file: &Path, metadata: &Metadata, no: u64) -> Result<(), Error> {
        let expected = format!("part {no} of {}", self.count);
        match Self::of(file, metadata)? {
            Some(part) if (part.no, part.count) == (no, self.count) => Ok(()),
            Some(part) => {
                let found = format!("part {} of {}", part.no, part.count);
                Err(Error::malformed(file, "metadata key split.no", found, expected))
            }
            None => Err(Error::malformed(file, "metadata key split.count", "nothing", expected)),
        }
    }

    /// Checks that the parts together hold as many tensors as announced.
    pub(crate) fn check_total(&self, file: &Path, found: usize) -> Result<(), Error> {
        match self.tensors {
            Some(expected) if expected != found as u64 => {
                let field = format!("metadata key {TENSORS}");
                Err(Error::malformed(file, field, expected, format!("{found}, the tensors of all parts")))
            }
            _ => Ok(()),
        }
    }
}

/// Removes the keys that describe a file rather than the model.
pub(crate) fn strip_split_keys(metadata: &mut Metadata) {
    for key in [NO, COUNT, TENSORS] {
        metadata.remove(key);
    }
}
