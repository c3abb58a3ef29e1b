//! Kernels over dense `f32` rows: elementwise maps, norms, softmax, rotary positions, half floats.
//!
//! Lengths are contracts between the planner and the kernels, so a wrong one panics. Nothing here
//! allocates, and no result depends on how rows are split over threads.

use crate::dispatch;
use crate::simd::Simd;
use half::f16;

#[cfg(test)]
mod tests;

/// An elementwise function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    Relu2,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    GeluErf,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + e^(-1.702 x))`.
    GeluQuick,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `factor * x`.
    Scale(f32),
    /// `x + constant`.
    Offset(f32),
    /// `cap * tanh(x / cap)`.
    Softcap(f32),
    /// `min(max(x, least), most)`.
    Clamp(f32, f32),
}

/// An elementwise function of two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a * b`.
    Mul,
    /// The larger one.
    Max,
    /// Gated linear unit: `f(a) * b`, `a` being the gate.
    Glu(Unary),
}

/// Which dims form the pairs that rotary positions turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// `(x[i], x[i + rot / 2])`, as GPT-NeoX and the Hugging Face layout.
    Half,
    /// `(x[2 i], x[2 i + 1])`, as GPT-J and the original Llama layout.
    Interleaved,
}

dispatch! {
    /// `out[i] = f(x[i])`.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn unary(f: Unary, x: &[f32], out: &mut [f32]) = unary_kernel;

    /// `x[i] = f(x[i])`.
    pub fn unary_in_place(f: Unary, x: &mut [f32]) = unary_in_place_kernel;

    /// `out[i] = f(a[i], b[i])`; `b` repeats when it is shorter, as a bias does over rows.
    ///
    /// # Panics
    /// The lengths of `a` and `out` differ, or are no multiple of that of `b`.
    pub fn binary(f: Binary, a: &[f32], b: &[f32], out: &mut [f32]) = binary_kernel;

    /// `a[i] = f(a[i], b[i])`; `b` repeats when it is shorter.
    ///
    /// # Panics
    /// The length of `a` is no multiple of that of `b`.
    pub fn binary_in_place(f: Binary, a: &mut [f32], b: &[f32]) = binary_in_place_kernel;

    /// `out[i] += factor * x[i]`.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn add_scaled(factor: f32, x: &[f32], out: &mut [f32]) = add_scaled_kernel;

    /// Root-mean-square norm of each row of `cols` values:
    /// `out = x / sqrt(mean(x^2) + eps) * weight`, `weight` being all ones when absent.
    ///
    /// # Panics
    /// The lengths of `x` and `out` differ or are not whole rows, or `weight` is not `[cols]`.
    pub fn rms_norm(cols: usize, x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32])
        = rms_norm_kernel;

    /// Layer norm of each row of `cols` values:
    /// `out = (x - mean) / sqrt(variance + eps) * weight + bias`; an absent `weight` is all ones,
    /// an absent `bias` all zeros.
    ///
    /// # Panics
    /// The lengths of `x` and `out` differ or are not whole rows, or `weight` or `bias` is not
    /// `[cols]`.
    pub fn layer_norm(
        cols: usize, x: &[f32], weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f32,
        out: &mut [f32],
    ) = layer_norm_kernel;

    /// Softmax of each row of `cols` values, in place. A row of only `-inf` becomes zeros.
    ///
    /// # Panics
    /// `x` is not whole rows.
    pub fn softmax(cols: usize, x: &mut [f32]) = softmax_kernel;

    /// Rotary positions of one token, in place: turns pair `i` of the first `2 * cos.len()` dims
    /// of each head by the angle with cosine `cos[i]` and sine `sin[i]`. `x` is
    /// `[heads, head_dim]`.
    ///
    /// # Panics
    /// `x` is not whole heads, `cos` and `sin` differ in length, or a head has fewer dims.
    pub fn rope(style: RopeStyle, head_dim: usize, x: &mut [f32], cos: &[f32], sin: &[f32])
        = rope_kernel;

    /// Rounds to half floats, nearest even; overflow gives infinity.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn to_f16(x: &[f32], out: &mut [f16]) = to_f16_kernel;

    /// Widens half floats, exactly.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn from_f16(x: &[f16], out: &mut [f32]) = from_f16_kernel;
}

/// Splits `len` into steps of at most `LANES` values: `(start, values)`.
#[inline(always)]
fn steps<S: Simd>(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(S::LANES).map(move |at| (at, S::LANES.min(len - at)))
}

/// Loads `n` values, the common whole vector without a mask.
///
/// # Safety
/// `p` is readable for `n <= LANES` values.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller's contract.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_n(p, n) } }
}

/// Stores `n` values, the common whole vector without a mask.
///
/// # Safety
/// `p` is writable for `n <= LANES` values.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(s: S, p: *mut f32, v: S::F, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { if n == S::LANES { s.store(p, v) } else { s.store_n(p, v, n) } }
}

/// `out[i] = f(x[i])`; `x` may be `out`.
///
/// # Safety
/// `x` is readable and `out` writable for `len` values; they are equal or do not overlap.
#[inline(always)]
unsafe fn map<S: Simd>(s: S, len: usize, x: *const f32, out: *mut f32, f: impl Fn(S::F) -> S::F) {
    for (at, n) in steps::<S>(len) {
        // SAFETY: the caller's contract, for the `n` values at `at`.
        unsafe { store(s, out.add(at), f(load(s, x.add(at), n)), n) }
    }
}

/// `out[i] = f(a[i], b[i])`; `a` may be `out`.
///
/// # Safety
/// As [`map`], for `a` and `b`.
#[inline(always)]
unsafe fn zip<S: Simd>(s: S, len: usize, a: *const f32, b: *const f32, out: *mut f32, f: impl Fn(S::F, S::F) -> S::F) {
    for (at, n) in steps::<S>(len) {
        // SAFETY: the caller's contract, for the `n` values at `at`.
        unsafe { store(s, out.add(at), f(load(s, a.add(at), n), load(s, b.add(at), n)), n) }
    }
}

/// Sum of `f(x[i])` in four independent chains; `f(0)` is 0, or `x` is whole vectors.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], f: impl Fn(S::F) -> S::F) -> f32 {
    let mut sums = [s.zero(); 4];
    let blocks = x.chunks_exact(4 * S::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a block holds four vectors.
            *sum = s.add(*sum, f(unsafe { s.load(block.as_ptr().add(lane * S::LANES)) }));
        }
    }
    for (at, n) in steps::<S>(rest.len()) {
        // SAFETY: `n` values are left at `at`.
        sums[0] = s.add(sums[0], f(unsafe { load(s, rest.as_ptr().add(at), n) }));
    }
    s.reduce_sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, s.exp(s.sub(s.zero(), x))))
}

#[inline(always)]
fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), s.exp(s.sub(s.zero(), x))))
}

#[inline(always)]
fn gelu_erf<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.mul(x, s.splat(0.5));
    s.fma(half, s.erf(s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}

#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cubic = s.fma(s.mul(x, s.splat(0.044_715)), s.mul(x, x), x);
    let half = s.mul(x, s.splat(0.5));
    s.fma(half, s.tanh(s.mul(cubic, s.splat(SQRT_2_OVER_PI))), half)
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(crate) fn softcap<S: Simd>(s: S, x: S::F, cap: f32) -> S::F {
    s.mul(s.tanh(s.div(x, s.splat(cap))), s.splat(cap))
}

impl Unary {
    /// Whether it costs so little that kernels do it before they store a sum.
    pub fn is_bound(self) -> bool {
        matches!(self, Unary::Relu | Unary::Clamp(..))
    }
}

/// What [`Unary::is_bound`] of a value; anything else leaves it as it is.
#[inline(always)]
pub(crate) fn bounded<S: Simd>(s: S, bound: Option<Unary>, x: S::F) -> S::F {
    match bound {
        Some(Unary::Relu) => s.max(x, s.zero()),
        Some(Unary::Clamp(least, most)) => s.min(s.splat(most), s.max(s.splat(least), x)),
        _ => x,
    }
}

/// Expands `$run!(closure)` with the closure of the function, so that the match is outside loops.
macro_rules! with_unary {
    ($s:ident, $f:expr, $run:ident) => {
        match $f {
            Unary::Relu => $run!(|x| $s.max(x, $s.zero())),
            Unary::Relu2 => $run!(|x| {
                let r = $s.max(x, $s.zero());
                $s.mul(r, r)
            }),
            Unary::GeluQuick => $run!(|x| $s.mul(x, sigmoid($s, $s.mul(x, $s.splat(1.702))))),
            Unary::Sigmoid => $run!(|x| sigmoid($s, x)),
            Unary::Silu => $run!(|x| silu($s, x)),
            Unary::Tanh => $run!(|x| $s.tanh(x)),
            Unary::GeluErf => $run!(|x| gelu_erf($s, x)),
            Unary::GeluTanh => $run!(|x| gelu_tanh($s, x)),
            Unary::Rsqrt => $run!(|x| $s.div($s.splat(1.0), $s.sqrt(x))),
            Unary::Scale(factor) => $run!(|x| $s.mul(x, $s.splat(factor))),
            Unary::Offset(constant) => $run!(|x| $s.add(x, $s.splat(constant))),
            Unary::Clamp(least, most) => $run!(|x| $s.min($s.splat(most), $s.max($s.splat(least), x))),
            Unary::Softcap(cap) => $run!(|x| softcap($s, x, cap)),
        }
    };
}

#[inline(always)]
unsafe fn unary_raw<S: Simd>(s: S, f: Unary, len: usize, x: *const f32, out: *mut f32) {
    macro_rules! run {
        (|$x:ident| $body:expr) => {
            // SAFETY: the callers pass `map`'s contract on.
            unsafe {
                map(
                    s,
                    len,
                    x,
                    out,
                    #[inline(always)]
                    |$x| $body,
                )
            }
        };
    }
    with_unary!(s, f, run)
}

#[inline(always)]
fn unary_kernel<S: Simd>(s: S, f: Unary, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    // SAFETY: both slices have this length and cannot overlap.
    unsafe { unary_raw(s, f, x.len(), x.as_ptr(), out.as_mut_ptr()) }
}

#[inline(always)]
fn unary_in_place_kernel<S: Simd>(s: S, f: Unary, x: &mut [f32]) {
    let p = x.as_mut_ptr();
    // SAFETY: input and output are the same slice.
    unsafe { unary_raw(s, f, x.len(), p, p) }
}

#[inline(always)]
unsafe fn binary_raw<S: Simd>(s: S, f: Binary, len: usize, a: *const f32, b: &[f32], out: *mut f32) {
    macro_rules! run {
        (|$a:ident, $b:ident| $body:expr) => {
            for at in (0..len).step_by(b.len().max(1)) {
                // SAFETY: the callers pass `zip`'s contract on, and `len` is a multiple of that of
                // `b`.
                unsafe {
                    zip(
                        s,
                        b.len(),
                        a.add(at),
                        b.as_ptr(),
                        out.add(at),
                        #[inline(always)]
                        |$a, $b| $body,
                    )
                }
            }
        };
    }
    macro_rules! glu {
        (|$x:ident| $body:expr) => {
            run!(|$x, b| s.mul($body, b))
        };
    }
    match f {
        Binary::Add => run!(|a, b| s.add(a, b)),
        Binary::Mul => run!(|a, b| s.mul(a, b)),
        Binary::Max => run!(|a, b| s.max(a, b)),
        Binary::Glu(gate) => with_unary!(s, gate, glu),
    }
}

#[inline(always)]
fn binary_kernel<S: Simd>(s: S, f: Binary, a: &[f32], b: &[f32], out: &mut [f32]) {
    assert_eq!(a.len(), out.len());
    assert!(a.len().is_multiple_of(b.len()), "{} values over {}", a.len(), b.len());
    // SAFETY: checked above; the slices cannot overlap.
    unsafe { binary_raw(s, f, a.len(), a.as_ptr(), b, out.as_mut_ptr()) }
}

#[inline(always)]
fn binary_in_place_kernel<S: Simd>(s: S, f: Binary, a: &mut [f32], b: &[f32]) {
    assert!(a.len().is_multiple_of(b.len()), "{} values over {}", a.len(), b.len());
    let p = a.as_mut_ptr();
    // SAFETY: checked above; input and output are the same slice.
    unsafe { binary_raw(s, f, a.len(), p, b, p) }
}

#[inline(always)]
fn add_scaled_kernel<S: Simd>(s: S, factor: f32, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let (p, factor) = (out.as_mut_ptr(), s.splat(factor));
    // SAFETY: the lengths are equal; `x` cannot overlap `out`, which is input and output.
    unsafe {
        zip(
            s,
            x.len(),
            p,
            x.as_ptr(),
            p,
            #[inline(always)]
            |sum, x| s.fma(x, factor, sum),
        )
    }
}

/// The rows of `x` and `out`.
#[inline(always)]
fn rows<'a>(cols: usize, x: &'a [f32], out: &'a mut [f32]) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    assert_eq!(x.len(), out.len());
    assert!(x.len().is_multiple_of(cols), "{} values in rows of {cols}", x.len());
    x.chunks_exact(cols.max(1)).zip(out.chunks_exact_mut(cols.max(1)))
}

#[inline(always)]
fn rms_norm_kernel<S: Simd>(s: S, cols: usize, x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    assert!(weight.is_none_or(|w| w.len() == cols), "the weight is not [{cols}]");
    for (x, out) in rows(cols, x, out) {
        let squares = sum(
            s,
            x,
            #[inline(always)]
            |v| s.mul(v, v),
        );
        let scale = s.splat(1.0 / (squares / cols as f32 + eps).sqrt());
        affine(s, x, out, s.zero(), scale, weight, None);
    }
}

#[inline(always)]
fn layer_norm_kernel<S: Simd>(
    s: S,
    cols: usize,
    x: &[f32],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    assert!(weight.is_none_or(|w| w.len() == cols), "the weight is not [{cols}]");
    assert!(bias.is_none_or(|b| b.len() == cols), "the bias is not [{cols}]");
    for (x, out) in rows(cols, x, out) {
        let mean = sum(
            s,
            x,
            #[inline(always)]
            |v| v,
        ) / cols as f32;
        let mean_v = s.splat(mean);
        // Lanes past the end of a row would hold `0 - mean`, so the rest is summed alone.
        let (whole, rest) = x.split_at(cols / S::LANES * S::LANES);
        let squares = sum(
            s,
            whole,
            #[inline(always)]
            |v| {
                let d = s.sub(v, mean_v);
                s.mul(d, d)
            },
        );
        let squares = squares + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        let variance = squares / cols as f32;
        affine(s, x, out, mean_v, s.splat(1.0 / (variance + eps).sqrt()), weight, bias);
    }
}

/// `out = (x - mean) * scale * weight + bias`; the lengths are equal.
#[inline(always)]
fn affine<S: Simd>(
    s: S,
    x: &[f32],
    out: &mut [f32],
    mean: S::F,
    scale: S::F,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
) {
    for (at, n) in steps::<S>(x.len()) {
        // SAFETY: all slices have the same length, and `n` values are left at `at`.
        unsafe {
            let mut y = s.mul(s.sub(load(s, x.as_ptr().add(at), n), mean), scale);
            if let Some(weight) = weight {
                y = s.mul(y, load(s, weight.as_ptr().add(at), n));
            }
            if let Some(bias) = bias {
                y = s.add(y, load(s, bias.as_ptr().add(at), n));
            }
            store(s, out.as_mut_ptr().add(at), y, n);
        }
    }
}

#[inline(always)]
fn softmax_kernel<S: Simd>(s: S, cols: usize, x: &mut [f32]) {
    assert!(x.len().is_multiple_of(cols), "{} values in rows of {cols}", x.len());
    for row in x.chunks_exact_mut(cols.max(1)) {
        let largest = row_max(s, row);
        if largest == f32::NEG_INFINITY {
            row.fill(0.0);
            continue;
        }
        let (p, len, largest) = (row.as_mut_ptr(), row.len(), s.splat(largest));
        // SAFETY: input and output are the same row.
        unsafe {
            map(
                s,
                len,
                p,
                p,
                #[inline(always)]
                |v| s.exp(s.sub(v, largest)),
            )
        }
        let total = sum(
            s,
            row,
            #[inline(always)]
            |v| v,
        );
        unary_in_place_kernel(s, Unary::Scale(1.0 / total), row);
    }
}

#[inline(always)]
fn row_max<S: Simd>(s: S, row: &[f32]) -> f32 {
    let whole = row.chunks_exact(S::LANES);
    let rest = whole.remainder().iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut largest = s.splat(rest);
    for chunk in whole {
        // SAFETY: a chunk holds one vector.
        largest = s.max(largest, unsafe { s.load(chunk.as_ptr()) });
    }
    s.reduce_max(largest)
}

#[inline(always)]
fn rope_kernel<S: Simd>(s: S, style: RopeStyle, head_dim: usize, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let pairs = cos.len();
    assert_eq!(pairs, sin.len());
    assert!(2 * pairs <= head_dim, "{pairs} pairs in heads of {head_dim} dims");
    assert!(x.len().is_multiple_of(head_dim), "{} values in heads of {head_dim}", x.len());
    for head in x.chunks_exact_mut(head_dim.max(1)) {
        match style {
            RopeStyle::Half => {
                let (low, high) = head[..2 * pairs].split_at_mut(pairs);
                for (at, n) in steps::<S>(pairs) {
                    // SAFETY: all four slices have `pairs` values, `n` of them left at `at`.
                    unsafe {
                        let (c, d) = (load(s, cos.as_ptr().add(at), n), load(s, sin.as_ptr().add(at), n));
                        let (low, high) = (low.as_mut_ptr().add(at), high.as_mut_ptr().add(at));
                        let (a, b) = (load(s, low, n), load(s, high, n));
                        store(s, low, s.neg_fma(b, d, s.mul(a, c)), n);
                        store(s, high, s.fma(a, d, s.mul(b, c)), n);
                    }
                }
            }
            RopeStyle::Interleaved => {
                for ((pair, c), d) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                    let [a, b] = *pair;
                    *pair = [a * c - b * d, a * d + b * c];
                }
            }
        }
    }
}

#[inline(always)]
fn to_f16_kernel<S: Simd>(s: S, x: &[f32], out: &mut [f16]) {
    assert_eq!(x.len(), out.len());
    let whole = x.len() / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: a whole vector is left at `at`; `f16` is a transparent `u16`.
        unsafe { s.store_f16(out.as_mut_ptr().add(at).cast(), s.load(x.as_ptr().add(at))) }
    }
    for (out, &x) in out[whole..].iter_mut().zip(&x[whole..]) {
        *out = f16::from_f32(x);
    }
}

#[inline(always)]
fn from_f16_kernel<S: Simd>(s: S, x: &[f16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let whole = x.len() / S::LANES * S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: a whole vector is left at `at`; `f16` is a transparent `u16`.
        unsafe { s.store(out.as_mut_ptr().add(at), s.load_f16(x.as_ptr().add(at).cast())) }
    }
    for (out, x) in out[whole..].iter_mut().zip(&x[whole..]) {
        *out = x.to_f32();
    }
}
