//! A model as the readings see it: its graph and where its weights lie, without loading them.

use crate::models;
use anyhow::{Context, Result, bail};
use argand_codec::Codec;
use argand_graph::{Count, WeightRef};
use argand_hub::HubError;
use argand_models::Model;
use argand_models::vision::Sight;
use argand_weights::Checkpoint;
use std::collections::HashMap;
use std::path::Path;

/// A checkpoint, or a configuration without weights.
pub enum Opened {
    /// Files with weights.
    Checkpoint(Box<Checkpoint>),
    /// A `config.json`.
    Config(serde_json::Value),
}

/// Bytes of a weight of a configuration that does not say how its weights are stored.
const USUAL_BYTES: usize = 2;

impl Opened {
    /// Opens a MODEL with that configuration instead of its own, or a configuration, which may lie in a folder without weights.
    pub fn open(name: &str, config: Option<&serde_json::Value>) -> Result<Self> {
        if name.ends_with(".json") && !name.ends_with(".index.json") {
            if config.is_some() {
                bail!("{name} is a configuration, and --config names another one; leave one out");
            }
            return Self::config(Path::new(name));
        }
        match models::ready(name) {
            Ok(found) => Self::at(&found.path, config),
            Err(error) => match error.downcast_ref() {
                Some(HubError::NoWeights { path }) => Self::config(&path.join("config.json")),
                _ => Err(error),
            },
        }
    }

    fn config(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::Config(serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))?))
    }

    /// Opens the checkpoint at a path, with that configuration instead of its own.
    pub fn at(path: &Path, config: Option<&serde_json::Value>) -> Result<Self> {
        Ok(Self::Checkpoint(Box::new(Checkpoint::open_as(path, config)?)))
    }

    /// Its graph, for sequences of up to `context` tokens.
    pub fn model(&self, context: Option<usize>) -> Result<Model<'_>> {
        Ok(match self {
            Self::Checkpoint(checkpoint) => Model::open(checkpoint, context)?,
            Self::Config(config) => Model::from_config(config, context)?,
        })
    }

    /// Of a model that reads and sees the part that looks at pictures, or that which reads.
    pub fn part(&self, looking: bool) -> Result<Model<'_>> {
        let model = self.model(None)?;
        if !looking {
            return Ok(model);
        }
        let part = model.looking()?;
        match Sight::of(&part.graph) {
            Some(_) => Ok(part),
            None => bail!("{} has no part of its own that looks at pictures; leave --looking out", model.page.name),
        }
    }

    /// Size of its files; none for a configuration.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.file_bytes(),
            Self::Config(_) => 0,
        }
    }

    /// What a part of it costs; matrices whose rows fill whole blocks of `codec` count as stored in it, if given.
    pub fn count(&self, model: &Model<'_>, codec: Option<Codec>) -> Count {
        let columns: HashMap<String, usize> = model.graph.weights().into_iter().filter_map(columns).collect();
        let fits = |name: &str, codec: &Codec| columns.get(name).is_some_and(|n| n.is_multiple_of(codec.block_len()));
        let stored = |name: &str, elements: usize| match (self, codec.filter(|codec| fits(name, codec))) {
            (_, Some(codec)) => bytes_in(codec, elements),
            (Self::Config(_), None) => elements * USUAL_BYTES,
            (Self::Checkpoint(checkpoint), None) => {
                let Ok(located) = model.locate(name) else { return 0 };
                match checkpoint.tensor(&located.tensor) {
                    // A part of a joined tensor takes its share.
                    Some(t) => t.info.bytes() * elements / t.info.elements().max(1),
                    None if checkpoint.foreign_bytes(&located.tensor).is_some() => bytes_in(Codec::Mxfp4, elements),
                    None => 0,
                }
            }
        };
        argand_graph::count(&model.graph, stored)
    }
}

/// The length of a matrix's rows, by the matrix's name; none for vectors.
fn columns(weight: WeightRef) -> Option<(String, usize)> {
    let columns = *weight.shape.last().filter(|_| weight.shape.len() > 1)?;
    Some((weight.name, columns))
}

fn bytes_in(codec: Codec, elements: usize) -> usize {
    (elements as f64 * codec.bits_per_value() / 8.0).ceil() as usize
}
