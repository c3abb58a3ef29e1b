//! The tokens still in play and the operations that remove or reweigh them.
//!
//! Every operation works in place on one buffer; none sorts the whole vocabulary unless the distribution is flat enough to
//! need it. At least one token always stays.

use std::cmp::Ordering;

/// A token still in play.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub id: u32,
    pub logit: f32,
}

/// Largest logit first, lowest id among equals: a total order, so that selection is reproducible.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// The tokens in play. While `whole`, item `i` is token `i`.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    items: Vec<Candidate>,
    whole: bool,
    weights: Vec<f32>,
    surprise: Vec<(f32, Candidate)>,
}

impl Candidates {
    /// Puts the whole vocabulary in play. Returns the first token whose logit is not a number or is positive infinity.
    pub fn load(&mut self, logits: &[f32]) -> Result<(), u32> {
        self.items.clear();
        self.whole = true;
        self.items.extend((0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }));
        match self.items.iter().find(|c| c.logit.is_nan() || c.logit == f32::INFINITY) {
            Some(bad) => Err(bad.id),
            None => Ok(()),
        }
    }

    /// The logit of a token, when in play.
    pub fn logit_mut(&mut self, id: u32) -> Option<&mut f32> {
        let item =
            if self.whole { self.items.get_mut(id as usize) } else { self.items.iter_mut().find(|c| c.id == id) };
        item.map(|c| &mut c.logit)
    }

    /// Divides all logits.
    pub fn divide(&mut self, temperature: f32) {
        for item in &mut self.items {
            item.logit /= temperature;
        }
    }

    /// Keeps the `k` of highest rank.
    pub fn top_k(&mut self, k: usize) {
        if k >= self.items.len() {
            return;
        }
        // One pass: collect what beats the k-th best so far, and raise that bar whenever the collection has doubled.
        let k = k.max(1);
        let room = 2 * k + 64;
        let mut kept = 0;
        let mut bar: Option<Candidate> = None;
        for i in 0..self.items.len() {
            let item = self.items[i];
            if bar.is_some_and(|b| by_rank(&item, &b) == Ordering::Greater) {
                continue;
            }
            self.items[kept] = item;
            kept += 1;
            if kept == room {
                let (_, worst, _) = self.items[..kept].select_nth_unstable_by(k - 1, by_rank);
                bar = Some(*worst);
                kept = k;
            }
        }
        if kept > k {
            self.items[..kept].select_nth_unstable_by(k - 1, by_rank);
        }
        self.keep_first(k);
    }

    /// Keeps the best until their probability reaches `p`.
    pub fn top_p(&mut self, p: f32) {
        let (max, total) = self.normalizer();
        // Tokens less likely than an equal share of the removed mass are removed together, whatever their order.
        let tail = (1.0 - f64::from(p)) / self.items.len() as f64;
        let floor = f64::from(max) + (tail * total).ln();
        self.retain_best(|c| f64::from(c.logit) > floor);
        let target = f64::from(p) * total;
        let mut sum = 0.0;
        let (mut sorted, mut block) = (0, 64);
        while sorted < self.items.len() {
            let end = (sorted + block).min(self.items.len());
            let rest = &mut self.items[sorted..];
            if end - sorted < rest.len() {
                rest.select_nth_unstable_by(end - sorted - 1, by_rank);
            }
            self.items[sorted..end].sort_unstable_by(by_rank);
            for i in sorted..end {
                sum += weight(self.items[i].logit, max);
                if sum >= target {
                    return self.keep_first(i + 1);
                }
            }
            (sorted, block) = (end, block * 4);
        }
        self.whole = false;
    }

    /// Keeps tokens at least `p` times as likely as the likeliest.
    pub fn min_p(&mut self, p: f32) {
        let floor = self.max() + p.ln();
        self.retain_best(|c| c.logit >= floor);
    }

    /// Keeps the tokens whose surprise is closest to the entropy until their probability reaches `p`; equals stay together.
    pub fn typical_p(&mut self, p: f32) {
        let (max, total) = self.normalizer();
        let log_total = total.ln();
        let surprise = |c: &Candidate| log_total - f64::from(c.logit - max);
        let entropy: f64 = self
            .items
            .iter()
            .filter(|c| c.logit > f32::NEG_INFINITY)
            .map(|c| weight(c.logit, max) / total * surprise(c))
            .sum();
        self.surprise.clear();
        self.surprise.extend(self.items.iter().map(|c| ((surprise(c) - entropy).abs() as f32, *c)));
        self.surprise.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(by_rank(&a.1, &b.1)));
        let target = f64::from(p) * total;
        let mut sum = 0.0;
        let mut bound = f32::INFINITY;
        for (distance, candidate) in &self.surprise {
            sum += weight(candidate.logit, max);
            if sum >= target {
                bound = *distance;
                break;
            }
        }
        self.items.clear();
        self.items.extend(self.surprise.iter().take_while(|(d, _)| *d <= bound).map(|(_, c)| *c));
        self.whole = false;
    }

    /// The candidate of highest rank.
    pub fn best(&self) -> Option<u32> {
        self.items.iter().min_by(|a, b| by_rank(a, b)).map(|c| c.id)
    }

    /// The token at share `u` of the distribution, tokens taken by ascending id.
    pub fn draw(&mut self, u: f64) -> Option<u32> {
        if !self.whole {
            self.items.sort_unstable_by_key(|c| c.id);
        }
        let max = self.max();
        self.weights.clear();
        self.weights.extend(self.items.iter().map(|c| weight(c.logit, max) as f32));
        let total: f64 = self.weights.iter().map(|w| f64::from(*w)).sum();
        let mut left = u * total;
        let mut last = None;
        for (item, w) in self.items.iter().zip(&self.weights).filter(|(_, w)| **w > 0.0) {
            last = Some(item.id);
            left -= f64::from(*w);
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Ids and probabilities in play, by ascending id.
    pub fn distribution(&self) -> Vec<(u32, f64)> {
        let (max, total) = self.normalizer();
        let mut out: Vec<_> = self.items.iter().map(|c| (c.id, weight(c.logit, max) / total)).collect();
        out.sort_unstable_by_key(|(id, _)| *id);
        out
    }

    /// The `n` of highest rank, best first, with their logits.
    pub fn ranked(&mut self, n: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.top_k(n);
        self.items.sort_unstable_by(by_rank);
        self.whole = false;
        self.items.iter().take(n).map(|c| (c.id, c.logit))
    }

    /// Logarithm of the sum of the exponentials of the logits in play.
    pub fn log_sum_exp(&self) -> f64 {
        let (max, total) = self.normalizer();
        f64::from(max) + total.ln()
    }

    fn max(&self) -> f32 {
        self.items.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c.logit))
    }

    /// Largest logit, and the sum of all weights relative to it.
    fn normalizer(&self) -> (f32, f64) {
        let max = self.max();
        (max, self.items.iter().map(|c| weight(c.logit, max)).sum())
    }

    fn retain_best(&mut self, keep: impl Fn(&Candidate) -> bool) {
        let before = self.items.len();
        let best = self.items.iter().copied().min_by(by_rank);
        self.items.retain(keep);
        if self.items.is_empty() {
            self.items.extend(best);
        }
        self.whole &= self.items.len() == before;
    }

    fn keep_first(&mut self, n: usize) {
        self.items.truncate(n);
        self.whole = false;
    }
}

/// Weight of a logit relative to the largest. Below 2^-46 a weight cannot move a sum of 2^18 of them by an f32's last bit.
fn weight(logit: f32, max: f32) -> f64 {
    let distance = logit - max;
    if distance > -32.0 { f64::from(distance.exp()) } else { 0.0 }
}
