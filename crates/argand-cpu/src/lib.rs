//! CPU executor: fusion, memory plan, thread gang and SIMD kernels.
//!
//! It knows nothing of model names or files.

pub mod kernels;
pub mod kv;
pub mod simd;
pub mod simd_int;
pub mod tier;
