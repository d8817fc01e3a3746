//! The clock and its stamps.

use crate::frames::*;
use crate::rig::*;

const SYSTIML: u32 = 0xb600;
const SYSTIMH: u32 = 0xb604;
const TIMINCA: u32 = 0xb608;
const TIMADJL: u32 = 0xb60c;
const TIMADJH: u32 = 0xb610;
const TSYNCTXCTL: u32 = 0xb614;
const TXSTMPL: u32 = 0xb618;
const TXSTMPH: u32 = 0xb61c;
const TSYNCRXCTL: u32 = 0xb620;
const RXSTMPL: u32 = 0xb624;
const RXSTMPH: u32 = 0xb628;
const RXSATRL: u32 = 0xb62c;
const RXSATRH: u32 = 0xb630;
const TSYNCRXCFG: u32 = 0x5f50;

const ENABLE: u32 = 1 << 4;
const TS: u32 = 1 << 16;

/// Sixteen nanoseconds in units of 2^-19, every 16 ns.
const NANOSECONDS: u32 = 1 << 24 | 16 << 19;

fn systim(rig: &Rig) -> u64 {
    let low = rig.r(SYSTIML);
    u64::from(rig.r(SYSTIMH)) << 32 | u64::from(low)
}

#[test]
fn the_clock_counts_by_its_increment_and_period() {
    let mut rig = Rig::new();
    rig.now_ns += 1_000_000;
    rig.step();
    assert_eq!(systim(&rig), 0, "it stands");
    rig.w(TIMINCA, NANOSECONDS);
    let start = rig.now_ns;
    rig.now_ns += 160_000_000;
    rig.step();
    assert_eq!(systim(&rig) >> 19, (rig.now_ns - start) & !15);
    rig.w(SYSTIML, 5);
    rig.w(SYSTIMH, 7);
    assert_eq!(systim(&rig), 7 << 32 | 5);
}

#[test]
fn the_clock_is_adjusted_by_steps() {
    let rig = Rig::new();
    rig.w(SYSTIML, 100);
    rig.w(SYSTIMH, 0);
    rig.w(TIMADJL, 30);
    rig.w(TIMADJH, 0);
    assert_eq!(systim(&rig), 130);
    rig.w(TIMADJH, 1 << 31);
    assert_eq!(systim(&rig), 100);
}

#[test]
fn a_packet_that_asks_for_it_is_stamped_as_it_leaves() {
    let mut rig = Rig::new();
    let mut ring = rig.transmit();
    rig.w(TIMINCA, NANOSECONDS);
    let packet = frame(BROADCAST, 100);
    ring.put(&packet, WHOLE | STAMP);
    ring.ring_doorbell(&rig);
    rig.step();
    assert_eq!(rig.r(TSYNCTXCTL), 0, "stamps are off");
    rig.w(TSYNCTXCTL, ENABLE);
    rig.now_ns += 16_000_000;
    ring.put(&packet, WHOLE | STAMP);
    ring.ring_doorbell(&rig);
    rig.step();
    let left = systim(&rig);
    assert_eq!(rig.r(TSYNCTXCTL), ENABLE | 1);
    rig.now_ns += 16_000_000;
    ring.put(&packet, WHOLE | STAMP);
    ring.ring_doorbell(&rig);
    rig.step();
    let stamp = |rig: &Rig| u64::from(rig.r(TXSTMPL)) | u64::from(rig.r(TXSTMPH)) << 32;
    assert_eq!(stamp(&rig), left, "the first one stays until it is read");
    assert_eq!(rig.r(TSYNCTXCTL), ENABLE);
    assert_eq!(rig.wire.sent().len(), 3);
}

/// The header of an event message: of version 2 and a type, or of version 1 and a
/// control field.
fn message(version: u8, kind: u8) -> Vec<u8> {
    let mut header = vec![0; 44];
    header[1] = version;
    if version == 2 {
        header[0] = kind;
    } else {
        header[32] = kind;
    }
    header[22..28].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
    header[30..32].copy_from_slice(&[7, 8]);
    header
}

fn over_ethernet(message: &[u8]) -> Vec<u8> {
    let head = [0x01, 0x1b, 0x19, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0x88, 0xf7];
    [&head, message].concat()
}

/// On UDP's port 319.
fn over_udp(message: &[u8]) -> Vec<u8> {
    let mut frame = golden(UDP_IPV4)[..42].to_vec();
    frame[16..18].copy_from_slice(&(28 + message.len() as u16).to_be_bytes());
    frame[36..38].copy_from_slice(&319u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(8 + message.len() as u16).to_be_bytes());
    frame.extend(message);
    frame
}

#[test]
fn event_messages_are_stamped_as_they_come() {
    let [l2, l4] = [over_ethernet, over_udp];
    for (name, kind, packet, stamped) in [
        ("L2", 0, l2(&message(2, 3)), true),
        ("L2 of another type", 0, l2(&message(2, 1)), false),
        ("L2, over UDP", 0, l4(&message(2, 3)), false),
        ("version 1", 1, l4(&message(1, 9)), true),
        ("version 1 of another type", 1, l4(&message(1, 3)), false),
        ("both, L2", 2, l2(&message(2, 3)), true),
        ("both, UDP", 2, l4(&message(2, 3)), true),
        ("any event", 5, l4(&message(2, 7)), true),
        ("no event", 5, l4(&message(2, 8)), false),
    ] {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | UPE | MPE);
        rig.w(TIMINCA, NANOSECONDS);
        // Filter 3, with the stamp bit.
        rig.w(ETQF + 12, 1 << 30 | 1 << 26 | 0x88f7);
        rig.w(TSYNCRXCFG, 3 << 8 | 9);
        rig.w(TSYNCRXCTL, ENABLE | kind << 1);
        rig.now_ns += 16_000_000;
        rig.deliver(&packet);
        assert_eq!(ring.status(0) & TS != 0, stamped, "{name}");
        assert_eq!(rig.r(TSYNCRXCTL) & 1 != 0, stamped, "{name}");
        if stamped {
            assert_eq!(rig.r(RXSATRL), 0x0403_0201);
            assert_eq!(rig.r(RXSATRH), 0x0807_0605);
            let low = rig.r(RXSTMPL);
            let stamp = u64::from(low) | u64::from(rig.r(RXSTMPH)) << 32;
            assert_eq!(stamp, systim(&rig), "{name}");
            assert_eq!(rig.r(TSYNCRXCTL) & 1, 0, "reading makes room");
        }
    }
}

#[test]
fn the_next_message_is_not_stamped_until_the_stamp_was_read() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC | UPE | MPE);
    rig.w(TIMINCA, NANOSECONDS);
    rig.w(TSYNCRXCTL, ENABLE | 5 << 1);
    for _ in 0..2 {
        rig.deliver(&over_udp(&message(2, 0)));
    }
    rig.r(RXSTMPH);
    rig.deliver(&over_udp(&message(2, 0)));
    assert_eq!([0, 1, 2].map(|at| ring.status(at) & TS), [TS, 0, TS]);
}
