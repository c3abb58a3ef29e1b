//! Elementary functions over any [`Simd`] token: range reduction and short polynomials.

use super::Simd;

/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`; `ln 2` is split in two so that
/// `n * LN2_HI` is exact.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Operand order keeps NaN; the bounds lie just outside the range of results.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let n = s.round_i(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let n_f = s.to_f(n);
    let r = s.neg_fma(n_f, s.splat(LN2_HI), x);
    let r = s.neg_fma(n_f, s.splat(LN2_LO), r);
    // Cephes expf: e^r = 1 + r + r^2 p(r).
    const P: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let p = polynomial(s, r, &P);
    let tail = s.fma(s.mul(r, r), p, r);
    let e_r = s.add(tail, s.splat(1.0));
    scale_by_power_of_two(s, e_r, n)
}

/// `x * 2^n` for `|n| <= 252`, in two factors so that subnormal results round once.
#[inline(always)]
fn scale_by_power_of_two<S: Simd>(s: S, x: S::F, n: S::I) -> S::F {
    let half = s.sar_i::<1>(n);
    s.mul(s.mul(x, power_of_two(s, half)), power_of_two(s, s.sub_i(n, half)))
}

/// `2^n` for `-126 <= n <= 127`: the biased exponent moved into place.
#[inline(always)]
fn power_of_two<S: Simd>(s: S, n: S::I) -> S::F {
    s.bits_to_f(s.shl_i::<23>(s.add_i(n, s.splat_i(127))))
}

/// Odd polynomial near zero, `1 - 2 / (e^{2|x|} + 1)` elsewhere (Cephes tanhf).
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const P: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let magnitude = s.abs(x);
    let x2 = s.mul(x, x);
    let near = s.fma(s.mul(polynomial(s, x2, &P), x2), x, x);
    let e = s.exp(s.add(magnitude, magnitude));
    let one = s.splat(1.0);
    let far = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    let y = s.select(s.lt(magnitude, s.splat(0.625)), near, far);
    s.copy_sign(y, x)
}

/// Odd polynomial near zero, `1 - e^{p(|x|)}` elsewhere (minimax coefficients of N. Juffa's erff).
#[inline(always)]
pub(super) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    const NEAR: [f32; 6] =
        [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1];
    const FAR: [f32; 7] = [
        -1.728_534_7e-5,
        3.831_971_3e-4,
        -3.883_964_4e-3,
        2.425_462_2e-2,
        -1.067_778_8e-1,
        -6.348_467e-1,
        -1.287_175_1e-1,
    ];
    let magnitude = s.abs(x);
    let near = s.fma(polynomial(s, s.mul(x, x), &NEAR), x, x);
    // erf is 1 in f32 from 3.92 on; the polynomial is only good up to there.
    let t = s.min(s.splat(4.0), magnitude);
    let p = polynomial(s, t, &FAR);
    let far = s.sub(s.splat(1.0), s.exp(s.sub(s.mul(p, t), t)));
    let y = s.select(s.lt(magnitude, s.splat(0.927_734_4)), near, far);
    s.copy_sign(y, x)
}

/// Horner's rule, highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, coefficients: &[f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = s.fma(sum, x, s.splat(c));
    }
    sum
}
