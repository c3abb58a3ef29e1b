//! The format that torch wrote before 1.6 and still writes when asked: five pickles (magic number, version, the writer's
//! system, the object, the keys of its storages), then each storage as its length and its bytes
//! (torch `serialization.py`, `_legacy_save`).

use std::collections::HashMap;
use std::path::Path;

use super::Opened;
use super::machine::{Machine, Value};
use super::state::{self, State};
use crate::Error;
use crate::error::quote;
use crate::source::Source;
use crate::tensor::Place;

/// The pickle of torch's magic number, by which a legacy file begins: PROTO 2, LONG1 of ten bytes, STOP.
pub(crate) const MAGIC: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Version of the format, the only one there ever was.
const VERSION: i64 = 1001;

/// Reads the pickles, and finds each storage behind them.
pub(super) fn read(source: &Source, file_index: usize) -> Result<Opened<'_>, Error> {
    let (file, bytes) = (source.path(), source.bytes());
    let mut at = MAGIC.len();
    let mut next = |field: &str| {
        let (machine, value, length) = Machine::run(file, field, bytes.get(at..).unwrap_or(&[]))?;
        at += length;
        Ok::<_, Error>((machine, value, length))
    };
    let (_, version, _) = next("version")?;
    if version != Value::Int(VERSION) {
        return Err(Error::malformed(file, "version", format!("{version:?}"), VERSION));
    }
    let (system, about, _) = next("system")?;
    check_endian(file, &system, about)?;
    let (object, root, length) = next("pickle")?;
    let state: State = state::find(file, &object, length, root)?;
    let (list, keys, _) = next("storage keys")?;
    let keys = list.members(keys).unwrap_or(&[]);
    let keys: Option<Vec<&str>> = keys.iter().map(|key| list.text(*key)).collect();
    let keys = keys.ok_or_else(|| Error::malformed(file, "storage keys", "other values", "texts"))?;
    let rows = rows(source, file_index, at, &object, &keys)?;
    Ok(Opened { machine: object, state, rows })
}

fn check_endian(file: &Path, system: &Machine<'_>, about: Value) -> Result<(), Error> {
    let Value::Dict(about) = about else {
        return Err(Error::malformed(file, "system", about.kind(), "a dictionary"));
    };
    let little = system.dicts[about].iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
    match little {
        Some((_, Value::Bool(true))) => Ok(()),
        _ => Err(super::big_endian(file, "system")),
    }
}

/// Where each storage lies: a length in elements, then the elements.
fn rows(
    source: &Source,
    file_index: usize,
    mut at: usize,
    object: &Machine<'_>,
    keys: &[&str],
) -> Result<HashMap<String, Place>, Error> {
    let file = source.path();
    let widths: HashMap<&str, usize> =
        object.storages.iter().map(|one| (one.key.as_str(), one.dtype.map_or(1, |dtype| dtype.bytes))).collect();
    let mut rows = HashMap::with_capacity(keys.len());
    for &key in keys {
        let field = format!("storage {}", quote(key));
        let Some(width) = widths.get(key) else {
            return Err(Error::malformed(file, field, "bytes of it", "only storages that a tensor has"));
        };
        let rest = source.bytes().get(at..).unwrap_or(&[]);
        let truncated = |needed: u64, left: usize| Error::Truncated {
            file: file.to_path_buf(),
            field: field.clone(),
            needed,
            left: left as u64,
        };
        let (count, rest) = rest.split_first_chunk::<8>().ok_or_else(|| truncated(8, rest.len()))?;
        let needed = u64::from_le_bytes(*count).saturating_mul(*width as u64);
        let length = usize::try_from(needed).ok().filter(|length| *length <= rest.len());
        let length = length.ok_or_else(|| truncated(needed, rest.len()))?;
        let start = at + 8;
        at = start + length;
        if rows.insert(key.to_owned(), Place::mapped(file_index, start..at)).is_some() {
            return Err(Error::Duplicate { file: file.to_path_buf(), field });
        }
    }
    Ok(rows)
}
