//! Interfaces of the kernel as NICs, against a bare loop over the same sockets,
//! `dpdk-testpmd`, and the kernel's own sockets.
//!
//! Everything happens on one veth pair whose two ends are in namespaces of their own.
//! The *near* end, on the first CPU, belongs to the contender; the *far* end, on the
//! second, to a generator in the kernel or to a client.
//!
//! - [`lab`] makes the pair, and the thread at its far end.
//! - [`flood`] is the generator.
//! - [`forward`] drops and reflects frames below the stack; [`testpmd`] has DPDK do so.
//! - [`echo`] answers datagrams as fast as it can.
//! - [`latency`] measures round trips one at a time.

pub mod echo;
pub mod flood;
pub mod forward;
pub mod lab;
pub mod latency;
mod mmsg;
pub mod testpmd;
