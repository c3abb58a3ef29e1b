//! Functions that templates call.

use minijinja::{Error, ErrorKind};

/// A template's own refusal, kept apart from errors of the engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// `raise_exception(message)`: the conversation is not one that the template can write.
pub(super) fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
}
