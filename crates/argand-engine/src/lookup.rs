//! Prompt-lookup drafts: guess the next tokens from what followed the same words earlier in the sequence itself.
//!
//! Source: Saxena, "Prompt lookup decoding" (2023). A draft is only a guess about what the sampler will choose: the engine
//! keeps exactly the tokens the sampler chooses anyway, so drafts change speed and nothing else. Drafts grow while they are
//! right and pause while they are wrong.

use crate::picture::FIRST_MARK;
use serde::{Deserialize, Serialize};

/// Lengths of the matched tail, longest first.
const NGRAMS: [usize; 2] = [3, 2];
/// Most tokens to wait after a series of wrong drafts.
const LONGEST_PAUSE: u32 = 32;

/// How far prompt lookup may guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupOptions {
    /// Longest draft, in tokens.
    pub max_draft: usize,
}

impl Default for LookupOptions {
    fn default() -> Self {
        Self { max_draft: 8 }
    }
}

/// Drafting state of one sequence.
#[derive(Clone, Debug)]
pub struct Lookup {
    max: usize,
    draft: usize,
    misses: u32,
    pause: u32,
}

impl Lookup {
    /// Starts with short drafts.
    pub fn new(options: LookupOptions) -> Self {
        Self { max: options.max_draft, draft: options.max_draft.min(2), misses: 0, pause: 0 }
    }

    /// Guesses up to `room` tokens that follow `history`; empty when nothing matches or recent guesses were wrong.
    pub fn propose<'a>(&mut self, history: &'a [u32], room: usize) -> &'a [u32] {
        if self.pause > 0 {
            self.pause -= 1;
            return &[];
        }
        let start = NGRAMS.iter().find_map(|&n| last_match(history, n)).unwrap_or(history.len());
        let end = history.len().min(start + self.draft.min(room));
        let draft = &history[start..end];
        // A picture's rows are never guessed.
        &draft[..draft.iter().position(|token| *token >= FIRST_MARK).unwrap_or(draft.len())]
    }

    /// Learns how many tokens of a draft were right.
    pub fn learn(&mut self, proposed: usize, accepted: usize) {
        if accepted > 0 {
            self.misses = 0;
            self.draft = if accepted == proposed { self.draft * 2 } else { accepted + 1 }.min(self.max);
        } else {
            self.misses = (self.misses + 1).min(LONGEST_PAUSE.ilog2());
            self.pause = 1 << self.misses;
            self.draft = (self.draft / 2).max(1).min(self.max);
        }
    }
}

/// Index after the latest earlier occurrence of the last `n` tokens.
fn last_match(history: &[u32], n: usize) -> Option<usize> {
    let (head, tail) = history.split_at_checked(history.len().checked_sub(n)?)?;
    let searchable = &history[..head.len() + n - 1];
    searchable.windows(n).rposition(|w| w == tail).map(|at| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_the_longest_and_latest_match() {
        let mut lookup = Lookup { draft: 8, ..Lookup::new(LookupOptions::default()) };
        assert_eq!(lookup.propose(&[1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3], 2), [7, 9]);
        assert_eq!(lookup.propose(&[2, 3, 7, 2, 3, 8, 6, 2, 3], 2), [8, 6]);
        assert_eq!(lookup.propose(&[5, 5, 5, 5], 9), [5]);
        for short in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4]] {
            assert!(lookup.propose(short, 9).is_empty());
        }
    }

    #[test]
    fn wrong_drafts_become_rare_and_right_ones_long() {
        let history = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
        let mut lookup = Lookup::new(LookupOptions { max_draft: 6 });
        let wrong = (0..320).map(|_| {
            let n = lookup.propose(&history, 9).len();
            if n > 0 {
                lookup.learn(n, 0);
            }
            n
        });
        assert!(wrong.sum::<usize>() <= 16);
        lookup.pause = 0;
        for _ in 0..4 {
            let n = lookup.propose(&history, 9).len();
            lookup.learn(n, n);
        }
        assert_eq!(lookup.propose(&history, 9).len(), 6);
        assert_eq!(lookup.propose(&history, 0).len(), 0);
    }
}
