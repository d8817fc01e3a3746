//! The seam between a NIC driver and the stack.

use crate::bus::BusError;
use crate::ethtool::EthtoolOps;
use crate::stats::NicStats;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use softnet_dma_ring::{DmaRing, FramePool, MapError};

/// One receive and transmit queue pair of a NIC, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueId(pub u16);

/// A 48-bit Ethernet address, first byte on the wire first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set (multicast, and broadcast too).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is the broadcast address.
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether it can be one station's own address: not zero, no group bit.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a NIC can do, as far as it is known before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NicCapabilities {
    /// The driver's name, as `ethtool -i` shows it.
    pub driver: &'static str,
    /// The station address.
    pub mac: MacAddress,
    /// Largest Ethernet payload that can be configured, in bytes.
    pub max_mtu: u16,
    /// How many queue pairs can be opened.
    pub max_queues: u16,
    /// Limits of a receive ring's length, in descriptors.
    pub rx_ring: RingLimits,
    /// Limits of a transmit ring's length, in descriptors.
    pub tx_ring: RingLimits,
    /// Whether the NIC verifies transport checksums on receive.
    pub rx_checksum: bool,
    /// Whether the NIC fills in transport checksums on transmit.
    pub tx_checksum: bool,
    /// Whether the NIC hashes flows on receive and spreads them over queues.
    pub rss: bool,
    /// Whether the NIC cuts a long TCP packet into segments
    /// ([`Frame::gso_size`](softnet_dma_ring::Frame::gso_size)).
    pub tx_segmentation: bool,
    /// Whether the NIC strips and inserts VLAN tags
    /// ([`Frame::vlan_tci`](softnet_dma_ring::Frame::vlan_tci)).
    pub vlan: bool,
    /// Whether the NIC says when packets came and left
    /// ([`Frame::timestamp_ns`](softnet_dma_ring::Frame::timestamp_ns)).
    pub timestamps: bool,
    /// Whether a packet may lie in several frames
    /// ([`Frame::continues`](softnet_dma_ring::Frame::continues)).
    pub scatter: bool,
    /// Whether the NIC can keep its interrupts apart ([`NicHal::moderate`]).
    pub moderation: bool,
}

impl NicCapabilities {
    /// A NIC with one queue, an MTU of 1500 and no offloads.
    #[must_use]
    pub const fn basic(driver: &'static str, mac: MacAddress, ring: RingLimits) -> Self {
        Self {
            driver,
            mac,
            max_mtu: 1500,
            max_queues: 1,
            rx_ring: ring,
            tx_ring: ring,
            rx_checksum: false,
            tx_checksum: false,
            rss: false,
            tx_segmentation: false,
            vlan: false,
            timestamps: false,
            scatter: false,
            moderation: false,
        }
    }
}

/// Which lengths a descriptor ring can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Shortest ring, in descriptors.
    pub min: u16,
    /// Longest ring, in descriptors.
    pub max: u16,
    /// The length is a multiple of this.
    pub step: u16,
}

impl RingLimits {
    /// Whether a ring can have this length.
    ///
    /// # Errors
    /// [`NicError::RingLength`].
    pub fn check(self, asked: u16) -> Result<(), NicError> {
        if (self.min..=self.max).contains(&asked) && asked.is_multiple_of(self.step.max(1)) {
            return Ok(());
        }
        let limits = self;
        Err(NicError::RingLength { asked, limits })
    }
}

/// How a NIC is to be opened.
#[derive(Clone, Debug)]
pub struct OpenConfig {
    /// Queue pairs to open, from queue 0 on.
    pub queues: u16,
    /// Receive descriptors of each queue.
    pub rx_ring: u16,
    /// Transmit descriptors of each queue.
    pub tx_ring: u16,
    /// Ethernet payload, in bytes.
    pub mtu: u16,
    /// Where the frames come from that will be posted: its region is mapped for
    /// the device.
    pub pool: FramePool,
    /// The CPU that each queue's interrupts count as; 0 for a queue that is not
    /// listed.
    pub queue_cpus: Vec<usize>,
    /// Whether a received packet may lie in several frames, each of which but
    /// the last [goes on](softnet_dma_ring::Frame::continues). Otherwise a packet
    /// that is longer than a frame is dropped and counted.
    pub scatter: bool,
}

impl OpenConfig {
    /// One queue with rings of 256 descriptors, an MTU of 1500, one frame to a
    /// packet.
    #[must_use]
    pub const fn new(pool: FramePool) -> Self {
        Self {
            queues: 1,
            rx_ring: 256,
            tx_ring: 256,
            mtu: 1500,
            pool,
            queue_cpus: Vec::new(),
            scatter: false,
        }
    }

    /// The CPU that a queue's interrupts count as.
    #[must_use]
    pub fn cpu(&self, queue: QueueId) -> usize {
        let cpu = self.queue_cpus.get(usize::from(queue.0));
        cpu.copied().unwrap_or(0)
    }

    /// Smallest MTU that any NIC has (RFC 791, section 3.2).
    pub const MIN_MTU: u16 = 68;

    /// Refuses what a NIC of these capabilities cannot do, if the device may
    /// write `buffer` bytes to one receive frame. The first thing that every
    /// [`NicHal::open`] does.
    ///
    /// A pool with no frame at home cannot be asked for its frames' length and
    /// passes; so a driver looks at each frame that is posted too.
    ///
    /// # Errors
    /// [`NicError::Queues`], [`NicError::RingLength`], [`NicError::Mtu`] or
    /// [`NicError::FrameTooShort`].
    pub fn check(&self, capabilities: &NicCapabilities, buffer: usize) -> Result<(), NicError> {
        let (asked, max) = (self.queues, capabilities.max_queues);
        if !(1..=max).contains(&asked) {
            return Err(NicError::Queues { asked, max });
        }
        capabilities.rx_ring.check(self.rx_ring)?;
        capabilities.tx_ring.check(self.tx_ring)?;
        let (asked, max) = (self.mtu, capabilities.max_mtu);
        if !(Self::MIN_MTU..=max).contains(&asked) {
            return Err(NicError::Mtu { asked, max });
        }
        let (needed, frame) = (buffer, self.pool.alloc());
        match frame.map(|frame| frame.tailroom()) {
            Some(have) if have < needed => Err(NicError::FrameTooShort { needed, have }),
            _ => Ok(()),
        }
    }
}

/// The two rings of one queue. They leave the driver by value, so that each
/// queue has exactly one owner.
#[derive(Debug)]
pub struct QueuePair<Rx, Tx> {
    /// Which queue it is.
    pub id: QueueId,
    /// Post empty frames, reap received ones.
    pub rx: Rx,
    /// Post packets, reap sent ones.
    pub tx: Tx,
}

/// The queue pairs of a NIC, in the order of their ids.
pub type Queues<N> = Vec<QueuePair<<N as NicHal>::Rx, <N as NicHal>::Tx>>;

/// What the stack does on an interrupt.
///
/// Both methods are called in hard-interrupt context, on whatever thread
/// delivers the interrupt: they take no lock, allocate nothing, and run for a
/// bounded number of instructions.
pub trait IrqHandler: Send + Sync {
    /// The queue has completions. The driver has masked the queue's interrupt
    /// before this call; it stays masked until [`NicHal::unmask_irq`].
    fn irq(&self, queue: QueueId);

    /// The link may have changed; [`NicHal::watchdog`] tells.
    fn link_changed(&self) {}
}

/// State of a NIC's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkState {
    /// Whether there is a carrier.
    pub up: bool,
    /// Speed in Mbit/s; 0 when down or unknown.
    pub speed_mbps: u32,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
}

/// What a NIC accepts beside frames to its own address and broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RxMode {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All multicast.
    pub all_multicast: bool,
    /// These multicast groups (a NIC may accept more: filters hash).
    pub multicast: Vec<MacAddress>,
}

/// What [`NicHal::watchdog`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WatchdogReport {
    /// The link now.
    pub link: LinkState,
    /// A transmit queue that has made no progress for 4 seconds (two watchdog
    /// intervals) although it has work and there is a link: the stack stops and
    /// opens the NIC again.
    pub tx_hang: Option<QueueId>,
    /// The device does not answer any more (it was unplugged): the stack takes
    /// the NIC out of service.
    pub gone: bool,
}

/// Why a NIC refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NicError {
    /// The NIC is open already.
    #[error("the NIC is open already: stop it first")]
    AlreadyOpen,
    /// The NIC is not open.
    #[error("the NIC is not open")]
    NotOpen,
    /// More queues than the NIC has, or none.
    #[error("{asked} queues asked for, the NIC has 1 to {max}")]
    Queues {
        /// Queues asked for.
        asked: u16,
        /// Queues of the NIC.
        max: u16,
    },
    /// A ring length that the NIC cannot have.
    #[error("a ring of {asked} descriptors asked for, the NIC has {min} to {max} in steps of {step}",
        min = limits.min, max = limits.max, step = limits.step)]
    RingLength {
        /// Length asked for.
        asked: u16,
        /// What can be had.
        limits: RingLimits,
    },
    /// An MTU that the NIC cannot have.
    #[error("an MTU of {asked} asked for, the NIC has 68 to {max}")]
    Mtu {
        /// MTU asked for.
        asked: u16,
        /// Largest MTU.
        max: u16,
    },
    /// The pool's frames are too short for the MTU.
    #[error("the pool's frames hold {have} bytes after their headroom, the NIC needs {needed}")]
    FrameTooShort {
        /// Bytes needed.
        needed: usize,
        /// Bytes of a frame.
        have: usize,
    },
    /// Not an address for a station.
    #[error("{0} cannot be a station's address")]
    BadAddress(MacAddress),
    /// The pool's memory is not what the NIC works on: it brings its own, and the
    /// frames that are posted come from there.
    #[error("the pool is not in the NIC's memory: open it with the pool that the NIC gives")]
    ForeignPool,
    /// The NIC does not have this feature.
    #[error("the NIC does not support {0}")]
    Unsupported(&'static str),
    /// The device does not answer any more.
    #[error("the device is gone")]
    Gone,
    /// The device did not do what its manual promises.
    #[error("the device is defective: {0}")]
    Device(&'static str),
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The pool could not be mapped for the device.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What the NIC stands on refused, for a reason of its own kind.
    #[error(transparent)]
    Backend(Box<dyn core::error::Error + Send + Sync>),
}

/// A NIC, as the stack sees it.
///
/// # The contract
/// 1. [`open`](Self::open) gives the rings of each queue by value. All
///    interrupts of queues are masked then; the stack posts receive frames,
///    kicks, and unmasks.
/// 2. On a completion (a frame received or sent) or after
///    [`unmask_irq`](Self::unmask_irq) with completions pending, the driver
///    masks the queue's interrupt and calls [`IrqHandler::irq`], once. A masked
///    queue never calls it. An interrupt without a completion may happen, but
///    not for ever: an unmask that follows another, with nothing completed in
///    between and nothing pending, is quiet.
/// 3. `unmask_irq` **fires again if completions are pending**: any frame that
///    the device has finished with and that has not been reaped, whether it was
///    announced before or not. Otherwise a frame that lands between the stack's
///    last reap and the unmask, or that a poll left behind, would sleep until
///    the next one comes. It may call the handler before it returns.
/// 4. [`stop`](Self::stop) makes the device let go of all memory, and frees the
///    interrupts: when it returns, no handler runs or will run. The rings then
///    refuse every post, reap nothing more, and return their frames to the pool
///    when they are dropped. A ring that is dropped earlier takes its queue's
///    direction away from the device first. The owner of a ring does not use it
///    while `stop` runs; it may drop it.
/// 5. A packet that cannot be sent as it was posted (shorter than an Ethernet
///    header, longer than the MTU allows, or with an offload that the
///    [capabilities](NicCapabilities) do not name) never reaches the wire: it is
///    counted as [`tx_dropped`](NicStats::tx_dropped), and its frame is reaped
///    like any other or goes home at once.
/// 6. A device that is gone does nothing: it completes no frame and interrupts
///    nobody. `stop` then succeeds as ever.
///
/// `testing::conformance` (feature `std`) holds every implementation to it.
///
/// The control plane may take locks and wait for the device. `mask_irq` and
/// `unmask_irq` are on the packet path and do neither.
pub trait NicHal: Send + Sync {
    /// The receive ring.
    type Rx: DmaRing + 'static;
    /// The transmit ring.
    type Tx: DmaRing + 'static;

    /// What the NIC can do.
    fn capabilities(&self) -> NicCapabilities;

    /// Brings the NIC up and hands out its queues, all masked.
    ///
    /// # Errors
    /// [`NicError`] says what is wrong; the NIC is then as it was before.
    fn open(&self, config: &OpenConfig, irq: Arc<dyn IrqHandler>)
    -> Result<Queues<Self>, NicError>;

    /// Takes the NIC down; see the contract, point 4.
    ///
    /// # Errors
    /// [`NicError::NotOpen`]. A device that is gone counts as stopped.
    fn stop(&self) -> Result<(), NicError>;

    /// Keeps the queue from interrupting. Does nothing when it is masked, not
    /// open, or gone.
    fn mask_irq(&self, queue: QueueId);

    /// Lets the queue interrupt again; see the contract, point 3.
    fn unmask_irq(&self, queue: QueueId);

    /// Lets at least `interval_us` microseconds pass between two interrupts of the
    /// queue from now on (the NIC may round that), or none: 0. It lasts until
    /// [`stop`](Self::stop). On the packet path, so it waits for nothing. Only for NICs
    /// whose [capabilities](NicCapabilities::moderation) say so; others do nothing.
    fn moderate(&self, queue: QueueId, interval_us: u32) {
        let _ = (queue, interval_us);
    }

    /// Adds up the NIC's counters into `out`, which the caller has cleared.
    fn stats(&self, out: &mut NicStats);

    /// Visits the NIC's own counters by name, as `ethtool -S` lists them.
    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let _ = visit;
    }

    /// Looks after the NIC: called every 2 seconds and after
    /// [`IrqHandler::link_changed`], from the stack's timer, with the stack's
    /// clock in nanoseconds.
    fn watchdog(&self, now_ns: u64) -> WatchdogReport;

    /// The control plane that `ethtool` reaches, where the NIC has one.
    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        None
    }

    /// Changes the station address.
    ///
    /// # Errors
    /// [`NicError::Unsupported`] where the NIC cannot.
    fn set_mac_address(&self, mac: MacAddress) -> Result<(), NicError> {
        let _ = mac;
        Err(NicError::Unsupported("a change of the station address"))
    }

    /// Changes which frames are accepted.
    ///
    /// # Errors
    /// [`NicError::Unsupported`] where the NIC cannot.
    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        let _ = mode;
        Err(NicError::Unsupported("receive filters"))
    }
}
