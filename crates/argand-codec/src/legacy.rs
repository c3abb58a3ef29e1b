//! Blocks of 32 values with one scale: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
//!
//! A level is an unsigned number of 4 or 5 bits. Formats `_0` are symmetric, value = scale * (level - centre); formats `_1`
//! are affine, value = scale * level + minimum. Layout: `f16` scale, `f16` minimum (`_1`), 32 fifth bits (5-bit levels),
//! 16 bytes of lower bits (see [`nibbles`]). Q8_0 is a scale and 32 signed bytes.

use crate::blocks::{nibbles, pack_nibbles, read_f16, write_f16};

pub(crate) fn decode_q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let scale = read_f16(block, 0);
    for (value, &byte) in values.iter_mut().zip(&block[2..]) {
        *value = f32::from(byte as i8) * scale;
    }
}

pub(crate) fn decode_q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    decode_symmetric(read_f16(block, 0), 8, nibbles(&block[2..]), values);
}

pub(crate) fn decode_q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    decode_affine(read_f16(block, 0), read_f16(block, 2), nibbles(&block[4..]), values);
}

pub(crate) fn decode_q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    decode_symmetric(read_f16(block, 0), 16, five_bits(&block[2..]), values);
}

pub(crate) fn decode_q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    decode_affine(read_f16(block, 0), read_f16(block, 2), five_bits(&block[4..]), values);
}

pub(crate) fn encode_q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let largest = values.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    write_f16(block, 0, scale);
    let inverse = inverse(scale);
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
}

pub(crate) fn encode_q4_0(values: &[f32; 32], block: &mut [u8; 18]) {
    let (scale, levels) = encode_symmetric(values, 8.0);
    write_f16(block, 0, scale);
    pack_nibbles(&levels, &mut block[2..]);
}

pub(crate) fn encode_q4_1(values: &[f32; 32], block: &mut [u8; 20]) {
    let (scale, min, levels) = encode_affine(values, 15.0);
    write_f16(block, 0, scale);
    write_f16(block, 2, min);
    pack_nibbles(&levels, &mut block[4..]);
}

pub(crate) fn encode_q5_0(values: &[f32; 32], block: &mut [u8; 22]) {
    let (scale, levels) = encode_symmetric(values, 16.0);
    write_f16(block, 0, scale);
    pack_five_bits(&levels, &mut block[2..]);
}

pub(crate) fn encode_q5_1(values: &[f32; 32], block: &mut [u8; 24]) {
    let (scale, min, levels) = encode_affine(values, 31.0);
    write_f16(block, 0, scale);
    write_f16(block, 2, min);
    pack_five_bits(&levels, &mut block[4..]);
}

fn decode_symmetric(scale: f32, centre: i16, levels: [u8; 32], values: &mut [f32; 32]) {
    for (value, level) in values.iter_mut().zip(levels) {
        *value = f32::from(i16::from(level) - centre) * scale;
    }
}

fn decode_affine(scale: f32, min: f32, levels: [u8; 32], values: &mut [f32; 32]) {
    for (value, level) in values.iter_mut().zip(levels) {
        *value = f32::from(level) * scale + min;
    }
}

/// Scale and levels such that the value of largest magnitude falls on level 0, the end of the range that reaches one step
/// further. The scale is therefore negative when that value is positive.
fn encode_symmetric(values: &[f32; 32], centre: f32) -> (f32, [u8; 32]) {
    let extreme =
        values.iter().fold(0.0, |extreme: f32, &value| if value.abs() > extreme.abs() { value } else { extreme });
    let scale = extreme / -centre;
    let inverse = inverse(scale);
    let level = |value: f32| (value * inverse + (centre + 0.5)).min(2.0 * centre - 1.0) as u8;
    (scale, values.map(level))
}

/// Scale, minimum and levels such that both extremes of the values fall on the ends of the range `0..=top`.
fn encode_affine(values: &[f32; 32], top: f32) -> (f32, f32, [u8; 32]) {
    // Comparisons, because `f32::min` may return either of two zeros.
    let extreme = |better: fn(f32, f32) -> bool| {
        values.iter().fold(values[0], |most, &value| if better(value, most) { value } else { most })
    };
    let (min, max) = (extreme(|value, least| value < least), extreme(|value, most| value > most));
    let scale = (max - min) / top;
    let inverse = inverse(scale);
    let level = |value: f32| ((value - min) * inverse + 0.5).min(top) as u8;
    (scale, min, values.map(level))
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The 32 five-bit numbers of 20 bytes: one fifth bit each in 4 bytes, then the lower bits.
fn five_bits(bytes: &[u8]) -> [u8; 32] {
    let (fifth, low) = bytes.split_at(4);
    let mut numbers = nibbles(low);
    for (numbers, bits) in numbers.as_chunks_mut::<8>().0.iter_mut().zip(fifth) {
        for (i, number) in numbers.iter_mut().enumerate() {
            *number |= ((bits >> i) & 1) << 4;
        }
    }
    numbers
}

/// Stores 32 numbers in 20 bytes, as [`five_bits`] reads them.
fn pack_five_bits(numbers: &[u8; 32], bytes: &mut [u8]) {
    let (fifth, low) = bytes.split_at_mut(4);
    pack_nibbles(numbers, low);
    for (numbers, bits) in numbers.as_chunks::<8>().0.iter().zip(fifth) {
        *bits = (0..8).fold(0, |bits, i| bits | ((numbers[i] >> 4) << i));
    }
}
