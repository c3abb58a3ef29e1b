//! Decoding of the k-quants, Q2_K to Q6_K: 256 values in sub-blocks whose scales are themselves quantised.
//!
//! Q2_K, Q4_K and Q5_K are affine, value = (d * scale) * level - (dmin * min), with `f16` factors d and dmin; Q3_K and Q6_K
//! are symmetric, value = (d * scale) * level. Sub-blocks have 32 values in Q4_K and Q5_K, 16 in the others.
//!
//! Levels are stored in bit planes: a byte holds the same bits of values that lie 32 apart (64 in the lower bits of Q6_K).

use crate::blocks::read_f16;

/// Where a sub-block finds its bits in an array of packed levels: `bytes[start..]` shifted right by `shift`.
#[derive(Clone, Copy)]
pub(crate) struct Plane {
    pub start: usize,
    pub shift: usize,
}

impl Plane {
    /// Bits of the 16 values of sub-block `group` when each byte holds `per_byte` fields, of values 32 apart.
    pub fn of_16(group: usize, per_byte: usize) -> Self {
        let (plane, side) = (group / 2, group % 2);
        Self { start: 32 * (plane / per_byte) + 16 * side, shift: plane % per_byte * (8 / per_byte) }
    }

    /// Bits of the 32 values of sub-block `group` when each byte holds `per_byte` fields, of values 32 apart.
    pub fn of_32(group: usize, per_byte: usize) -> Self {
        Self { start: 32 * (group / per_byte), shift: group % per_byte * (8 / per_byte) }
    }
}

pub(crate) fn decode_q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, levels) = (&block[..16], &block[16..80]);
    let (d, dmin) = (read_f16(block, 80), read_f16(block, 82));
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] & 0xF);
        let min = dmin * f32::from(scales[group] >> 4);
        let low = Plane::of_16(group, 4);
        for (value, byte) in values.iter_mut().zip(&levels[low.start..]) {
            *value = scale * f32::from((byte >> low.shift) & 3) - min;
        }
    }
}

pub(crate) fn decode_q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (third_bits, levels) = (&block[..32], &block[32..96]);
    let scales = q3_k_scales(block);
    let d = read_f16(block, 108);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group]);
        let (low, high) = (Plane::of_16(group, 4), Plane::of_16(group, 8));
        let bits = levels[low.start..].iter().zip(&third_bits[high.start..]);
        for (value, (low_bits, high_bits)) in values.iter_mut().zip(bits) {
            let level = ((low_bits >> low.shift) & 3) | (((high_bits >> high.shift) & 1) << 2);
            *value = scale * f32::from(level as i8 - 4);
        }
    }
}

pub(crate) fn decode_q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let levels = &block[16..];
    for (group, (values, (scale, min))) in affine_groups(block, values).enumerate() {
        let low = Plane::of_32(group, 2);
        for (value, byte) in values.iter_mut().zip(&levels[low.start..]) {
            *value = scale * f32::from((byte >> low.shift) & 0xF) - min;
        }
    }
}

pub(crate) fn decode_q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (fifth_bits, levels) = (&block[16..48], &block[48..]);
    for (group, (values, (scale, min))) in affine_groups(block, values).enumerate() {
        let (low, high) = (Plane::of_32(group, 2), Plane::of_32(group, 8));
        let bits = levels[low.start..].iter().zip(fifth_bits);
        for (value, (low_bits, high_bits)) in values.iter_mut().zip(bits) {
            let level = ((low_bits >> low.shift) & 0xF) | (((high_bits >> high.shift) & 1) << 4);
            *value = scale * f32::from(level) - min;
        }
    }
}

pub(crate) fn decode_q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (low_bits, high_bits, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = read_f16(block, 208);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] as i8);
        let (low, high) = q6_k_planes(group);
        let bits = low_bits[low.start..].iter().zip(&high_bits[high.start..]);
        for (value, (low_bits, high_bits)) in values.iter_mut().zip(bits) {
            let level = ((low_bits >> low.shift) & 0xF) | (((high_bits >> high.shift) & 3) << 4);
            *value = scale * f32::from(level as i8 - 32);
        }
    }
}

/// Lower four and upper two bits of sub-block `group` of Q6_K. The two values that share a byte of lower bits lie 64
/// apart.
pub(crate) fn q6_k_planes(group: usize) -> (Plane, Plane) {
    let (half, plane, side) = (group / 8, group % 8 / 2, group % 2);
    let low = Plane { start: 64 * half + 32 * (plane % 2) + 16 * side, shift: 4 * (plane / 2) };
    (low, Plane::of_16(group, 4))
}

/// The eight sub-blocks of Q4_K or Q5_K with their scale and minimum. The block starts with d, dmin and the packed scales.
fn affine_groups<'a>(
    block: &[u8],
    values: &'a mut [f32; 256],
) -> impl Iterator<Item = (&'a mut [f32; 32], (f32, f32))> {
    let (d, dmin) = (read_f16(block, 0), read_f16(block, 2));
    let factors = scales_and_mins(std::array::from_fn(|i| block[4 + i]));
    let factors = factors.map(|(scale, min)| (d * f32::from(scale), dmin * f32::from(min)));
    values.as_chunks_mut().0.iter_mut().zip(factors)
}

/// The eight 6-bit (scale, minimum) pairs that Q4_K and Q5_K pack in 12 bytes.
///
/// Bytes 0 to 3 hold scales 0 to 3, bytes 4 to 7 minima 0 to 3, in their lower six bits. Bytes 8 to 11 hold the lower four
/// bits of scales (low half) and minima (high half) 4 to 7, whose upper two bits fill the top of the first eight bytes.
pub fn scales_and_mins(packed: [u8; 12]) -> [(u8, u8); 8] {
    std::array::from_fn(|i| match i {
        0..4 => (packed[i] & 63, packed[i + 4] & 63),
        _ => {
            let scale = (packed[i + 4] & 0xF) | ((packed[i - 4] >> 6) << 4);
            let min = (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4);
            (scale, min)
        }
    })
}

/// The inverse of [`scales_and_mins`].
pub fn pack_scales_and_mins(factors: [(u8, u8); 8]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..4 => factors[i].0 | ((factors[i + 4].0 >> 4) << 6),
        4..8 => factors[i - 4].1 | ((factors[i].1 >> 4) << 6),
        _ => (factors[i - 4].0 & 0xF) | ((factors[i - 4].1 & 0xF) << 4),
    })
}

/// The scales of the sixteen sub-blocks of a Q3_K block, -32 to 31, in units of d.
///
/// Of the 12 bytes, the first eight hold lower four bits (scales 0 to 7 in low halves, 8 to 15 in high halves), the last four
/// upper two bits (byte i % 4, field i / 4).
pub fn q3_k_scales(block: &[u8; 110]) -> [i8; 16] {
    let packed = &block[96..108];
    std::array::from_fn(|i| {
        let low = (packed[i % 8] >> (4 * (i / 8))) & 0xF;
        let high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_scales_and_mins_are_read_back() {
        let factors = std::array::from_fn(|i| ((i as u8 * 23 + 40) % 64, (63 - i as u8 * 9) % 64));
        assert_eq!(scales_and_mins(pack_scales_and_mins(factors)), factors);
    }

    #[test]
    fn planes_cover_every_bit_once() {
        for per_byte in [2, 4, 8] {
            let mut seen = vec![0_u8; 256 / per_byte];
            for group in 0..8 {
                let wide = Plane::of_32(group, per_byte);
                for narrow in [Plane::of_16(2 * group, per_byte), Plane::of_16(2 * group + 1, per_byte)] {
                    assert_eq!(narrow.shift, wide.shift);
                    for byte in &mut seen[narrow.start..narrow.start + 16] {
                        let field = 1_u8.unbounded_shl(8 / per_byte as u32).wrapping_sub(1) << narrow.shift;
                        assert_eq!(*byte & field, 0);
                        *byte |= field;
                    }
                }
            }
            assert!(seen.iter().all(|&byte| byte == 0xFF), "{per_byte} fields in a byte");
        }
    }
}
