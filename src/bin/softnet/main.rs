//! The `softnet` command.
fn main() {}
