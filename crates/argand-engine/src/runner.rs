//! What the engine asks of an executor: run one ragged step, copy one page.
//!
//! The executor owns the memory of the pages; the engine owns their numbers and decides which sequence may write where.
//! Nothing here knows of models, devices or sampling.

use std::ops::Range;

/// What a runner can hold, fixed for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of tokens of the vocabulary: the width of a row of logits.
    pub vocab: usize,
    /// Tokens held by one page.
    pub page_tokens: usize,
    /// Number of pages of the pool; page numbers are below it.
    pub pages: usize,
    /// Longest sequence the model may see, in tokens.
    pub context: usize,
    /// Most rows (tokens of all sequences together) of one step.
    pub max_rows: usize,
    /// Longest text that is read before a sequence begins; 0 where the model has no encoder.
    pub source: usize,
}

impl Limits {
    /// Pages that `tokens` tokens occupy.
    pub fn pages_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.page_tokens)
    }
}

/// A text that an encoder reads whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Page table of what is kept of it; covers all tokens.
    pub pages: &'a [u32],
}

impl Source<'_> {
    /// Checks every promise that a text to be read makes to a runner.
    ///
    /// # Errors
    /// [`RunError::Batch`] names the first promise that is broken.
    pub fn check(&self, limits: &Limits) -> Result<(), RunError> {
        let n = self.tokens.len();
        let known = |limit: usize, all: &[u32]| all.iter().all(|i| (*i as usize) < limit);
        let what = match () {
            () if n == 0 || n > limits.source => format!("a text has {n} tokens, expected 1 to {}", limits.source),
            () if self.pages.len() < limits.pages_for(n) => {
                format!("a text of {n} tokens has {} pages", self.pages.len())
            }
            () if !known(limits.vocab, self.tokens) => {
                format!("a text has tokens outside the {} known ones", limits.vocab)
            }
            () if !known(limits.pages, self.pages) => {
                format!("a text names pages outside the {} there are", limits.pages)
            }
            () => return Ok(()),
        };
        Err(RunError::Batch { what })
    }
}

/// What is kept of the text that was read for a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory<'a> {
    /// Tokens of it; 0 where the model has no encoder.
    pub tokens: u32,
    /// Their page table.
    pub pages: &'a [u32],
}

/// The part of a step that belongs to one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqRows<'a> {
    /// Rows of this step that are the sequence's new tokens, in order.
    pub rows: Range<u32>,
    /// Tokens of the sequence whose state is in the pages already.
    pub past: u32,
    /// Page table: token `t` lives in `pages[t / page_tokens]`. Covers `past + rows.len()` tokens.
    pub pages: &'a [u32],
    /// What was read for it before.
    pub memory: Memory<'a>,
}

/// One ragged step: new tokens of several sequences, laid end to end.
#[derive(Clone, Debug, Default)]
pub struct StepBatch<'a> {
    /// Token ids, `[N]`.
    pub tokens: &'a [u32],
    /// Position of each token in its sequence, `[N]`.
    pub positions: &'a [u32],
    /// Time, height and width of each token in its sequence, `[N]`; empty when all three are the position.
    pub coordinates: &'a [[u32; 3]],
    /// One more than the row of `pictures` that stands in the place of each token, 0 for none, `[N]`; empty when there is none.
    pub placed: &'a [u32],
    /// Rows of pictures, as wide as the model's embeddings, one after another.
    pub pictures: &'a [f32],
    /// The sequences; their row ranges tile `0..N` in order.
    pub seqs: &'a [SeqRows<'a>],
    /// Rows whose logits are wanted, ascending.
    pub logit_rows: &'a [u32],
}

impl StepBatch<'_> {
    /// Checks every promise the batch makes to a runner.
    ///
    /// # Errors
    /// [`RunError::Batch`] names the first promise that is broken.
    pub fn check(&self, limits: &Limits) -> Result<(), RunError> {
        let fail = |what: String| Err(RunError::Batch { what });
        let n = self.tokens.len();
        if n > limits.max_rows || self.positions.len() != n {
            return fail(format!("{n} tokens, {} positions, at most {} rows", self.positions.len(), limits.max_rows));
        }
        let parts = [(self.coordinates.len(), "coordinates"), (self.placed.len(), "places")];
        if let Some((len, what)) = parts.into_iter().find(|(len, _)| *len != 0 && *len != n) {
            return fail(format!("{n} tokens, {len} {what}"));
        }
        if let Some(token) = self.tokens.iter().find(|t| **t as usize >= limits.vocab) {
            return fail(format!("token {token} is outside the vocabulary of {}", limits.vocab));
        }
        let mut next = 0;
        for (i, seq) in self.seqs.iter().enumerate() {
            if seq.rows.start != next || seq.rows.end <= next || seq.rows.end as usize > n {
                return fail(format!(
                    "sequence {i} has rows {:?} where rows from {next} up to {n} were expected",
                    seq.rows
                ));
            }
            next = seq.rows.end;
            let total = seq.past as usize + seq.rows.len();
            if total > limits.context || seq.pages.len() < limits.pages_for(total) {
                return fail(format!(
                    "sequence {i} has {total} tokens in {} pages of {}, context {}",
                    seq.pages.len(),
                    limits.page_tokens,
                    limits.context
                ));
            }
            if let Some(page) = seq.pages.iter().chain(seq.memory.pages).find(|p| **p as usize >= limits.pages) {
                return fail(format!("sequence {i} names page {page} of {}", limits.pages));
            }
            let read = seq.memory.tokens as usize;
            if (read > 0) != (limits.source > 0) || seq.memory.pages.len() < limits.pages_for(read) {
                return fail(format!("sequence {i} has a memory of {read} tokens in {} pages", seq.memory.pages.len()));
            }
        }
        if next as usize != n {
            return fail(format!("the sequences cover {next} of {n} rows"));
        }
        if !self.logit_rows.is_sorted() || self.logit_rows.last().is_some_and(|r| *r as usize >= n) {
            return fail(format!("logit rows are not ascending below {n}"));
        }
        Ok(())
    }
}

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The batch breaks a promise of [`StepBatch`]: a mistake of the caller.
    #[error("the step is malformed: {what}")]
    Batch {
        /// What was found and what was expected.
        what: String,
    },
    /// The executor returned another number of logits than asked for: a mistake of the executor.
    #[error("the executor returned {found} logits where {expected} were asked for")]
    Logits {
        /// Numbers returned.
        found: usize,
        /// Rows asked for times the vocabulary.
        expected: usize,
    },
    /// The executor failed.
    #[error("the step failed in the executor: {0}")]
    Executor(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An executor that holds a model and its pages.
pub trait Runner: Send {
    /// What the runner can hold.
    fn limits(&self) -> Limits;

    /// Runs one step: writes the state of every row into its sequence's pages and returns the logits
    /// `[logit_rows.len(), vocab]` as one flat slice, in the order asked.
    ///
    /// A row's logits must depend only on the sequence's own tokens up to that row, never on how they were cut into steps
    /// or on the other sequences; that is what makes batching, prefix reuse and speculation invisible.
    ///
    /// # Errors
    /// [`RunError`]; the engine then keeps its own state as if the step had not been asked for.
    fn step(&mut self, batch: &StepBatch<'_>) -> Result<&[f32], RunError>;

    /// Reads texts whole, all in one step of as many rows, and writes what decoding steps recall into their pages.
    ///
    /// # Errors
    /// [`RunError`]; always where [`Limits::source`] is 0.
    fn read(&mut self, _sources: &[Source<'_>]) -> Result<(), RunError> {
        Err(RunError::Batch { what: "the model has no encoder that could read a text".into() })
    }

    /// Copies the contents of page `from` to page `to`, all layers.
    fn copy_page(&mut self, from: u32, to: u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_promise_is_found() {
        let limits = Limits { vocab: 10, page_tokens: 2, pages: 4, context: 6, max_rows: 5, source: 0 };
        let seq = |rows, past, pages| SeqRows { rows, past, pages, memory: Memory::default() };
        let check = |tokens: &[u32], seqs: &[SeqRows<'_>], logit_rows: &[u32]| {
            let positions = vec![0; tokens.len()];
            let batch = StepBatch { tokens, positions: &positions, seqs, logit_rows, ..StepBatch::default() };
            batch.check(&limits).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[1, 2, 3], &[seq(0..1, 3, &[0, 1]), seq(1..3, 0, &[2])], &[0, 2]), Ok(()));
        let found = |result: Result<(), String>, what: &str| {
            let error = result.expect_err(what);
            assert!(error.contains(what), "{error}");
        };
        found(check(&[1; 6], &[seq(0..6, 0, &[0, 1, 2])], &[]), "at most 5 rows");
        found(check(&[10], &[seq(0..1, 0, &[0])], &[]), "token 10");
        found(check(&[1], &[seq(0..1, 2, &[0])], &[]), "3 tokens in 1 pages of 2");
        found(check(&[1], &[seq(0..1, 6, &[0, 1, 2, 3])], &[]), "context 6");
        found(check(&[1], &[seq(0..1, 0, &[4])], &[]), "page 4 of 4");
        found(check(&[1, 2], &[seq(0..1, 0, &[0])], &[]), "cover 1 of 2");
        found(check(&[1, 2], &[seq(1..2, 0, &[0])], &[]), "rows 1..2");
        found(check(&[1], &[seq(0..1, 0, &[0])], &[1]), "logit rows");
        let memory = |tokens, pages| SeqRows { memory: Memory { tokens, pages }, ..seq(0..1, 0, &[0]) };
        found(check(&[1], &[memory(1, &[1])], &[]), "memory of 1 tokens");
        let reads = Limits { source: 3, ..limits };
        let step = |seq: SeqRows<'_>| {
            let batch = StepBatch { tokens: &[1], positions: &[0], seqs: &[seq], ..StepBatch::default() };
            batch.check(&reads).map_err(|e| e.to_string())
        };
        assert_eq!(step(memory(3, &[1, 2])), Ok(()));
        found(step(memory(0, &[])), "memory of 0 tokens");
        found(step(memory(3, &[1])), "3 tokens in 1 pages");
        found(step(memory(1, &[4])), "page 4 of 4");
        let text = |tokens, pages| Source { tokens, pages }.check(&reads).map_err(|e| e.to_string());
        assert_eq!(text(&[1, 2, 3], &[0, 1]), Ok(()));
        found(text(&[], &[]), "0 tokens, expected 1 to 3");
        found(text(&[1; 4], &[0, 1]), "4 tokens, expected 1 to 3");
        found(text(&[1; 3], &[0]), "3 tokens has 1 pages");
        found(text(&[10], &[0]), "outside the 10");
        found(text(&[1], &[4]), "outside the 4");
    }
}
