//! A file that appears under its name only when it is whole: written to a temporary file in the same folder, made durable,
//! and renamed. The temporary file is removed when anything fails or the writer is dropped.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;

/// Writes a small file whole: it appears under its name, or replaces an older one, only when it is complete and durable.
///
/// # Errors
/// The folder is missing or may not be written, or the disk is full.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut output = Output::create(path, bytes.len() as u64)?;
    output.put(bytes)?;
    output.finish()
}

/// A file that is being written.
pub(crate) struct Output {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    total: u64,
}

impl Output {
    /// Begins the file `path`, which will have `total` bytes.
    pub(crate) fn create(path: &Path, total: u64) -> Result<Self, Error> {
        let folder = folder_of(path);
        if !folder.is_dir() {
            return Err(Error::NoFolder { file: path.to_path_buf(), folder: folder.to_path_buf() });
        }
        let temporary = temporary_in(folder).map_err(Error::io(path, "create a temporary file beside it"))?;
        let file = BufWriter::with_capacity(1 << 20, temporary);
        Ok(Self { path: path.to_path_buf(), file, total })
    }

    /// The name that the file will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes that the finished file will have.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Appends bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| write_error(&self.path, self.total, error))
    }

    /// Makes the file durable and gives it its name, replacing an older file of that name.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { path, file, total } = self;
        let named = file.into_inner().map_err(|error| write_error(&path, total, error.into_error()))?;
        named.as_file().sync_all().map_err(|error| write_error(&path, total, error))?;
        named.persist(&path).map_err(|error| write_error(&path, total, error.error))?;
        sync_folder(&path)
    }
}

fn write_error(path: &Path, total: u64, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { file: path.to_path_buf(), needed: total }
        }
        _ => Error::io(path, "write")(error),
    }
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".argand-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private by default; a model is an ordinary file, subject to the umask.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A rename is only durable once its folder is.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let folder = folder_of(path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder, "sync"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_replaces_another_and_wants_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        for text in ["first", "2nd"] {
            write_whole(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = write_whole(&dir.path().join("no/a.txt"), b"").unwrap_err();
        assert!(error.to_string().ends_with("no is missing; make it first"), "{error}");
    }

    #[test]
    fn a_full_disk_is_an_error_of_its_own() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = write_error(Path::new("m.gguf"), 77, kind.into());
            assert!(error.to_string().starts_with("m.gguf: the disk is full: the whole file needs 77 bytes"));
        }
        let other = write_error(Path::new("m.gguf"), 77, io::ErrorKind::PermissionDenied.into());
        assert!(matches!(other, Error::Io { doing: "write", .. }));
    }
}
