//! Where the buffers of a program lie in one arena, for a bucket of rows.
//!
//! Buckets are 1 to 8 rows exactly, then powers of two: a plan serves every step of its bucket, whatever the lengths and
//! positions.

use crate::program::{Buf, BufId, Domain, Program, Segment};
use argand_graph::arena::{Lifetime, plan};

/// Floats to which buffers are aligned: a cache line.
const ALIGN: usize = 16;

/// The bucket of a number of rows.
pub fn bucket(rows: usize) -> usize {
    if rows <= 8 { rows.max(1) } else { rows.next_power_of_two() }
}

/// How many rows of each domain a layout has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    /// Tokens.
    pub n: usize,
    /// Rows of logits.
    pub r: usize,
    /// Sequences; 0 where no buffer has a row for each.
    pub b: usize,
    /// Rows of pictures.
    pub p: usize,
}

impl Rows {
    /// The rows of a domain.
    pub fn of(self, domain: Domain) -> usize {
        match domain {
            Domain::N => self.n,
            Domain::R => self.r,
            Domain::B(each) => each * self.b,
            Domain::P => self.p,
        }
    }

    /// The bucket of all.
    pub fn bucket(self) -> Rows {
        let some = |rows| if rows == 0 { 0 } else { bucket(rows) };
        Rows { n: bucket(self.n), r: bucket(self.r), b: some(self.b), p: some(self.p) }
    }

    fn size(self, buf: &Buf) -> usize {
        buf.len * self.of(buf.domain)
    }
}

/// Offsets in floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the main part's buffers.
    pub main: Vec<usize>,
    /// Of each repetition's bodies: `[repetition][body][layer % 2]`, because layers read and write two buffers in turn.
    pub bodies: Vec<Vec<[Vec<usize>; 2]>>,
    /// Floats in all.
    pub total: usize,
}

impl Layout {
    /// Lays out a program for a bucket.
    pub fn new(program: &Program, rows: Rows) -> Layout {
        let (main, main_total) = main_offsets(program, rows);
        let mut total = main_total;
        let mut bodies = Vec::new();
        for layers in &program.layers {
            let carry = layers.carry.map(|b| main[b]);
            let mut each = Vec::new();
            for body in &layers.bodies {
                let (mut offsets, inner) = segment_offsets(body, rows, &[]);
                offsets.iter_mut().for_each(|o| *o += main_total);
                total = total.max(main_total + inner);
                each.push([0, 1].map(|parity| {
                    let mut offsets = offsets.clone();
                    if let Some(input) = body.input {
                        offsets[input] = carry[parity];
                    }
                    offsets[body.output] = carry[1 - parity];
                    offsets
                }));
            }
            bodies.push(each);
        }
        Layout { main, bodies, total }
    }
}

fn main_offsets(program: &Program, rows: Rows) -> (Vec<usize>, usize) {
    // Carried buffers live as long as anything: they are few, and the layers between them use the most memory.
    let pinned: Vec<BufId> = program.layers.iter().flat_map(|l| l.carry).chain([program.main.output]).collect();
    segment_offsets(&program.main, rows, &pinned)
}

fn segment_offsets(s: &Segment, rows: Rows, pinned: &[BufId]) -> (Vec<usize>, usize) {
    let carried = |b: BufId| s.input.is_some() && (s.input == Some(b) || s.output == b);
    let lifetimes: Vec<Lifetime> = s
        .bufs
        .iter()
        .enumerate()
        .map(|(b, buf)| {
            let touching = |i: &usize| s.calls[*i].writes().contains(&b) || s.calls[*i].reads().contains(&b);
            let mut at = (0..s.calls.len()).filter(touching);
            let (first, last) = match (at.next(), pinned.contains(&b)) {
                (_, true) => (0, s.calls.len()),
                (Some(first), false) => (first, at.next_back().unwrap_or(first)),
                (None, false) => return Lifetime { first: 0, last: 0, size: 0 },
            };
            // The carried buffers of a layer lie in the main part.
            Lifetime { first, last, size: if carried(b) { 0 } else { rows.size(buf) } }
        })
        .collect();
    plan(&lifetimes, ALIGN)
}
