//! What can be wrong with a request to pack a weight.

use argand_codec::{Codec, CodecError};

/// A weight that cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PackError {
    /// The row length does not suit the codec.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A row has not the bytes that its codec and length ask for.
    #[error("row {row} of a {codec} weight has {found} bytes, expected {expected}; the source is cut or mislabelled")]
    RowBytes {
        /// Codec of the weight.
        codec: Codec,
        /// Row asked for.
        row: usize,
        /// Bytes found.
        found: usize,
        /// Bytes of a row of this codec.
        expected: usize,
    },
    /// The packed size does not fit in memory addresses.
    #[error("a packed weight of {rows} x {cols} is larger than this machine can address")]
    TooLarge {
        /// Rows of the weight.
        rows: usize,
        /// Columns of the weight.
        cols: usize,
    },
    /// The system gave no memory.
    #[error("no memory for a packed weight of {bytes} bytes; use a smaller model or a codec with fewer bits")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}
