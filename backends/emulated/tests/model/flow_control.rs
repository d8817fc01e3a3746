//! Flow control by pause frames.

use crate::rig::*;
use softnet_nic_hal::MacAddress;

const GROUP: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0, 0, 1]);
const TXOFF: u32 = 1 << 4;
const COMMAND: u64 = EOP | IFCS | RS;
/// Nanoseconds of a pause quantum at 1000 Mbit/s: 512 bit times.
const QUANTUM_NS: u64 = 512;

fn control(to: MacAddress, opcode: u16, quanta: u16) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0x08]);
    frame.extend(opcode.to_be_bytes());
    frame.extend(quanta.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// A card as a driver sets it up for flow control in the given directions.
fn card(directions: u32) -> Rig {
    let rig = Rig::new();
    rig.w(FCAL, 0x00c2_8001);
    rig.w(FCAH, 0x0100);
    rig.w(FCT, 0x8808);
    rig.w(FCTTV, 100);
    rig.w(CTRL, SLU | 1 | directions);
    rig
}

#[test]
fn a_pause_frame_silences_the_transmitter_for_its_time() {
    for to in [GROUP, MAC] {
        let mut rig = card(RFCE);
        let _rx = rig.rx_ring(8, SECRC);
        let mut tx = rig.tx_ring(8, PSP);
        rig.wire.push(&control(to, 1, 10));
        let start = rig.now_ns + 1;
        rig.step();
        let sent = frame(MAC, 60);
        tx.put(&sent, COMMAND);
        tx.ring_doorbell(&rig);
        let due = rig.step().next_event_ns;
        assert_eq!(due, Some(start + 10 * QUANTUM_NS));
        assert_ne!(rig.r(STATUS) & TXOFF, 0);
        assert!(rig.wire.sent().is_empty());
        rig.now_ns = start + 10 * QUANTUM_NS - 1;
        rig.step();
        assert_eq!(rig.wire.sent(), [sent]);
        assert_eq!(rig.r(STATUS) & TXOFF, 0);
        assert_eq!((rig.r(XOFFRXC), rig.r(XONRXC), rig.r(DC)), (1, 0, 1));
    }
}

#[test]
fn the_status_shows_no_silence_that_is_over_also_with_nothing_to_send() {
    let mut rig = card(RFCE);
    let _rx = rig.rx_ring(8, SECRC);
    rig.deliver(&control(GROUP, 1, 10));
    assert_ne!(rig.r(STATUS) & TXOFF, 0);
    rig.now_ns += 10 * QUANTUM_NS;
    rig.step();
    assert_eq!(rig.r(STATUS) & TXOFF, 0);
}

#[test]
fn a_pause_of_no_time_ends_the_silence() {
    let mut rig = card(RFCE);
    let _rx = rig.rx_ring(8, SECRC);
    let mut tx = rig.tx_ring(8, PSP);
    rig.deliver(&control(GROUP, 1, 0xffff));
    tx.put(&frame(MAC, 60), COMMAND);
    tx.ring_doorbell(&rig);
    rig.step();
    assert!(rig.wire.sent().is_empty());
    rig.deliver(&control(GROUP, 1, 0));
    assert_eq!(rig.wire.sent().len(), 1);
    assert_eq!((rig.r(XOFFRXC), rig.r(XONRXC)), (1, 1));
}

#[test]
fn only_with_rfce_and_the_right_address_and_type_is_it_a_pause() {
    let mut other_type = control(GROUP, 1, 100);
    other_type[13] = 0x09;
    for (directions, sent) in [
        (0, control(GROUP, 1, 100)),
        (RFCE, control(MacAddress([2, 0, 0, 0, 0, 7]), 1, 100)),
        (RFCE, other_type),
    ] {
        let mut rig = card(directions);
        let rx = rig.rx_ring(8, SECRC | UPE | MPE);
        rig.deliver(&sent);
        assert_eq!(rig.r(STATUS) & TXOFF, 0);
        assert_eq!(rig.r(XOFFRXC), 0);
        assert_eq!(rx.bytes(0), sent, "it is a frame like others");
    }
}

#[test]
fn dpf_and_pmcf_say_which_control_frames_reach_memory() {
    for (rctl, opcode, came) in [
        (0, 1, true),
        (DPF, 1, false),
        (0, 2, false),
        (PMCF, 2, true),
    ] {
        let mut rig = card(RFCE);
        let rx = rig.rx_ring(8, SECRC | MPE | rctl);
        rig.deliver(&control(GROUP, opcode, 1));
        assert_eq!(rx.done(0), came, "{rctl:#x} {opcode}");
        assert_eq!(rig.r(FCRUC), u32::from(opcode != 1));
    }
}

/// Fills the FIFO beyond `bytes`, as there are no descriptors.
fn fill_fifo(rig: &mut Rig, bytes: usize) {
    for _ in 0..bytes / 1000 + 1 {
        rig.deliver(&frame(MAC, 1000));
    }
}

#[test]
fn a_full_fifo_asks_for_silence_and_an_empty_one_ends_it() {
    let mut rig = card(TFCE);
    rig.w(FCRTH, 8192);
    rig.w(FCRTL, 1024 | 1 << 31);
    let rx = rig.rx_ring(16, SECRC);
    rig.w(RDT, rig.r(RDH));
    fill_fifo(&mut rig, 8192);
    let mut xoff = control(GROUP, 1, 100);
    xoff[6..12].copy_from_slice(&MAC.0);
    let mut xon = xoff.clone();
    xon[16..18].fill(0);
    assert_eq!(rig.wire.sent(), [xoff.clone()]);
    // The partner's silence ends, and the FIFO is as full as before.
    let due = rig.step().next_event_ns.unwrap();
    rig.now_ns = due - 1;
    rig.step();
    assert_eq!(rig.wire.sent(), [xoff]);
    rig.w(RDT, (rig.r(RDH) + 15) % 16);
    rig.step();
    assert!(rx.done(0));
    assert_eq!(rig.wire.sent(), [xon]);
    assert_eq!((rig.r(XOFFTXC), rig.r(XONTXC)), (2, 1));
    rig.settle();
    assert!(rig.wire.sent().is_empty());
}

#[test]
fn between_the_thresholds_an_expired_silence_is_not_waited_for() {
    let mut rig = card(TFCE);
    rig.w(FCRTH, 8192);
    rig.w(FCRTL, 1024 | 1 << 31);
    let _rx = rig.rx_ring(16, SECRC);
    rig.w(RDT, rig.r(RDH));
    fill_fifo(&mut rig, 8192);
    // Room for some of the frames.
    rig.w(RDT, (rig.r(RDH) + 4) % 16);
    rig.step();
    rig.now_ns += 1_000_000;
    let step = rig.step();
    assert_eq!((step.next_event_ns, step.again), (None, false));
    assert_eq!(rig.wire.sent().len(), 1);
}

#[test]
fn without_tfce_or_a_threshold_nothing_is_asked_for() {
    for (directions, threshold) in [(0, 8192), (TFCE, 0)] {
        let mut rig = card(directions);
        rig.w(FCRTH, threshold);
        let _rx = rig.rx_ring(16, SECRC);
        rig.w(RDT, rig.r(RDH));
        fill_fifo(&mut rig, 8192);
        assert!(rig.wire.sent().is_empty());
    }
}

#[test]
fn software_asks_for_silence_with_a_bit_that_clears_itself() {
    let mut rig = card(0);
    rig.w(TCTL, PSP | EN | SWXOFF);
    rig.step();
    let sent = rig.wire.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][12..18], [0x88, 0x08, 0, 1, 0, 100]);
    assert_eq!(rig.r(TCTL), PSP | EN);
    rig.step();
    assert!(rig.wire.sent().is_empty());
}

#[test]
fn a_silence_of_no_time_is_asked_for_once_until_the_fifo_has_drained() {
    let mut rig = card(TFCE);
    rig.w(FCTTV, 0);
    rig.w(FCRTH, 8192);
    rig.w(FCRTL, 1024);
    let _rx = rig.rx_ring(16, SECRC);
    for times in 1..3 {
        rig.w(RDT, rig.r(RDH));
        fill_fifo(&mut rig, 8192);
        for _ in 0..5 {
            rig.step();
        }
        assert_eq!(rig.wire.sent().len(), 1);
        assert_eq!((rig.r(XOFFTXC), rig.r(XONTXC)), (0, 1), "the {times}.");
        rig.w(RDT, (rig.r(RDH) + 15) % 16);
        rig.settle();
        assert!(rig.wire.sent().is_empty());
    }
}

#[test]
fn while_the_fifo_is_full_a_time_that_comes_later_is_asked_for() {
    let mut rig = card(TFCE);
    rig.w(FCTTV, 0);
    rig.w(FCRTH, 8192);
    let _rx = rig.rx_ring(16, SECRC);
    rig.w(RDT, rig.r(RDH));
    fill_fifo(&mut rig, 8192);
    rig.wire.sent();
    rig.w(FCTTV, 7);
    rig.step();
    rig.step();
    let sent = rig.wire.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][16..18], [0, 7]);
}
