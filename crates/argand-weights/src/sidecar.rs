//! Small files beside the weights (`config.json`, `tokenizer.json`, ...). They are read whole, up to a limit, and never
//! from outside the model's folder.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::error::{printable, quote};

/// Longest sidecar file that is read, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Reads a regular file of at most [`MAX_BYTES`].
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, Error> {
    let about = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    let expected = format!("a regular file of at most {MAX_BYTES} bytes");
    if !about.is_file() {
        return Err(Error::malformed(path, "file", "something else than a file", expected));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::malformed(path, "file", "a longer file", expected));
    }
    Ok(bytes)
}

/// The path of `name` in `folder`, when such a file is there.
pub(crate) fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>, Error> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside || name.contains(['\\', '\0']) {
        let expected = "a path that stays inside the model's folder";
        return Err(Error::malformed(folder, "name of a sidecar file", quote(name), expected));
    }
    let path = folder.join(name);
    Ok(path.is_file().then_some(path))
}

/// Reads and parses a JSON sidecar.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, Error> {
    serde_json::from_slice(&read_bounded(path)?)
        .map_err(|error| Error::malformed(path, "JSON", printable(&error), "a JSON document"))
}
