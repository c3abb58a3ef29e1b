//! Row kernels against `f64` arithmetic, for every tier and for ragged lengths.

use super::*;
use crate::simd::erf_f64;
use crate::tier::Tier;

const LENGTHS: [usize; 9] = [1, 2, 7, 8, 15, 16, 33, 100, 576];

/// Values in `[-scale, scale)`, the same on every run.
fn noise(len: usize, seed: u32, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale
    };
    (0..len).map(|_| next()).collect()
}

/// Every value within `bound` of the exact one, `bound` in units of `f32::EPSILON`, relative to
/// `1 + |exact|`.
fn assert_close(found: &[f32], exact: impl IntoIterator<Item = f64>, bound: f64, what: &str) {
    let mut compared = 0;
    for (i, (&x, y)) in found.iter().zip(exact).enumerate() {
        let tolerance = bound * f64::from(f32::EPSILON) * (1.0 + y.abs());
        assert!((f64::from(x) - y).abs() <= tolerance, "{what}[{i}]: {x}, expected {y}");
        compared += 1;
    }
    assert_eq!(compared, found.len());
}

fn exact_unary(f: Unary, x: f32) -> f64 {
    let x = f64::from(x);
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match f {
        Unary::Relu => x.max(0.0),
        Unary::Relu2 => x.max(0.0).powi(2),
        Unary::Sigmoid => sigmoid,
        Unary::GeluQuick => x / (1.0 + (-f64::from(1.702f32) * x).exp()),
        Unary::Silu => x * sigmoid,
        Unary::Tanh => x.tanh(),
        Unary::GeluErf => 0.5 * x * (1.0 + erf_f64(x / 2f64.sqrt())),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Unary::Scale(factor) => x * f64::from(factor),
        Unary::Offset(offset) => x + f64::from(offset),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Clamp(least, most) => x.max(f64::from(least)).min(f64::from(most)),
        Unary::Softcap(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
    }
}

const UNARIES: [Unary; 12] = [
    Unary::Clamp(-3.0, 7.0),
    Unary::Relu,
    Unary::Relu2,
    Unary::GeluQuick,
    Unary::Sigmoid,
    Unary::Silu,
    Unary::Tanh,
    Unary::GeluErf,
    Unary::GeluTanh,
    Unary::Scale(-0.37),
    Unary::Offset(1.5),
    Unary::Softcap(30.0),
];

#[test]
fn elementwise_functions() {
    for tier in Tier::supported() {
        for len in LENGTHS {
            let (a, b) = (noise(len, 1, 12.0), noise(len, 2, 3.0));
            let mut out = vec![0.0; len];
            for f in UNARIES {
                unary(tier, f, &a, &mut out);
                assert_close(&out, a.iter().map(|&x| exact_unary(f, x)), 4.0, &format!("{f:?}"));
                let mut in_place = a.clone();
                unary_in_place(tier, f, &mut in_place);
                assert_eq!(in_place, out);
            }
            for f in [Binary::Add, Binary::Mul, Binary::Max].into_iter().chain(UNARIES.map(Binary::Glu)) {
                binary(tier, f, &a, &b, &mut out);
                let exact = a.iter().zip(&b).map(|(&a, &b)| match f {
                    Binary::Add => f64::from(a) + f64::from(b),
                    Binary::Mul => f64::from(a) * f64::from(b),
                    Binary::Max => f64::from(a.max(b)),
                    Binary::Glu(gate) => exact_unary(gate, a) * f64::from(b),
                });
                assert_close(&out, exact, 12.0, &format!("{f:?}"));
                let mut in_place = a.clone();
                binary_in_place(tier, f, &mut in_place, &b);
                assert_eq!(in_place, out);
            }
        }
    }
}

#[test]
fn reciprocal_square_roots() {
    for tier in Tier::supported() {
        for len in LENGTHS {
            let x: Vec<f32> = noise(len, 12, 5.0).iter().map(|x| x * x + 1e-6).collect();
            let mut out = vec![0.0; len];
            unary(tier, Unary::Rsqrt, &x, &mut out);
            assert_close(&out, x.iter().map(|&x| exact_unary(Unary::Rsqrt, x)), 2.0, "Rsqrt");
        }
    }
}

#[test]
fn a_short_operand_repeats_over_rows() {
    for tier in Tier::supported() {
        let (x, bias) = (noise(5 * 19, 3, 1.0), noise(19, 4, 1.0));
        let mut out = vec![0.0; x.len()];
        binary(tier, Binary::Add, &x, &bias, &mut out);
        for (i, y) in out.into_iter().enumerate() {
            assert_eq!(y, x[i] + bias[i % 19]);
        }
    }
}

#[test]
#[should_panic(expected = "7 values over 3")]
fn operands_that_do_not_repeat_are_refused() {
    binary_in_place(Tier::Scalar, Binary::Add, &mut [0.0; 7], &[0.0; 3]);
}

#[test]
fn norms() {
    let eps = 1e-5;
    for tier in Tier::supported() {
        for cols in LENGTHS {
            // An offset far from zero shows a variance computed by cancellation.
            let x: Vec<f32> = noise(3 * cols, 5, 2.0).iter().map(|x| x + 20.0).collect();
            let (w, b) = (noise(cols, 6, 1.5), noise(cols, 7, 1.0));
            let mut out = vec![0.0; x.len()];
            let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let (x64, w64, b64) = (wide(&x), wide(&w), wide(&b));
            let rows = || x64.chunks(cols);
            let n = cols as f64;
            let bound = 8.0 + n.sqrt();

            rms_norm(tier, cols, &x, Some(&w), eps, &mut out);
            let exact = rows().flat_map(|row| {
                let mean = row.iter().map(|x| x * x).sum::<f64>() / n;
                let scale = 1.0 / (mean + f64::from(eps)).sqrt();
                row.iter().zip(&w64).map(move |(x, w)| x * scale * w)
            });
            assert_close(&out, exact, bound, "rms_norm");

            // Subtracting the mean costs the bits by which the offset exceeds the spread.
            let bound = 60.0 * bound;
            for with_bias in [false, true] {
                let bias = with_bias.then_some(&b[..]);
                layer_norm(tier, cols, &x, Some(&w), bias, eps, &mut out);
                let exact = rows().flat_map(|row| {
                    let mean = row.iter().sum::<f64>() / n;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
                    let affine = w64.iter().zip(&b64);
                    row.iter()
                        .zip(affine)
                        .map(move |(x, (w, b))| (x - mean) * scale * w + if with_bias { *b } else { 0.0 })
                });
                if cols > 2 {
                    assert_close(&out, exact, bound, &format!("layer_norm of {cols}"));
                }
            }
            let ones = vec![1.0; cols];
            let mut plain = vec![0.0; x.len()];
            rms_norm(tier, cols, &x, Some(&ones), eps, &mut out);
            rms_norm(tier, cols, &x, None, eps, &mut plain);
            assert_eq!(plain, out);
        }
    }
}

#[test]
fn softmax_rows() {
    for tier in Tier::supported() {
        for cols in LENGTHS {
            let mut x = noise(4 * cols, 8, 30.0);
            x[0] = f32::NEG_INFINITY;
            x[3 * cols..].fill(f32::NEG_INFINITY);
            let exact: Vec<f64> = x
                .chunks(cols)
                .flat_map(|row| {
                    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let e = move |x: &f32| match largest {
                        f32::NEG_INFINITY => 0.0,
                        _ => (f64::from(*x) - f64::from(largest)).exp(),
                    };
                    let total = row.iter().map(e).sum::<f64>().max(f64::MIN_POSITIVE);
                    row.iter().map(move |x| e(x) / total)
                })
                .collect();
            softmax(tier, cols, &mut x);
            // exp turns an absolute error of its argument, here half an ulp of 60, into a relative one.
            assert_close(&x, exact, 64.0, "softmax");
        }
    }
}

#[test]
fn rotary_positions() {
    for tier in Tier::supported() {
        for (head_dim, rot) in [(6, 6), (20, 12), (64, 64), (80, 32), (128, 128)] {
            let angles = noise(rot / 2, 9, 3.0);
            let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
            let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
            for style in [RopeStyle::Half, RopeStyle::Interleaved] {
                let before = noise(3 * head_dim, 10, 2.0);
                let mut after = before.clone();
                rope(tier, style, head_dim, &mut after, &cos, &sin);
                let mut exact: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
                for head in exact.chunks_mut(head_dim) {
                    for i in 0..rot / 2 {
                        let (j, k) = match style {
                            RopeStyle::Half => (i, i + rot / 2),
                            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                        };
                        let (a, b) = (head[j], head[k]);
                        let (c, d) = (f64::from(cos[i]), f64::from(sin[i]));
                        (head[j], head[k]) = (a * c - b * d, a * d + b * c);
                    }
                }
                assert_close(&after, exact, 3.0, "rope");
            }
        }
    }
}

#[test]
fn half_floats_round_trip() {
    for tier in Tier::supported() {
        for len in LENGTHS {
            let x = noise(len, 11, 70000.0);
            let mut halves = vec![f16::ZERO; len];
            to_f16(tier, &x, &mut halves);
            assert!(halves.iter().zip(&x).all(|(h, &x)| h.to_bits() == f16::from_f32(x).to_bits()));
            let mut back = vec![0.0; len];
            from_f16(tier, &halves, &mut back);
            assert!(back.iter().zip(&halves).all(|(&b, h)| b == h.to_f32()));
        }
    }
}
