//! What a stack is made of, and what can go wrong in its control plane.

use crate::link::HandlerTaken;
use crate::notify::Notify;
use crate::route::{IfIndex, RouteError};
use crate::rss::Rss;
use crate::udp::{RMEM_DEFAULT, RMEM_MAX};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;
use softnet_dma_ring::{FramePool, PoolConfig, PoolError};
use softnet_napi::{NetRxConfig, SoftnetFull};
use softnet_nic_hal::NicError;
use softnet_softirq::{Idle, VectorTaken};

/// The shape of a stack.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// How many CPUs, 1 to 64.
    pub cpus: usize,
    /// The frames of all CPUs and NICs.
    pub pool: PoolConfig,
    /// Frames that each CPU keeps at hand.
    pub frame_cache: usize,
    /// What all randomness comes from: ports, identifications, timeouts.
    pub seed: u64,
    /// The bounds of NET_RX.
    pub net_rx: NetRxConfig,
    /// Which CPU a flow belongs to. Where it says what the NIC does with its
    /// queues, a packet comes in on its own CPU, also the answer to a socket that
    /// chose its port; packets that come in elsewhere are steered. `None` spreads
    /// flows evenly, by the usual key.
    pub rss: Option<Rss>,
}

impl Default for StackConfig {
    /// One CPU and 4096 frames. The seed is 0: give one of your own where an
    /// attacker could use what he can predict.
    fn default() -> Self {
        Self {
            cpus: 1,
            pool: PoolConfig::default(),
            frame_cache: 256,
            seed: 0,
            net_rx: NetRxConfig::default(),
            rss: None,
        }
    }
}

/// Makes the place where a CPU, by its number, gets its interrupts and waits for
/// them: an epoll set, say. The place goes with its CPU to the CPU's thread, and
/// back.
pub type MakeIdle<'a> = &'a mut dyn FnMut(usize) -> Box<dyn Idle + Send>;

/// What an embedder brings to a stack.
#[derive(Default)]
pub struct StackParts<'a> {
    /// The frames of all CPUs and NICs, in memory that devices of the kernel reach,
    /// say. Their number and headroom are the pool's; the rest of
    /// [`StackConfig::pool`] still has to say what they are like.
    pub pool: Option<FramePool>,
    /// The CPUs' places. Without them, a CPU's thread sleeps until another one wakes
    /// it.
    pub idle: Option<MakeIdle<'a>>,
}

/// Headroom that the headers of all layers need, in bytes: Ethernet 14, IPv4 20,
/// UDP 8, rounded up to whole words with room for a VLAN tag.
const HEADROOM: u32 = 64;

impl StackConfig {
    pub(super) fn check(&self) -> Result<(), StackError> {
        if !(1..=64).contains(&self.cpus) {
            return Err(StackError::Cpus(self.cpus));
        }
        if self.pool.headroom < HEADROOM || self.pool.buffer_size > u32::from(u16::MAX) {
            return Err(StackError::Frames(self.pool));
        }
        match self.rss.as_ref().map(Rss::max_cpu) {
            Some(cpu) if usize::from(cpu) >= self.cpus => Err(StackError::Rss(cpu)),
            _ => Ok(()),
        }
    }

    /// Bytes of a frame with its metadata, as [`Frame::truesize`] counts.
    ///
    /// [`Frame::truesize`]: softnet_dma_ring::Frame::truesize
    pub(super) fn frame_size(&self) -> usize {
        self.pool.buffer_size as usize + 64
    }

    /// Frames that the sockets of one CPU may hold together: half of the CPU's
    /// share of the pool, so that the other half is left for the rings.
    pub(super) fn udp_mem(&self) -> usize {
        self.pool.frames as usize / 2 / self.cpus
    }
}

/// How a UDP socket is made.
#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// Bytes that may wait to be read, on each CPU (`SO_RCVBUF`); frames count
    /// with their whole size, as long as they are of the stack's own pool, and
    /// at least one fits. At most [`RMEM_MAX`].
    pub receive_buffer: usize,
    /// Time to live of what is sent (`IP_TTL`); 0 counts as 1.
    pub ttl: u8,
    /// Whether datagrams may be sent to everybody (`SO_BROADCAST`).
    pub broadcast: bool,
    /// Where the application waits; sockets that share one are waited for
    /// together. By default each socket has its own.
    pub notify: Option<Arc<Notify>>,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            receive_buffer: RMEM_DEFAULT,
            ttl: crate::ip::DEFAULT_TTL,
            broadcast: false,
            notify: None,
        }
    }
}

impl UdpOptions {
    pub(super) fn receive_buffer(&self) -> usize {
        self.receive_buffer.min(RMEM_MAX)
    }
}

/// Why the control plane refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// A number of CPUs that cannot be.
    #[error("a stack has 1 to 64 CPUs, not {0}")]
    Cpus(usize),
    /// Frames that the protocols cannot work with.
    #[error("frames need at least 64 bytes of headroom and at most 65535 bytes: {0:?}")]
    Frames(PoolConfig),
    /// Flows would belong to a CPU that the stack has not.
    #[error("the table of StackConfig::rss names CPU {0}, which the stack has not")]
    Rss(u16),
    /// The pool could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A softirq vector has a handler already.
    #[error(transparent)]
    Vector(#[from] VectorTaken),
    /// No room for another NAPI instance.
    #[error(transparent)]
    Napi(#[from] SoftnetFull),
    /// The NIC refused.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// The protocol has a handler already.
    #[error(transparent)]
    Taken(#[from] HandlerTaken),
    /// The route cannot be.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// There is no such device.
    #[error("there is no device {0:?}")]
    NoDevice(IfIndex),
    /// The stack has as many devices as it can have.
    #[error("the stack has no number left for another device")]
    TooManyDevices,
    /// Not a family that the stack speaks.
    #[error("{0} is not an IPv4 address")]
    Family(IpAddr),
    /// A prefix longer than the address.
    #[error("{address}/{prefix_len}: the prefix is longer than the address")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// The prefix length, in bits.
        prefix_len: u8,
    },
    /// An address that no device can have.
    #[error("{0} cannot be a device's address")]
    BadAddress(IpAddr),
    /// The device has the address already.
    #[error("the device has {0} already")]
    AddressExists(IpAddr),
    /// The device does not have the address.
    #[error("the device does not have {0}")]
    NotLocal(IpAddr),
    /// A CPU's thread has ended.
    #[error("a CPU of the stack has stopped")]
    Stopped,
    /// A thread could not be made.
    #[error("no thread for CPU {cpu}: {why}")]
    Thread {
        /// The CPU.
        cpu: usize,
        /// What the system said.
        why: alloc::string::String,
    },
    /// The CPUs run already.
    #[error("the CPUs are threads already")]
    Running,
}
