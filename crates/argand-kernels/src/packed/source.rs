//! Reads the blocks of GGUF files into levels and raw scales, without any arithmetic on values.

use super::layout::BLOCK;
use argand_codec::{Codec, iq4, kquant};

/// 32 columns of one row, a byte each: columns `8i..8i + 8` in word `i`, from the lowest byte up. Bytes hold
/// levels, indexes into levels, or signed levels.
pub(crate) type Levels = [u64; 4];

/// The factors of a block of the file, as the file has them.
pub(crate) struct Factors {
    /// Bits of `f16` d and of the `f16` minimum (subtracted) or dmin; zero where there is none.
    pub head: [u16; 2],
    /// Per 32 columns: scale and minimum, the scales of both halves, or an exponent.
    pub sub: [[u8; 2]; 8],
}

/// The factors of a block of `codec`, which is not a plain float.
#[inline(always)]
pub(crate) fn factors(codec: Codec, block: &[u8]) -> Factors {
    let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let pairs = |at: usize| std::array::from_fn(|i| [block[at + 2 * i], block[at + 2 * i + 1]]);
    let none = [[0; 2]; 8];
    let (head, sub) = match codec {
        Codec::Mxfp4 => ([0, 0], [[block[0], 0]; 8]),
        // value = d * level + m: the minimum that is subtracted is -m.
        Codec::Q4_1 | Codec::Q5_1 => ([half(0), half(2) ^ 0x8000], none),
        Codec::Q4K | Codec::Q5K => {
            let packed = block[4..16].try_into().expect("12 bytes");
            ([half(0), half(2)], kquant::scales_and_mins(packed).map(|(scale, min)| [scale, min]))
        }
        Codec::Q2K => ([half(80), half(82)], pairs(0)),
        Codec::Q6K => ([half(208), 0], pairs(192)),
        Codec::Q3K => {
            let scales = kquant::q3_k_scales(block.try_into().expect("block of Q3_K"));
            ([half(108), 0], std::array::from_fn(|i| [scales[2 * i] as u8, scales[2 * i + 1] as u8]))
        }
        Codec::Iq4Xs => {
            let scales = iq4::iq4_xs_scales(block.try_into().expect("block of IQ4_XS"));
            ([half(0), 0], scales.map(|scale| [scale as u8, 0]))
        }
        _ => ([half(0), 0], none),
    };
    Factors { head, sub }
}

/// The levels of the 32-column part `part` of a block of `codec`, which is not a plain float.
#[inline(always)]
pub(crate) fn levels(codec: Codec, block: &[u8], part: usize) -> Levels {
    match codec {
        Codec::Q8_0 => words(&block[2..]),
        Codec::Q4_0 | Codec::Iq4Nl => halves(&block[2..]),
        Codec::Q4_1 => halves(&block[4..]),
        Codec::Mxfp4 => halves(&block[1..]),
        Codec::Iq4Xs => halves(&block[8 + BLOCK / 2 * part..]),
        Codec::Q5_0 => merge(halves(&block[6..]), spread_bits(&block[2..]), 4),
        Codec::Q5_1 => merge(halves(&block[8..]), spread_bits(&block[4..]), 4),
        Codec::Q4K => field(&block[16..], part, 4),
        Codec::Q5K => merge(field(&block[48..], part, 4), field(&block[16..], part, 1), 4),
        Codec::Q6K => {
            let low = words(&block[64 * (part / 4) + 32 * (part % 2)..]);
            let shift = 4 * (part % 4 / 2);
            let low = low.map(|word| (word >> shift) & every_byte(15));
            merge(low, field(&block[128..], part, 2), 4)
        }
        Codec::Q2K => field(&block[16..], part, 2),
        Codec::Q3K => merge(field(&block[32..], part, 2), field(block, part, 1), 2),
        Codec::F32 | Codec::F16 | Codec::BF16 => unreachable!("{codec} has no blocks"),
    }
}

/// `byte` in every byte.
pub(crate) const fn every_byte(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The first `8 * N` bytes.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (words, _) = bytes[..8 * N].as_chunks();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Columns `k` and `k + 16` share a byte.
#[inline(always)]
fn halves(bytes: &[u8]) -> Levels {
    let [first, second] = words(bytes);
    let mask = every_byte(15);
    [first & mask, second & mask, (first >> 4) & mask, (second >> 4) & mask]
}

/// Columns 32 apart share a byte: field `part` of `bits` bits.
#[inline(always)]
fn field(bytes: &[u8], part: usize, bits: usize) -> Levels {
    let per_byte = 8 / bits;
    let (shift, mask) = (part % per_byte * bits, every_byte((1u8 << bits) - 1));
    words(&bytes[BLOCK * (part / per_byte)..]).map(|word| (word >> shift) & mask)
}

#[inline(always)]
fn merge(low: Levels, high: Levels, bits: u32) -> Levels {
    std::array::from_fn(|i| low[i] | (high[i] << bits))
}

/// Bit `k` of a 32-bit word as level of column `k`.
#[inline(always)]
fn spread_bits(word: &[u8]) -> Levels {
    // Byte `k` of a product is the whole byte, of which bit `k` stays; adding carries it into bit 7.
    const OWN: u64 = 0x8040_2010_0804_0201;
    const CARRY: u64 = 0x0040_6070_787C_7E7F;
    std::array::from_fn(|i| {
        let own = (u64::from(word[i]) * every_byte(1)) & OWN;
        ((own + CARRY) >> 7) & every_byte(1)
    })
}
