//! Recurrences: products that add to what is there, and the cells of LSTM and GRU.

use crate::dispatch;
use crate::packed::PackedMatrix;
use crate::rows::{load, sigmoid, store};
use crate::simd::Simd;
use crate::tier::Tier;
use argand_codec::Codec;

#[cfg(test)]
mod tests;

/// `out[t][row] += sum over k of w[row][k] * x[t][k]` for `n` rows of `w.cols()` values that follow one another; a row of `out` has
/// `stride` values.
///
/// # Panics
/// `w` is not of `f32` or was packed for another number of lanes, or a slice is too short.
pub fn add_product(tier: Tier, w: &PackedMatrix, x: &[f32], n: usize, out: &mut [f32], stride: usize) {
    assert_eq!((w.codec(), w.lanes()), (Codec::F32, tier.lanes()), "a weight of another kind");
    assert!(x.len() >= n * w.cols() && (n == 0 || out.len() >= (n - 1) * stride + w.rows()), "rows of the product");
    // SAFETY: the slices are as long as was just checked.
    unsafe { product(tier, w, x.as_ptr(), n, out.as_mut_ptr(), stride) }
}

dispatch! {
    unsafe fn product(w: &PackedMatrix, x: *const f32, n: usize, out: *mut f32, stride: usize) = product_kernel;

    /// The state of an LSTM after a row. `gates` and `recurrent` are added; `places` tells where input, forget, cell and output
    /// lie in them. `last` and `out` are outputs, and cells behind them.
    ///
    /// # Panics
    /// The slices are not of one size of state.
    pub fn lstm(places: [usize; 4], gates: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) = lstm_kernel;

    /// The state of a GRU after a row: `places` tells where reset, update and new lie. With `reset_after` the reset gate acts on
    /// `recurrent`; without, it has acted on what went into it.
    ///
    /// # Panics
    /// As [`lstm`].
    pub fn gru(
        places: [usize; 4], reset_after: bool, gates: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32],
    ) = gru_kernel;

    /// `out = reset * last`, the reset gate being number `place`.
    ///
    /// # Panics
    /// As [`lstm`].
    pub fn reset(place: usize, gates: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) = reset_kernel;
}

#[inline(always)]
unsafe fn product_kernel<S: Simd>(s: S, w: &PackedMatrix, x: *const f32, n: usize, out: *mut f32, stride: usize) {
    let mut t = 0;
    while t < n {
        let (x, out) = (x.wrapping_add(t * w.cols()), out.wrapping_add(t * stride));
        let (pair, mut group) = (n - t >= 2, 0);
        // Eight sums are under way at once, so that none waits for the last.
        while group < w.groups() {
            let left = w.groups() - group;
            // SAFETY: as many rows and groups are left as a tile has.
            unsafe {
                group += match (pair, left) {
                    (false, 8..) => tile::<S, 1, 8>(s, w, group, x, out, stride),
                    (false, 4..) => tile::<S, 1, 4>(s, w, group, x, out, stride),
                    (false, _) => tile::<S, 1, 1>(s, w, group, x, out, stride),
                    (true, 4..) => tile::<S, 2, 4>(s, w, group, x, out, stride),
                    (true, _) => tile::<S, 2, 1>(s, w, group, x, out, stride),
                }
            }
        }
        t += if pair { 2 } else { 1 };
    }
}

/// `T` rows times `V` groups from `first` on; tells how many groups.
///
/// # Safety
/// The rows and groups are there, and as [`add_product`] checks.
#[inline(always)]
unsafe fn tile<S: Simd, const T: usize, const V: usize>(
    s: S,
    w: &PackedMatrix,
    first: usize,
    x: *const f32,
    out: *mut f32,
    stride: usize,
) -> usize {
    let groups: [*const f32; V] = std::array::from_fn(|v| w.group(first + v).1.as_ptr().cast());
    let rows: [_; V] = std::array::from_fn(|v| w.rows_of(first + v..first + v + 1));
    // SAFETY: a group has `LANES` values in each column; else the caller's contract.
    unsafe {
        let mut sums: [[S::F; V]; T] = std::array::from_fn(|t| {
            std::array::from_fn(|v| load(s, out.add(t * stride + rows[v].start), rows[v].len()))
        });
        for k in 0..w.cols() {
            let x: [S::F; T] = std::array::from_fn(|t| s.splat(*x.add(t * w.cols() + k)));
            for v in 0..V {
                let w = s.load(groups[v].add(k * S::LANES));
                for t in 0..T {
                    sums[t][v] = s.fma(w, x[t], sums[t][v]);
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

/// Runs the body for vectors of `hidden` values: `at` and how many are left there.
#[inline(always)]
fn vectors<S: Simd>(hidden: usize, mut f: impl FnMut(usize, usize)) {
    for at in (0..hidden).step_by(S::LANES) {
        f(at, S::LANES.min(hidden - at));
    }
}

#[inline(always)]
fn lstm_kernel<S: Simd>(s: S, places: [usize; 4], gates: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) {
    let hidden = out.len() / 2;
    let sizes = [gates.len(), recurrent.len(), 2 * last.len(), 2 * out.len()];
    assert_eq!(sizes, [4 * hidden; 4], "sizes of an LSTM");
    vectors::<S>(hidden, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate, output and cell.
        unsafe {
            let [i, f, g, o] = places.map(|place| gate(s, gates, recurrent, place * hidden + at, n));
            let cell = load(s, last.as_ptr().add(hidden + at), n);
            let cell = s.fma(sigmoid(s, f), cell, s.mul(sigmoid(s, i), s.tanh(g)));
            store(s, out.as_mut_ptr().add(hidden + at), cell, n);
            store(s, out.as_mut_ptr().add(at), s.mul(sigmoid(s, o), s.tanh(cell)), n);
        }
    });
}

#[inline(always)]
fn gru_kernel<S: Simd>(
    s: S,
    places: [usize; 4],
    reset_after: bool,
    gates: &[f32],
    recurrent: &[f32],
    last: &[f32],
    out: &mut [f32],
) {
    let hidden = out.len();
    assert_eq!([gates.len(), recurrent.len(), 3 * last.len()], [3 * hidden; 3], "sizes of a GRU");
    let [reset, update, new, _] = places.map(|place| place * hidden);
    vectors::<S>(hidden, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate and state.
        unsafe {
            let (x, mut h) = (load(s, gates.as_ptr().add(new + at), n), load(s, recurrent.as_ptr().add(new + at), n));
            if reset_after {
                h = s.mul(sigmoid(s, gate(s, gates, recurrent, reset + at, n)), h);
            }
            let new = s.tanh(s.add(x, h));
            let update = sigmoid(s, gate(s, gates, recurrent, update + at, n));
            let last = load(s, last.as_ptr().add(at), n);
            store(s, out.as_mut_ptr().add(at), s.fma(update, s.sub(last, new), new), n);
        }
    });
}

#[inline(always)]
fn reset_kernel<S: Simd>(s: S, place: usize, gates: &[f32], recurrent: &[f32], last: &[f32], out: &mut [f32]) {
    let hidden = out.len();
    assert_eq!([gates.len(), recurrent.len(), 3 * last.len()], [3 * hidden; 3], "sizes of a GRU");
    vectors::<S>(hidden, |at, n| {
        // SAFETY: `n` values are left at `at` in each gate and state.
        unsafe {
            let reset = sigmoid(s, gate(s, gates, recurrent, place * hidden + at, n));
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
