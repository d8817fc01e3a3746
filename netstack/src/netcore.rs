//! One CPU's lower levels: devices, addresses, routes, neighbours, and the
//! counters. Handlers reach it through
//! [`NetContext`](crate::protocol::NetContext).

use crate::address::AddressTable;
use crate::device::{NetDevice, TxQueue, TxSlot};
use crate::drop::{DropCounters, DropReason};
use crate::link::{Direction, Taps};
use crate::message::TxMessage;
use crate::mib::Mib;
use crate::neigh::{NeighConfig, NeighTable};
use crate::peer::Peer;
use crate::protocol::{Dropped, Verdict};
use crate::rate::{IcmpLimits, IcmpRateLimit};
use crate::route::{IfIndex, IpPrefix, Route, RouteTable};
use crate::skb::SkBuff;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use softnet_dma_ring::FrameCache;
use softnet_softirq::Counter;

/// What one CPU's protocol handlers stand on.
pub struct NetCore {
    cpu: usize,
    now_ns: u64,
    pub(crate) cache: FrameCache,
    devices: Vec<Option<NetDevice>>,
    /// Counts the changes of `devices`.
    device_generation: u64,
    pub(crate) addresses: AddressTable,
    pub(crate) routes: RouteTable,
    pub(crate) neighbours: NeighTable<SkBuff>,
    /// Whether the neighbour table was used since its deadline was looked up.
    pub(crate) neigh_used: bool,
    pub(crate) taps: Taps,
    pub(crate) icmp_limit: IcmpRateLimit,
    ip_id: u16,
    counters: Arc<CpuCounters>,
    peers: Arc<[Peer]>,
    /// CPUs to which packets were handed since the last flush, a bit each.
    handed: Handed,
    /// Whose NICs are to be told of packets.
    tx_dirty: Dirty,
    /// Packets that this CPU's transmit queues may have to take back.
    tx_pending: usize,
}

/// The counters of one CPU, which any thread may read.
#[derive(Debug, Default)]
pub struct CpuCounters {
    /// Drops by reason, of received packets and of packets to be sent.
    pub drops: DropCounters,
    delivered: Counter,
    /// Received packets that were dropped: with [`delivered`](Self::delivered),
    /// these are all that the CPU took from its rings and its backlog, and those
    /// that it could not hand to another CPU.
    pub rx_drops: DropCounters,
    /// The counters of `/proc/net/snmp`.
    pub snmp: Mib,
}

impl CpuCounters {
    /// Received packets that reached somebody.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.count() + self.snmp.early()
    }
}

/// CPUs that were handed something, a bit each.
#[derive(Clone, Copy, Default)]
struct Handed(u64);

/// Devices that were given packets to send in this pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dirty {
    None,
    /// The queue by which this CPU sends on this device.
    One(IfIndex),
    Several,
}

impl Dirty {
    #[inline]
    fn mark(&mut self, dev: IfIndex) {
        *self = match *self {
            Self::None => Self::One(dev),
            Self::One(other) if other == dev => return,
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What makes a CPU's lower levels.
pub(crate) struct NewCore {
    pub(crate) cpu: usize,
    pub(crate) cache: FrameCache,
    pub(crate) counters: Arc<CpuCounters>,
    pub(crate) peers: Arc<[Peer]>,
    pub(crate) seed: u64,
}

impl NetCore {
    pub(crate) fn new(new: NewCore) -> Self {
        let mut rng = fastrand::Rng::with_seed(new.seed);
        Self {
            cpu: new.cpu,
            now_ns: 0,
            cache: new.cache,
            devices: Vec::new(),
            device_generation: 0,
            addresses: AddressTable::default(),
            routes: RouteTable::new(),
            neighbours: NeighTable::new(NeighConfig::default(), rng.u64(..)),
            neigh_used: false,
            taps: Taps::default(),
            icmp_limit: IcmpRateLimit::new(IcmpLimits::default(), rng.u64(..)),
            ip_id: rng.u16(..),
            counters: new.counters,
            peers: new.peers,
            handed: Handed::default(),
            tx_dirty: Dirty::None,
            tx_pending: 0,
        }
    }

    /// The CPU, counted from 0.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// The clock when this pass began, in nanoseconds.
    #[must_use]
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    #[inline]
    pub(crate) fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Counts what became of a received packet.
    #[inline]
    pub(crate) fn count_received(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Delivered => self.counters.delivered.add(1),
            Verdict::Dropped(dropped) => self.counters.rx_drops.count(dropped.reason()),
        }
    }

    /// Counts `count` packets that [`Early`](crate::early::Early) has delivered.
    #[inline]
    pub(crate) fn count_early(&self, count: u64) {
        self.counters.snmp.add_early(count);
    }

    /// This CPU's counters of `/proc/net/snmp`.
    #[must_use]
    #[inline]
    pub fn mib(&self) -> &Mib {
        &self.counters.snmp
    }

    /// Drops a packet and counts why (`kfree_skb_reason`). The verdict is what
    /// a handler returns then.
    #[inline]
    pub fn kfree_skb(&mut self, skb: SkBuff, reason: DropReason) -> Verdict {
        self.counters.drops.count(reason);
        self.taps.dropped(&skb, reason, self.now_ns);
        self.consume_skb(skb);
        Verdict::Dropped(Dropped::counted(reason))
    }

    /// Frees a packet that has served its purpose (`consume_skb`).
    #[inline]
    pub fn consume_skb(&mut self, skb: SkBuff) {
        self.cache.free(skb.into_frame());
    }

    /// A packet without data and with headroom for all headers; `None` when all
    /// frames are in use.
    #[must_use]
    pub fn alloc_skb(&mut self) -> Option<SkBuff> {
        Some(SkBuff::outgoing(self.cache.alloc()?, IfIndex(0)))
    }

    /// A device of the stack.
    #[must_use]
    #[inline]
    pub fn device(&self, index: IfIndex) -> Option<&NetDevice> {
        self.devices.get(slot(index)?)?.as_ref()
    }

    #[inline]
    pub(crate) fn device_mut(&mut self, index: IfIndex) -> Option<&mut NetDevice> {
        self.devices.get_mut(slot(index)?)?.as_mut()
    }

    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = &NetDevice> {
        self.devices.iter().flatten()
    }

    pub(crate) fn add_device(&mut self, device: NetDevice) {
        let Some(at) = slot(device.index()) else {
            return;
        };
        if self.devices.len() <= at {
            self.devices.resize_with(at + 1, || None);
        }
        self.devices[at] = Some(device);
        self.device_generation += 1;
    }

    /// Stays the same for as long as the ways of packets do, but for what the
    /// neighbour table knows: each of the terms only ever grows.
    #[inline]
    pub(crate) fn path_generation(&self) -> u64 {
        let tables = self.routes.generation() + self.addresses.generation();
        tables + self.device_generation
    }

    /// Whether `address` is one of this host's own.
    #[must_use]
    #[inline]
    pub fn is_unicast_local(&self, address: Ipv4Addr) -> bool {
        self.addresses.is_local(address)
    }

    /// Sends a finished link-layer frame on `skb`'s device (`dev_queue_xmit`).
    /// It is posted with others when the pass ends.
    #[inline]
    pub fn dev_queue_xmit(&mut self, skb: SkBuff) -> Verdict {
        self.taps.packet(&skb, Direction::Outgoing, self.now_ns);
        let dev = skb.dev();
        let slot = self.device_mut(dev).and_then(NetDevice::tx_slot);
        let Some(TxSlot::Own(queue)) = slot else {
            return self.xmit_elsewhere(skb);
        };
        match queue.enqueue(skb.into_frame()) {
            Ok(()) => {
                self.tx_dirty.mark(dev);
                self.tx_pending += 1;
                Verdict::Delivered
            }
            Err(frame) => self.refuse_xmit(dev, frame),
        }
    }

    /// Sends on a device whose ring is not this CPU's.
    #[inline(never)]
    fn xmit_elsewhere(&mut self, skb: SkBuff) -> Verdict {
        let (cpu, dev) = (self.cpu, skb.dev());
        let slot = self.device_mut(dev).and_then(NetDevice::tx_slot);
        let to = match slot {
            Some(&mut TxSlot::Remote { cpu }) => cpu,
            Some(TxSlot::Loopback) => return self.steer(cpu, skb),
            Some(TxSlot::Own(_)) | None => return self.kfree_skb(skb, DropReason::DevReady),
        };
        let frame = skb.into_frame();
        match self.hand_over(to, TxMessage::Xmit { dev, frame }) {
            Ok(()) => Verdict::Delivered,
            Err(frame) => self.refuse_xmit(dev, frame),
        }
    }

    /// A transmit queue, or the way to it, is full.
    #[cold]
    fn refuse_xmit(&mut self, dev: IfIndex, frame: softnet_dma_ring::Frame) -> Verdict {
        self.kfree_skb(SkBuff::outgoing(frame, dev), DropReason::QdiscDrop)
    }

    fn hand_over(&self, cpu: usize, message: TxMessage) -> Result<(), softnet_dma_ring::Frame> {
        let refused = match self.peers.get(cpu) {
            Some(peer) => match peer.transmit(message) {
                Ok(()) => return Ok(()),
                Err(message) => message,
            },
            None => message,
        };
        match refused {
            TxMessage::Xmit { frame, .. } | TxMessage::Udp { frame, .. } => Err(frame),
        }
    }

    /// Sends a frame that another CPU handed over, by the queue that is ours.
    pub(crate) fn xmit_handed(&mut self, dev: IfIndex, frame: softnet_dma_ring::Frame) {
        let queue = self
            .device_mut(dev)
            .and_then(|device| device.own_queues().next());
        let refused = match queue {
            Some(queue) => queue.enqueue(frame).map_err(|f| (f, DropReason::QdiscDrop)),
            None => Err((frame, DropReason::DevReady)),
        };
        self.tx_dirty = Dirty::Several;
        match refused {
            Ok(()) => self.tx_pending += 1,
            Err((frame, reason)) => {
                let _ = self.kfree_skb(SkBuff::outgoing(frame, dev), reason);
            }
        }
    }

    /// Steers a packet to another CPU, where it goes up (RPS).
    #[inline]
    pub(crate) fn steer(&mut self, cpu: usize, skb: SkBuff) -> Verdict {
        let refused = match self.peers.get(cpu) {
            Some(peer) => match peer.steer(skb) {
                Ok(()) => {
                    self.handed.0 |= 1 << (cpu & 63);
                    return Verdict::Delivered;
                }
                Err(skb) => skb,
            },
            None => skb,
        };
        self.kfree_skb(refused, DropReason::CpuBacklog)
    }

    #[inline]
    pub(crate) fn next_ip_id(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }

    /// Whether it is the loopback device, from which packets of this host come
    /// back to it.
    #[inline]
    pub(crate) fn is_loopback(&self, dev: IfIndex) -> bool {
        dev == LOOPBACK
    }

    pub(crate) fn set_carrier(&mut self, dev: IfIndex, up: bool) {
        if let Some(device) = self.device_mut(dev) {
            device.set_carrier(up);
        }
    }

    /// Whether a transmit queue of this CPU may have something to take back.
    #[inline]
    pub(crate) fn is_tx_active(&self) -> bool {
        self.tx_pending != 0
    }

    /// Takes back what a transmit queue of this CPU has sent.
    pub(crate) fn clean_tx(&mut self, dev: IfIndex, queue: usize) {
        let device = slot(dev).and_then(|at| self.devices.get_mut(at)?.as_mut());
        if let Some(queue) = device.and_then(|device| device.own_queue(queue)) {
            self.tx_pending -= queue.clean(&mut self.cache);
        }
    }

    /// Tells the applications that wait for room to send on this CPU.
    pub(crate) fn wake_senders(&self) {
        if let Some(peer) = self.peers.get(self.cpu) {
            crate::notify::publish_fence();
            peer.tx_space.notify_fenced();
        }
    }

    /// Takes an address away from a device, and the routes that send from it.
    /// Another address of the same network gets the network's route. Returns
    /// whether the device had it.
    pub(crate) fn remove_address(&mut self, dev: IfIndex, address: Ipv4Addr) -> bool {
        let Some(prefix_len) = self.addresses.remove(dev, address) else {
            return false;
        };
        let source = Some(IpAddr::V4(address));
        let elsewhere = self.addresses.is_local(address);
        self.routes
            .retain(|route| route.source != source || elsewhere && route.device != dev);
        let heir = self.addresses.in_network(dev, address, prefix_len);
        let prefix = IpPrefix::new(IpAddr::V4(address), prefix_len);
        if let (Some(heir), Some(prefix)) = (heir, prefix) {
            let route = Route::on_link(prefix, dev).with_source(IpAddr::V4(heir));
            // It is there already if the heir's address was the first.
            let _ = self.routes.add(route);
        }
        true
    }

    /// Takes a device away from this CPU: its addresses, routes and neighbours,
    /// and the packets that wait in its transmit queues.
    pub(crate) fn remove_device(&mut self, dev: IfIndex) {
        self.addresses.remove_device(dev);
        self.routes.retain(|route| route.device != dev);
        self.neighbours.remove_device(dev);
        self.neigh_events();
        self.drop_tx(dev);
        if let Some(slot) = slot(dev).and_then(|at| self.devices.get_mut(at)) {
            *slot = None;
        }
        self.device_generation += 1;
    }

    pub(crate) fn set_tx(&mut self, dev: IfIndex, tx: Vec<TxSlot>) {
        let cpu = self.cpu;
        if let Some(device) = self.device_mut(dev) {
            device.set_tx(tx, cpu);
        }
    }

    /// Drops a device's transmit queues, with what waits in them.
    pub(crate) fn drop_tx(&mut self, dev: IfIndex) {
        let Some(device) = self.device_mut(dev) else {
            return;
        };
        for tx in device.take_tx() {
            if let TxSlot::Own(queue) = tx {
                self.tx_pending -= queue.pending();
                for frame in queue.into_unsent() {
                    let _ = self.kfree_skb(SkBuff::outgoing(frame, dev), DropReason::DevReady);
                }
            }
        }
    }

    /// The other CPUs' doors.
    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Ends a pass: posts what was gathered, and tells the CPUs that were
    /// handed something.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.tx_dirty != Dirty::None {
            self.kick_tx();
        }
        if self.handed.0 != 0 {
            self.kick_backlogs();
        }
    }

    #[inline(never)]
    fn kick_tx(&mut self) {
        if let Dirty::One(dev) = core::mem::replace(&mut self.tx_dirty, Dirty::None) {
            let slot = self.device_mut(dev).and_then(NetDevice::tx_slot);
            if let Some(TxSlot::Own(queue)) = slot {
                queue.kick();
            }
            return;
        }
        for device in self.devices.iter_mut().flatten() {
            device.own_queues().for_each(TxQueue::kick);
        }
    }

    #[cold]
    fn kick_backlogs(&mut self) {
        let mut handed = core::mem::take(&mut self.handed).0;
        while handed != 0 {
            if let Some(peer) = self.peers.get(handed.trailing_zeros() as usize) {
                peer.kick_backlog();
            }
            handed &= handed - 1;
        }
    }
}

/// The loopback device, always the first.
pub(crate) const LOOPBACK: IfIndex = IfIndex(1);

#[inline]
fn slot(index: IfIndex) -> Option<usize> {
    usize::from(index.0).checked_sub(1)
}
