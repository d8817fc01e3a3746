//! Receive: packets over several frames, long packets, and tags.

use crate::fake::{DD, EOP, FRAMES, Open, RDBAL, open_as};
use softnet_dma_ring::{DmaRing, FrameBatch};
use softnet_nic_hal::ethtool::Features;
use softnet_nic_hal::{NicHal, NicStats};

const RCTL: u32 = 0x0100;
const PBA: u32 = 0x1000;
const LPE: u32 = 1 << 5;
const BSEX: u32 = 1 << 25;
const RXE: u64 = 1 << 47;
const VP: u64 = 1 << 35;

fn open() -> Open {
    let mut open = open_as(4096, |config| {
        config.scatter = true;
        config.mtu = 9000;
        config.rx_ring = 8;
    });
    post(&mut open);
    open
}

fn post(open: &mut Open) {
    while open.pair.rx.free_slots() > 0 {
        open.pair.rx.post(open.pool.alloc().unwrap()).unwrap();
    }
    open.pair.rx.kick();
}

fn stats(open: &Open) -> NicStats {
    let mut stats = NicStats::default();
    open.nic.stats(&mut stats);
    stats
}

fn part(open: &Open, at: u64, len: u64, more: u64) {
    open.fake.write_back(RDBAL, at, len | DD | more);
}

/// Lengths and whether each goes on, of what is reaped at once.
fn reap(open: &mut Open, max: usize) -> Vec<(usize, bool)> {
    let mut out = FrameBatch::new();
    open.pair.rx.reap_into(&mut out, max);
    out.iter()
        .map(|frame| (frame.len(), frame.continues()))
        .collect()
}

/// Frames have 128 bytes of head room.
#[test]
fn the_mtu_and_the_frames_decide_on_buffers_long_packets_and_the_packet_buffer() {
    for (mtu, buffer_size, rctl, receive_kb) in [
        (1500, 2048 + 128, 0, 48),
        (1500, 16384 + 128, 0, 48),
        (4000, 2048 + 128, LPE, 48),
        (4000, 8192 + 128, LPE | BSEX | 3 << 16, 48),
        (9000, 8192 + 128, LPE | BSEX | 2 << 16, 40),
        (9000, 16384 + 128, LPE | BSEX | 1 << 16, 40),
        (16106, 16384 + 128, LPE | BSEX | 1 << 16, 40),
    ] {
        let open = open_as(buffer_size, |config| config.mtu = mtu);
        let value = open.fake.value(RCTL) & (LPE | BSEX | 3 << 16);
        assert_eq!(value, rctl, "MTU {mtu}, {buffer_size} bytes");
        assert_eq!(open.fake.take_log()[0], (PBA, receive_kb));
    }
}

#[test]
fn a_packet_of_several_frames_comes_when_it_is_whole() {
    let mut open = open();
    part(&open, 0, 2048, 0);
    part(&open, 1, 2048, 0);
    assert_eq!(reap(&mut open, 64), [], "its end has not come");
    part(&open, 2, 100, EOP);
    part(&open, 3, 60, EOP);
    assert_eq!(
        reap(&mut open, 64),
        [(2048, true), (2048, true), (100, false), (60, false)]
    );
    let stats = stats(&open);
    assert_eq!((stats.rx_packets, stats.rx_bytes), (2, 4256));
}

#[test]
fn a_small_budget_takes_a_packet_in_parts() {
    let mut open = open();
    part(&open, 0, 2048, 0);
    part(&open, 1, 2048, 0);
    part(&open, 2, 100, EOP);
    assert_eq!(reap(&mut open, 2), [(2048, true), (2048, true)]);
    assert_eq!(reap(&mut open, 2), [(100, false)]);
    assert_eq!(stats(&open).rx_packets, 1);
}

#[test]
fn a_packet_with_an_error_in_any_part_never_surfaces() {
    let mut open = open();
    part(&open, 0, 2048, 0);
    part(&open, 1, 50, EOP | RXE);
    part(&open, 2, 2048, 0);
    part(&open, 3, 0, EOP);
    part(&open, 4, 60, EOP);
    assert_eq!(reap(&mut open, 64), [(60, false)]);
    assert_eq!(stats(&open).rx_errors, 2);
}

#[test]
fn a_ring_full_of_a_packet_without_end_is_thrown_away_up_to_its_end() {
    let mut open = open();
    for at in 0..7 {
        part(&open, at, 2048, 0);
    }
    assert_eq!(reap(&mut open, 64), []);
    // The buffers went round, and the packet goes on in them.
    part(&open, 7, 2048, 0);
    part(&open, 0, 10, EOP);
    part(&open, 1, 60, EOP);
    assert_eq!(reap(&mut open, 64), [(60, false)]);
    post(&mut open);
    drop(open.pair);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn without_scatter_long_packets_are_counted_and_dropped() {
    let mut open = open_as(4096, |config| {
        config.mtu = 9000;
        config.rx_ring = 8;
    });
    post(&mut open);
    part(&open, 0, 2048, 0);
    part(&open, 1, 100, EOP);
    part(&open, 2, 60, EOP);
    assert_eq!(reap(&mut open, 64), [(60, false)]);
    assert_eq!(stats(&open).rx_length_errors, 1);
}

#[test]
fn a_tag_that_was_taken_out_is_in_the_frame() {
    let mut open = open();
    let ethtool = open.nic.ethtool().unwrap();
    ethtool.set_features(Features::RX_VLAN).unwrap();
    assert_ne!(open.fake.value(0) & 1 << 30, 0, "CTRL.VME");
    part(&open, 0, 60, EOP | VP | 0xa123 << 48);
    part(&open, 1, 60, EOP);
    let tags: Vec<_> = std::iter::from_fn(|| open.pair.rx.reap())
        .map(|frame| frame.vlan_tci())
        .collect();
    assert_eq!(tags, [Some(0xa123), None]);
}

#[test]
fn a_frame_that_is_posted_again_has_forgotten_its_packet() {
    let mut open = open();
    part(&open, 0, 2048, VP | 7 << 48);
    part(&open, 1, 60, EOP);
    let first = open.pair.rx.reap().unwrap();
    assert!(first.continues() && first.vlan_tci() == Some(7));
    let _ = open.pair.rx.reap().unwrap();
    open.pair.rx.post(first).unwrap();
    open.pair.rx.kick();
    for at in 2..8 {
        part(&open, at, 60, EOP);
    }
    for _ in 0..6 {
        let frame = open.pair.rx.reap().unwrap();
        assert!(!frame.continues() && frame.vlan_tci().is_none());
    }
}
