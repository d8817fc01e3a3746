//! The project jobs.
fn main() {}
