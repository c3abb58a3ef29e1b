//! The limits of this machine, measured: how fast memory can be read and how fast a tier computes.
//!
//! Kernels are judged by the fraction of these that they reach. Nothing here is used while a model runs.

use crate::gang::Gang;
use crate::region::Region;
use argand_kernels::dispatch;
use argand_kernels::simd::Simd;
use argand_kernels::simd_int::SimdInt;
use argand_kernels::tier::Tier;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

/// Which pages the memory that is read lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pages {
    /// Huge pages are asked for, as for weights.
    Huge,
    /// Blocks too small to be given huge pages, unless the system gives them to all memory.
    Small,
}

/// A measurement lasts at least this long.
const LONG: Duration = Duration::from_millis(40);
/// The best of so many measurements counts: everything that disturbs makes slower.
const TRIES: usize = 5;
/// Independent sums, enough to hide the latency of an instruction.
const SUMS: usize = 8;
/// Values of the operand that computing kernels stream; they stay in the first cache.
const OPERANDS: usize = 1024;

/// Bytes per second that `threads` threads read together from a buffer of about `bytes` bytes, which should be much
/// larger than the caches. The best of a few passes.
///
/// # Errors
/// No memory, or no threads.
pub fn read_bandwidth(tier: Tier, threads: usize, bytes: usize, pages: Pages) -> io::Result<f64> {
    let region = match pages {
        Pages::Huge => Region::new(bytes)?,
        Pages::Small => Region::sparse(bytes)?,
    };
    // SAFETY: a region is readable and writable memory of its length, and nobody else knows this one.
    let block = unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), region.len()) };
    // Memory that was never written is one shared page of zeros.
    block.fill(1);
    let mut gang = Gang::new(threads)?;
    let best = (0..TRIES).map(|_| {
        let start = Instant::now();
        gang.run(&|crew| {
            let part = block.len() / crew.threads();
            black_box(sum_bytes(tier, &block[crew.id() * part..][..part]));
        });
        start.elapsed().as_secs_f64()
    });
    Ok(block.len() as f64 / best.fold(f64::INFINITY, f64::min))
}

/// Floating-point operations per second of `threads` threads together, a fused multiply-add counted as two.
///
/// # Errors
/// No threads.
pub fn f32_peak(tier: Tier, threads: usize) -> io::Result<f64> {
    let data = [1.0f32; OPERANDS];
    peak(threads, 2 * SUMS * OPERANDS, &|rounds| {
        black_box(multiply_add(tier, rounds, &data));
    })
}

/// Integer operations per second of `threads` threads together in dot products of bytes, a multiplication and an
/// addition counted as two.
///
/// # Errors
/// No threads.
pub fn integer_peak(tier: Tier, threads: usize) -> io::Result<f64> {
    let data = [1u8; OPERANDS];
    let narrow = peak(threads, 2 * SUMS * OPERANDS, &|rounds| {
        black_box(dot_narrow(tier, rounds, &data));
    })?;
    let wide = peak(threads, 2 * SUMS * OPERANDS, &|rounds| {
        black_box(dot_wide(tier, rounds, &data));
    })?;
    Ok(narrow.max(wide))
}

/// Operations per second of a kernel that does `operations` in each of its rounds, on all threads.
fn peak(threads: usize, operations: usize, kernel: &(dyn Fn(usize) + Sync)) -> io::Result<f64> {
    let mut gang = Gang::new(threads)?;
    let mut time = |rounds: usize| {
        let start = Instant::now();
        gang.run(&|_| kernel(rounds));
        start.elapsed()
    };
    let mut rounds = 64;
    while time(rounds) < LONG {
        rounds *= 2;
    }
    let best = (0..TRIES).map(|_| time(rounds).as_secs_f64()).fold(f64::INFINITY, f64::min);
    Ok((rounds * operations * threads) as f64 / best)
}

dispatch! {
    fn sum_bytes(data: &[u8]) -> i32 = sum_bytes_kernel;
    fn multiply_add(rounds: usize, data: &[f32; OPERANDS]) -> f32 = multiply_add_kernel;
    fn dot_narrow(rounds: usize, data: &[u8; OPERANDS]) -> i32 = dot_narrow_kernel;
    fn dot_wide(rounds: usize, data: &[u8; OPERANDS]) -> i32 = dot_wide_kernel;
}

#[inline(always)]
fn sum_bytes_kernel<S: SimdInt>(s: S, data: &[u8]) -> i32 {
    let mut sums = [s.splat_i(0); SUMS];
    let bytes = 4 * S::LANES;
    for chunk in data.chunks_exact(bytes * SUMS) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the chunk holds SUMS vectors.
            let b = unsafe { s.load_b(chunk.as_ptr().add(i * bytes)) };
            *sum = s.add_i(*sum, s.as_i(b));
        }
    }
    sums.into_iter().fold(0, |all, sum| all.wrapping_add(s.reduce_max_i(sum)))
}

#[inline(always)]
fn multiply_add_kernel<S: Simd>(s: S, rounds: usize, data: &[f32; OPERANDS]) -> f32 {
    // Starts that the compiler does not know keep the sums apart.
    let mut sums: [S::F; SUMS] = std::array::from_fn(|_| s.splat(black_box(0.0)));
    for _ in 0..rounds {
        let data = black_box(data);
        for chunk in data.chunks_exact(S::LANES) {
            // SAFETY: the chunk holds one vector.
            let w = unsafe { s.load(chunk.as_ptr()) };
            sums.iter_mut().for_each(|sum| *sum = s.fma(w, w, *sum));
        }
    }
    sums.into_iter().map(|sum| s.reduce_sum(sum)).sum()
}

#[inline(always)]
fn dot_narrow_kernel<S: SimdInt>(s: S, rounds: usize, data: &[u8; OPERANDS]) -> i32 {
    let mut sums = [s.zero_d(); SUMS];
    let other = s.splat_b(black_box(1));
    for _ in 0..rounds {
        let data = black_box(data);
        for chunk in data.chunks_exact(4 * S::LANES) {
            // SAFETY: the chunk holds one vector.
            let w = unsafe { s.load_b(chunk.as_ptr()) };
            // A different operand for each sum, so that no two products are the same.
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.dot(*sum, w, s.or_b(other, s.splat_b(2 * i as u8)));
            }
        }
    }
    sums.into_iter().fold(0, |all, sum| all.wrapping_add(s.reduce_max_i(s.sum_d(sum))))
}

#[inline(always)]
fn dot_wide_kernel<S: SimdInt>(s: S, rounds: usize, data: &[u8; OPERANDS]) -> i32 {
    let mut sums = [s.splat_i(0); SUMS];
    let other = s.splat_b(black_box(1));
    for _ in 0..rounds {
        let data = black_box(data);
        for chunk in data.chunks_exact(4 * S::LANES) {
            // SAFETY: the chunk holds one vector.
            let w = s.prepare_wide(unsafe { s.load_b(chunk.as_ptr()) });
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.dot_wide(*sum, w, s.or_b(other, s.splat_b(2 * i as u8)));
            }
        }
    }
    sums.into_iter().fold(0, |all, sum| all.wrapping_add(s.reduce_max_i(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_reads_and_computes() {
        let data = [1u8; OPERANDS];
        for tier in Tier::supported() {
            assert!(sum_bytes(tier, &[1; 1 << 12]) != 0, "{tier}");
            assert!(dot_wide(tier, 3, &data) != 0 && dot_narrow(tier, 3, &data) != 0, "{tier}");
            assert!(multiply_add(tier, 1, &[1.0; OPERANDS]) == (SUMS * OPERANDS) as f32, "{tier}");
        }
    }

    #[test]
    fn measured_rates_are_of_this_world() {
        let tier = Tier::detect();
        let rate = read_bandwidth(tier, 1, 64 << 20, Pages::Huge).unwrap();
        assert!((1e8..1e13).contains(&rate), "{rate}");
        assert!((1e8..1e14).contains(&f32_peak(tier, 1).unwrap()));
    }
}
