//! Convolutions of single channels. A picture is `[pixels, channels]`, line by line.

use crate::dispatch;
use crate::rows::{load, store};
use crate::simd::Simd;

#[cfg(test)]
mod tests;

/// Pixels that [`depthwise`] makes at once.
pub const PIXELS: usize = 4;

dispatch! {
    /// `out[p][c] = bias[c] + sum over taps of kernel[tap][c] * under[p][tap][c]` for the first `n` of [`PIXELS`] pixels.
    ///
    /// # Safety
    /// `under` holds `PIXELS x taps` addresses of `channels` readable values, `kernel` is `[taps, channels]`, `bias` `[channels]`
    /// unless null, and `out` is writable for `n` rows.
    pub unsafe fn depthwise(
        channels: usize, taps: usize, under: *const *const f32, kernel: *const f32, bias: *const f32, n: usize,
        out: *mut f32,
    ) = depthwise_kernel;
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
                    store(s, out.add(p * channels).wrapping_add(first + v * S::LANES), sum, left(v));
                }
            }
        }
    }
}
