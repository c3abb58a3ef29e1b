//! Four-bit indexes into a fixed table of 16 levels that lie denser around zero: IQ4_NL and IQ4_XS.
//!
//! IQ4_NL: `f16` scale, then 32 indexes in 16 bytes. IQ4_XS: `f16` scale, the upper two bits of eight 6-bit scales, their
//! lower four bits, then eight sub-blocks of 32 indexes.

use crate::blocks::{nibbles, read_f16};

/// The level of each index, in units of the scale (ggml's `kvalues_iq4nl`).
pub const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(crate) fn decode_iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    decode_levels(read_f16(block, 0), &LEVELS, &block[2..], values);
}

pub(crate) fn decode_iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let scale = read_f16(block, 0);
    let scales = iq4_xs_scales(block);
    let sub_blocks = block[8..].as_chunks::<16>().0.iter().zip(values.as_chunks_mut().0);
    for ((indexes, values), sub_scale) in sub_blocks.zip(scales) {
        decode_levels(scale * f32::from(sub_scale), &LEVELS, indexes, values);
    }
}

/// The scales of the eight sub-blocks of an IQ4_XS block, -32 to 31, in units of the block's scale.
pub fn iq4_xs_scales(block: &[u8; 136]) -> [i8; 8] {
    let high = u16::from_le_bytes([block[2], block[3]]);
    std::array::from_fn(|i| {
        let low = (block[4 + i / 2] >> (4 * (i % 2))) & 0xF;
        let high = ((high >> (2 * i)) & 3) as u8;
        (low | (high << 4)) as i8 - 32
    })
}

/// 32 values from 16 bytes of indexes into `levels`.
pub(crate) fn decode_levels(scale: f32, levels: &[i8; 16], indexes: &[u8], values: &mut [f32; 32]) {
    for (value, index) in values.iter_mut().zip(nibbles(indexes)) {
        *value = scale * f32::from(levels[usize::from(index)]);
    }
}
