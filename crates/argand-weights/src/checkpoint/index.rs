//! The index of a sharded checkpoint, `model.safetensors.index.json` or `pytorch_model.bin.index.json`: which tensor is in
//! which file.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::error::{printable, quote};
use crate::safetensors::Unique;
use crate::sidecar;
use crate::tensor::Tensor;

/// The ends of the names of index files, and those of the shards that they list.
pub(super) const SUFFIXES: [(&str, &str); 2] =
    [(".safetensors.index.json", ".safetensors"), (".bin.index.json", ".bin")];

/// A checked index.
pub(super) struct Index {
    path: PathBuf,
    /// Names of the shards, sorted.
    shards: Vec<String>,
    /// Tensor name to place in `shards`.
    weight_map: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: Unique<Vec<(String, String)>>,
}

impl Index {
    /// Reads an index file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &sidecar::read_bounded(path)?)
    }

    fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let raw: RawIndex = serde_json::from_slice(json).map_err(|error| {
            Error::malformed(path, "JSON", printable(&error), "an object with a \"weight_map\" of names to files")
        })?;
        let pairs = raw.weight_map.0;
        let shards: BTreeSet<&str> = pairs.iter().map(|(_, shard)| shard.as_str()).collect();
        let shards: Vec<String> = shards.into_iter().map(str::to_owned).collect();
        let name = path.to_string_lossy();
        let suffix = SUFFIXES.iter().find(|(index, _)| name.ends_with(index)).map_or("", |(_, shard)| shard);
        for (tensor, shard) in &pairs {
            check_shard_name(path, tensor, shard, suffix)?;
        }
        if shards.is_empty() {
            return Err(Error::malformed(path, "weight_map", "no tensors", "at least one"));
        }
        let places: HashMap<&str, usize> = shards.iter().enumerate().map(|(at, shard)| (shard.as_str(), at)).collect();
        let weight_map = pairs.iter().map(|(tensor, shard)| (tensor.clone(), places[shard.as_str()])).collect();
        Ok(Self { path: path.to_path_buf(), shards, weight_map })
    }

    /// Whether `name` is the name of a shard.
    pub(super) fn lists(&self, name: &str) -> bool {
        self.shards.iter().any(|shard| shard == name)
    }

    /// Paths of all shards; an error names all that are missing.
    pub(super) fn shard_paths(&self) -> Result<Vec<PathBuf>, Error> {
        let paths: Vec<PathBuf> = self.shards.iter().map(|shard| self.path.with_file_name(shard)).collect();
        let missing: Vec<PathBuf> = paths.iter().filter(|path| !path.exists()).cloned().collect();
        if missing.is_empty() {
            return Ok(paths);
        }
        Err(Error::MissingParts { file: self.path.clone(), count: paths.len(), missing })
    }

    /// Checks that the shards hold what the index says; the place of a tensor is that of its shard.
    pub(super) fn check<'t>(&self, tensors: impl Iterator<Item = &'t Tensor>) -> Result<(), Error> {
        let mut unseen = self.weight_map.clone();
        for tensor in tensors {
            let held = tensor.place().file;
            if let Some(listed) = unseen.remove(tensor.name())
                && listed != held
            {
                return Err(self.contradiction(tensor.name(), &self.shards[held], listed));
            }
        }
        match unseen.into_iter().min() {
            Some((name, listed)) => Err(self.contradiction(&name, "none of the shards", listed)),
            None => Ok(()),
        }
    }

    fn contradiction(&self, tensor: &str, found: &str, listed: usize) -> Error {
        let field = format!("weight_map: tensor {}", quote(tensor));
        let found = format!("the tensor in {found}");
        Error::malformed(&self.path, field, found, format!("it in {}", self.shards[listed]))
    }
}

/// A shard lies beside its index: its name must not lead anywhere else on any system.
fn check_shard_name(index: &Path, tensor: &str, shard: &str, suffix: &str) -> Result<(), Error> {
    let plain = shard.ends_with(suffix)
        && !shard.starts_with('.')
        && !shard.contains(['/', '\\', ':'])
        && !shard.contains(char::is_control);
    if plain {
        return Ok(());
    }
    let field = format!("weight_map: tensor {}", quote(tensor));
    let expected = format!("the plain name of a {suffix} file beside the index");
    Err(Error::malformed(index, field, quote(shard), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Index, Error> {
        Index::parse(Path::new("model.safetensors.index.json"), json.as_bytes())
    }

    #[test]
    fn shards_are_listed_once_and_sorted() {
        let index = parse(
            r#"{"metadata": {"total_size": 1}, "weight_map":
            {"b": "m-2.safetensors", "a": "m-1.safetensors", "c": "m-1.safetensors"}}"#,
        );
        let index = index.unwrap();
        assert_eq!(index.shards, ["m-1.safetensors", "m-2.safetensors"]);
        assert!(index.lists("m-2.safetensors") && !index.lists("m-3.safetensors"));
    }

    #[test]
    fn shard_names_cannot_leave_the_folder() {
        let names = [
            "../x.safetensors",
            "/x.safetensors",
            r"..\\x.safetensors",
            "C:x.safetensors",
            "a/b.safetensors",
            "x\\u0000.safetensors",
            "x.bin",
            "",
            ".safetensors",
            "a\\n.safetensors",
        ];
        for name in names {
            let error = parse(&format!(r#"{{"weight_map": {{"w": "{name}"}}}}"#)).err();
            let message = error.unwrap_or_else(|| panic!("{name} was accepted")).to_string();
            assert!(message.contains("index.json") && message.contains("tensor \"w\""), "{message}");
        }
    }

    #[test]
    fn repeated_and_empty_maps_are_refused() {
        let twice = r#"{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}"#;
        assert!(parse(twice).err().unwrap().to_string().contains("second time"));
        assert!(parse(r#"{"weight_map": {}}"#).err().unwrap().to_string().contains("no tensors"));
        assert!(parse(r#"{"weight_map": 3}"#).is_err());
    }
}
