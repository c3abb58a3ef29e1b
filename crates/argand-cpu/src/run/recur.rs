//! Recurrences: every sequence goes its own way, so that threads never wait for each other inside a call. Only where there are too few
//! recurrences for all threads and the weight is large, each thread makes a part of every state, and all meet after each row: then
//! a thread reads a part of the weight only, which may stay in its cache.

use super::*;
use crate::program::Recur;
use argand_graph::Cell;
use argand_kernels::scan;

/// Most sequences that go side by side: they read the recurrent weight as often as one alone would.
const TOGETHER: usize = 24;
/// Bytes of a recurrent weight from which on a part of it is worth the waiting.
const LARGE: usize = 256 << 10;

/// How many sequences go side by side, such that all threads have something to do.
fn together(all: usize, sequences: usize, threads: usize) -> usize {
    (all * sequences).div_ceil(threads).min(sequences).clamp(1, TOGETHER)
}

/// Adds what a call needs.
pub(super) fn needs(all: &[Recur], needs: &mut Needs) {
    let widest = all.iter().map(|r| (r.scan.gates() + 1) * r.scan.hidden).max().unwrap_or(0);
    let states = all.iter().map(|r| r.scan.state()).max().unwrap_or(0);
    needs.private.up = needs.private.up.max((TOGETHER * widest + states) * size_of::<f32>());
}

/// The part of the states that a thread makes if all make each together; none if they do not.
fn part(crew: &Crew<'_>, all: &[Recur], weights: &[Resident]) -> Option<Vec<Range<usize>>> {
    let one = |r: &Recur| {
        let (weights, hidden) = (stack(&weights[r.w]), r.scan.hidden);
        // With more than one weight a product waits for all of another one.
        let [w] = weights else { return None };
        let shared = hidden.is_multiple_of(w.lanes()) && w.bytes() >= LARGE && all.len() < crew.threads();
        let mine = share(hidden / w.lanes(), crew);
        shared.then(|| mine.start * w.lanes()..mine.end * w.lanes())
    };
    all.iter().map(one).collect()
}

/// A part of the first `G` gates.
fn parts<'v, const G: usize>(values: &'v [f32], places: [usize; 4], part: &Range<usize>, h: usize) -> [&'v [f32]; G] {
    std::array::from_fn(|gate| &values[places[gate] * h..][part.clone()])
}

impl Run<'_> {
    /// Pieces of (recurrence, sequences that go side by side), or parts of all states.
    pub(super) fn recur(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, all: &[Recur]) {
        let sequences = self.batch.seqs.len();
        let space = scratch_floats(&self.scratch[crew.id()].up);
        if let Some(parts) = part(crew, all, at.weights) {
            for (r, part) in all.iter().zip(parts) {
                for first in (0..sequences).step_by(TOGETHER) {
                    let side_by_side = first..(first + TOGETHER).min(sequences);
                    self.together(self.view(at), r, side_by_side, part.clone(), space, Some(crew));
                }
            }
            return;
        }
        let size = together(all.len(), sequences, crew.threads());
        let pieces = sequences.div_ceil(size);
        while let Some(i) = self.dealer.next(phase, all.len() * pieces) {
            let (r, first) = (&all[i / pieces], i % pieces * size);
            let side_by_side = first..(first + size).min(sequences);
            self.together(self.view(at), r, side_by_side, 0..r.scan.hidden, space, None);
        }
    }

    /// Some sequences, row by row; those that have ended drop out. A part of their states is made here; if others make the rest, they
    /// are waited for.
    fn together(
        &self,
        view: View<'_>,
        r: &Recur,
        sequences: Range<usize>,
        part: Range<usize>,
        space: &mut [f32],
        others: Option<&Crew<'_>>,
    ) {
        let (scan, h) = (&r.scan, r.scan.hidden);
        let (weights, bias) = (stack(&view.at.weights[r.w]), r.bias.map(|b| vector(&view.at.weights[b])));
        let (places, width, state) = (scan.places(), scan.gates() * h, scan.state());
        let (zeros, space) = space.split_at_mut(state);
        zeros.fill(0.0);
        let (products, resets) = space.split_at_mut(sequences.len() * width);
        let domain = view.at.segment.bufs[r.gates].domain;
        let rows_of = |s: usize| self.rows_of(domain, s);
        let longest = sequences.clone().map(|s| rows_of(s).len()).max().unwrap_or(0);
        let lanes = weights[0].lanes();
        let gates: Vec<Range<usize>> = match part.len() == h {
            true => std::iter::once(0..weights[0].groups()).collect(),
            false => (0..scan.gates()).map(|g| (g * h + part.start) / lanes..(g * h + part.end) / lanes).collect(),
        };
        let mut going = Vec::with_capacity(sequences.len());
        let mut inputs: Vec<&[f32]> = Vec::with_capacity(sequences.len());
        for step in 0..longest {
            // The row of each sequence that still has one, and the state before it.
            going.clear();
            going.extend(sequences.clone().filter(|s| step < rows_of(*s).len()).map(|s| {
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
            }));
            inputs.clear();
            inputs.extend(going.iter().map(|(_, last)| &last[..h]));
            for product in products.chunks_mut(width).take(going.len()) {
                match bias {
                    Some(bias) => product.copy_from_slice(bias),
                    None => product.fill(0.0),
                }
            }
            for groups in &gates {
                scan::add_product(self.tier, &weights[0], groups.clone(), &inputs, products, width);
            }
            if let Some(new) = weights.get(1) {
                for (i, (row, last)) in going.iter().enumerate() {
                    let (gates, product) = (view.row(r.gates, *row), &products[i * width..][..width]);
                    let to = &mut resets[i * h..][..h];
                    let [gate] = parts(gates, places, &part, h);
                    let [recurrent] = parts(product, places, &part, h);
                    scan::reset(self.tier, gate, recurrent, &last[..h], to);
                }
                let inputs: Vec<&[f32]> = resets.chunks(h).take(going.len()).collect();
                scan::add_product(self.tier, new, 0..new.groups(), &inputs, &mut products[2 * h..], width);
            }
            for (i, (row, last)) in going.iter().enumerate() {
                let (gates, product) = (view.row(r.gates, *row), &products[i * width..][..width]);
                let out = |place: usize| {
                    // SAFETY: this part of the row is this thread's own, and its outputs and cells lie apart.
                    unsafe {
                        let first = view.ptr(r.out, *row).add(place * h + part.start);
                        std::slice::from_raw_parts_mut(first, part.len())
                    }
                };
                let last = |place: usize| &last[place * h..][part.clone()];
                match scan.cell {
                    Cell::Lstm => {
                        let (gates, recurrent) = (parts(gates, places, &part, h), parts(product, places, &part, h));
                        scan::lstm(self.tier, gates, recurrent, last(1), [out(0), out(1)]);
                    }
                    Cell::Gru { reset_after } => {
                        let (gates, recurrent) = (parts(gates, places, &part, h), parts(product, places, &part, h));
                        scan::gru(self.tier, reset_after, gates, recurrent, last(0), out(0));
                    }
                }
            }
            if let Some(crew) = others {
                crew.barrier();
            }
        }
    }
}
