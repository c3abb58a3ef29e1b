//! Pages of the key-value cache: layout, writing and reading of one token.
//!
//! A page holds [`PAGE_TOKENS`] tokens of one layer. Keys lie in blocks of 16 tokens, `[dim][16]`,
//! so that scores of 16 tokens are vector lanes and need no horizontal sums; values lie
//! `[token][dim]`. Nothing here owns memory or knows which sequence a page belongs to.

use crate::dispatch;
use crate::rows::load;
use crate::simd::Simd;
use half::f16;

#[cfg(test)]
mod tests;

/// Tokens per page.
pub const PAGE_TOKENS: usize = 64;
/// Tokens per block of keys.
pub(crate) const KEY_BLOCK: usize = 16;
/// Dims that share one scale in [`KvType::Q8_0`].
pub(crate) const GROUP: usize = 32;
/// Rows of values are padded to this many elements, so that they are whole vectors on every tier.
const VALUE_PADDING: usize = 16;
/// Heads start on cache lines.
const LINE: usize = 64;
/// Bytes of a half float.
const HALF: usize = size_of::<f16>();

/// How elements of the cache are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Floats as they are: to compare with other implementations.
    F32,
    /// IEEE half floats, clamped to their finite range.
    F16,
    /// Signed bytes with a half-float scale per token and 32 dims: `x = scale * q`.
    Q8_0,
}

/// What one layer keeps per token. All dims are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvSpec {
    /// Key-value heads.
    pub kv_heads: usize,
    /// Dims of a key.
    pub dim_k: usize,
    /// Dims of a value.
    pub dim_v: usize,
    /// Storage of keys and values.
    pub dtype: KvType,
}

impl KvSpec {
    /// Bytes of one page: a multiple of 64.
    pub fn page_bytes(&self) -> usize {
        self.kv_heads * self.head_bytes()
    }

    /// Bytes of one head in a page: keys, then values.
    pub(crate) fn head_bytes(&self) -> usize {
        (self.value_offset() + self.value_bytes()).next_multiple_of(LINE)
    }

    /// Elements of a stored row of values.
    pub(crate) fn value_stride(&self) -> usize {
        self.dim_v.next_multiple_of(VALUE_PADDING)
    }

    /// Bytes of 16 tokens of keys: scales `[groups][16]` when quantised, then elements
    /// `[dim_k][16]`.
    pub(crate) fn key_block_bytes(&self) -> usize {
        self.key_scale_bytes() + self.dim_k * KEY_BLOCK * self.element_bytes()
    }

    /// Bytes of scales at the start of a block of keys.
    pub(crate) fn key_scale_bytes(&self) -> usize {
        match self.dtype {
            KvType::F32 | KvType::F16 => 0,
            KvType::Q8_0 => self.dim_k.div_ceil(GROUP) * KEY_BLOCK * HALF,
        }
    }

    /// Where values start in a head.
    pub(crate) fn value_offset(&self) -> usize {
        PAGE_TOKENS / KEY_BLOCK * self.key_block_bytes()
    }

    /// Bytes of scales `[groups][PAGE_TOKENS]` at the start of the values.
    pub(crate) fn value_scale_bytes(&self) -> usize {
        match self.dtype {
            KvType::F32 | KvType::F16 => 0,
            KvType::Q8_0 => self.dim_v.div_ceil(GROUP) * PAGE_TOKENS * HALF,
        }
    }

    fn value_bytes(&self) -> usize {
        self.value_scale_bytes() + PAGE_TOKENS * self.value_stride() * self.element_bytes()
    }

    fn element_bytes(&self) -> usize {
        match self.dtype {
            KvType::F32 => size_of::<f32>(),
            KvType::F16 => HALF,
            KvType::Q8_0 => 1,
        }
    }
}

dispatch! {
    /// Writes key `[dim_k]` and value `[dim_v]` of one head and token into a page.
    ///
    /// # Panics
    /// `slot`, `kv_head` or the lengths of `k` and `v` do not fit `spec`.
    ///
    /// # Safety
    /// `page` is writable for `spec.page_bytes()` bytes and aligned to 2. Concurrent calls may
    /// share a page when they differ in slot or head; nobody reads this head's token meanwhile.
    pub unsafe fn kv_write(
        spec: &KvSpec, page: *mut u8, slot: usize, kv_head: usize, k: &[f32], v: &[f32],
    ) = kv_write_kernel;
}

#[inline(always)]
unsafe fn kv_write_kernel<S: Simd>(
    s: S,
    spec: &KvSpec,
    page: *mut u8,
    slot: usize,
    kv_head: usize,
    k: &[f32],
    v: &[f32],
) {
    assert!(slot < PAGE_TOKENS && kv_head < spec.kv_heads, "slot {slot}, head {kv_head}: {spec:?}");
    assert!(k.len() == spec.dim_k && v.len() == spec.dim_v, "{} and {}: {spec:?}", k.len(), v.len());
    // SAFETY: the offsets follow the layout, so they stay inside the page, and those of different
    // slots and heads are disjoint.
    unsafe {
        let at = Token::of(spec, slot, kv_head);
        match spec.dtype {
            KvType::F32 => {
                write_floats(k, page.add(at.key).cast(), KEY_BLOCK);
                write_floats(v, page.add(at.value).cast(), 1);
            }
            KvType::F16 => {
                write_halves(s, k, page.add(at.key).cast(), KEY_BLOCK);
                write_halves(s, v, page.add(at.value).cast(), 1);
            }
            KvType::Q8_0 => {
                let scales = page.add(at.key_scale).cast();
                write_bytes(s, k, page.add(at.key).cast(), KEY_BLOCK, scales, KEY_BLOCK);
                let scales = page.add(at.value_scale).cast();
                write_bytes(s, v, page.add(at.value).cast(), 1, scales, PAGE_TOKENS);
            }
        }
    }
}

/// Byte offsets of one head's token in a page. Key elements and scales of consecutive dims and
/// groups lie [`KEY_BLOCK`] apart; value elements are adjacent, value scales [`PAGE_TOKENS`] apart.
struct Token {
    key: usize,
    key_scale: usize,
    value: usize,
    value_scale: usize,
}

impl Token {
    fn of(spec: &KvSpec, slot: usize, kv_head: usize) -> Token {
        let head = kv_head * spec.head_bytes();
        let block = head + slot / KEY_BLOCK * spec.key_block_bytes();
        let values = head + spec.value_offset();
        let (lane, element) = (slot % KEY_BLOCK, spec.element_bytes());
        Token {
            key: block + spec.key_scale_bytes() + lane * element,
            key_scale: block + lane * HALF,
            value: values + spec.value_scale_bytes() + slot * spec.value_stride() * element,
            value_scale: values + slot * HALF,
        }
    }
}

/// Writes `x`, `stride` elements apart.
///
/// # Safety
/// `out` is writable for `x.len()` such elements.
unsafe fn write_floats(x: &[f32], out: *mut f32, stride: usize) {
    for (i, x) in x.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { out.add(i * stride).write(*x) };
    }
}

/// Writes `x` as half floats, `stride` elements apart.
///
/// # Safety
/// `out` is writable for `x.len()` such elements.
#[inline(always)]
unsafe fn write_halves<S: Simd>(s: S, x: &[f32], out: *mut u16, stride: usize) {
    let largest = s.splat(f16::MAX.to_f32());
    let mut halves = [0u16; KEY_BLOCK];
    for at in (0..x.len()).step_by(S::LANES) {
        let n = S::LANES.min(x.len() - at);
        // SAFETY: `n` values are left at `at`; the buffer holds a vector of any tier.
        unsafe {
            let v = load(s, x.as_ptr().add(at), n);
            let v = s.min(largest, s.max(s.sub(s.zero(), largest), v));
            s.store_f16(halves.as_mut_ptr(), v);
            for (i, &half) in halves[..n].iter().enumerate() {
                out.add((at + i) * stride).write(half);
            }
        }
    }
}

/// Quantises `x` to signed bytes, `stride` apart, with a scale per group, `scale_stride` apart.
///
/// # Safety
/// `out` and `scales` are writable for that many elements.
#[inline(always)]
unsafe fn write_bytes<S: Simd>(s: S, x: &[f32], out: *mut i8, stride: usize, scales: *mut u16, scale_stride: usize) {
    let mut levels = [0i32; KEY_BLOCK];
    for (index, group) in x.chunks(GROUP).enumerate() {
        let scale = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
        let inverse = s.splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
        // SAFETY: the caller's contract; `n` values are left at `at`, and the buffer holds a
        // vector of any tier.
        unsafe {
            scales.add(index * scale_stride).write(f16::from_f32(scale).to_bits());
            for at in (0..group.len()).step_by(S::LANES) {
                let n = S::LANES.min(group.len() - at);
                let v = load(s, group.as_ptr().add(at), n);
                s.store_i(levels.as_mut_ptr(), s.round_i(s.mul(v, inverse)));
                for (i, &level) in levels[..n].iter().enumerate() {
                    out.add((index * GROUP + at + i) * stride).write(level as i8);
                }
            }
        }
    }
}

/// Reads one head's token back: key `[dim_k]` and value `[dim_v]` as the attention kernels see
/// them.
///
/// # Panics
/// `page` is shorter than a page, or `slot`, `kv_head` or the lengths do not fit `spec`.
pub fn kv_read(spec: &KvSpec, page: &[u8], slot: usize, kv_head: usize, k: &mut [f32], v: &mut [f32]) {
    assert!(slot < PAGE_TOKENS && kv_head < spec.kv_heads, "slot {slot}, head {kv_head}: {spec:?}");
    assert!(k.len() == spec.dim_k && v.len() == spec.dim_v, "{} and {}: {spec:?}", k.len(), v.len());
    let half = |at: usize| f16::from_le_bytes([page[at], page[at + 1]]).to_f32();
    let at = Token::of(spec, slot, kv_head);
    let element = |first: usize, scale: usize, i: usize, stride: usize, scale_stride: usize| match spec.dtype {
        KvType::F32 => {
            let at = first + i * stride * size_of::<f32>();
            f32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
        }
        KvType::F16 => half(first + i * stride * HALF),
        KvType::Q8_0 => {
            let level = f32::from(page[first + i * stride] as i8);
            level * half(scale + i / GROUP * scale_stride * HALF)
        }
    };
    for (i, k) in k.iter_mut().enumerate() {
        *k = element(at.key, at.key_scale, i, KEY_BLOCK, KEY_BLOCK);
    }
    for (i, v) in v.iter_mut().enumerate() {
        *v = element(at.value, at.value_scale, i, 1, PAGE_TOKENS);
    }
}
