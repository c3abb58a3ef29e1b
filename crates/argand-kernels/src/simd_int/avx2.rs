//! AVX2: the narrow dot product is `vpmaddubsw` summed in 16 bits, the wide one moves the weight's
//! sign to the activation.

use super::SimdInt;
use crate::simd::Avx2;
use std::arch::x86_64::*;

// SAFETY of every block below: the token proves the instructions; pointers follow the contract of
// the trait method.
impl SimdInt for Avx2 {
    type B = __m256i;
    /// 16 sums of two columns each, modulo 2^16.
    type D = __m256i;

    #[inline(always)]
    unsafe fn load_b(self, p: *const u8) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_b(self, p: *mut u8, b: __m256i) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(p.cast(), b) }
    }
    #[inline(always)]
    unsafe fn load_quad(self, p: *const i8) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    fn splat_b(self, x: u8) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi8(x as i8) }
    }
    #[inline(always)]
    fn and_b(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn or_b(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn shl_b(self, a: __m256i, bits: u32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits as i32)) }
    }
    #[inline(always)]
    fn shr_b(self, a: __m256i, bits: u32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_srl_epi16(a, _mm_cvtsi32_si128(bits as i32)) }
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: __m256i) -> __m256i {
        // SAFETY: see above; the table has 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, index)
        }
    }
    #[inline(always)]
    fn as_i(self, a: __m256i) -> __m256i {
        a
    }

    #[inline(always)]
    unsafe fn start(self, p: *const [i16; 2], shift: u32) -> __m256i {
        // SAFETY: see above.
        unsafe { self.shl_b(self.load_quad(p.cast()), shift) }
    }
    #[inline(always)]
    fn zero_d(self) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    fn dot(self, acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
        // Two products are at most 2 * 63 * 127 = 16,002 in magnitude, so nothing saturates.
        // SAFETY: see above.
        unsafe { _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, a)) }
    }
    #[inline(always)]
    fn sum_d(self, acc: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_madd_epi16(acc, _mm256_set1_epi16(1)) }
    }

    #[inline(always)]
    fn prepare_wide(self, w: __m256i) -> __m256i {
        w
    }
    #[inline(always)]
    unsafe fn start_wide(self, _p: *const [i16; 2]) -> __m256i {
        self.zero_d()
    }
    #[inline(always)]
    fn dot_wide(self, acc: __m256i, w: __m256i, a: __m256i) -> __m256i {
        // |w| is at most 128 as an unsigned byte and a at least -127, so that its negation exists and
        // two products are at most 2 * 128 * 127 = 32,512.
        // SAFETY: see above.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    fn abs_bits(self, a: __m256) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(i32::MAX)) }
    }
    #[inline(always)]
    fn max_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_max_epi32(a, b) }
    }
    #[inline(always)]
    fn reduce_max_i(self, a: __m256i) -> i32 {
        // SAFETY: see above.
        unsafe {
            let a = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let a = _mm_max_epi32(a, _mm_shuffle_epi32::<0b01_00_11_10>(a));
            _mm_cvtsi128_si32(_mm_max_epi32(a, _mm_shuffle_epi32::<0b10_11_00_01>(a)))
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: __m256i) {
        // SAFETY: see above.
        unsafe {
            let words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(p.cast(), _mm_packs_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn load_u8_i(self, p: *const u8) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
    }
    #[inline(always)]
    unsafe fn pair_sums(self, p: *const i8) -> [[i16; 2]; 2] {
        // SAFETY: see above.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), self.load_b(p.cast()));
            let pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32::<0b01_00_11_10>(pairs));
            let pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32::<0b10_11_00_01>(pairs));
            let halves = [_mm256_extract_epi32::<0>(pairs), _mm256_extract_epi32::<4>(pairs)];
            halves.map(|sums| [sums as i16, (sums >> 16) as i16])
        }
    }
    #[inline(always)]
    fn pin_d(self, acc: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { pin(acc) }
    }
    #[inline(always)]
    fn pin_i(self, acc: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { pin(acc) }
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: see above; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}

/// An instruction of no bytes that reads and writes `v`.
#[inline]
#[target_feature(enable = "avx2")]
fn pin(mut v: __m256i) -> __m256i {
    // SAFETY: it does nothing.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}
