//! Headers and data in buffers of their own.

use crate::frames::*;
use crate::rig::*;

/// SRRCTL: headers of 128 bytes, packets of 2 KiB, and a layout.
const fn srrctl(layout: u32) -> u32 {
    layout << 25 | 2 << 8 | 2
}

const SPLIT: u32 = 2;
const REPLICATE: u32 = 3;
const REPLICATE_LARGE: u32 = 4;
const SPLIT_ALWAYS: u32 = 5;

/// PSRTYPE: IPv4 with TCP or UDP.
const STACKS: u32 = 1 << 2 | 1 << 3;
const HBO: u32 = 1 << 23;

fn card(layout: u32, stacks: u32) -> (Rig, RxRing) {
    let rig = Rig::new();
    let ring = rig.rx_ring(0, 8, srrctl(layout));
    rig.w(PSRTYPE, stacks);
    rig.w(RXCSUM, 1 << 13);
    rig.w(RCTL, EN | SECRC | UPE);
    (rig, ring)
}

/// SPH, and HDR_LEN.
fn header_info(ring: &RxRing, index: usize) -> (bool, usize) {
    let first = ring.words(index)[0] as u32;
    (first >> 31 != 0, (first >> 21 & 0x3ff) as usize)
}

#[test]
fn a_header_of_an_enabled_stack_is_split_off() {
    for (frame, len) in [(golden(TCP_IPV4), 54), (golden(UDP_IPV4), 42)] {
        for layout in [SPLIT, SPLIT_ALWAYS] {
            let (mut rig, ring) = card(layout, STACKS);
            rig.deliver(&frame);
            let mut whole = frame.clone();
            whole.resize(whole.len().max(60), 0);
            assert_eq!(header_info(&ring, 0), (true, len));
            assert_eq!(ring.header(0, len), whole[..len]);
            assert_eq!(ring.bytes(0), whole[len..]);
        }
    }
}

#[test]
fn what_is_no_enabled_stack_stays_whole_or_fills_the_header_buffer() {
    let sent = frame(MAC, 300);
    let (mut rig, ring) = card(SPLIT, STACKS);
    rig.deliver(&sent);
    assert_eq!(header_info(&ring, 0), (false, 0));
    assert_eq!(ring.bytes(0), sent);
    let (mut rig, ring) = card(SPLIT_ALWAYS, STACKS);
    rig.deliver(&sent);
    assert_eq!(header_info(&ring, 0), (false, 128));
    assert_eq!(ring.header(0, 128), sent[..128]);
    assert_eq!(ring.bytes(0), sent[128..]);
    assert_eq!(ring.status(0) & 3, 3, "one descriptor");
}

#[test]
fn a_replicated_header_is_in_both_buffers() {
    let mut whole = golden(UDP_IPV4);
    whole.resize(60, 0);
    for (layout, split) in [(REPLICATE, true), (REPLICATE_LARGE, false)] {
        let (mut rig, ring) = card(layout, STACKS);
        rig.deliver(&whole);
        assert_eq!(ring.bytes(0), whole);
        let len = if split { 42 } else { 0 };
        assert_eq!(header_info(&ring, 0), (split, len));
        assert_eq!(ring.header(0, len), whole[..len]);
    }
}

#[test]
fn a_header_beyond_its_buffer_is_said_to_overflow() {
    let (mut rig, ring) = card(SPLIT, STACKS);
    // Buffers for headers of no bytes at all.
    rig.w(RX + SRRCTL, SPLIT << 25 | 2);
    let sent = golden(TCP_IPV4);
    rig.deliver(&sent);
    assert_eq!(ring.status(0) & HBO, HBO);
    assert_eq!(ring.bytes(0)[..sent.len()], sent);
}

#[test]
fn a_stripped_tag_is_no_part_of_the_header() {
    let (mut rig, ring) = card(SPLIT, STACKS);
    rig.w(CTRL, SLU | 1 | VME);
    rig.deliver(&tagged(&golden(TCP_IPV4), 0x8100, 7));
    assert_eq!(header_info(&ring, 0), (true, 54));
    assert_eq!(ring.header(0, 54), golden(TCP_IPV4)[..54]);
}
