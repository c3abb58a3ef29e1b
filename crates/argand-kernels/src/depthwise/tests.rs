//! Against `f64`.

use super::*;
use crate::tier::Tier;

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn single_channels_are_summed_over_taps() {
    for (tier, channels, taps, n) in
        Tier::supported().flat_map(|t| [(1, 1, 1), (7, 9, 4), (8, 3, 2), (35, 25, 3)].map(|(c, k, n)| (t, c, k, n)))
    {
        let (x, kernel, bias) = (noise(PIXELS * taps * channels, 5), noise(taps * channels, 6), noise(channels, 7));
        let under: Vec<*const f32> = x.chunks(channels).map(<[f32]>::as_ptr).collect();
        for bias in [None, Some(&bias)] {
            let mut out = vec![f32::NAN; (n + 1) * channels];
            let start = bias.map_or(std::ptr::null(), |b| b.as_ptr());
            // SAFETY: all pixels and taps have their channels, and there is room for a pixel more than is written.
            unsafe { depthwise(tier, channels, taps, under.as_ptr(), kernel.as_ptr(), start, n, out.as_mut_ptr()) };
            assert!(out[n * channels..].iter().all(|v| v.is_nan()), "{tier}: wrote beyond the last pixel");
            for (i, found) in out[..n * channels].iter().enumerate() {
                let (p, c) = (i / channels, i % channels);
                let term = |t: usize| f64::from(x[(p * taps + t) * channels + c]) * f64::from(kernel[t * channels + c]);
                let exact = (0..taps).map(term).sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[c]));
                // At most one rounding, of what is at most `taps + 1`, for each addition.
                let bound = (taps + 1) as f64 * (taps + 1) as f64 * f64::from(f32::EPSILON) / 2.0;
                assert!((f64::from(*found) - exact).abs() <= bound, "{tier}, {channels} channels, {taps} taps");
            }
        }
    }
}
