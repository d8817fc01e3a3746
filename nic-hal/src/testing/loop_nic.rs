//! A NIC without hardware: its wire is in the hand of the test, or the bench.

use super::loop_ring::{Buffer, Descriptors, LoopRx, LoopTx, Queue};
use crate::nic::{
    IrqHandler, LinkState, MacAddress, NicCapabilities, NicError, NicHal, OpenConfig, QueueId,
    QueuePair, Queues, RingLimits, WatchdogReport,
};
use crate::stats::NicStats;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use softnet_dma_ring::DmaRegion;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes of an Ethernet header, of which the MTU does not count.
const ETHERNET_HEADER: usize = 14;
/// Bytes of a VLAN tag, which a packet may carry in addition to the MTU.
const VLAN_TAG: usize = 4;
/// A transmitter that makes no progress for so long hangs.
const HANG_NS: u64 = 4_000_000_000;

/// Bytes of the longest frame, without FCS.
fn max_frame(mtu: u16) -> usize {
    usize::from(mtu) + ETHERNET_HEADER + VLAN_TAG
}

/// The shape of a [`LoopNic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopConfig {
    /// The station address that it reports.
    pub mac: MacAddress,
    /// Queue pairs that can be opened.
    pub queues: u16,
    /// Largest MTU, in bytes.
    pub max_mtu: u16,
    /// Ring lengths, both ways.
    pub ring: RingLimits,
    /// Whether it fills in transport checksums on transmit.
    pub tx_checksum: bool,
}

impl Default for LoopConfig {
    /// One queue, an MTU of 1500, rings of 1 to 4096 descriptors, no offload.
    fn default() -> Self {
        Self {
            mac: MacAddress([0x02, 0x00, 0x00, 0x00, 0x00, 0x01]),
            queues: 1,
            max_mtu: 1500,
            ring: RingLimits {
                min: 1,
                max: 4096,
                step: 1,
            },
            tx_checksum: false,
        }
    }
}

/// What became of a frame that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// It is in the receive ring.
    Received,
    /// No empty frame was posted, or it was too short: counted as missed.
    Missed,
    /// Shorter than an Ethernet header or longer than the MTU allows: counted
    /// as an error.
    BadLength,
    /// The NIC is not open, has no such queue, has no link, or is gone: nothing
    /// was counted.
    NoReceiver,
}

/// A NIC without hardware.
///
/// It takes every frame whatever its address, keeps no time of its own, and
/// does nothing unless the [`LoopPort`] is used: on one thread it is
/// deterministic. Descriptors are seen by the port only after a kick.
#[derive(Debug)]
pub struct LoopNic {
    shared: Arc<Shared>,
}

/// The other end of a [`LoopNic`]'s wire, and the switches that make the NIC
/// misbehave.
#[derive(Debug)]
pub struct LoopPort {
    shared: Arc<Shared>,
    scratch: Vec<u8>,
}

struct Session {
    handler: Arc<dyn IrqHandler>,
    queues: Vec<Queue>,
    region: DmaRegion,
    max_frame: usize,
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    config: LoopConfig,
    /// Read by whoever may call the handler, and written by open and stop: so
    /// no handler runs any more when stop has the lock.
    session: RwLock<Option<Session>>,
    link_up: AtomicBool,
    gone: AtomicBool,
    tx_stalled: AtomicBool,
    unmask_forgets: AtomicBool,
    refusal: Mutex<Option<&'static str>>,
    /// Where each transmit queue stood when it was first seen there with work,
    /// and when that was.
    watched: Mutex<Vec<Option<Standing>>>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    progress: u64,
    since_ns: u64,
}

#[derive(Debug, Default)]
struct Counters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    rx_missed: AtomicU64,
    rx_length_errors: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    tx_dropped: AtomicU64,
    tx_timeouts: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoopNic {
    /// Makes a NIC and the other end of its wire; the link is up.
    #[must_use]
    pub fn new(config: LoopConfig) -> (Arc<Self>, LoopPort) {
        let shared = Arc::new(Shared {
            config,
            session: RwLock::new(None),
            link_up: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            tx_stalled: AtomicBool::new(false),
            unmask_forgets: AtomicBool::new(false),
            refusal: Mutex::new(None),
            watched: Mutex::new(Vec::new()),
            counters: Counters::default(),
        });
        let nic = Arc::new(Self {
            shared: shared.clone(),
        });
        let scratch = Vec::new();
        (nic, LoopPort { shared, scratch })
    }
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn link(&self) -> LinkState {
        let up = self.link_up.load(Ordering::Relaxed) && !self.is_gone();
        LinkState {
            up,
            speed_mbps: if up { 1000 } else { 0 },
            full_duplex: up,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Session>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Session>> {
        self.session.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `with` on an open queue, without ever waiting: the session is held
    /// by a writer only while the NIC is opened or stopped, and then there is
    /// nothing to do.
    fn with_queue(&self, queue: QueueId, with: impl FnOnce(&Session, &Queue)) {
        if self.is_gone() {
            return;
        }
        if let Ok(guard) = self.session.try_read()
            && let Some(session) = guard.as_ref()
            && let Some(queue) = session.queues.get(usize::from(queue.0))
        {
            with(session, queue);
        }
    }
}

impl Session {
    fn new(config: &OpenConfig, handler: Arc<dyn IrqHandler>) -> Self {
        Self {
            handler,
            queues: (0..config.queues)
                .map(|id| Queue::new(QueueId(id), config.rx_ring, config.tx_ring))
                .collect(),
            region: config.pool.region().clone(),
            max_frame: max_frame(config.mtu),
        }
    }

    /// Interrupts, once for each unmask.
    fn fire(&self, queue: &Queue) {
        // SeqCst: together with the order of `completed` and `masked`, either
        // the one who completes sees the unmask or the unmask sees the
        // completion.
        if queue.pending() && !queue.masked.swap(true, Ordering::SeqCst) {
            self.handler.irq(queue.id);
        }
    }

    /// Something was completed, or nothing.
    fn completed(&self, queue: &Queue, count: usize) {
        if count > 0 && !queue.masked.load(Ordering::SeqCst) {
            self.fire(queue);
        }
    }
}

impl NicHal for LoopNic {
    type Rx = LoopRx;
    type Tx = LoopTx;

    fn capabilities(&self) -> NicCapabilities {
        let LoopConfig {
            mac,
            queues,
            max_mtu,
            ring,
            tx_checksum,
        } = self.shared.config;
        NicCapabilities {
            max_mtu,
            max_queues: queues,
            tx_checksum,
            ..NicCapabilities::basic("loop", mac, ring)
        }
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let mut current = self.shared.write();
        if current.is_some() {
            return Err(NicError::AlreadyOpen);
        }
        if self.shared.is_gone() {
            return Err(NicError::Gone);
        }
        config.check(&self.capabilities(), max_frame(config.mtu))?;
        if let Some(why) = *lock(&self.shared.refusal) {
            return Err(NicError::Device(why));
        }
        let session = Session::new(config, irq);
        let pairs = session
            .queues
            .iter()
            .map(|queue| QueuePair {
                id: queue.id,
                rx: LoopRx::new(queue, &session.region),
                tx: LoopTx::new(queue, &session.region, self.shared.config.tx_checksum),
            })
            .collect();
        *lock(&self.shared.watched) = alloc::vec![None; session.queues.len()];
        *current = Some(session);
        Ok(pairs)
    }

    fn stop(&self) -> Result<(), NicError> {
        let session = self.shared.write().take().ok_or(NicError::NotOpen)?;
        for queue in &session.queues {
            queue.rx.close();
            queue.tx.close();
        }
        Ok(())
    }

    fn mask_irq(&self, queue: QueueId) {
        self.shared
            .with_queue(queue, |_, queue| queue.masked.store(true, Ordering::SeqCst));
    }

    fn unmask_irq(&self, queue: QueueId) {
        self.shared.with_queue(queue, |session, queue| {
            queue.masked.store(false, Ordering::SeqCst);
            if !self.shared.unmask_forgets.load(Ordering::Relaxed) {
                session.fire(queue);
            }
        });
    }

    fn stats(&self, out: &mut NicStats) {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.rx_packets += read(&counters.rx_packets);
        out.rx_bytes += read(&counters.rx_bytes);
        out.rx_missed_errors += read(&counters.rx_missed);
        out.rx_length_errors += read(&counters.rx_length_errors);
        out.rx_errors += read(&counters.rx_length_errors);
        out.tx_packets += read(&counters.tx_packets);
        out.tx_bytes += read(&counters.tx_bytes);
        out.tx_dropped += read(&counters.tx_dropped);
        out.tx_timeouts += read(&counters.tx_timeouts);
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        let link = self.shared.link();
        let tx_hang = self.find_hang(link.up, now_ns);
        if tx_hang.is_some() {
            add(&self.shared.counters.tx_timeouts, 1);
        }
        WatchdogReport {
            link,
            tx_hang,
            gone: self.shared.is_gone(),
        }
    }
}

impl LoopNic {
    /// The first transmit queue that has had work for so long and done none of
    /// it. Without a link packets wait, and that is no fault.
    fn find_hang(&self, link_up: bool, now_ns: u64) -> Option<QueueId> {
        let guard = self.shared.read();
        let session = guard.as_ref()?;
        let mut watched = lock(&self.shared.watched);
        let mut hung = None;
        for (queue, last) in session.queues.iter().zip(watched.iter_mut()) {
            *last = (link_up && queue.tx.has_work())
                .then(|| Standing::note(*last, queue.tx.progress(), now_ns));
            if last.is_some_and(|last| now_ns.saturating_sub(last.since_ns) >= HANG_NS) {
                hung = hung.or(Some(queue.id));
            }
        }
        hung
    }
}

impl Standing {
    fn note(last: Option<Self>, progress: u64, now_ns: u64) -> Self {
        last.filter(|last| last.progress == progress)
            .unwrap_or(Self {
                progress,
                since_ns: now_ns,
            })
    }
}

impl LoopPort {
    /// A frame arrives at `queue`: it goes into the oldest empty frame that is
    /// posted and kicked, and the queue interrupts unless it is masked.
    pub fn inject(&mut self, queue: QueueId, frame: &[u8]) -> Injection {
        let mut result = Injection::NoReceiver;
        self.receive(queue, |session, rx| {
            result = self.receive_one(session, rx, frame);
            usize::from(result == Injection::Received)
        });
        result
    }

    /// Frames arrive back to back, and interrupt once. Returns how many were
    /// received.
    pub fn inject_batch(&mut self, queue: QueueId, frames: &[&[u8]]) -> usize {
        let mut received = 0;
        self.receive(queue, |session, rx| {
            let each = frames
                .iter()
                .map(|frame| self.receive_one(session, rx, frame));
            received = each.filter(|&one| one == Injection::Received).count();
            received
        });
        received
    }

    /// Completes at most `count` posted receive frames as `len` bytes each, and
    /// leaves in them what they hold: for benches, whose frames have been
    /// filled before. Its cost does not depend on `len`. Returns how many there
    /// were.
    pub fn complete(&mut self, queue: QueueId, len: usize, count: usize) -> usize {
        let mut done = 0;
        self.receive(queue, |_, rx| {
            done = rx
                .work(count, |buffer| (len <= buffer.len).then_some(len))
                .unwrap_or(0);
            add(&self.shared.counters.rx_packets, done);
            add(&self.shared.counters.rx_bytes, done * len);
            done
        });
        done
    }

    /// Takes at most `max` packets that the stack has sent on `queue` off the
    /// wire, in order, and completes them. Returns how many there were.
    pub fn transmitted(
        &mut self,
        queue: QueueId,
        max: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> usize {
        let scratch = &mut self.scratch;
        Self::transmit(&self.shared, queue, max, |session, buffer| {
            scratch.resize(buffer.len, 0);
            if session.region.read_bytes(buffer.offset, scratch).is_some() {
                sink(scratch);
            }
        })
    }

    /// Completes at most `max` packets that the stack has sent on `queue`, and
    /// looks at none. Returns how many there were.
    pub fn discard_transmitted(&mut self, queue: QueueId, max: usize) -> usize {
        Self::transmit(&self.shared, queue, max, |_, _| {})
    }

    /// Plugs the cable in or pulls it, and raises the link interrupt.
    pub fn set_link_up(&mut self, up: bool) {
        self.shared.link_up.store(up, Ordering::Relaxed);
        if let Some(session) = self.shared.read().as_ref() {
            session.handler.link_changed();
        }
    }

    /// Makes the transmitter hang, or lets it go on.
    pub fn set_tx_stalled(&mut self, stalled: bool) {
        self.shared.tx_stalled.store(stalled, Ordering::Relaxed);
    }

    /// Makes every open fail with [`NicError::Device`] of this, or lets it
    /// succeed again.
    pub fn set_open_refused(&mut self, why: Option<&'static str>) {
        *lock(&self.shared.refusal) = why;
    }

    /// Makes an unmask forget what is pending, as a defective driver would, or
    /// keeps to the contract again.
    pub fn set_unmask_forgets(&mut self, forgets: bool) {
        self.shared.unmask_forgets.store(forgets, Ordering::Relaxed);
    }

    /// Pulls the NIC out of its slot, for good.
    pub fn unplug(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
    }

    /// Whether the queue's interrupt is masked; `None` when it is not open.
    #[must_use]
    pub fn is_masked(&self, queue: QueueId) -> Option<bool> {
        let guard = self.shared.read();
        let queue = guard.as_ref()?.queues.get(usize::from(queue.0))?;
        Some(queue.masked.load(Ordering::SeqCst))
    }

    /// `receive` returns how many frames it has completed.
    fn receive(&self, queue: QueueId, receive: impl FnOnce(&Session, &Descriptors) -> usize) {
        if !self.shared.link().up {
            return;
        }
        if let Some(session) = self.shared.read().as_ref()
            && let Some(queue) = session.queues.get(usize::from(queue.0))
        {
            let count = receive(session, &queue.rx);
            session.completed(queue, count);
        }
    }

    fn receive_one(&self, session: &Session, rx: &Descriptors, frame: &[u8]) -> Injection {
        let counters = &self.shared.counters;
        if !(ETHERNET_HEADER..=session.max_frame).contains(&frame.len()) {
            add(&counters.rx_length_errors, 1);
            return Injection::BadLength;
        }
        let done = rx.work(1, |buffer| {
            (frame.len() <= buffer.len).then_some(())?;
            session.region.write_bytes(buffer.offset, frame)?;
            Some(frame.len())
        });
        if done != Some(1) {
            add(&counters.rx_missed, 1);
            return Injection::Missed;
        }
        add(&counters.rx_packets, 1);
        add(&counters.rx_bytes, frame.len());
        Injection::Received
    }

    fn transmit(
        shared: &Shared,
        queue: QueueId,
        max: usize,
        mut send: impl FnMut(&Session, Buffer),
    ) -> usize {
        if !shared.link().up || shared.tx_stalled.load(Ordering::Relaxed) {
            return 0;
        }
        let guard = shared.read();
        let Some(session) = guard.as_ref() else {
            return 0;
        };
        let Some(queue) = session.queues.get(usize::from(queue.0)) else {
            return 0;
        };
        let (mut sent, mut bytes) = (0, 0);
        let done = queue.tx.work(max, |buffer| {
            // What the ring refuses has no length.
            if (ETHERNET_HEADER..=session.max_frame).contains(&buffer.len) {
                sent += 1;
                bytes += buffer.len;
                send(session, buffer);
            }
            Some(0)
        });
        add(&shared.counters.tx_packets, sent);
        add(&shared.counters.tx_bytes, bytes);
        let done = done.unwrap_or(0);
        add(&shared.counters.tx_dropped, done - sent);
        session.completed(queue, done);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl IrqHandler for Count {
        fn irq(&self, _queue: QueueId) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn opened() -> (
        Arc<LoopNic>,
        LoopPort,
        QueuePair<LoopRx, LoopTx>,
        FramePool,
        Arc<Count>,
    ) {
        let (nic, port) = LoopNic::new(LoopConfig::default());
        let pool = FramePool::new(PoolConfig {
            frames: 64,
            ..PoolConfig::default()
        })
        .unwrap();
        let count = Arc::new(Count::default());
        let config = OpenConfig {
            queues: 1,
            rx_ring: 8,
            tx_ring: 8,
            mtu: 1500,
            ..OpenConfig::new(pool.clone())
        };
        let mut pairs = nic.open(&config, count.clone()).unwrap();
        let pair = pairs.pop().unwrap();
        (nic, port, pair, pool, count)
    }

    #[test]
    fn a_frame_is_seen_by_the_port_only_after_the_kick() {
        let (_nic, mut port, mut pair, pool, _) = opened();
        pair.rx.post(pool.alloc().unwrap()).unwrap();
        assert_eq!(port.inject(QueueId(0), &[7; 60]), Injection::Missed);
        pair.rx.kick();
        assert_eq!(port.inject(QueueId(0), &[7; 60]), Injection::Received);
        assert_eq!(pair.rx.reap().unwrap().data(), &[7; 60]);
        assert!(pair.rx.reap().is_none());
    }

    #[test]
    fn a_transmitted_packet_reaches_the_port_and_is_then_reaped() {
        let (_nic, mut port, mut pair, pool, _) = opened();
        let mut frame = pool.alloc().unwrap();
        frame.put(100).unwrap().fill(9);
        pair.tx.post(frame).unwrap();
        pair.tx.kick();
        assert!(pair.tx.reap().is_none());
        let mut seen = Vec::new();
        let sent = port.transmitted(QueueId(0), 64, |bytes| seen.extend_from_slice(bytes));
        assert_eq!((sent, seen), (1, alloc::vec![9; 100]));
        drop(pair.tx.reap().unwrap());
        assert_eq!(pool.count_free(), 64);
    }

    #[test]
    fn prefilled_frames_are_completed_without_a_copy_and_interrupt_once() {
        let (nic, mut port, mut pair, pool, count) = opened();
        for _ in 0..8 {
            pair.rx.post(pool.alloc().unwrap()).unwrap();
        }
        pair.rx.kick();
        nic.unmask_irq(QueueId(0));
        assert_eq!(port.complete(QueueId(0), 64, 32), 8);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let mut batch = softnet_dma_ring::FrameBatch::new();
        assert_eq!(pair.rx.reap_into(&mut batch, 64), 8);
        assert!(batch.iter().all(|frame| frame.len() == 64));
    }
}
