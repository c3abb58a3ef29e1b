//! Against the definition of a window.

use super::*;

const PLAIN: Window = Window {
    size: [6, 9],
    kernel: [3, 2],
    stride: [1, 1],
    dilation: [1, 1],
    spread: [1, 1],
    before: [1, 0],
    after: [1, 1],
};

fn windows() -> [Window; 6] {
    [
        PLAIN,
        Window { stride: [2, 3], ..PLAIN },
        Window { dilation: [2, 3], before: [2, 3], after: [0, 2], ..PLAIN },
        // The window is larger than the picture, and reaches over both edges at once.
        Window { size: [2, 2], kernel: [5, 7], before: [2, 4], after: [3, 3], ..PLAIN },
        Window { spread: [2, 3], ..PLAIN },
        Window { kernel: [4, 4], spread: [2, 2], before: [2, 2], after: [2, 2], ..PLAIN },
    ]
}

/// Every pixel that a window meets is gathered once, and nothing else but zeros.
#[test]
fn phases_gather_what_lies_under_the_window() {
    let channels = 5;
    for (i, window) in windows().iter().enumerate() {
        // Every value is another one, and none is zero.
        let picture: Vec<f32> = (1..=window.size[0] * window.size[1] * channels).map(|v| v as f32).collect();
        let [height, width] = window.out().unwrap();
        let phases = Phase::all(window);
        for (y, x, part) in (0..height).flat_map(|y| (0..width).flat_map(move |x| [0..5, 1..3].map(|p| (y, x, p)))) {
            let phase = &phases[y % window.spread[0] * window.spread[1] + x % window.spread[1]];
            let mut found = vec![f32::NAN; phase.len() * part.len()];
            gather(window, phase, &picture, channels, part.clone(), [y, x], &mut found);
            let mut gathered = found.chunks(part.len());
            for (line, column) in (0..window.kernel[0]).flat_map(|l| (0..window.kernel[1]).map(move |c| (l, c))) {
                let there = window.under(0, y, line).zip(window.under(1, x, column));
                let pixel = there.map(|(y, x)| &picture[(y * window.size[1] + x) * channels..][part.clone()]);
                if phase.taps[0].contains(&line) && phase.taps[1].contains(&column) {
                    assert_eq!(
                        gathered.next(),
                        Some(pixel.unwrap_or(&vec![0.0; part.len()])),
                        "window {i} at {y}, {x}"
                    );
                } else {
                    assert_eq!(pixel, None, "window {i}: a tap of another phase meets a pixel at {y}, {x}");
                }
            }
        }
    }
}
