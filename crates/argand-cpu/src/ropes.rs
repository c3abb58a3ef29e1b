//! Angles of rotary embeddings: a table of cosines and sines by position, grown as far as positions have come, or, where tokens
//! have several coordinates, by row of the step.

use crate::exec::Batch;
use argand_graph::Rope;

/// Cosines and sines of one set of frequencies.
pub(crate) struct RopeTable {
    rope: Rope,
    /// For each position (or row) the cosines of all pairs, then the sines.
    values: Vec<f32>,
}

impl RopeTable {
    pub(crate) fn new(rope: Rope) -> Self {
        RopeTable { rope, values: Vec::new() }
    }

    fn pairs(&self) -> usize {
        self.rope.freqs.inv_freq.len()
    }

    /// Makes the table hold what a step needs.
    pub(crate) fn cover(&mut self, batch: &Batch<'_>) {
        if !self.rope.sections.is_empty() {
            self.values.clear();
            let axes = self.rope.sections.iter().enumerate().flat_map(|(axis, pairs)| vec![axis; *pairs]);
            let axes: Vec<usize> = axes.collect();
            for row in 0..batch.rows() {
                let at = batch.coordinates.get(row).copied().unwrap_or([batch.positions[row]; 3]);
                self.push(|pair| at[axes[pair]]);
            }
            return;
        }
        let end = batch.positions.iter().map(|p| *p as usize + 1).max().unwrap_or(0);
        let known = self.values.len().checked_div(2 * self.pairs()).unwrap_or(end);
        if known < end {
            (known..end.next_multiple_of(256)).for_each(|position| self.push(|_| position as u32));
        }
    }

    /// Adds the angles of pairs that turn by these positions.
    fn push(&mut self, position: impl Fn(usize) -> u32) {
        // Angles in f64: at position 100,000 an f32 product would be off by several thousandths.
        let magnitude = f64::from(self.rope.freqs.magnitude);
        let angles = self.rope.freqs.inv_freq.iter().enumerate().map(|(pair, f)| f64::from(position(pair)) * f);
        self.values.extend(angles.clone().map(|a| (a.cos() * magnitude) as f32));
        self.values.extend(angles.map(|a| (a.sin() * magnitude) as f32));
    }

    /// Cosines and sines of a row that is at this position.
    pub(crate) fn at(&self, row: usize, position: u32) -> (&[f32], &[f32]) {
        let pairs = self.pairs();
        let at = if self.rope.sections.is_empty() { position as usize } else { row };
        self.values[2 * pairs * at..][..2 * pairs].split_at(pairs)
    }
}
