//! Activations quantised to signed bytes, with the sums that integer products need.

use crate::packed::layout::BLOCK;
use crate::simd_int::SimdInt;

/// 32 activations of one row: `value ≈ scale * q`, with `q` in -127..=127.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ActBlock {
    /// The integers.
    pub q: [i8; BLOCK],
    /// Largest magnitude / 127; NaN or infinite when a value was.
    pub scale: f32,
    /// `scale * sum(q)`.
    pub sum: f32,
    /// `scale * sum(q)` of both halves.
    pub half_sums: [f32; 2],
    /// Minus the sum of `q` over columns `k` with `k % 4 < 2`, and over the others.
    pub neg: [i16; 2],
    /// `neg` of both halves.
    pub half_negs: [[i16; 2]; 2],
    /// Zero.
    pub padding: u32,
}

/// How quantised rows of one length lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActLayout {
    /// Blocks of 32 columns per term; the last is padded with zeros.
    pub blocks: usize,
    /// Terms whose sum a row is, one behind the other: each quantises what those before it left.
    pub terms: usize,
    /// Blocks from one row to the next: odd, so that rows spread over all cache sets.
    pub stride: usize,
}

impl ActLayout {
    /// The layout of rows of `cols` values: `terms` is 1 for 8 bits or 2 for about 15.
    pub const fn new(cols: usize, terms: usize) -> ActLayout {
        let blocks = cols.div_ceil(BLOCK);
        ActLayout { blocks, terms, stride: (blocks * terms) | 1 }
    }

    /// Bytes of `rows` rows.
    pub const fn bytes(self, rows: usize) -> usize {
        rows * self.stride * size_of::<ActBlock>()
    }
}

/// Quantised rows in the caller's memory, to be read by a product.
#[derive(Clone, Copy, Debug)]
pub struct Acts {
    /// First block of the first row, aligned to 64 bytes.
    pub data: *const ActBlock,
    /// How the rows lie.
    pub layout: ActLayout,
}

impl Acts {
    /// Block `block` of row `row`, of the first term.
    #[inline(always)]
    pub(super) fn at(self, row: usize, block: usize) -> *const ActBlock {
        self.data.wrapping_add(row * self.layout.stride + block)
    }

    /// The first block of a term, counted over all rows.
    #[inline(always)]
    pub(super) fn term(self, term: usize) -> *const ActBlock {
        self.at(term / self.layout.terms, term % self.layout.terms * self.layout.blocks)
    }
}

crate::dispatch! {
    /// Quantises rows `rows` of `x` (each `cols` values, `x_stride` apart) into the same rows of `out`,
    /// laid out by `layout`.
    ///
    /// Scales are symmetric per 32 values, rounding is to nearest even.
    ///
    /// # Safety
    /// The rows of `x` are readable; those of `out` are writable, aligned to 64 bytes, and nobody else uses
    /// them meanwhile.
    pub unsafe fn quantize_rows(
        x: *const f32,
        x_stride: usize,
        rows: std::ops::Range<usize>,
        cols: usize,
        layout: ActLayout,
        out: *mut ActBlock,
    ) = quantize_rows_kernel;
}

#[inline(always)]
unsafe fn quantize_rows_kernel<S: SimdInt>(
    s: S,
    x: *const f32,
    x_stride: usize,
    rows: std::ops::Range<usize>,
    cols: usize,
    layout: ActLayout,
    out: *mut ActBlock,
) {
    for row in rows {
        for block in 0..layout.blocks {
            let col = block * BLOCK;
            let mut rest = [0.0; BLOCK];
            // SAFETY: the row is readable up to `cols`, and each of its terms has `layout.blocks` writable blocks.
            unsafe {
                let mut source = x.add(row * x_stride + col);
                if cols - col < BLOCK {
                    std::ptr::copy_nonoverlapping(source, rest.as_mut_ptr(), cols - col);
                    source = rest.as_ptr();
                }
                for term in 0..layout.terms {
                    let out = out.add(row * layout.stride + term * layout.blocks + block);
                    quantize_block(s, source, out);
                    if term + 1 < layout.terms {
                        for (k, rest) in rest.iter_mut().enumerate() {
                            *rest = *source.add(k) - (*out).scale * f32::from((*out).q[k]);
                        }
                        source = rest.as_ptr();
                    }
                }
            }
        }
    }
}

/// Quantises 32 values.
///
/// # Safety
/// 32 values at `x` are readable, `out` is writable.
#[inline(always)]
unsafe fn quantize_block<S: SimdInt>(s: S, x: *const f32, out: *mut ActBlock) {
    // SAFETY: all loads are within the 32 values, all stores within the block.
    unsafe {
        let mut peak = s.splat_i(0);
        for i in (0..BLOCK).step_by(S::LANES) {
            peak = s.max_i(peak, s.abs_bits(s.load(x.add(i))));
        }
        let peak = f32::from_bits(s.reduce_max_i(peak) as u32);
        // A reciprocal of the smallest magnitudes would overflow: they count as zero.
        let inverse = if peak < 1e-35 { 0.0 } else { 127.0 / peak };
        let scale = if peak < 1e-35 { 0.0 } else { peak / 127.0 };
        let q = (&raw mut (*out).q).cast::<i8>();
        for i in (0..BLOCK).step_by(S::LANES) {
            let scaled = s.mul(s.load(x.add(i)), s.splat(inverse));
            s.store_i8(q.add(i), s.round_i(scaled));
        }
        let [first, second] = s.pair_sums(q);
        let total = |[a, b]: [i16; 2]| scale * f32::from(a + b);
        let both = [first[0] + second[0], first[1] + second[1]];
        (*out).scale = scale;
        (*out).sum = total(both);
        (*out).half_sums = [total(first), total(second)];
        (*out).neg = [-both[0], -both[1]];
        (*out).half_negs = [[-first[0], -first[1]], [-second[0], -second[1]]];
        (*out).padding = 0;
    }
}
