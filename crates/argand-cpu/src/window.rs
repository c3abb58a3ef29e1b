//! Pixels under a moving window, put side by side for products. A picture is `[pixels, channels]`, line by line.

use argand_graph::Window;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// Outgoing pixels under which the same taps lie: all, unless what comes in is spread. Then it is every so many'th.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The first line and the first pixel in it.
    pub first: [usize; 2],
    /// Taps along the height and along the width that can meet pixels.
    pub taps: [Vec<usize>; 2],
}

impl Phase {
    /// The phases of a window.
    pub fn all(window: &Window) -> Vec<Phase> {
        let taps = |axis: usize, first: usize| {
            let spread = window.spread[axis];
            let place = |tap: usize| first * window.stride[axis] + tap * window.dilation[axis];
            let meets = |tap: &usize| place(*tap) % spread == window.before[axis] % spread;
            (0..window.kernel[axis]).filter(meets).collect::<Vec<_>>()
        };
        let [high, wide] = window.spread;
        let firsts = (0..high).flat_map(|y| (0..wide).map(move |x| [y, x]));
        firsts.map(|first| Phase { first, taps: [taps(0, first[0]), taps(1, first[1])] }).collect()
    }

    /// How many taps meet pixels.
    pub fn len(&self) -> usize {
        self.taps[0].len() * self.taps[1].len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Numbers of the pixels under the window at outgoing pixel `at`, tap by tap of the phase; none beyond the edge.
pub fn under<'w>(window: &'w Window, phase: &'w Phase, at: [usize; 2]) -> impl Iterator<Item = Option<usize>> + 'w {
    phase.taps[0].iter().flat_map(move |tap| {
        let line = window.under(0, at[0], *tap);
        let pixel = move |tap: &usize| Some(line? * window.size[1] + window.under(1, at[1], *tap)?);
        phase.taps[1].iter().map(pixel)
    })
}

/// Puts the pixels under the window at outgoing pixel `at` side by side: for each tap of the phase the `part` of the channels, zeros
/// where the window reaches over the edge.
///
/// # Panics
/// The picture is not of the window's size, or `out` not as long as that.
pub fn gather(
    window: &Window,
    phase: &Phase,
    picture: &[f32],
    channels: usize,
    part: Range<usize>,
    at: [usize; 2],
    out: &mut [f32],
) {
    let width = window.size[1];
    assert_eq!(picture.len(), window.size[0] * width * channels);
    assert_eq!(out.len(), phase.len() * part.len());
    // Neighbours in a line of the picture are neighbours under the window too.
    let whole = part.len() == channels && window.dilation[1] == 1 && window.spread[1] == 1;
    let line_len = (phase.taps[1].len() * part.len()).max(1);
    for (tap, out) in phase.taps[0].iter().zip(out.chunks_mut(line_len)) {
        let Some(line) = window.under(0, at[0], *tap) else {
            out.fill(0.0);
            continue;
        };
        let line = &picture[line * width * channels..][..width * channels];
        if whole {
            let (start, edge) = (at[1] * window.stride[1], window.before[1]);
            let from = edge.saturating_sub(start).min(window.kernel[1]);
            let to = (width + edge).saturating_sub(start).clamp(from, window.kernel[1]);
            out[..from * channels].fill(0.0);
            out[to * channels..].fill(0.0);
            if from < to {
                let pixels = (start + from - edge) * channels..(start + to - edge) * channels;
                out[from * channels..to * channels].copy_from_slice(&line[pixels]);
            }
            continue;
        }
        for (tap, out) in phase.taps[1].iter().zip(out.chunks_mut(part.len().max(1))) {
            match window.under(1, at[1], *tap) {
                Some(pixel) => out.copy_from_slice(&line[pixel * channels..][part.clone()]),
                None => out.fill(0.0),
            }
        }
    }
}
