//! Products in `f32` of many rows with a weight of `f32`: columns in blocks that stay near, rows wherever they lie.

use super::output::{Output, Pair, V, for_tiles};
use crate::packed::PackedMatrix;
use crate::rows::{Unary, bounded, load};
use crate::simd_int::SimdInt;
use crate::tier::Tier;
use argand_codec::Codec;
use std::ops::Range;

/// Most columns of a block: two groups of them lie in the first-level cache with 8 lanes, beside six rows.
const BLOCK: usize = 256;

/// Rows that lie in pieces: piece `i` of row `t` begins at `at[t * pieces + i]`, and all are equally long.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    /// Addresses of the pieces.
    pub at: *const *const f32,
    /// Pieces of a row.
    pub count: usize,
}

/// What is done to a sum before it is stored, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
    /// A row for each that goes out, as far apart as those; added to them.
    pub add: Option<*const f32>,
    /// A function that [is a bound](Unary::is_bound).
    pub bound: Option<Unary>,
}

/// Where rows go: row `t` begins at `data + t * stride`, and is that of the whole weight.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// The first row.
    pub data: *mut f32,
    /// Values from a row to the next.
    pub stride: usize,
    /// Whether sums go on from what is there.
    pub resume: bool,
}

/// `out[t][row] = finish(sum over k of w[row][k] * x[t][k])` for the rows of `groups` and `n` rows of `x`, whose pieces one after
/// another are columns of `w`. Each sum goes through the columns in order, whatever is computed beside it.
///
/// # Panics
/// `w` is not of `f32` or was packed for another number of lanes, its columns are no whole pieces, or there are fewer biases than rows.
///
/// # Safety
/// The pieces of `n` rows are readable, those elements of `out` are writable and nobody else uses them meanwhile, and what is added
/// lies as they do.
pub unsafe fn linear_pieces(
    tier: Tier,
    w: &PackedMatrix,
    groups: Range<usize>,
    x: Pieces,
    n: usize,
    out: Out,
    finish: &Finish<'_>,
) {
    assert_eq!((w.codec(), w.lanes()), (Codec::F32, tier.lanes()), "a weight of another kind");
    assert!(w.cols().is_multiple_of(x.count.max(1)) && (x.count > 0 || w.cols() == 0), "columns in whole pieces");
    assert!(groups.end <= w.groups() && finish.bias.is_none_or(|b| b.len() >= w.rows()), "rows of the weight");
    // SAFETY: the caller's contract, and what was just checked.
    unsafe { product(tier, w, groups, x, n, out, finish) }
}

crate::dispatch! {
    unsafe fn product(w: &PackedMatrix, groups: Range<usize>, x: Pieces, n: usize, out: Out, finish: &Finish<'_>)
        = product_kernel;
}

/// Columns that are gone through together: some whole pieces, or a part of one.
struct Block {
    pieces: Range<usize>,
    columns: Range<usize>,
    /// Whether none is behind it.
    last: bool,
}

/// The blocks of rows of `pieces` pieces of `len` values, at least one.
fn blocks(pieces: usize, len: usize) -> impl Iterator<Item = Block> {
    let parts = len.div_ceil(BLOCK).max(1);
    let (whole, part) = ((BLOCK / len.max(1)).max(1), len.div_ceil(parts));
    let all = (0..pieces.max(1)).step_by(whole).flat_map(move |piece| (0..parts).map(move |i| (piece, i)));
    all.map(move |(piece, i)| {
        let end = (piece + whole).min(pieces);
        let columns = (i * part).min(len)..((i + 1) * part).min(len);
        Block { pieces: piece..end, columns, last: end == pieces && i + 1 == parts }
    })
}

#[inline(always)]
unsafe fn product_kernel<S: SimdInt>(
    s: S,
    w: &PackedMatrix,
    groups: Range<usize>,
    x: Pieces,
    n: usize,
    out: Out,
    finish: &Finish<'_>,
) {
    let len = w.cols() / x.count.max(1);
    let mut to = Output { data: out.data, stride: out.stride, resume: out.resume };
    for block in blocks(x.count, len) {
        for first in groups.clone().step_by(V) {
            let pair = Pair::of(w, first, groups.end);
            for_tiles!(S, 0..n, [1, 2, 4], 6, |row, n, T| {
                // SAFETY: the caller's contract.
                unsafe {
                    let mut tile = to.start::<S, T>(s, &pair, row, n);
                    for piece in block.pieces.clone() {
                        tile = add_piece::<S, T>(s, tile, &pair, x, (row, n), piece, len, block.columns.clone());
                    }
                    if block.last {
                        tile = finished::<S, T>(s, tile, &pair, (row, n), out.stride, finish);
                    }
                    to.store(s, &pair, row, n, tile);
                }
            });
        }
        to.resume = true;
    }
}

/// Adds some columns of a piece of `len` values to a tile of `T` rows from `row` on, of which there are `n`, while the same of the next
/// pair of groups is fetched.
///
/// # Safety
/// As [`linear_pieces`].
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn add_piece<S: SimdInt, const T: usize>(
    s: S,
    mut tile: [[S::F; V]; T],
    pair: &Pair,
    x: Pieces,
    (row, n): (usize, usize),
    piece: usize,
    len: usize,
    columns: Range<usize>,
) -> [[S::F; V]; T] {
    // SAFETY: the caller's contract; a group has `LANES` values in each column.
    unsafe {
        let [first, second] = pair.groups.map(|g| g.levels.cast::<f32>().add((piece * len + columns.start) * S::LANES));
        let mut rows = [std::ptr::null::<f32>(); T];
        for (t, x_row) in rows.iter_mut().enumerate() {
            *x_row = (*x.at.add((row + t.min(n - 1)) * x.count + piece)).add(columns.start);
        }
        let distance = pair.distance();
        for col in 0..columns.len() {
            s.prefetch(first.add(col * S::LANES).cast::<u8>().wrapping_add(distance));
            s.prefetch(second.add(col * S::LANES).cast::<u8>().wrapping_add(distance));
            let weights = [s.load(first.add(col * S::LANES)), s.load(second.add(col * S::LANES))];
            for t in 0..T {
                let x = s.splat(*rows[t].add(col));
                for v in 0..V {
                    tile[t][v] = s.fma(weights[v], x, tile[t][v]);
                }
            }
        }
    }
    tile
}

/// What is done to whole sums.
///
/// # Safety
/// As [`linear_pieces`].
#[inline(always)]
unsafe fn finished<S: SimdInt, const T: usize>(
    s: S,
    mut tile: [[S::F; V]; T],
    pair: &Pair,
    (row, n): (usize, usize),
    stride: usize,
    finish: &Finish<'_>,
) -> [[S::F; V]; T] {
    let places = pair.rows;
    if let Some(bias) = finish.bias {
        for (v, (first, rows)) in places.into_iter().enumerate() {
            // SAFETY: the bias has a value for each row of the weight.
            let bias = unsafe { load(s, bias.as_ptr().add(first), rows) };
            for sums in &mut tile {
                sums[v] = s.add(sums[v], bias);
            }
        }
    }
    if let Some(more) = finish.add {
        for (t, sums) in tile.iter_mut().enumerate().take(n) {
            for (v, (first, rows)) in places.into_iter().enumerate() {
                // SAFETY: what is added lies as what goes out.
                sums[v] = s.add(sums[v], unsafe { load(s, more.add((row + t) * stride + first), rows) });
            }
        }
    }
    if finish.bound.is_some() {
        for sum in tile.as_flattened_mut() {
            *sum = bounded(s, finish.bound, *sum);
        }
    }
    tile
}
