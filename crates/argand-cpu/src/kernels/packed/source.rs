//! Reads the blocks of GGUF files into levels and raw scales, without any arithmetic on values.

use super::layout::BLOCK;
use argand_codec::{Codec, iq4, kquant};
use std::array::from_fn;

/// 32 columns of one row, as the file has them.
pub(crate) struct SourceBlock {
    /// Levels, indexes into levels, or signed bytes.
    pub levels: [u8; BLOCK],
    /// Bits of `f16` d and of the `f16` minimum (subtracted) or dmin; zero where there is none.
    pub head: [u16; 2],
    /// Scale and minimum, the scales of both halves, or an exponent.
    pub sub: [u8; 2],
}

/// Block `index` of a row of `codec`, which is not a plain float.
#[inline(always)]
pub(crate) fn read_block(codec: Codec, row: &[u8], index: usize) -> SourceBlock {
    let per_block = codec.block_len() / BLOCK;
    let bytes = codec.block_bytes();
    let block = &row[index / per_block * bytes..][..bytes];
    let part = index % per_block;
    let levels = levels(codec, block, part);
    let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let sub_min = || {
        let (scale, min) = kquant::scales_and_mins(from_fn(|i| block[4 + i]))[part];
        [scale, min]
    };
    let pair = |at: usize| [block[at + 2 * part], block[at + 2 * part + 1]];
    let (head, sub) = match codec {
        Codec::Mxfp4 => ([0, 0], [block[0], 0]),
        // value = d * level + m: the minimum that is subtracted is -m.
        Codec::Q4_1 | Codec::Q5_1 => ([half(0), half(2) ^ 0x8000], [0, 0]),
        Codec::Q4K | Codec::Q5K => ([half(0), half(2)], sub_min()),
        Codec::Q2K => ([half(80), half(82)], pair(0)),
        Codec::Q6K => ([half(208), 0], pair(192)),
        Codec::Q3K => {
            let scales = kquant::q3_k_scales(block.try_into().expect("block of Q3_K"));
            ([half(108), 0], [scales[2 * part] as u8, scales[2 * part + 1] as u8])
        }
        Codec::Iq4Xs => {
            let scales = iq4::iq4_xs_scales(block.try_into().expect("block of IQ4_XS"));
            ([half(0), 0], [scales[part] as u8, 0])
        }
        _ => ([half(0), 0], [0, 0]),
    };
    SourceBlock { levels, head, sub }
}

/// The levels of 32-column part `part` of a block.
#[inline(always)]
fn levels(codec: Codec, block: &[u8], part: usize) -> [u8; BLOCK] {
    match codec {
        Codec::Q8_0 => from_fn(|k| block[2 + k]),
        Codec::Q4_0 | Codec::Iq4Nl => halves(&block[2..]),
        Codec::Q4_1 => halves(&block[4..]),
        Codec::Mxfp4 => halves(&block[1..]),
        Codec::Iq4Xs => halves(&block[8 + 16 * part..]),
        Codec::Q5_0 => with_fifth_bits(halves(&block[6..]), &block[2..]),
        Codec::Q5_1 => with_fifth_bits(halves(&block[8..]), &block[4..]),
        Codec::Q4K => field(&block[16..], part, 4),
        Codec::Q5K => merge(field(&block[48..], part, 4), field(&block[16..], part, 1), 4),
        Codec::Q6K => {
            let low = &block[64 * (part / 4) + 32 * (part % 2)..];
            let shift = 4 * (part % 4 / 2);
            let low = from_fn(|k| (low[k] >> shift) & 15);
            merge(low, field(&block[128..], part, 2), 4)
        }
        Codec::Q2K => field(&block[16..], part, 2),
        Codec::Q3K => merge(field(&block[32..], part, 2), field(block, part, 1), 2),
        Codec::F32 | Codec::F16 | Codec::BF16 => unreachable!("{codec} has no blocks"),
    }
}

/// Columns `k` and `k + 16` share a byte.
#[inline(always)]
fn halves(bytes: &[u8]) -> [u8; BLOCK] {
    let bytes = &bytes[..16];
    from_fn(|k| if k < 16 { bytes[k] & 15 } else { bytes[k - 16] >> 4 })
}

/// Columns 32 apart share a byte: field `part` of `bits` bits.
#[inline(always)]
fn field(bytes: &[u8], part: usize, bits: usize) -> [u8; BLOCK] {
    let per_byte = 8 / bits;
    let bytes = &bytes[32 * (part / per_byte)..][..32];
    let (shift, mask) = (part % per_byte * bits, (1u8 << bits) - 1);
    from_fn(|k| (bytes[k] >> shift) & mask)
}

#[inline(always)]
fn merge(low: [u8; BLOCK], high: [u8; BLOCK], bits: u32) -> [u8; BLOCK] {
    from_fn(|k| low[k] | (high[k] << bits))
}

/// Adds bit `k` of a 32-bit word as fifth bit of column `k`.
#[inline(always)]
fn with_fifth_bits(low: [u8; BLOCK], word: &[u8]) -> [u8; BLOCK] {
    let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    from_fn(|k| low[k] | ((word >> k & 1) << 4) as u8)
}
