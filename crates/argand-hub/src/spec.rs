//! What a user typed, taken apart: a path, a catalogue name, or a repository with file and revision.
//!
//! Parsing looks at the file system only to tell a path from a repository, and never at the network.

use std::path::{Path, PathBuf};

use crate::catalogue::{self, CatalogueEntry};
use crate::error::{HubError, Result};
use crate::names::{RepoId, check_file_name, check_revision};

/// A parsed model name.
#[derive(Debug, Clone)]
pub enum ModelSpec {
    /// A file or directory of the user's own, used in place.
    Path(PathBuf),
    /// A known model.
    Catalogue(&'static CatalogueEntry),
    /// A repository of the hub.
    Repo(RepoSpec),
}

/// `owner/name[:selector][@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// The repository.
    pub repo: RepoId,
    /// A file of it, a quantisation (`Q4_K_M`), `gguf` or `safetensors`; `None` picks by preference.
    pub selector: Option<String>,
    /// Branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
}

impl RepoSpec {
    /// The revision to ask the hub for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl std::fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(selector) = &self.selector {
            write!(f, ":{selector}")?;
        }
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl ModelSpec {
    /// Takes a name apart. In doubt, in this order: an explicit path (`/`, `./`, `../`, `~/`, or a weights file that
    /// is not `owner/name:file`), a catalogue name, an existing path, a repository.
    ///
    /// # Errors
    /// [`HubError::UnknownModel`] for a plain word that is nothing of these, [`HubError::BadSpec`] and
    /// [`HubError::UnsafeName`] for a malformed one.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("~/") {
            let home = std::env::home_dir().ok_or(HubError::NoHome)?;
            return Ok(Self::Path(home.join(rest)));
        }
        let explicit = ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || text == "." || text == "..";
        if explicit || (is_weights_file(text) && !text.contains(':')) || Path::new(text).is_absolute() {
            return Ok(Self::Path(text.into()));
        }
        if let Some(entry) = catalogue::find(text) {
            return Ok(Self::Catalogue(entry));
        }
        let address = ["https://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/", "hf:"];
        let hub = address.iter().find_map(|start| text.strip_prefix(start));
        if hub.is_none() && !text.is_empty() && Path::new(text).exists() {
            return Ok(Self::Path(text.into()));
        }
        if hub.is_none() && !text.contains('/') {
            return Err(HubError::UnknownModel { name: text.into(), near: catalogue::near_names(text) });
        }
        parse_repo(hub.unwrap_or(text)).map(Self::Repo)
    }
}

fn parse_repo(text: &str) -> Result<RepoSpec> {
    let bad = |reason: &str| HubError::BadSpec { spec: text.into(), reason: reason.into() };
    let (rest, revision) = match text.split_once('@') {
        Some((_, "")) => return Err(bad("the revision after @ is empty")),
        Some((rest, revision)) => (rest, Some(revision)),
        None => (text, None),
    };
    let (repo, selector) = match rest.split_once(':') {
        Some((_, "")) => return Err(bad("the file or quantisation after : is empty")),
        Some((repo, selector)) => (repo, Some(selector)),
        None => (rest, None),
    };
    selector.map_or(Ok(()), check_file_name)?;
    revision.map_or(Ok(()), check_revision)?;
    Ok(RepoSpec {
        repo: RepoId::new(repo.trim_end_matches('/'))?,
        selector: selector.map(str::to_owned),
        revision: revision.map(str::to_owned),
    })
}

/// Whether the name ends like a file of weights.
pub(crate) fn is_weights_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".gguf") || lower.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(text: &str) -> RepoSpec {
        match ModelSpec::parse(text).unwrap() {
            ModelSpec::Repo(spec) => spec,
            other => panic!("{text} became {other:?}"),
        }
    }

    #[test]
    fn repositories_carry_selector_and_revision() {
        let spec = repo("Qwen/Qwen3-8B-GGUF:q8_0@refs/pr/1");
        assert_eq!(spec.repo.as_str(), "Qwen/Qwen3-8B-GGUF");
        assert_eq!((spec.selector.as_deref(), spec.revision()), (Some("q8_0"), "refs/pr/1"));
        assert_eq!(spec.to_string(), "Qwen/Qwen3-8B-GGUF:q8_0@refs/pr/1");
        assert_eq!(repo("a/b:sub/model.gguf").selector.as_deref(), Some("sub/model.gguf"));
        assert_eq!(repo("https://huggingface.co/a/b").repo.as_str(), "a/b");
        assert_eq!(repo("hf:gpt2").repo.as_str(), "gpt2");
        assert_eq!(repo("a/b").revision(), "main");
    }

    #[test]
    fn paths_and_catalogue_names_are_recognised() {
        for path in ["/x/y", "./x", "../x", "model.gguf", "dir/model.safetensors", "src"] {
            assert!(matches!(ModelSpec::parse(path).unwrap(), ModelSpec::Path(_)), "{path}");
        }
        assert!(matches!(ModelSpec::parse(" SMOLLM2:135m ").unwrap(), ModelSpec::Catalogue(_)));
    }

    #[test]
    fn malformed_names_are_refused_and_unknown_ones_suggest() {
        for text in ["a/b@", "a/b:", "a/b/c", "a/b:../x", "a/b@../x", "a/..", "a b/c"] {
            let error = ModelSpec::parse(text).unwrap_err();
            assert!(matches!(error, HubError::BadSpec { .. } | HubError::UnsafeName { .. }), "{text}: {error}");
        }
        let error = ModelSpec::parse("gemma-3-270").unwrap_err().to_string();
        assert!(error.contains("did you mean gemma-3-270m"), "{error}");
        assert!(matches!(ModelSpec::parse(""), Err(HubError::UnknownModel { .. })));
    }
}
