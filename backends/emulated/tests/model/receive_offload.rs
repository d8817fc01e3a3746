//! Receive: checksums, tags, and the causes that go by size.

use crate::frames::*;
use crate::rig::*;
use softnet_nic_hal::MacAddress;

const IPOFLD: u32 = 1 << 8;
const TUOFLD: u32 = 1 << 9;
const IPV6OFL: u32 = 1 << 10;
const ALL: u32 = IPOFLD | TUOFLD | IPV6OFL;

/// Bits of a descriptor's status beside DD and EOP, and of its errors.
const IXSM: u8 = 1 << 2;
const VP: u8 = 1 << 3;
const TCPCS: u8 = 1 << 5;
const IPCS: u8 = 1 << 6;
const TCPE: u8 = 1 << 5;
const IPE: u8 = 1 << 6;
const DONE: u8 = 3;

fn receiver(rxcsum: u32) -> (Rig, RxRing) {
    let rig = Rig::new();
    rig.w(RXCSUM, rxcsum);
    let ring = rig.rx_ring(16, UPE | SECRC);
    (rig, ring)
}

/// Delivers the frames, and returns each one's status and errors.
fn describe(rxcsum: u32, frames: &[Vec<u8>]) -> Vec<(u8, u8)> {
    let (mut rig, ring) = receiver(rxcsum);
    for frame in frames {
        rig.deliver(frame);
    }
    let of = |index| {
        let status = ring.status(index);
        (status.status & !DONE, status.errors)
    };
    (0..frames.len()).map(of).collect()
}

#[test]
fn checksums_are_judged_by_what_rxcsum_enables() {
    let frames = [TCP_IPV4, UDP_IPV4, TCP_IPV6, FRAGMENT_IPV4].map(golden);
    let both = (IPCS | TCPCS, 0);
    let none = (IXSM, 0);
    assert_eq!(describe(0, &frames), [none; 4]);
    assert_eq!(describe(ALL, &frames), [both, both, (TCPCS, 0), (IPCS, 0)]);
    assert_eq!(
        describe(IPOFLD | TUOFLD, &frames),
        [both, both, none, (IPCS, 0)]
    );
    assert_eq!(
        describe(IPOFLD, &frames),
        [(IPCS, 0), (IPCS, 0), none, (IPCS, 0)]
    );
    assert_eq!(
        describe(TUOFLD | IPV6OFL, &frames[..3]),
        [none, none, (TCPCS, 0)]
    );
}

#[test]
fn wrong_checksums_are_reported_and_the_packets_received() {
    let spoil = |frame: &str, at: usize| {
        let mut frame = golden(frame);
        frame[at] ^= 1;
        frame
    };
    let frames = [
        spoil(TCP_IPV4, 24),
        spoil(TCP_IPV4, 54),
        spoil(UDP_IPV4, 42),
        spoil(TCP_IPV6, 60),
    ];
    assert_eq!(
        describe(ALL, &frames),
        [
            (IPCS | TCPCS, IPE),
            (IPCS | TCPCS, TCPE),
            (IPCS | TCPCS, TCPE),
            (TCPCS, TCPE)
        ]
    );
}

#[test]
fn what_is_no_ip_or_has_no_checksum_is_not_judged() {
    let mut without = golden(UDP_IPV4);
    without[40..42].fill(0);
    let frames = [frame(MAC, 100), without];
    assert_eq!(describe(ALL, &frames), [(IXSM, 0), (IPCS, 0)]);
}

/// The table of section 9.2.2: which frames are received, and with which tag.
#[test]
fn the_filter_decides_whether_a_frame_comes_and_vme_whether_its_tag_stays() {
    let plain = frame(MAC, 100);
    for (vme, vfe, vlan, came) in [
        (false, false, 0x123, true),
        (false, true, 0x123, true),
        (false, true, 0x124, false),
        (true, false, 0x124, true),
        (true, true, 0x123, true),
        (true, true, 0x124, false),
    ] {
        let mut rig = Rig::new();
        rig.w(CTRL, SLU | 1 | if vme { VME } else { 0 });
        rig.w(VFTA + 4 * (0x123 >> 5), 1 << (0x123 & 31));
        let ring = rig.rx_ring(8, SECRC | if vfe { VFE } else { 0 });
        let sent = tagged(&plain, 0x8100, 0xa000 | vlan);
        rig.deliver(&sent);
        assert_eq!(ring.done(0), came, "{vme} {vfe} {vlan:#x}");
        rig.deliver(&plain);
        let next = usize::from(came);
        assert_eq!(ring.bytes(next), plain, "what has no tag always comes");
        assert_eq!(ring.status(next).status & VP, 0);
        if came {
            assert_eq!(ring.status(0).status & VP != 0, vme);
            assert_eq!(ring.special(0), if vme { 0xa000 | vlan } else { 0 });
            assert_eq!(ring.bytes(0), if vme { plain.clone() } else { sent });
        } else {
            assert_eq!(rig.nic.counters().rx_filtered, 1);
        }
    }
}

#[test]
fn cfien_lets_only_tags_with_that_cfi_through() {
    for (rctl, cfi, came) in [
        (CFIEN, 0, true),
        (CFIEN, 1, false),
        (CFIEN | CFI, 0, false),
        (CFIEN | CFI, 1, true),
        (CFI, 0, true),
    ] {
        let mut rig = Rig::new();
        rig.w(VFTA, 2);
        let ring = rig.rx_ring(8, SECRC | VFE | rctl);
        rig.deliver(&tagged(&frame(MAC, 100), 0x8100, 1 | cfi << 12));
        assert_eq!(ring.done(0), came, "{rctl:#x} {cfi}");
    }
}

#[test]
fn what_a_tag_is_says_vet() {
    let mut rig = Rig::new();
    rig.w(CTRL, SLU | 1 | VME);
    rig.w(VET, 0x88a8);
    let ring = rig.rx_ring(8, SECRC);
    let plain = frame(MAC, 100);
    rig.deliver(&tagged(&plain, 0x88a8, 5));
    rig.deliver(&tagged(&plain, 0x8100, 5));
    assert_eq!(ring.bytes(0), plain);
    assert_eq!(ring.bytes(1), tagged(&plain, 0x8100, 5));
}

#[test]
fn checksums_behind_a_tag_are_judged_whether_it_stays_or_not() {
    for vme in [0, VME] {
        let (mut rig, ring) = receiver(ALL);
        rig.w(CTRL, SLU | 1 | vme);
        rig.deliver(&golden(TAGGED_UDP_IPV4));
        let status = ring.status(0);
        assert_eq!(status.status & (IPCS | TCPCS | IXSM), IPCS | TCPCS);
        assert_eq!(status.errors, 0);
    }
}

#[test]
fn a_tag_is_taken_out_of_packets_over_several_descriptors_with_the_fcs_of_the_wire() {
    let mut rig = Rig::new();
    rig.w(CTRL, SLU | 1 | VME);
    let ring = rig.rx_ring(16, BSIZE_256);
    let plain = frame(MAC, 508);
    let sent = tagged(&plain, 0x8100, 9);
    rig.deliver(&sent);
    assert_eq!([0, 1].map(|at| ring.status(at).len), [256, 256]);
    let mut expected = plain;
    expected.extend(crc32fast::hash(&sent).to_le_bytes());
    assert_eq!([ring.bytes(0), ring.bytes(1)].concat(), expected);
    assert_eq!(ring.special(1), 9);
    assert_eq!(ring.status(1).status & (VP | 2), VP | 2);
}

/// The sum by the definition: words, high byte first, from `start` on.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[test]
fn the_packet_checksum_begins_at_pcss_after_stripping() {
    let plain = frame(MAC, 101);
    for (start, vme, rctl) in [(14, 0, SECRC), (5, VME, SECRC), (20, VME, 0), (99, 0, 0)] {
        let mut rig = Rig::new();
        rig.w(CTRL, SLU | 1 | vme);
        rig.w(RXCSUM, start);
        let ring = rig.rx_ring(8, rctl);
        let sent = if vme == 0 {
            plain.clone()
        } else {
            tagged(&plain, 0x8100, 3)
        };
        rig.deliver(&sent);
        let stored = ring.bytes(0);
        assert_eq!(
            ring.checksum(0),
            sum(&stored[start as usize..]),
            "from {start}"
        );
    }
}

#[test]
fn small_packets_are_a_cause_of_their_own() {
    let mut rig = Rig::new();
    rig.w(RSRPD, 64);
    let _ring = rig.rx_ring(8, SECRC);
    rig.deliver(&frame(MAC, 65));
    assert_eq!(rig.r(ICR) & (SRPD | RXT0), RXT0);
    rig.deliver(&frame(MAC, 64));
    assert_eq!(rig.r(ICR) & (SRPD | RXT0), SRPD | RXT0);
}

#[test]
fn the_longest_packet_arrives_in_eight_buffers() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(16, LPE | SECRC);
    let sent = frame(MacAddress(MAC.0), 16380);
    rig.deliver(&sent);
    let got: Vec<u8> = (0..8).flat_map(|at| ring.bytes(at)).collect();
    assert!(got == sent);
    assert!(ring.status(7).status & 2 != 0 && !ring.done(8));
}
