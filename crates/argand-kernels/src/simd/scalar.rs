//! Plain arrays as vectors: runs anywhere, and stands in for tiers that this machine lacks.
//!
//! What takes more than an instruction per lane is a call: inlined into every kernel it would be most of the library.

use super::{Simd, math};
use half::{bf16, f16};
use std::array::from_fn;

/// Token of `N` emulated lanes. Multiply-add is not fused: without hardware a fused one costs a
/// library call per lane.
#[derive(Clone, Copy, Debug)]
pub struct Scalar<const N: usize>;

/// 8 emulated lanes: the layouts of AVX2.
pub type Scalar8 = Scalar<8>;
/// 16 emulated lanes: the layouts of AVX-512.
pub type Scalar16 = Scalar<16>;

/// Applies `f` to each pair of lanes.
#[inline(always)]
fn zip<T: Copy, U, const N: usize>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> U) -> [U; N] {
    from_fn(
        #[inline(always)]
        |i| f(a[i], b[i]),
    )
}

/// Folds halves onto each other until one lane is left.
#[inline(always)]
fn fold<const N: usize>(mut a: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            a[i] = f(a[i], a[i + width]);
        }
        width /= 2;
    }
    a[0]
}

/// Reads `N` values and converts each.
///
/// # Safety
/// `p` is readable for `N` values.
#[inline(always)]
unsafe fn read<T: Copy, U, const N: usize>(p: *const T, f: impl Fn(T) -> U) -> [U; N] {
    // SAFETY: the caller's contract; `[T; N]` has the layout of `N` values.
    unsafe { p.cast::<[T; N]>().read_unaligned() }.map(f)
}

impl<const N: usize> Simd for Scalar<N> {
    const LANES: usize = N;
    const REGISTERS: usize = 0;
    type F = [f32; N];
    type I = [i32; N];
    type M = [bool; N];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; N] {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> [f32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, |x| x) }
    }
    #[inline(never)]
    unsafe fn load_n(self, p: *const f32, n: usize) -> [f32; N] {
        debug_assert!(n <= N);
        // SAFETY: the caller's contract, for the lanes below `n`.
        from_fn(|i| if i < n { unsafe { p.add(i).read_unaligned() } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: [f32; N]) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(never)]
    unsafe fn store_n(self, p: *mut f32, v: [f32; N], n: usize) {
        debug_assert!(n <= N);
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller's contract, for the lanes below `n`.
            unsafe { p.add(i).write_unaligned(x) }
        }
    }
    #[inline(never)]
    unsafe fn load_f16(self, p: *const u16) -> [f32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, |x| f16::from_bits(x).to_f32()) }
    }
    #[inline(never)]
    unsafe fn store_f16(self, p: *mut u16, v: [f32; N]) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<[u16; N]>().write_unaligned(v.map(|x| f16::from_f32(x).to_bits())) }
    }
    #[inline(never)]
    unsafe fn load_bf16(self, p: *const u16) -> [f32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, |x| bf16::from_bits(x).to_f32()) }
    }
    #[inline(never)]
    unsafe fn load_i8_f32(self, p: *const i8) -> [f32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, f32::from) }
    }
    #[inline(never)]
    unsafe fn load_u8_f32(self, p: *const u8) -> [f32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, f32::from) }
    }

    #[inline(always)]
    fn add(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self, a: [f32; N]) -> [f32; N] {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn fma(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn neg_fma(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        from_fn(|i| c[i] - a[i] * b[i])
    }
    #[inline(always)]
    fn max(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: [f32; N]) -> [f32; N] {
        a.map(f32::abs)
    }
    #[inline(never)]
    fn copy_sign(self, a: [f32; N], sign: [f32; N]) -> [f32; N] {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    fn lt(self, a: [f32; N], b: [f32; N]) -> [bool; N] {
        zip(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn select(self, m: [bool; N], a: [f32; N], b: [f32; N]) -> [f32; N] {
        from_fn(|i| if m[i] { a[i] } else { b[i] })
    }
    #[inline(never)]
    fn exp(self, x: [f32; N]) -> [f32; N] {
        math::exp(self, x)
    }
    #[inline(never)]
    fn tanh(self, x: [f32; N]) -> [f32; N] {
        math::tanh(self, x)
    }
    #[inline(never)]
    fn erf(self, x: [f32; N]) -> [f32; N] {
        math::erf(self, x)
    }
    #[inline(never)]
    fn reduce_sum(self, a: [f32; N]) -> f32 {
        fold(a, |a, b| a + b)
    }
    #[inline(never)]
    fn reduce_max(self, a: [f32; N]) -> f32 {
        fold(a, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> [i32; N] {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load_i(self, p: *const i32) -> [i32; N] {
        // SAFETY: the caller's contract.
        unsafe { read(p, |x| x) }
    }
    #[inline(always)]
    unsafe fn store_i(self, p: *mut i32, v: [i32; N]) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<[i32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add_i(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_i(self, a: [i32; N], b: [i32; N]) -> [i32; N] {
        zip(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn shl_i<const BITS: u32>(self, a: [i32; N]) -> [i32; N] {
        a.map(|x| x << BITS)
    }
    #[inline(always)]
    fn sar_i<const BITS: u32>(self, a: [i32; N]) -> [i32; N] {
        a.map(|x| x >> BITS)
    }
    #[inline(never)]
    fn round_i(self, a: [f32; N]) -> [i32; N] {
        a.map(round_ties_even)
    }
    #[inline(always)]
    fn to_f(self, a: [i32; N]) -> [f32; N] {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    fn bits_to_f(self, a: [i32; N]) -> [f32; N] {
        a.map(|x| f32::from_bits(x as u32))
    }
}

/// What `cvtps2dq` gives, without a library call: adding `1.5 * 2^23` rounds values below `2^22`.
#[inline(always)]
fn round_ties_even(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    if x.abs() < 4_194_304.0 {
        ((x + MAGIC) - MAGIC) as i32
    } else if (-2_147_483_648.0..2_147_483_648.0).contains(&x) {
        x.round_ties_even() as i32
    } else {
        i32::MIN
    }
}
