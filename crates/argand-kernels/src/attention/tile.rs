//! One page of one head as vectors of keys and values, whatever it is stored as.

use crate::kv::{GROUP, KEY_BLOCK, KvSpec, PAGE_TOKENS};
use crate::simd::Simd;
use half::f16;
use std::ops::Range;

/// Reads keys and values of one head in one page. `slot` is a multiple of `LANES` where a vector
/// runs over tokens, and `dim` where it runs over dims.
///
/// # Safety
/// All methods: slots and dims lie in the page, which is initialised and outlives the tile.
pub(super) trait Tile<S: Simd>: Copy {
    /// Whether values need [`value_scale`](Tile::value_scale).
    const SCALED: bool;
    /// What [`key`](Tile::key) needs for `LANES` tokens and one group of dims.
    unsafe fn key_scale(self, s: S, group: usize, slot: usize) -> S::F;
    /// Dim `d` of the keys of `LANES` tokens.
    unsafe fn key(self, s: S, d: usize, slot: usize, scale: S::F) -> S::F;
    /// `LANES` dims of the value of one token, before its scale.
    unsafe fn value(self, s: S, slot: usize, dim: usize) -> S::F;
    /// Scales of the values of `LANES` tokens for one group of dims.
    unsafe fn value_scale(self, s: S, group: usize, slot: usize) -> S::F;
}

/// Elements and their distances.
#[derive(Clone, Copy)]
pub(super) struct Elements<T> {
    keys: *const T,
    values: *const T,
    key_block: usize,
    value_stride: usize,
}

impl<T> Elements<T> {
    /// # Safety
    /// Slot and dim lie in the page.
    #[inline(always)]
    unsafe fn key(self, d: usize, slot: usize) -> *const T {
        let at = slot / KEY_BLOCK * self.key_block + d * KEY_BLOCK + slot % KEY_BLOCK;
        // SAFETY: the caller's contract.
        unsafe { self.keys.add(at) }
    }

    /// # Safety
    /// Slot and dim lie in the page.
    #[inline(always)]
    unsafe fn value(self, slot: usize, dim: usize) -> *const T {
        // SAFETY: the caller's contract.
        unsafe { self.values.add(slot * self.value_stride + dim) }
    }
}

/// A page of half floats.
pub(super) type HalfTile = Elements<u16>;
/// A page widened to floats.
pub(super) type FloatTile = Elements<f32>;

/// A page of bytes with scales.
#[derive(Clone, Copy)]
pub(super) struct ByteTile {
    elements: Elements<i8>,
    key_scales: *const u16,
    value_scales: *const u16,
    key_block: usize,
}

impl HalfTile {
    /// The head that starts at `head`.
    ///
    /// # Safety
    /// A page of the spec holds it.
    #[inline(always)]
    pub(super) unsafe fn of(spec: &KvSpec, head: *const u8) -> HalfTile {
        Elements {
            keys: head.cast(),
            // SAFETY: the caller's contract.
            values: unsafe { head.add(spec.value_offset()) }.cast(),
            key_block: spec.dim_k * KEY_BLOCK,
            value_stride: spec.value_stride(),
        }
    }
}

impl<S: Simd> Tile<S> for HalfTile {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn key_scale(self, s: S, _: usize, _: usize) -> S::F {
        s.zero()
    }
    #[inline(always)]
    unsafe fn key(self, s: S, d: usize, slot: usize, _: S::F) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_f16(Elements::key(self, d, slot)) }
    }
    #[inline(always)]
    unsafe fn value(self, s: S, slot: usize, dim: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_f16(Elements::value(self, slot, dim)) }
    }
    #[inline(always)]
    unsafe fn value_scale(self, s: S, _: usize, _: usize) -> S::F {
        s.splat(1.0)
    }
}

impl ByteTile {
    /// The head that starts at `head`.
    ///
    /// # Safety
    /// A page of the spec holds it.
    #[inline(always)]
    pub(super) unsafe fn of(spec: &KvSpec, head: *const u8) -> ByteTile {
        // SAFETY: the caller's contract.
        unsafe {
            let values = head.add(spec.value_offset());
            ByteTile {
                elements: Elements {
                    keys: head.add(spec.key_scale_bytes()).cast(),
                    values: values.add(spec.value_scale_bytes()).cast(),
                    key_block: spec.key_block_bytes(),
                    value_stride: spec.value_stride(),
                },
                key_scales: head.cast(),
                value_scales: values.cast(),
                key_block: spec.key_block_bytes() / size_of::<f16>(),
            }
        }
    }
}

impl<S: Simd> Tile<S> for ByteTile {
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn key_scale(self, s: S, group: usize, slot: usize) -> S::F {
        let at = slot / KEY_BLOCK * self.key_block + group * KEY_BLOCK + slot % KEY_BLOCK;
        // SAFETY: the caller's contract.
        unsafe { s.load_f16(self.key_scales.add(at)) }
    }
    #[inline(always)]
    unsafe fn key(self, s: S, d: usize, slot: usize, scale: S::F) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.mul(s.load_i8_f32(self.elements.key(d, slot)), scale) }
    }
    #[inline(always)]
    unsafe fn value(self, s: S, slot: usize, dim: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_i8_f32(self.elements.value(slot, dim)) }
    }
    #[inline(always)]
    unsafe fn value_scale(self, s: S, group: usize, slot: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_f16(self.value_scales.add(group * PAGE_TOKENS + slot)) }
    }
}

impl FloatTile {
    /// The head that starts at `head`.
    ///
    /// # Safety
    /// A page of the spec holds it.
    #[inline(always)]
    pub(super) unsafe fn of(spec: &KvSpec, head: *const u8) -> FloatTile {
        // SAFETY: the caller's contract.
        let values = unsafe { head.cast::<f32>().add(PAGE_TOKENS * spec.dim_k) };
        Elements { keys: head.cast(), values, key_block: spec.dim_k * KEY_BLOCK, value_stride: spec.value_stride() }
    }
}

impl<S: Simd> Tile<S> for FloatTile {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn key_scale(self, s: S, _: usize, _: usize) -> S::F {
        s.zero()
    }
    #[inline(always)]
    unsafe fn key(self, s: S, d: usize, slot: usize, _: S::F) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load(Elements::key(self, d, slot)) }
    }
    #[inline(always)]
    unsafe fn value(self, s: S, slot: usize, dim: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load(Elements::value(self, slot, dim)) }
    }
    #[inline(always)]
    unsafe fn value_scale(self, s: S, _: usize, _: usize) -> S::F {
        s.splat(1.0)
    }
}

/// Converts the blocks of keys and the values of `slots` to floats in `memory`.
///
/// # Safety
/// As [`Tile`]; `memory` is writable for `PAGE_TOKENS * (dim_k + value_stride)` values.
#[inline(always)]
pub(super) unsafe fn widen<S: Simd, T: Tile<S>>(
    s: S,
    tile: T,
    spec: &KvSpec,
    slots: Range<usize>,
    memory: *mut f32,
) -> FloatTile {
    let dims = spec.value_stride();
    // SAFETY: the caller's contract.
    unsafe {
        let floats = FloatTile::of(spec, memory.cast());
        for slot in (slots.start / KEY_BLOCK * KEY_BLOCK..slots.end).step_by(S::LANES) {
            for d in 0..spec.dim_k {
                let scale = tile.key_scale(s, d / GROUP, slot);
                let key = tile.key(s, d, slot, scale);
                s.store(Elements::key(floats, d, slot).cast_mut(), key);
            }
        }
        for start in (slots.start / S::LANES * S::LANES..slots.end).step_by(S::LANES) {
            for group in (0..dims).step_by(GROUP) {
                let mut scales = [0.0; KEY_BLOCK];
                s.store(scales.as_mut_ptr(), tile.value_scale(s, group / GROUP, start));
                for slot in slots.start.max(start)..slots.end.min(start + S::LANES) {
                    let scale = s.splat(scales[slot - start]);
                    for dim in (group..dims.min(group + GROUP)).step_by(S::LANES) {
                        let value = tile.value(s, slot, dim);
                        let value = if T::SCALED { s.mul(value, scale) } else { value };
                        s.store(Elements::value(floats, slot, dim).cast_mut(), value);
                    }
                }
            }
        }
        floats
    }
}
