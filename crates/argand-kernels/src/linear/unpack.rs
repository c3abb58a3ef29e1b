//! From packed planes back to levels, factors and values: the per-codec part of every kernel.

use crate::packed::layout::{BLOCK, Format, Scales};
use crate::simd_int::SimdInt;

/// Runs the body for `J` = 0 to 3 as a constant: shift counts and branches of [`quads`] depend on it, and compilers
/// do not always unroll what they could then fold.
macro_rules! for_quads {
    (|$j:ident| $body:expr) => {{
        {
            const $j: usize = 0;
            $body
        }
        {
            const $j: usize = 1;
            $body
        }
        {
            const $j: usize = 2;
            $body
        }
        {
            const $j: usize = 3;
            $body
        }
    }};
}
pub(super) use for_quads;

/// Levels of quads `J` and `J + 4` of the block at `levels`: unsigned below 64, or signed bytes in wide
/// formats. `J` is below 4.
///
/// # Safety
/// A block of the format is readable at `levels`.
#[inline(always)]
pub(super) unsafe fn quads<S: SimdInt, F: Format, const J: usize>(s: S, levels: *const u8) -> [S::B; 2] {
    // SAFETY: the caller's contract.
    unsafe {
        if const { S::REGISTERS > 0 } {
            unpack_quads::<S, F>(s, levels, J)
        } else {
            called::quads::<S, F>(s, levels, J)
        }
    }
}

/// Emulated lanes take long to compile, so their kernels call what others inline.
mod called {
    use super::*;

    /// # Safety
    /// As [`super::quads`].
    #[inline(never)]
    pub unsafe fn quads<S: SimdInt, F: Format>(s: S, levels: *const u8, j: usize) -> [S::B; 2] {
        // SAFETY: the caller's contract.
        unsafe { unpack_quads::<S, F>(s, levels, j) }
    }

    /// # Safety
    /// As [`super::factors`].
    #[inline(never)]
    pub unsafe fn factors<S: SimdInt, F: Format>(s: S, head: [S::F; 2], p: *const u8) -> Factors<S> {
        // SAFETY: the caller's contract.
        unsafe { read_factors::<S, F>(s, head, p) }
    }
}

/// [`quads`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn unpack_quads<S: SimdInt, F: Format>(s: S, levels: *const u8, j: usize) -> [S::B; 2] {
    let planes = F::LAYOUT.planes;
    let [nibbles, twos, ones, _] = planes.starts();
    // SAFETY: the planes of the format lie inside the block.
    let vector = |v: usize| unsafe { s.load_b(levels.add(4 * S::LANES * v)) };
    if planes.bytes {
        return [vector(j), vector(j + 4)];
    }
    let mut pair = [s.splat_b(0); 2];
    if planes.nibbles {
        let both = vector(nibbles + j);
        pair = [field(s, both, 0, 0, 15), field(s, both, 4, 0, 15)];
    }
    if planes.twos {
        let four = vector(twos + j / 2);
        for half in 0..2 {
            let bits = field(s, four, 2 * (j as u32 % 2) + 4 * half, planes.twos_bit(), 3);
            pair[half as usize] = s.or_b(pair[half as usize], bits);
        }
    }
    if planes.ones {
        let eight = vector(ones);
        for half in 0..2 {
            let bit = field(s, eight, j as u32 + 4 * half, planes.ones_bit(), 1);
            pair[half as usize] = s.or_b(pair[half as usize], bit);
        }
    }
    match F::LAYOUT.levels {
        Some(table) => [s.lookup(table, pair[0]), s.lookup(table, pair[1])],
        None => pair,
    }
}

/// Moves the bits `mask << from` of every byte to `mask << to`.
#[inline(always)]
fn field<S: SimdInt>(s: S, b: S::B, from: u32, to: u32, mask: u8) -> S::B {
    let moved = match from.cmp(&to) {
        std::cmp::Ordering::Less => s.shl_b(b, to - from),
        std::cmp::Ordering::Equal => b,
        std::cmp::Ordering::Greater => s.shr_b(b, from - to),
    };
    s.and_b(moved, s.splat_b(mask << to))
}

/// Scales and subtracted minima of a block, per part; parts beyond [`Scales::parts`] repeat the first.
#[derive(Clone, Copy)]
pub(super) struct Factors<S: SimdInt> {
    pub scale: [S::F; 2],
    pub min: [S::F; 2],
}

/// d and dmin of the span at `p`; zero where the format has none.
///
/// # Safety
/// A span of the format's scales is readable at `p`.
#[inline(always)]
pub(super) unsafe fn head<S: SimdInt, F: Format>(s: S, p: *const u8) -> [S::F; 2] {
    let bytes = F::LAYOUT.scales.head_bytes();
    // SAFETY: the head starts the span.
    unsafe {
        match bytes {
            0 => [s.zero(); 2],
            2 => [s.load_f16(p.cast()), s.zero()],
            _ => [s.load_f16(p.cast()), s.load_f16(p.add(2 * S::LANES).cast())],
        }
    }
}

/// The factors of the block whose scales (without head) are at `p`.
///
/// # Safety
/// The block's scales are readable at `p`.
#[inline(always)]
pub(super) unsafe fn factors<S: SimdInt, F: Format>(s: S, head: [S::F; 2], p: *const u8) -> Factors<S> {
    // SAFETY: the caller's contract.
    unsafe {
        if const { S::REGISTERS > 0 } { read_factors::<S, F>(s, head, p) } else { called::factors::<S, F>(s, head, p) }
    }
}

/// [`factors`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn read_factors<S: SimdInt, F: Format>(s: S, head: [S::F; 2], p: *const u8) -> Factors<S> {
    let [d, dmin] = head;
    let zero = [s.zero(); 2];
    // SAFETY: the lists of the format lie inside the block's scales.
    unsafe {
        let half = |list: usize| s.load_f16(p.add(2 * S::LANES * list).cast());
        let unsigned = |list: usize| s.load_u8_f32(p.add(S::LANES * list));
        let signed = |list: usize| s.load_i8_f32(p.add(S::LANES * list).cast());
        match F::LAYOUT.scales {
            Scales::Half => Factors { scale: [half(0); 2], min: zero },
            Scales::HalfMin => Factors { scale: [half(0); 2], min: [half(1); 2] },
            Scales::Exponent => Factors { scale: [half_power(s, s.load_u8_i(p)); 2], min: zero },
            Scales::SubMin => Factors { scale: [s.mul(d, unsigned(0)); 2], min: [s.mul(dmin, unsigned(1)); 2] },
            Scales::Sub => Factors { scale: [s.mul(d, signed(0)); 2], min: zero },
            Scales::Sub16 => Factors { scale: [s.mul(d, signed(0)), s.mul(d, signed(1))], min: zero },
            Scales::Sub16Min => {
                let both = [s.load_u8_i(p), s.load_u8_i(p.add(S::LANES))];
                let high = [s.sar_i::<4>(both[0]), s.sar_i::<4>(both[1])];
                let low = |i: usize| s.sub_i(both[i], s.shl_i::<4>(high[i]));
                Factors {
                    scale: [s.mul(d, s.to_f(low(0))), s.mul(d, s.to_f(low(1)))],
                    min: [s.mul(dmin, s.to_f(high[0])), s.mul(dmin, s.to_f(high[1]))],
                }
            }
        }
    }
}

/// 2^(exponent - 128).
#[inline(always)]
fn half_power<S: SimdInt>(s: S, exponent: S::I) -> S::F {
    let one = s.splat_i(1);
    let normal = s.shl_i::<23>(s.sub_i(exponent, one));
    // Exponents 0 and 1 are below the normal numbers: 0x0020_0000 and 0x0040_0000.
    let low = s.sub_i(one, s.max_i(s.sub_i(one, exponent), s.splat_i(0)));
    let subnormal = s.shl_i::<21>(s.add_i(low, one));
    s.bits_to_f(s.max_i(normal, subnormal))
}

/// What integer products subtract per unit of activation sum, where levels were centred.
#[inline(always)]
pub(super) fn centred_min<S: SimdInt, F: Format>(s: S, factors: &Factors<S>, part: usize) -> S::F {
    match F::LAYOUT.center {
        0 => factors.min[part],
        center => s.neg_fma(factors.scale[part], s.splat(f32::from(center)), factors.min[part]),
    }
}

/// Where a group's scales and levels start.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub scales: *const u8,
    pub levels: *const u8,
}

impl Group {
    pub fn of((scales, levels): (&[u8], &[u8])) -> Group {
        Group { scales: scales.as_ptr(), levels: levels.as_ptr() }
    }

    /// Head of the span that holds block `block`.
    #[inline(always)]
    pub fn head<S: SimdInt, F: Format>(self, block: usize) -> *const u8 {
        let scales = F::LAYOUT.scales;
        let span = block / scales.blocks_per_head();
        self.scales.wrapping_add(span * scales.span_bytes() * S::LANES)
    }

    /// Scales of block `block`, without head.
    #[inline(always)]
    pub fn factors<S: SimdInt, F: Format>(self, block: usize) -> *const u8 {
        let scales = F::LAYOUT.scales;
        let index = block % scales.blocks_per_head();
        let offset = (scales.head_bytes() + index * scales.block_bytes()) * S::LANES;
        self.head::<S, F>(block).wrapping_add(offset)
    }

    /// Levels of block `block`.
    #[inline(always)]
    pub fn levels<S: SimdInt, F: Format>(self, block: usize) -> *const u8 {
        self.levels.wrapping_add(block * F::LAYOUT.level_bytes(S::LANES))
    }
}

/// Writes the values of blocks `blocks` of a group to `out` as `[column][lane]`, bit for bit what the
/// codec decodes.
///
/// # Safety
/// The blocks are readable, and `out` is writable for 32 vectors per block.
#[inline(always)]
pub(super) unsafe fn values<S: SimdInt, F: Format>(s: S, group: Group, blocks: std::ops::Range<usize>, out: *mut f32) {
    let first = blocks.start;
    for block in blocks {
        // SAFETY: the block is readable; its 32 columns are written in turn.
        unsafe {
            let head = head::<S, F>(s, group.head::<S, F>(block));
            let factors = factors::<S, F>(s, head, group.factors::<S, F>(block));
            let out = out.add((block - first) * BLOCK * S::LANES);
            for_quads!(|J| {
                let pair = quads::<S, F, J>(s, group.levels::<S, F>(block));
                for (part, quad) in pair.into_iter().enumerate() {
                    let scale = factors.scale[part];
                    let min = factors.min[part];
                    let level = columns::<S, F>(s, quad);
                    for (k, level) in level.into_iter().enumerate() {
                        let value = s.mul(scale, level);
                        let value = if F::LAYOUT.scales.has_min() { s.sub(value, min) } else { value };
                        s.store(out.add((16 * part + 4 * J + k) * S::LANES), value);
                    }
                }
            });
        }
    }
}

/// The four columns of a quad as floats, centred where the format has no minimum.
#[inline(always)]
fn columns<S: SimdInt, F: Format>(s: S, quad: S::B) -> [S::F; 4] {
    let bytes = s.as_i(quad);
    let columns = [
        s.sar_i::<24>(s.shl_i::<24>(bytes)),
        s.sar_i::<24>(s.shl_i::<16>(bytes)),
        s.sar_i::<24>(s.shl_i::<8>(bytes)),
        s.sar_i::<24>(bytes),
    ];
    let center = match F::LAYOUT.scales.has_min() {
        true => 0,
        false => i32::from(F::LAYOUT.center),
    };
    let mut floats = [s.zero(); 4];
    for (float, column) in floats.iter_mut().zip(columns) {
        *float = s.to_f(s.sub_i(column, s.splat_i(center)));
    }
    floats
}
