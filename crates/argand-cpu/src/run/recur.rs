//! Recurrences: every sequence goes its own way, so that threads never wait for each other inside a call.

use super::*;
use crate::program::Recur;
use argand_graph::Cell;
use argand_kernels::scan;

/// Most sequences that go side by side: each reads the recurrent weight as often as one alone would.
const TOGETHER: usize = 8;

/// How many sequences go side by side, such that all threads have something to do.
fn together(all: usize, sequences: usize, threads: usize) -> usize {
    (all * sequences).div_ceil(threads).min(sequences).clamp(1, TOGETHER)
}

/// Adds what a call needs.
pub(super) fn needs(all: &[Recur], needs: &mut Needs) {
    let widest = all.iter().map(|r| (r.scan.gates() + 2) * r.scan.hidden).max().unwrap_or(0);
    let states = all.iter().map(|r| r.scan.state()).max().unwrap_or(0);
    needs.private.up = needs.private.up.max((TOGETHER * widest + states) * size_of::<f32>());
}

impl Run<'_> {
    /// Pieces of (recurrence, sequences that go side by side).
    pub(super) fn recur(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, all: &[Recur]) {
        let sequences = self.batch.seqs.len();
        let size = together(all.len(), sequences, crew.threads());
        let pieces = sequences.div_ceil(size);
        let space = scratch_floats(&self.scratch[crew.id()].up);
        while let Some(i) = self.dealer.next(phase, all.len() * pieces) {
            let first = i % pieces * size;
            self.together(self.view(at), &all[i / pieces], first..(first + size).min(sequences), space);
        }
    }

    /// Some sequences, row by row; those that have ended drop out.
    fn together(&self, view: View<'_>, r: &Recur, sequences: Range<usize>, space: &mut [f32]) {
        let (scan, h) = (&r.scan, r.scan.hidden);
        let (weights, bias) = (stack(&view.at.weights[r.w]), r.bias.map(|b| vector(&view.at.weights[b])));
        let (places, width, state) = (scan.places(), scan.gates() * h, scan.state());
        let (zeros, space) = space.split_at_mut(state);
        zeros.fill(0.0);
        let (products, space) = space.split_at_mut(sequences.len() * width);
        let (inputs, resets) = space.split_at_mut(sequences.len() * h);
        let domain = view.at.segment.bufs[r.gates].domain;
        let rows_of = |s: usize| self.rows_of(domain, s);
        let longest = sequences.clone().map(|s| rows_of(s).len()).max().unwrap_or(0);
        for step in 0..longest {
            // The row of each sequence that still has one, and the state before it.
            let going = sequences.clone().filter(|s| step < rows_of(*s).len()).map(|s| {
                let rows = rows_of(s);
                let (row, last) = match scan.reverse {
                    false => (rows.start + step, (rows.start + step).wrapping_sub(1)),
                    true => (rows.end - 1 - step, rows.end - step),
                };
                let last = match (step, r.start) {
                    (0, Some(start)) => view.row(start, s),
                    (0, None) => &*zeros,
                    _ => view.row(r.out, last),
                };
                (row, last)
            });
            let mut n = 0;
            for (_, last) in going.clone() {
                inputs[n * h..][..h].copy_from_slice(&last[..h]);
                let product = &mut products[n * width..][..width];
                match bias {
                    Some(bias) => product.copy_from_slice(bias),
                    None => product.fill(0.0),
                }
                n += 1;
            }
            scan::add_product(self.tier, &weights[0], inputs, n, products, width);
            if let Some(new) = weights.get(1) {
                for (i, (row, last)) in going.clone().enumerate() {
                    let (gates, product) = (view.row(r.gates, row), &products[i * width..][..width]);
                    scan::reset(self.tier, places[0], gates, product, last, &mut resets[i * h..][..h]);
                }
                scan::add_product(self.tier, new, resets, n, &mut products[2 * h..], width);
            }
            for (i, (row, last)) in going.enumerate() {
                let (gates, product) = (view.row(r.gates, row), &products[i * width..][..width]);
                let out = view.row_mut(r.out, row);
                match scan.cell {
                    Cell::Lstm => scan::lstm(self.tier, places, gates, product, last, out),
                    Cell::Gru { reset_after } => {
                        scan::gru(self.tier, places, reset_after, gates, product, last, out);
                    }
                }
            }
        }
    }
}
