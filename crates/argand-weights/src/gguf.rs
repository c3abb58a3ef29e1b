//! GGUF, the file format of ggml (specification: ggml `docs/gguf.md`), versions 2 and 3, little-endian.
//!
//! A file is a header, typed metadata, tensor descriptions, and aligned tensor data. The reader trusts no number of the
//! file: each is compared with the bytes that are left before anything is allocated or skipped.

mod cursor;
mod read;
mod split;
mod write;

pub(crate) use read::read;
pub(crate) use split::{Part, strip_split_keys};
pub use write::{TensorSpec, Writer};

/// First bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Version that [`Writer`] writes.
pub const VERSION: u32 = 3;

/// Multiple at which tensor data begins when `general.alignment` does not say otherwise, in bytes.
pub const DEFAULT_ALIGNMENT: usize = 32;

/// Largest alignment that is accepted, in bytes: far above any in use, low enough that padding cannot fill a disk.
pub const MAX_ALIGNMENT: usize = 1 << 20;

/// Longest header that is read, in bytes: it bounds the memory that a hostile file can ask for. Vocabularies of a
/// quarter million words need a twentieth of it.
pub const MAX_HEADER: usize = 256 << 20;

/// Most dimensions that a tensor of ggml has.
pub const MAX_DIMS: usize = 4;

/// Arrays in arrays are followed this deep.
pub const MAX_ARRAY_DEPTH: usize = 8;

/// Metadata key that sets the alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// Checks the value of [`ALIGNMENT_KEY`]: a power of two, at most [`MAX_ALIGNMENT`]. `Err` is what was found.
fn alignment(metadata: &crate::Metadata) -> Result<usize, String> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    value
        .as_u64()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| bytes.is_power_of_two() && *bytes <= MAX_ALIGNMENT)
        .ok_or_else(|| format!("{value:?}").chars().take(80).collect())
}

/// What [`alignment`] asks for, in words.
const ALIGNMENT_RULE: &str = "a power of two of at most 1048576";
