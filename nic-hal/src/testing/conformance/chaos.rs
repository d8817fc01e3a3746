//! Random sequences of everything that a stack may do, each from a seed.

use super::rig::{Rig, ensure_all_home, open, packet};
use super::{Check, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::NicHal;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use softnet_dma_ring::{DmaRing, FrameBatch};

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        (
            "in a random sequence no frame is lost, doubled or changed",
            sequence
        ),
        ("in a random sequence no interrupt is lost", interrupts),
        (
            "a NIC can be stopped at any moment, and every frame comes home",
            stops
        ),
    ]
}

/// Xorshift: the same sequence for a seed everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

/// Operations of one sequence.
const OPERATIONS: usize = 80;
/// Sequence numbers stand behind the header.
const MIN: usize = 60;

/// What is under way, as a stack would know it.
struct Traffic<'a, H: Harness> {
    rig: Rig<'a, H>,
    random: Random,
    /// Numbers of the frames that were injected and not reaped, and of the
    /// packets that were posted and not seen on the wire.
    coming: VecDeque<(usize, usize)>,
    going: VecDeque<(usize, usize)>,
    /// Receive frames in the ring, and packets that were not reaped.
    posted: usize,
    unreaped: usize,
    next: usize,
}

impl<'a, H: Harness> Traffic<'a, H> {
    fn new(rig: Rig<'a, H>, seed: u64) -> Self {
        Self {
            rig,
            random: Random::new(seed),
            coming: VecDeque::new(),
            going: VecDeque::new(),
            posted: 0,
            unreaped: 0,
            next: 0,
        }
    }

    fn operate(&mut self) -> Check {
        match self.random.below(9) {
            0 => self.post(),
            1 | 2 => self.inject(),
            3 | 4 => self.send(),
            5 => self.receive(),
            6 => self.complete(),
            7 => self.rig.both_masks(self.next.is_multiple_of(2)),
            _ => self.see_wire(),
        }
    }

    fn post(&mut self) -> Check {
        let count = self.random.below(5).min(self.rig.pair.rx.free_slots());
        self.posted += count;
        self.rig.post_rx(count)
    }

    /// No more than there are buffers for, so that none may be missed.
    fn inject(&mut self) -> Check {
        let room = self.posted - self.coming.len();
        for _ in 0..self.random.below(room.min(4) + 1) {
            let (seed, len) = self.number();
            let bytes = packet(self.rig.mac(), len, seed);
            self.rig.harness.inject(super::rig::QUEUE, &bytes);
            self.coming.push_back((seed, len));
        }
        self.rig.harness.step();
        Ok(())
    }

    fn send(&mut self) -> Check {
        let room = self.rig.pair.tx.free_slots();
        for _ in 0..self.random.below(room.min(4) + 1) {
            let (seed, len) = self.number();
            let frame = self.rig.filled(len, seed)?;
            self.rig.pair.tx.post(frame).map_err(broken)?;
            self.going.push_back((seed, len));
            self.unreaped += 1;
        }
        self.rig.pair.tx.kick();
        self.rig.harness.step();
        Ok(())
    }

    /// The next number, and the length of its frame.
    fn number(&mut self) -> (usize, usize) {
        self.next += 1;
        (self.next, MIN + self.random.below(600))
    }

    fn receive(&mut self) -> Check {
        let max = self.random.below(6);
        let mut batch = FrameBatch::new();
        let count = self.rig.pair.rx.reap_into(&mut batch, max);
        ensure(count <= max, "more was reaped than asked for")?;
        ensure_eq("reaped", batch.len(), count)?;
        self.posted -= count;
        for frame in batch.drain(..) {
            let (seed, len) = self
                .coming
                .pop_front()
                .ok_or_else(|| broken("a frame came that nobody sent"))?;
            let want = packet(self.rig.mac(), len, seed);
            let same = frame.data() == want;
            ensure(
                same,
                format_args!("frame {seed} is another, or was changed"),
            )?;
        }
        Ok(())
    }

    fn complete(&mut self) -> Check {
        let max = self.random.below(6);
        let count = self.rig.pair.tx.reap_each(max, drop);
        ensure(count <= max, "more was reaped than asked for")?;
        let left = self.unreaped.checked_sub(count);
        self.unreaped = left.ok_or_else(|| broken("more packets came back than went"))?;
        Ok(())
    }

    fn see_wire(&mut self) -> Check {
        let wire = self.rig.drain();
        for bytes in wire {
            let (seed, len) = self
                .going
                .pop_front()
                .ok_or_else(|| broken("a packet was sent that nobody posted"))?;
            let want = self.rig.filled(len, seed)?;
            let same = bytes == want.data();
            ensure(
                same,
                format_args!("packet {seed} is another, or was changed"),
            )?;
        }
        Ok(())
    }

    /// Everything arrives.
    fn finish(&mut self) -> Check {
        self.rig.harness.step();
        while !self.coming.is_empty() {
            let before = self.coming.len();
            for _ in 0..8 {
                self.receive()?;
            }
            let fewer = self.coming.len() < before;
            ensure(fewer, format_args!("{before} frames never came"))?;
        }
        self.see_wire()?;
        ensure_eq("packets that were not sent", self.going.len(), 0)?;
        let back = self.rig.reap_tx().len();
        ensure_eq("packets that came back", back, self.unreaped)
    }
}

impl<H: Harness> Rig<'_, H> {
    fn both_masks(&mut self, first: bool) -> Check {
        if first {
            self.nic.mask_irq(super::rig::QUEUE);
        }
        self.unmask();
        Ok(())
    }
}

fn sequence<H: Harness>(harness: &mut H) -> Check {
    for seed in 0..harness.seeds() {
        let rig = Rig::new(harness)?;
        let mut traffic = Traffic::new(rig, seed);
        // What an earlier session has sent is not of interest.
        traffic.rig.drain();
        for _ in 0..OPERATIONS {
            traffic.operate().map_err(|end| end.of_seed(seed))?;
        }
        traffic.finish().map_err(|end| end.of_seed(seed))?;
        traffic.rig.nic.stop().map_err(broken)?;
        let Rig { pair, pool, .. } = traffic.rig;
        drop(pair);
        ensure_all_home(&pool).map_err(|end| end.of_seed(seed))?;
    }
    Ok(())
}

/// After an unmask, what has not been announced is not there.
fn interrupts<H: Harness>(harness: &mut H) -> Check {
    for seed in 0..harness.seeds() {
        let rig = Rig::new(harness)?;
        let mut traffic = Traffic::new(rig, seed ^ 0x5555);
        traffic.rig.drain();
        for _ in 0..OPERATIONS {
            traffic.operate().map_err(|end| end.of_seed(seed))?;
            traffic
                .ensure_announced()
                .map_err(|end| end.of_seed(seed))?;
        }
        traffic.rig.nic.stop().map_err(broken)?;
    }
    Ok(())
}

impl<H: Harness> Traffic<'_, H> {
    fn ensure_announced(&mut self) -> Check {
        self.rig.drain_into(&mut self.going);
        let before = self.rig.calls.irqs();
        self.rig.unmask();
        if self.rig.calls.irqs() > before {
            return Ok(());
        }
        let (received, sent) = (self.rig.reap_rx().len(), self.rig.reap_tx().len());
        let quiet = received + sent == 0;
        self.rig.nic.mask_irq(super::rig::QUEUE);
        ensure(
            quiet,
            format_args!("{received} frames and {sent} packets were not announced"),
        )
    }
}

impl<H: Harness> Rig<'_, H> {
    /// The wire takes what is on it, of which these were the numbers.
    fn drain_into(&mut self, going: &mut VecDeque<(usize, usize)>) {
        let seen = self.drain().len();
        going.drain(..seen.min(going.len()));
    }
}

/// Stops in the middle, with the rings dropped before or after.
fn stops<H: Harness>(harness: &mut H) -> Check {
    for seed in 0..harness.seeds() {
        let rig = Rig::new(harness)?;
        let mut traffic = Traffic::new(rig, seed ^ 0xaaaa);
        traffic.rig.drain();
        let moment = traffic.random.below(OPERATIONS / 2);
        for _ in 0..moment {
            traffic.operate().map_err(|end| end.of_seed(seed))?;
        }
        let Rig {
            nic, pair, pool, ..
        } = traffic.rig;
        if seed.is_multiple_of(2) {
            nic.stop().map_err(broken)?;
            drop(pair);
        } else {
            drop(pair.rx);
            nic.stop().map_err(broken)?;
            drop(pair.tx);
        }
        ensure_all_home(&pool).map_err(|end| end.of_seed(seed))?;
    }
    let mut rig = Rig::new(harness)?;
    rig.both_ways_work()?;
    rig.nic.stop().map_err(broken)?;
    rig.pair = open(&*rig.nic, &rig.pool, &rig.calls)?;
    rig.both_ways_work()
}
