//! Small models for tests of the executor: graphs, coded random weights, an `f64` interpreter, a driver of ragged steps.

// Each test uses some of it.
#![allow(dead_code)]

pub mod driver;
pub mod models;
pub mod reference;
pub mod weights;

/// A small multiplicative generator: tests need spread, not quality.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// Uniform in -1..1.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.next()) / f64::from(1 << 30) - 1.0
    }

    /// Token ids below `vocab`.
    pub fn tokens(&mut self, n: usize, vocab: usize) -> Vec<u32> {
        (0..n).map(|_| self.next() % vocab as u32).collect()
    }
}
