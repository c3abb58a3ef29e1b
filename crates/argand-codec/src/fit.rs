//! Least-squares search of the scale (and minimum) with which a sub-block is quantised.
//!
//! Rounding to levels makes the error a jagged function of the scale, so both searches try a few scales around the one that
//! the extremes suggest, round to levels, and then solve for the factors that fit those levels best.
//!
//! Eight sub-blocks are searched side by side, one in each lane, in plain loops that the compiler turns into vectors.

/// Sub-blocks searched at once.
const WIDTH: usize = 8;

/// One number of each of the sub-blocks.
type Lanes = [f32; WIDTH];

/// Which scales [`fit_affine`] tries: those with which the range spans `top + offset` levels, for `steps + 1` offsets from
/// `first` on, 0.1 apart.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Highest level.
    pub top: f32,
    pub first: f32,
    pub steps: u8,
}

/// The `(scale, min)` that minimise the weighted squared error of `scale * level - min` with levels in `0..=top`.
/// Both are at least zero: a sub-block without negative values gets a minimum of zero.
pub(crate) fn fit_affine<const N: usize>(x: &[Lanes; N], search: Search) -> (Lanes, Lanes) {
    let Search { top, first, steps } = search;
    let highest = reduce(x, [f32::NEG_INFINITY; WIDTH], |most, x| if x > most { x } else { most });
    let mut min = reduce(x, [0.0; WIDTH], |least, x| if x < least { x } else { least });
    let weights = magnitude_weights(x);
    let [mut weight_sum, mut x_sum] = [[0.0; WIDTH]; 2];
    for (x, w) in x.iter().zip(&weights) {
        weight_sum = lanes(|k| weight_sum[k] + w[k]);
        x_sum = lanes(|k| x_sum[k] + w[k] * x[k]);
    }

    let mut scale = lanes(|k| (highest[k] - min[k]) / top);
    let mut levels = [[0.0; WIDTH]; N];
    round_affine(x, &weights, min, lanes(|k| top / (highest[k] - min[k])), top, &mut levels);
    let mut best_error = affine_error(x, &weights, &levels, scale, min);
    for step in 0..=steps {
        let span = top + (first + 0.1 * f32::from(step));
        // From the best minimum so far: a descent in both factors, which a fixed minimum would not reach.
        let inverse = lanes(|k| span / (highest[k] - min[k]));
        let [l_sum, ll_sum, lx_sum] = round_affine(x, &weights, min, inverse, top, &mut levels);

        let determinant = lanes(|k| weight_sum[k] * ll_sum[k] - l_sum[k] * l_sum[k]);
        let free_min = lanes(|k| (ll_sum[k] * x_sum[k] - l_sum[k] * lx_sum[k]) / determinant[k]);
        let free_scale = lanes(|k| (weight_sum[k] * lx_sum[k] - x_sum[k] * l_sum[k]) / determinant[k]);
        let bound_scale = lanes(|k| lx_sum[k] / ll_sum[k]);
        let fitted_scale = lanes(|k| if free_min[k] > 0.0 { bound_scale[k] } else { free_scale[k] });
        let fitted_min = lanes(|k| if free_min[k] > 0.0 { 0.0 } else { free_min[k] });

        let error = affine_error(x, &weights, &levels, fitted_scale, fitted_min);
        for k in 0..WIDTH {
            if determinant[k] > 0.0 && error[k] < best_error[k] {
                (scale[k], min[k], best_error[k]) = (fitted_scale[k], fitted_min[k], error[k]);
            }
        }
    }
    (scale, min.map(|min| 0.0 - min)) // unlike -min never a negative zero
}

/// The scale that minimises the squared error of `scale * level`, weighted by the square of the value, with levels in
/// `-half..half`. Zero if all values are negligible.
pub(crate) fn fit_symmetric<const N: usize>(x: &[Lanes; N], half: f32) -> Lanes {
    let extreme = reduce(x, [0.0; WIDTH], |most, x| if x.abs() > most.abs() { x } else { most });
    let powers = x.map(|x| (lanes(|k| x[k] * x[k]), lanes(|k| x[k] * x[k] * x[k])));
    let mut best = [0.0; WIDTH];
    let mut best_gain = [0.0; WIDTH];
    // The middle of the range first: a tie is decided for the scale that the extreme suggests.
    for step in [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9_i8] {
        let inverse = lanes(|k| -(half + 0.1 * f32::from(step)) / extreme[k]);
        let [mut ll_sum, mut lx_sum] = [[0.0; WIDTH]; 2];
        for (x, (square, cube)) in x.iter().zip(&powers) {
            let level = lanes(|k| nearest(x[k] * inverse[k], -half, half - 1.0));
            ll_sum = lanes(|k| ll_sum[k] + square[k] * level[k] * level[k]);
            lx_sum = lanes(|k| lx_sum[k] + cube[k] * level[k]);
        }
        // The best factor for these levels is lx / ll; it lowers the error by lx * lx / ll.
        for k in 0..WIDTH {
            if ll_sum[k] > 0.0 && lx_sum[k] * lx_sum[k] > best_gain[k] * ll_sum[k] {
                best[k] = lx_sum[k] / ll_sum[k];
                best_gain[k] = best[k] * lx_sum[k];
            }
        }
    }
    lanes(|k| if extreme[k].abs() < NEGLIGIBLE { 0.0 } else { best[k] })
}

/// Eight adjacent sub-blocks of `N` values, laid side by side.
pub(crate) fn side_by_side<const N: usize>(values: &[f32]) -> [Lanes; N] {
    let mut x = [[0.0; WIDTH]; N];
    for (k, sub_block) in values.as_chunks::<N>().0.iter().take(WIDTH).enumerate() {
        for (x, value) in x.iter_mut().zip(sub_block) {
            x[k] = *value;
        }
    }
    x
}

/// Magnitude below which a sub-block counts as zero: 1 / scale must stay finite.
pub(crate) const NEGLIGIBLE: f32 = 1e-15;

/// `value` rounded to the nearest whole number, ties to even, within whole bounds of magnitude below 2^22; NaN gives `low`.
///
/// Written so that it vectorises on every machine, which `clamp`, `max` and `round_ties_even` do not.
#[inline(always)]
pub(crate) fn nearest(value: f32, low: f32, high: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits for the fraction.
    const SHIFT: f32 = 12_582_912.0;
    let value = if value > low { value } else { low };
    let value = if value < high { value } else { high };
    (value + SHIFT) - SHIFT
}

/// Rounds `(x - min) * inverse` to levels in `0..=top` and returns the weighted sums of l, l * l and l * x.
#[inline(always)]
fn round_affine<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    min: Lanes,
    inverse: Lanes,
    top: f32,
    levels: &mut [Lanes; N],
) -> [Lanes; 3] {
    let [mut l_sum, mut ll_sum, mut lx_sum] = [[0.0; WIDTH]; 3];
    for ((x, w), levels) in x.iter().zip(weights).zip(levels) {
        let level = lanes(|k| nearest(inverse[k] * (x[k] - min[k]), 0.0, top));
        let weighted = lanes(|k| w[k] * level[k]);
        l_sum = lanes(|k| l_sum[k] + weighted[k]);
        ll_sum = lanes(|k| ll_sum[k] + weighted[k] * level[k]);
        lx_sum = lanes(|k| lx_sum[k] + weighted[k] * x[k]);
        *levels = level;
    }
    [l_sum, ll_sum, lx_sum]
}

/// The weighted squared error of `scale * level + min`.
#[inline(always)]
fn affine_error<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    levels: &[Lanes; N],
    scale: Lanes,
    min: Lanes,
) -> Lanes {
    let mut error = [0.0; WIDTH];
    for ((x, w), levels) in x.iter().zip(weights).zip(levels) {
        let difference = lanes(|k| scale[k] * levels[k] + min[k] - x[k]);
        error = lanes(|k| error[k] + w[k] * (difference[k] * difference[k]));
    }
    error
}

/// Larger values matter more to a dot product, but none is unimportant: root mean square plus magnitude.
fn magnitude_weights<const N: usize>(x: &[Lanes; N]) -> [Lanes; N] {
    let squares = reduce(x, [0.0; WIDTH], |sum, x| sum + x * x);
    let rms = lanes(|k| (squares[k] / N as f32).sqrt());
    x.map(|x| lanes(|k| rms[k] + x[k].abs()))
}

fn reduce<const N: usize>(x: &[Lanes; N], start: Lanes, join: impl Fn(f32, f32) -> f32) -> Lanes {
    x.iter().fold(start, |all, x| lanes(|k| join(all[k], x[k])))
}

/// A plain loop, because `std::array::from_fn` does not vectorise.
#[inline(always)]
fn lanes(value: impl Fn(usize) -> f32) -> Lanes {
    let mut lanes = [0.0; WIDTH];
    for (k, lane) in lanes.iter_mut().enumerate() {
        *lane = value(k);
    }
    lanes
}
