//! The device's own thread, with drivers on others.

use crate::rig::*;
use softnet_emulated::{DeviceThread, NowNs};
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A clock that advances each time it is read.
fn ticking(start: u64) -> NowNs {
    let now = AtomicU64::new(start);
    Arc::new(move || now.fetch_add(1000, Ordering::Relaxed))
}

struct Threaded {
    rig: Rig,
    thread: DeviceThread,
}

/// Moves the rig's card into a thread; the rig gets another card that nobody
/// uses.
fn start(mut rig: Rig) -> Threaded {
    let spare = Rig::new();
    let nic = std::mem::replace(&mut rig.nic, spare.nic);
    let wire = Box::new(rig.wire.clone());
    let thread = DeviceThread::spawn(Box::new(nic), wire, ticking(rig.now_ns)).unwrap();
    Threaded { rig, thread }
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn a_register_write_wakes_the_thread() {
    let rig = Rig::new();
    let mut ring = rig.tx_ring(8, PSP);
    let on = start(rig);
    for turn in 0..1000u32 {
        let at = turn as usize % 8;
        ring.put(&frame(MAC, 60), EOP | IFCS | RS);
        ring.ring_doorbell(&on.rig);
        wait_until(|| ring.done(at));
        assert_eq!(on.rig.wire.sent().len(), 1);
        ring.ring.write_u64(at * 16 + 8, 0);
    }
    assert!(on.thread.stop().is_some());
}

#[test]
fn a_frame_interrupts_and_the_cause_is_never_lost() {
    let rig = Rig::new();
    let handler = Counting::new(&rig);
    let ring = rig.rx_ring(8, SECRC);
    rig.w(IMS, RXT0);
    let on = start(rig);
    for turn in 0..1000u64 {
        on.rig.wire.push(&frame(MAC, 60));
        wait_until(|| handler.calls() > turn);
        let at = turn as usize % 8;
        assert!(ring.done(at));
        ring.rearm(at);
        on.rig.w(RDT, at as u32);
    }
    drop(on.thread);
}

#[test]
fn new_descriptors_fetch_what_waits_in_the_fifo() {
    let rig = Rig::new();
    let ring = rig.rx_ring(8, SECRC);
    let on = start(rig);
    for _ in 0..7 + 300 {
        on.rig.wire.push(&frame(MAC, 60));
    }
    for at in (0..8).cycle().take(307) {
        wait_until(|| ring.done(at));
        ring.rearm(at);
        on.rig.w(RDT, at as u32);
    }
    assert_eq!(on.rig.r(MPC), 0);
}

#[test]
fn a_disabled_receiver_has_ended_its_dma_when_the_write_returns() {
    let rig = Rig::new();
    let ring = rig.rx_ring(256, SECRC);
    let on = start(rig);
    on.rig.wire.flood(&frame(MAC, 60));
    for _ in 0..60 {
        on.rig.w(RCTL, SECRC | EN);
        wait_until(|| ring.done(0));
        on.rig.w(RCTL, SECRC);
        let head = on.rig.r(RDH);
        for at in 0..256 {
            ring.rearm(at);
        }
        assert_eq!(on.rig.r(RDH), head);
        assert!((0..256).all(|at| !ring.done(at)), "nothing came after");
        on.rig.w(RDH, 0);
    }
}

#[test]
fn unplugging_under_load_ends_dma_and_interrupts_and_the_thread() {
    for _ in 0..8 {
        let rig = Rig::new();
        let handler = Counting::new(&rig);
        let ring = Arc::new(rig.rx_ring(64, SECRC));
        rig.w(IMS, RXT0);
        let on = start(rig);
        on.rig.wire.flood(&frame(MAC, 60));
        let stop = Arc::new(AtomicBool::new(false));
        let driver = {
            let (dev, ring) = (on.rig.dev.clone(), Arc::clone(&ring));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                for at in (0..64).cycle() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    ring.rearm(at);
                    dev.write32(0, RDT, at as u32);
                    dev.write32(0, IMS, RXT0);
                }
            })
        };
        wait_until(|| handler.calls() > 50);
        on.rig.dev.unplug();
        stop.store(true, Ordering::SeqCst);
        driver.join().unwrap();
        for at in 0..64 {
            ring.rearm(at);
        }
        on.rig.dev.free_irq(0);
        let calls = handler.calls();
        wait_until(|| on.thread.is_finished());
        assert!((0..64).all(|at| !ring.done(at)), "no DMA after the unplug");
        assert_eq!(handler.calls(), calls);
        assert_eq!(on.rig.dev.dma_faults(), 0);
        assert!(on.thread.stop().is_some());
    }
}

#[test]
fn memory_can_be_taken_away_under_load() {
    let rig = Rig::new();
    let ring = rig.rx_ring(64, SECRC);
    let on = start(rig);
    on.rig.wire.flood(&frame(MAC, 60));
    wait_until(|| ring.done(0));
    drop(ring.buffers);
    for at in (0..64).cycle() {
        ring.ring.write_u64(at * 16 + 8, 0);
        on.rig.w(RDT, at as u32);
        if on.rig.dev.dma_faults() > 100 {
            break;
        }
    }
    drop(ring.ring);
    assert!(on.thread.stop().is_some());
}

#[test]
fn a_throttled_interrupt_comes_by_the_clock_alone() {
    let rig = Rig::new();
    let handler = Counting::new(&rig);
    rig.w(IMS, LSC);
    rig.w(ITR, 100);
    let on = start(rig);
    for calls in 1..200 {
        on.rig.w(ICS, LSC);
        wait_until(|| handler.calls() >= calls);
    }
}
