//! A file on its way in: it grows under a name that no reader looks at, survives an interruption, and takes its
//! final name only after its length and digest were found right.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::{HubError, Result, io_error};

/// Bytes that are read, hashed and written at once; the cancellation flag is looked at in between.
pub(crate) const CHUNK: usize = 1 << 18;

/// What a finished file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// SHA-256 in hexadecimal (large files).
    Sha256(String),
    /// SHA-1 of the git blob (`blob LENGTH\0` and the content) in hexadecimal (small files).
    GitBlob(String),
    /// The source gives only the length.
    LengthOnly,
}

enum Hasher {
    Sha256(Sha256),
    Sha1(Sha1),
    None,
}

impl Hasher {
    fn new(expected: &Expected, bytes: u64) -> Self {
        match expected {
            Expected::Sha256(_) => Self::Sha256(Sha256::new()),
            Expected::GitBlob(_) => Self::Sha1(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
            Expected::LengthOnly => Self::None,
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(data),
            Self::Sha1(hasher) => hasher.update(data),
            Self::None => {}
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha1(hasher) => hex(&hasher.finalize()),
            Self::None => String::new(),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The growing file, locked against a second writer.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    expected: Expected,
    bytes: u64,
    len: u64,
}

/// Locks the file, or says that another process has. A child that another thread starts holds what was open until its own program
/// begins, even if it was closed here meanwhile, so the answer is asked for a moment.
fn lock(file: &File) -> std::result::Result<(), fs::TryLockError> {
    let mut answer = file.try_lock();
    for _ in 0..20 {
        if !matches!(answer, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        answer = file.try_lock();
    }
    answer
}

impl Partial {
    /// Opens or creates the file and takes up what an earlier try left, up to `keep` bytes.
    pub(crate) fn open(path: &Path, expected: Expected, bytes: u64, keep: u64, config: &Config) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(io_error("create", path))?;
        lock(&file).map_err(|reason| match reason {
            fs::TryLockError::WouldBlock => io_error("lock", path)(std::io::Error::other("another process writes it")),
            fs::TryLockError::Error(error) => io_error("lock", path)(error),
        })?;
        let found = file.metadata().map_err(io_error("read", path))?.len();
        let hasher = Hasher::new(&expected, bytes);
        let mut partial = Self { path: path.to_owned(), file, hasher, expected, bytes, len: 0 };
        // More than the whole is no beginning of it.
        let keep = if found > bytes { 0 } else { found.min(keep) };
        partial.set_len(keep)?;
        partial.hash_kept(keep, config)?;
        Ok(partial)
    }

    fn hash_kept(&mut self, keep: u64, config: &Config) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        self.file.seek(SeekFrom::Start(0)).map_err(io_error("read", &self.path))?;
        while self.len < keep {
            config.check_cancel()?;
            let want = (keep - self.len).min(CHUNK as u64) as usize;
            self.file.read_exact(&mut buffer[..want]).map_err(io_error("read", &self.path))?;
            self.hasher.update(&buffer[..want]);
            self.len += want as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(io_error("write", &self.path))
    }

    /// Bytes that are here.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends. More than the promised length is an error and is not written.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<()> {
        let len = self.len + data.len() as u64;
        if len > self.bytes {
            return Err(self.wrong_size(len));
        }
        self.file.write_all(data).map_err(io_error("write", &self.path))?;
        self.hasher.update(data);
        self.len = len;
        Ok(())
    }

    /// Forgets everything (the source cannot resume).
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map_err(io_error("write", &self.path))?;
        self.hasher = Hasher::new(&self.expected, self.bytes);
        self.len = 0;
        Ok(())
    }

    /// Checks length and digest, makes the content durable and gives it its final name. Wrong content is deleted,
    /// since no resumption can mend it; a short file stays.
    pub(crate) fn finish(self, destination: &Path) -> Result<()> {
        if self.len != self.bytes {
            return Err(self.wrong_size(self.len));
        }
        let found = self.hasher.finish();
        let mismatch = match &self.expected {
            Expected::Sha256(expected) if *expected != found => Some(("sha256", expected)),
            Expected::GitBlob(expected) if *expected != found => Some(("git-sha1", expected)),
            _ => None,
        };
        if let Some((algorithm, expected)) = mismatch {
            fs::remove_file(&self.path).map_err(io_error("remove", &self.path))?;
            let file = destination.display().to_string();
            return Err(HubError::WrongHash { file, algorithm, expected: expected.clone(), found });
        }
        self.file.sync_all().map_err(io_error("write", &self.path))?;
        fs::rename(&self.path, destination).map_err(io_error("create", destination))
    }

    fn wrong_size(&self, found: u64) -> HubError {
        HubError::WrongSize { file: self.path.display().to_string(), expected: self.bytes, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::from_lookup(|name| (name == "HF_HUB_CACHE").then(|| "/nowhere".into())).unwrap()
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_cut_file_resumes_and_is_checked_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = (dir.path().join("p"), dir.path().join("whole"));
        let open = || Partial::open(&path, Expected::Sha256(ABC.into()), 3, u64::MAX, &config());
        let mut partial = open().unwrap();
        partial.write(b"a").unwrap();
        assert!(open().is_err(), "a second writer must be kept out");
        assert!(matches!(partial.finish(&whole), Err(HubError::WrongSize { found: 1, .. })));
        let mut partial = open().unwrap();
        assert_eq!(partial.len(), 1);
        partial.write(b"bc").unwrap();
        assert!(partial.write(b"d").is_err());
        partial.finish(&whole).unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"abc");
        assert!(!path.exists());
    }

    #[test]
    fn wrong_content_never_becomes_visible() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = (dir.path().join("p"), dir.path().join("whole"));
        let mut partial = Partial::open(&path, Expected::Sha256(ABC.into()), 3, u64::MAX, &config()).unwrap();
        partial.write(b"abd").unwrap();
        assert!(matches!(partial.finish(&whole), Err(HubError::WrongHash { .. })));
        assert!(!whole.exists() && !path.exists());
    }

    #[test]
    fn git_blobs_are_hashed_with_their_header() {
        let dir = tempfile::tempdir().unwrap();
        // `printf abc | git hash-object --stdin`
        let expected = Expected::GitBlob("f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f".into());
        let mut partial = Partial::open(&dir.path().join("p"), expected, 3, u64::MAX, &config()).unwrap();
        partial.write(b"xyz").unwrap();
        partial.restart().unwrap();
        partial.write(b"abc").unwrap();
        partial.finish(&dir.path().join("whole")).unwrap();
    }
}
