//! Networks that are no language models: what they look at is given by name, and one step is a whole run.

use crate::load::{LoadError, LoadOptions, Loading};
use crate::source::Source;
use argand_cpu::{Batch, Error, Executor, Observer, Seq};
use argand_graph::Graph;
use argand_models::Model;
use argand_weights::Checkpoint;
use std::sync::Arc;

/// A loaded network.
pub struct Network {
    executor: Executor,
}

/// What a run looks at: tokens, what is given by name, or both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// Tokens of all sequences.
    pub tokens: &'a [u32],
    /// Values by name, those of all sequences or pictures one after another.
    pub given: &'a [(&'a str, &'a [f32])],
}

impl Network {
    /// Loads the weights of one graph of a model. `max_rows` of the options bounds the tokens or frames of a run.
    ///
    /// # Errors
    /// Missing or misshapen weights, ops that the executor lacks, too little memory.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        model: &Model<'_>,
        graph: &Graph,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Network, LoadError> {
        let source = Arc::new(Source::new(checkpoint, model, graph, None)?);
        let total = checkpoint.file_bytes();
        let mut hear = |bytes| progress(Loading { bytes, total });
        let executor = Executor::load(graph, source, options.resolved(0)?, &mut hear)
            .map_err(|error| LoadError::Executor { file: checkpoint.path().display().to_string(), error })?;
        checkpoint.release_all();
        Ok(Network { executor })
    }

    /// Values in a row of the output.
    pub fn width(&self) -> usize {
        self.executor.vocab()
    }

    /// Looks at `count` pictures of the size that the graph was built for, `[count x height x width, channels]`.
    ///
    /// # Errors
    /// Pixels of another size, too little memory.
    pub fn pictures(&mut self, count: usize, pixels: &[f32]) -> Result<&[f32], Error> {
        self.run(&vec![0; count], &Input { given: &[("pixels", pixels)], ..Input::default() }, None)
    }

    /// Runs sequences of `rows` tokens or frames each; pictures have none. Named values are shown to `observer`.
    ///
    /// # Errors
    /// Something that is missing or of another size, too little memory.
    pub fn run(
        &mut self,
        rows: &[usize],
        input: &Input<'_>,
        observer: Option<&mut Observer<'_>>,
    ) -> Result<&[f32], Error> {
        let mut end = 0;
        let seqs = rows.iter().map(|n| {
            let rows = end..end + n;
            end = rows.end;
            Seq { rows, past: 0, pages: &[] }
        });
        let seqs: Vec<Seq<'_>> = seqs.collect();
        let batch = Batch { tokens: input.tokens, seqs: &seqs, given: input.given, ..Batch::default() };
        self.executor.observed_step(&batch, observer)
    }
}
