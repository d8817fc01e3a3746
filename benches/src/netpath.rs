//! The packet path: a frame in the NIC's ring, its bytes in the caller's hand,
//! and the answer's bytes in the NIC's ring again.
//!
//! # What each side does
//!
//! The traffic is one list of prepared frames. A *pass* lets some of them arrive
//! (one, or a batch of 32), runs the stack once, and then does what the service
//! says for each of them:
//!
//! - *receive*: the payload is copied to a buffer of the caller
//!   (`UdpSocket::try_recv_from`; `recv_slice` in smoltcp).
//! - *echo*: the payload is received as above and sent back to the sender
//!   (`try_send_to`; `send_slice`), and the stack runs again, so that the answer
//!   lies in the transmit ring. The contender *softnet, same frame* sends the
//!   received frame back without a copy, which only it can.
//! - *ping*: the stack itself answers an ICMP echo request.
//!
//! To run the stack is `Stack::run_once`, in which the interrupt that the frames
//! have raised becomes a softirq, a NAPI poll and so on, and `Interface::poll`.
//! The contender *smoltcp, ingress* receives by `poll_ingress_single` alone, which
//! leaves out all that smoltcp would do for sending and for its timers.
//!
//! Both verify and compute all checksums in software, both have their neighbour
//! cache filled, both have sockets that are bound to an address and a port and
//! hold 32 datagrams, and neither reads a clock: time stands still. smoltcp is
//! built with the features that these rows need and no others, from the same
//! profile.
//!
//! # What is not counted
//!
//! Somebody has to play the wire: to write the frame into the ring, and to take
//! answers out of it. That work is measured alone, as the contenders *wire of ..*,
//! and subtracted from instructions and times. What the arrival sets off in the
//! stack, the interrupt handler, is the stack's.
//!
//! The rows of the group `e1000` subtract nothing: driver, model of the chip and
//! stack together.
//!
//! # Order
//!
//! With many sockets the datagrams go to all of them in an order that jumps, so
//! that any part of it meets sockets from the whole range, or all to the last.

mod apps;
mod contender;
mod emulated;
mod loopback;
pub mod measure;
mod scenario;
mod smoltcp;
pub(crate) mod traffic;

pub use contender::{Contender, Host, run};
pub use scenario::{SCENARIOS, Scenario, Service, Spread};

/// Frames of a batch, and datagrams that a socket holds.
pub const BATCH: usize = 32;

#[cfg(test)]
mod tests;
