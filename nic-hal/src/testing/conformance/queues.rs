//! Several queues.

use super::packets::{Transport, whole};
use super::rig::{Calls, Pair, config, ensure_all_home, packet, pool, reap_all};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::{MacAddress, NicHal, OpenConfig, QueueId};
use crate::stats::NicStats;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_dma_ring::{DmaRing, FramePool};

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        (
            "a NIC opens with every number of queues it has",
            every_number
        ),
        ("each queue sends what is posted to it", each_sends),
        ("each queue interrupts for itself alone", own_interrupts),
        ("each queue receives what comes for it", each_receives),
        ("a flow stays in its queue, and no frame comes twice", flows),
        ("the counters add up over all queues", sums),
    ]
}

/// A NIC with several open queues.
struct Wide<'a, H: Harness> {
    harness: &'a mut H,
    nic: Arc<H::Nic>,
    pool: FramePool,
    calls: Arc<Calls>,
    pairs: Vec<Pair<H::Nic>>,
}

impl<'a, H: Harness> Wide<'a, H> {
    fn new(harness: &'a mut H, queues: u16) -> Result<Self, End> {
        let (nic, pool, calls) = (harness.nic(), pool(harness)?, Arc::new(Calls::default()));
        let config = OpenConfig {
            queues,
            queue_cpus: (0..usize::from(queues)).collect(),
            ..config(&nic.capabilities(), &pool)
        };
        let pairs = nic.open(&config, calls.clone()).map_err(broken)?;
        let ids: Vec<u16> = pairs.iter().map(|pair| pair.id.0).collect();
        ensure_eq("the queues", ids, (0..queues).collect())?;
        harness.step();
        Ok(Self {
            harness,
            nic,
            pool,
            calls,
            pairs,
        })
    }

    /// As many as there are, at least two and at most eight.
    fn several(harness: &'a mut H) -> Result<Self, End> {
        let queues = harness.nic().capabilities().max_queues.min(8);
        let queues = queues.min(harness.queues());
        if queues < 2 {
            return Err(End::NotApplicable("there is one queue"));
        }
        Self::new(harness, queues)
    }

    fn post_rx(&mut self, count: usize) -> Check {
        for pair in &mut self.pairs {
            for _ in 0..count {
                let frame = self.pool.alloc();
                let frame = frame.ok_or_else(|| broken("the pool ran dry"))?;
                pair.rx.post(frame).map_err(broken)?;
            }
            pair.rx.kick();
        }
        self.harness.step();
        Ok(())
    }

    /// Sends one packet on a queue, numbered by `seed`.
    fn send(&mut self, queue: usize, seed: usize) -> Result<Vec<u8>, End> {
        let bytes = packet(MacAddress([2, 9, 9, 9, 9, 9]), 80, seed);
        let mut frame = self
            .pool
            .alloc()
            .ok_or_else(|| broken("the pool ran dry"))?;
        let room = frame.put(bytes.len());
        let room = room.ok_or_else(|| broken("a pool's frame is short"))?;
        room.copy_from_slice(&bytes);
        let pair = self.pairs.get_mut(queue);
        let pair = pair.ok_or_else(|| broken("a queue is missing"))?;
        pair.tx.post(frame).map_err(broken)?;
        pair.tx.kick();
        self.harness.step();
        Ok(bytes)
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        self.harness.drain(&mut |bytes| seen.push(bytes.to_vec()));
        self.harness.step();
        seen
    }

    /// What each queue has received since the last look.
    fn received(&mut self) -> Vec<Vec<Vec<u8>>> {
        let reap = |pair: &mut Pair<H::Nic>| {
            let frames = reap_all(&mut pair.rx);
            frames.iter().map(|frame| frame.data().to_vec()).collect()
        };
        self.pairs.iter_mut().map(reap).collect()
    }

    fn reap_tx(&mut self) -> Vec<usize> {
        let reap = |pair: &mut Pair<H::Nic>| reap_all(&mut pair.tx).len();
        self.pairs.iter_mut().map(reap).collect()
    }

    fn unmask(&mut self, queue: u16) {
        self.nic.unmask_irq(QueueId(queue));
        self.harness.step();
    }

    fn stop(self) -> Check {
        self.nic.stop().map_err(broken)?;
        let Self { pairs, pool, .. } = self;
        drop(pairs);
        ensure_all_home(&pool)
    }
}

fn every_number<H: Harness>(harness: &mut H) -> Check {
    let max = harness.nic().capabilities().max_queues;
    for queues in (1..=max.min(8)).chain([max]) {
        let served = queues.min(harness.queues());
        let mut wide = Wide::new(harness, queues)?;
        wide.drain();
        wide.post_rx(1)?;
        wide.send(usize::from(served - 1), 1)?;
        ensure_eq("packets on the wire", wide.drain().len(), 1)?;
        wide.stop()?;
    }
    Ok(())
}

fn each_sends<H: Harness>(harness: &mut H) -> Check {
    let mut wide = Wide::several(harness)?;
    for queue in 0..wide.pairs.len() {
        for seed in 0..3 {
            let sent = wide.send(queue, seed)?;
            ensure_eq("on the wire", wide.drain(), alloc::vec![sent])?;
        }
        let mut want = alloc::vec![0; wide.pairs.len()];
        want[queue] = 3;
        ensure_eq("packets reaped, by queue", wide.reap_tx(), want)?;
    }
    wide.stop()
}

fn own_interrupts<H: Harness>(harness: &mut H) -> Check {
    let mut wide = Wide::several(harness)?;
    let count = wide.pairs.len();
    for queue in 0..count {
        let mut want = wide.calls.each(count);
        wide.send(queue, queue)?;
        wide.drain();
        for other in (0..count).filter(|other| *other != queue) {
            wide.unmask(other as u16);
            wide.nic.mask_irq(QueueId(other as u16));
        }
        let fired = wide.calls.each(count);
        ensure_eq("interrupts of others, by queue", fired, want.clone())?;
        wide.unmask(queue as u16);
        want[queue] += 1;
        ensure_eq("interrupts, by queue", wide.calls.each(count), want)?;
        wide.reap_tx();
        // A cause that came behind the mask may fire once more.
        wide.unmask(queue as u16);
        wide.nic.mask_irq(QueueId(queue as u16));
    }
    wide.stop()
}

fn each_receives<H: Harness>(harness: &mut H) -> Check {
    if !harness.steers() {
        return Err(End::NotApplicable("the NIC chooses queues itself"));
    }
    let mut wide = Wide::several(harness)?;
    wide.post_rx(4)?;
    let mac = wide.nic.capabilities().mac;
    for queue in 0..wide.pairs.len() {
        let before = wide.calls.each(wide.pairs.len());
        wide.unmask(queue as u16);
        let bytes = packet(mac, 70, queue);
        wide.harness.inject(QueueId(queue as u16), &bytes);
        wide.harness.step();
        let mut want = alloc::vec![Vec::new(); wide.pairs.len()];
        want[queue].push(bytes);
        ensure_eq("frames, by queue", wide.received(), want)?;
        let mut fired = before;
        fired[queue] += 1;
        ensure_eq("interrupts, by queue", wide.calls.each(fired.len()), fired)?;
    }
    wide.stop()
}

/// Frames of many flows arrive, several of each.
fn flows<H: Harness>(harness: &mut H) -> Check {
    if !harness.nic().capabilities().rss {
        return Err(End::NotApplicable("the NIC does not spread flows"));
    }
    let mut wide = Wide::several(harness)?;
    let mac = wide.nic.capabilities().mac;
    let mut queue_of = BTreeMap::new();
    for round in 0..3 {
        for port in 1..33u16 {
            wide.post_rx(usize::from(round == 0 && port < 9))?;
            let bytes = whole(Transport::Udp, mac, port, 40);
            wide.harness.inject(QueueId(0), &bytes);
            wide.harness.step();
            let queue = only_queue(&wide.received(), &bytes)?;
            let first = *queue_of.entry(port).or_insert(queue);
            ensure_eq("the queue of a flow", queue, first)?;
            wide.repost(queue)?;
        }
    }
    let mut used: Vec<usize> = queue_of.into_values().collect();
    used.sort_unstable();
    used.dedup();
    ensure(used.len() > 1, "32 flows went to one queue")?;
    wide.stop()
}

impl<H: Harness> Wide<'_, H> {
    fn repost(&mut self, queue: usize) -> Check {
        let frame = self.pool.alloc();
        let frame = frame.ok_or_else(|| broken("the pool ran dry"))?;
        let pair = self.pairs.get_mut(queue);
        let pair = pair.ok_or_else(|| broken("a queue is missing"))?;
        pair.rx.post(frame).map_err(broken)?;
        pair.rx.kick();
        self.harness.step();
        Ok(())
    }
}

fn only_queue(received: &[Vec<Vec<u8>>], want: &[u8]) -> Result<usize, End> {
    let all: usize = received.iter().map(Vec::len).sum();
    ensure_eq("frames received", all, 1)?;
    let at = received.iter().position(|frames| !frames.is_empty());
    let at = at.ok_or_else(|| broken("no frame"))?;
    ensure(received[at][0] == want, "a frame was changed")?;
    Ok(at)
}

fn sums<H: Harness>(harness: &mut H) -> Check {
    let mut wide = Wide::several(harness)?;
    let read = |nic: &H::Nic| {
        let mut stats = NicStats::default();
        nic.stats(&mut stats);
        stats
    };
    let before = read(&wide.nic);
    for queue in 0..wide.pairs.len() {
        wide.send(queue, queue)?;
        wide.drain();
    }
    wide.reap_tx();
    let after = read(&wide.nic);
    let sent = after.tx_packets - before.tx_packets;
    ensure_eq("packets sent", sent, wide.pairs.len() as u64)?;
    let bytes = after.tx_bytes - before.tx_bytes;
    ensure_eq("bytes sent", bytes, 80 * wide.pairs.len() as u64)?;
    wide.stop()
}
