//! Walking over blocks, and the bit packings that several formats share.

use half::f16;

/// Calls `decode` on every block of `B` bytes and its `N` values.
pub(crate) fn decode_each<const N: usize, const B: usize>(
    src: &[u8],
    dst: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, values) in src.as_chunks().0.iter().zip(dst.as_chunks_mut().0) {
        decode(block, values);
    }
}

/// Calls `encode` on every block of `N` values and its `B` bytes, which are zero beforehand.
pub(crate) fn encode_each<const N: usize, const B: usize>(
    src: &[f32],
    dst: &mut [u8],
    encode: impl Fn(&[f32; N], &mut [u8; B]),
) {
    dst.fill(0);
    for (values, block) in src.as_chunks().0.iter().zip(dst.as_chunks_mut().0) {
        encode(values, block);
    }
}

/// The `f16` at byte `at` of a block.
pub(crate) fn read_f16(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Stores `value` as `f16` at byte `at` of a block and returns it as a decoder will see it.
pub(crate) fn write_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// The 32 four-bit numbers of 16 bytes: first all low halves, then all high halves.
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    let mut numbers = [0; 32];
    let (low, high) = numbers.split_at_mut(16);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = byte & 0xF;
        *high = byte >> 4;
    }
    numbers
}

/// Stores the low four bits of 32 numbers in 16 bytes, as [`nibbles`] reads them.
pub(crate) fn pack_nibbles(numbers: &[u8; 32], bytes: &mut [u8]) {
    let (low, high) = numbers.split_at(16);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = (low & 0xF) | (high << 4);
    }
}
