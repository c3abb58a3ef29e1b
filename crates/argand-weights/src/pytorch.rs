//! What `torch.save` writes (`.bin`, `.pt`, `.pth`), without running it.
//!
//! A file of PyTorch is a pickle, a program for a machine that can call anything. Here the machine has a list of the names
//! that weights need (`allowed`), and knows what each stands for; another name is an error that tells it. Nothing is ever
//! imported, called or built. Tensors are views of storages, which lie in the file as they are: a view without gaps is used
//! where it lies, any other is copied in order.
//!
//! Which value of the pickle is the state dict is told by `state`; the key `pytorch.state_dict` of the metadata says where
//! it was, unless it is the root. Doubles become F32. Members whose bytes are used where they lie are not compared with
//! their sums, which would mean reading the whole file: torch does not either.

mod allowed;
mod legacy;
mod machine;
mod opcodes;
mod rebuild;
mod state;

pub(crate) use allowed::dtype;
pub(crate) use legacy::MAGIC as LEGACY_MAGIC;

use std::collections::HashMap;
use std::path::Path;

use crate::Error;
use crate::archive::{Archive, field};
use crate::error::quote;
use crate::metadata::{Metadata, Value};
use crate::source::Source;
use crate::strided::Copies;
use crate::tensor::{Place, Tensor, check_name};
use machine::{MAX_PICKLE, Machine, Storage};
use state::State;

/// Metadata key: where in the pickle the state dict was, keys joined with dots.
pub const STATE_DICT_KEY: &str = "pytorch.state_dict";

/// The pickle's name in the folder of an archive.
const PICKLE: &str = "data.pkl";

/// A pickle that was read, and where its storages are.
struct Opened<'p> {
    machine: Machine<'p>,
    state: State,
    /// The bytes of each storage that has a tensor, by its key.
    rows: HashMap<String, Place>,
}

/// What a reader of a file with copies gives.
pub(crate) struct Contents {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) copies: Vec<Vec<u8>>,
}

/// Whether the archive is one of torch.
pub(crate) fn is_torch(archive: &Archive<'_>) -> bool {
    archive.members.iter().any(|member| folder(&member.name).is_some())
}

/// The folder of an archive's pickle, with its slash.
fn folder(name: &str) -> Option<&str> {
    name.strip_suffix(PICKLE).filter(|folder| folder.is_empty() || folder.find('/') == Some(folder.len() - 1))
}

/// Reads an archive, torch's format since 1.6.
pub(crate) fn read_zip(source: &Source, mut archive: Archive<'_>, file_index: usize) -> Result<Contents, Error> {
    let file = source.path();
    let pickles: Vec<_> = archive.members.iter().filter(|member| folder(&member.name).is_some()).cloned().collect();
    let [pickle] = &pickles[..] else {
        return Err(Error::malformed(file, "zip archive", format!("{} pickles", pickles.len()), "one data.pkl"));
    };
    let folder = folder(&pickle.name).unwrap_or("");
    if let Some(order) = archive.find(&format!("{folder}byteorder")).cloned()
        && archive.contents(&order, 16)? != b"little"
    {
        return Err(big_endian(file, &field(&order.name)));
    }
    let bytes = archive.contents(pickle, MAX_PICKLE)?;
    let (machine, root, length) = Machine::run(file, &field(&pickle.name), &bytes)?;
    let state = state::find(file, &machine, length, root)?;
    let mut copies = Copies::of(source);
    let mut rows = HashMap::new();
    for storage in state.tensors.iter().map(|(_, tensor)| &machine.storages[machine.tensors[*tensor].storage]) {
        if rows.contains_key(&storage.key) {
            continue;
        }
        let name = format!("{folder}data/{}", storage.key);
        let member = archive.find(&name).cloned().ok_or_else(|| {
            Error::malformed(file, format!("storage {}", quote(&storage.key)), "no zip member", quote(&name))
        })?;
        rows.insert(storage.key.clone(), archive.place(&member, file_index, &mut copies)?);
    }
    contents(source, Opened { machine, state, rows }, copies)
}

/// Reads a file of the legacy format.
pub(crate) fn read_legacy(source: &Source, file_index: usize) -> Result<Contents, Error> {
    contents(source, legacy::read(source, file_index)?, Copies::of(source))
}

fn contents(source: &Source, opened: Opened<'_>, mut copies: Copies) -> Result<Contents, Error> {
    let file = source.path();
    let Opened { machine, state, rows } = opened;
    let mut tensors = Vec::with_capacity(state.tensors.len());
    for (name, tensor) in state.tensors {
        check_name(file, "name of a tensor", &name)?;
        let wrong = |found: String, expected: String| {
            Error::malformed(file, format!("tensor {}", quote(&name)), found, expected)
        };
        let value = &machine.tensors[tensor];
        let storage = &machine.storages[value.storage];
        let of = format!("a view of storage {}", quote(&storage.key));
        let row =
            rows.get(&storage.key).ok_or_else(|| wrong(of.clone(), "a storage that is in the file".to_owned()))?;
        let part = part(storage, row).ok_or_else(|| {
            let found = format!("storage {} of {} elements from {}", quote(&storage.key), storage.count, storage.start);
            wrong(found, format!("a storage inside its {} bytes of the file", row.range.len()))
        })?;
        let found = format!("{of}: shape {:?}, strides {:?}", value.view.shape, value.view.strides);
        let placed = copies.place(source, name.clone(), value.view.clone(), &part);
        tensors.push(placed.map_err(|expected| wrong(found, expected))?);
    }
    let mut metadata = Metadata::new();
    if !state.path.is_empty() {
        metadata.set(STATE_DICT_KEY, Value::Str(state.path));
    }
    Ok(Contents { metadata, tensors, copies: copies.into_chunks() })
}

/// The part of its bytes that is a storage: all of them, but for views in the legacy format.
fn part(storage: &Storage, row: &Place) -> Option<Place> {
    let width = storage.dtype.map_or(1, |dtype| dtype.bytes);
    let start = storage.start.checked_mul(width)?;
    let end = storage.count.checked_mul(width)?.checked_add(start)?;
    let inside = end <= row.range.len();
    inside.then(|| Place { range: row.range.start + start..row.range.start + end, ..row.clone() })
}

fn big_endian(file: &Path, field: &str) -> Error {
    Error::Unsupported {
        file: file.to_path_buf(),
        field: field.to_owned(),
        found: "an order of bytes other than little-endian".to_owned(),
        advice: "save the state dict again on a little-endian machine".to_owned(),
    }
}
