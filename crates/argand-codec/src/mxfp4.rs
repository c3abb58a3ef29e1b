//! MXFP4 of the OCP Microscaling specification 1.0: 32 floats of 4 bits (E2M1) that share a power of two (E8M0).
//!
//! Layout: one byte of exponent, then 32 numbers in 16 bytes. Unlike the specification, and like ggml, exponent 255 is not
//! NaN but the largest power.

use crate::iq4::decode_levels;

/// Twice the value of each E2M1 number (ggml's `kvalues_mxfp4`); both zeros are positive.
pub const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(crate) fn decode_mxfp4(block: &[u8; 17], values: &mut [f32; 32]) {
    decode_levels(half_scale(block[0]), &LEVELS, &block[1..], values);
}

/// Half of the power of two that an E8M0 exponent stands for: 2^(exponent - 128), the unit of [`LEVELS`].
pub fn half_scale(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent), // below the normal numbers
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}
