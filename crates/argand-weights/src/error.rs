//! What can be wrong with a checkpoint. Every error names the file and the field, says what was found and what
//! was expected. Text that comes from a file is escaped and shortened before it is put into a message.

use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// File or folder that was touched.
        file: PathBuf,
        /// What was tried, as an infinitive ("open", "map").
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },

    /// The folder of the file that is to be written does not exist.
    #[error("{}: cannot be written: the folder {} is missing; make it first", file.display(), folder.display())]
    NoFolder {
        /// The file that was to be written.
        file: PathBuf,
        /// Where it was to be.
        folder: PathBuf,
    },

    /// There is no room for the file that is being written.
    #[error("{}: the disk is full: the whole file needs {needed} bytes; free some space or write elsewhere", file.display())]
    DiskFull {
        /// The file that was to be written.
        file: PathBuf,
        /// Size of the complete file in bytes.
        needed: u64,
    },

    /// The path is not a model that this crate can read.
    #[error("{}: {found}; expected {expected}", path.display())]
    NotAModel {
        /// The path as it was given.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What would have been read.
        expected: &'static str,
    },

    /// The file ends, or its header says that it ends, inside a field.
    #[error("{}: {field}: needs {needed} bytes, but only {left} are left; the file is damaged or was not downloaded completely", file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// The field that does not fit.
        field: String,
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },

    /// A field holds what the format forbids.
    #[error("{}: {field}: found {found}, expected {expected}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The offending field.
        field: String,
        /// What was found.
        found: String,
        /// What the format asks for.
        expected: String,
    },

    /// The field is legal, but this crate does not read it.
    #[error("{}: {field}: {found} is not supported; {advice}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The offending field.
        field: String,
        /// What was found.
        found: String,
        /// What to do instead.
        advice: String,
    },

    /// A pickle asks for a class or function that no weights need. Whoever loads it elsewhere lets it run.
    #[error("{}: {field}: found the global {global}, which is not among those that weights need and could run code; nothing was run. If you trust the file, load it with torch and save its state dict as safetensors", file.display())]
    ForbiddenGlobal {
        /// The file.
        file: PathBuf,
        /// The place in the pickle.
        field: String,
        /// The module and the name.
        global: String,
    },

    /// A tensor or a metadata key is there twice.
    #[error("{}: {field}: found a second one, expected each name once", file.display())]
    Duplicate {
        /// The file that holds the second one.
        file: PathBuf,
        /// The field, with the name that is repeated.
        field: String,
    },

    /// Two tensors claim the same bytes.
    #[error("{}: tensor {name}: its data begins at byte {begin}, inside the data of tensor {other} which ends at byte {end}; expected no overlap", file.display())]
    Overlap {
        /// The file.
        file: PathBuf,
        /// The tensor that begins inside another one.
        name: String,
        /// The other one.
        other: String,
        /// First byte of `name` in the file.
        begin: u64,
        /// End of `other` in the file.
        end: u64,
    },

    /// Parts of a split checkpoint are not there.
    #[error("{}: a checkpoint of {count} files, of which {} are missing: {}", file.display(), missing.len(), list(missing))]
    MissingParts {
        /// The part or index that names the others.
        file: PathBuf,
        /// How many parts there should be.
        count: usize,
        /// The missing ones.
        missing: Vec<PathBuf>,
    },

    /// The checkpoint has no such tensor.
    #[error("{}: tensor {name}: not in this checkpoint", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
    },

    /// The metadata has no such key.
    #[error("metadata key {key}: not there, expected {expected}")]
    MissingKey {
        /// The key that was asked for.
        key: String,
        /// What its value should have been.
        expected: &'static str,
    },

    /// A metadata value has another type, or a number does not fit.
    #[error("metadata key {key}: found {found}, expected {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// Type or value that was found.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
}

impl Error {
    pub(crate) fn io(file: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_path_buf();
        move |source| Self::Io { file, doing, source }
    }

    pub(crate) fn malformed(
        file: &Path,
        field: impl Into<String>,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        Self::Malformed {
            file: file.to_path_buf(),
            field: field.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}

/// Quotes text of a file for a message: control characters escaped, at most 80 characters shown.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}... ({} bytes)", &text[..cut], text.len()),
    }
}

/// A message of a parser, which may repeat text of the file: at most 300 characters, none of them a control.
pub(crate) fn printable(message: &impl ToString) -> String {
    const SHOWN: usize = 300;
    let visible = |c: char| {
        if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
    };
    message.to_string().chars().take(SHOWN).map(visible).collect()
}

fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    if paths.len() > SHOWN {
        names.push(format!("and {} more", paths.len() - SHOWN));
    }
    names.join(", ")
}
