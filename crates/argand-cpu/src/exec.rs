//! A loaded model on CPU: weights, cache, arena and gang; runs one ragged step at a time.

use crate::cache::Cache;
use crate::gang::{Dealer, Gang};
use crate::layout::Layout;
use crate::lower::LowerError;
use crate::plan::Plan;
use crate::program::Program;
use crate::region::Region;
use crate::run::{Observer, Run, Scratch};
use crate::weights::{WeightError, WeightSource};
use argand_graph::Graph;
use argand_kernels::kv::KvType;
use argand_kernels::tier::{Tier, TierError};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// How a model is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instruction tier.
    pub tier: Tier,
    /// Threads, the caller's included.
    pub threads: usize,
    /// Products in f32 instead of integers.
    pub exact: bool,
    /// Whether ops are fused; without, every op is a call of its own.
    pub fused: bool,
    /// Number format of the cache.
    pub kv: KvType,
    /// Pages of [`PAGE_TOKENS`](argand_kernels::kv::PAGE_TOKENS) tokens in the cache.
    pub pages: usize,
    /// Most rows in a step.
    pub max_rows: usize,
}

/// Why a model could not be loaded or a step not be run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("the graph breaks a rule: {0}")]
    Graph(String),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error(transparent)]
    Tier(#[from] TierError),
    #[error("no memory for {what}: {error}")]
    Memory { what: &'static str, error: io::Error },
    #[error("threads could not be started: {0}")]
    Threads(io::Error),
    #[error("the step is malformed: {0}")]
    Batch(String),
}

/// The rows of one sequence in a step.
#[derive(Clone, Debug)]
pub struct Seq<'a> {
    /// Rows of the step.
    pub rows: Range<usize>,
    /// Tokens of the sequence that the cache holds already.
    pub past: usize,
    /// Pages of the sequence in order; they cover `past` and the new rows.
    pub pages: &'a [u32],
}

/// What an encoder has read for a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory<'a> {
    /// Tokens of it.
    pub tokens: usize,
    /// Their pages in order.
    pub pages: &'a [u32],
}

/// One ragged step: the new tokens of several sequences.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// Token ids, `[N]`.
    pub tokens: &'a [u32],
    /// Position of each token in its sequence, `[N]`; from it come the angles of rotary embeddings.
    pub positions: &'a [u32],
    /// Time, height and width of each token in its sequence, `[N]`; empty when all three are the position.
    pub coordinates: &'a [[u32; 3]],
    /// One more than the row of a picture that stands in the place of each token, 0 for none, `[N]`; empty when there is none.
    pub placed: &'a [u32],
    /// Type of each token, `[N]`; empty when all are of type 0.
    pub types: &'a [u32],
    /// The sequences; their rows follow one another.
    pub seqs: &'a [Seq<'a>],
    /// What was read for each sequence; empty where the model has no encoder.
    pub memories: &'a [Memory<'a>],
    /// Rows whose logits are wanted, `[R]`.
    pub logit_rows: &'a [u32],
    /// What the graph wants by name: the rows of all sequences or pictures one after another.
    pub given: &'a [(&'a str, &'a [f32])],
}

impl Batch<'_> {
    /// Rows of all sequences: tokens, or frames of what is given. Pictures have none.
    pub fn rows(&self) -> usize {
        self.seqs.last().map_or(self.tokens.len(), |s| s.rows.end.max(self.tokens.len()))
    }
}

/// A loaded model.
pub struct Executor {
    plan: Plan,
    /// What reads texts before the first step of their sequences.
    encoder: Option<Plan>,
    machine: Machine,
}

/// What all graphs of a model share.
struct Machine {
    options: Options,
    source: Arc<dyn WeightSource>,
    cache: Cache,
    gang: Gang,
    dealer: Dealer,
    arena: Region,
    scratch: Vec<Scratch>,
    shared: Scratch,
}

impl Executor {
    /// Lowers the graph and makes its weights resident. `progress` hears the resident bytes as they grow.
    ///
    /// # Errors
    /// Unsupported ops, missing or misshapen weights, too little memory.
    pub fn load(
        graph: &Graph,
        source: Arc<dyn WeightSource>,
        options: Options,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        argand_graph::check::check(graph).map_err(Error::Graph)?;
        let mut gang = Gang::new(options.threads).map_err(Error::Threads)?;
        let (mut states, mut resident) = (Vec::new(), 0);
        let mut load = |part: &Graph| {
            let mut hear = |bytes| progress(resident + bytes);
            let plan = Plan::load(part, source.as_ref(), &options, &mut gang, &mut states, &mut hear)?;
            resident += plan.weights.bytes;
            Ok::<_, Error>(plan)
        };
        let encoder = graph.encoder.as_deref().map(&mut load).transpose()?;
        let plan = load(graph)?;
        let memory = |what| move |error| Error::Memory { what, error };
        let cache = Cache::new(&states, options.kv, options.pages).map_err(memory("the cache"))?;
        let scratch: io::Result<Vec<_>> = (0..gang.threads()).map(|_| Scratch::new()).collect();
        let machine = Machine {
            options,
            source,
            cache,
            gang,
            dealer: Dealer::default(),
            arena: Region::new(1).map_err(memory("activations"))?,
            scratch: scratch.map_err(memory("scratch space"))?,
            shared: Scratch::new().map_err(memory("scratch space"))?,
        };
        Ok(Executor { plan, encoder, machine })
    }

    /// The program that is run.
    pub fn program(&self) -> &Program {
        &self.plan.program
    }

    /// How it is run.
    pub fn options(&self) -> &Options {
        &self.machine.options
    }

    /// Values in a row of the output.
    pub fn vocab(&self) -> usize {
        self.plan.vocab
    }

    /// Bytes of resident weights.
    pub fn weight_bytes(&self) -> usize {
        self.plans().map(|plan| plan.weights.bytes).sum()
    }

    fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.encoder.iter().chain([&self.plan])
    }

    /// Bytes of cache that one page of [`PAGE_TOKENS`](argand_kernels::kv::PAGE_TOKENS) tokens takes over all layers.
    pub fn page_bytes(&self) -> usize {
        self.machine.cache.page_bytes()
    }

    /// Copies a page of the cache onto another, in every layer.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        self.machine.cache.copy(from, to);
    }

    /// One more than the largest position that the model knows.
    pub fn positions(&self) -> usize {
        self.plans().map(Plan::positions).min().unwrap_or(0)
    }

    /// Runs one step. Returns the output: logits `[R, vocab]` in the order of `logit_rows`, or, as the graph says, a row for
    /// each token or each sequence.
    ///
    /// # Errors
    /// When the batch breaks a promise, or memory runs out.
    pub fn step(&mut self, batch: &Batch<'_>) -> Result<&[f32], Error> {
        self.observed_step(batch, None)
    }

    /// Runs one step and shows every named value to `observer` as it is made.
    ///
    /// # Errors
    /// As [`Executor::step`].
    pub fn observed_step(&mut self, batch: &Batch<'_>, observer: Option<&mut Observer<'_>>) -> Result<&[f32], Error> {
        self.machine.step(&mut self.plan, batch, observer)
    }

    /// Reads texts whole, each on the pages of its sequence in the batch, which then are its memory. Returns the encoder's output.
    ///
    /// # Errors
    /// The model has no encoder, a text that was begun before, or as [`Executor::step`].
    pub fn encode(&mut self, batch: &Batch<'_>, observer: Option<&mut Observer<'_>>) -> Result<&[f32], Error> {
        let encoder = self.encoder.as_mut().ok_or_else(|| Error::Batch("the model has no encoder".into()))?;
        match batch.seqs.iter().position(|seq| seq.past > 0) {
            Some(i) => Err(Error::Batch(format!("text {i} was begun before; an encoder reads it whole"))),
            None => self.machine.step(encoder, batch, observer),
        }
    }
}

impl Machine {
    fn step(
        &mut self,
        plan: &mut Plan,
        batch: &Batch<'_>,
        observer: Option<&mut Observer<'_>>,
    ) -> Result<&[f32], Error> {
        let slots = plan.check(batch, self.options.max_rows, &self.cache)?;
        let rows = plan.rows(batch);
        let given = plan.given(batch, rows)?;
        plan.check_places(batch, rows)?;
        let bucket = rows.bucket();
        if !plan.layouts.contains_key(&bucket) {
            let layout = Layout::new(&plan.program, bucket);
            plan.layouts.insert(bucket, layout);
        }
        plan.ropes.iter_mut().for_each(|r| r.cover(batch));
        let plan = &*plan;
        let layout = &plan.layouts[&bucket];
        let memory = |what| move |error| Error::Memory { what, error };
        self.arena.grow(layout.total * size_of::<f32>()).map_err(memory("activations"))?;
        let needs = crate::run::needs(plan, &self.cache, layout, rows, self.gang.threads());
        self.shared.grow(&needs.shared).map_err(memory("activations"))?;
        for scratch in &mut self.scratch {
            scratch.grow(&needs.private).map_err(memory("scratch space"))?;
        }
        self.dealer.reset();
        let observer = observer.map(std::sync::Mutex::new);
        let show = |name: &str, rows: &[f32], len: usize| {
            if let Some(Ok(mut observer)) = observer.as_ref().map(|o| o.lock()) {
                observer(name, rows, len);
            }
        };
        let run = Run {
            program: &plan.program,
            weights: &plan.weights,
            source: self.source.as_ref(),
            cache: &self.cache,
            kept: &plan.kept,
            ropes: &plan.ropes,
            layout,
            batch,
            given: &given,
            slots: &slots,
            rows,
            tier: self.options.tier,
            exact: self.options.exact,
            arena: self.arena.as_ptr().cast(),
            shared: &self.shared,
            scratch: &self.scratch,
            dealer: &self.dealer,
            observer: observer.is_some().then_some(&show),
        };
        self.gang.run(&|crew| run.all(crew));
        let at = layout.main[plan.program.main.output];
        // SAFETY: the output buffer lies in the arena, holds a row of `vocab` values for each of its domain, and no thread runs any more.
        Ok(unsafe {
            std::slice::from_raw_parts(self.arena.as_ptr().cast::<f32>().add(at), rows.of(plan.domain) * plan.vocab)
        })
    }
}
