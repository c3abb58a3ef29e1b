//! From the path that a user gives to the files of a model.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::gguf;
use crate::safetensors::{INDEX_SUFFIX, Index};

/// Where the weights are.
pub(super) enum Located {
    /// A GGUF file, maybe one part of several.
    Gguf(PathBuf),
    /// A safetensors file that is the whole model.
    Safetensors(PathBuf),
    /// Shards, in the order of their index.
    Sharded(Index),
}

const EXPECTED: &str = "a GGUF file, a safetensors file, or a folder with one model in these formats";

pub(super) fn locate(path: &Path) -> Result<Located, Error> {
    if fs::metadata(path).map_err(Error::io(path, "open"))?.is_dir() {
        return locate_file(&choose(path)?);
    }
    locate_file(path)
}

fn locate_file(path: &Path) -> Result<Located, Error> {
    let name = file_name(path);
    if name.ends_with(INDEX_SUFFIX) {
        return Index::read(path).map(Located::Sharded);
    }
    let mut start = Vec::new();
    if fs::metadata(path).map_err(Error::io(path, "open"))?.is_file() {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        // Magic of GGUF; or the header length of safetensors and the brace that begins its header.
        file.take(9).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    }
    if start.starts_with(&gguf::MAGIC) || name.ends_with(".gguf") {
        return Ok(Located::Gguf(path.to_path_buf()));
    }
    if start.get(8) == Some(&b'{') || name.ends_with(".safetensors") {
        return Ok(match index_beside(path, &name)? {
            Some(index) => Located::Sharded(index),
            None => Located::Safetensors(path.to_path_buf()),
        });
    }
    let found = match name.rsplit('.').next() {
        Some("bin" | "pt" | "pth" | "ckpt" | "pkl") => {
            "maybe a pickle file, which can run code and is never opened; convert it to safetensors"
        }
        _ if start.is_empty() => "an empty file, or not a file",
        _ => "a file of another format",
    };
    Err(not_a_model(path, found))
}

/// The index beside a shard that lists it. Only names that count shards are looked up, so that a lone file never pays.
fn index_beside(path: &Path, name: &str) -> Result<Option<Index>, Error> {
    let Some((prefix, _)) = name.split_once("-of-").and_then(|(front, _)| front.rsplit_once('-')) else {
        return Ok(None);
    };
    let index = path.with_file_name(format!("{prefix}{INDEX_SUFFIX}"));
    if !index.is_file() {
        return Ok(None);
    }
    Ok(Some(Index::read(&index)?).filter(|index| index.lists(name)))
}

/// The one model of a folder.
fn choose(folder: &Path) -> Result<PathBuf, Error> {
    for usual in ["model.safetensors", "model.safetensors.index.json"] {
        let path = folder.join(usual);
        if path.is_file() {
            return Ok(path);
        }
    }
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(Error::io(folder, "list"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let groups: [fn(&str) -> bool; 3] = [
        |name| name.ends_with(INDEX_SUFFIX),
        |name| name.ends_with(".safetensors"),
        // Of a split model, the first part stands for all.
        |name| name.ends_with(".gguf") && (!name.contains("-of-") || name.contains("-00001-of-")),
    ];
    for belongs in groups {
        let members: Vec<&String> = names.iter().filter(|name| belongs(name)).collect();
        match members[..] {
            [] => {}
            [one] => return Ok(folder.join(one)),
            [first, second, ..] => {
                let found = format!("a folder of {} models, {first} and {second} among them; name one", members.len());
                return Err(not_a_model(folder, found));
            }
        }
    }
    let pickles = names.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pth"));
    Err(not_a_model(
        folder,
        if pickles {
            "a folder with pickle files, which can run code and are never opened; convert them to safetensors"
        } else {
            "a folder without a model"
        },
    ))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn not_a_model(path: &Path, found: impl Into<String>) -> Error {
    Error::NotAModel { path: path.to_path_buf(), found: found.into(), expected: EXPECTED }
}
