//! simd.
