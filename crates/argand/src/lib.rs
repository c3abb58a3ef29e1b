//! Run, train, share and put to work open models on machines that you own.
//!
//! Open a model and stream an answer:
//!
//! ```no_run
//! use std::io::Write as _;
//!
//! let mut model = argand::Model::open("smollm2-135m-instruct")?;
//! for piece in model.chat("Why is the sky blue?")? {
//!     print!("{}", piece?);
//!     std::io::stdout().flush()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Model::open`] takes a name of the catalogue, a path, or `owner/name` of the Hugging Face hub, and fetches what is not
//! on this machine yet. [`Model::chat`] goes on with the conversation; [`Model::complete`] continues plain text. An [`Encoder`]
//! reads texts and gives vectors, missing words, labels or relevance; an [`ImageClassifier`] labels
//! pictures, a [`Matcher`] compares them with texts, a [`TextReader`] reads lines of text from them; [`Model::show`] shows one to a
//! model that sees. This crate joins the crates below it and computes nothing itself; it never prints.

#![forbid(unsafe_code)]

mod answer;
pub mod configs;
mod encoder;
mod error;
mod eyes;
mod image;
pub mod machine;
mod matcher;
mod model;
mod ocr;
mod opening;

pub use answer::{Answer, Timing};
pub use argand_engine::{Finish, LoadOptions, Loading, LookupOptions, Sampling, Task, Usage};
pub use argand_grammar::Grammar;
pub use argand_graph::Pool;
pub use argand_hub::{Progress, Silent};
pub use argand_image::{Picture, Pixels, Place, open as open_picture};
pub use argand_text::{ChatTemplate, Message, TemplateError};
pub use encoder::{Choice, Encoder, cosine, ranked};
pub use error::Error;
pub use image::{ImageClassifier, Sense, processor};
pub use matcher::Matcher;
pub use model::{Generation, Model, OpenOptions};
pub use ocr::{Line, TextReader};
