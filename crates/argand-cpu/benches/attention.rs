//! Attention throughput.
fn main() {}
