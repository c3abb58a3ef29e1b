//! A loaded model: paged state, batching and sampling.
