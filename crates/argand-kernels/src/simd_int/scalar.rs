//! Plain arrays: the meaning of each operation, with accumulators that cannot wrap.
//!
//! Byte operations are calls: inlined into every kernel they would be most of the library.

use super::SimdInt;
use crate::simd::{Scalar8, Scalar16, Simd};

macro_rules! scalar_int {
    ($token:ty, $lanes:literal) => {
        impl SimdInt for $token {
            type B = [[u8; 4]; $lanes];
            type D = [i32; $lanes];

            #[inline(never)]
            unsafe fn load_b(self, p: *const u8) -> Self::B {
                // SAFETY: the caller's contract.
                unsafe { p.cast::<Self::B>().read_unaligned() }
            }
            #[inline(never)]
            unsafe fn store_b(self, p: *mut u8, b: Self::B) {
                // SAFETY: the caller's contract.
                unsafe { p.cast::<Self::B>().write_unaligned(b) }
            }
            #[inline(never)]
            unsafe fn load_quad(self, p: *const i8) -> Self::B {
                // SAFETY: the caller's contract.
                [unsafe { p.cast::<[u8; 4]>().read_unaligned() }; $lanes]
            }
            #[inline(always)]
            fn splat_b(self, x: u8) -> Self::B {
                [[x; 4]; $lanes]
            }
            #[inline(never)]
            fn and_b(self, a: Self::B, b: Self::B) -> Self::B {
                words(a, |i, x| x & u32::from_le_bytes(b[i]))
            }
            #[inline(never)]
            fn or_b(self, a: Self::B, b: Self::B) -> Self::B {
                words(a, |i, x| x | u32::from_le_bytes(b[i]))
            }
            #[inline(never)]
            fn shl_b(self, a: Self::B, bits: u32) -> Self::B {
                words(a, |_, x| x << bits)
            }
            #[inline(never)]
            fn shr_b(self, a: Self::B, bits: u32) -> Self::B {
                words(a, |_, x| x >> bits)
            }
            #[inline(never)]
            fn lookup(self, table: &[i8; 16], index: Self::B) -> Self::B {
                index.map(|lane| lane.map(|i| table[usize::from(i & 15)] as u8))
            }
            #[inline(always)]
            fn as_i(self, a: Self::B) -> Self::I {
                a.map(i32::from_le_bytes)
            }

            #[inline(always)]
            unsafe fn start(self, p: *const [i16; 2], shift: u32) -> Self::D {
                // SAFETY: the caller's contract.
                let [even, odd] = unsafe { p.read_unaligned() };
                [(i32::from(even) + i32::from(odd)) << shift; $lanes]
            }
            #[inline(always)]
            fn zero_d(self) -> Self::D {
                [0; $lanes]
            }
            #[inline(never)]
            fn dot(self, acc: Self::D, w: Self::B, a: Self::B) -> Self::D {
                debug_assert!(w.as_flattened().iter().all(|&w| w < 64));
                add_dots(acc, w, a, i32::from)
            }
            #[inline(always)]
            fn sum_d(self, acc: Self::D) -> Self::I {
                acc
            }

            #[inline(always)]
            fn prepare_wide(self, w: Self::B) -> Self::B {
                w
            }
            #[inline(always)]
            unsafe fn start_wide(self, _p: *const [i16; 2]) -> Self::I {
                self.splat_i(0)
            }
            #[inline(never)]
            fn dot_wide(self, acc: Self::I, w: Self::B, a: Self::B) -> Self::I {
                add_dots(acc, w, a, |w| i32::from(w as i8))
            }

            #[inline(always)]
            fn abs_bits(self, a: Self::F) -> Self::I {
                a.map(|x| x.abs().to_bits() as i32)
            }
            #[inline(always)]
            fn max_i(self, mut a: Self::I, b: Self::I) -> Self::I {
                for (a, b) in a.iter_mut().zip(b) {
                    *a = b.max(*a);
                }
                a
            }
            #[inline(always)]
            fn reduce_max_i(self, a: Self::I) -> i32 {
                a.into_iter().fold(i32::MIN, i32::max)
            }
            #[inline(always)]
            unsafe fn store_i8(self, p: *mut i8, v: Self::I) {
                // SAFETY: the caller's contract.
                unsafe { p.cast::<[i8; $lanes]>().write_unaligned(v.map(|x| x as i8)) }
            }
            #[inline(always)]
            unsafe fn load_u8_i(self, p: *const u8) -> Self::I {
                // SAFETY: the caller's contract.
                unsafe { p.cast::<[u8; $lanes]>().read_unaligned() }.map(i32::from)
            }
        }
    };
}

scalar_int!(Scalar8, 8);
scalar_int!(Scalar16, 16);

/// Applies `f(lane, value)` to every lane as a little-endian word.
#[inline(always)]
fn words<const N: usize>(mut a: [[u8; 4]; N], f: impl Fn(usize, u32) -> u32) -> [[u8; 4]; N] {
    for (i, lane) in a.iter_mut().enumerate() {
        *lane = f(i, u32::from_le_bytes(*lane)).to_le_bytes();
    }
    a
}

#[inline(always)]
fn add_dots<const N: usize>(
    mut acc: [i32; N],
    w: [[u8; 4]; N],
    a: [[u8; 4]; N],
    weight: impl Fn(u8) -> i32,
) -> [i32; N] {
    for i in 0..N {
        for k in 0..4 {
            acc[i] += weight(w[i][k]) * i32::from(a[i][k] as i8);
        }
    }
    acc
}
