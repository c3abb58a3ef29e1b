//! The JSON of safetensors files and indexes. Refuses repeated names, which a map type would silently merge.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::quote;

/// Key of the file's own metadata among the tensor names.
const METADATA: &str = "__metadata__";

/// One tensor as it is written; nothing is checked but the types.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTensor {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) data_offsets: [u64; 2],
}

/// The header as it is written.
#[derive(Default)]
pub(super) struct Header {
    pub(super) metadata: Vec<(String, String)>,
    pub(super) tensors: Vec<(String, RawTensor)>,
}

/// A JSON object that is collected pair by pair.
pub(crate) trait Collect<'de>: Default {
    /// Takes the value that follows `key`.
    fn collect<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>;
}

impl<'de> Collect<'de> for Header {
    fn collect<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        if key == METADATA {
            self.metadata = map.next_value::<Unique<Vec<(String, String)>>>()?.0;
            return Ok(());
        }
        self.tensors.push((key, map.next_value()?));
        Ok(())
    }
}

impl<'de> Collect<'de> for Vec<(String, String)> {
    fn collect<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        self.push((key, map.next_value()?));
        Ok(())
    }
}

/// A JSON object whose keys differ.
pub(crate) struct Unique<T>(pub(crate) T);

impl<'de, T: Collect<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData)).map(Self)
    }
}

struct UniqueVisitor<T>(PhantomData<T>);

impl<'de, T: Collect<'de>> Visitor<'de> for UniqueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut seen = HashSet::new();
        let mut collected = T::default();
        while let Some(name) = map.next_key::<String>()? {
            let about = quote(&name);
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("name {about}: found a second time")));
            }
            collected.collect(name, &mut map).map_err(|error| A::Error::custom(format!("name {about}: {error}")))?;
        }
        Ok(collected)
    }
}
