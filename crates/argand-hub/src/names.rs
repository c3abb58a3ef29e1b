//! Rules for names that come from outside: repositories, revisions, file names, digests.
//!
//! Nothing that fails these rules is ever joined to a path of the store.

use std::fmt;

use crate::error::{HubError, Result};

/// Longest path component that common file systems take, in bytes.
const MAX_COMPONENT: usize = 255;
/// Longest whole name taken from outside, in bytes.
const MAX_NAME: usize = 1024;

/// A repository of the hub: `owner/name`, or the bare `name` of old ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    text: String,
}

impl RepoId {
    /// Checks and takes `owner/name` or `name`.
    ///
    /// # Errors
    /// [`HubError::UnsafeName`] unless each part is 1 to 96 of `A-Z a-z 0-9 . _ -`, starts and ends with
    /// none of `. -`, and holds neither `--` (the separator of directory names) nor `..`.
    pub fn new(text: &str) -> Result<Self> {
        let refuse = |reason| unsafe_name("repository", text, reason);
        if text.split('/').count() > 2 {
            return Err(refuse("it has more than one slash"));
        }
        for part in text.split('/') {
            if part.is_empty() || part.len() > 96 {
                return Err(refuse("a part must have 1 to 96 characters"));
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return Err(refuse("only letters, digits and . _ - are allowed"));
            }
            if part.contains("--") || part.contains("..") {
                return Err(refuse("-- and .. are not allowed"));
            }
            if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) {
                return Err(refuse("a part may not start or end with . or -"));
            }
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The repository that a cache directory name like `models--owner--name` stands for.
    pub(crate) fn from_folder(folder: &str) -> Option<Self> {
        Self::new(&folder.strip_prefix("models--")?.replace("--", "/")).ok()
    }

    /// Directory name in the cache: `models--owner--name`.
    pub fn folder(&self) -> String {
        format!("models--{}", self.text.replace('/', "--"))
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Checks a relative, slash-separated file name, so that joining it to a directory stays inside.
///
/// # Errors
/// [`HubError::UnsafeName`] for empty, absolute or overlong names, for the components `.`, `..` and `.git`, and
/// for backslashes, colons (drives and streams), control characters and NUL.
pub fn check_file_name(name: &str) -> Result<()> {
    check_path("file name", name)
}

/// Checks a branch, tag or commit, which may have slashes (`refs/pr/1`).
///
/// # Errors
/// As [`check_file_name`].
pub fn check_revision(revision: &str) -> Result<()> {
    check_path("revision", revision)
}

fn check_path(what: &'static str, name: &str) -> Result<()> {
    let refuse = |reason| Err(unsafe_name(what, name, reason));
    if name.is_empty() || name.len() > MAX_NAME {
        return refuse("it must have 1 to 1024 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    if name.contains(['\\', ':']) {
        return refuse("it holds a backslash or colon");
    }
    for part in name.split('/') {
        match part {
            "" => return refuse("it is absolute or has an empty component"),
            "." | ".." => return refuse("it has a . or .. component"),
            _ if part.eq_ignore_ascii_case(".git") => return refuse("it reaches into .git"),
            _ if part.len() > MAX_COMPONENT => return refuse("a component is longer than 255 bytes"),
            _ if part.ends_with([' ', '.']) => return refuse("a component ends with a space or dot"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks an ETag that is to become a file name in `blobs/`, without quotes and weakness mark.
///
/// # Errors
/// [`HubError::UnsafeName`] unless it is 1 to 128 letters, digits and `-`.
pub fn check_etag(etag: &str) -> Result<()> {
    let plain = etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if etag.is_empty() || etag.len() > 128 || !plain {
        return Err(unsafe_name("ETag", etag, "it must be 1 to 128 letters, digits and -"));
    }
    Ok(())
}

/// Whether the text is `len` lower-case hexadecimal digits.
pub fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn unsafe_name(what: &'static str, name: &str, reason: &'static str) -> HubError {
    HubError::UnsafeName { what, name: name.chars().take(200).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn traversal_is_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "..\\x",
            "C:/x",
            "c:x",
            "a\0b",
            "a\nb",
            ".git/config",
            "a/.GIT/x",
            "x.",
            "x ",
            "\u{7f}",
        ] {
            assert!(check_file_name(name).is_err(), "{name:?}");
            assert!(check_revision(name).is_err(), "{name:?}");
        }
        for name in ["model.gguf", "1_Pooling/config.json", "a..b", ".gitattributes", "é/ü.json", "refs/pr/1"] {
            assert!(check_file_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn repositories_map_to_folders_and_back() {
        for name in ["gpt2", "Qwen/Qwen2.5-0.5B", "a_b/c.d-e"] {
            let repo = RepoId::new(name).unwrap();
            assert_eq!(RepoId::from_folder(&repo.folder()), Some(repo));
        }
        for name in ["", "/", "a/", "/a", "a/b/c", "a--b/c", "..", "a/..", ".a/b", "a b", "ä/b", "a/b\0"] {
            assert!(RepoId::new(name).is_err(), "{name:?}");
        }
        assert_eq!(RepoId::from_folder("datasets--a--b"), None);
    }

    proptest! {
        #[test]
        fn accepted_file_names_stay_inside(name in "[a.\\\\/: \\x00ü-]{0,12}|\\PC{0,24}") {
            if check_file_name(&name).is_ok() {
                let parts: Vec<_> = Path::new(&name).components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(parts.len(), name.split('/').count());
            }
        }

        #[test]
        fn accepted_repositories_are_one_directory_and_unambiguous(name in "[aB0._/-]{0,12}") {
            if let Ok(repo) = RepoId::new(&name) {
                let folder = repo.folder();
                prop_assert_eq!(Path::new(&folder).components().count(), 1);
                prop_assert_eq!(RepoId::from_folder(&folder), Some(repo));
            }
        }

        #[test]
        fn accepted_etags_are_one_plain_file_name(etag in "[a0./\\\\\"-]{0,8}") {
            if check_etag(&etag).is_ok() {
                prop_assert!(!etag.contains(['.', '/', '\\', '"']));
            }
        }
    }
}
