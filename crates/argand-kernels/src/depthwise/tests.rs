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
            unsafe {
                depthwise(tier, channels, taps, under.as_ptr(), kernel.as_ptr(), start, None, n, out.as_mut_ptr())
            };
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

/// Every walk gives bit for bit what pixels by themselves do.
#[test]
fn lines_are_their_pixels() {
    let walks = [3, 5].into_iter().flat_map(|width| [1, 2].map(|stride| Walk { kernel: [width - 1, width], stride }));
    let cases = walks.flat_map(|walk| [(1, 1), (5, 3), (8, 4), (19, 8), (16, 13)].map(|(c, n)| (walk, c, n)));
    for (tier, (walk, channels, n)) in Tier::supported().flat_map(|t| cases.clone().map(move |case| (t, case))) {
        let [height, width] = walk.kernel;
        let long = (n - 1) * walk.stride + width;
        let (picture, zeros) = (noise(height * long * channels, 5), vec![0.0; channels]);
        let (kernel, bias) = (noise(height * width * channels, 6), noise(channels, 7));
        // The first line of the kernel lies beyond the edge.
        let line = |y: usize| if y == 0 { std::ptr::null() } else { picture[y * long * channels..].as_ptr() };
        let lines: Vec<*const f32> = (0..height).map(line).collect();
        for bound in [None, Some(Unary::Relu), Some(Unary::Clamp(-0.5, 0.25))] {
            let (mut found, mut expected) = (vec![f32::NAN; (n + 1) * channels], vec![0.0; n * channels]);
            let (w, b, out) = (kernel.as_ptr(), bias.as_ptr(), found.as_mut_ptr());
            // SAFETY: the lines are as long as the kernel walks, and there is room for a pixel more than is written.
            unsafe { depthwise_line(tier, channels, walk, &lines, w, b, bound, n, out) };
            assert!(found[n * channels..].iter().all(|v| v.is_nan()), "{tier}: wrote beyond the last pixel");
            for (p, expected) in expected.chunks_mut(channels).enumerate() {
                let under = |tap: usize| match tap / width {
                    0 => zeros.as_ptr(),
                    y => picture[(y * long + p * walk.stride + tap % width) * channels..].as_ptr(),
                };
                let under: Vec<_> = (0..PIXELS).flat_map(|_| (0..height * width).map(under)).collect();
                let (at, out) = (under.as_ptr(), expected.as_mut_ptr());
                // SAFETY: all taps have their channels, and there is room for one pixel.
                unsafe { depthwise(tier, channels, height * width, at, w, b, bound, 1, out) };
            }
            assert_eq!(found[..n * channels], expected, "{tier}, {walk:?}, {channels} channels, {n} pixels, {bound:?}");
        }
    }
}
