//! Pictures under construction: pixels with their height and width, so that a page can speak of convolutions alone.

use crate::builder::{Builder, T};
use crate::dim::{Dim, Sym};
use crate::op::{Op, Pool, Window, WindowPool};

/// Pictures of one size: `[B x height x width, channels]`.
#[derive(Clone, Copy)]
pub struct Picture<'g> {
    /// The pixels, line by line.
    pub pixels: T<'g>,
    /// Height and width.
    pub size: [usize; 2],
}

/// Nothing around a picture, so that windows reach over its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// That much on either side of an axis.
    Even([usize; 2]),
    /// As much as gives `ceil(size / stride)` pixels, the odd one at the end (TensorFlow's "same").
    Same,
}

/// How a kernel walks; all pairs are height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl Walk {
    /// A square kernel that goes pixel by pixel and never over the edge.
    pub const fn square(kernel: usize) -> Walk {
        Walk::of([kernel; 2])
    }

    /// As [`Walk::square`], for any kernel.
    pub const fn of(kernel: [usize; 2]) -> Walk {
        Walk { kernel, stride: [1; 2], dilation: [1; 2], padding: Padding::Even([0; 2]) }
    }

    /// Goes so many pixels at a time.
    pub const fn stride(self, stride: usize) -> Walk {
        self.strides([stride; 2])
    }

    /// Goes so many pixels at a time.
    pub const fn strides(self, stride: [usize; 2]) -> Walk {
        Walk { stride, ..self }
    }

    /// Pixels under the kernel lie so far apart.
    pub const fn dilation(self, dilation: usize) -> Walk {
        Walk { dilation: [dilation; 2], ..self }
    }

    /// So many pixels of nothing on each side.
    pub const fn pad(self, pad: usize) -> Walk {
        self.pads([pad; 2])
    }

    /// So many pixels of nothing above and below, and left and right.
    pub const fn pads(self, pad: [usize; 2]) -> Walk {
        Walk { padding: Padding::Even(pad), ..self }
    }

    /// `ceil(size / stride)` pixels go out, whatever the kernel; the odd pixel of nothing is at the end.
    pub const fn same(self) -> Walk {
        Walk { padding: Padding::Same, ..self }
    }

    /// The window over pictures of a size.
    fn over(&self, size: [usize; 2]) -> Window {
        let Walk { kernel, stride, dilation, .. } = *self;
        let (mut before, mut after) = ([0; 2], [0; 2]);
        for axis in 0..2 {
            [before[axis], after[axis]] = match self.padding {
                Padding::Even(pad) => [pad[axis]; 2],
                Padding::Same => {
                    let reach = kernel[axis].saturating_sub(1) * dilation[axis] + 1;
                    let steps = size[axis].div_ceil(stride[axis].max(1)).saturating_sub(1) * stride[axis];
                    let all = (steps + reach).saturating_sub(size[axis]);
                    [all / 2, all - all / 2]
                }
            };
        }
        Window { size, kernel, stride, dilation, spread: [1; 2], before, after }
    }

    /// The window that undoes this one's walk: what comes in is spread by the stride.
    fn back(&self, size: [usize; 2]) -> Window {
        let Walk { mut kernel, stride, dilation, .. } = *self;
        let mut around = [0; 2];
        for (axis, around) in around.iter_mut().enumerate() {
            let reach = kernel[axis].saturating_sub(1) * dilation[axis];
            match reach.checked_sub(self.over(size).before[axis]) {
                Some(pad) => *around = pad,
                // A window that no picture has room for.
                None => kernel[axis] = 0,
            }
        }
        Window { size, kernel, stride: [1; 2], dilation, spread: stride, before: around, after: around }
    }
}

impl Builder {
    /// Pictures that the step brings in as `pixels`: `[B x height x width, channels]`.
    #[track_caller]
    pub fn pictures(&self, size: [usize; 2], channels: usize) -> Picture<'_> {
        Picture { pixels: self.given("pixels", Dim::from(Sym::B) * (size[0] * size[1]), channels), size }
    }
}

impl<'g> Picture<'g> {
    /// Convolution to `out` channels with the kernel `name` (`[out, kernel x channels]`: for each pixel under it its channels),
    /// and with `bias` the vector `name.bias`.
    #[track_caller]
    pub fn conv(self, name: &str, out: usize, walk: Walk, bias: bool) -> Self {
        self.grouped(name, out, walk, 1, bias)
    }

    /// A convolution of each channel by itself, `name` being `[channels, kernel]`.
    #[track_caller]
    pub fn depthwise(self, name: &str, walk: Walk, bias: bool) -> Self {
        let channels = self.channels();
        self.grouped(name, channels, walk, channels, bias)
    }

    /// A convolution of each of `groups` runs of channels by itself: `name` is `[out, kernel x channels / groups]`.
    #[track_caller]
    pub fn grouped(self, name: &str, out: usize, walk: Walk, groups: usize, bias: bool) -> Self {
        let window = walk.over(self.size);
        if window.taps() == 1 && groups == 1 && window.out() == Some(self.size) {
            return Picture { pixels: self.pixels.linear_bias(name, out, bias), ..self };
        }
        self.convolve(name, out, window, groups, bias)
    }

    /// The transposed convolution: pictures grow by the stride. Its kernel is that of [`Picture::conv`] over spread pixels, which
    /// is a stored one turned by half a circle.
    #[track_caller]
    pub fn transposed(self, name: &str, out: usize, walk: Walk, bias: bool) -> Self {
        self.convolve(name, out, walk.back(self.size), 1, bias)
    }

    #[track_caller]
    fn convolve(self, name: &str, out: usize, window: Window, groups: usize, bias: bool) -> Self {
        let inputs = self.channels() / groups.max(1);
        let g = self.pixels.builder();
        let w = g.weight(name, vec![out.into(), (window.taps() * inputs).into()]);
        let b = bias.then(|| g.weight(&format!("{name}.bias"), vec![out.into()]));
        let ins: Vec<T> = [self.pixels, w].into_iter().chain(b).collect();
        let pixels = g.push(Op::Conv { window, groups }, &ins).named(name);
        Picture { pixels, size: window.out().unwrap_or(self.size) }
    }

    /// The largest or the mean value of each channel under a window.
    #[track_caller]
    pub fn window(self, pool: WindowPool, walk: Walk) -> Self {
        let window = walk.over(self.size);
        let pixels = self.pixels.builder().push(Op::Window { window, pool }, &[self.pixels]);
        Picture { pixels, size: window.out().unwrap_or(self.size) }
    }

    /// The mean of all pixels: `[B, channels]`.
    #[track_caller]
    pub fn mean(self) -> T<'g> {
        self.pixels.pool(Pool::Mean)
    }

    /// Something that is done to each pixel.
    pub fn map(self, f: impl FnOnce(T<'g>) -> T<'g>) -> Self {
        Picture { pixels: f(self.pixels), ..self }
    }

    /// Names the pixels.
    pub fn named(self, name: &str) -> Self {
        self.map(|x| x.named(name))
    }

    /// Channels of a pixel.
    pub fn channels(self) -> usize {
        self.pixels.ty().row_len().unwrap_or(0)
    }
}

impl std::ops::Add for Picture<'_> {
    type Output = Self;
    #[track_caller]
    fn add(self, other: Self) -> Self {
        Picture { pixels: self.pixels + other.pixels, ..self }
    }
}
