//! AVX-512 VNNI: both dot products are `vpdpbusd` in 32 bits.

use super::SimdInt;
use crate::simd::Avx512;
use std::arch::x86_64::*;

// SAFETY of every block below: the token proves the instructions; pointers follow the contract of
// the trait method.
impl SimdInt for Avx512 {
    type B = __m512i;
    type D = __m512i;

    #[inline(always)]
    unsafe fn load_b(self, p: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_b(self, p: *mut u8, b: __m512i) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(p.cast(), b) }
    }
    #[inline(always)]
    unsafe fn load_quad(self, p: *const i8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    fn splat_b(self, x: u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi8(x as i8) }
    }
    #[inline(always)]
    fn and_b(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn or_b(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn shl_b(self, a: __m512i, bits: u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits as i32)) }
    }
    #[inline(always)]
    fn shr_b(self, a: __m512i, bits: u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_srl_epi16(a, _mm_cvtsi32_si128(bits as i32)) }
    }
    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: __m512i) -> __m512i {
        // SAFETY: see above; the table has 16 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, index)
        }
    }
    #[inline(always)]
    fn as_i(self, a: __m512i) -> __m512i {
        a
    }

    #[inline(always)]
    unsafe fn start(self, p: *const [i16; 2], shift: u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sll_epi32(self.total(p), _mm_cvtsi32_si128(shift as i32)) }
    }
    #[inline(always)]
    fn zero_d(self) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn dot(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(acc, w, a) }
    }
    #[inline(always)]
    fn sum_d(self, acc: __m512i) -> __m512i {
        acc
    }

    #[inline(always)]
    fn prepare_wide(self, w: __m512i) -> __m512i {
        // Signed to unsigned: adds 128, which `start_wide` takes back.
        // SAFETY: see above.
        unsafe { _mm512_xor_si512(w, _mm512_set1_epi8(i8::MIN)) }
    }
    #[inline(always)]
    unsafe fn start_wide(self, p: *const [i16; 2]) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_slli_epi32::<7>(self.total(p)) }
    }
    #[inline(always)]
    fn dot_wide(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(acc, w, a) }
    }

    #[inline(always)]
    fn abs_bits(self, a: __m512) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(i32::MAX)) }
    }
    #[inline(always)]
    fn max_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_max_epi32(a, b) }
    }
    #[inline(always)]
    fn reduce_max_i(self, a: __m512i) -> i32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_epi32(a) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, v: __m512i) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtsepi32_epi8(v)) }
    }
    #[inline(always)]
    unsafe fn load_u8_i(self, p: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    fn pin_d(self, acc: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { pin(acc) }
    }
    #[inline(always)]
    fn pin_i(self, acc: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { pin(acc) }
    }
    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: see above; a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}

impl Avx512 {
    /// The sum of the pair in every lane.
    ///
    /// # Safety
    /// `p` is readable for two `i16`.
    #[inline(always)]
    unsafe fn total(self, p: *const [i16; 2]) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_madd_epi16(self.load_quad(p.cast()), _mm512_set1_epi16(1)) }
    }
}

/// An instruction of no bytes that reads and writes `v`.
#[inline]
#[target_feature(enable = "avx512f")]
fn pin(mut v: __m512i) -> __m512i {
    // SAFETY: it does nothing.
    unsafe { std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}
