//! Dimensions that are affine in a few symbols, and the types of values made of them.

use std::fmt;
use std::ops::{Add, Mul};

/// A size that is known only when a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sym {
    /// All tokens of all sequences in this step.
    N,
    /// Rows whose logits were asked for.
    R,
    /// Sequences in this step.
    B,
    /// Rows of pictures that this step brings in.
    P,
    /// Tokens that a row can see in the cache; appears in costs, never in shapes.
    S,
}

impl Sym {
    /// Every symbol, in the order of their coefficients.
    pub const ALL: [Sym; 5] = [Sym::N, Sym::R, Sym::B, Sym::P, Sym::S];
}

impl fmt::Display for Sym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An affine dimension: a constant plus a multiple of each symbol. Two dims are equal when they are equal for all values
/// of the symbols, because this is the normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dim {
    constant: usize,
    factors: [usize; Sym::ALL.len()],
}

impl Dim {
    /// The constant part and the factor of each symbol in the order of [`Sym::ALL`].
    pub fn parts(self) -> (usize, [usize; Sym::ALL.len()]) {
        (self.constant, self.factors)
    }

    /// The value when it holds no symbol.
    pub fn known(self) -> Option<usize> {
        (self.factors == [0; Sym::ALL.len()]).then_some(self.constant)
    }

    /// How many of them there are for each `sym`, when that is all that it says.
    pub fn of_each(self, sym: Sym) -> Option<usize> {
        let factor = self.factors[sym as usize];
        (factor > 0 && self == Dim::from(sym) * factor).then_some(factor)
    }

    /// The value for given symbols.
    pub fn eval(self, at: &impl Fn(Sym) -> usize) -> usize {
        self.constant + Sym::ALL.iter().zip(self.factors).map(|(s, k)| k * at(*s)).sum::<usize>()
    }
}

impl From<usize> for Dim {
    fn from(constant: usize) -> Self {
        Dim { constant, factors: [0; Sym::ALL.len()] }
    }
}

impl From<Sym> for Dim {
    fn from(sym: Sym) -> Self {
        let mut dim = Dim::from(0);
        dim.factors[sym as usize] = 1;
        dim
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(mut self, other: Dim) -> Dim {
        self.constant += other.constant;
        for (a, b) in self.factors.iter_mut().zip(other.factors) {
            *a += b;
        }
        self
    }
}

impl Mul<usize> for Dim {
    type Output = Dim;
    fn mul(mut self, k: usize) -> Dim {
        self.constant *= k;
        for a in &mut self.factors {
            *a *= k;
        }
        self
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (sym, factor) in Sym::ALL.iter().zip(self.factors).filter(|(_, k)| *k > 0) {
            let plus = if first { "" } else { "+" };
            match factor {
                1 => write!(f, "{plus}{sym}")?,
                k => write!(f, "{plus}{k}{sym}")?,
            }
            first = false;
        }
        match (first, self.constant) {
            (true, k) => write!(f, "{k}"),
            (false, 0) => Ok(()),
            (false, k) => write!(f, "+{k}"),
        }
    }
}

/// The dimensions of a value, outermost first.
pub type Shape = Vec<Dim>;

/// What a value is: an f32 tensor of a shape, or a version of a layer's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Dense rows of f32.
    Tensor(Shape),
    /// Indexes: token ids, positions, row numbers.
    Index(Dim),
    /// A version of a layer's state.
    State,
}

impl Type {
    /// The shape of a tensor, else an empty one.
    pub fn shape(&self) -> &[Dim] {
        match self {
            Type::Tensor(shape) => shape,
            Type::Index(_) | Type::State => &[],
        }
    }

    /// The rows of a tensor: its first dimension.
    pub fn rows(&self) -> Option<Dim> {
        self.shape().first().copied()
    }

    /// Values in one row of a tensor: the product of all dimensions but the first.
    pub fn row_len(&self) -> Option<usize> {
        self.shape().get(1..)?.iter().map(|d| d.known()).product()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(shape) => {
                let dims: Vec<_> = shape.iter().map(Dim::to_string).collect();
                write!(f, "[{}]", dims.join(", "))
            }
            Type::Index(dim) => write!(f, "index[{dim}]"),
            Type::State => f.write_str("state"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_are_equal_in_normal_form() {
        let n = Dim::from(Sym::N);
        assert_eq!(n + n + Dim::from(3), n * 2 + Dim::from(3));
        assert_ne!(n, Dim::from(Sym::R));
        assert_eq!((n * 2 + Dim::from(3)).to_string(), "2N+3");
        assert_eq!((n * 2 + Dim::from(3)).eval(&|_| 5), 13);
        assert_eq!(Dim::from(7).known(), Some(7));
        assert_eq!(n.known(), None);
        assert_eq!((n * 3).of_each(Sym::N), Some(3));
        assert_eq!((n + Dim::from(3)).of_each(Sym::N), None);
        assert_eq!(Dim::from(0).of_each(Sym::N), None);
    }
}
