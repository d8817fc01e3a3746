//! A stack that goes on, whatever its NIC does.

use super::Whim;
use crate::nic::{IrqHandler, NicHal, OpenConfig, QueueId, Queues, RingLimits};
use crate::stats::NicStats;
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, FramePool, PoolConfig, TxChecksum};

struct Deaf;

impl IrqHandler for Deaf {
    fn irq(&self, _: QueueId) {}
}

/// Frames of the pool that a NIC is tormented with.
const FRAMES: u32 = 128;

/// Opens the NIC, sends, receives, masks, unmasks and stops it, as the whim has it,
/// for so many operations. `between` is called between them: it changes the
/// hardware's mood, and lets it work. Returns how many of the operations found the NIC
/// open: a NIC that always refuses has stood nothing.
///
/// # Panics
/// When there is no memory, or a frame does not come home: this is for tests.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn torment_nic<N: NicHal>(
    nic: &N,
    whim: &Whim,
    operations: usize,
    mut between: impl FnMut(),
) -> usize {
    let config = PoolConfig {
        frames: FRAMES,
        ..PoolConfig::default()
    };
    let pool = FramePool::new(config).unwrap_or_else(|why| panic!("no frames: {why}"));
    let (mut queues, mut open) = (Vec::new(), 0);
    for _ in 0..operations {
        if whim.is_spent() {
            break;
        }
        open += usize::from(operate(nic, whim, &pool, &mut queues));
        between();
    }
    let _ = nic.stop();
    drop(queues);
    let home = pool.count_free();
    assert_eq!(home, FRAMES as usize, "frames did not come home");
    open
}

/// Returns whether the NIC was open.
fn operate<N: NicHal>(nic: &N, whim: &Whim, pool: &FramePool, queues: &mut Queues<N>) -> bool {
    if queues.is_empty() && whim.chance(96) {
        *queues = open(nic, whim, pool);
    }
    let which = whim.below(queues.len());
    let Some(pair) = queues.get_mut(which) else {
        return false;
    };
    let queue = pair.id;
    match whim.below(12) {
        0..3 => post_rx(&mut pair.rx, whim, pool),
        3..6 => post_tx(&mut pair.tx, whim, pool),
        6 => reap(&mut pair.rx, whim),
        7 => reap(&mut pair.tx, whim),
        8 => nic.unmask_irq(queue),
        9 => nic.mask_irq(queue),
        10 => look(nic, whim),
        _ => stop(nic, whim, queues),
    }
    true
}

fn open<N: NicHal>(nic: &N, whim: &Whim, pool: &FramePool) -> Queues<N> {
    let capabilities = nic.capabilities();
    let config = OpenConfig {
        queues: 1 + whim.below(usize::from(capabilities.max_queues.min(4))) as u16,
        rx_ring: ring(capabilities.rx_ring),
        tx_ring: ring(capabilities.tx_ring),
        mtu: capabilities.max_mtu.min(1500),
        scatter: capabilities.scatter && whim.chance(128),
        ..OpenConfig::new(pool.clone())
    };
    nic.open(&config, Arc::new(Deaf)).unwrap_or_default()
}

/// The shortest ring, or 16 descriptors.
fn ring(limits: RingLimits) -> u16 {
    let step = limits.step.max(1);
    (limits.min.max(16).div_ceil(step) * step).min(limits.max)
}

fn post_rx(ring: &mut impl DmaRing, whim: &Whim, pool: &FramePool) {
    for _ in 0..=whim.below(20) {
        let Some(frame) = pool.alloc() else {
            break;
        };
        if ring.post(frame).is_err() {
            break;
        }
    }
    ring.kick();
}

fn post_tx(ring: &mut impl DmaRing, whim: &Whim, pool: &FramePool) {
    for _ in 0..=whim.below(6) {
        let Some(frame) = pool.alloc().map(|frame| packet(frame, whim)) else {
            break;
        };
        if ring.post(frame).is_err() {
            break;
        }
    }
    ring.kick();
}

/// A packet of any length, with any requests.
fn packet(mut frame: Frame, whim: &Whim) -> Frame {
    let len = whim.below(frame.tailroom() + 1);
    if let Some(room) = frame.put(len) {
        room.fill(whim.byte());
    }
    let requests = whim.byte();
    if requests & 1 != 0 {
        let (start, offset) = (whim.below(2000) as u16, whim.below(2000) as u16);
        frame.set_tx_checksum(Some(TxChecksum { start, offset }));
    }
    if requests & 2 != 0 {
        frame.set_gso_size(Some(whim.word() as u16));
    }
    if requests & 4 != 0 {
        frame.set_vlan_tci(Some(whim.word() as u16));
    }
    frame.set_continues(requests & 0x18 == 0x18);
    frame.set_wants_tx_timestamp(requests & 0x20 != 0);
    frame
}

/// Whatever the hardware said of a frame, its bytes can be read.
fn reap(ring: &mut impl DmaRing, whim: &Whim) {
    let mut batch = FrameBatch::new();
    ring.reap_into(&mut batch, whim.below(40));
    for frame in batch.drain(..) {
        let sum: u64 = frame.data().iter().map(|byte| u64::from(*byte)).sum();
        core::hint::black_box((sum, frame.tailroom(), frame.hash(), frame.checksum()));
    }
}

fn look<N: NicHal>(nic: &N, whim: &Whim) {
    let mut stats = NicStats::default();
    nic.stats(&mut stats);
    nic.ethtool_stats(&mut |_, value| {
        core::hint::black_box(value);
    });
    nic.watchdog(u64::from(whim.word()) << whim.below(30));
    nic.moderate(QueueId(0), whim.word());
    if let Some(ops) = nic.ethtool().filter(|_| whim.chance(64)) {
        core::hint::black_box((ops.coalesce().is_ok(), ops.rss().is_ok(), ops.features()));
        ops.registers(&mut |_, _, value| {
            core::hint::black_box(value);
        });
        core::hint::black_box((ops.eeprom().is_ok(), ops.self_test().is_ok()));
    }
}

/// Stops, with some rings dropped before.
fn stop<N: NicHal>(nic: &N, whim: &Whim, queues: &mut Queues<N>) {
    if whim.chance(128) {
        queues.truncate(whim.below(queues.len() + 1));
    }
    let _ = nic.stop();
    queues.clear();
}
