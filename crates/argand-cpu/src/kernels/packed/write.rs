//! Writes one row into its lane of a packed group.

use super::layout::{BLOCK, Layout, Scales};
use super::source::{SourceBlock, read_block};
use argand_codec::Codec;

/// The place of a row in a group.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    pub layout: &'static Layout,
    pub lanes: usize,
    pub lane: usize,
}

/// Spreads the values of a row of `width`-byte floats over lane `lane`.
pub(crate) fn write_floats(width: usize, lanes: usize, lane: usize, row: &[u8], out: &mut [u8]) {
    for (value, out) in row.chunks_exact(width).zip(out.chunks_exact_mut(width * lanes)) {
        out[lane * width..][..width].copy_from_slice(value);
    }
}

/// Writes a row of a block codec. The codec is matched here, once, so that every reader is
/// specialised.
pub(crate) fn write_row(codec: Codec, lane: Lane, row: &[u8], scales: &mut [u8], levels: &mut [u8]) {
    macro_rules! specialise {
        ($($name:ident)+) => {
            match codec {
                $(Codec::$name => lane.write(Codec::$name, row, scales, levels),)+
                Codec::F32 | Codec::F16 | Codec::BF16 => unreachable!("{codec} has no blocks"),
            }
        };
    }
    specialise!(Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs Mxfp4)
}

impl Lane {
    #[inline(always)]
    fn write(self, codec: Codec, row: &[u8], scales: &mut [u8], levels: &mut [u8]) {
        let level_bytes = self.layout.level_bytes(self.lanes);
        for (index, levels) in levels.chunks_exact_mut(level_bytes).enumerate() {
            if index * BLOCK >= row.len() / codec.block_bytes() * codec.block_len() {
                break; // what follows is padding
            }
            let block = read_block(codec, row, index);
            self.write_levels(&block.levels, levels);
            self.write_scales(&block, index, scales);
        }
    }

    #[inline(always)]
    fn write_levels(self, levels: &[u8; BLOCK], out: &mut [u8]) {
        let planes = self.layout.planes;
        let quads: [u32; 8] = std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|k| levels[4 * i + k])));
        let mut put = |vector: usize, word: u32| {
            out[4 * (vector * self.lanes + self.lane)..][..4].copy_from_slice(&word.to_le_bytes());
        };
        let [nibbles, twos, ones, _] = planes.starts();
        if planes.bytes {
            quads.iter().enumerate().for_each(|(i, &quad)| put(i, quad));
        }
        if planes.nibbles {
            for v in 0..4 {
                put(nibbles + v, (quads[v] & 0x0F0F_0F0F) | ((quads[v + 4] & 0x0F0F_0F0F) << 4));
            }
        }
        if planes.twos {
            let bits = |quad: usize| (quads[quad] >> planes.twos_bit()) & 0x0303_0303;
            for v in 0..2 {
                let low = bits(2 * v) | (bits(2 * v + 1) << 2);
                put(twos + v, low | (bits(2 * v + 4) << 4) | (bits(2 * v + 5) << 6));
            }
        }
        if planes.ones {
            let bit = |quad: usize| ((quads[quad] >> planes.ones_bit()) & 0x0101_0101) << quad;
            put(ones, (0..8).map(bit).fold(0, |word, bits| word | bits));
        }
    }

    #[inline(always)]
    fn write_scales(self, block: &SourceBlock, index: usize, out: &mut [u8]) {
        let kind = self.layout.scales;
        let (per_head, lanes) = (kind.blocks_per_head(), self.lanes);
        let head = index / per_head * kind.span_bytes() * lanes;
        let sub = head + (kind.head_bytes() + index % per_head * kind.block_bytes()) * lanes;
        let mut put_half = |start: usize, list: usize| {
            let at = start + 2 * (list * lanes + self.lane);
            out[at..][..2].copy_from_slice(&block.head[list].to_le_bytes());
        };
        match kind {
            Scales::Exponent => {}
            Scales::Half | Scales::Sub | Scales::Sub16 => put_half(head, 0),
            Scales::HalfMin | Scales::SubMin | Scales::Sub16Min => {
                put_half(head, 0);
                put_half(head, 1);
            }
        }
        let bytes = match kind {
            Scales::Half | Scales::HalfMin => 0,
            Scales::Exponent | Scales::Sub => 1,
            Scales::SubMin | Scales::Sub16 | Scales::Sub16Min => 2,
        };
        for (list, &byte) in block.sub[..bytes].iter().enumerate() {
            out[sub + list * lanes + self.lane] = byte;
        }
    }
}
