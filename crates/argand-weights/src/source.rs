//! The bytes of one file: mapped read-only, or held in memory. Nothing is read before someone looks.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::Error;
use crate::tensor::Place;

/// Advice is given in multiples of this, so that it covers whole pages on every page size in use (4, 16, 64 KiB).
#[cfg(unix)]
const ADVICE_GRANULE: usize = 64 << 10;

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

/// One file of a checkpoint.
pub(crate) struct Source {
    path: PathBuf,
    bytes: Bytes,
    /// What was unpacked or put in order at opening, by the numbers of `Place::copy`.
    copies: Vec<Vec<u8>>,
}

impl Source {
    /// Maps a regular file.
    pub(crate) fn map(path: &Path) -> Result<Self, Error> {
        // Asked before opening: opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(Error::io(path, "open"))?.is_file() {
            return Err(Error::NotAModel {
                path: path.to_path_buf(),
                found: "not a regular file".to_owned(),
                expected: "a file of weights",
            });
        }
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        // SAFETY: the map is read-only and is only ever read as plain bytes. Should another process change the file
        // meanwhile, values change but no invariant of ours rests on them: all that was validated at opening (names,
        // shapes, ranges, metadata) is owned. Shrinking the file ends the process, as with every mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map"))?;
        Ok(Self { path: path.to_path_buf(), bytes: Bytes::Mapped(map), copies: Vec::new() })
    }

    /// Takes bytes that are already in memory; `path` is what errors call them.
    pub(crate) fn owned(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_path_buf(), bytes: Bytes::Owned(bytes), copies: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// Keeps copies beside the file.
    pub(crate) fn with_copies(self, copies: Vec<Vec<u8>>) -> Self {
        Self { copies, ..self }
    }

    /// The bytes of a place in this file or among its copies.
    pub(crate) fn bytes_at(&self, place: &Place) -> &[u8] {
        let whole = place.copy.map_or(self.bytes(), |copy| &self.copies[copy]);
        &whole[place.range.clone()]
    }

    /// Drops the pages that lie wholly inside `place` from this process. They come back from the file when read again;
    /// copies stay.
    pub(crate) fn release(&self, place: &Place) {
        #[cfg(unix)]
        if let (Bytes::Mapped(map), None, Some(inner)) = (&self.bytes, place.copy, whole_granules(&place.range)) {
            // SAFETY: the map is a read-only view of a file and never written, so that dropped pages are read back from
            // the file with the same contents; `inner` lies inside the map because the place does.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, inner.start, inner.len()) };
            // Advice that is refused costs memory, never correctness.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = place;
    }

    /// Asks the system to begin reading `place` from disk.
    pub(crate) fn will_need(&self, place: &Place) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes
            && place.copy.is_none()
            && !place.range.is_empty()
        {
            drop(map.advise_range(memmap2::Advice::WillNeed, place.range.start, place.range.len()));
        }
        #[cfg(not(unix))]
        let _ = place;
    }
}

#[cfg(unix)]
fn whole_granules(range: &Range<usize>) -> Option<Range<usize>> {
    let start = range.start.checked_next_multiple_of(ADVICE_GRANULE)?;
    let end = range.end / ADVICE_GRANULE * ADVICE_GRANULE;
    (start < end).then_some(start..end)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_whole_granules_are_released() {
        let granule = ADVICE_GRANULE;
        assert_eq!(whole_granules(&(0..granule)), Some(0..granule));
        assert_eq!(whole_granules(&(1..granule)), None);
        assert_eq!(whole_granules(&(1..3 * granule - 1)), Some(granule..2 * granule));
        assert_eq!(whole_granules(&(usize::MAX - 1..usize::MAX)), None);
    }
}
