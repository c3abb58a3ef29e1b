//! CPU executor: fusion, memory plan, and the thread gang that walks kernels.
//!
//! It knows nothing of model names or files.

mod cache;
pub mod ceilings;
mod exec;
pub mod fuse;
pub mod gang;
pub mod layout;
pub mod lower;
mod plan;
pub mod program;
pub mod region;
mod ropes;
mod route;
mod run;
mod weights;
pub mod window;

pub use argand_kernels::{kv, tier};
pub use exec::{Batch, Error, Executor, Memory, Options, Seq};
pub use run::Observer;
pub use weights::{Stored, WeightError, WeightSource};

/// Threads that this process may run at once: its share of the cores, by affinity and by cgroup quota.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
