//! Least-squares search of the scale (and minimum) with which a sub-block is quantised.
//!
//! Rounding to levels makes the error a jagged function of the scale, so both searches try a few scales around the one that
//! the extremes suggest, round to levels, and then solve for the factors that fit those levels best.

/// Partial sums kept side by side, so that the compiler can use vectors.
const LANES: usize = 8;

/// Which scales [`fit_affine`] tries: those with which the range spans `top + offset` levels, for `steps + 1` offsets from
/// `first` on, 0.1 apart.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Highest level.
    pub top: f32,
    pub first: f32,
    pub steps: u8,
}

/// The `(scale, min)` that minimises the weighted squared error of `scale * level - min` with levels in `0..=top`.
/// Both are at least zero: a sub-block without negative values gets a minimum of zero.
pub(crate) fn fit_affine<const N: usize>(x: &[f32; N], search: Search) -> (f32, f32) {
    let lowest = x.iter().copied().fold(0.0, f32::min);
    let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = highest - lowest;
    if range <= 0.0 {
        return (0.0, -lowest);
    }
    let weights = magnitude_weights(x);
    let weight_sum = sum(&weights);
    let x_sum = dot(&weights, x);

    let levels = levels_of(x, lowest, search.top / range, search.top);
    let mut best = (range / search.top, lowest);
    let mut best_error = affine_error(x, &weights, &levels, best);
    for step in 0..=search.steps {
        let span = search.top + (search.first + 0.1 * f32::from(step));
        // From the best minimum so far: a descent in both factors, which the fixed minimum does not reach.
        let levels = levels_of(x, best.1, span / (highest - best.1), search.top);
        let weighted = product(&weights, &levels);
        let (l_sum, ll_sum, lx_sum) = (sum(&weighted), dot(&weighted, &levels), dot(&weighted, x));
        let determinant = weight_sum * ll_sum - l_sum * l_sum;
        if determinant <= 0.0 {
            continue;
        }
        let scale = (weight_sum * lx_sum - x_sum * l_sum) / determinant;
        let min = (ll_sum * x_sum - l_sum * lx_sum) / determinant;
        let fitted = if min > 0.0 { (lx_sum / ll_sum, 0.0) } else { (scale, min) };
        let error = affine_error(x, &weights, &levels, fitted);
        if error < best_error {
            (best, best_error) = (fitted, error);
        }
    }
    (best.0, -best.1)
}

/// The scale that minimises the squared error of `scale * level`, weighted by the square of the value, with levels in
/// `-half..half`.
pub(crate) fn fit_symmetric<const N: usize>(x: &[f32; N], half: f32) -> f32 {
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let extreme = x.iter().copied().fold(0.0, larger);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let weights = product(x, x);
    let mut best = 0.0;
    let mut best_gain = 0.0;
    // The middle of the range first: a tie is decided for the scale that the extreme suggests.
    for step in [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9_i8] {
        let inverse = -(half + 0.1 * f32::from(step)) / extreme;
        let levels = array(|i| nearest(x[i] * inverse, -half, half - 1.0));
        let weighted = product(&weights, &levels);
        let (lx_sum, ll_sum) = (dot(&weighted, x), dot(&weighted, &levels));
        // The best factor for these levels is lx/ll; it lowers the error by lx * lx / ll.
        if ll_sum > 0.0 && lx_sum * lx_sum > best_gain * ll_sum {
            best = lx_sum / ll_sum;
            best_gain = best * lx_sum;
        }
    }
    best
}

/// Magnitude below which a sub-block counts as zero: 1 / scale must stay finite.
pub(crate) const NEGLIGIBLE: f32 = 1e-15;

/// `value` rounded to the nearest whole number, ties to even, within whole bounds of magnitude below 2^22; NaN gives `low`.
///
/// Written so that it vectorises on every machine, which `clamp`, `max` and `round_ties_even` do not.
pub(crate) fn nearest(value: f32, low: f32, high: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits for the fraction.
    const SHIFT: f32 = 12_582_912.0;
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    (value + SHIFT) - SHIFT
}

fn levels_of<const N: usize>(x: &[f32; N], lowest: f32, inverse: f32, top: f32) -> [f32; N] {
    array(|i| nearest(inverse * (x[i] - lowest), 0.0, top))
}

/// Larger values matter more to a dot product, but none is unimportant: root mean square plus magnitude.
fn magnitude_weights<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let rms = (dot(x, x) / N as f32).sqrt();
    array(|i| rms + x[i].abs())
}

fn affine_error<const N: usize>(x: &[f32; N], weights: &[f32; N], levels: &[f32; N], (scale, min): (f32, f32)) -> f32 {
    let difference = array(|i| scale * levels[i] + min - x[i]);
    dot(&product(&difference, &difference), weights)
}

/// The array of `value(i)`. A plain loop, because `std::array::from_fn` and `map` do not vectorise.
fn array<const N: usize>(value: impl Fn(usize) -> f32) -> [f32; N] {
    let mut array = [0.0; N];
    for (i, slot) in array.iter_mut().enumerate() {
        *slot = value(i);
    }
    array
}

fn product<const N: usize>(a: &[f32; N], b: &[f32; N]) -> [f32; N] {
    array(|i| a[i] * b[i])
}

fn dot<const N: usize>(a: &[f32; N], b: &[f32; N]) -> f32 {
    sum(&product(a, b))
}

fn sum<const N: usize>(a: &[f32; N]) -> f32 {
    let mut lanes = [0.0; LANES];
    for chunk in a.as_chunks::<LANES>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
