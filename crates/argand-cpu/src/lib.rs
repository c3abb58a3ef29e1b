//! CPU executor: fusion, memory plan, thread gang and SIMD kernels.
//!
//! It knows nothing of model names or files.

mod cache;
mod exec;
pub mod fuse;
pub mod gang;
pub mod kernels;
pub mod kv;
pub mod layout;
pub mod lower;
pub mod program;
pub mod region;
mod ropes;
mod run;
pub mod simd;
pub mod simd_int;
pub mod tier;
mod weights;

pub use exec::{Batch, Error, Executor, Options, Seq};
pub use run::Observer;
pub use weights::{Stored, WeightError, WeightSource};
