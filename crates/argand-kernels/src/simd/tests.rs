//! Every operation of every tier against `f32` and `f64` arithmetic of the standard library.

use super::Simd;
use crate::dispatch;
use crate::tier::Tier;
use half::{bf16, f16};

/// Operands that meet all branches: signs, subnormals, ties, large values, infinities.
const SAMPLES: [f32; 16] =
    [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, -0.5, 1e-40, -1e-3, 0.6, 0.95, 65519.0, -65521.0, 3e9, 7.25, f32::INFINITY];

/// Runs `f(a, b, c)` over the samples in vectors of the tier and flattens the lanes.
macro_rules! lanes {
    ($s:ident, |$a:ident, $b:ident, $c:ident| $body:expr) => {{
        let mut out = [0.0f32; 16];
        for at in (0..16).step_by(S::LANES) {
            // SAFETY: LANES divides 16, and `rotated` wraps.
            unsafe {
                let $a = $s.load(SAMPLES.as_ptr().add(at));
                let $b = $s.load(rotated(1).as_ptr().add(at));
                let $c = $s.load(rotated(3).as_ptr().add(at));
                $s.store(out.as_mut_ptr().add(at), $body);
            }
        }
        out
    }};
}

/// The samples, rotated by `n`.
fn rotated(n: usize) -> [f32; 16] {
    std::array::from_fn(|i| SAMPLES[(i + n) % 16])
}

/// What the scalar function gives on the same lanes.
fn expected(f: impl Fn(f32, f32, f32) -> f32) -> [f32; 16] {
    std::array::from_fn(|i| f(SAMPLES[i], rotated(1)[i], rotated(3)[i]))
}

/// Same bits, or both NaN.
fn assert_same(found: [f32; 16], expected: [f32; 16], what: &str) {
    for i in 0..16 {
        let (x, y) = (found[i], expected[i]);
        let same = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
        assert!(same, "{what} of {}: {x} is not {y}", SAMPLES[i]);
    }
}

dispatch! {
    fn arithmetic() = arithmetic_kernel;
    fn memory() = memory_kernel;
    fn integers() = integers_kernel;
    fn reductions() = reductions_kernel;
    fn unary(function: Function, x: &mut [f32]) = unary_kernel;
}

#[inline(always)]
fn arithmetic_kernel<S: Simd>(s: S) {
    let same = assert_same;
    same(lanes!(s, |a, _b, _c| s.add(a, s.splat(0.3))), expected(|a, _, _| a + 0.3), "splat");
    same(lanes!(s, |a, b, _c| s.add(a, b)), expected(|a, b, _| a + b), "add");
    same(lanes!(s, |a, b, _c| s.sub(a, b)), expected(|a, b, _| a - b), "sub");
    same(lanes!(s, |a, b, _c| s.mul(a, b)), expected(|a, b, _| a * b), "mul");
    same(lanes!(s, |a, b, _c| s.div(a, b)), expected(|a, b, _| a / b), "div");
    same(lanes!(s, |a, b, _c| s.max(a, b)), expected(|a, b, _| if a > b { a } else { b }), "max");
    same(lanes!(s, |a, b, _c| s.min(a, b)), expected(|a, b, _| if a < b { a } else { b }), "min");
    same(lanes!(s, |a, _b, _c| s.abs(a)), expected(|a, _, _| a.abs()), "abs");
    same(lanes!(s, |a, _b, _c| s.sqrt(s.abs(a))), expected(|a, _, _| a.abs().sqrt()), "sqrt");
    same(lanes!(s, |a, b, _c| s.copy_sign(a, b)), expected(|a, b, _| a.copysign(b)), "copy_sign");
    let fused = lanes!(s, |a, b, c| s.fma(a, b, c));
    let unfused = lanes!(s, |a, b, c| s.add(s.mul(a, b), c));
    let is_emulated = std::any::type_name::<S>().contains("Scalar");
    let fma = expected(|a, b, c| a.mul_add(b, c));
    same(fused, if is_emulated { unfused } else { fma }, "fma");
    let fused = lanes!(s, |a, b, c| s.neg_fma(a, b, c));
    let unfused = lanes!(s, |a, b, c| s.sub(c, s.mul(a, b)));
    let neg_fma = expected(|a, b, c| (-a).mul_add(b, c));
    same(fused, if is_emulated { unfused } else { neg_fma }, "neg_fma");
    let selected = lanes!(s, |a, b, c| s.select(s.lt(a, b), c, a));
    same(selected, expected(|a, b, c| if a < b { c } else { a }), "lt and select");
    let nan = lanes!(s, |a, _b, _c| s.max(a, s.splat(f32::NAN)));
    same(nan, [f32::NAN; 16], "max keeps a NaN on the right");
}

#[inline(always)]
fn memory_kernel<S: Simd>(s: S) {
    let lanes = S::LANES;
    let halves = SAMPLES.map(|x| f16::from_f32(x).to_bits());
    let brains = SAMPLES.map(|x| bf16::from_f32(x).to_bits());
    let bytes: [u8; 16] = std::array::from_fn(|i| (i * 17) as u8);
    let mut out = [[0.0f32; 16]; 4];
    let mut stored = [0u16; 16];
    for at in (0..16).step_by(lanes) {
        // SAFETY: LANES divides 16.
        unsafe {
            s.store(out[0].as_mut_ptr().add(at), s.load_f16(halves.as_ptr().add(at)));
            s.store(out[1].as_mut_ptr().add(at), s.load_bf16(brains.as_ptr().add(at)));
            s.store(out[2].as_mut_ptr().add(at), s.load_i8_f32(bytes.as_ptr().add(at).cast()));
            s.store(out[3].as_mut_ptr().add(at), s.load_u8_f32(bytes.as_ptr().add(at)));
            s.store_f16(stored.as_mut_ptr().add(at), s.load(SAMPLES.as_ptr().add(at)));
        }
    }
    assert_same(out[0], halves.map(|x| f16::from_bits(x).to_f32()), "load_f16");
    assert_same(out[1], brains.map(|x| bf16::from_bits(x).to_f32()), "load_bf16");
    assert_same(out[2], bytes.map(|x| f32::from(x as i8)), "load_i8");
    assert_same(out[3], bytes.map(f32::from), "load_u8");
    assert_eq!(stored, halves, "store_f16");

    for n in 0..=lanes {
        let (mut out, mut whole) = ([9.0f32; 16], [9.0f32; 16]);
        // SAFETY: the arrays hold at least LANES values.
        unsafe {
            s.store_n(out.as_mut_ptr(), s.load(SAMPLES.as_ptr()), n);
            // The memory after `n` values is out of bounds for the loader.
            s.store(whole.as_mut_ptr(), s.load_n(SAMPLES[16 - n..].as_ptr(), n));
        }
        for i in 0..lanes {
            assert_eq!(out[i], if i < n { SAMPLES[i] } else { 9.0 }, "store_n({n})");
            assert_eq!(whole[i], if i < n { SAMPLES[16 - n + i] } else { 0.0 }, "load_n({n})");
        }
    }
}

#[inline(always)]
fn integers_kernel<S: Simd>(s: S) {
    let same = assert_same;
    let rounded = expected(|a, _, _| {
        let out_of_range = !(-2_147_483_648.0..2_147_483_648.0).contains(&a);
        if out_of_range { i32::MIN as f32 } else { a.round_ties_even() + 0.0 }
    });
    same(lanes!(s, |a, _b, _c| s.to_f(s.round_i(a))), rounded, "round_i");
    let values: [i32; 16] = std::array::from_fn(|i| (i as i32 - 7) * 0x0765_4321);
    let mut out = [[0i32; 16]; 6];
    let mut floats = [[0.0f32; 16]; 2];
    for at in (0..16).step_by(S::LANES) {
        // SAFETY: LANES divides 16.
        unsafe {
            let v = s.load_i(values.as_ptr().add(at));
            let mut put = |row: usize, v: S::I| s.store_i(out[row].as_mut_ptr().add(at), v);
            put(0, v);
            put(1, s.add_i(v, s.splat_i(i32::MAX)));
            put(2, s.sub_i(v, s.splat_i(i32::MIN)));
            put(3, s.shl_i::<5>(v));
            put(4, s.sar_i::<5>(v));
            s.store(floats[0].as_mut_ptr().add(at), s.to_f(v));
            s.store(floats[1].as_mut_ptr().add(at), s.bits_to_f(v));
        }
    }
    assert_eq!(out[0], values, "load_i and store_i");
    assert_eq!(out[1], values.map(|x| x.wrapping_add(i32::MAX)), "add_i");
    assert_eq!(out[2], values.map(|x| x.wrapping_sub(i32::MIN)), "sub_i");
    assert_eq!(out[3], values.map(|x| x << 5), "shl_i");
    assert_eq!(out[4], values.map(|x| x >> 5), "sar_i");
    same(floats[0], values.map(|x| x as f32), "to_f");
    same(floats[1], values.map(|x| f32::from_bits(x as u32)), "bits_to_f");
}

#[inline(always)]
fn reductions_kernel<S: Simd>(s: S) {
    for largest in 0..S::LANES {
        // Small integers: every order of summation is exact.
        let values: [f32; 16] = std::array::from_fn(|i| if i == largest { 100.0 } else { i as f32 - 8.0 });
        // SAFETY: the array holds at least LANES values.
        let v = unsafe { s.load(values.as_ptr()) };
        assert_eq!(s.reduce_sum(v), values[..S::LANES].iter().sum::<f32>());
        assert_eq!(s.reduce_max(v), 100.0);
    }
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Tanh,
    Erf,
}

#[inline(always)]
fn unary_kernel<S: Simd>(s: S, function: Function, x: &mut [f32]) {
    for chunk in x.chunks_exact_mut(S::LANES) {
        // SAFETY: the chunk holds LANES values.
        unsafe {
            let v = s.load(chunk.as_ptr());
            let y = match function {
                Function::Exp => s.exp(v),
                Function::Tanh => s.tanh(v),
                Function::Erf => s.erf(v),
            };
            s.store(chunk.as_mut_ptr(), y);
        }
    }
}

/// erf in `f64`: Taylor series below 3, continued fraction of erfc above.
pub(crate) fn erf_f64(x: f64) -> f64 {
    let t = x.abs();
    let two_over_sqrt_pi = std::f64::consts::FRAC_2_SQRT_PI;
    let value = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..120 {
            term *= -t * t / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        two_over_sqrt_pi * sum
    } else {
        let fraction = (1..80).rev().fold(t, |f, k| t + k as f64 / 2.0 / f);
        1.0 - two_over_sqrt_pi / 2.0 * (-t * t).exp() / fraction
    };
    value.copysign(x)
}

/// Distance of `found` from `exact` in units in the last place of the `f32` nearest to `exact`.
fn ulps(found: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if found == nearest {
        return 0.0;
    }
    let ulp = f64::from(nearest.abs().next_up()) - f64::from(nearest.abs());
    (f64::from(found) - exact).abs() / ulp
}

#[test]
fn operations_match_scalar_arithmetic() {
    for tier in Tier::supported() {
        arithmetic(tier);
        memory(tier);
        integers(tier);
        reductions(tier);
    }
}

#[test]
fn elementary_functions_stay_within_their_bounds() {
    type Case = (Function, fn(f64) -> f64, f32, f32, f64);
    let cases: [Case; 3] = [
        (Function::Exp, f64::exp, -105.0, 90.0, 2.0),
        (Function::Tanh, f64::tanh, -12.0, 12.0, 2.0),
        (Function::Erf, erf_f64, -6.0, 6.0, 2.0),
    ];
    for tier in Tier::supported() {
        for (function, exact, low, high, bound) in cases {
            let n = 1 << 16;
            let dense = (0..n).map(|i| low + (high - low) * i as f32 / n as f32);
            let tiny = (0..n).map(|i| f32::from_bits(i * 16_001)).filter(|&x| x < high);
            let inputs: Vec<f32> = dense.chain(tiny).collect();
            let inputs = &inputs[..inputs.len() / 16 * 16];
            let mut found = inputs.to_vec();
            unary(tier, function, &mut found);
            let worst = inputs
                .iter()
                .zip(&found)
                .map(|(&x, &y)| (ulps(y, exact(f64::from(x))), x))
                .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
            println!("{tier} {function:?}: {:.2} ulp at {}", worst.0, worst.1);
            assert!(worst.0 <= bound, "{tier} {function:?}: {} ulp at {}", worst.0, worst.1);
        }
    }
}

#[test]
fn elementary_functions_at_the_ends() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let ends = [inf, -inf, nan, 0.0, -0.0, 88.8, -200.0, 200.0];
    for tier in Tier::supported() {
        for (function, expected) in [
            (Function::Exp, [inf, 0.0, nan, 1.0, 1.0, inf, 0.0, inf]),
            (Function::Tanh, [1.0, -1.0, nan, 0.0, -0.0, 1.0, -1.0, 1.0]),
            (Function::Erf, [1.0, -1.0, nan, 0.0, -0.0, 1.0, -1.0, 1.0]),
        ] {
            let mut x: [f32; 16] = std::array::from_fn(|i| ends[i % 8]);
            unary(tier, function, &mut x);
            let expected = std::array::from_fn(|i| expected[i % 8]);
            assert_same(x, expected, &format!("{tier} {function:?}"));
        }
    }
}
