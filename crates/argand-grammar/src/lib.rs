//! What may be written: JSON schemas, expressions, grammars and tool calls as constraints of a sequence.
//!
//! [`Grammars`] knows the tokens of one model and compiles a [`Grammar`] into a [`Compiled`], which gives a
//! [`Constraint`](argand_engine::Constraint) for each sequence. Grammars come from users: their size, the time that they take
//! and the work for each token are bounded, and what cannot be enforced is an error, never ignored.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod calls;
mod error;
mod grammar;
mod lead;
mod machine;
mod oneof;
mod schema;
mod words;

pub use calls::{CallChoice, CallFormat, Calls, Tool};
pub use error::GrammarError;
pub use grammar::{Bounds, Grammar, Grammars};
pub use machine::Compiled;
