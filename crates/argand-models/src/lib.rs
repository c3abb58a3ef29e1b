//! One page per model architecture.
//!
//! A page is a file in `pages/` and a name in the list of [`pages`]: it reads facts from whatever configuration a checkpoint brings,
//! builds the graph, and lists the names that its weights have in files. Pages never mention devices, number formats of
//! stored weights, cache layout, adapters or sharding.

#![forbid(unsafe_code)]

pub mod cnn;
pub mod decoder;
pub mod encoder;
mod error;
pub mod facts;
pub mod latent;
pub mod moe;
pub mod names;
pub mod pages;
pub mod rope;
pub mod sentence;
pub mod vision;

use argand_graph::{BatchInput, Graph, Op};
use argand_weights::{Checkpoint, Metadata};
use encoder::Head;
pub use error::Error;
pub use facts::{Fact, Facts};
use names::{Located, Name};
pub use pages::PAGES;

/// An architecture.
#[derive(Debug)]
pub struct Page {
    /// Name of the family.
    pub name: &'static str,
    /// Values of `general.architecture` in GGUF files.
    pub gguf: &'static [&'static str],
    /// Values of `model_type` in `config.json`.
    pub hf: &'static [&'static str],
    /// Names of weights that differ from the usual ones of a decoder, or need something done to them.
    pub names: &'static [Name],
    /// Builds the graph.
    pub graph: fn(&Facts<'_>) -> Result<Graph, Error>,
}

/// A model: its graph, and where its weights lie in the checkpoint.
pub struct Model<'a> {
    /// The architecture.
    pub page: &'static Page,
    /// What is computed.
    pub graph: Graph,
    facts: Facts<'a>,
}

impl<'a> Model<'a> {
    /// Reads the architecture of a checkpoint. `context` is the longest sequence that is to be run; position scalings
    /// that depend on it are chosen by it.
    ///
    /// # Errors
    /// An unknown architecture, a missing or odd fact.
    pub fn open(checkpoint: &'a Checkpoint, context: Option<usize>) -> Result<Self, Error> {
        Self::new(Facts::of_checkpoint(checkpoint, context)?)
    }

    /// The same for a head of an encoder that is not the one that the checkpoint was made for.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_for(checkpoint: &'a Checkpoint, context: Option<usize>, head: Head) -> Result<Self, Error> {
        Self::new(Facts::of_checkpoint(checkpoint, context)?.with_head(head))
    }

    /// Reads the architecture from a `config.json` alone, to draw it or to count its costs.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_config(config: &'a serde_json::Value, context: Option<usize>) -> Result<Self, Error> {
        Self::new(Facts::of_config(config, context)?)
    }

    /// Reads the architecture of a checkpoint that looks at pictures of that height and width, whatever the model was made for.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn for_pictures(checkpoint: &'a Checkpoint, size: [usize; 2]) -> Result<Self, Error> {
        Self::new(Facts::of_checkpoint(checkpoint, None)?.with_picture(Some(size)))
    }

    /// The part of the model that looks at pictures of the size that it was made for: where it also reads text, a graph of its own
    /// over the same checkpoint.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn looking(&self) -> Result<Self, Error> {
        Self::new(self.facts.within("", &[])?.looking())
    }

    /// Reads the architecture of a GGUF file that is still to be written.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn of_plan(metadata: &'a Metadata, tensors: &'a facts::Plan, context: Option<usize>) -> Result<Self, Error> {
        Self::new(Facts::of_plan(metadata, tensors, context)?)
    }

    fn new(facts: Facts<'a>) -> Result<Self, Error> {
        let page = facts.page()?;
        Ok(Model { page, graph: (page.graph)(&facts)?, facts })
    }

    /// Anything else that is made of the model's facts: another graph over the same checkpoint, a number.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read<T>(&self, what: fn(&Facts<'_>) -> Result<T, Error>) -> Result<T, Error> {
        what(&self.facts)
    }

    /// The longest sequence that the model was made for; 2048 where older families do not say.
    ///
    /// # Errors
    /// When the configuration says something odd.
    pub fn context(&self) -> Result<usize, Error> {
        let said = match self.facts.text() {
            Some(text) => text.maybe_usize(facts::CONTEXT)?,
            None => self.facts.maybe_usize(facts::CONTEXT)?,
        };
        Ok(said.unwrap_or(2048).min(positions(&self.graph)))
    }

    /// What is computed of an encoder's states.
    ///
    /// # Errors
    /// When the configuration says something odd.
    pub fn head(&self) -> Result<Head, Error> {
        self.facts.head()
    }

    /// The token that a text begins with which the model writes after it has read another one.
    ///
    /// # Errors
    /// When the configuration says something odd.
    pub fn start(&self) -> Result<u32, Error> {
        let start = Fact("decoder_start_token_id", "decoder_start_token_id|pad_token_id");
        Ok(self.facts.maybe_usize(start)?.unwrap_or(0) as u32)
    }

    /// What the configuration says of the model.
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Where the weight of a canonical name lies.
    ///
    /// # Errors
    /// When the page has no such name.
    pub fn locate(&self, canonical: &str) -> Result<Located, Error> {
        names::locate(self.page, &self.facts, canonical)
    }
}

/// Positions that the tables of a graph have rows for; not all of them count from their first row.
fn positions(graph: &Graph) -> usize {
    let nodes = &graph.body.nodes;
    let by_position = |v: argand_graph::Value| nodes[v.index()].op == Op::Input(BatchInput::Positions);
    let rows = nodes.iter().filter_map(|node| match (&node.op, node.ins.as_slice()) {
        (Op::Embed { first }, [table, by]) if by_position(*by) => {
            Some(nodes[table.index()].ty.rows()?.known()?.saturating_sub(*first))
        }
        _ => None,
    });
    rows.min().unwrap_or(usize::MAX)
}
