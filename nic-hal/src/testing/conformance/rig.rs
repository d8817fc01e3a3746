//! A NIC that was opened, and the stack's side of it, reduced to the least.

use super::{Check, End, Harness, broken, ensure_eq};
use crate::nic::{
    IrqHandler, MacAddress, NicCapabilities, NicHal, OpenConfig, QueueId, QueuePair, RingLimits,
};
use crate::stats::NicStats;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, FramePool, PoolConfig};

pub(super) const QUEUE: QueueId = QueueId(0);
const FRAMES: u32 = 256;
const RING: u16 = 16;
/// Ethernet header and the first bytes that a test frame numbers itself with.
const ETHERNET_HEADER: usize = 14;

/// Queues whose interrupts are counted apart.
const QUEUES: usize = 64;

/// Counts what the NIC calls.
#[derive(Debug)]
pub(super) struct Calls {
    irqs: [AtomicUsize; QUEUES],
    links: AtomicUsize,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            irqs: [const { AtomicUsize::new(0) }; QUEUES],
            links: AtomicUsize::new(0),
        }
    }
}

impl Calls {
    /// Interrupts of the first queue.
    pub(super) fn irqs(&self) -> usize {
        self.irqs[0].load(Ordering::SeqCst)
    }

    /// Interrupts of each of the first `count` queues.
    pub(super) fn each(&self, count: usize) -> Vec<usize> {
        let counts = self.irqs.iter().take(count);
        counts.map(|count| count.load(Ordering::SeqCst)).collect()
    }

    pub(super) fn links(&self) -> usize {
        self.links.load(Ordering::SeqCst)
    }
}

impl IrqHandler for Calls {
    fn irq(&self, queue: QueueId) {
        if let Some(count) = self.irqs.get(usize::from(queue.0)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) type Pair<N> = QueuePair<<N as NicHal>::Rx, <N as NicHal>::Tx>;

/// A NIC with one open queue.
pub(super) struct Rig<'a, H: Harness> {
    pub(super) harness: &'a mut H,
    pub(super) nic: Arc<H::Nic>,
    pub(super) pool: FramePool,
    pub(super) calls: Arc<Calls>,
    pub(super) pair: Pair<H::Nic>,
}

/// A ring length that the NIC can have, near [`RING`].
fn ring_len(limits: RingLimits) -> u16 {
    let step = limits.step.max(1);
    let up = RING.max(limits.min).div_ceil(step) * step;
    up.min(limits.max)
}

pub(super) fn pool<H: Harness>(harness: &H) -> Result<FramePool, End> {
    let config = PoolConfig {
        frames: FRAMES,
        ..PoolConfig::default()
    };
    harness.pool(config).map_err(broken)
}

/// A configuration that the NIC must accept.
pub(super) fn config(capabilities: &NicCapabilities, pool: &FramePool) -> OpenConfig {
    OpenConfig {
        queues: 1,
        rx_ring: ring_len(capabilities.rx_ring),
        tx_ring: ring_len(capabilities.tx_ring),
        mtu: 1500.min(capabilities.max_mtu),
        ..OpenConfig::new(pool.clone())
    }
}

/// Opens one queue.
pub(super) fn open<N: NicHal>(
    nic: &N,
    pool: &FramePool,
    calls: &Arc<Calls>,
) -> Result<Pair<N>, End> {
    open_one(nic, &config(&nic.capabilities(), pool), calls)
}

fn open_one<N: NicHal>(nic: &N, config: &OpenConfig, calls: &Arc<Calls>) -> Result<Pair<N>, End> {
    let mut pairs = nic.open(config, calls.clone()).map_err(broken)?;
    ensure_eq("the number of queue pairs", pairs.len(), 1)?;
    pairs.pop().ok_or_else(|| broken("no queue pair"))
}

/// Opens one queue in a way of the check's own.
pub(super) fn open_as<'a, H: Harness>(
    harness: &'a mut H,
    pool: FramePool,
    config: &OpenConfig,
) -> Result<Rig<'a, H>, End> {
    let (nic, calls) = (harness.nic(), Arc::new(Calls::default()));
    let pair = open_one(&*nic, config, &calls)?;
    harness.step();
    Ok(Rig {
        harness,
        nic,
        pool,
        calls,
        pair,
    })
}

/// A frame to `to`, of `len` bytes, each of which depends on `seed`.
pub(super) fn packet(to: MacAddress, len: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at * 7 + seed * 31 + 1) as u8).collect();
    let header = [to.0, [0x02, 0, 0, 0, 0xaa, 0xbb]].concat();
    // The type is an unassigned one, so that no NIC takes it for a length.
    let header = header.iter().chain(&[0x88, 0xb5]);
    for (byte, &fixed) in bytes.iter_mut().zip(header) {
        *byte = fixed;
    }
    bytes
}

impl<'a, H: Harness> Rig<'a, H> {
    /// Opens the NIC with one queue.
    pub(super) fn new(harness: &'a mut H) -> Result<Self, End> {
        let (nic, pool, calls) = (harness.nic(), pool(harness)?, Arc::new(Calls::default()));
        let pair = open(&*nic, &pool, &calls)?;
        // The link may take a while to come up.
        harness.step();
        Ok(Self {
            harness,
            nic,
            pool,
            calls,
            pair,
        })
    }

    /// Opens the NIC with one queue and posts `frames` receive frames.
    pub(super) fn with_posted(harness: &'a mut H, frames: usize) -> Result<Self, End> {
        let mut rig = Self::new(harness)?;
        rig.post_rx(frames)?;
        Ok(rig)
    }

    pub(super) fn mac(&self) -> MacAddress {
        self.nic.capabilities().mac
    }

    pub(super) fn alloc(&self) -> Result<Frame, End> {
        self.pool
            .alloc()
            .ok_or_else(|| broken("the pool ran dry: frames leaked"))
    }

    /// Posts and kicks that many receive frames.
    pub(super) fn post_rx(&mut self, count: usize) -> Check {
        for _ in 0..count {
            let frame = self.alloc()?;
            self.pair.rx.post(frame).map_err(broken)?;
        }
        self.pair.rx.kick();
        self.harness.step();
        Ok(())
    }

    /// Frames number `seeds` arrive, `len` bytes each.
    pub(super) fn inject(&mut self, len: usize, seeds: core::ops::Range<usize>) {
        let mac = self.mac();
        for seed in seeds {
            self.harness.inject(QUEUE, &packet(mac, len, seed));
            self.harness.step();
        }
    }

    /// Takes every received frame.
    pub(super) fn reap_rx(&mut self) -> Vec<Frame> {
        reap_all(&mut self.pair.rx)
    }

    /// A packet in a frame, to a neighbour.
    pub(super) fn filled(&self, len: usize, seed: usize) -> Result<Frame, End> {
        let mut frame = self.alloc()?;
        let bytes = packet(MacAddress([2, 9, 9, 9, 9, 9]), len, seed);
        let room = frame
            .put(len)
            .ok_or_else(|| broken("a pool's frame is short"))?;
        room.copy_from_slice(&bytes);
        Ok(frame)
    }

    /// Sends packets number `seeds`, `len` bytes each, in one kick, and lets
    /// the hardware work.
    pub(super) fn send(&mut self, len: usize, seeds: core::ops::Range<usize>) -> Check {
        for seed in seeds {
            let frame = self.filled(len, seed)?;
            self.pair.tx.post(frame).map_err(broken)?;
        }
        self.pair.tx.kick();
        self.harness.step();
        Ok(())
    }

    /// What came out on the wire.
    pub(super) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        self.harness.drain(&mut |bytes| seen.push(bytes.to_vec()));
        self.harness.step();
        seen
    }

    /// Takes every sent frame.
    pub(super) fn reap_tx(&mut self) -> Vec<Frame> {
        reap_all(&mut self.pair.tx)
    }

    pub(super) fn stats(&self) -> NicStats {
        let mut stats = NicStats::default();
        self.nic.stats(&mut stats);
        stats
    }

    pub(super) fn unmask(&mut self) {
        self.nic.unmask_irq(QUEUE);
        self.harness.step();
    }

    /// The rings work: one frame each way. Receive frames are posted.
    pub(super) fn both_ways_work(&mut self) -> Check {
        // What an earlier session has sent is not of interest.
        self.drain();
        self.post_rx(1)?;
        self.inject(60, 0..1);
        ensure_eq("the number of frames received", self.reap_rx().len(), 1)?;
        self.send(60, 0..1)?;
        ensure_eq("the number of packets on the wire", self.drain().len(), 1)?;
        ensure_eq("the number of frames sent", self.reap_tx().len(), 1)
    }
}

/// Reaps until nothing is left, alternately in batches and singly.
pub(super) fn reap_all(ring: &mut dyn DmaRing) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut batch = FrameBatch::new();
    while ring.reap_into(&mut batch, 3) > 0 {
        frames.extend(batch.drain(..));
        frames.extend(ring.reap());
    }
    frames
}

/// The pool is whole again.
pub(super) fn ensure_all_home(pool: &FramePool) -> Check {
    ensure_eq(
        "the number of frames at home",
        pool.count_free(),
        FRAMES as usize,
    )
}

/// Sizes that a frame can have, in bytes, from `min` on.
pub(super) fn sizes(min: usize, mtu: u16) -> impl Iterator<Item = usize> {
    let max = usize::from(mtu) + ETHERNET_HEADER;
    let sizes = [
        14, 15, 42, 59, 60, 61, 64, 65, 128, 511, 512, 1024, 1513, 1514,
    ];
    sizes
        .into_iter()
        .filter(move |size| (min..=max).contains(size))
}
