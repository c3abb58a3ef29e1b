//! A graph made ready to run: its program, its weights, and what is known of the batches that it takes.

use crate::cache::{Cache, Numbered, place};
use crate::exec::{Batch, Error, Options};
use crate::fuse::fuse;
use crate::gang::Gang;
use crate::layout::{Layout, Rows};
use crate::lower::lower;
use crate::program::{Domain, Program, Step};
use crate::ropes::RopeTable;
use crate::run::Slot;
use crate::weights::{WeightSource, Weights};
use argand_graph::{BatchInput, Graph};
use argand_kernels::kv::PAGE_TOKENS;
use std::collections::HashMap;

/// What tables are looked up by.
const LOOKED_UP: [BatchInput; 3] = [BatchInput::Tokens, BatchInput::Positions, BatchInput::TokenTypes];

/// Positions below this have angles; a table for more would not fit.
const MOST_POSITIONS: u32 = 1 << 24;

/// A graph made ready to run.
pub(crate) struct Plan {
    pub program: Program,
    pub weights: Weights,
    pub ropes: Vec<RopeTable>,
    pub layouts: HashMap<Rows, Layout>,
    /// Cache layers of each layer: of its own state and of a memory's.
    pub kept: Vec<[Option<usize>; 2]>,
    /// Values in a row of the output, and what the rows are.
    pub vocab: usize,
    pub domain: Domain,
    /// Whether a buffer has rows for each sequence.
    pools: bool,
    /// Whether a buffer has a row for each token.
    has_tokens: bool,
    /// Whether a layer attends to a memory.
    recalls: bool,
    /// Below which tokens, positions and types have to be, for all tables that are looked up by them.
    limits: [usize; 3],
}

impl Plan {
    /// Lowers a graph and makes its weights resident. Its states are added to those of other graphs that share the cache.
    pub(crate) fn load(
        graph: &Graph,
        source: &dyn WeightSource,
        options: &Options,
        gang: &mut Gang,
        states: &mut Vec<Numbered>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Plan, Error> {
        let mut program = lower(&argand_graph::pass::prune(graph))?;
        if options.fused {
            fuse(&mut program);
        }
        let output = &program.main.bufs[program.main.output];
        Ok(Plan {
            weights: Weights::load(&program, source, options.tier, gang, progress)?,
            ropes: program.ropes.iter().cloned().map(RopeTable::new).collect(),
            layouts: HashMap::new(),
            kept: place(graph, states),
            vocab: output.len,
            domain: output.domain,
            pools: program.pools(),
            has_tokens: program.has_tokens(),
            recalls: program.recalls(),
            limits: LOOKED_UP.map(|of| program.table_rows(of)),
            program,
        })
    }

    /// One more than the largest position that the model knows.
    pub(crate) fn positions(&self) -> usize {
        self.limits[1].min(MOST_POSITIONS as usize)
    }

    /// The rows of a batch in each domain.
    pub(crate) fn rows(&self, batch: &Batch<'_>) -> Rows {
        let b = if self.pools { batch.seqs.len() } else { 0 };
        let p = self.program.given.iter().find(|g| g.1 == Domain::P).map_or(0, |(name, _, len)| {
            batch.given.iter().find(|g| g.0 == name).map_or(0, |(_, values)| values.len() / len.max(&1))
        });
        Rows { n: batch.rows(), r: batch.logit_rows.len(), b, p }
    }

    /// What the batch brings in by the names of the program.
    pub(crate) fn given<'b>(&self, batch: &Batch<'b>, rows: Rows) -> Result<Vec<&'b [f32]>, Error> {
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
    pub(crate) fn check_places(&self, batch: &Batch<'_>, rows: Rows) -> Result<(), Error> {
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
    pub(crate) fn check(&self, batch: &Batch<'_>, most_rows: usize, cache: &Cache) -> Result<Vec<Slot>, Error> {
        let fail = |what: String| Err(Error::Batch(what));
        let n = batch.rows();
        let [vocabulary, positions, types] = self.limits;
        // What nothing looks at need not be there.
        let missing = |len: usize, wanted: bool| len != n && (wanted || len > 0);
        let wanted = [vocabulary != usize::MAX, positions != usize::MAX || !self.ropes.is_empty()];
        if missing(batch.tokens.len(), wanted[0])
            || missing(batch.positions.len(), wanted[1])
            || n > most_rows
            || self.has_tokens == (n == 0)
        {
            return fail(format!(
                "{n} rows, {} tokens, {} positions, at most {most_rows} rows",
                batch.tokens.len(),
                batch.positions.len(),
            ));
        }
        let keeps = self.kept.iter().flatten().any(Option::is_some);
        let (mut seen, mut slots) = (0, Vec::with_capacity(n));
        for (i, seq) in batch.seqs.iter().enumerate() {
            if seq.rows.start != seen || seq.rows.end > n || seq.rows.is_empty() == self.has_tokens {
                return fail(format!("sequence {i} has rows {:?} of {n}", seq.rows));
            }
            seen = seq.rows.end;
            if !keeps {
                continue;
            }
            // Pages of the past are read, whatever the new rows write.
            if let Some(page) = seq.pages.iter().find(|p| **p as usize >= cache.pages()) {
                return fail(format!("sequence {i} has page {page} of {}", cache.pages()));
            }
            for offset in 0..seq.rows.len() {
                // The first one that has no page ends it, however large the number.
                let token = seq.past + offset;
                let Some(page) = seq.pages.get(token / PAGE_TOKENS) else {
                    return fail(format!("token {token} of sequence {i} has no page"));
                };
                slots.push(Slot { page: *page, token: token % PAGE_TOKENS });
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
        if self.recalls {
            memories(batch, cache)?;
        }
        match batch.logit_rows.iter().find(|r| **r as usize >= n) {
            Some(row) => fail(format!("logits of row {row} of {n}")),
            None => Ok(slots),
        }
    }
}

/// Checks that each sequence has a memory.
fn memories(batch: &Batch<'_>, cache: &Cache) -> Result<(), Error> {
    let (count, seqs) = (batch.memories.len(), batch.seqs.len());
    if count != seqs {
        return Err(Error::Batch(format!("{seqs} sequences, {count} memories")));
    }
    for (i, memory) in batch.memories.iter().enumerate() {
        let known = memory.pages.iter().all(|p| (*p as usize) < cache.pages());
        if memory.tokens == 0 || memory.pages.len() < memory.tokens.div_ceil(PAGE_TOKENS) || !known {
            let (tokens, pages) = (memory.tokens, memory.pages);
            return Err(Error::Batch(format!(
                "the memory of sequence {i} has {tokens} tokens on pages {pages:?} of {}",
                cache.pages()
            )));
        }
    }
    Ok(())
}
