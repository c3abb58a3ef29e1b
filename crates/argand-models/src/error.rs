//! What can be wrong with a configuration.

/// Why a checkpoint is not a model that can be run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{file}: architecture `{found}` is not known; known are {known}")]
    UnknownArchitecture { file: String, found: String, known: String },
    #[error("{file}: there is neither GGUF metadata nor a config.json that names an architecture")]
    NoArchitecture { file: String },
    #[error("{file}: field `{field}` is missing, and the model cannot be built without it")]
    Missing { file: String, field: String },
    #[error("{file}: field `{field}` is {found}, expected {expected}")]
    Odd { file: String, field: String, found: String, expected: &'static str },
    #[error("{file}: {what}")]
    Unsupported { file: String, what: String },
    #[error("{file}: the model has no weight called `{name}`")]
    NoSuchName { file: String, name: String },
    #[error(transparent)]
    Weights(#[from] argand_weights::Error),
    #[error(transparent)]
    Graph(#[from] argand_graph::GraphError),
}
