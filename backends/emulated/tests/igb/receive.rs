//! Receive: descriptors, filters, checksums, what finds no room.

use crate::frames::*;
use crate::rig::*;
use softnet_emulated::IgbConfig;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};

const DD_EOP: u32 = 3;
const VP: u32 = 1 << 3;
const UDPCS: u32 = 1 << 4;
const L4CS: u32 = 1 << 5;
const IPCS: u32 = 1 << 6;
const L4E: u32 = 1 << 29;
const IPE: u32 = 1 << 30;
const RXE: u32 = 1 << 31;

const OTHER: MacAddress = MacAddress([2, 9, 9, 9, 9, 9]);
const GROUP: MacAddress = MacAddress([1, 0, 0x5e, 0, 0, 0x17]);

#[test]
fn a_frame_fills_an_advanced_descriptor() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    let sent = frame(MAC, 100);
    rig.deliver(&sent);
    // No hash, no type; status DD and EOP; length 100; no tag.
    assert_eq!(ring.words(0), [0, 100 << 32 | u64::from(DD_EOP)]);
    assert_eq!(ring.bytes(0), sent);
    assert_eq!(rig.r(RX + HEAD), 1);
    assert!(!ring.done(1));
}

#[test]
fn a_frame_fills_a_legacy_descriptor() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(0, 8, LEGACY);
    rig.w(RCTL, EN | SECRC);
    let before = ring.words(0)[0];
    rig.deliver(&frame(MAC, 100));
    let bad = broken(&golden(UDP_IPV4), 24);
    rig.w(RCTL, EN | SECRC | UPE);
    rig.deliver(&bad);
    // Length, no packet checksum; status and errors; no tag.
    assert_eq!(ring.words(0), [before, 100 | u64::from(DD_EOP) << 32]);
    let status = DD_EOP | UDPCS | L4CS | IPCS;
    let expected = 60 | u64::from(status) << 32 | u64::from(IPE >> 24) << 40;
    assert_eq!(ring.words(1)[1], expected);
}

#[test]
fn without_secrc_the_fcs_comes_along() {
    let mut rig = Rig::new();
    let ring = rig.receive(0);
    let sent = frame(MAC, 60);
    rig.deliver(&sent);
    let stored = ring.bytes(0);
    assert_eq!((stored.len(), &stored[..60]), (64, &sent[..]));
    // The CRC over a frame with its FCS has a constant remainder.
    assert_eq!(crc32fast::hash(&stored), 0x2144_df1c);
}

#[test]
fn a_long_frame_takes_several_buffers_of_srrctl() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(0, 8, 1 << 25 | 1);
    rig.w(RCTL, EN | SECRC | LPE);
    let sent = frame(MAC, 2500);
    rig.deliver(&sent);
    assert_eq!([0, 1, 2].map(|at| ring.len(at)), [1024, 1024, 452]);
    assert_eq!([0, 1, 2].map(|at| ring.status(at)), [1, 1, DD_EOP]);
    let whole: Vec<u8> = (0..3).flat_map(|at| ring.bytes(at)).collect();
    assert_eq!(whole, sent);
    assert_eq!(rig.r(RX + HEAD), 3);
}

#[test]
fn where_srrctl_has_no_size_rctl_has_it() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(0, 8, 1 << 25);
    rig.w(RCTL, EN | SECRC | 2 << 16);
    rig.deliver(&frame(MAC, 600));
    assert_eq!([0, 1].map(|at| ring.len(at)), [512, 88]);
}

/// A name, RCTL, what else is set up, where the frame goes to, and whether it is
/// received, with PIF.
type Case = (&'static str, u32, fn(&Rig), MacAddress, Option<u32>);

#[test]
fn the_filters_let_through_what_they_are_for() {
    let nothing = |_: &Rig| {};
    let in_table = |rig: &Rig| {
        // Bits 47:36 of the address: 170h.
        rig.w(MTA + (0x170 >> 5) * 4, 1 << (0x170 & 31));
    };
    let last_address = |rig: &Rig| {
        rig.w(RAL16 + 7 * 8, 0x0909_0902);
        rig.w(RAL16 + 7 * 8 + 4, 0x8000_0909);
    };
    let cases: [Case; 9] = [
        ("own", 0, nothing, MAC, Some(0)),
        ("other", 0, nothing, OTHER, None),
        ("promiscuous", UPE, nothing, OTHER, Some(0)),
        ("the last entry", 0, last_address, OTHER, Some(0)),
        ("broadcast", 0, nothing, BROADCAST, None),
        ("accepted broadcast", BAM, nothing, BROADCAST, Some(0)),
        ("group", UPE, nothing, GROUP, None),
        ("all groups", MPE, nothing, GROUP, Some(0)),
        ("a listed group", 0, in_table, GROUP, Some(1 << 7)),
    ];
    for (name, rctl, set_up, to, expected) in cases {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | rctl);
        set_up(&rig);
        rig.deliver(&frame(to, 60));
        let found = ring.done(0).then(|| ring.status(0) & 1 << 7);
        assert_eq!(found, expected, "{name}");
        assert_eq!(
            rig.nic.counters().rx_filtered,
            u64::from(expected.is_none())
        );
    }
}

#[test]
fn tags_are_stripped_filtered_or_left_alone() {
    let plain = golden(UDP_IPV4);
    let sent = tagged(&plain, 0x8100, 0xa123);
    for (ctrl, rctl, listed, expected) in [
        (0, 0, false, Some((sent.clone(), 0, 0))),
        (VME, 0, false, Some((plain.clone(), VP, 0xa123))),
        (VME, VFE, false, None),
        (VME, VFE, true, Some((plain.clone(), VP, 0xa123))),
        (0, VFE, true, Some((sent.clone(), 0, 0))),
    ] {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | UPE | rctl);
        rig.w(CTRL, SLU | 1 | ctrl);
        if listed {
            rig.w(VFTA + (0x123 >> 5) * 4, 1 << (0x123 & 31));
        }
        rig.deliver(&sent);
        let found = ring.done(0).then(|| {
            let tag = ring.words(0)[1] >> 48;
            let mut bytes = ring.bytes(0);
            bytes.truncate(expected.as_ref().map_or(0, |e| e.0.len()));
            (bytes, ring.status(0) & VP, tag as u16)
        });
        assert_eq!(found, expected, "CTRL {ctrl:#x}, RCTL {rctl:#x}, {listed}");
    }
}

#[test]
fn the_ethertype_of_tags_is_vet() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC | UPE);
    rig.w(CTRL, SLU | 1 | VME);
    rig.w(VET, 0x88a8);
    rig.deliver(&tagged(&golden(UDP_IPV4), 0x8100, 1));
    rig.deliver(&tagged(&golden(UDP_IPV4), 0x88a8, 1));
    assert_eq!([0, 1].map(|at| ring.status(at) & VP), [0, VP]);
}

/// The frame with a wrong byte.
fn broken(frame: &[u8], at: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] ^= 1;
    frame
}

#[test]
fn checksums_are_verified_as_rxcsum_says() {
    let sctp = golden(SCTP_IPV4);
    let [tcp, udp, tcp6, fragment] = [TCP_IPV4, UDP_IPV4, TCP_IPV6, FRAGMENT_IPV4].map(golden);
    for (name, frame, rxcsum, expected) in [
        ("TCP", tcp.clone(), 0x300, IPCS | L4CS),
        ("UDP", udp.clone(), 0x300, IPCS | L4CS | UDPCS),
        ("TCP over IPv6", tcp6.clone(), 0x300, L4CS),
        ("a fragment", fragment, 0x300, IPCS),
        ("bad TCP", broken(&tcp, 50), 0x300, IPCS | L4CS | L4E),
        ("bad IP", broken(&udp, 24), 0x300, IPCS | IPE | L4CS | UDPCS),
        ("IP only", broken(&tcp, 50), 0x100, IPCS),
        ("transport only", tcp, 0x200, L4CS),
        ("neither", broken(&udp, 24), 0, 0),
        ("SCTP", sctp.clone(), 0xb00, IPCS | L4CS),
        ("bad SCTP", broken(&sctp, 50), 0xb00, IPCS | L4CS | L4E),
        ("SCTP without its CRC", sctp, 0x300, IPCS),
    ] {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | UPE);
        rig.w(RXCSUM, rxcsum);
        rig.deliver(&frame);
        assert_eq!(ring.status(0) & !DD_EOP, expected, "{name}");
    }
}

#[test]
fn the_packet_type_is_in_the_first_word() {
    for (name, frame, kind) in [
        ("TCP over IPv4", golden(TCP_IPV4), 1 << 4 | 1 << 8),
        ("UDP over IPv4", golden(UDP_IPV4), 1 << 4 | 1 << 9),
        ("TCP over IPv6", golden(TCP_IPV6), 1 << 6 | 1 << 8),
        (
            "IPv4 with options, tagged",
            golden(TAGGED_UDP_IPV4),
            1 << 5 | 1 << 9 | 1 << 16,
        ),
        ("a fragment", golden(FRAGMENT_IPV4), 1 << 4),
        ("no IP", frame(MAC, 60), 0),
    ] {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | UPE);
        rig.w(RXCSUM, 1 << 13);
        rig.deliver(&frame);
        assert_eq!(ring.words(0)[0], kind, "{name}");
    }
}

#[test]
fn an_ethertype_filter_names_the_type_and_the_queue() {
    let mut rig = Rig::new();
    let _first = rig.receive(SECRC);
    let ring = rig.rx_ring(5, 8, ONE_BUFFER);
    // Filter 3: queue 5 for 88b5h.
    rig.w(ETQF + 12, 1 << 31 | 1 << 26 | 5 << 16 | 0x88b5);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(ring.words(0)[0], 1 << 15 | 3 << 4);
}

#[test]
fn without_pcsd_the_identification_stands_where_the_hash_would() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC | UPE);
    let packet = golden(TCP_IPV4);
    rig.deliver(&packet);
    let id = u16::from_be_bytes([packet[18], packet[19]]);
    assert_eq!(ring.words(0)[0] >> 32, u64::from(id));
}

#[test]
fn lengths_are_limited_by_rlpml_or_1518_and_a_tag() {
    let vlan = tagged(&frame(MAC, 1514), 0x8100, 1);
    for (rctl, rlpml, packet, taken) in [
        (0, 0x2600, frame(MAC, 1514), true),
        (0, 0x2600, frame(MAC, 1515), false),
        (0, 0x2600, vlan, true),
        (LPE, 2004, frame(MAC, 2000), true),
        (LPE, 2004, frame(MAC, 2001), false),
    ] {
        let mut rig = Rig::new();
        let ring = rig.receive(SECRC | rctl);
        rig.w(RLPML, rlpml);
        rig.deliver(&packet);
        assert_eq!(ring.done(0), taken, "{} bytes", packet.len());
        assert_eq!(rig.r(ROC), u32::from(!taken));
        assert_eq!(rig.r(RLEC), u32::from(!taken));
    }
}

#[test]
fn short_frames_are_padded_or_runts() {
    for (pad_short_frames, ruc) in [(true, 0), (false, 1)] {
        let config = IgbConfig {
            pad_short_frames,
            ..IgbConfig::new(MAC)
        };
        let mut rig = Rig::with(&config);
        let ring = rig.receive(SECRC);
        rig.deliver(&frame(MAC, 42));
        assert_eq!(ring.done(0), pad_short_frames);
        if pad_short_frames {
            assert_eq!(ring.len(0), 60);
        }
        assert_eq!(rig.r(0x40a4), ruc, "RUC");
    }
}

#[test]
fn statistics_count_and_clear() {
    let mut rig = Rig::new();
    let _ring = rig.receive(SECRC | BAM | MPE);
    for to in [MAC, BROADCAST, GROUP, GROUP] {
        rig.deliver(&frame(to, 96));
    }
    for (register, value) in [(GPRC, 4), (BPRC, 1), (MPRC, 2), (RPTHC, 4), (0x4060, 4)] {
        assert_eq!(rig.r(register), value, "{register:#x}");
        assert_eq!(rig.r(register), 0, "{register:#x} is cleared by reading");
    }
    assert_eq!((rig.r(GORCL), rig.r(GORCH)), (400, 0));
    assert_eq!(rig.r(GORCL), 0, "the high half cleared it");
    // The queue's own stay: packets, octets, multicast.
    for (register, value) in [(0x1_0010, 4), (0x1_0018, 400), (0x1_003c, 2)] {
        assert_eq!([rig.r(register), rig.r(register)], [value; 2]);
    }
}

#[test]
fn frames_wait_in_the_fifo_for_descriptors_and_then_are_missed() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(0, 8, ONE_BUFFER);
    rig.w(RX + TAIL, 0);
    rig.w(RCTL, EN | SECRC);
    // 64 KiB, of which each frame takes 1536 bytes and its status.
    for number in 0..50 {
        rig.deliver(&[&frame(MAC, 1500)[..], &[number]].concat());
    }
    rig.settle();
    assert_eq!(rig.r(MPC), 8);
    assert_eq!(rig.r(ICR) & RXO, RXO);
    assert!(!ring.done(0));
    rig.w(RX + TAIL, 3);
    rig.settle();
    let last = [0, 1, 2].map(|at| ring.bytes(at)[1500]);
    assert_eq!(last, [0, 1, 2], "in order");
    assert!(!ring.done(3));
}

#[test]
fn a_queue_that_drops_does_so_and_counts_it() {
    let mut rig = Rig::new();
    let ring = rig.rx_ring(0, 8, ONE_BUFFER | DROP);
    rig.w(RX + TAIL, 1);
    rig.w(RCTL, EN | SECRC);
    for _ in 0..3 {
        rig.deliver(&frame(MAC, 60));
    }
    assert_eq!([0, 1].map(|at| ring.done(at)), [true, false]);
    assert_eq!(rig.r(RX + RQDPC), 2);
    assert_eq!(rig.r(RX + RQDPC), 0, "reading clears");
    assert_eq!(rig.r(MPC), 0);
}

#[test]
fn the_ring_wraps() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    for turn in 0..20 {
        let at = turn % 8;
        rig.deliver(&frame(MAC, 60 + turn));
        assert_eq!(ring.bytes(at).len(), 60 + turn);
        ring.rearm(at);
        rig.w(RX + TAIL, at as u32);
    }
    assert_eq!(rig.r(GPRC), 20);
}

#[test]
fn a_null_descriptor_takes_no_data() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    ring.ring.write_u64(0, 0);
    let sent = frame(MAC, 100);
    rig.deliver(&sent);
    assert_eq!((ring.len(0), ring.status(0)), (0, 1));
    assert_eq!(ring.bytes(1), sent);
    assert_eq!(rig.dev.dma_faults(), 0);
}

#[test]
fn a_buffer_that_is_not_mapped_costs_its_packet() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    ring.ring.write_u64(0, 0xdead_0000);
    rig.deliver(&frame(MAC, 100));
    rig.deliver(&frame(MAC, 101));
    assert_eq!(ring.status(0), DD_EOP | RXE);
    assert_eq!(ring.len(1), 101);
    assert_eq!(rig.dev.dma_faults(), 1);
}

#[test]
fn a_ring_that_is_not_mapped_stops_its_queue_until_it_is_enabled_again() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    rig.w(RX + BAH, 0x7777);
    rig.deliver(&frame(MAC, 100));
    assert_eq!(rig.dev.dma_faults(), 1);
    rig.w(RX + BAH, (ring.ring.dma_addr().0 >> 32) as u32);
    rig.deliver(&frame(MAC, 101));
    assert!(!ring.done(0), "it is halted");
    rig.w(RX + DCTL, 0);
    rig.w(RX + DCTL, ENABLE);
    rig.settle();
    assert_eq!(ring.len(0), 101);
}

#[test]
fn nothing_is_stored_without_bus_mastering() {
    let mut rig = Rig::new();
    let ring = rig.receive(SECRC);
    rig.dev.set_bus_master(false);
    rig.deliver(&frame(MAC, 100));
    assert!(!ring.done(0));
    rig.dev.set_bus_master(true);
    rig.settle();
    assert!(ring.done(0), "it has waited");
}
