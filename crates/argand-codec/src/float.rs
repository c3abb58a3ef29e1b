//! Plain floats: F32, F16 and BF16, little-endian. NaN and infinities pass through.

use half::{bf16, f16, slice::HalfFloatSliceExt};

pub(crate) fn decode_f32(src: &[u8], dst: &mut [f32]) {
    for (bytes, value) in src.as_chunks().0.iter().zip(dst) {
        *value = f32::from_le_bytes(*bytes);
    }
}

pub(crate) fn encode_f32(src: &[f32], dst: &mut [u8]) {
    for (value, bytes) in src.iter().zip(dst.as_chunks_mut().0) {
        *bytes = value.to_le_bytes();
    }
}

/// Values converted at once, to let the conversion of slices use the machine's instructions for `f16`.
const BATCH: usize = 64;

pub(crate) fn decode_f16(src: &[u8], dst: &mut [f32]) {
    let mut halves = [f16::ZERO; BATCH];
    for (bytes, values) in src.chunks(2 * BATCH).zip(dst.chunks_mut(BATCH)) {
        let halves = &mut halves[..values.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(values);
    }
}

pub(crate) fn encode_f16(src: &[f32], dst: &mut [u8]) {
    let mut halves = [f16::ZERO; BATCH];
    for (values, bytes) in src.chunks(BATCH).zip(dst.chunks_mut(2 * BATCH)) {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        for (half, bytes) in halves.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = half.to_le_bytes();
        }
    }
}

pub(crate) fn decode_bf16(src: &[u8], dst: &mut [f32]) {
    for (bytes, value) in src.as_chunks().0.iter().zip(dst) {
        // Not `bf16::to_f32`, which changes signalling NaNs.
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

pub(crate) fn encode_bf16(src: &[f32], dst: &mut [u8]) {
    for (value, bytes) in src.iter().zip(dst.as_chunks_mut().0) {
        *bytes = bf16::from_f32(*value).to_le_bytes();
    }
}
