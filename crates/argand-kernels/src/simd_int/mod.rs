//! Integer side of the SIMD tokens: byte vectors, four-byte dot products and their accumulators.
//!
//! A byte vector holds four bytes per lane: lane `i` belongs to weight row `i` and its bytes are four
//! consecutive columns (a *quad*). A dot product of a weight vector with one broadcast quad of
//! activations therefore adds to `LANES` rows at once and never needs a horizontal sum.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::simd::Simd;

/// Byte vectors of `4 * LANES` bytes and what integer kernels do with them.
///
/// There are two dot products. The *narrow* one takes unsigned weights below 64 and may accumulate
/// in 16 bits per two columns; it wraps, so only its final value has to fit (see
/// [`start`](SimdInt::start)). The *wide* one takes any signed weights and accumulates in 32 bits.
/// Activations are in -127..=127 for both.
pub trait SimdInt: Simd {
    /// `4 * LANES` bytes; bytes `4i..4i + 4` belong to lane `i`.
    type B: Copy;
    /// Accumulator of the narrow dot product.
    type D: Copy;

    /// Loads `4 * LANES` bytes.
    ///
    /// # Safety
    /// `p` is readable for `4 * LANES` bytes.
    unsafe fn load_b(self, p: *const u8) -> Self::B;
    /// Stores `4 * LANES` bytes.
    ///
    /// # Safety
    /// `p` is writable for `4 * LANES` bytes.
    unsafe fn store_b(self, p: *mut u8, b: Self::B);
    /// Loads four bytes into every lane.
    ///
    /// # Safety
    /// `p` is readable for 4 bytes.
    unsafe fn load_quad(self, p: *const i8) -> Self::B;
    /// `x` in every byte.
    fn splat_b(self, x: u8) -> Self::B;
    /// Bitwise and.
    fn and_b(self, a: Self::B, b: Self::B) -> Self::B;
    /// Bitwise or.
    fn or_b(self, a: Self::B, b: Self::B) -> Self::B;
    /// Shifts units of at least 16 bits left; the caller masks what crosses bytes.
    fn shl_b(self, a: Self::B, bits: u32) -> Self::B;
    /// Shifts units of at least 16 bits right; the caller masks what crosses bytes.
    fn shr_b(self, a: Self::B, bits: u32) -> Self::B;
    /// `table[index]` for indexes below 16.
    fn lookup(self, table: &[i8; 16], index: Self::B) -> Self::B;
    /// The lanes as `i32`, little-endian.
    fn as_i(self, a: Self::B) -> Self::I;

    /// The narrow accumulator that makes dot products with weights `q` come out as if they had been
    /// with `q - (1 << shift)`.
    ///
    /// `p` points to the negated sums of the activations of the dot product over even and odd column
    /// pairs (see [`ActBlock::neg`](crate::linear::ActBlock::neg)).
    ///
    /// # Safety
    /// `p` is readable for two `i16`.
    unsafe fn start(self, p: *const [i16; 2], shift: u32) -> Self::D;
    /// The narrow accumulator of zero.
    fn zero_d(self) -> Self::D;
    /// Adds the dot product of each lane's four unsigned weights below 64 with four activations.
    fn dot(self, acc: Self::D, w: Self::B, a: Self::B) -> Self::D;
    /// The accumulated sums.
    fn sum_d(self, acc: Self::D) -> Self::I;

    /// Makes signed weights ready for [`dot_wide`](SimdInt::dot_wide).
    fn prepare_wide(self, w: Self::B) -> Self::B;
    /// The accumulator that [`dot_wide`](SimdInt::dot_wide) starts from; `p` as in
    /// [`start`](SimdInt::start).
    ///
    /// # Safety
    /// `p` is readable for two `i16`.
    unsafe fn start_wide(self, p: *const [i16; 2]) -> Self::I;
    /// Adds the dot product of each lane's four prepared weights with four activations.
    fn dot_wide(self, acc: Self::I, w: Self::B, a: Self::B) -> Self::I;

    /// The bits of `|a|`; as integers they order like the magnitudes, NaN above all.
    fn abs_bits(self, a: Self::F) -> Self::I;
    /// Larger of two signed integers.
    fn max_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Largest lane.
    fn reduce_max_i(self, a: Self::I) -> i32;
    /// Stores each lane, known to be in -128..=127, as one byte.
    ///
    /// # Safety
    /// `p` is writable for `LANES` bytes.
    unsafe fn store_i8(self, p: *mut i8, v: Self::I);
    /// Loads `LANES` unsigned bytes, one per lane.
    ///
    /// # Safety
    /// `p` is readable for `LANES` bytes.
    unsafe fn load_u8_i(self, p: *const u8) -> Self::I;
    /// Sums over 16 bytes each: `[half][pair]`, where pair 0 takes bytes 0 and 1 of every four.
    ///
    /// # Safety
    /// `p` is readable for 32 bytes.
    #[inline(always)]
    unsafe fn pair_sums(self, p: *const i8) -> [[i16; 2]; 2] {
        let mut sums = [[0; 2]; 2];
        for i in 0..32 {
            // SAFETY: the caller's contract.
            sums[i / 16][i % 4 / 2] += i16::from(unsafe { p.add(i).read() });
        }
        sums
    }
    /// The same accumulator, at this place of the program: compilers that reorder long runs of dot
    /// products keep too many vectors alive, and then spill them.
    #[inline(always)]
    fn pin_d(self, acc: Self::D) -> Self::D {
        acc
    }
    /// As [`pin_d`](SimdInt::pin_d), for wide accumulators.
    #[inline(always)]
    fn pin_i(self, acc: Self::I) -> Self::I {
        acc
    }
    /// Asks for the cache line of `p` to be brought to the second-level cache; any address is allowed.
    #[inline(always)]
    fn prefetch(self, _p: *const u8) {}
}
