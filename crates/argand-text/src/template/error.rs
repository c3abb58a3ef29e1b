//! What can go wrong with a template.

use super::BUILTIN;
use super::functions::Raised;

/// A template that does not compile or render. The name is `default` or `tool_use`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The model brings no template.
    #[error("the model has no chat template; pass one, or choose a built-in one: {}", names())]
    None,
    /// No built-in template has this name.
    #[error("there is no built-in chat template {name:?}; there are: {}", names())]
    UnknownBuiltin {
        /// The name asked for.
        name: String,
    },
    /// The template is no Jinja program.
    #[error("chat template `{name}`, line {line}: {message}")]
    Syntax {
        /// Which template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template refuses the conversation (`raise_exception`).
    #[error("chat template `{name}`, line {line}, refuses the conversation: {message}")]
    Raised {
        /// Which template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// The template's own words.
        message: String,
    },
    /// The template ran out of instructions.
    #[error("chat template `{name}`, line {line}: it ran {limit} instructions without an end")]
    Endless {
        /// Which template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// Instructions allowed.
        limit: u64,
    },
    /// An operation of the template failed.
    #[error("chat template `{name}`, line {line}: {message}")]
    Failed {
        /// Which template.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

fn names() -> String {
    BUILTIN.map(|(name, _)| name).join(", ")
}

impl TemplateError {
    /// Reads an error of the template engine, which may be wrapped in others.
    pub(super) fn from_library(name: &str, error: &minijinja::Error) -> Self {
        let name = name.to_owned();
        let (mut line, mut message, mut kind) = (0, String::new(), error.kind());
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = source {
            if let Some(Raised(message)) = error.downcast_ref() {
                return Self::Raised { name, line, message: message.clone() };
            }
            if let Some(error) = error.downcast_ref::<minijinja::Error>() {
                line = error.line().unwrap_or(line);
                kind = error.kind();
                message = error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
            }
            source = error.source();
        }
        match kind {
            minijinja::ErrorKind::SyntaxError => Self::Syntax { name, line, message },
            minijinja::ErrorKind::OutOfFuel => Self::Endless { name, line, limit: super::FUEL },
            _ => Self::Failed { name, line, message },
        }
    }
}
