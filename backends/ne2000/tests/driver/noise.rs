//! A card that answers with noise: the driver keeps its wits, and its frames.

use crate::fake::{FRAMES, Fake, Faults, QUEUE, config, open_on};
use softnet_dma_ring::{DmaRing, FrameBatch};
use softnet_ne2000::Ne2000;
use softnet_nic_hal::NicHal;
use std::sync::Arc;

fn noise(seed: u64) -> Faults {
    Faults {
        noise: Some(seed),
        ..Faults::default()
    }
}

#[test]
fn a_probe_of_noise_ends() {
    for seed in 0..500 {
        let fake = Fake::new();
        fake.set_faults(noise(seed));
        // Whatever it says.
        let _ = Ne2000::probe(fake);
    }
}

#[test]
fn an_open_nic_that_turns_to_noise_ends_every_call_and_loses_no_frame() {
    for seed in 0..200 {
        let mut open = open_on(Fake::new());
        open.post(16);
        open.send(100, 0..4);
        open.fake.set_faults(noise(seed));
        let mut batch = FrameBatch::new();
        for turn in 0..50 {
            open.nic.unmask_irq(QUEUE);
            open.fake.deliver_spurious();
            open.pair.rx.reap_into(&mut batch, 64);
            for frame in &batch {
                assert!((60..=1518).contains(&frame.len()));
            }
            batch.clear();
            open.pair.tx.reap_into(&mut batch, 64);
            batch.clear();
            if open.pair.tx.free_slots() > 4 && open.pool.count_free() > 4 {
                open.send(1514, 0..2);
            }
            while open.pair.rx.free_slots() > 0 && open.pool.count_free() > 8 {
                open.post(1);
            }
            open.nic.watchdog(turn * 2_000_000_000);
            open.stats();
        }
        open.nic.stop().unwrap();
        let pool = open.pool.clone();
        // Noise may say that the card does not come out of its reset.
        let reopened = open.nic.open(&config(&pool), Arc::clone(&open.stack) as _);
        drop((reopened, open));
        assert_eq!(pool.count_free(), FRAMES);
    }
}
