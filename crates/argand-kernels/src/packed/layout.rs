//! How each codec looks once packed: which bit planes hold its levels, and how its scales are kept.
//!
//! A packed matrix is a sequence of groups of `lanes` rows. A group has a scale area and, from the
//! next cache line on, a level area; both run over blocks of 32 columns.
//!
//! Levels of a block are 8 *quads*: quad `i` of a row is the four columns `4i..4i + 4`, and a byte
//! vector holds one quad of every row. The planes of a block follow each other in the order of the
//! fields of [`Planes`]:
//!
//! | plane | vectors | vector `v` holds |
//! |---|---|---|
//! | bytes | 8 | quad `v`, a signed byte per level |
//! | nibbles | 4 | quads `v`, `v + 4` in lower and upper halves |
//! | twos | 2 | quads `2v`, `2v + 1`, `2v + 4`, `2v + 5`, two bits each from the lowest up |
//! | ones | 1 | quad `i` in bit `i` |
//!
//! So the two quads `j` and `j + 4` always come out of the same vectors.

use argand_codec::{Codec, iq4, mxfp4};

/// Columns of a block.
pub(crate) const BLOCK: usize = 32;
/// Alignment of groups and level areas: a cache line.
pub(crate) const ALIGN: usize = 64;

/// Which planes hold the levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub bytes: bool,
    pub nibbles: bool,
    pub twos: bool,
    pub ones: bool,
}

impl Planes {
    const BYTES: Planes = Planes { bytes: true, nibbles: false, twos: false, ones: false };
    const FOUR: Planes = Planes { bytes: false, nibbles: true, twos: false, ones: false };
    const FIVE: Planes = Planes { ones: true, ..Planes::FOUR };
    const SIX: Planes = Planes { twos: true, ..Planes::FOUR };
    const TWO: Planes = Planes { bytes: false, nibbles: false, twos: true, ones: false };
    const THREE: Planes = Planes { ones: true, ..Planes::TWO };

    /// First vector of the nibbles, of the twos and of the ones, and the number of vectors.
    pub const fn starts(self) -> [usize; 4] {
        let nibbles = if self.bytes { 8 } else { 0 };
        let twos = nibbles + if self.nibbles { 4 } else { 0 };
        let ones = twos + if self.twos { 2 } else { 0 };
        [nibbles, twos, ones, ones + if self.ones { 1 } else { 0 }]
    }

    /// Lowest bit of the levels that the twos hold.
    pub const fn twos_bit(self) -> u32 {
        if self.nibbles { 4 } else { 0 }
    }

    /// The bit of the levels that the ones hold.
    pub const fn ones_bit(self) -> u32 {
        if self.nibbles { 4 } else { 2 }
    }
}

/// How scales and minima are kept. Every list is one vector of `lanes` entries after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    /// Per block: `f16` scale.
    Half,
    /// Per block: `f16` scale, `f16` minimum.
    HalfMin,
    /// Per block: `u8` exponent; the scale is 2^(exponent - 128).
    Exponent,
    /// Per 8 blocks: `f16` d, dmin; then per block `u8` scale in units of d, `u8` minimum in units of dmin.
    SubMin,
    /// Per 8 blocks: `f16` d; then per block `i8` scale in units of d.
    Sub,
    /// Per 8 blocks: `f16` d; then per 16 columns `i8` scale in units of d.
    Sub16,
    /// Per 8 blocks: `f16` d, dmin; then per 16 columns a byte: scale below, minimum above.
    Sub16Min,
}

impl Scales {
    /// Whether a minimum is subtracted.
    pub const fn has_min(self) -> bool {
        matches!(self, Scales::HalfMin | Scales::SubMin | Scales::Sub16Min)
    }

    /// Scales per block: 2 where 16 columns share one.
    pub const fn parts(self) -> usize {
        if matches!(self, Scales::Sub16 | Scales::Sub16Min) { 2 } else { 1 }
    }

    /// Blocks that share a head.
    pub const fn blocks_per_head(self) -> usize {
        if self.head_bytes() == 0 { 1 } else { 8 }
    }

    /// Bytes per row of the head.
    pub const fn head_bytes(self) -> usize {
        match self {
            Scales::Half | Scales::HalfMin | Scales::Exponent => 0,
            Scales::Sub | Scales::Sub16 => 2,
            Scales::SubMin | Scales::Sub16Min => 4,
        }
    }

    /// Bytes per row and block, without the head.
    pub const fn block_bytes(self) -> usize {
        match self {
            Scales::Exponent | Scales::Sub => 1,
            Scales::Half | Scales::SubMin | Scales::Sub16 | Scales::Sub16Min => 2,
            Scales::HalfMin => 4,
        }
    }

    /// Bytes per row of a head and its blocks.
    pub const fn span_bytes(self) -> usize {
        self.head_bytes() + self.blocks_per_head() * self.block_bytes()
    }
}

/// The packed form of a block codec.
///
/// A value is `scale * level - min`, or `scale * (level - center)` where there is no minimum; with
/// `levels`, the stored index stands for `levels[index]` as level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub planes: Planes,
    pub scales: Scales,
    /// What dot products subtract from narrow levels so that 16-bit sums fit: half their range.
    /// 0 or a power of two.
    pub center: u8,
    /// For indexes: the level of each, plus `center`.
    pub levels: Option<&'static [i8; 16]>,
    /// Levels are signed bytes, otherwise unsigned and below 64.
    pub wide: bool,
}

impl Layout {
    const fn new(planes: Planes, scales: Scales, center: u8) -> Layout {
        Layout { planes, scales, center, levels: None, wide: planes.bytes }
    }

    /// Bytes of the levels of a block for `lanes` rows.
    pub const fn level_bytes(&self, lanes: usize) -> usize {
        4 * lanes * self.planes.starts()[3]
    }

    /// Bytes of the scale area of a group of `lanes` rows and `blocks` blocks.
    pub const fn scale_bytes(&self, lanes: usize, blocks: usize) -> usize {
        let spans = blocks / self.scales.blocks_per_head();
        (spans * self.scales.span_bytes() * lanes).next_multiple_of(ALIGN)
    }
}

/// MXFP4's levels made unsigned.
const MXFP4_LEVELS: [i8; 16] = {
    let mut levels = mxfp4::LEVELS;
    let mut i = 0;
    while i < 16 {
        levels[i] += 16;
        i += 1;
    }
    levels
};

/// A block codec as a type, for kernels that are compiled once per codec.
pub(crate) trait Format: 'static {
    /// The packed form.
    const LAYOUT: Layout;
}

macro_rules! formats {
    ($($name:ident: $layout:expr;)+) => {
        $(
            /// The codec of that name.
            pub(crate) struct $name;
            impl Format for $name {
                const LAYOUT: Layout = $layout;
            }
        )+

        /// The packed form of a block codec; `None` for plain floats.
        pub(crate) const fn layout_of(codec: Codec) -> Option<&'static Layout> {
            match codec {
                $(Codec::$name => Some(&<$name as Format>::LAYOUT),)+
                Codec::F32 | Codec::F16 | Codec::BF16 => None,
            }
        }
    };
}

formats! {
    Q8_0: Layout::new(Planes::BYTES, Scales::Half, 0);
    Q4_0: Layout::new(Planes::FOUR, Scales::Half, 8);
    Q4_1: Layout::new(Planes::FOUR, Scales::HalfMin, 0);
    Q5_0: Layout::new(Planes::FIVE, Scales::Half, 16);
    Q5_1: Layout::new(Planes::FIVE, Scales::HalfMin, 16);
    Q2K: Layout::new(Planes::TWO, Scales::Sub16Min, 0);
    Q3K: Layout::new(Planes::THREE, Scales::Sub16, 4);
    Q4K: Layout::new(Planes::FOUR, Scales::SubMin, 0);
    Q5K: Layout::new(Planes::FIVE, Scales::SubMin, 16);
    Q6K: Layout::new(Planes::SIX, Scales::Sub16, 32);
    Iq4Nl: Layout { levels: Some(&iq4::LEVELS), wide: true, ..Layout::new(Planes::FOUR, Scales::Half, 0) };
    Iq4Xs: Layout { levels: Some(&iq4::LEVELS), wide: true, ..Layout::new(Planes::FOUR, Scales::Sub, 0) };
    Mxfp4: Layout { levels: Some(&MXFP4_LEVELS), ..Layout::new(Planes::FOUR, Scales::Exponent, 16) };
}
