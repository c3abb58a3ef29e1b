//! Encoding of the k-quants Q4_K, Q5_K and Q6_K.
//!
//! Three roundings follow each other: a search finds the real factors of every sub-block, these are rounded to multiples of
//! the block's factors, and the levels are rounded last, against the factors that a decoder will see.

use crate::{
    blocks::write_f16,
    fit::{NEGLIGIBLE, Search, fit_affine, fit_symmetric, nearest, side_by_side},
    kquant::{Plane, pack_scales_and_mins, q6_k_planes},
};

pub(crate) fn encode_q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let search = Search { top: 15.0, first: -1.0, steps: 20 };
    let levels = encode_affine(values, block, search);
    for (group, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
        put_bits(&mut block[16..], Plane::of_32(group, 2), levels, 0, 0xF);
    }
}

pub(crate) fn encode_q5_k(values: &[f32; 256], block: &mut [u8; 176]) {
    let search = Search { top: 31.0, first: -0.5, steps: 15 };
    let levels = encode_affine(values, block, search);
    for (group, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
        put_bits(&mut block[48..], Plane::of_32(group, 2), levels, 0, 0xF);
        put_bits(&mut block[16..48], Plane::of_32(group, 8), levels, 4, 1);
    }
}

pub(crate) fn encode_q6_k(values: &[f32; 256], block: &mut [u8; 210]) {
    let groups = values.as_chunks::<16>().0;
    let mut fitted = [0.0; 16];
    for (fitted, half) in fitted.as_chunks_mut().0.iter_mut().zip(values.chunks(128)) {
        *fitted = fit_symmetric::<16>(&side_by_side(half), 32.0);
    }
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let extreme = fitted.iter().copied().fold(0.0, larger);
    if extreme.abs() < NEGLIGIBLE {
        return;
    }
    // The extreme takes -128, the end of the range of `i8` that reaches one step further.
    let inverse = -128.0 / extreme;
    let d = write_f16(block, 208, 1.0 / inverse);
    for (index, (group, fitted)) in groups.iter().zip(fitted).enumerate() {
        let scale = nearest(inverse * fitted, -128.0, 127.0);
        block[192 + index] = scale as i8 as u8;
        let step = d * scale;
        if step == 0.0 {
            continue;
        }
        let levels = group.map(|value| (nearest(value / step, -32.0, 31.0) + 32.0) as u8);
        let (low, high) = q6_k_planes(index);
        put_bits(&mut block[..128], low, &levels, 0, 0xF);
        put_bits(&mut block[128..192], high, &levels, 4, 3);
    }
}

/// Writes d, dmin and the packed scales at the start of a Q4_K or Q5_K block and returns the levels.
fn encode_affine(values: &[f32; 256], block: &mut [u8], search: Search) -> [u8; 256] {
    let groups = values.as_chunks::<32>().0;
    let (fitted_scales, fitted_mins) = fit_affine::<32>(&side_by_side(values), search);
    let (scale, scales) = six_bits(fitted_scales);
    let (min, mins) = six_bits(fitted_mins);
    let d = write_f16(block, 0, scale);
    let dmin = write_f16(block, 2, min);
    let factors = std::array::from_fn(|i| (scales[i], mins[i]));
    block[4..16].copy_from_slice(&pack_scales_and_mins(factors));

    let mut levels = [0; 256];
    let groups = groups.iter().zip(levels.as_chunks_mut::<32>().0);
    for ((values, levels), (scale, min)) in groups.zip(factors) {
        let (step, min) = (d * f32::from(scale), dmin * f32::from(min));
        if step > 0.0 {
            *levels = values.map(|value| nearest((value + min) / step, 0.0, search.top) as u8);
        }
    }
    levels
}

/// A common factor and eight multiples of it in `0..=63`, such that the largest is exact.
fn six_bits(factors: [f32; 8]) -> (f32, [u8; 8]) {
    let largest = factors.iter().copied().fold(0.0, f32::max);
    let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
    (largest / 63.0, factors.map(|factor| nearest(inverse * factor, 0.0, 63.0) as u8))
}

/// Stores the bits `(level >> from) & mask` of a sub-block in a zeroed bit plane.
fn put_bits(bytes: &mut [u8], plane: Plane, levels: &[u8], from: usize, mask: u8) {
    for (byte, level) in bytes[plane.start..].iter_mut().zip(levels) {
        *byte |= ((level >> from) & mask) << plane.shift;
    }
}
