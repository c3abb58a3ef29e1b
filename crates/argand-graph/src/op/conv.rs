//! Pictures: convolutions and the pooling of windows. A picture's rows are its pixels, line by line, channels last.

use super::{Cost, Op, Row, arity, elems, free, last};
use crate::dim::{Dim, Sym, Type};

/// How a window walks over a picture. All pairs are height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Of the picture that comes in.
    pub size: [usize; 2],
    /// Of the window.
    pub kernel: [usize; 2],
    /// From one place of the window to the next.
    pub stride: [usize; 2],
    /// From one pixel under the window to the next.
    pub dilation: [usize; 2],
    /// Of the pixels that come in, with nothing between them: more than 1 makes pictures larger (Zeiler et al. 2010).
    pub spread: [usize; 2],
    /// Nothing around the picture: at the top and at the left.
    pub before: [usize; 2],
    /// At the bottom and at the right.
    pub after: [usize; 2],
}

impl Window {
    /// The size of the picture that goes out; `None` when the window is larger than what it walks over.
    pub fn out(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (axis, out) in out.iter_mut().enumerate() {
            let steps = [self.stride, self.dilation, self.spread, self.kernel, self.size];
            if steps.iter().any(|s| !(1..=1 << 20).contains(&s[axis])) {
                return None;
            }
            let room = (self.size[axis] - 1) * self.spread[axis] + 1 + self.before[axis] + self.after[axis];
            let reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            *out = room.checked_sub(reach)? / self.stride[axis] + 1;
        }
        Some(out)
    }

    /// Pixels under the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Along an axis, the pixel of the picture that lies under place `tap` of the window for the outgoing pixel `at`.
    pub fn under(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let place = (at * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.before[axis])?;
        let (pixel, beside) = match self.spread[axis] {
            // By far the usual case, and a division takes longer than all the rest.
            1 => (place, 0),
            spread => (place / spread, place % spread),
        };
        (beside == 0 && pixel < self.size[axis]).then_some(pixel)
    }

    fn pixels(&self) -> Dim {
        Dim::from(Sym::B) * (self.size[0] * self.size[1])
    }

    /// The type of what goes out, with that many channels.
    fn typed(&self, x: &Type, channels: Dim) -> Result<Type, String> {
        if x.rows() != Some(self.pixels()) || x.shape().len() != 2 {
            let [h, w] = self.size;
            return Err(format!("{x} are no pictures of {h} x {w} pixels"));
        }
        let [h, w] = self.out().ok_or_else(|| format!("a window of {:?} over {:?} pixels", self.kernel, self.size))?;
        Ok(Type::Tensor(vec![Dim::from(Sym::B) * (h * w), channels]))
    }

    fn print(&self) -> String {
        let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}x{b}") };
        let mut all = format!("{} over {}x{}", pair(self.kernel), self.size[0], self.size[1]);
        for (name, value) in [("stride", self.stride), ("dilation", self.dilation), ("spread", self.spread)] {
            if value != [1, 1] {
                all += &format!(", {name} {}", pair(value));
            }
        }
        all
    }
}

/// What is made of the pixels under a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowPool {
    /// The largest value of each channel.
    Max,
    /// The mean of each channel over the pixels that are there.
    Mean,
}

pub(super) const CONV: Row = Row {
    name: "conv",
    shape: |op, ins| {
        arity(ins, 2, 3)?;
        let Op::Conv { window, groups } = op else {
            return Err("not a convolution".into());
        };
        let channels = last(&ins[0])?.known().unwrap_or(0);
        let (out, cols) = match ins[1].shape() {
            [o, k] => (o.known().unwrap_or(0), k.known()),
            _ => return Err(format!("a kernel was expected, found {}", ins[1])),
        };
        if *groups == 0 || channels % groups != 0 || out % groups != 0 {
            return Err(format!("{channels} and {out} channels in {groups} groups"));
        }
        if cols != Some(window.taps() * (channels / groups)) {
            return Err(format!("a kernel {} over {} pixels of {channels} channels", ins[1], window.taps()));
        }
        if ins.get(2).is_some_and(|b| b.shape() != [Dim::from(out)]) {
            return Err(format!("a bias {} for {out} channels", ins[2]));
        }
        window.typed(&ins[0], Dim::from(out))
    },
    cost: |op, ins, out| match op {
        Op::Conv { window, .. } => {
            let per_value = ins[1].row_len().unwrap_or(0) * 2;
            let moved = elems(&ins[0]) + elems(out);
            // Of spread pixels only one in so many lies under the window.
            let flops = elems(out) * per_value.div_ceil(window.spread[0] * window.spread[1]);
            Cost { flops, activation_bytes: moved * 4, ..Cost::default() }
        }
        _ => free(op, ins, out),
    },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Conv { window, groups: 1 } => window.print(),
        Op::Conv { window, groups } => format!("{}, {groups} groups", window.print()),
        _ => String::new(),
    },
};

pub(super) const WINDOW: Row = Row {
    name: "window",
    shape: |op, ins| {
        arity(ins, 1, 1)?;
        match op {
            Op::Window { window, .. } if window.spread == [1, 1] => window.typed(&ins[0], last(&ins[0])?),
            _ => Err("pixels under a window lie side by side".into()),
        }
    },
    cost: |op, ins, out| match op {
        Op::Window { window, .. } => {
            let moved = elems(&ins[0]) + elems(out);
            Cost { flops: elems(out) * window.taps(), activation_bytes: moved * 4, ..Cost::default() }
        }
        _ => free(op, ins, out),
    },
    print: |op| match op {
        Op::Window { window, pool } => format!("{}, {}", format!("{pool:?}").to_lowercase(), window.print()),
        _ => String::new(),
    },
    ..CONV
};

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Window = Window {
        size: [5, 7],
        kernel: [3, 3],
        stride: [2, 1],
        dilation: [1, 2],
        spread: [1, 1],
        before: [1, 0],
        after: [1, 0],
    };

    #[test]
    fn windows_walk_as_far_as_there_is_room() {
        assert_eq!(PLAIN.out(), Some([3, 3]));
        assert_eq!([0, 1, 2].map(|tap| PLAIN.under(0, 0, tap)), [None, Some(0), Some(1)]);
        assert_eq!([0, 1, 2].map(|tap| PLAIN.under(1, 2, tap)), [Some(2), Some(4), Some(6)]);
        assert_eq!(PLAIN.under(0, 2, 2), None);
        assert_eq!(Window { dilation: [1, 4], ..PLAIN }.out(), None);
        assert_eq!(Window { stride: [0, 1], ..PLAIN }.out(), None);
    }

    #[test]
    fn spread_pixels_have_nothing_between_them() {
        let wide = Window { size: [1, 3], kernel: [1, 2], stride: [1, 1], spread: [1, 2], ..PLAIN };
        let wide = Window { dilation: [1, 1], before: [0, 1], after: [0, 1], ..wide };
        assert_eq!(wide.out(), Some([1, 6]));
        assert_eq!([0, 1].map(|tap| wide.under(1, 1, tap)), [Some(0), None]);
        assert_eq!([0, 1].map(|tap| wide.under(1, 2, tap)), [None, Some(1)]);
    }
}
