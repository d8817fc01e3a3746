//! The driver against a scripted function: the manual is the only judge.

mod fake;
mod irq;
mod open;
mod probe;
mod rings;
