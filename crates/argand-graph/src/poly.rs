//! Costs as polynomials in the symbols: a product of dims is no longer affine.

use crate::dim::{Dim, Sym};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign, Mul};

type Powers = [u8; Sym::ALL.len()];

/// A polynomial in the symbols with non-negative integer coefficients, for counts of operations and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Poly(BTreeMap<Powers, u128>);

/// Values of the symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Tokens in the step.
    pub n: usize,
    /// Rows whose logits are wanted.
    pub r: usize,
    /// Sequences in the step.
    pub b: usize,
    /// Rows of pictures that the step brings in.
    pub p: usize,
    /// Mean number of tokens that a row sees.
    pub s: usize,
}

impl At {
    /// The value of one symbol.
    pub fn get(&self, sym: Sym) -> usize {
        match sym {
            Sym::N => self.n,
            Sym::R => self.r,
            Sym::B => self.b,
            Sym::P => self.p,
            Sym::S => self.s,
        }
    }
}

impl Poly {
    /// The value at given symbols.
    pub fn at(&self, at: &At) -> f64 {
        let value = |s: Sym| at.get(s) as f64;
        let term = |(powers, k): (&Powers, &u128)| {
            Sym::ALL.iter().zip(powers).fold(*k as f64, |acc, (s, p)| acc * value(*s).powi(i32::from(*p)))
        };
        self.0.iter().map(term).sum()
    }

    /// The value when it holds no symbol.
    pub fn constant(&self) -> u128 {
        self.0.get(&Powers::default()).copied().unwrap_or(0)
    }
}

impl From<Dim> for Poly {
    fn from(dim: Dim) -> Self {
        let (constant, factors) = dim.parts();
        let mut poly = Poly::from(constant);
        for (i, factor) in factors.into_iter().enumerate().filter(|(_, k)| *k > 0) {
            let mut powers = Powers::default();
            powers[i] = 1;
            poly.0.insert(powers, factor as u128);
        }
        poly
    }
}

impl From<usize> for Poly {
    fn from(k: usize) -> Self {
        Poly((k > 0).then_some((Powers::default(), k as u128)).into_iter().collect())
    }
}

impl From<Sym> for Poly {
    fn from(sym: Sym) -> Self {
        Poly::from(Dim::from(sym))
    }
}

impl AddAssign<&Poly> for Poly {
    fn add_assign(&mut self, other: &Poly) {
        for (powers, k) in &other.0 {
            *self.0.entry(*powers).or_default() += k;
        }
    }
}

impl Add for Poly {
    type Output = Poly;
    fn add(mut self, other: Poly) -> Poly {
        self += &other;
        self
    }
}

impl Mul for &Poly {
    type Output = Poly;
    fn mul(self, other: &Poly) -> Poly {
        let mut out = Poly::default();
        for (p, a) in &self.0 {
            for (q, b) in &other.0 {
                let powers = std::array::from_fn(|i| p[i] + q[i]);
                *out.0.entry(powers).or_default() += a * b;
            }
        }
        out
    }
}

impl Mul<usize> for Poly {
    type Output = Poly;
    fn mul(self, k: usize) -> Poly {
        &self * &Poly::from(k)
    }
}

impl fmt::Display for Poly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (i, (powers, k)) in self.0.iter().rev().enumerate() {
            let symbols: String = Sym::ALL
                .iter()
                .zip(powers)
                .filter(|(_, p)| **p > 0)
                .map(|(s, p)| if *p == 1 { format!("·{s}") } else { format!("·{s}^{p}") })
                .collect();
            write!(f, "{}{k}{symbols}", if i == 0 { "" } else { " + " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_values() {
        let n = Poly::from(Sym::N);
        let s = Poly::from(Sym::S);
        let p = &n * &s * 4 + n.clone() * 3 + Poly::from(2);
        assert_eq!(p.at(&At { n: 5, r: 1, b: 1, p: 0, s: 7 }), 4.0 * 35.0 + 15.0 + 2.0);
        assert_eq!(p.to_string(), "4·N·S + 3·N + 2");
        assert_eq!(p.constant(), 2);
    }
}
