//! Devices whose registers and descriptors say anything at all.

use crate::fake::{DT, FRAMES, Fake, Open, open_on, rx, tx};
use softnet_dma_ring::{DmaRing, FrameBatch, TxChecksum};
use softnet_igb::Igb;
use softnet_nic_hal::bus::IrqMode;
use softnet_nic_hal::ethtool::EthtoolOps;
use softnet_nic_hal::{NicHal, QueueId};
use std::sync::Arc;

/// A sequence of numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Words that are likely to be believed: done, with some length.
fn word(random: &mut Random) -> u64 {
    let noise = random.next();
    match random.below(4) {
        0 => noise,
        1 => noise & 0xffff_0000_ffff_ffff | random.below(3000) << 32 | 1,
        2 => random.below(2049) << 32 | 0b11,
        _ => noise & (1 << 32 | 1),
    }
}

/// One move of the device or of the stack.
fn step(open: &mut Open, random: &mut Random) {
    let queue = random.below(2) as usize;
    let at = random.below(16);
    match random.below(10) {
        0..=2 => {
            let words = (random.next(), word(random));
            open.fake.write_back(rx(queue as u32), at, words);
        }
        3 => {
            let words = (random.next(), word(random));
            open.fake.write_back(tx(queue as u32), at, words);
        }
        4 | 5 => receive(open, queue, random),
        6 | 7 => send(open, queue, random),
        8 => {
            let mut batch = FrameBatch::new();
            open.pairs[queue].tx.reap_into(&mut batch, 8);
            drop(open.pairs[queue].tx.reap());
        }
        _ => {
            open.nic.unmask_irq(QueueId(queue as u16));
            // What it raises is nothing that the handlers must survive a storm of.
            open.nic.mask_irq(QueueId(queue as u16));
            open.nic.watchdog(random.next() >> 8);
        }
    }
}

/// Reaps, and posts what there are slots for.
fn receive(open: &mut Open, queue: usize, random: &mut Random) {
    let mut batch = FrameBatch::new();
    let ring = &mut open.pairs[queue].rx;
    ring.reap_into(&mut batch, random.below(9) as usize);
    for frame in batch.drain(..).chain(ring.reap()) {
        assert!(frame.len() <= frame.capacity());
    }
    for _ in 0..random.below(16) {
        if let Some(frame) = open.pool.alloc() {
            let _ = ring.post(frame);
        }
    }
    ring.kick();
}

/// Posts packets that ask for anything.
fn send(open: &mut Open, queue: usize, random: &mut Random) {
    for _ in 0..random.below(6) {
        let Some(mut frame) = open.pool.alloc() else {
            return;
        };
        let len = random.below(2049) as usize;
        for byte in frame.put(len).unwrap() {
            *byte = random.next() as u8;
        }
        if random.below(2) == 0 && len > 13 {
            frame.data_mut()[12..14].copy_from_slice(&[8, 0]);
        }
        let bits = random.next();
        if bits & 1 != 0 {
            let start = [34, random.below(3000) as u16][(bits >> 1 & 1) as usize];
            let offset = [6, 16, 16, bits as u16][(bits >> 2 & 3) as usize];
            frame.set_tx_checksum(Some(TxChecksum { start, offset }));
        }
        frame.set_gso_size(Some((bits >> 8) as u16).filter(|_| bits & 16 != 0));
        frame.set_vlan_tci(Some(5).filter(|_| bits & 32 != 0));
        frame.set_continues(bits & 64 != 0);
        frame.set_wants_tx_timestamp(bits & 128 != 0);
        let _ = open.pairs[queue].tx.post(frame);
    }
    open.pairs[queue].tx.kick();
}

fn open_for(seed: u64) -> Open {
    open_on(Fake::new(), |config| {
        config.queues = 2;
        config.rx_ring = 16;
        config.tx_ring = 16;
        config.scatter = seed.is_multiple_of(2);
    })
}

#[test]
fn descriptors_that_say_anything_lose_no_frame() {
    for seed in 1..200 {
        let (mut open, mut random) = (open_for(seed), Random(seed));
        for _ in 0..300 {
            step(&mut open, &mut random);
        }
        for queue in 0..2 {
            // The tails are inside of their rings.
            assert!(open.fake.value(rx(queue) + DT) < 16);
            assert!(open.fake.value(tx(queue) + DT) < 16);
        }
        open.nic.stop().unwrap();
        drop(open.pairs);
        assert_eq!(open.pool.count_free(), FRAMES, "seed {seed}");
    }
}

#[test]
fn registers_that_say_anything_end_in_an_error_or_in_a_nic() {
    for seed in 1..40 {
        for kind in [IrqMode::MsiX, IrqMode::Intx] {
            let fake = Fake::new();
            fake.set_kinds(&[(kind, 4)]);
            let good = Igb::probe(fake.clone()).unwrap();
            fake.read_as_from(seed);
            // Neither hangs; the second may even succeed.
            let _ = Igb::probe(fake.clone());
            let pool = crate::fake::pool();
            let config = crate::fake::config(&pool, 4, 8);
            let stack = Arc::new(crate::fake::Stack::default());
            let pairs = good.open(&config, stack.clone());
            for vector in 0..fake.vectors() {
                let _ = fake.deliver_spurious(vector);
            }
            let _ = good.watchdog(seed);
            let _ = good.self_test();
            let _ = good.eeprom();
            good.registers(&mut |_, _, _| {});
            let _ = good.stop();
            drop(pairs);
            assert_eq!(pool.count_free(), FRAMES);
        }
    }
}
