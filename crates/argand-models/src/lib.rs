//! One page per model architecture.
