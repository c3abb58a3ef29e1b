//! Text in and out of a model: tokenizers and chat templates.
//!
//! A [`Tokenizer`] comes from a GGUF file's vocabulary or from a tokenizer.json and is the same pipeline either way; a
//! [`ChatTemplate`] renders a conversation as the model was trained to read it. Both are made from outside files and
//! treat them as hostile: nothing here panics, loops for ever or guesses. This crate knows nothing of models.

mod bpe;
mod convert;
mod detokenize;
mod eog;
mod error;
mod export;
mod huggingface;
mod pair;
mod pre_tokenizer;
pub mod template;
mod tokenizer;
mod vocabulary;

pub use detokenize::StreamDecoder;
pub use error::Error;
pub use export::gguf_vocabulary;
pub use pair::Sequence;
pub use template::{ChatTemplate, Message, RenderOptions, SpecialTokens, TemplateError};
pub use tokenizer::Tokenizer;
pub use vocabulary::{Algorithm, SpecialIds, TokenType, Vocabulary};
