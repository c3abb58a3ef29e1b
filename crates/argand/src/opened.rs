//! A model as the readings see it: its graph and where its weights lie, without loading them.

use crate::models;
use anyhow::{Context, Result};
use argand_codec::Codec;
use argand_graph::Count;
use argand_models::Model;
use argand_weights::Checkpoint;
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
    /// Opens a MODEL or a configuration.
    pub fn open(name: &str) -> Result<Self> {
        if name.ends_with(".json") && !name.ends_with(".index.json") {
            let text = std::fs::read(name).with_context(|| format!("cannot read {name}"))?;
            let config = serde_json::from_slice(&text).with_context(|| format!("{name} is no JSON"))?;
            return Ok(Self::Config(config));
        }
        Self::at(&models::ready(name)?.path)
    }

    /// Opens the checkpoint at a path.
    pub fn at(path: &Path) -> Result<Self> {
        Ok(Self::Checkpoint(Box::new(Checkpoint::open(path)?)))
    }

    /// Its graph, for sequences of up to `context` tokens.
    pub fn model(&self, context: Option<usize>) -> Result<Model<'_>> {
        Ok(match self {
            Self::Checkpoint(checkpoint) => Model::open(checkpoint, context)?,
            Self::Config(config) => Model::from_config(config, context)?,
        })
    }

    /// Size of its files; none for a configuration.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.file_bytes(),
            Self::Config(_) => 0,
        }
    }

    /// What it costs; matrices count as stored in `codec` if given.
    pub fn count(&self, codec: Option<Codec>) -> Result<Count> {
        let model = self.model(None)?;
        let stored = |name: &str, elements: usize| match (self, codec) {
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
        Ok(argand_graph::count(&model.graph, stored))
    }
}

fn bytes_in(codec: Codec, elements: usize) -> usize {
    (elements as f64 * codec.bits_per_value() / 8.0).ceil() as usize
}
