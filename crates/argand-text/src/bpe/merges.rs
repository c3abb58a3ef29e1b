//! The two rules that order merges.

use super::TokenTable;
use hashbrown::HashMap;
use std::panic::resume_unwind;
use std::thread;

/// A pair, and its rank and product.
type Merge = ((u32, u32), (u32, u32));

/// Looking up the parts of merges waits for memory; more threads than this do not help.
const MAX_THREADS: usize = 8;
/// Fewer merges than this are not worth a thread.
const MIN_SHARE: usize = 16_384;

/// Which pairs may merge, and which first.
#[derive(Debug, Clone)]
pub(crate) enum Merges {
    /// Pair of ids to (rank, merged id); the least rank first.
    Ranked(HashMap<(u32, u32), (u32, u32)>),
    /// Any pair whose text is a piece; the best score first. One entry per id: its priority (0 is the best score),
    /// or [`RESERVED`] for tokens that text must never become (control, unknown, byte).
    Scored(Vec<u32>),
}

/// Priority of tokens that never come out of a merge.
pub(crate) const RESERVED: u32 = u32::MAX;

impl Merges {
    /// Reads lines `left right` by rank. Where a pair repeats, the first rank holds. A merge with a part or product
    /// that is no token can never be emitted and is left out.
    ///
    /// # Errors
    /// The index of the first line without a space between two parts.
    pub(crate) fn ranked(tokens: &TokenTable, lines: &[&str]) -> Result<Self, usize> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let share = lines.len().div_ceil(threads).max(MIN_SHARE);
        let found: Vec<Result<Vec<Merge>, usize>> = thread::scope(|scope| {
            let look_up = |(part, lines)| scope.spawn(move || look_up(tokens, lines, part * share));
            let workers: Vec<_> = lines.chunks(share).enumerate().map(look_up).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut pairs = HashMap::with_capacity(lines.len());
        for merges in found {
            for (pair, product) in merges? {
                pairs.entry(pair).or_insert(product);
            }
        }
        Ok(Self::Ranked(pairs))
    }

    /// Takes a score per id, `None` for reserved tokens.
    pub(crate) fn scored(scores: impl Iterator<Item = Option<f32>>) -> Self {
        Self::Scored(scores.map(|score| score.map_or(RESERVED, |score| priority(score).min(RESERVED - 1))).collect())
    }

    /// Whether text may become this token.
    pub(super) fn is_piece(&self, id: u32) -> bool {
        match self {
            Self::Ranked(_) => true,
            Self::Scored(priorities) => priorities.get(id as usize).is_some_and(|&priority| priority != RESERVED),
        }
    }

    /// Priority and product of a pair; `text` is the text of both together.
    #[inline]
    pub(super) fn find(&self, tokens: &TokenTable, pair: (u32, u32), text: &str) -> Option<(u32, u32)> {
        match self {
            Self::Ranked(pairs) => pairs.get(&pair).copied(),
            Self::Scored(priorities) => {
                let id = tokens.id(text)?;
                let priority = *priorities.get(id as usize)?;
                (priority != RESERVED).then_some((priority, id))
            }
        }
    }
}

/// Finds the ids of merge lines; `first` is the rank of the first line. `Err` is the rank of a malformed line.
fn look_up(tokens: &TokenTable, lines: &[&str], first: usize) -> Result<Vec<Merge>, usize> {
    let mut merges = Vec::with_capacity(lines.len());
    let mut product = String::new();
    for (rank, line) in (first..).zip(lines) {
        let (left, right) = split_pair(line).ok_or(rank)?;
        product.clear();
        product.push_str(left);
        product.push_str(right);
        if let (Some(a), Some(b), Some(id)) = (tokens.id(left), tokens.id(right), tokens.id(&product)) {
            merges.push(((a, b), (rank as u32, id)));
        }
    }
    Ok(merges)
}

/// Splits a merge line at the first space that is not its first byte (a part may begin with a space itself).
fn split_pair(line: &str) -> Option<(&str, &str)> {
    let space = line.bytes().skip(1).position(|byte| byte == b' ')? + 1;
    let (left, right) = (&line[..space], &line[space + 1..]);
    (!right.is_empty()).then_some((left, right))
}

/// Orders scores as integers: a higher score is a smaller number.
fn priority(score: f32) -> u32 {
    // -0.0 and 0.0 are the same score.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_order_scores() {
        let scores = [f32::MIN, -1e4, -1.0, -0.5, 0.0, 0.25, 1.0, f32::MAX];
        assert!(scores.windows(2).all(|pair| priority(pair[0]) > priority(pair[1])));
        assert_eq!(priority(-0.0), priority(0.0));
    }

    #[test]
    fn pairs_split_at_the_inner_space() {
        assert_eq!(split_pair("a b"), Some(("a", "b")));
        assert_eq!(split_pair("  b"), Some((" ", "b")));
        assert_eq!(split_pair("ab"), None);
        assert_eq!(split_pair("a "), None);
        assert_eq!(split_pair(""), None);
    }
}
