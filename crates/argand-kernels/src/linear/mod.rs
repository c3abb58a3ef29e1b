//! Matrix products with packed weights: `out[t][row] = sum over k of w[row][k] * x[t][k]`.
//!
//! [`linear_int`] takes activations quantised by [`quantize_rows`]; [`linear_f32`] takes them as they are and is
//! exact up to `f32` rounding, and so does [`linear_pieces`] for many rows that lie anywhere. All work on ranges of row groups, so that
//! callers can share a product among threads; they allocate nothing and start no threads. Only the last does more than to store sums.

mod acts;
mod exact;
mod int;
mod output;
mod panel;
mod stream;
#[cfg(test)]
mod tests;
mod tiled;
mod unpack;

pub use acts::{ActBlock, ActLayout, Acts, quantize_rows};
pub use exact::{decode_row, linear_f32};
pub use int::{linear_int, most_terms};
pub use tiled::{Finish, Out, Pieces, linear_pieces};
