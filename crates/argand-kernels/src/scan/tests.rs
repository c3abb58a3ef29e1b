//! Against `f64`: products, and the equations of the cells.

use super::*;

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 4.0 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn near(found: f32, exact: f64, units: f64, what: &str) {
    let bound = units * f64::from(f32::EPSILON) * (1.0 + exact.abs());
    assert!((f64::from(found) - exact).abs() <= bound, "{what}: {found} for {exact}");
}

#[test]
fn products_are_added_to_what_is_there() {
    for (tier, rows, cols, n) in Tier::supported().flat_map(|t| {
        [(1, 1, 1), (19, 7, 2), (67, 20, 3), (150, 33, 1), (64, 8, 5), (37, 300, 35)].map(|(r, c, n)| (t, r, c, n))
    }) {
        let (w, x, stride) = (noise(rows * cols, 1), noise(n * cols, 2), rows + 3);
        let row = |i: usize| w[i * cols..][..cols].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let packed = PackedMatrix::pack(tier, Codec::F32, rows, cols, row).unwrap();
        let before = noise(n * stride, 3);
        let mut out = before.clone();
        let inputs: Vec<&[f32]> = x.chunks(cols).collect();
        let middle = packed.groups() / 2;
        add_product(tier, &packed, 0..middle, &inputs, &mut out, stride);
        add_product(tier, &packed, middle..packed.groups(), &inputs, &mut out, stride);
        for (i, found) in out.iter().enumerate() {
            let (t, row) = (i / stride, i % stride);
            let term = |k: usize| f64::from(w[row * cols + k]) * f64::from(x[t * cols + k]);
            let sum = if row < rows { (0..cols).map(term).sum() } else { 0.0 };
            // Terms are at most 4, and each addition rounds once.
            near(*found, f64::from(before[i]) + sum, 4.0 * cols as f64, &format!("{tier}, {rows} x {cols}, row {row}"));
        }
    }
}

/// Where gates lie, torch's and ONNX's.
const PLACES: [[usize; 4]; 3] = [[0, 1, 2, 3], [0, 2, 3, 1], [1, 0, 2, 3]];

fn part(x: &[f32], place: usize, hidden: usize) -> &[f32] {
    &x[place * hidden..][..hidden]
}

#[test]
fn cells_are_their_equations() {
    for (tier, hidden, places) in
        Tier::supported().flat_map(|t| [1, 8, 21, 32].into_iter().flat_map(move |h| PLACES.map(|p| (t, h, p))))
    {
        let (gates, recurrent) = (noise(4 * hidden, 4), noise(4 * hidden, 5));
        let last = noise(2 * hidden, 6);
        let at = |x: &[f32], place: usize, k: usize| f64::from(x[places[place] * hidden + k]);
        let gate = |place: usize, k: usize| at(&gates, place, k) + at(&recurrent, place, k);
        let mut out = vec![0.0; 2 * hidden];
        let (h, c) = out.split_at_mut(hidden);
        let of = |x| places.map(|place| part(x, place, hidden));
        lstm(tier, of(&gates), of(&recurrent), &last[hidden..], [h, c]);
        for k in 0..hidden {
            let cell = sigmoid(gate(1, k)) * f64::from(last[hidden + k]) + sigmoid(gate(0, k)) * gate(2, k).tanh();
            near(out[hidden + k], cell, 16.0, "cell");
            near(out[k], sigmoid(gate(3, k)) * cell.tanh(), 16.0, "output");
        }
        if places[3] != 3 {
            continue;
        }
        let [gates, recurrent] = [&gates[..3 * hidden], &recurrent[..3 * hidden]];
        let last = &last[..hidden];
        for reset_after in [true, false] {
            let mut out = vec![0.0; hidden];
            let of = |x| [0, 1, 2].map(|i| part(x, places[i], hidden));
            gru(tier, reset_after, of(gates), of(recurrent), last, &mut out);
            for k in 0..hidden {
                let factor = if reset_after { sigmoid(gate(0, k)) } else { 1.0 };
                let new = (at(gates, 2, k) + factor * at(recurrent, 2, k)).tanh();
                let update = sigmoid(gate(1, k));
                near(out[k], (1.0 - update) * new + update * f64::from(last[k]), 16.0, "state");
            }
        }
        let mut out = vec![0.0; hidden];
        reset(tier, part(gates, places[0], hidden), part(recurrent, places[0], hidden), last, &mut out);
        for (k, found) in out.into_iter().enumerate() {
            near(found, sigmoid(gate(0, k)) * f64::from(last[k]), 16.0, "reset state");
        }
    }
}
