//! The bus, with functions whose chips do nothing but what a test tells them to.

mod config;
mod fallback;
mod messages;
mod reset;
mod rig;
