//! Convolutions of single channels. A picture is `[pixels, channels]`, line by line.

use crate::dispatch;
use crate::rows::{Unary, bounded, load, store};
use crate::simd::Simd;

#[cfg(test)]
mod tests;

/// Pixels that [`depthwise`] makes at once.
pub const PIXELS: usize = 4;

dispatch! {
    /// `out[p][c] = bias[c] + sum over taps of kernel[tap][c] * under[p][tap][c]` for the first `n` of [`PIXELS`] pixels, then its
    /// bound, a function that [is one](Unary::is_bound).
    ///
    /// # Safety
    /// `under` holds `PIXELS x taps` addresses of `channels` readable values, `kernel` is `[taps, channels]`, `bias` `[channels]`
    /// unless null, and `out` is writable for `n` rows.
    pub unsafe fn depthwise(
        channels: usize, taps: usize, under: *const *const f32, kernel: *const f32, bias: *const f32,
        bound: Option<Unary>, n: usize, out: *mut f32,
    ) = depthwise_kernel;
}

/// How a kernel walks along a line that it does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one outgoing pixel to the next.
    pub stride: usize,
}

impl Walk {
    /// Whether [`depthwise_line`] knows it.
    pub fn is_known(self) -> bool {
        matches!(self, Walk { kernel: [_, 3 | 5], stride: 1 | 2 })
    }
}

dispatch! {
    /// What [`depthwise`] makes of `n` pixels of a line under which nothing lies beyond the left or right edge. `lines` has the first
    /// pixel under each line of the kernel, or null where that line lies beyond the edge. Nothing is done if the walk
    /// [is not known](Walk::is_known).
    ///
    /// # Safety
    /// As [`depthwise`]; the lines are readable as far as the kernel walks.
    pub unsafe fn depthwise_line(
        channels: usize, walk: Walk, lines: &[*const f32], kernel: *const f32, bias: *const f32,
        bound: Option<Unary>, n: usize, out: *mut f32,
    ) = line_kernel;
}

/// What all pixels of a line share.
#[derive(Clone, Copy)]
struct Line<'a> {
    channels: usize,
    lines: &'a [*const f32],
    kernel: *const f32,
    bias: *const f32,
    bound: Option<Unary>,
    out: *mut f32,
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn line_kernel<S: Simd>(
    s: S,
    channels: usize,
    walk: Walk,
    lines: &[*const f32],
    kernel: *const f32,
    bias: *const f32,
    bound: Option<Unary>,
    n: usize,
    out: *mut f32,
) {
    let line = Line { channels, lines, kernel, bias, bound, out };
    // SAFETY: the caller's contract.
    unsafe {
        match (walk.kernel[1], walk.stride) {
            (3, 1) => along::<S, 3, 1>(s, line, n),
            (3, 2) => along::<S, 3, 2>(s, line, n),
            (5, 1) => along::<S, 5, 1>(s, line, n),
            (5, 2) => along::<S, 5, 2>(s, line, n),
            _ => {}
        }
    }
}

/// Goes along a line, some pixels at a time, which share what lies under several of them.
///
/// # Safety
/// As [`depthwise_line`].
#[inline(always)]
unsafe fn along<S: Simd, const K: usize, const STRIDE: usize>(s: S, line: Line<'_>, n: usize) {
    let mut first = 0;
    while first < n {
        // SAFETY: the caller's contract. Where fewer are left, those before are made again.
        unsafe {
            // Emulated lanes take long to compile.
            first += match n - first {
                8.. if const { S::REGISTERS > 0 } => pixels::<S, K, STRIDE, 8>(s, line, first),
                _ if n >= 4 && const { S::REGISTERS > 0 } => pixels::<S, K, STRIDE, 4>(s, line, first.min(n - 4)),
                _ => pixels::<S, K, STRIDE, 1>(s, line, first),
            };
        }
    }
}

/// All channels of `P` pixels; tells how many.
///
/// # Safety
/// As [`depthwise_line`].
#[inline(always)]
unsafe fn pixels<S: Simd, const K: usize, const STRIDE: usize, const P: usize>(
    s: S,
    line: Line<'_>,
    first: usize,
) -> usize {
    let whole = line.channels / S::LANES * S::LANES;
    // SAFETY: the caller's contract; vectors are whole up to `whole`, and `LANES` are not left behind it.
    unsafe {
        for channel in (0..whole).step_by(S::LANES) {
            sums::<S, K, STRIDE, P, true>(s, line, first, channel, S::LANES);
        }
        if whole < line.channels {
            sums::<S, K, STRIDE, P, false>(s, line, first, whole, line.channels - whole);
        }
    }
    P
}

/// `left` channels of `P` pixels, a vector of them if it is `WHOLE`.
///
/// # Safety
/// As [`depthwise_line`].
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "numbers are places too")]
unsafe fn sums<S: Simd, const K: usize, const STRIDE: usize, const P: usize, const WHOLE: bool>(
    s: S,
    line: Line<'_>,
    first: usize,
    channel: usize,
    left: usize,
) {
    macro_rules! read {
        ($p:expr) => {
            if WHOLE { s.load($p) } else { s.load_n($p, left) }
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        let start = if line.bias.is_null() { s.zero() } else { read!(line.bias.add(channel)) };
        let mut sums = [start; P];
        for (y, under) in line.lines.iter().enumerate() {
            if under.is_null() {
                continue;
            }
            let x = under.add(first * STRIDE * line.channels + channel);
            let mut weights = [s.zero(); K];
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = read!(line.kernel.add((y * K + tap) * line.channels + channel));
            }
            for p in 0..P {
                for tap in 0..K {
                    sums[p] = s.fma(weights[tap], read!(x.add((p * STRIDE + tap) * line.channels)), sums[p]);
                }
            }
        }
        for (p, sum) in sums.into_iter().enumerate() {
            let out = line.out.add((first + p) * line.channels + channel);
            let sum = bounded(s, line.bound, sum);
            if WHOLE { s.store(out, sum) } else { s.store_n(out, sum, left) }
        }
    }
}

/// Vectors of channels that are made at once.
const V: usize = 2;

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn depthwise_kernel<S: Simd>(
    s: S,
    channels: usize,
    taps: usize,
    under: *const *const f32,
    kernel: *const f32,
    bias: *const f32,
    bound: Option<Unary>,
    n: usize,
    out: *mut f32,
) {
    for first in (0..channels).step_by(V * S::LANES) {
        // A second vector beyond the last channel repeats nothing and is not stored.
        let left = |v: usize| channels.saturating_sub(first + v * S::LANES).min(S::LANES);
        // SAFETY: all offsets stay below `channels`, as the loads and stores of few values see to; else the caller's contract.
        unsafe {
            let read =
                |p: *const f32| [load(s, p.add(first), left(0)), load(s, p.wrapping_add(first + S::LANES), left(1))];
            let start = if bias.is_null() { [s.zero(); V] } else { read(bias) };
            let mut sums = [start; PIXELS];
            for tap in 0..taps {
                let w = read(kernel.add(tap * channels));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = read(*under.add(p * taps + tap));
                    for v in 0..V {
                        sums[v] = s.fma(w[v], x[v], sums[v]);
                    }
                }
            }
            for (p, sums) in sums.into_iter().enumerate().take(n) {
                for (v, sum) in sums.into_iter().enumerate() {
                    store(s, out.add(p * channels).wrapping_add(first + v * S::LANES), bounded(s, bound, sum), left(v));
                }
            }
        }
    }
}
