//! The tokens still in play and the operations that remove or reweigh them.
//!
//! Every operation works in one buffer and in time linear in the tokens in play: sets are found by selection, never by
//! sorting the vocabulary. At least one token always stays.

use crate::constraint::TokenSet;
use std::cmp::Ordering;

/// Logits that are skipped together when none of them can be selected; small enough to stay in registers.
const BLOCK: usize = 64;

/// A token still in play.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
}

/// Largest logit first, lowest id among equals: a total order, so that selection is reproducible.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// The tokens in play: all of them, as plain logits by id, until a stage removes some.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    whole: bool,
    logits: Vec<f32>,
    items: Vec<Candidate>,
    weights: Vec<f32>,
    surprise: Vec<(f32, Candidate)>,
}

impl Candidates {
    /// Puts the whole vocabulary in play.
    ///
    /// # Errors
    /// The first token whose logit is not a number or is positive infinity.
    pub fn load(&mut self, logits: &[f32]) -> Result<(), u32> {
        self.whole = true;
        self.items.clear();
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        let bad = |l: &f32| l.is_nan() || *l == f32::INFINITY;
        // Counting first, for a loop without an early end becomes vector code.
        match logits.iter().map(|l| u32::from(bad(l))).sum::<u32>() {
            0 => Ok(()),
            _ => Err(logits.iter().position(bad).unwrap_or_default() as u32),
        }
    }

    /// Takes all tokens but these out of play, while the vocabulary is whole.
    pub fn keep(&mut self, allowed: &TokenSet) {
        // Few tokens go into a list, which later stages then walk instead of the vocabulary.
        if allowed.count() <= BLOCK {
            self.whole = false;
            let logit = |id: u32| self.logits.get(id as usize).map(|&logit| Candidate { id, logit });
            self.items.extend(allowed.iter().filter_map(logit));
            return;
        }
        let words = allowed.words().iter().copied().chain(std::iter::repeat(0));
        for (logits, word) in self.logits.chunks_mut(32).zip(words) {
            match word {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                _ => {
                    let bits = (0..32).map(|i| word >> i & 1 == 1);
                    for (logit, _) in logits.iter_mut().zip(bits).filter(|(_, bit)| !bit) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }

    /// The logit of a token, when in play.
    pub fn logit_mut(&mut self, id: u32) -> Option<&mut f32> {
        if self.whole {
            return self.logits.get_mut(id as usize);
        }
        self.items.iter_mut().find(|c| c.id == id).map(|c| &mut c.logit)
    }

    /// Divides all logits.
    pub fn divide(&mut self, temperature: f32) {
        self.logits.iter_mut().for_each(|l| *l /= temperature);
        self.items.iter_mut().for_each(|c| c.logit /= temperature);
    }

    /// Keeps the `k` of highest rank.
    pub fn top_k(&mut self, k: usize) {
        if k >= self.len() {
            return;
        }
        let k = k.max(1);
        if self.whole {
            self.collect_above_rising_bar(k);
        }
        if self.items.len() > k {
            self.items.select_nth_unstable_by(k - 1, by_rank);
            self.items.truncate(k);
        }
    }

    /// Keeps the best until their probability reaches `p`.
    pub fn top_p(&mut self, p: f32) {
        let (max, total) = self.normalizer();
        // Tokens less likely than an equal share of the removed mass are removed together, whatever their order.
        let tail = (1.0 - f64::from(p)) / self.len() as f64;
        let floor = f64::from(max) + (tail * total).ln();
        self.keep_from((floor as f32).next_down());
        let n = reach(&mut self.items, by_rank, |c| weight(c.logit, max), f64::from(p) * total);
        self.items.truncate(n);
    }

    /// Keeps tokens at least `p` times as likely as the likeliest.
    pub fn min_p(&mut self, p: f32) {
        self.keep_from(self.max() + p.ln());
    }

    /// Keeps the tokens whose surprise is closest to the entropy until their probability reaches `p`; equals stay together.
    pub fn typical_p(&mut self, p: f32) {
        self.keep_from(f32::MIN);
        let (max, total) = self.normalizer();
        let log_total = total.ln();
        let surprise = |c: &Candidate| log_total - f64::from(c.logit - max);
        let expected = |c: &Candidate| weight(c.logit, max) / total * surprise(c);
        let entropy: f64 = self.items.iter().map(expected).sum();
        let distance = |c: &Candidate| (surprise(c) - entropy).abs() as f32;
        self.surprise.clear();
        self.surprise.extend(self.items.iter().map(|c| (distance(c), *c)));
        let closest = |a: &(f32, Candidate), b: &(f32, Candidate)| a.0.total_cmp(&b.0).then(by_rank(&a.1, &b.1));
        let n = reach(&mut self.surprise, closest, |(_, c)| weight(c.logit, max), f64::from(p) * total);
        let bound = self.surprise[..n].iter().fold(0.0f32, |m, (d, _)| m.max(*d));
        self.items.clear();
        self.items.extend(self.surprise.iter().filter(|(d, _)| *d <= bound).map(|(_, c)| *c));
    }

    /// The candidate of highest rank; none when every logit is negative infinity.
    pub fn best(&self) -> Option<u32> {
        let max = self.max();
        let found = if self.whole {
            let block = self.logits.chunks(BLOCK).position(|b| largest(b) == max).unwrap_or_default();
            let start = block * BLOCK;
            self.logits[start..].iter().position(|l| *l == max).map(|i| (start + i) as u32)
        } else {
            self.items.iter().min_by(|a, b| by_rank(a, b)).map(|c| c.id)
        };
        found.filter(|_| max > f32::NEG_INFINITY)
    }

    /// The token at share `u` of the distribution, tokens taken by ascending id.
    pub fn draw(&mut self, u: f64) -> Option<u32> {
        self.items.sort_unstable_by_key(|c| c.id);
        let max = self.max();
        let mut weights = std::mem::take(&mut self.weights);
        weights.clear();
        if self.whole {
            weights.extend(self.logits.iter().map(|l| weight(*l, max) as f32));
        } else {
            weights.extend(self.items.iter().map(|c| weight(c.logit, max) as f32));
        }
        let mut left = u * weights.iter().map(|w| f64::from(*w)).sum::<f64>();
        let mut last = None;
        for (i, w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = Some(i);
            left -= f64::from(*w);
            if left < 0.0 {
                break;
            }
        }
        self.weights = weights;
        last.map(|i| if self.whole { i as u32 } else { self.items[i].id })
    }

    /// Ids and probabilities in play, by ascending id.
    pub fn distribution(&mut self) -> Vec<(u32, f64)> {
        self.items.sort_unstable_by_key(|c| c.id);
        let (max, total) = self.normalizer();
        let id = |i: usize| if self.whole { i as u32 } else { self.items[i].id };
        self.logits().enumerate().map(|(i, l)| (id(i), weight(l, max) / total)).collect()
    }

    /// The `n` of highest rank, best first, with their logits.
    pub fn ranked(&mut self, n: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.top_k(n);
        self.keep_from(f32::NEG_INFINITY);
        self.items.sort_unstable_by(by_rank);
        self.items.iter().map(|c| (c.id, c.logit))
    }

    /// Logarithm of the sum of the exponentials of the logits in play.
    pub fn log_sum_exp(&self) -> f64 {
        let (max, total) = self.normalizer();
        f64::from(max) + total.ln()
    }

    fn len(&self) -> usize {
        if self.whole { self.logits.len() } else { self.items.len() }
    }

    /// Logits in play; `items` is empty while the vocabulary is whole.
    fn logits(&self) -> impl Iterator<Item = f32> + '_ {
        let whole: &[f32] = if self.whole { &self.logits } else { &[] };
        whole.iter().copied().chain(self.items.iter().map(|c| c.logit))
    }

    fn max(&self) -> f32 {
        let blocks = if self.whole { largest(&self.logits) } else { f32::NEG_INFINITY };
        self.items.iter().fold(blocks, |m, c| m.max(c.logit))
    }

    /// Largest logit, and the sum of all weights relative to it.
    fn normalizer(&self) -> (f32, f64) {
        let max = self.max();
        (max, self.logits().map(|l| weight(l, max)).sum())
    }

    /// Keeps logits from `floor` up, or the best alone when there is none.
    fn keep_from(&mut self, floor: f32) {
        let best = self.best().and_then(|id| self.logit_mut(id).map(|l| Candidate { id, logit: *l }));
        if self.whole {
            self.whole = false;
            for (start, block) in (0..).step_by(BLOCK).zip(self.logits.chunks(BLOCK)) {
                if largest(block) >= floor {
                    let kept = (start..).zip(block).filter(|(_, l)| **l >= floor);
                    self.items.extend(kept.map(|(id, &logit)| Candidate { id, logit }));
                }
            }
        } else {
            self.items.retain(|c| c.logit >= floor);
        }
        if self.items.is_empty() {
            self.items.extend(best);
        }
    }

    /// Collects from the whole vocabulary a superset of the `k` best: what beats the k-th best so far, a bar that rises
    /// whenever enough has been collected.
    fn collect_above_rising_bar(&mut self, k: usize) {
        self.whole = false;
        let mut bar = f32::NEG_INFINITY;
        for (start, block) in (0..).step_by(BLOCK).zip(self.logits.chunks(BLOCK)) {
            if largest(block) < bar {
                continue;
            }
            let kept = (start..).zip(block).filter(|(_, l)| **l >= bar);
            self.items.extend(kept.map(|(id, &logit)| Candidate { id, logit }));
            if self.items.len() >= 2 * k + BLOCK {
                let (_, worst, _) = self.items.select_nth_unstable_by(k - 1, by_rank);
                bar = worst.logit;
                self.items.truncate(k);
            }
        }
    }
}

/// The largest of logits that are numbers; the comparison, unlike `f32::max`, becomes one vector instruction.
fn largest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = logits.as_chunks::<16>();
    for block in blocks {
        for (lane, l) in lanes.iter_mut().zip(block) {
            *lane = if *l > *lane { *l } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, l| if *l > m { *l } else { m })
}

/// Moves the shortest head of the order whose weights reach `target` to the front, in no order; returns its length.
fn reach<T>(items: &mut [T], order: impl Fn(&T, &T) -> Ordering, weight: impl Fn(&T) -> f64, target: f64) -> usize {
    // Bisection by selection: the answer is in `low + 1..=high`, and all before `low` rank before all after it.
    let (mut low, mut high, mut left) = (0, items.len(), target);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        items[low..high].select_nth_unstable_by(middle - low, &order);
        let sum: f64 = items[low..middle].iter().map(&weight).sum();
        if sum >= left {
            high = middle;
        } else {
            left -= sum;
            low = middle;
        }
    }
    high
}

/// Weight of a logit relative to the largest: its exponential, without branches so that loops over it become vector code.
///
/// Cody and Waite's reduction to |r| <= ln(2)/2 and the Taylor polynomial of degree 7, whose truncation is below f32's last
/// bit. Below 2^-46 a weight cannot move a sum of 2^18 of them by that bit, so it is 0; so is anything relative to
/// negative infinity.
fn weight(logit: f32, max: f32) -> f64 {
    /// Adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let distance = logit - max;
    let shifted = distance * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = distance - n * LN_2_HIGH - n * LN_2_LOW;
    let inverse_factorials = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let series = inverse_factorials.iter().fold(1.0 / 5040.0, |sum, c| sum * r + c);
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    f64::from(if distance > -32.0 { series * power } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exponentials() {
        for i in 0..32_000 {
            let x = -(i as f32) / 1000.0;
            let (found, exact) = (weight(x + 3.0, 3.0), f64::from((x + 3.0) - 3.0).exp());
            // Rounding of the reduction and of seven multiply-adds of a converging series: two units of the last place.
            assert!((found / exact - 1.0).abs() < 2.0 * f64::from(f32::EPSILON), "{x}: {found}, {exact}");
        }
        assert_eq!(weight(5.0, 5.0), 1.0);
        assert_eq!(weight(f32::NEG_INFINITY, 1.0), 0.0);
        assert_eq!(weight(f32::NEG_INFINITY, f32::NEG_INFINITY), 0.0);
        assert_eq!(weight(-40.0, 0.0), 0.0);
    }
}
