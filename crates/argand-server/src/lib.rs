//! An OpenAI-compatible server over the engine.
//!
//! A request travels: `api` reads it and checks who asks, `prompt` writes the conversation as the model wants it, `worker`
//! holds the engine on a thread of its own and packs all requests into one ragged step, `answer` turns tokens into pieces
//! of the protocol and accounts for them, whatever becomes of the client. Async code is at the edge only: nothing that
//! computes is async, and no handler computes. This crate knows nothing of kernels, devices or files of weights.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod account;
mod answer;
mod api;
mod app;
mod config;
mod errand;
mod error;
mod fields;
mod listen;
mod load;
mod loaded;
mod log;
mod metrics;
mod models;
mod pages;
mod prompt;
mod queue;
mod reader;
mod record;
mod scoring;
mod shape;
mod speech;
mod tools;
mod turns;
mod worker;

pub use app::App;
pub use config::{Config, ConfigError, ModelConfig};
pub use listen::{ServeError, Server};
pub use log::Log;
