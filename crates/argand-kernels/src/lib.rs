//! SIMD kernels, written once over a token of instructions and compiled for each tier: matrix products with packed weights,
//! attention over pages of a cache, convolutions of single channels, cells of recurrent networks, functions of rows.
//!
//! A kernel works on memory that it is given, on the calling thread. It knows nothing of graphs, models or threads.

pub mod attention;
pub mod depthwise;
pub mod kv;
pub mod linear;
pub mod packed;
pub mod rows;
pub mod scan;
pub mod simd;
pub mod simd_int;
pub mod tier;
