//! Checkpoints of GGUF, safetensors, PyTorch, NumPy and ONNX, memory-mapped and safe against hostile files.
//!
//! [`Checkpoint::open`] answers for every layout: one GGUF file, a split GGUF, one file of safetensors, PyTorch, NumPy or ONNX,
//! shards with an index, a Hugging Face folder. Only headers are read; data is touched when someone looks at it. What
//! PyTorch and NumPy compress, or keep in another order, is copied at opening.
//!
//! Invariants: nothing in a file is believed before it is checked against the file's size and against the rules of its
//! format; memory is bounded by the size of the header, copies by that of the file; nothing in a pickle is run; every error names file and field. This crate never interprets a
//! tensor name or a metadata key of a model, never decodes a weight, and never changes an existing file in place.
//!
//! A map shows the file as it is: whoever shrinks a file while it is open ends this process. Replace model files by
//! renaming, as [`gguf::Writer`] and [`safetensors::Writer`] do.

mod archive;
mod checkpoint;
mod error;
pub mod gguf;
pub mod metadata;
mod numpy;
mod onnx;
mod output;
pub mod pytorch;
pub mod safetensors;
mod sidecar;
mod source;
mod strided;
mod tensor;

pub use checkpoint::{Checkpoint, Format};
pub use error::Error;
pub use metadata::{Array, Metadata, StrArray, Value};
pub use output::write_whole;
pub use sidecar::MAX_BYTES as MAX_SIDECAR_BYTES;
pub use tensor::{ForeignTensor, TensorInfo, TensorView};
