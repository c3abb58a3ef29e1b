//! From the path that a user gives to the files of a model.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::index::{Index, SUFFIXES};
use crate::Error;
use crate::gguf;
use crate::{archive, numpy, onnx, pytorch};

/// Where the weights are.
pub(super) enum Located {
    /// A GGUF file, maybe one part of several.
    Gguf(PathBuf),
    /// A file of safetensors, PyTorch, NumPy or ONNX that is the whole model; its first bytes tell which.
    Single(PathBuf),
    /// Shards, in the order of their index.
    Sharded(Index),
}

const EXPECTED: &str =
    "a file of GGUF, safetensors, PyTorch, NumPy or ONNX, or a folder with one model in these formats";

/// Files that training leaves beside weights.
const NOT_WEIGHTS: [&str; 5] = ["training_args.", "optimizer.", "scheduler.", "rng_state", "scaler."];

pub(super) fn locate(path: &Path) -> Result<Located, Error> {
    if fs::metadata(path).map_err(Error::io(path, "open"))?.is_dir() {
        return locate_file(&choose(path)?);
    }
    locate_file(path)
}

fn locate_file(path: &Path) -> Result<Located, Error> {
    let name = file_name(path);
    if SUFFIXES.iter().any(|(index, _)| name.ends_with(index)) {
        return Index::read(path).map(Located::Sharded);
    }
    let mut start = Vec::new();
    if fs::metadata(path).map_err(Error::io(path, "open"))?.is_file() {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        // A magic number; or the header length of safetensors and the brace that begins its header.
        file.take(16).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    }
    if start.starts_with(&gguf::MAGIC) || name.ends_with(".gguf") {
        return Ok(Located::Gguf(path.to_path_buf()));
    }
    let packed = [&archive::MAGIC[..], &numpy::MAGIC, &pytorch::LEGACY_MAGIC].iter().any(|m| start.starts_with(m));
    let named = name.ends_with(".safetensors") || name.ends_with(onnx::SUFFIX) && !start.is_empty();
    if packed || named || start.get(8) == Some(&b'{') {
        return Ok(match index_beside(path, &name)? {
            Some(index) => Located::Sharded(index),
            None => Located::Single(path.to_path_buf()),
        });
    }
    let found = match start[..] {
        [] => "an empty file, or not a file",
        [0x80, 2..=5, ..] => "a plain pickle, which torch.save did not write",
        _ => "a file of another format",
    };
    Err(not_a_model(path, found))
}

/// The index beside a shard that lists it. Only names that count shards are looked up, so that a lone file never pays.
fn index_beside(path: &Path, name: &str) -> Result<Option<Index>, Error> {
    let Some((prefix, _)) = name.split_once("-of-").and_then(|(front, _)| front.rsplit_once('-')) else {
        return Ok(None);
    };
    for (suffix, _) in SUFFIXES {
        let index = path.with_file_name(format!("{prefix}{suffix}"));
        if index.is_file() {
            return Ok(Some(Index::read(&index)?).filter(|index| index.lists(name)));
        }
    }
    Ok(None)
}

/// The one model of a folder. Of several formats the one is taken that says most and runs nothing: safetensors, GGUF,
/// PyTorch, NumPy, ONNX.
fn choose(folder: &Path) -> Result<PathBuf, Error> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(Error::io(folder, "list"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let of_torch = |name: &str| {
        [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end))
            && !NOT_WEIGHTS.iter().any(|start| name.starts_with(start))
    };
    let groups: [&dyn Fn(&str) -> bool; 10] = [
        &|name| name == "model.safetensors",
        &|name| name.ends_with(SUFFIXES[0].0),
        &|name| name.ends_with(".safetensors"),
        // Of a split model, the first part stands for all.
        &|name| name.ends_with(".gguf") && (!name.contains("-of-") || name.contains("-00001-of-")),
        &|name| name == "pytorch_model.bin",
        &|name| name.ends_with(SUFFIXES[1].0),
        &of_torch,
        &|name| name.ends_with(".npz"),
        &|name| name.ends_with(".npy"),
        &|name| name.ends_with(onnx::SUFFIX),
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
    Err(not_a_model(folder, "a folder without a model"))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn not_a_model(path: &Path, found: impl Into<String>) -> Error {
    Error::NotAModel { path: path.to_path_buf(), found: found.into(), expected: EXPECTED }
}
