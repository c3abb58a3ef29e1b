//! A loaded model: paged state, batching and sampling.
//!
//! [`Engine`] takes requests, packs the tokens of all of them into one ragged step of a [`Runner`], chooses tokens from the
//! logits and reports events. A sequence's tokens depend on its request alone. This crate knows nothing of HTTP, of devices
//! or of what a model computes.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod constraint;
mod encoder;
mod engine;
pub mod labels;
pub mod listen;
mod load;
pub mod lookup;
pub mod mock;
pub mod network;
pub mod pages;
mod pair;
mod picture;
mod request;
pub mod runner;
pub mod sampler;
mod schedule;
mod sequence;
mod session;
mod source;
pub mod spell;
pub mod stop;
mod task;
pub mod twin;
pub mod vision;

pub use constraint::{Constraint, ConstraintError, TokenSet};
pub use encoder::{Encoder, both_ways};
pub use engine::{Engine, EngineOptions, EngineUse};
pub use listen::SpeechDetector;
pub use load::{CpuRunner, Does, LoadError, LoadOptions, Loading, Model};
pub use lookup::LookupOptions;
pub use network::{Input, Network, Seeing, sees};
pub use pair::{Comparison, Pair};
pub use picture::{MarksSpent, PictureRows};
pub use request::{AddError, Event, Request, SeqId, SessionId, TextStream, Usage};
pub use runner::{Limits, Memory, RunError, Runner, SeqRows, Source, StepBatch};
pub use sampler::{Logprobs, Sampling};
pub use spell::Speller;
pub use stop::{Finish, StopRules};
pub use task::{Made, Task};
pub use vision::{Seen, Vision};
