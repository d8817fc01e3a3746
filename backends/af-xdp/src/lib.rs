//! A network interface of the Linux kernel as a NIC: XDP sockets, their four
//! rings, and the XDP program that feeds them.

pub mod bpf;
pub mod events;
pub mod netlink;
pub mod settings;
