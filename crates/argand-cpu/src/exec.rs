//! A loaded model on CPU: weights, cache, arena and gang; runs one ragged step at a time.

use crate::cache::Cache;
use crate::fuse::fuse;
use crate::gang::{Dealer, Gang};
use crate::layout::{Layout, Rows};
use crate::lower::{LowerError, lower};
use crate::program::{Domain, Program, Step};
use crate::region::Region;
use crate::ropes::RopeTable;
use crate::run::{Observer, Run, Scratch, Slot};
use crate::weights::{WeightError, WeightSource, Weights};
use argand_graph::{BatchInput, Graph};
use argand_kernels::kv::{KvType, PAGE_TOKENS};
use argand_kernels::tier::{Tier, TierError};
use std::collections::HashMap;
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
    /// Pages of [`PAGE_TOKENS`] tokens in the cache.
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
    program: Program,
    options: Options,
    source: Arc<dyn WeightSource>,
    weights: Weights,
    cache: Cache,
    ropes: Vec<RopeTable>,
    gang: Gang,
    dealer: Dealer,
    layouts: HashMap<Rows, Layout>,
    arena: Region,
    scratch: Vec<Scratch>,
    shared: Scratch,
    /// Values in a row of the output, and what the rows are.
    vocab: usize,
    domain: Domain,
    /// Whether a buffer has rows for each sequence.
    pools: bool,
    /// Whether a buffer has a row for each token.
    has_tokens: bool,
    /// Below which tokens, positions and types have to be, for all tables that are looked up by them.
    limits: [usize; 3],
}

/// What tables are looked up by.
const LOOKED_UP: [BatchInput; 3] = [BatchInput::Tokens, BatchInput::Positions, BatchInput::TokenTypes];

/// Positions below this have angles; a table for more would not fit.
const MOST_POSITIONS: u32 = 1 << 24;

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
        let mut program = lower(&argand_graph::pass::prune(graph))?;
        if options.fused {
            fuse(&mut program);
        }
        let mut gang = Gang::new(options.threads).map_err(Error::Threads)?;
        let weights = Weights::load(&program, source.as_ref(), options.tier, &mut gang, progress)?;
        let memory = |what| move |error| Error::Memory { what, error };
        let cache = Cache::new(&graph.states(), options.kv, options.pages).map_err(memory("the cache"))?;
        let scratch: io::Result<Vec<_>> = (0..gang.threads()).map(|_| Scratch::new()).collect();
        Ok(Executor {
            ropes: program.ropes.iter().cloned().map(RopeTable::new).collect(),
            domain: program.main.bufs[program.main.output].domain,
            pools: program.pools(),
            has_tokens: program.has_tokens(),
            vocab: program.main.bufs[program.main.output].len,
            limits: LOOKED_UP.map(|of| program.table_rows(of)),
            program,
            options,
            source,
            weights,
            cache,
            gang,
            dealer: Dealer::default(),
            layouts: HashMap::new(),
            arena: Region::new(1).map_err(memory("activations"))?,
            scratch: scratch.map_err(memory("scratch space"))?,
            shared: Scratch::new().map_err(memory("scratch space"))?,
        })
    }

    /// The program that is run.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// How it is run.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Values in a row of the output.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Bytes of resident weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes
    }

    /// Bytes of cache that one page of [`PAGE_TOKENS`] tokens takes over all layers.
    pub fn page_bytes(&self) -> usize {
        self.cache.page_bytes()
    }

    /// Copies a page of the cache onto another, in every layer.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        self.cache.copy(from, to);
    }

    /// One more than the largest position that the model knows.
    pub fn positions(&self) -> usize {
        self.limits[1].min(MOST_POSITIONS as usize)
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
        let slots = self.check(batch)?;
        let b = if self.pools { batch.seqs.len() } else { 0 };
        let p = self.program.given.iter().find(|g| g.1 == Domain::P).map_or(0, |(name, _, len)| {
            batch.given.iter().find(|g| g.0 == name).map_or(0, |(_, values)| values.len() / len.max(&1))
        });
        let rows = Rows { n: batch.rows(), r: batch.logit_rows.len(), b, p };
        let given = self.given(batch, rows)?;
        self.check_places(batch, rows)?;
        let bucket = rows.bucket();
        let program = &self.program;
        let layout = self.layouts.entry(bucket).or_insert_with(|| Layout::new(program, bucket));
        let memory = |what| move |error| Error::Memory { what, error };
        self.arena.grow(layout.total * size_of::<f32>()).map_err(memory("activations"))?;
        self.ropes.iter_mut().for_each(|r| r.cover(batch));
        let needs = crate::run::needs(program, &self.weights, &self.cache, layout, rows, self.gang.threads());
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
            program,
            weights: &self.weights,
            source: self.source.as_ref(),
            cache: &self.cache,
            ropes: &self.ropes,
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
        let at = layout.main[program.main.output];
        // SAFETY: the output buffer lies in the arena, holds a row of `vocab` values for each of its domain, and no thread runs any more.
        Ok(unsafe {
            std::slice::from_raw_parts(self.arena.as_ptr().cast::<f32>().add(at), rows.of(self.domain) * self.vocab)
        })
    }

    /// What the batch brings in by the names of the program.
    fn given<'b>(&self, batch: &Batch<'b>, rows: Rows) -> Result<Vec<&'b [f32]>, Error> {
        let find = |(name, domain, len): &(String, Domain, usize)| {
            let values = batch.given.iter().find(|g| g.0 == name).map(|g| g.1);
            let wanted = rows.of(*domain) * len;
            match values {
                Some(values) if values.len() == wanted => Ok(values),
                None if wanted == 0 => Ok(&[][..]),
                Some(values) => Err(format!("`{name}` has {} values, {wanted} are wanted", values.len())),
                None => Err(format!("`{name}` is wanted, {wanted} values")),
            }
        };
        self.program.given.iter().map(find).collect::<Result<_, _>>().map_err(Error::Batch)
    }

    /// Checks that rows which are moved are there.
    fn check_places(&self, batch: &Batch<'_>, rows: Rows) -> Result<(), Error> {
        let fail = |what: String| Err(Error::Batch(what));
        for (len, what) in [(batch.placed.len(), "places"), (batch.coordinates.len(), "coordinates")] {
            if len != 0 && len != rows.n {
                return fail(format!("{} tokens, {len} {what}", rows.n));
            }
        }
        let last = |rows: &[u32]| rows.iter().max().map_or(0, |row| *row as usize);
        if last(batch.placed) > 0 && !self.program.main_steps().any(|step| matches!(step, Step::Place { .. })) {
            return fail("rows of pictures are placed, and the model sees no pictures".into());
        }
        for step in self.program.main_steps() {
            match step {
                Step::Place { rows: from, .. } => {
                    let there = rows.of(self.program.main.bufs[*from].domain);
                    if last(batch.placed) > there {
                        return fail(format!("row {} of pictures is placed, there are {there}", last(batch.placed)));
                    }
                }
                Step::Gather { behind, .. } if rows.r > 0 => {
                    let row = last(batch.logit_rows) + behind.iter().max().unwrap_or(&0);
                    if row >= rows.n {
                        return fail(format!("row {row} of {} is wanted", rows.n));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks a batch and finds the cache slot of every row.
    fn check(&self, batch: &Batch<'_>) -> Result<Vec<Slot>, Error> {
        let fail = |what: String| Err(Error::Batch(what));
        let n = batch.rows();
        let [vocabulary, positions, types] = self.limits;
        // What nothing looks at need not be there.
        let missing = |len: usize, wanted: bool| len != n && (wanted || len > 0);
        let wanted = [vocabulary != usize::MAX, positions != usize::MAX || !self.ropes.is_empty()];
        if missing(batch.tokens.len(), wanted[0])
            || missing(batch.positions.len(), wanted[1])
            || n > self.options.max_rows
            || self.has_tokens == (n == 0)
        {
            return fail(format!(
                "{n} rows, {} tokens, {} positions, at most {} rows",
                batch.tokens.len(),
                batch.positions.len(),
                self.options.max_rows
            ));
        }
        let (mut seen, mut slots) = (0, Vec::with_capacity(n));
        for (i, seq) in batch.seqs.iter().enumerate() {
            if seq.rows.start != seen || seq.rows.end > n || seq.rows.is_empty() == self.has_tokens {
                return fail(format!("sequence {i} has rows {:?} of {n}", seq.rows));
            }
            seen = seq.rows.end;
            if self.cache.is_empty() {
                continue;
            }
            // Pages of the past are read, whatever the new rows write.
            if let Some(page) = seq.pages.iter().find(|p| **p as usize >= self.cache.pages()) {
                return fail(format!("sequence {i} has page {page} of {}", self.cache.pages()));
            }
            for offset in 0..seq.rows.len() {
                let token = seq.past + offset;
                match seq.pages.get(token / PAGE_TOKENS) {
                    Some(page) if (*page as usize) < self.cache.pages() => {
                        slots.push(Slot { page: *page, token: token % PAGE_TOKENS });
                    }
                    page => {
                        return fail(format!(
                            "token {token} of sequence {i} has page {page:?} of {}",
                            self.cache.pages()
                        ));
                    }
                }
            }
        }
        if seen != n || batch.seqs.is_empty() {
            return fail(format!("{n} rows but sequences of {seen}"));
        }
        let mut taken: Vec<_> = slots.iter().map(|s| (s.page, s.token)).collect();
        taken.sort_unstable();
        if let Some(twice) = taken.windows(2).find(|w| w[0] == w[1]) {
            return fail(format!("two tokens go to slot {} of page {}", twice[0].1, twice[0].0));
        }
        if !batch.types.is_empty() && batch.types.len() != n {
            return fail(format!("{n} tokens, {} types", batch.types.len()));
        }
        let given = [
            (batch.tokens, vocabulary, "token"),
            (batch.positions, self.positions(), "position"),
            (batch.types, types, "token type"),
        ];
        for (values, limit, what) in given {
            if let Some(value) = values.iter().find(|v| **v as usize >= limit) {
                return fail(format!("{what} {value} is not below {limit}"));
            }
        }
        match batch.logit_rows.iter().find(|r| **r as usize >= n) {
            Some(row) => fail(format!("logits of row {row} of {n}")),
            None => Ok(slots),
        }
    }
}
