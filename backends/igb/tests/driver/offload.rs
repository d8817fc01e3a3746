//! What a packet leaves to the chip, word by word.

use crate::fake::{DT, FRAMES, Fake, Open, open, open_on, tx};
use softnet_dma_ring::{DmaRing, Frame, FrameBatch, TxChecksum};
use softnet_nic_hal::NicHal;
use softnet_nic_hal::ethtool::{EthtoolOps, Features};

/// An advanced data descriptor with the FCS.
const DATA: u64 = 1 << 29 | 0b0011 << 20 | 1 << 25;
const EOP: u64 = 1 << 24;
const RS: u64 = 1 << 27;
const VLE: u64 = 1 << 30;
const TSE: u64 = 1 << 31;
const IDX: u64 = 1 << 36;
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
/// An advanced context descriptor.
const CONTEXT: u64 = 1 << 29 | 0b0010 << 20;
const IPV4: u64 = 1 << 10;
const TCP: u64 = 1 << 11;

const TCP_AT_34: TxChecksum = TxChecksum {
    start: 34,
    offset: 16,
};
const UDP_AT_34: TxChecksum = TxChecksum {
    start: 34,
    offset: 6,
};

/// A TCP or UDP packet over IPv4, from 10.0.0.1 to 10.0.0.2.
fn ipv4(protocol: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14] = 0x45;
    packet[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    packet[23] = protocol;
    packet[24..26].copy_from_slice(&[0x12, 0x34]);
    packet[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    if protocol == 6 {
        packet[46] = 0x50;
    }
    packet
}

/// The same over IPv6.
fn ipv6(protocol: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[12..14].copy_from_slice(&[0x86, 0xdd]);
    packet[14] = 0x60;
    packet[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
    packet[20] = protocol;
    packet[22..54].copy_from_slice(&[0x20; 32]);
    if protocol == 6 {
        packet[66] = 0x80;
    }
    packet
}

/// Puts a 802.1Q tag into a packet.
fn tagged(packet: &[u8]) -> Vec<u8> {
    [&packet[..12], &[0x81, 0, 0, 5], &packet[12..]].concat()
}

impl Open {
    fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.alloc().unwrap();
        frame.put(bytes.len()).unwrap().copy_from_slice(bytes);
        frame
    }

    fn summed(&self, bytes: &[u8], checksum: TxChecksum) -> Frame {
        let mut frame = self.frame(bytes);
        frame.set_tx_checksum(Some(checksum));
        frame
    }

    fn cut(&self, bytes: &[u8], checksum: TxChecksum, size: u16) -> Frame {
        let mut frame = self.summed(bytes, checksum);
        frame.set_gso_size(Some(size));
        frame
    }

    /// Posts and kicks; the descriptors that are new.
    fn send(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<(u64, u64)> {
        let from = u64::from(self.fake.value(tx(0) + DT));
        for frame in frames {
            self.pair().tx.post(frame).unwrap();
        }
        self.pair().tx.kick();
        let to = u64::from(self.fake.value(tx(0) + DT));
        let len = u64::from(self.fake.value(tx(0) + 8)) / 16;
        let at = (from..from + (to + len - from) % len).map(|at| at % len);
        at.map(|at| self.fake.descriptor(tx(0), at)).collect()
    }

    /// The chip reports everything as sent; what is reaped.
    fn reap(&mut self) -> Vec<Frame> {
        let tail = u64::from(self.fake.value(tx(0) + DT));
        let len = u64::from(self.fake.value(tx(0) + 8)) / 16;
        self.fake.sent(0, (tail + len - 1) % len);
        std::iter::from_fn(|| self.pair().tx.reap()).collect()
    }
}

/// A ring of 64.
fn long() -> Open {
    open_on(Fake::new(), |config| config.tx_ring = 64)
}

#[test]
fn a_checksum_takes_a_context_that_says_where_the_headers_are() {
    let cases = [
        (ipv4(6, 100), TCP_AT_34, 14 << 9 | 20, IPV4 | TCP),
        (ipv4(17, 100), UDP_AT_34, 14 << 9 | 20, IPV4),
        (
            ipv6(6, 100),
            TxChecksum {
                start: 54,
                offset: 16,
            },
            14 << 9 | 40,
            TCP,
        ),
        (
            tagged(&ipv4(17, 100)),
            TxChecksum {
                start: 38,
                offset: 6,
            },
            18 << 9 | 20,
            IPV4,
        ),
    ];
    for (packet, checksum, first, second) in cases {
        let mut open = open();
        let frame = open.summed(&packet, checksum);
        let words = open.send([frame]);
        assert_eq!(words[0], (first, CONTEXT | second));
        let len = packet.len() as u64;
        assert_eq!(words[1].1, DATA | EOP | RS | TXSM | len << 46 | len);
        assert_eq!(open.fake.packet(0, 1), packet, "the packet was changed");
    }
}

#[test]
fn a_context_that_the_chip_has_is_not_sent_again() {
    let mut open = long();
    let udp = |open: &Open| open.summed(&ipv4(17, 100), UDP_AT_34);
    let tcp = |open: &Open| open.summed(&ipv4(6, 100), TCP_AT_34);
    let six = |open: &Open| {
        let start = 54;
        open.summed(&ipv6(17, 100), TxChecksum { start, offset: 6 })
    };
    let frames = [udp(&open), udp(&open), tcp(&open), udp(&open), tcp(&open)];
    let words = open.send(frames);
    let contexts = |words: &[(u64, u64)]| -> Vec<bool> {
        let is_context = |word: &(u64, u64)| word.1 >> 20 & 0xf == 2;
        words.iter().map(is_context).collect()
    };
    let expected = [true, false, false, true, false, false, false];
    assert_eq!(contexts(&words), expected);
    // The second context has place 1, and who uses it says so.
    let places: Vec<bool> = words.iter().map(|word| word.1 & IDX != 0).collect();
    assert_eq!(places, [false, false, false, true, true, false, true]);
    assert_eq!(open.reap().len(), 5);
    // A third one takes the place of the first, which then takes the other's.
    let frames = [six(&open), tcp(&open), udp(&open)];
    let words = open.send(frames);
    assert_eq!(contexts(&words), [true, false, false, true, false]);
    assert_eq!(open.reap().len(), 3);
    assert_eq!(open.pair().tx.free_slots(), 63);
}

#[test]
fn a_tag_takes_a_context_and_is_not_in_the_packet() {
    let mut open = open();
    let mut frame = open.frame(&[7; 60]);
    frame.set_vlan_tci(Some(0xe005));
    let words = open.send([frame]);
    assert_eq!(words[0], (0xe005 << 16 | 14 << 9, CONTEXT));
    assert_eq!(words[1].1, DATA | EOP | RS | VLE | 60 << 46 | 60);
    let mut both = open.summed(&ipv4(17, 100), UDP_AT_34);
    both.set_vlan_tci(Some(5));
    let words = open.send([both]);
    assert_eq!(words[0].0, 5 << 16 | 14 << 9 | 20);
    assert_eq!(words[1].1 & (VLE | TXSM), VLE | TXSM);
}

/// The sum of the pseudo-header without a length.
fn pseudo(addresses: &[u8], protocol: u32) -> u16 {
    let words = addresses.chunks(2);
    let sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>()
        + protocol;
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn segmentation_has_its_sizes_in_the_context_and_its_headers_prepared() {
    let mut open = open();
    let packet = ipv4(6, 1854);
    let frame = open.cut(&packet, TCP_AT_34, 500);
    let words = open.send([frame]);
    let sizes = 20 << 40 | 500 << 48;
    assert_eq!(words[0], (14 << 9 | 20, CONTEXT | IPV4 | TCP | sizes));
    let command = DATA | EOP | RS | TSE | TXSM | IXSM;
    assert_eq!(words[1].1, command | 1800 << 46 | 1854);
    let sent = open.fake.packet(0, 1);
    assert_eq!(sent[16..18], [0, 0], "the IP length");
    assert_eq!(sent[24..26], [0, 0], "the IP checksum");
    assert_eq!(sent[50..52], pseudo(&packet[26..34], 6).to_be_bytes());
    assert_eq!(sent[54..], packet[54..]);
    drop(open.reap());
    // Four segments, each with 54 bytes of headers.
    let stats = open.stats();
    assert_eq!((stats.tx_packets, stats.tx_bytes), (4, 1854 + 3 * 54));
}

#[test]
fn segmentation_over_ipv6_has_no_ip_checksum() {
    let mut open = open();
    let packet = ipv6(6, 1886);
    let start = 54;
    let checksum = TxChecksum { start, offset: 16 };
    let frame = open.cut(&packet, checksum, 1400);
    let words = open.send([frame]);
    let sizes = 32 << 40 | 1400 << 48;
    assert_eq!(words[0], (14 << 9 | 40, CONTEXT | TCP | sizes));
    assert_eq!(words[1].1, DATA | EOP | RS | TSE | TXSM | 1800 << 46 | 1886);
    let sent = open.fake.packet(0, 1);
    assert_eq!(sent[18..20], [0, 0], "the payload's length");
    assert_eq!(sent[70..72], pseudo(&packet[22..54], 6).to_be_bytes());
}

#[test]
fn datagrams_are_cut_too() {
    let mut open = open();
    let packet = ipv4(17, 1642);
    let frame = open.cut(&packet, UDP_AT_34, 400);
    let words = open.send([frame]);
    assert_eq!(words[0].1, CONTEXT | IPV4 | 8 << 40 | 400 << 48);
    assert_eq!(words[1].1 >> 46, 1600);
    let sent = open.fake.packet(0, 1);
    assert_eq!(sent[40..42], pseudo(&packet[26..34], 17).to_be_bytes());
}

#[test]
fn a_packet_of_several_frames_takes_a_descriptor_for_each() {
    let mut open = long();
    let packet = ipv4(6, 4054);
    let mut first = open.cut(&packet[..54], TCP_AT_34, 1000);
    first.set_continues(true);
    let mut second = open.frame(&packet[54..2054]);
    second.set_continues(true);
    let third = open.frame(&packet[2054..]);
    let words = open.send([first, second, third]);
    assert_eq!(words.len(), 4);
    let command = DATA | TSE | TXSM | IXSM;
    assert_eq!(words[1].1, command | 4000 << 46 | 54);
    assert_eq!(words[2].1 & !(command & !DATA), DATA | 2000);
    assert_eq!(words[3].1 & (EOP | RS), EOP | RS);
    assert_eq!(words[3].1 & 0xffff, 2000);
    assert_eq!(open.reap().len(), 3);
    assert_eq!(open.stats().tx_packets, 4);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn short_packets_are_padded_unless_the_chip_sums_them() {
    let mut open = long();
    let mut tagged = open.frame(&[7; 14]);
    tagged.set_vlan_tci(Some(5));
    let mut head = open.frame(&[8; 1]);
    head.set_continues(true);
    let tail = open.frame(&[8; 19]);
    let summed = open.summed(&ipv4(17, 42), UDP_AT_34);
    let words = open.send([tagged, head, tail, summed]);
    let lengths: Vec<u64> = words
        .iter()
        .filter(|word| word.1 >> 20 & 0xf == 3)
        .map(|word| word.1 & 0xffff)
        .collect();
    assert_eq!(lengths, [60, 1, 59, 42]);
    assert_eq!(words[2].1 >> 46, 60);
    assert_eq!(open.fake.packet(0, 3)[19..], [0; 40]);
    let short = open.frame(&[1; 13]);
    let mut part = open.frame(&[1; 6]);
    part.set_continues(true);
    let end = open.frame(&[1; 7]);
    assert_eq!(open.send([short, part, end]), []);
    assert_eq!(open.stats().tx_dropped, 2);
}

#[test]
fn a_checksum_may_lie_in_a_later_frame_but_not_behind_the_packet() {
    let mut open = long();
    let packet = ipv4(17, 100);
    let mut head = open.summed(&packet[..14], UDP_AT_34);
    head.set_continues(true);
    let rest = open.frame(&packet[14..]);
    let words = open.send([head, rest]);
    assert_eq!(words.len(), 3);
    assert_eq!(words[0], (14 << 9 | 20, CONTEXT | IPV4));
    assert_eq!(words[1].1, DATA | TXSM | 100 << 46 | 14);
    let mut head = open.summed(&packet[..14], UDP_AT_34);
    head.set_continues(true);
    let short = open.frame(&packet[14..41]);
    assert_eq!(open.send([head, short]), []);
    assert_eq!(open.stats().tx_dropped, 1);
}

#[test]
fn the_tail_never_stands_inside_of_a_packet() {
    let mut open = long();
    let whole = open.frame(&[1; 60]);
    let mut head = open.frame(&[2; 60]);
    head.set_continues(true);
    let words = open.send([whole, head]);
    assert_eq!(words.len(), 1);
    assert_ne!(words[0].1 & RS, 0);
    assert_eq!(open.reap().len(), 1);
    let tail = open.frame(&[3; 40]);
    let words = open.send([tail]);
    assert_eq!(words.len(), 2);
    assert_eq!(words[0].1 >> 46, 100);
    assert_eq!(open.reap().len(), 2);
}

#[test]
fn a_packet_that_grows_too_long_is_taken_back_whole() {
    let mut open = long();
    let mut frames = Vec::new();
    for part in 0..4 {
        let mut frame = open.frame(&[part; 500]);
        frame.set_continues(part != 3);
        frames.push(frame);
    }
    frames.push(open.frame(&[9; 60]));
    let words = open.send(frames);
    assert_eq!(words.len(), 1, "parts of it were sent");
    assert_eq!(words[0].1 & 0xffff, 60);
    assert_eq!(open.stats().tx_dropped, 1);
    drop(open.reap());
    assert_eq!(open.pool.count_free(), FRAMES);
    assert_eq!(open.pair().tx.free_slots(), 63);
}

#[test]
fn a_packet_that_no_ring_holds_is_dropped_and_not_waited_for() {
    let mut open = open();
    for part in 0..9 {
        let mut frame = open.frame(&[part; 60]);
        frame.set_continues(part != 8);
        open.pair().tx.post(frame).unwrap();
    }
    assert_eq!(open.pair().tx.free_slots(), 7);
    assert_eq!(open.stats().tx_dropped, 1);
    assert_eq!(open.pool.count_free(), FRAMES);
    let frame = open.frame(&[1; 60]);
    assert_eq!(open.send([frame]).len(), 1);
}

#[test]
fn a_context_that_was_taken_back_is_sent_again() {
    let mut open = long();
    let mut head = open.summed(&ipv4(17, 1000), UDP_AT_34);
    head.set_continues(true);
    let long = open.frame(&[0; 1000]);
    open.pair().tx.post(head).unwrap();
    open.pair().tx.post(long).unwrap();
    assert_eq!(open.stats().tx_dropped, 1);
    let frame = open.summed(&ipv4(17, 100), UDP_AT_34);
    let words = open.send([frame]);
    assert_eq!(words.len(), 2);
    assert_eq!(words[0].1 >> 20 & 0xf, 2);
}

#[test]
fn one_slot_is_too_few_for_a_packet_and_its_context() {
    let mut open = open();
    for _ in 0..6 {
        let frame = open.frame(&[1; 60]);
        open.pair().tx.post(frame).unwrap();
    }
    let mut batch = FrameBatch::new();
    batch.push(open.summed(&ipv4(17, 100), UDP_AT_34));
    batch.push(open.frame(&[2; 60]));
    let first = batch[0].index();
    assert_eq!(open.pair().tx.post_from(&mut batch), 0);
    assert_eq!((batch.len(), batch[0].index()), (2, first));
    open.pair().tx.kick();
    assert_eq!(open.reap().len(), 6);
    assert_eq!(open.pair().tx.post_from(&mut batch), 2);
}

#[test]
fn a_batch_of_all_kinds_keeps_its_order() {
    let mut open = long();
    let mut batch = FrameBatch::new();
    for at in 0..12_u8 {
        let frame = match at % 4 {
            0 => open.frame(&[at; 60]),
            1 => open.summed(&ipv4(17, 100), UDP_AT_34),
            // Refused: no packet is so long.
            2 => open.frame(&[at; 1900]),
            _ => open.frame(&[at; 20]),
        };
        batch.push(frame);
    }
    assert_eq!(open.pair().tx.post_from(&mut batch), 12);
    let words = open.send([]);
    let lengths: Vec<u64> = words
        .iter()
        .filter(|word| word.1 >> 20 & 0xf == 3)
        .map(|word| word.1 & 0xffff)
        .collect();
    assert_eq!(lengths, [60, 100, 60, 60, 100, 60, 60, 100, 60]);
    assert_eq!(open.stats().tx_dropped, 3);
    assert_eq!(open.reap().len(), 9);
}

#[test]
fn what_the_chip_cannot_do_is_refused() {
    let mut open = long();
    let wrong = [
        // Not the checksum of TCP or UDP, not over IP, not where IP ends.
        open.summed(
            &ipv4(6, 100),
            TxChecksum {
                start: 34,
                offset: 8,
            },
        ),
        open.summed(&[0; 100], TCP_AT_34),
        open.summed(
            &ipv4(6, 100),
            TxChecksum {
                start: 30,
                offset: 16,
            },
        ),
        open.summed(
            &ipv4(6, 60),
            TxChecksum {
                start: 50,
                offset: 16,
            },
        ),
        // Segments longer than the MTU, or of next to nothing.
        open.cut(&ipv4(6, 1900), TCP_AT_34, 1500),
        open.cut(&ipv4(6, 1900), TCP_AT_34, 8),
        // A TCP header of no length.
        open.cut(
            &{
                let mut packet = ipv4(6, 1000);
                packet[46] = 0x10;
                packet
            },
            TCP_AT_34,
            500,
        ),
        // Segments without a checksum.
        {
            let mut frame = open.frame(&ipv4(6, 1000));
            frame.set_gso_size(Some(500));
            frame
        },
    ];
    let count = wrong.len() as u64;
    assert_eq!(open.send(wrong), []);
    assert_eq!(open.stats().tx_dropped, count);
    assert_eq!(open.pool.count_free(), FRAMES);
}

#[test]
fn an_offload_that_is_switched_off_is_refused() {
    let mut open = open();
    let on = open.nic.features().available - Features::TX_CHECKSUM - Features::TX_VLAN;
    open.nic.set_features(on).unwrap();
    assert!(!open.nic.capabilities().tx_checksum);
    let mut tagged = open.frame(&[1; 60]);
    tagged.set_vlan_tci(Some(1));
    let summed = open.summed(&ipv4(17, 100), UDP_AT_34);
    assert_eq!(open.send([tagged, summed]), []);
    assert_eq!(open.stats().tx_dropped, 2);
}
