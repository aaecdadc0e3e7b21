//! Entry point of the `eroam` binary.
fn main() {}
