//! Resizing as Pillow does it: a filter that grows with the reduction, lines and columns one after the other, each rounded to bytes, with weights in
//! fixed point. Results are equal to the bit.

use crate::Picture;

/// How a new pixel weighs the old ones around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// A cubic spline with a slope of -1/2 (Keys 1981).
    Bicubic,
    /// A sinc under a sinc of three times its width (Duchon 1979).
    Lanczos,
}

/// Bits behind the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

impl Filter {
    /// The filter of a number in Pillow.
    pub fn of(number: u64) -> Option<Filter> {
        match number {
            1 => Some(Filter::Lanczos),
            2 => Some(Filter::Bilinear),
            3 => Some(Filter::Bicubic),
            _ => None,
        }
    }

    /// How far it reaches, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
        const A: f64 = -0.5;
        match (self, x.abs()) {
            (Filter::Bilinear, x) if x < 1.0 => 1.0 - x,
            (Filter::Bicubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            (Filter::Bicubic, x) if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            (Filter::Lanczos, _) if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }

    /// For each of `to` new pixels, the first of the `from` old ones that it sees and their weights.
    fn weights(self, from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
        let scale = from as f64 / to as f64;
        // Pictures that grow are only looked at through the filter itself.
        let wide = scale.max(1.0);
        let support = self.support() * wide;
        let one = |i: usize| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights = (first..end).map(|x| self.at((x as f64 - centre + 0.5) * (1.0 / wide)));
            let weights: Vec<f64> = weights.collect();
            let total: f64 = weights.iter().sum();
            let fixed = |w: &f64| {
                let w = if total == 0.0 { *w } else { w / total } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            };
            (first, weights.iter().map(fixed).collect())
        };
        (0..to).map(one).collect()
    }
}

/// The picture at another size, without its transparency.
///
/// # Panics
/// A side of the new size is zero.
pub fn resize(picture: &Picture, size: [usize; 2], filter: Filter) -> Picture {
    assert!(size[0] > 0 && size[1] > 0, "a picture of {size:?}");
    let [height, width] = picture.size;
    // Pillow goes down the columns first where that takes away more than twice as much (since version 13).
    let lost = |old: usize, new: usize| old as i64 - new as i64;
    match size[0] < height && lost(height, size[0]) > 2 * lost(width, size[1]) {
        true => lines(&columns(picture, size[0], filter), size[1], filter),
        false => columns(&lines(picture, size[1], filter), size[0], filter),
    }
}

/// Every line at another width.
fn lines(picture: &Picture, to: usize, filter: Filter) -> Picture {
    let [height, width] = picture.size;
    if to == width {
        return Picture::new(picture.size, picture.rgb.clone());
    }
    let weights = filter.weights(width, to);
    let lines = picture.rgb.chunks_exact(3 * width);
    Picture::new([height, to], lines.flat_map(|line| weights.iter().flat_map(|w| sum(line, 3, w))).collect())
}

/// Every column at another height.
fn columns(picture: &Picture, to: usize, filter: Filter) -> Picture {
    let [height, width] = picture.size;
    if to == height {
        return Picture::new(picture.size, picture.rgb.clone());
    }
    let weights = filter.weights(height, to);
    let pixel = |w, x: usize| sum(&picture.rgb[3 * x..], 3 * width, w);
    Picture::new([to, width], weights.iter().flat_map(|w| (0..width).flat_map(move |x| pixel(w, x))).collect())
}

/// A new pixel of old ones that lie `stride` bytes apart.
fn sum(from: &[u8], stride: usize, (first, weights): &(usize, Vec<i32>)) -> [u8; 3] {
    let mut sums = [1i32 << (PRECISION - 1); 3];
    for (pixel, weight) in (*first..).zip(weights) {
        for (sum, colour) in sums.iter_mut().zip(&from[pixel * stride..]) {
            *sum += i32::from(*colour) * weight;
        }
    }
    sums.map(|sum| (sum >> PRECISION).clamp(0, 255) as u8)
}
