//! The device's own thread, with drivers on others.

use crate::rig::*;
use softnet_emulated::{DeviceThread, NowNs};
use softnet_nic_hal::bus::{CoherentMemory, IrqMode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that advances each time it is read.
fn ticking(start: u64) -> NowNs {
    let now = AtomicU64::new(start);
    Arc::new(move || now.fetch_add(1000, Ordering::Relaxed))
}

struct Threaded {
    rig: Rig,
    _thread: DeviceThread,
}

/// Moves the rig's card into a thread; the rig gets another card that nobody
/// uses.
fn start(mut rig: Rig) -> Threaded {
    let spare = Rig::new();
    let nic = std::mem::replace(&mut rig.nic, spare.nic);
    let wire = Box::new(rig.wire.clone());
    let thread = DeviceThread::spawn(Box::new(nic), wire, ticking(rig.now_ns)).unwrap();
    Threaded {
        rig,
        _thread: thread,
    }
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn a_tail_of_any_queue_wakes_the_thread() {
    let rig = Rig::new();
    let mut rings = [0, 7, 15].map(|queue| rig.tx_ring(queue, 8));
    rig.w(TCTL, EN | PSP);
    let on = start(rig);
    for turn in 0..900 {
        let (ring, at) = (&mut rings[turn % 3], turn / 3 % 8);
        ring.put(&frame(MAC, 60), WHOLE);
        ring.ring_doorbell(&on.rig);
        wait_until(|| ring.done(at));
        assert_eq!(on.rig.wire.sent().len(), 1);
        ring.ring.write_u64(at * 16 + 8, 0);
    }
}

#[test]
fn a_vector_that_masks_itself_loses_no_frame() {
    let rig = Rig::new();
    let handlers = rig.handlers(IrqMode::MsiX, 2);
    let ring = rig.rx_ring(0, 8, ONE_BUFFER);
    rig.w(RCTL, EN | SECRC);
    // Several messages, EIAME; queue 0 to vector 1.
    rig.w(0x1514, 1 << 30 | 1 << 4);
    rig.w(IVAR, 0x81);
    rig.w(EIAC, 2);
    rig.w(EIAM, 2);
    rig.w(EIMS, 2);
    let on = start(rig);
    for turn in 0..1000 {
        let at = turn as usize % 8;
        on.rig.wire.push(&frame(MAC, 60));
        wait_until(|| handlers[1].calls() > turn);
        assert!(ring.done(at), "it was stored before the message");
        ring.rearm(at);
        on.rig.w(RX + TAIL, at as u32);
        on.rig.w(EIMS, 2);
    }
    assert_eq!(handlers[0].calls(), 0);
}

#[test]
fn new_descriptors_fetch_what_waits_in_the_fifo() {
    let rig = Rig::new();
    let ring = rig.receive(SECRC);
    let on = start(rig);
    for _ in 0..7 + 300 {
        on.rig.wire.push(&frame(MAC, 60));
    }
    for at in (0..8).cycle().take(307) {
        wait_until(|| ring.done(at));
        ring.rearm(at);
        on.rig.w(RX + TAIL, at as u32);
    }
}

#[test]
fn the_clock_runs_while_the_thread_sleeps() {
    let on = start(Rig::new());
    // TIMINCA: one for every 16 ns.
    on.rig.w(0xb608, 1 << 24 | 1);
    let first = on.rig.r(0xb600);
    wait_until(|| on.rig.r(0xb600) > first);
}

#[test]
fn a_queue_that_is_switched_off_leaves_memory_alone() {
    let rig = Rig::new();
    let ring = rig.receive(SECRC);
    let on = start(rig);
    for _ in 0..200 {
        on.rig.w(RX + TAIL, 7);
        on.rig.wire.push(&frame(MAC, 60));
        on.rig.w(RX + DCTL, 0);
        let head = on.rig.r(RX + HEAD);
        let written = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| ring.words(at));
        std::thread::yield_now();
        assert_eq!(on.rig.r(RX + HEAD), head);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|at| ring.words(at)), written);
        for at in 0..8 {
            ring.rearm(at);
        }
        on.rig.w(RX + HEAD, 0);
        on.rig.w(RX + TAIL, 0);
        on.rig.w(RX + DCTL, ENABLE);
    }
}
