//! The `argand` command.

fn main() {}
