//! Packs the rows of a group: each row is rearranged into its planes on its own, then the rows are
//! interleaved, one `u32` of each in turn.
//!
//! The level area is exactly the transpose of the matrix `[row][plane word]`.

use super::layout::{BLOCK, Planes, Scales, layout_of};
use super::source::{Factors, Levels, every_byte, factors, levels};
use argand_codec::Codec;

/// Most rows of a group.
pub(super) const MOST_LANES: usize = 16;
/// Words of a row that are rearranged before they are interleaved: the planes of 8 blocks of bytes.
const CHUNK: usize = 64;

/// Some words of every row.
type Words = [[u32; CHUNK]; MOST_LANES];

/// Packs a group of `lanes` rows; where `rows` are fewer, the others are zeros. Rows are equally long, and the
/// areas are those of a group of such rows.
pub(crate) fn write_group(codec: Codec, lanes: usize, rows: &[&[u8]], scales: &mut [u8], levels: &mut [u8]) {
    // The codec is matched here, once, so that every reader is specialised.
    macro_rules! specialise {
        ($($name:ident)+) => {
            match codec {
                $(Codec::$name => write_blocks(Codec::$name, lanes, rows, scales, levels),)+
                Codec::F32 => write_floats::<4>(lanes, rows, levels),
                Codec::F16 | Codec::BF16 => write_floats::<2>(lanes, rows, levels),
            }
        };
    }
    specialise!(Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs Mxfp4)
}

#[inline(always)]
fn write_blocks(codec: Codec, lanes: usize, rows: &[&[u8]], scales: &mut [u8], level_area: &mut [u8]) {
    let layout = layout_of(codec).expect("a block codec");
    let (parts, bytes) = (codec.block_len() / BLOCK, codec.block_bytes());
    let block_words = layout.planes.starts()[3];
    let per_chunk = 8 / parts;
    let mut words: Words = [[0; CHUNK]; MOST_LANES];
    let file_blocks = rows.first().map_or(0, |row| row.len() / bytes);
    for first in (0..file_blocks).step_by(per_chunk) {
        let count = per_chunk.min(file_blocks - first);
        for (lane, (row, words)) in rows.iter().zip(&mut words).enumerate() {
            let blocks = row[first * bytes..][..count * bytes].chunks_exact(bytes);
            for (i, block) in blocks.enumerate() {
                for part in 0..parts {
                    let words = &mut words[(i * parts + part) * block_words..][..block_words];
                    write_planes(layout.planes, levels(codec, block, part), words);
                }
                write_factors(layout.scales, lanes, lane, (first + i) * parts, &factors(codec, block), scales);
            }
        }
        let row_bytes = 4 * parts * block_words;
        interleave(&words, lanes, &mut level_area[first * row_bytes * lanes..][..count * row_bytes * lanes]);
    }
}

/// Writes the planes of a block of one row.
#[inline(always)]
fn write_planes(planes: Planes, levels: Levels, out: &mut [u32]) {
    let [first_nibbles, first_twos, first_ones, _] = planes.starts();
    let [a, b, c, d] = levels;
    let mut put = |at: usize, words: u64| {
        out[at] = words as u32;
        out[at + 1] = (words >> 32) as u32;
    };
    if planes.bytes {
        levels.into_iter().enumerate().for_each(|(i, word)| put(2 * i, word));
    }
    if planes.nibbles {
        let low = every_byte(15);
        put(first_nibbles, (a & low) | ((c & low) << 4));
        put(first_nibbles + 2, (b & low) | ((d & low) << 4));
    }
    if planes.twos {
        let bits = levels.map(|word| (word >> planes.twos_bit()) & every_byte(3));
        let four = |first: u64, second: u64| {
            let pairs = first | (second << 4);
            (pairs | (pairs >> 30)) as u32
        };
        out[first_twos] = four(bits[0], bits[2]);
        out[first_twos + 1] = four(bits[1], bits[3]);
    }
    if planes.ones {
        let [a, b, c, d] = levels.map(|word| (word >> planes.ones_bit()) & every_byte(1));
        let quads = a | (b << 2) | (c << 4) | (d << 6);
        out[first_ones] = (quads | (quads >> 31)) as u32;
    }
}

/// Writes what a block of the file says about scales to lane `lane`; `first` is the first of its blocks of 32
/// columns.
#[inline(always)]
fn write_factors(kind: Scales, lanes: usize, lane: usize, first: usize, factors: &Factors, out: &mut [u8]) {
    let per_head = kind.blocks_per_head();
    let span = &mut out[first / per_head * kind.span_bytes() * lanes..][..kind.span_bytes() * lanes];
    let halves = match kind {
        Scales::Exponent => 0,
        Scales::Half | Scales::Sub | Scales::Sub16 => 1,
        Scales::HalfMin | Scales::SubMin | Scales::Sub16Min => 2,
    };
    for (list, half) in factors.head[..halves].iter().enumerate() {
        span[2 * (list * lanes + lane)..][..2].copy_from_slice(&half.to_le_bytes());
    }
    let bytes = match kind {
        Scales::Half | Scales::HalfMin => 0,
        Scales::Exponent | Scales::Sub => 1,
        Scales::SubMin | Scales::Sub16 | Scales::Sub16Min => 2,
    };
    let lists = factors.sub[..per_head].iter().flat_map(|sub| &sub[..bytes]);
    for (list, &byte) in lists.enumerate() {
        span[(kind.head_bytes() + list) * lanes + lane] = byte;
    }
}

/// Writes floats of `WIDTH` bytes, at least 2.
fn write_floats<const WIDTH: usize>(lanes: usize, rows: &[&[u8]], out: &mut [u8]) {
    let cols = rows.first().map_or(0, |row| row.len() / WIDTH);
    for (col, out) in out.chunks_exact_mut(WIDTH * lanes).take(cols).enumerate() {
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(WIDTH)) {
            out.copy_from_slice(&row[WIDTH * col..][..WIDTH]);
        }
    }
}

/// Writes the first words of every row, as many as `out` has room for: word 0 of every row, word 1 of every row ...
fn interleave(words: &Words, lanes: usize, out: &mut [u8]) {
    match lanes {
        8 => interleave_lanes::<8>(words, out),
        _ => interleave_lanes::<MOST_LANES>(words, out),
    }
}

fn interleave_lanes<const LANES: usize>(words: &Words, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<4>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (at, out) in out.iter_mut().take(CHUNK).enumerate() {
        *out = std::array::from_fn(|lane| words[lane][at].to_le_bytes());
    }
}
