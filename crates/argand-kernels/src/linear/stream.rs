//! Products with one or a few activation rows: the packed weight is read once and unpacked in
//! registers, so that memory sets the pace.

use super::acts::{ActBlock, Acts};
use super::output::{Output, Pair, V, for_tiles};
use super::unpack::{centred_min, factors, for_quads, head, quads};
use crate::packed::PackedMatrix;
use crate::packed::layout::Format;
use crate::simd_int::SimdInt;
use std::ops::Range;

/// Most activation rows for which streaming is faster than a panel.
pub(super) const STREAM_ROWS: usize = 8;
/// Bytes of activations that a stream meets with all groups before it goes on to the next rows: they stay in the
/// second-level cache.
pub(super) const STREAM_BYTES: usize = 384 << 10;

/// The product for `groups` and `rows`. Both terms of a row are rows of a tile, which are added at the end.
///
/// # Safety
/// As [`linear_int`](super::linear_int); the weight has format `F` and the lanes of `S`.
#[inline(always)]
pub(super) unsafe fn stream<S: SimdInt, F: Format>(
    s: S,
    w: &PackedMatrix,
    groups: Range<usize>,
    acts: Acts,
    rows: Range<usize>,
    out: Output,
) {
    let terms = acts.layout.terms;
    for first in groups.clone().step_by(V) {
        let pair = Pair::of(w, first, groups.end);
        for_tiles!(S, rows.start * terms..rows.end * terms, [1, 2], 4, |term, n, T| {
            let mut tile_terms = [acts.term(term); T];
            for (t, a) in tile_terms.iter_mut().enumerate() {
                *a = acts.term(term + t.min(n - 1));
            }
            // SAFETY: the caller's contract.
            unsafe {
                let mut tile = stream_tile::<S, F, T>(s, &pair, tile_terms, acts.layout.blocks);
                if terms == 2 {
                    for t in 0..n / 2 {
                        let [first, second] = [tile[2 * t], tile[2 * t + 1]];
                        tile[t] = [s.add(first[0], second[0]), s.add(first[1], second[1])];
                    }
                }
                out.store(s, &pair, term / terms, n / terms, tile);
            }
        });
    }
}

/// Two groups times `T` rows over all blocks.
///
/// # Safety
/// `blocks` blocks of both groups and of all rows are readable.
#[inline(always)]
unsafe fn stream_tile<S: SimdInt, F: Format, const T: usize>(
    s: S,
    pair: &Pair,
    mut acts: [*const ActBlock; T],
    blocks: usize,
) -> [[S::F; V]; T] {
    let mut tile = [[s.zero(); V]; T];
    let scales = F::LAYOUT.scales;
    let level_bytes = F::LAYOUT.level_bytes(S::LANES);
    let mut spans = [pair.groups[0].scales, pair.groups[1].scales];
    let mut levels = [pair.groups[0].levels, pair.groups[1].levels];
    // While one pair is worked on, the next one, which lies behind it in memory, is fetched at the same pace. The
    // addresses form one ascending run over all pairs, which the hardware's own prefetcher then recognises.
    let lines = (V * (level_bytes + scales.span_bytes() * S::LANES / scales.blocks_per_head())).div_ceil(64);
    let mut ahead = spans[0].wrapping_add(pair.distance());
    let last = ahead.wrapping_add(pair.distance()).wrapping_sub(64);
    for _ in 0..blocks / scales.blocks_per_head() {
        let mut heads = [[s.zero(); 2]; V];
        for v in 0..V {
            // SAFETY: the span is readable.
            heads[v] = unsafe { head::<S, F>(s, spans[v]) };
        }
        let mut block_scales = spans.map(|span| span.wrapping_add(scales.head_bytes() * S::LANES));
        for _ in 0..scales.blocks_per_head() {
            for line in 0..lines {
                s.prefetch(ahead.wrapping_add(64 * line).min(last));
            }
            ahead = ahead.wrapping_add(64 * lines);
            // SAFETY: the block is readable.
            unsafe { stream_block::<S, F, T>(s, &mut tile, &heads, &block_scales, &levels, &acts) };
            for v in 0..V {
                levels[v] = levels[v].wrapping_add(level_bytes);
                block_scales[v] = block_scales[v].wrapping_add(scales.block_bytes() * S::LANES);
            }
            for a in &mut acts {
                *a = a.wrapping_add(1);
            }
        }
        spans = spans.map(|span| span.wrapping_add(scales.span_bytes() * S::LANES));
    }
    tile
}

/// Adds one block of both groups to a tile.
///
/// # Safety
/// The block's scales, levels and activations are readable.
#[inline(always)]
unsafe fn stream_block<S: SimdInt, F: Format, const T: usize>(
    s: S,
    tile: &mut [[S::F; V]; T],
    heads: &[[S::F; 2]; V],
    scales: &[*const u8; V],
    levels: &[*const u8; V],
    acts: &[*const ActBlock; T],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let sums = match F::LAYOUT.wide {
            true => wide_sums::<S, F, T>(s, levels, acts),
            false => narrow_sums::<S, F, T>(s, levels, acts),
        };
        for v in 0..V {
            let factors = factors::<S, F>(s, heads[v], scales[v]);
            for (part, sums) in sums.iter().enumerate().take(F::LAYOUT.scales.parts()) {
                for t in 0..T {
                    let a = acts[t];
                    let scale = s.mul(factors.scale[part], s.splat((*a).scale));
                    let acc = s.fma(s.to_f(sums[t][v]), scale, tile[t][v]);
                    tile[t][v] = match F::LAYOUT.scales.has_min() {
                        false => acc,
                        true => {
                            let min = centred_min::<S, F>(s, &factors, part);
                            s.neg_fma(min, s.splat(part_sum::<F>(a, part)), acc)
                        }
                    };
                }
            }
        }
    }
}

/// The sum of a block's activations that a minimum multiplies.
///
/// # Safety
/// `a` is readable.
#[inline(always)]
pub(super) unsafe fn part_sum<F: Format>(a: *const ActBlock, part: usize) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        match F::LAYOUT.scales.parts() {
            1 => (*a).sum,
            _ => (*a).half_sums[part],
        }
    }
}

/// The narrow accumulator that one part of a block starts from.
///
/// # Safety
/// `a` is readable.
#[inline(always)]
pub(super) unsafe fn start_part<S: SimdInt, F: Format>(s: S, a: *const ActBlock, part: usize) -> S::D {
    if F::LAYOUT.center == 0 {
        return s.zero_d();
    }
    let shift = F::LAYOUT.center.trailing_zeros();
    // SAFETY: the caller's contract.
    unsafe {
        match F::LAYOUT.scales.parts() {
            1 => s.start(&raw const (*a).neg, shift),
            _ => s.start(&raw const (*a).half_negs[part], shift),
        }
    }
}

/// Sums `[part][row][group]` of a block with narrow levels.
///
/// # Safety
/// The block's levels and activations are readable.
#[inline(always)]
unsafe fn narrow_sums<S: SimdInt, F: Format, const T: usize>(
    s: S,
    levels: &[*const u8; V],
    acts: &[*const ActBlock; T],
) -> [[[S::I; V]; T]; 2] {
    let last = F::LAYOUT.scales.parts() - 1;
    let mut acc = [[[s.zero_d(); V]; T]; 2];
    // SAFETY: the caller's contract.
    unsafe {
        for (part, acc) in acc.iter_mut().enumerate().take(last + 1) {
            for t in 0..T {
                acc[t] = [start_part::<S, F>(s, acts[t], part); V];
            }
        }
        for_quads!(|J| {
            let w = [quads::<S, F, J>(s, levels[0]), quads::<S, F, J>(s, levels[1])];
            for t in 0..T {
                let q = (&raw const (*acts[t]).q).cast::<i8>();
                let [first, second] = [s.load_quad(q.add(4 * J)), s.load_quad(q.add(16 + 4 * J))];
                for v in 0..V {
                    acc[0][t][v] = s.pin_d(s.dot(acc[0][t][v], w[v][0], first));
                    acc[last][t][v] = s.pin_d(s.dot(acc[last][t][v], w[v][1], second));
                }
            }
        });
    }
    let mut sums = [[[s.splat_i(0); V]; T]; 2];
    for (sums, acc) in sums.iter_mut().zip(&acc).take(last + 1) {
        for t in 0..T {
            for v in 0..V {
                sums[t][v] = s.sum_d(acc[t][v]);
            }
        }
    }
    sums
}

/// Sums `[part][row][group]` of a block with wide levels, which have one part.
///
/// # Safety
/// The block's levels and activations are readable.
#[inline(always)]
unsafe fn wide_sums<S: SimdInt, F: Format, const T: usize>(
    s: S,
    levels: &[*const u8; V],
    acts: &[*const ActBlock; T],
) -> [[[S::I; V]; T]; 2] {
    let mut sums = [[s.splat_i(0); V]; T];
    // SAFETY: the caller's contract.
    unsafe {
        for t in 0..T {
            sums[t] = [s.start_wide(&raw const (*acts[t]).neg); V];
        }
        for_quads!(|J| {
            for v in 0..V {
                let [low, high] = quads::<S, F, J>(s, levels[v]);
                let [low, high] = [s.prepare_wide(low), s.prepare_wide(high)];
                for t in 0..T {
                    let q = (&raw const (*acts[t]).q).cast::<i8>();
                    let sum = s.dot_wide(sums[t][v], low, s.load_quad(q.add(4 * J)));
                    sums[t][v] = s.pin_i(s.dot_wide(sum, high, s.load_quad(q.add(16 + 4 * J))));
                }
            }
        });
    }
    [sums; 2]
}
