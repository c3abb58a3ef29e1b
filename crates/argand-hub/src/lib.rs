//! The local store of models and where they come from.
