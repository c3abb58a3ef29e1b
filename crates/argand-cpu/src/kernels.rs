//! Kernels: written once over a SIMD token, instantiated per tier.

pub mod attention;
pub mod linear;
pub mod packed;
pub mod route;
pub mod rows;
