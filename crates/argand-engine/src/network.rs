//! Networks that are no language models: what they look at is given by name, and one step is a whole run.

use crate::load::{LoadError, LoadOptions, Loading};
use crate::source::Source;
use argand_cpu::kv::PAGE_TOKENS;
use argand_cpu::{Batch, Error, Executor, Observer, Seq};
use argand_graph::{Graph, Op};
use argand_models::Model;
use argand_weights::Checkpoint;
use std::borrow::Cow;
use std::sync::Arc;

/// The name by which pictures come in.
const PIXELS: &str = "pixels";

/// Whether a model looks at pictures: they are brought in by a step.
pub fn sees(graph: &Graph) -> bool {
    graph.body.iter().any(|(_, node)| matches!(&node.op, Op::Given { name, .. } if name == PIXELS))
}

/// A loaded network.
pub struct Network {
    executor: Executor,
    /// Numbers of the pages that sequences of a run share out; none where nothing is attended to.
    pages: Vec<u32>,
}

/// What a run looks at: tokens, what is given by name, or both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// Tokens of all sequences.
    pub tokens: &'a [u32],
    /// Position of each row in its sequence, where the graph looks at it.
    pub positions: &'a [u32],
    /// Time, height and width of each row; none when all three are its position.
    pub coordinates: &'a [[u32; 3]],
    /// One more than the row of a picture that stands in the place of each row, 0 for none.
    pub placed: &'a [u32],
    /// Rows from which those that go out are made, where the graph asks.
    pub wanted: &'a [u32],
    /// Values by name, those of all sequences or pictures one after another.
    pub given: &'a [(&'a str, &'a [f32])],
}

impl Network {
    /// Loads the weights of one graph of a model. `max_rows` of the options bounds the tokens or frames of a run, and where these
    /// attend to each other, `sequences` how many may be in a run.
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
        let source = Arc::new(Source::new(checkpoint, model, graph, options.quantize)?);
        let total = checkpoint.file_bytes();
        let mut hear = |bytes| progress(Loading { bytes, total });
        let pages = match graph.states().is_empty() {
            true => 0,
            false => options.max_rows.div_ceil(PAGE_TOKENS) + options.sequences,
        };
        let graph = match options.decomposed {
            true => Cow::Owned(argand_graph::pass::decompose(graph, |_| true).map_err(argand_models::Error::Graph)?),
            false => Cow::Borrowed(graph),
        };
        let executor = Executor::load(&graph, source, options.resolved(pages)?, &mut hear)
            .map_err(|error| LoadError::Executor { file: checkpoint.path().display().to_string(), error })?;
        checkpoint.release_all();
        Ok(Network { executor, pages: (0..pages as u32).collect() })
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
        self.run(&vec![0; count], &Input { given: &[(PIXELS, pixels)], ..Input::default() }, None)
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
        let (mut end, mut pages) = (0, self.pages.as_slice());
        let seqs = rows.iter().map(|n| {
            let rows = end..end + n;
            end = rows.end;
            // Where there are too few, the executor says so.
            let (own, others) = pages.split_at(n.div_ceil(PAGE_TOKENS).min(pages.len()));
            pages = others;
            Seq { rows, past: 0, pages: own }
        });
        let seqs: Vec<Seq<'_>> = seqs.collect();
        let Input { tokens, positions, coordinates, placed, wanted: logit_rows, given } = *input;
        let batch =
            Batch { tokens, positions, coordinates, placed, logit_rows, given, seqs: &seqs, ..Batch::default() };
        self.executor.observed_step(&batch, observer)
    }
}

/// A checkpoint that looks at pictures of any size. Another size is another graph, with weights of its own: those of the last
/// sizes are kept.
pub struct Seeing {
    checkpoint: Arc<Checkpoint>,
    options: LoadOptions,
    kept: usize,
    /// The one that was used last is at the end.
    networks: Vec<([usize; 2], Network)>,
}

impl Seeing {
    /// Of an opened checkpoint; weights are read once the size of pictures is known. Networks of `kept` sizes stay, at least one.
    pub fn new(checkpoint: Arc<Checkpoint>, options: LoadOptions, kept: usize) -> Seeing {
        Seeing { checkpoint, options, kept: kept.max(1), networks: Vec::new() }
    }

    /// The network for pictures of that height and width.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn network(&mut self, size: [usize; 2], progress: &mut dyn FnMut(Loading)) -> Result<&mut Network, LoadError> {
        let network = match self.networks.iter().position(|(known, _)| *known == size) {
            Some(i) => self.networks.remove(i).1,
            None => {
                if self.networks.len() >= self.kept {
                    self.networks.remove(0);
                }
                let model = Model::for_pictures(&self.checkpoint, size)?;
                Network::load(&self.checkpoint, &model, &model.graph, &self.options, progress)?
            }
        };
        self.networks.push((size, network));
        let last = self.networks.len() - 1;
        Ok(&mut self.networks[last].1)
    }

    /// Looks at `count` pictures of that height and width, `[count x height x width, channels]`.
    ///
    /// # Errors
    /// As [`Network::load`] and [`Network::pictures`].
    pub fn look(&mut self, size: [usize; 2], count: usize, pixels: &[f32]) -> Result<&[f32], LoadError> {
        let file = self.checkpoint.path().display().to_string();
        let network = self.network(size, &mut |_| {})?;
        network.pictures(count, pixels).map_err(|error| LoadError::Executor { file, error })
    }
}
