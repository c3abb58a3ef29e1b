//! simd_int.
