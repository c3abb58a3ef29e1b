//! The draw reading.
