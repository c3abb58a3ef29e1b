//! Angles of rotary embeddings: a table of cosines and sines by position, grown as far as positions have come.

use argand_graph::RopeFreqs;
use std::sync::Arc;

/// Cosines and sines of one set of frequencies.
pub(crate) struct RopeTable {
    freqs: Arc<RopeFreqs>,
    /// For each position the cosines of all pairs, then the sines.
    values: Vec<f32>,
}

impl RopeTable {
    pub(crate) fn new(freqs: Arc<RopeFreqs>) -> Self {
        RopeTable { freqs, values: Vec::new() }
    }

    fn pairs(&self) -> usize {
        self.freqs.inv_freq.len()
    }

    /// Makes the table cover positions below `end`.
    pub(crate) fn cover(&mut self, end: usize) {
        let pairs = self.pairs();
        let known = self.values.len().checked_div(2 * pairs).unwrap_or(end);
        if known >= end {
            return;
        }
        // Angles in f64: at position 100,000 an f32 product would be off by several thousandths.
        let magnitude = f64::from(self.freqs.magnitude);
        for position in known..end.next_multiple_of(256) {
            let angles = self.freqs.inv_freq.iter().map(|f| position as f64 * f);
            self.values.extend(angles.clone().map(|a| (a.cos() * magnitude) as f32));
            self.values.extend(angles.map(|a| (a.sin() * magnitude) as f32));
        }
    }

    /// Cosines and sines at a position that is covered.
    pub(crate) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let pairs = self.pairs();
        self.values[2 * pairs * position..][..2 * pairs].split_at(pairs)
    }
}
