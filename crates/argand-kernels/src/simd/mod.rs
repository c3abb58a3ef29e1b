//! SIMD tokens: kernels are written once over [`Simd`] and instantiated per tier.
//!
//! A token is a proof that the CPU has the instructions: [`Avx2`] and [`Avx512`] values come only
//! from their `detect`, so arithmetic on a token is safe. It is fast only where everything is
//! inlined into a function compiled for the tier: kernels and their closures are
//! `#[inline(always)]`, and [`dispatch!`](crate::dispatch) makes the entry points.
//! Nothing here knows about tensors.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::erf_f64;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use scalar::{Scalar, Scalar8, Scalar16};

/// Vectors of `LANES` `f32` or `i32` values and the operations that kernels need.
///
/// All methods are `#[inline(always)]`. Memory access is unaligned. Where an operation is not
/// exact, IEEE round-to-nearest-even holds; [`fma`](Simd::fma) is fused on every tier but
/// [`Scalar`].
pub trait Simd: Copy + Send + Sync + 'static {
    /// `f32` values per vector.
    const LANES: usize;
    /// Vector registers of the instruction set; 0 when lanes are emulated.
    const REGISTERS: usize;
    /// `LANES` `f32` values.
    type F: Copy;
    /// `LANES` `i32` values.
    type I: Copy;
    /// `LANES` truth values.
    type M: Copy;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Loads `LANES` values.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Loads `n <= LANES` values; the other lanes are zero and their memory is not touched.
    ///
    /// # Safety
    /// `p` is readable for `n` values.
    unsafe fn load_n(self, p: *const f32, n: usize) -> Self::F;
    /// Stores `LANES` values.
    ///
    /// # Safety
    /// `p` is writable for `LANES` values.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// Stores the first `n <= LANES` values; memory after them is not touched.
    ///
    /// # Safety
    /// `p` is writable for `n` values.
    unsafe fn store_n(self, p: *mut f32, v: Self::F, n: usize);
    /// Loads `LANES` IEEE half floats.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load_f16(self, p: *const u16) -> Self::F;
    /// Stores as IEEE half floats, rounded to nearest even; overflow gives infinity.
    ///
    /// # Safety
    /// `p` is writable for `LANES` values.
    unsafe fn store_f16(self, p: *mut u16, v: Self::F);
    /// Loads `LANES` bfloat16 values.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    /// Loads `LANES` signed bytes as `f32`.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load_i8_f32(self, p: *const i8) -> Self::F;
    /// Loads `LANES` unsigned bytes as `f32`.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load_u8_f32(self, p: *const u8) -> Self::F;

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `a * b + c`.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`.
    fn neg_fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`, so `b` when either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`, so `b` when either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Absolute value.
    fn abs(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `sign`.
    fn copy_sign(self, a: Self::F, sign: Self::F) -> Self::F;
    /// `a < b`, false when either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `m ? a : b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// Sum of all lanes, in an order that depends on the tier.
    fn reduce_sum(self, a: Self::F) -> f32;
    /// Largest lane; unspecified when a lane is NaN.
    fn reduce_max(self, a: Self::F) -> f32;

    /// `x` in every lane.
    fn splat_i(self, x: i32) -> Self::I;
    /// Loads `LANES` values.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load_i(self, p: *const i32) -> Self::I;
    /// Stores `LANES` values.
    ///
    /// # Safety
    /// `p` is writable for `LANES` values.
    unsafe fn store_i(self, p: *mut i32, v: Self::I);
    /// Wrapping `a + b`.
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// Wrapping `a - b`.
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << BITS`.
    fn shl_i<const BITS: u32>(self, a: Self::I) -> Self::I;
    /// Arithmetic `a >> BITS`.
    fn sar_i<const BITS: u32>(self, a: Self::I) -> Self::I;
    /// Nearest integer, ties to even; `i32::MIN` for NaN and out-of-range values.
    fn round_i(self, a: Self::F) -> Self::I;
    /// The integers as floats, rounded to nearest even.
    fn to_f(self, a: Self::I) -> Self::F;
    /// The bits of integers read as floats.
    fn bits_to_f(self, a: Self::I) -> Self::F;

    /// Zero in every lane.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// `e^x` within 2 ulp; 0 below -104, infinity above 88.73; NaN stays NaN.
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        math::exp(self, x)
    }

    /// Hyperbolic tangent within 2 ulp.
    #[inline(always)]
    fn tanh(self, x: Self::F) -> Self::F {
        math::tanh(self, x)
    }

    /// Error function within 2 ulp.
    #[inline(always)]
    fn erf(self, x: Self::F) -> Self::F {
        math::erf(self, x)
    }
}

/// Declares functions that pick the tier's token and call one generic kernel.
///
/// ```ignore
/// dispatch! {
///     /// Adds `b` to `a`.
///     pub fn add_to(a: &mut [f32], b: &[f32]) = add_to_kernel;
/// }
/// #[inline(always)]
/// fn add_to_kernel<S: Simd>(s: S, a: &mut [f32], b: &[f32]) { /* ... */ }
/// ```
/// makes `pub fn add_to(tier: Tier, a: &mut [f32], b: &[f32])`. `unsafe fn` entries call an
/// `unsafe` kernel. The functions panic when the CPU lacks the tier.
#[macro_export]
macro_rules! dispatch {
    ($($(#[$meta:meta])* $vis:vis $(fn $name:ident)? $(unsafe fn $unsafe_name:ident)?
        ($($arg:ident : $type:ty),* $(,)?) $(-> $ret:ty)? = $kernel:path;)+) => {$(
        $crate::dispatch! {
            @entry [$(#[$meta])*] [$vis] [$($name)?] [$($unsafe_name)?]
            [$($arg: $type),*] [$($ret)?] [$kernel]
        }
    )+};

    (@entry [$(#[$meta:meta])*] [$vis:vis] [$name:ident] []
        [$($arg:ident : $type:ty),*] [$($ret:ty)?] [$kernel:path]) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(tier: $crate::tier::Tier, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(s: $crate::simd::Avx2, $($arg: $type),*) $(-> $ret)? {
                $kernel(s, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(
                enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,f16c,fma,avx2"
            )]
            fn avx512(s: $crate::simd::Avx512, $($arg: $type),*) $(-> $ret)? {
                $kernel(s, $($arg),*)
            }
            match $crate::simd::Token::of(tier) {
                $crate::simd::Token::Scalar(s) => $kernel(s, $($arg),*),
                $crate::simd::Token::Scalar16(s) => $kernel(s, $($arg),*),
                // SAFETY: the token proves that the CPU has the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Token::Avx2(s) => unsafe { avx2(s, $($arg),*) },
                // SAFETY: the token proves that the CPU has the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Token::Avx512(s) => unsafe { avx512(s, $($arg),*) },
            }
        }
    };

    (@entry [$(#[$meta:meta])*] [$vis:vis] [] [$name:ident]
        [$($arg:ident : $type:ty),*] [$($ret:ty)?] [$kernel:path]) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(tier: $crate::tier::Tier, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2(s: $crate::simd::Avx2, $($arg: $type),*) $(-> $ret)? {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { $kernel(s, $($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(
                enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,f16c,fma,avx2"
            )]
            unsafe fn avx512(s: $crate::simd::Avx512, $($arg: $type),*) $(-> $ret)? {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { $kernel(s, $($arg),*) }
            }
            // SAFETY: the token proves that the CPU has the instructions; the caller keeps the
            // contract of the kernel.
            unsafe {
                match $crate::simd::Token::of(tier) {
                    $crate::simd::Token::Scalar(s) => $kernel(s, $($arg),*),
                    $crate::simd::Token::Scalar16(s) => $kernel(s, $($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::Token::Avx2(s) => avx2(s, $($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::Token::Avx512(s) => avx512(s, $($arg),*),
                }
            }
        }
    };
}

/// The token of a tier: what [`dispatch!`](crate::dispatch) matches on.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// Of [`Tier::Scalar`](crate::tier::Tier::Scalar).
    Scalar(Scalar8),
    /// Of [`Tier::Scalar16`](crate::tier::Tier::Scalar16).
    Scalar16(Scalar16),
    /// Of [`Tier::Avx2`](crate::tier::Tier::Avx2).
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Of [`Tier::Avx512`](crate::tier::Tier::Avx512).
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Token {
    /// The token of `tier`.
    ///
    /// # Panics
    /// The CPU lacks the tier: tiers are checked where they are chosen.
    #[inline]
    pub fn of(tier: crate::tier::Tier) -> Token {
        use crate::tier::Tier;
        let token = match tier {
            Tier::Scalar => Some(Token::Scalar(Scalar)),
            Tier::Scalar16 => Some(Token::Scalar16(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => Avx2::detect().map(Token::Avx2),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => Avx512::detect().map(Token::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 => None,
        };
        token.unwrap_or_else(|| panic!("this CPU cannot run tier `{tier}`"))
    }
}
