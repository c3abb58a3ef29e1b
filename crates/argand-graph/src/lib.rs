//! A model as a graph, and the graph as data.
//!
//! A model page builds a [`Graph`] with a [`Builder`]; the graph is then read: executors run it, [`count()`] says what it
//! costs before any weight is read, [`draw`] says what it is. An op is a row of the table in [`op`]; a reading looks only
//! at its own column.
//!
//! Invariants: a graph is plain data (no trait objects, no device, no number format of a stored weight); nodes are in
//! execution order and refer only to earlier nodes; state changes are values, so order is data flow. This crate knows
//! nothing of files, devices or threads.

#![forbid(unsafe_code)]

pub mod arena;
mod builder;
pub mod check;
mod count;
mod dim;
pub mod draw;
mod graph;
pub mod op;
pub mod pass;
mod picture;
mod poly;

pub use builder::{Builder, T};
pub use count::{Count, CountRow, count};
pub use dim::{Dim, Shape, Sym, Type};
pub use graph::{Body, Graph, GraphError, Node, Value, WeightRef, layer_prefix};
pub use op::{
    AttentionSpec, BatchInput, Binary, Buckets, Cell, F, GateOrder, Groups, KvSpec, Mask, NormKind, Op, Pool, Reduce,
    Rope, RopeFreqs, RopeStyle, Routing, Scan, Score, ScoreBias, Unary, Window, WindowPool,
};
pub use picture::{Picture, Walk};
pub use poly::{At, Poly};
