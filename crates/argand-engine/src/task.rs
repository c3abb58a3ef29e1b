//! What models are there for: what an encoder is asked, which head of it answers, and what a checkpoint was made for.

use crate::encoder::both_ways;
use crate::load::{LoadError, LoadOptions, has_template, writes};
use argand_graph::Pool;
use argand_models::Model;
use argand_models::encoder::{Head, label_names};
use argand_models::sentence::Sentence;
use argand_weights::Checkpoint;
use std::path::Path;

/// What an encoder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A vector for each text. How rows are pooled is said by the model's `modules.json`; without one their mean is taken,
    /// unless another way is asked for.
    Embed {
        /// Another way than the model's own.
        pool: Option<Pool>,
    },
    /// Words that were masked.
    Fill,
    /// Labels of texts or of their tokens.
    Classify,
    /// How relevant a text is to a question, the two read together.
    Rerank,
}

impl Task {
    /// The head of a checkpoint that does it.
    ///
    /// # Errors
    /// What is wrong with the files beside the weights.
    pub fn head(self, checkpoint: &Checkpoint) -> Result<Head, LoadError> {
        Ok(match self {
            Task::Embed { pool: Some(pool) } => Head::Sentence(Sentence::plain(pool)),
            Task::Embed { pool: None } => {
                Head::Sentence(Sentence::read(checkpoint)?.unwrap_or_else(|| Sentence::plain(Pool::Mean)))
            }
            Task::Fill => Head::Words,
            Task::Rerank => Head::Sequence,
            Task::Classify => match Model::open(checkpoint, None)?.head()? {
                Head::Tokens => Head::Tokens,
                _ => Head::Sequence,
            },
        })
    }
}

/// What a checkpoint was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// To continue texts.
    Writes {
        /// It has a template for conversations that can be read.
        chats: bool,
    },
    /// To be asked this. An encoder that has neither labels nor a way of pooling gives the mean of its rows as a vector.
    Reads(Task),
    /// Something else: labels of single tokens, pictures, sounds, texts made of other texts.
    Other,
}

impl Made {
    /// Looks at a checkpoint's configuration and the names of its tensors; no weight is read.
    ///
    /// # Errors
    /// Anything that is wrong with the files.
    pub fn of(path: &Path, options: &LoadOptions) -> Result<Made, LoadError> {
        let checkpoint = options.open(path)?;
        let model = Model::open(&checkpoint, None)?;
        if both_ways(&model.graph) {
            return Ok(match (model.head()?, label_names(model.facts())?.len()) {
                (Head::Sequence, 1) => Made::Reads(Task::Rerank),
                (Head::Sequence, _) => Made::Reads(Task::Classify),
                (Head::Tokens, _) => Made::Other,
                _ => Made::Reads(Task::Embed { pool: None }),
            });
        }
        Ok(match writes(&model.graph) && model.graph.encoder.is_none() {
            true => Made::Writes { chats: has_template(&checkpoint) },
            false => Made::Other,
        })
    }
}
