//! A kernel that is made of memory: the other side of the four rings, for tests that
//! need no root, and for loom.
//!
//! The rings are as the kernel's: two counters that run freely, a flag word, and slots.
//! Like a kernel, this one believes nothing: it takes an address for what it is, and
//! reaches the bytes through the pool's region alone.

use crate::ring::{Descriptor, KernelCounters, METADATA_LEN, RxQueue, TxQueue, View, Wake};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use rustix::event::{EventfdFlags, eventfd};
use softnet_dma_ring::DmaRegion;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64 as Counter};

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;
/// Bytes that stay free before a received packet.
pub(crate) const HEADROOM: u64 = 256;

/// What both sides of one ring share.
pub(crate) struct SharedRing {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    /// Address, and length with options above it.
    slots: Box<[[AtomicU64; 2]]>,
}

impl SharedRing {
    fn new(len: usize) -> Arc<Self> {
        Arc::new(Self {
            producer: AtomicU32::new(0),
            consumer: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            slots: (0..len)
                .map(|_| [AtomicU64::new(0), AtomicU64::new(0)])
                .collect(),
        })
    }

    fn slot(&self, at: u32) -> &[AtomicU64; 2] {
        &self.slots[at as usize % self.slots.len()]
    }

    /// The producer's side. Returns how many found a slot.
    pub(crate) fn produce(&self, descriptors: impl Iterator<Item = Descriptor>) -> usize {
        let start = self.producer.load(Ordering::Relaxed);
        // Acquire: the consumer has read a slot before it is written again.
        let used = start.wrapping_sub(self.consumer.load(Ordering::Acquire));
        let mut at = start;
        for descriptor in descriptors.take(self.slots.len() - used as usize) {
            let [addr, rest] = self.slot(at);
            addr.store(descriptor.addr, Ordering::Relaxed);
            let packed = u64::from(descriptor.options) << 32 | u64::from(descriptor.len);
            rest.store(packed, Ordering::Relaxed);
            at = at.wrapping_add(1);
        }
        // Release: the slots, and the bytes that they describe, are there.
        self.producer.store(at, Ordering::Release);
        at.wrapping_sub(start) as usize
    }

    /// The consumer's side.
    pub(crate) fn consume(&self) -> Option<Descriptor> {
        let at = self.consumer.load(Ordering::Relaxed);
        // Acquire: pairs with the producer's Release.
        if at == self.producer.load(Ordering::Acquire) {
            return None;
        }
        let [addr, rest] = self.slot(at);
        let packed = rest.load(Ordering::Relaxed);
        let descriptor = Descriptor {
            addr: addr.load(Ordering::Relaxed),
            len: packed as u32,
            options: (packed >> 32) as u32,
        };
        // Release: the slot has been read.
        self.consumer.store(at.wrapping_add(1), Ordering::Release);
        Some(descriptor)
    }

    fn len(&self) -> usize {
        let end = self.producer.load(Ordering::Acquire);
        end.wrapping_sub(self.consumer.load(Ordering::Relaxed)) as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        // The consumer first, as a view of the kernel's rings does.
        let consumer = self.consumer.load(Ordering::Acquire);
        self.producer.load(Ordering::Acquire) == consumer
    }

    /// The kernel is going to sleep on this ring, and looks once more.
    pub(crate) fn sleep_on(&self) -> bool {
        self.flags.store(NEED_WAKEUP, Ordering::Relaxed);
        // Pairs with the fence of a kick.
        fence(Ordering::SeqCst);
        self.is_empty()
    }

    #[cfg(not(loom))]
    pub(crate) fn awake_on(&self) {
        self.flags.store(0, Ordering::Relaxed);
    }

    fn needs_wakeup(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

/// One socket, as both sides share it.
pub(crate) struct FakeSocket {
    pub(crate) fill: Arc<SharedRing>,
    pub(crate) rx: Arc<SharedRing>,
    pub(crate) tx: Arc<SharedRing>,
    pub(crate) completion: Arc<SharedRing>,
    region: DmaRegion,
    chunk: u64,
    /// Wake-ups for packets.
    pub(crate) woken: AtomicU32,
    /// The program feeds it.
    #[cfg_attr(loom, expect(dead_code, reason = "the models have no program"))]
    pub(crate) fed: AtomicBool,
    /// Halves and views that are left. With none the socket is closed.
    halves: Counter,
    /// What a wake-up answers.
    pub(crate) busy: AtomicBool,
    /// The memory was registered with room for metadata.
    pub(crate) room: AtomicBool,
    /// When packets leave, where they ask.
    pub(crate) now: Counter,
    no_chunk: Counter,
    ready: OwnedFd,
}

impl fmt::Debug for FakeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSocket").finish_non_exhaustive()
    }
}

impl FakeSocket {
    /// A socket with rings of `ring` slots, over a region of chunks, and its halves.
    pub(crate) fn open(ring: usize, region: DmaRegion, chunk: u32) -> (Arc<Self>, FakeRx, FakeTx) {
        let socket = Arc::new(Self {
            fill: SharedRing::new(ring),
            rx: SharedRing::new(ring),
            tx: SharedRing::new(ring),
            completion: SharedRing::new(ring),
            region,
            chunk: u64::from(chunk),
            woken: AtomicU32::new(0),
            fed: AtomicBool::new(true),
            halves: Counter::new(2),
            busy: AtomicBool::new(false),
            room: AtomicBool::new(false),
            now: Counter::new(0),
            no_chunk: Counter::new(0),
            ready: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        });
        (socket.clone(), FakeRx(socket.clone()), FakeTx(socket))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.halves.load(std::sync::atomic::Ordering::SeqCst) != 0
    }

    /// The device receives a packet: into one chunk, or into several.
    pub(crate) fn deliver(&self, packet: &[u8]) -> bool {
        let room = (self.chunk - HEADROOM) as usize;
        let mut parts = Vec::new();
        if self.fill.len() < packet.len().div_ceil(room) {
            let order = std::sync::atomic::Ordering::Relaxed;
            self.no_chunk.fetch_add(1, order);
            return false;
        }
        for bytes in packet.chunks(room) {
            let filled = self.fill.consume().unwrap();
            let addr = filled.addr / self.chunk * self.chunk + HEADROOM;
            self.region.write_bytes(addr as usize, bytes).unwrap();
            parts.push(Descriptor {
                addr,
                len: bytes.len() as u32,
                options: Descriptor::CONTINUED,
            });
        }
        parts.last_mut().unwrap().options = 0;
        let count = parts.len();
        assert_eq!(self.rx.produce(parts.into_iter()), count, "a full RX ring");
        true
    }

    /// The socket gets ready, whatever is in its rings.
    #[cfg(not(loom))]
    pub(crate) fn make_ready(&self) {
        rustix::io::write(&self.ready, &1_u64.to_ne_bytes()).unwrap();
    }

    /// The device sends a packet, and completes it.
    pub(crate) fn transmit(&self) -> Option<Vec<u8>> {
        let mut packet = Vec::new();
        loop {
            let part = self.tx.consume()?;
            let mut bytes = vec![0; part.len as usize];
            self.region
                .read_bytes(part.addr as usize, &mut bytes)
                .unwrap();
            self.heed(part, &mut bytes);
            packet.extend(bytes);
            assert_eq!(self.completion.produce([part].into_iter()), 1);
            if !part.is_continued() {
                return Some(packet);
            }
        }
    }
}

impl FakeSocket {
    /// Does what the metadata before a packet asks for, as Linux does in copy mode with
    /// `XDP_UMEM_TX_SW_CSUM`.
    fn heed(&self, part: Descriptor, bytes: &mut [u8]) {
        let order = std::sync::atomic::Ordering::Relaxed;
        let asks = part.options & Descriptor::METADATA != 0;
        let within = part.addr % self.chunk;
        if self.room.load(order) {
            assert!(within >= METADATA_LEN as u64, "tx_invalid_descs");
        } else {
            assert!(!asks, "tx_invalid_descs");
        }
        if !asks {
            return;
        }
        let at = part.addr as usize - METADATA_LEN;
        let mut metadata = [0; METADATA_LEN];
        self.region.read_bytes(at, &mut metadata).unwrap();
        let word = |at: usize| u16::from_ne_bytes([metadata[at], metadata[at + 1]]);
        let flags = word(0);
        if flags & 2 != 0 {
            sum(bytes, usize::from(word(8)), usize::from(word(10)));
        }
        if flags & 1 != 0 {
            let now = self.now.load(order).to_ne_bytes();
            self.region.write_bytes(at + 8, &now).unwrap();
        }
    }
}

/// Stores the checksum over all that is behind `start` (RFC 1071), by its definition.
fn sum(packet: &mut [u8], start: usize, offset: usize) {
    let of_byte = |(at, &byte): (usize, &u8)| u32::from(byte) << (8 * ((at + 1) % 2));
    let mut sum: u32 = packet[start..].iter().enumerate().map(of_byte).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let place = start + offset;
    packet[place..place + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Fill and RX ring of a socket.
#[derive(Debug)]
pub(crate) struct FakeRx(Arc<FakeSocket>);

/// TX and completion ring of a socket.
#[derive(Debug)]
pub(crate) struct FakeTx(Arc<FakeSocket>);

impl Drop for FakeRx {
    fn drop(&mut self) {
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.halves.fetch_sub(1, order);
    }
}

impl Drop for FakeTx {
    fn drop(&mut self) {
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.halves.fetch_sub(1, order);
    }
}

impl RxQueue for FakeRx {
    type View = FakeView;

    fn fill(&mut self, chunks: &[u32]) -> usize {
        let chunk = self.0.chunk;
        let addrs = chunks.iter().map(|&number| Descriptor {
            addr: u64::from(number) * chunk + HEADROOM,
            ..Descriptor::default()
        });
        self.0.fill.produce(addrs)
    }

    fn receive(&mut self, out: &mut [Descriptor]) -> usize {
        let received = std::iter::from_fn(|| self.0.rx.consume());
        out.iter_mut()
            .zip(received)
            .map(|(out, one)| *out = one)
            .count()
    }

    fn pending(&mut self) -> bool {
        !self.0.rx.is_empty()
    }

    fn needs_wakeup(&self) -> bool {
        self.0.fill.needs_wakeup()
    }

    fn wake(&mut self) -> Wake {
        Wake::Done
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.0.ready.as_fd()
    }

    fn view(&self) -> std::io::Result<FakeView> {
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.halves.fetch_add(1, order);
        Ok(FakeView(self.0.clone()))
    }
}

/// A view of a socket.
#[derive(Debug)]
pub(crate) struct FakeView(Arc<FakeSocket>);

impl Clone for FakeView {
    fn clone(&self) -> Self {
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.halves.fetch_add(1, order);
        Self(self.0.clone())
    }
}

impl Drop for FakeView {
    fn drop(&mut self) {
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.halves.fetch_sub(1, order);
    }
}

impl View for FakeView {
    fn received(&self) -> bool {
        !self.0.rx.is_empty()
    }

    fn sent(&self) -> bool {
        !self.0.completion.is_empty()
    }

    fn statistics(&self) -> KernelCounters {
        let missed = self.0.no_chunk.load(std::sync::atomic::Ordering::Relaxed);
        KernelCounters {
            rx_dropped: missed,
            rx_fill_ring_empty_descs: missed,
            ..KernelCounters::default()
        }
    }
}

impl TxQueue for FakeTx {
    fn send(&mut self, packets: &[Descriptor]) -> usize {
        self.0.tx.produce(packets.iter().copied())
    }

    fn complete(&mut self, out: &mut [u64]) -> usize {
        let sent = std::iter::from_fn(|| self.0.completion.consume());
        out.iter_mut()
            .zip(sent)
            .map(|(out, one)| *out = one.addr)
            .count()
    }

    fn pending(&mut self) -> bool {
        !self.0.completion.is_empty()
    }

    fn needs_wakeup(&self) -> bool {
        self.0.tx.needs_wakeup()
    }

    fn wake(&mut self) -> Wake {
        if self.0.busy.load(std::sync::atomic::Ordering::Relaxed) {
            return Wake::Again;
        }
        self.0.woken.fetch_add(1, Ordering::SeqCst);
        Wake::Done
    }
}
