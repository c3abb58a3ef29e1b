//! A runner without a model, for tests of everything above it.
//!
//! Its logits are a hash of the whole token history as read back through the page table, so a wrong page, a wrong past, a
//! page written by somebody else or a row from another sequence changes every number. It never allocates more than its pages.

use crate::runner::{Limits, RunError, Runner, Source, StepBatch};

const EMPTY: u32 = u32::MAX;

/// A deterministic [`Runner`] whose "model" is a hash function.
pub struct MockRunner {
    limits: Limits,
    slots: Vec<u32>,
    /// What was read, by the same numbers.
    read: Vec<u32>,
    logits: Vec<f32>,
    period: Option<usize>,
    rows: Vec<usize>,
    reads: Vec<usize>,
    fail_next: bool,
}

impl MockRunner {
    /// A runner with empty pages.
    pub fn new(limits: Limits) -> Self {
        let slots = vec![EMPTY; limits.pages * limits.page_tokens];
        Self {
            limits,
            read: slots.clone(),
            slots,
            logits: Vec::new(),
            period: None,
            rows: Vec::new(),
            reads: Vec::new(),
            fail_next: false,
        }
    }

    /// Makes the token of `period` positions ago likely, so that sequences repeat themselves most of the time.
    pub fn repeating(mut self, period: usize) -> Self {
        self.period = Some(period);
        self
    }

    /// Rows of every step run so far.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Tokens of every step in which texts were read so far.
    pub fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// Makes the next step fail.
    pub fn fail_next(&mut self) {
        self.fail_next = true;
    }

    fn slot(&self, pages: &[u32], token: usize) -> usize {
        pages[token / self.limits.page_tokens] as usize * self.limits.page_tokens + token % self.limits.page_tokens
    }
}

/// The finaliser of SplitMix64: mixes every bit into every other.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Runner for MockRunner {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn step(&mut self, batch: &StepBatch<'_>) -> Result<&[f32], RunError> {
        batch.check(&self.limits)?;
        if std::mem::take(&mut self.fail_next) {
            return Err(RunError::Executor("asked to fail".into()));
        }
        self.rows.push(batch.tokens.len());
        let pictures = batch.placed.iter().max().map_or(0, |rows| *rows as usize);
        let width = batch.pictures.len().checked_div(pictures).unwrap_or(0);
        for seq in batch.seqs {
            for (at, row) in (seq.past as usize..).zip(seq.rows.clone()) {
                if batch.positions[row as usize] as usize != at {
                    return Err(RunError::Batch { what: format!("row {row} should be at position {at}") });
                }
                let slot = self.slot(seq.pages, at);
                self.slots[slot] = match batch.placed.get(row as usize) {
                    None | Some(0) => batch.tokens[row as usize],
                    // Marks are left out, so that what a picture holds is all that tells it from another one.
                    Some(placed) => {
                        let values = &batch.pictures[(*placed as usize - 1) * width..][..width];
                        let hash = values.iter().fold(0, |hash, value| mix(hash ^ u64::from(value.to_bits())));
                        (hash >> 33) as u32 % self.limits.vocab as u32
                    }
                };
            }
        }
        self.logits.clear();
        let mut wanted = batch.logit_rows.iter().peekable();
        for seq in batch.seqs {
            while let Some(row) = wanted.next_if(|r| seq.rows.contains(r)) {
                let last = seq.past as usize + (row - seq.rows.start) as usize;
                let mut hash = 0x9e37_79b9_7f4a_7c15;
                for at in 0..seq.memory.tokens as usize {
                    let token = self.read[self.slot(seq.memory.pages, at)];
                    if token == EMPTY {
                        return Err(RunError::Batch { what: format!("token {at} of the memory was never written") });
                    }
                    hash = mix(hash ^ u64::from(token) ^ ((at as u64) << 40));
                }
                for at in 0..=last {
                    let token = self.slots[self.slot(seq.pages, at)];
                    if token == EMPTY {
                        return Err(RunError::Batch { what: format!("position {at} was never written") });
                    }
                    hash = mix(hash ^ u64::from(token) ^ ((at as u64) << 32));
                }
                let start = self.logits.len();
                let noise = |id: usize| (mix(hash.wrapping_add(id as u64)) >> 40) as f32 / (1u64 << 21) as f32 - 4.0;
                self.logits.extend((0..self.limits.vocab).map(noise));
                if let Some(at) = self.period.and_then(|p| (last + 1).checked_sub(p)) {
                    let token = self.slots[self.slot(seq.pages, at)];
                    self.logits[start + token as usize] += 6.0;
                }
            }
        }
        Ok(&self.logits)
    }

    fn read(&mut self, sources: &[Source<'_>]) -> Result<(), RunError> {
        self.reads.push(sources.iter().map(|s| s.tokens.len()).sum());
        for source in sources {
            source.check(&self.limits)?;
            for (at, token) in source.tokens.iter().enumerate() {
                let slot = self.slot(source.pages, at);
                self.read[slot] = *token;
            }
        }
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) {
        let n = self.limits.page_tokens;
        let from = from as usize * n;
        self.slots.copy_within(from..from + n, to as usize * n);
    }
}
