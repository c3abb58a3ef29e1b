//! Number formats of weights: scalar encode and decode, the oracle for every kernel.
//!
//! A [`Codec`] maps rows of `f32` values to bytes and back. Values are grouped in blocks of a fixed number of values and
//! bytes, laid out as in GGUF files (little-endian). Decoding does the same `f32` operations in the same order as ggml's
//! `dequantize_row_*`, so results agree bit for bit.
//!
//! This crate knows nothing of files, tensors, graphs or instruction sets, never allocates and never panics on bad input.
#![forbid(unsafe_code)]

mod blocks;
mod codec;
mod error;
mod fit;
mod float;
pub mod iq4;
pub mod kquant;
mod kquant_encode;
mod legacy;
pub mod mxfp4;
mod table;

pub use codec::Codec;
pub use error::CodecError;
