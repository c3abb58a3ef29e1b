//! What can be wrong with a request to encode or decode.

use crate::Codec;

/// A request that a [`Codec`] cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The number of values does not divide into whole blocks.
    #[error(
        "{values} values do not divide into {codec} blocks of {} values; use a codec with a smaller block for this row",
        codec.block_len()
    )]
    PartialBlock {
        /// Codec asked for.
        codec: Codec,
        /// Number of values found.
        values: usize,
    },
    /// The size in bytes does not fit in `usize`.
    #[error("a row of {values} {codec} values has more bytes than this machine can address")]
    TooLarge {
        /// Codec asked for.
        codec: Codec,
        /// Number of values found.
        values: usize,
    },
    /// The byte slice does not belong to the value slice.
    #[error("{values} {codec} values take {expected} bytes, found {found} bytes")]
    WrongLength {
        /// Codec asked for.
        codec: Codec,
        /// Number of `f32` values on the other side.
        values: usize,
        /// Bytes that this many values take.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Argand reads this format but does not write it.
    #[error("{codec} can be decoded but not encoded; choose a codec with an encoder, such as Q4_K, Q6_K or Q8_0")]
    NoEncoder {
        /// Codec asked for.
        codec: Codec,
    },
    /// A value is NaN, infinite, or too large for the `f16` scale of a block.
    #[error("value {index} is {value}; {codec} holds finite values of magnitude up to 65504 only, use BF16 or F32")]
    OutOfRange {
        /// Codec asked for.
        codec: Codec,
        /// Position of the first such value.
        index: usize,
        /// The value found.
        value: f32,
    },
}
