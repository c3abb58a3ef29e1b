//! Recurrences: products that add to what is there, and the cells of LSTM and GRU.

use crate::dispatch;
use crate::linear::{Finish, Out, Pieces, linear_pieces};
use crate::packed::PackedMatrix;
use crate::rows::{load, sigmoid, store};
use crate::simd::Simd;
use crate::tier::Tier;
use argand_codec::Codec;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// Fewest rows that are worth reading a weight in blocks.
const SOME: usize = 3;
/// Most rows that are multiplied at once.
const MOST: usize = 32;

/// `out[t][row] += sum over k of w[row][k] * x[t][k]` for the rows of `groups` and the rows of `x`; a row of `out` has `stride` values.
///
/// # Panics
/// `w` is not of `f32` or was packed for another number of lanes, or a slice is too short.
pub fn add_product(tier: Tier, w: &PackedMatrix, groups: Range<usize>, x: &[&[f32]], out: &mut [f32], stride: usize) {
    assert_eq!((w.codec(), w.lanes()), (Codec::F32, tier.lanes()), "a weight of another kind");
    assert!(groups.end <= w.groups() && x.iter().all(|x| x.len() >= w.cols()), "rows of the weight, and columns");
    assert!(x.is_empty() || out.len() >= (x.len() - 1) * stride + w.rows(), "rows of the product");
    for (x, out) in x.chunks(MOST).zip(out.chunks_mut(MOST * stride.max(1))) {
        let mut at = [x[0].as_ptr(); MOST];
        at.iter_mut().zip(x).for_each(|(at, x)| *at = x.as_ptr());
        let data = out.as_mut_ptr();
        // SAFETY: the slices are as long as was just checked.
        unsafe {
            match x.len() {
                SOME.. => {
                    let (rows, out) = (Pieces { at: at.as_ptr(), count: 1 }, Out { data, stride, resume: true });
                    linear_pieces(tier, w, groups.clone(), rows, x.len(), out, &Finish::default());
                }
                2 => pair(tier, w, groups.clone(), [at[0], at[1]], data, stride),
                _ => single(tier, w, groups.clone(), [at[0]], data, stride),
            }
        }
    }
}

dispatch! {
    unsafe fn single(w: &PackedMatrix, groups: Range<usize>, x: [*const f32; 1], out: *mut f32, stride: usize)
        = stream::<_, 1, 8>;
    unsafe fn pair(w: &PackedMatrix, groups: Range<usize>, x: [*const f32; 2], out: *mut f32, stride: usize)
        = stream::<_, 2, 4>;
}

/// Eight sums are under way at once, so that none waits for the last.
#[inline(always)]
unsafe fn stream<S: Simd, const T: usize, const V: usize>(
    s: S,
    w: &PackedMatrix,
    groups: Range<usize>,
    x: [*const f32; T],
    out: *mut f32,
    stride: usize,
) {
    let mut group = groups.start;
    while group < groups.end {
        // SAFETY: as many groups are left as a tile has.
        unsafe {
            group += match groups.end - group {
                left if left >= V => tile::<S, T, V>(s, w, group, x, out, stride),
                _ => tile::<S, T, 1>(s, w, group, x, out, stride),
            }
        }
    }
}

/// `T` rows times `V` groups from `first` on; tells how many groups.
///
/// # Safety
/// The rows and groups are there, and as [`add_product`] checks.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "numbers are places too")]
unsafe fn tile<S: Simd, const T: usize, const V: usize>(
    s: S,
    w: &PackedMatrix,
    first: usize,
    x: [*const f32; T],
    out: *mut f32,
    stride: usize,
) -> usize {
    let groups: [*const f32; V] = std::array::from_fn(|v| w.group(first + v).1.as_ptr().cast());
    let rows: [_; V] = std::array::from_fn(|v| w.rows_of(first + v..first + v + 1));
    // SAFETY: a group has `LANES` values in each column; else the caller's contract.
    unsafe {
        let mut sums = [[s.zero(); V]; T];
        for t in 0..T {
            for v in 0..V {
                sums[t][v] = load(s, out.add(t * stride + rows[v].start), rows[v].len());
            }
        }
        for k in 0..w.cols() {
            for v in 0..V {
                let w = s.load(groups[v].add(k * S::LANES));
                for t in 0..T {
                    sums[t][v] = s.fma(w, s.splat(*x[t].add(k)), sums[t][v]);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for (sum, rows) in sums.into_iter().zip(&rows) {
                store(s, out.add(t * stride + rows.start), sum, rows.len());
            }
        }
    }
    V
}

dispatch! {
    /// The outputs and cells of an LSTM after a row. What the row brings to the input, forget, cell and output gate and what the
    /// last output does, `recurrent`, are added; `cells` are the last ones.
    ///
    /// # Panics
    /// The slices are not of one length.
    pub fn lstm(gates: [&[f32]; 4], recurrent: [&[f32]; 4], cells: &[f32], out: [&mut [f32]; 2]) = lstm_kernel;

    /// The state of a GRU after a row, from what comes to the reset, update and new gate. With `reset_after` the reset gate acts on
    /// `recurrent`; without, it has acted on what went into it.
    ///
    /// # Panics
    /// As [`lstm`].
    pub fn gru(reset_after: bool, gates: [&[f32]; 3], recurrent: [&[f32]; 3], last: &[f32], out: &mut [f32]) = gru_kernel;

    /// `out = reset * last`, from what comes to the reset gate.
    ///
    /// # Panics
    /// As [`lstm`].
    pub fn reset(gate: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) = reset_kernel;
}

/// Runs the body for vectors of `len` values: `at` and how many are left there. A loop and no closure, which would have to be inlined
/// to be compiled for the tier.
macro_rules! vectors {
    ($s:ty, $len:expr, |$at:ident, $n:ident| $body:expr) => {
        for $at in (0..$len).step_by(<$s>::LANES) {
            let $n = <$s>::LANES.min($len - $at);
            $body
        }
    };
}

#[inline(always)]
fn lstm_kernel<S: Simd>(s: S, gates: [&[f32]; 4], recurrent: [&[f32]; 4], cells: &[f32], out: [&mut [f32]; 2]) {
    let [h, c] = out;
    let len = cells.len();
    let same = gates.iter().chain(&recurrent).all(|x| x.len() == len);
    assert!(same && [h.len(), c.len()] == [len; 2], "sizes of an LSTM");
    vectors!(S, len, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate, output and cell.
        unsafe {
            let i = gate(s, gates[0], recurrent[0], at, n);
            let f = gate(s, gates[1], recurrent[1], at, n);
            let g = gate(s, gates[2], recurrent[2], at, n);
            let o = gate(s, gates[3], recurrent[3], at, n);
            let cell = load(s, cells.as_ptr().add(at), n);
            let cell = s.fma(sigmoid(s, f), cell, s.mul(sigmoid(s, i), s.tanh(g)));
            store(s, c.as_mut_ptr().add(at), cell, n);
            store(s, h.as_mut_ptr().add(at), s.mul(sigmoid(s, o), s.tanh(cell)), n);
        }
    });
}

#[inline(always)]
fn gru_kernel<S: Simd>(
    s: S,
    reset_after: bool,
    gates: [&[f32]; 3],
    recurrent: [&[f32]; 3],
    last: &[f32],
    out: &mut [f32],
) {
    let len = out.len();
    assert!(last.len() == len && gates.iter().chain(&recurrent).all(|x| x.len() == len), "sizes of a GRU");
    vectors!(S, len, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate and state.
        unsafe {
            let (x, mut h) = (load(s, gates[2].as_ptr().add(at), n), load(s, recurrent[2].as_ptr().add(at), n));
            if reset_after {
                h = s.mul(sigmoid(s, gate(s, gates[0], recurrent[0], at, n)), h);
            }
            let new = s.tanh(s.add(x, h));
            let update = sigmoid(s, gate(s, gates[1], recurrent[1], at, n));
            let last = load(s, last.as_ptr().add(at), n);
            store(s, out.as_mut_ptr().add(at), s.fma(update, s.sub(last, new), new), n);
        }
    });
}

#[inline(always)]
fn reset_kernel<S: Simd>(s: S, from_row: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) {
    let len = out.len();
    assert_eq!([from_row.len(), recurrent.len(), last.len()], [len; 3], "sizes of a GRU");
    vectors!(S, len, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate and state.
        unsafe {
            let reset = sigmoid(s, gate(s, from_row, recurrent, at, n));
            store(s, out.as_mut_ptr().add(at), s.mul(reset, load(s, last.as_ptr().add(at), n)), n);
        }
    });
}

/// What goes into a gate: its two parts added.
///
/// # Safety
/// Both have `n` values at `at`.
#[inline(always)]
unsafe fn gate<S: Simd>(s: S, gates: &[f32], recurrent: &[f32], at: usize, n: usize) -> S::F {
    // SAFETY: the caller's contract.
    unsafe { s.add(load(s, gates.as_ptr().add(at), n), load(s, recurrent.as_ptr().add(at), n)) }
}
