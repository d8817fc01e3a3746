#![doc = include_str!("../README.md")]

mod access;
mod config;
mod device;
mod interrupts;
mod memory;
mod regions;
mod server;

pub use server::{BindError, ServeError, Stop, VfioUser};
