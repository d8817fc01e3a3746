//! Flow control by pause frames.

use crate::rig::*;
use softnet_nic_hal::MacAddress;

const FCAL: u32 = 0x0028;
const FCAH: u32 = 0x002c;
const FCT: u32 = 0x0030;
const FCTTV: u32 = 0x0170;
const FCRTL: u32 = 0x2160;
const FCRTH: u32 = 0x2168;
const DC: u32 = 0x4030;
const XONRXC: u32 = 0x4048;
const XONTXC: u32 = 0x404c;
const XOFFRXC: u32 = 0x4050;
const XOFFTXC: u32 = 0x4054;
const FCRUC: u32 = 0x4058;

const RFCE: u32 = 1 << 27;
const TFCE: u32 = 1 << 28;
const TXOFF: u32 = 1 << 4;
const SWXOFF: u32 = 1 << 22;
const DPF: u32 = 1 << 22;
const PMCF: u32 = 1 << 23;

const GROUP: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0, 0, 1]);
/// Nanoseconds of a pause quantum at 1000 Mbit/s: 512 bit times.
const QUANTUM_NS: u64 = 512;

fn control(to: MacAddress, from: MacAddress, opcode: u16, quanta: u16) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    for word in [0x8808, opcode, quanta] {
        frame.extend(word.to_be_bytes());
    }
    frame.resize(60, 0);
    frame
}

fn pause(quanta: u16) -> Vec<u8> {
    control(GROUP, MacAddress([2, 0, 0, 0, 0, 9]), 1, quanta)
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
fn a_pause_frame_silences_the_transmitter_until_its_time_is_over_or_an_xon_comes() {
    for xon in [false, true] {
        let mut rig = card(RFCE);
        let _rx = rig.receive(SECRC);
        let mut tx = rig.transmit();
        rig.wire.push(&pause(10));
        let start = rig.now_ns + 1;
        rig.step();
        tx.put(&frame(MAC, 60), WHOLE);
        tx.ring_doorbell(&rig);
        let due = rig.step().next_event_ns;
        assert_eq!(due, Some(start + 10 * QUANTUM_NS));
        assert_ne!(rig.r(STATUS) & TXOFF, 0);
        assert!(rig.wire.sent().is_empty());
        if xon {
            rig.deliver(&pause(0));
        } else {
            rig.now_ns = start + 10 * QUANTUM_NS - 1;
        }
        rig.step();
        assert_eq!(rig.wire.sent().len(), 1);
        assert_eq!(rig.r(STATUS) & TXOFF, 0);
        let counts = [XOFFRXC, XONRXC, DC].map(|at| rig.r(at));
        assert_eq!(counts, [1, u32::from(xon), 1]);
    }
}

#[test]
fn the_status_shows_no_silence_that_is_over_also_with_nothing_to_send() {
    let mut rig = card(RFCE);
    let _rx = rig.receive(SECRC);
    rig.deliver(&pause(10));
    assert_ne!(rig.r(STATUS) & TXOFF, 0);
    rig.now_ns += 10 * QUANTUM_NS;
    rig.step();
    assert_eq!(rig.r(STATUS) & TXOFF, 0);
}

#[test]
fn mac_control_frames_reach_the_host_as_rctl_says() {
    let other = control(GROUP, MAC, 2, 0);
    for (frame, rctl, directions, received) in [
        (pause(1), 0, RFCE, true),
        (pause(1), DPF, RFCE, false),
        (other.clone(), 0, RFCE, false),
        (other, PMCF, RFCE, true),
        (pause(1), DPF, 0, true),
    ] {
        let mut rig = card(directions);
        let ring = rig.receive(SECRC | MPE | rctl);
        rig.deliver(&frame);
        assert_eq!(ring.done(0), received);
        let heard = [XOFFRXC, FCRUC].map(|at| rig.r(at));
        assert_eq!(heard.iter().sum::<u32>(), u32::from(directions != 0));
    }
}

#[test]
fn a_full_fifo_asks_for_silence_and_an_empty_one_ends_it() {
    let mut rig = card(TFCE);
    let _ring = rig.receive(SECRC);
    rig.w(RX + TAIL, 0);
    rig.w(FCRTH, 8192);
    rig.w(FCRTL, 1 << 31 | 4096);
    for _ in 0..5 {
        rig.deliver(&frame(MAC, 1500));
    }
    assert!(rig.wire.sent().is_empty());
    rig.deliver(&frame(MAC, 1500));
    assert_eq!(rig.wire.sent(), [control(GROUP, MAC, 1, 100)]);
    rig.deliver(&frame(MAC, 1500));
    assert!(rig.wire.sent().is_empty(), "it was asked for already");
    rig.w(RX + TAIL, 7);
    rig.settle();
    assert_eq!(rig.wire.sent(), [control(GROUP, MAC, 1, 0)]);
    assert_eq!([XOFFTXC, XONTXC].map(|at| rig.r(at)), [1, 1]);
}

#[test]
fn software_can_ask_for_silence() {
    let mut rig = card(0);
    let _rx = rig.receive(SECRC);
    rig.w(TCTL, EN | SWXOFF);
    rig.step();
    assert_eq!(rig.wire.sent(), [control(GROUP, MAC, 1, 100)]);
    assert_eq!(rig.r(TCTL) & SWXOFF, 0, "it clears itself");
}
