//! Products of narrow levels with many activation rows: two groups are unpacked once into a panel of one byte
//! per level, over which register tiles run with every row.
//!
//! A block of a panel is, in vectors of `4 * LANES` bytes: for each of 8 quads the levels of both groups;
//! then per part the `f32` scales of both groups and, where there are minima, the minima of both.

use super::acts::{ActBlock, Acts};
use super::output::{Output, Pair, V, for_tiles};
use super::stream::{part_sum, start_part};
use super::unpack::{centred_min, factors, for_quads, head, quads};
use crate::packed::layout::Format;
use crate::simd_int::SimdInt;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Blocks of a panel: with the activations of a tile it fits in the first-level cache.
pub(super) const PANEL_BLOCKS: usize = 32;
/// Activation rows that meet all panels of a call before the next ones do: a panel's width of them fits
/// in the second-level cache.
pub(super) const PANEL_ROWS: usize = 256;
/// Vectors per block and group of the largest panel: levels, scales and minima of two parts.
const MOST_VECTORS: usize = 12;

/// Room for the largest panel.
#[repr(C, align(64))]
pub(super) struct Panel(MaybeUninit<[u8; PANEL_BLOCKS * V * MOST_VECTORS * 64]>);

impl Panel {
    pub fn new() -> Panel {
        Panel(MaybeUninit::uninit())
    }

    pub fn data(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// Vectors of a block of a panel of two groups.
const fn vectors<F: Format>() -> usize {
    let scales = F::LAYOUT.scales;
    let factors = if scales.has_min() { 2 } else { 1 };
    V * (8 + scales.parts() * factors)
}

/// Unpacks blocks of both groups.
///
/// # Safety
/// The groups have format `F`, the lanes of `S` and those blocks; the panel has room for them.
#[inline(always)]
pub(super) unsafe fn unpack<S: SimdInt, F: Format>(s: S, pair: Pair, blocks: Range<usize>, panel: *mut u8) {
    let size = 4 * S::LANES;
    let first = blocks.start;
    let distance = pair.distance();
    for block in blocks {
        for (v, group) in pair.groups.into_iter().enumerate() {
            // SAFETY: the block is readable, and its vectors are inside the panel.
            unsafe {
                let out = panel.add(((block - first) * vectors::<F>() + v) * size);
                let levels = group.levels::<S, F>(block);
                for line in (0..F::LAYOUT.level_bytes(S::LANES)).step_by(64) {
                    s.prefetch(levels.wrapping_add(distance + line));
                }
                for_quads!(|J| {
                    let [low, high] = quads::<S, F, J>(s, levels);
                    s.store_b(out.add(V * size * J), low);
                    s.store_b(out.add(V * size * (J + 4)), high);
                });
                let head = head::<S, F>(s, group.head::<S, F>(block));
                let factors = factors::<S, F>(s, head, group.factors::<S, F>(block));
                let mut out = out.add(V * size * 8);
                for part in 0..F::LAYOUT.scales.parts() {
                    s.store(out.cast(), factors.scale[part]);
                    out = out.add(V * size);
                    if F::LAYOUT.scales.has_min() {
                        s.store(out.cast(), centred_min::<S, F>(s, &factors, part));
                        out = out.add(V * size);
                    }
                }
            }
        }
    }
}

/// The product of a panel of `blocks` with rows `rows`.
///
/// # Safety
/// The panel was unpacked from `pair` and `blocks` in a narrow format with the centre, parts and minima of `F`;
/// otherwise as [`linear_int`](super::linear_int).
#[inline(always)]
pub(super) unsafe fn tiles<S: SimdInt, F: Format>(
    s: S,
    panel: *const u8,
    pair: Pair,
    blocks: Range<usize>,
    acts: Acts,
    rows: Range<usize>,
    out: Output,
) {
    for_tiles!(S, rows, [2], 4, |row, n, T| {
        let mut tile_rows = [acts.at(row, blocks.start); T];
        for (t, a) in tile_rows.iter_mut().enumerate() {
            *a = acts.at(row + t.min(n - 1), blocks.start);
        }
        // SAFETY: the caller's contract.
        unsafe {
            let start = out.start(s, &pair, row, n);
            let tile = tile::<S, F, T>(s, start, panel, tile_rows, blocks.len());
            out.store(s, &pair, row, n, tile);
        }
    });
}

/// Adds a panel times `T` rows to `tile`, in the order in which a stream adds.
///
/// # Safety
/// The panel and the rows have `blocks` readable blocks.
#[inline(always)]
unsafe fn tile<S: SimdInt, F: Format, const T: usize>(
    s: S,
    mut tile: [[S::F; V]; T],
    mut panel: *const u8,
    mut acts: [*const ActBlock; T],
    blocks: usize,
) -> [[S::F; V]; T] {
    let scales = F::LAYOUT.scales;
    let (size, parts) = (4 * S::LANES, scales.parts());
    for _ in 0..blocks {
        for part in 0..parts {
            // SAFETY: the quads of the part and its factors lie in the block.
            unsafe {
                let first = 8 / parts * part;
                let sums = sums_of::<S, F, T>(s, panel, &acts, part, first..first + 8 / parts);
                let step = V * size * if scales.has_min() { 2 } else { 1 };
                let factors = panel.add(V * size * 8 + step * part);
                for v in 0..V {
                    let scale = s.load(factors.add(size * v).cast());
                    for t in 0..T {
                        let scale = s.mul(scale, s.splat((*acts[t]).scale));
                        tile[t][v] = s.fma(s.to_f(sums[t][v]), scale, tile[t][v]);
                    }
                    if scales.has_min() {
                        let min = s.load(factors.add(size * (V + v)).cast());
                        for t in 0..T {
                            let sum = s.splat(part_sum::<F>(acts[t], part));
                            tile[t][v] = s.neg_fma(min, sum, tile[t][v]);
                        }
                    }
                }
            }
        }
        panel = panel.wrapping_add(vectors::<F>() * size);
        for a in &mut acts {
            *a = a.wrapping_add(1);
        }
    }
    tile
}

/// Sums `[row][group]` over `quads` of a panel block.
///
/// # Safety
/// The block and the activations are readable.
#[inline(always)]
unsafe fn sums_of<S: SimdInt, F: Format, const T: usize>(
    s: S,
    panel: *const u8,
    acts: &[*const ActBlock; T],
    part: usize,
    quads: Range<usize>,
) -> [[S::I; V]; T] {
    let size = 4 * S::LANES;
    let mut acc = [[s.zero_d(); V]; T];
    // SAFETY: the caller's contract.
    unsafe {
        for t in 0..T {
            acc[t] = [start_part::<S, F>(s, acts[t], part); V];
        }
        for first in quads.step_by(4) {
            for_quads!(|J| {
                let w = panel.add(V * size * (first + J));
                let w = [s.load_b(w), s.load_b(w.add(size))];
                for t in 0..T {
                    let a = s.load_quad((&raw const (*acts[t]).q).cast::<i8>().add(4 * (first + J)));
                    for v in 0..V {
                        acc[t][v] = s.pin_d(s.dot(acc[t][v], w[v], a));
                    }
                }
            });
        }
    }
    let mut sums = [[s.splat_i(0); V]; T];
    for t in 0..T {
        for v in 0..V {
            sums[t][v] = s.sum_d(acc[t][v]);
        }
    }
    sums
}
