//! The frames were made by Scapy, which knows nothing of this code.

use super::*;

const TPID: u16 = 0x8100;

const TCP_IPV4: &str = "02000000000202000000000108004500002d00070000400666c20a0000010a000002\
    03e80050010203040a0b0c0d50180200379d000068656c6c6f";
const UDP_IPV4: &str = "02000000000202000000000108004500001f00080000401166c40a0000010a000002\
    00350fa0000b179e616263";
const TCP_IPV6: &str = "02000000000202000000000186dd6000000000180640fe80000000000000000000000\
    0000001fe80000000000000000000000000000203e8005000000005000000006002200076f90000020405a0";
const UDP_BEHIND_EXTENSIONS: &str = "02000000000202000000000186dd60000000001c0040fe800000000000\
    000000000000000001fe8000000000000000000000000000023c00010400000000110001040000000000350fa0\
    000c2e3661626364";
const TAGGED_UDP_IPV4_WITH_OPTIONS: &str = "0200000000020200000000018100a1230800460000230008000\
    0401163be0a0000010a0000020101010100350fa0000b179e616263";
const SNAP_UDP_IPV4: &str = "0200000000020200000000010027aaaa0300000008004500001f00080000401166\
    c40a0000010a00000200350fa0000b179e616263";
const FRAGMENT_IPV4: &str = "02000000000202000000000108004500001f00082000401146c40a0000010a0000\
    0200350fa000640001616263";
const FRAGMENT_IPV6: &str = "02000000000202000000000186dd6000000000132c40fe80000000000000000000\
    0000000001fe800000000000000000000000000002110000010000000900350fa000640001616263";
/// Its checksum is zero, which UDP sends as all ones.
const UDP_SUM_OF_ZERO: &str = "02000000000202000000000108004500001e00080000401166c50a0000010a00\
    000200350fa0000affffdc02";

/// What eleven bytes of payload become in segments of four: with DF, a sequence
/// number and an identification that wrap, and FIN, PSH, ACK, ECE and CWR.
const TCP_IPV4_SEGMENTS: [&str; 3] = [
    "02000000000202000000000108004500002cffff4000400626ca0a0000010a00000203e80050fffffffe\
     0000000150d0020090d0000001020304",
    "02000000000202000000000108004500002c00004000400626ca0a0000010a00000203e8005000000002\
     0000000150d0020088c5000005060708",
    "02000000000202000000000108004500002b00014000400626ca0a0000010a00000203e8005000000006\
     0000000150d9020080bd0000090a0b",
];
const TCP_IPV6_SEGMENTS: [&str; 3] = [
    "02000000000202000000000186dd6000000000180640fe800000000000000000000000000001fe8000000000\
     0000000000000000000203e80050fffffffe0000000150d00200a7ce000001020304",
    "02000000000202000000000186dd6000000000180640fe800000000000000000000000000001fe8000000000\
     0000000000000000000203e80050000000020000000150d002009fc3000005060708",
    "02000000000202000000000186dd6000000000170640fe800000000000000000000000000001fe8000000000\
     0000000000000000000203e80050000000060000000150d9020097bb0000090a0b",
];
const UDP_IPV4_SEGMENTS: [&str; 3] = [
    "02000000000202000000000108004500002000070000401166c40a0000010a00000200350fa0000cd7f8\
     01020304",
    "02000000000202000000000108004500002000080000401166c30a0000010a00000200350fa0000ccff0\
     05060708",
    "02000000000202000000000108004500001f00090000401166c30a0000010a00000200350fa0000bc7f6\
     090a0b",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn judge(frame: &[u8]) -> Judged {
    Headers::parse(frame, TPID).unwrap().judge(frame)
}

const BOTH_RIGHT: Judged = Judged {
    network: Some(true),
    transport: Some(true),
};

#[test]
fn a_sum_is_that_of_the_words_whatever_the_length() {
    let bytes: Vec<u8> = (0..100u32).map(|n| (n * 151 % 256) as u8).collect();
    for end in 0..bytes.len() {
        let words = bytes[..end].chunks(2);
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        let sum: u32 = words.map(word).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        assert_eq!(u32::from(ones_sum(&bytes[..end])), folded, "{end} bytes");
    }
}

#[test]
fn right_checksums_are_judged_right_in_each_kind_of_packet() {
    for frame in [
        TCP_IPV4,
        UDP_IPV4,
        TAGGED_UDP_IPV4_WITH_OPTIONS,
        SNAP_UDP_IPV4,
        UDP_SUM_OF_ZERO,
    ] {
        assert_eq!(judge(&bytes(frame)), BOTH_RIGHT, "{frame}");
    }
    for frame in [TCP_IPV6, UDP_BEHIND_EXTENSIONS] {
        let judged = judge(&bytes(frame));
        assert_eq!(
            (judged.network, judged.transport),
            (None, Some(true)),
            "{frame}"
        );
    }
}

#[test]
fn any_bit_that_is_wrong_in_what_is_covered_is_found() {
    for frame in [TCP_IPV4, UDP_IPV4, TCP_IPV6, UDP_BEHIND_EXTENSIONS] {
        let good = bytes(frame);
        let headers = Headers::parse(&good, TPID).unwrap();
        for at in headers.transport_at + 6..headers.end {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(
                headers.judge(&bad).transport,
                Some(false),
                "byte {at} of {frame}"
            );
        }
    }
    let mut bad = bytes(TCP_IPV4);
    bad[14 + 8] ^= 1;
    assert_eq!(judge(&bad).network, Some(false), "the time to live");
}

#[test]
fn what_cannot_be_judged_is_not() {
    let fragment = judge(&bytes(FRAGMENT_IPV4));
    assert_eq!((fragment.network, fragment.transport), (Some(true), None));
    assert_eq!(judge(&bytes(FRAGMENT_IPV6)), Judged::default());
    let mut without = bytes(UDP_IPV4);
    without[14 + 26..14 + 28].fill(0);
    assert_eq!(judge(&without).transport, None, "UDP without a checksum");
    let mut arp = bytes(UDP_IPV4);
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(Headers::parse(&arp, TPID), None);
    assert_eq!(
        Headers::parse(&bytes(TAGGED_UDP_IPV4_WITH_OPTIONS), 0x88a8),
        None
    );
}

/// The short way says what the long way does, or nothing.
#[test]
fn what_is_judged_at_once_is_judged_the_same() {
    let mut at_once = 0;
    for frame in [
        TCP_IPV4,
        UDP_IPV4,
        UDP_SUM_OF_ZERO,
        TCP_IPV6,
        FRAGMENT_IPV4,
        SNAP_UDP_IPV4,
    ] {
        let good = bytes(frame);
        for at in 0..good.len() {
            for value in [0, 1, 0x45, 0xff, good[at]] {
                let mut frame = good.clone();
                frame[at] = value;
                let long = Headers::parse(&frame, TPID).map(|headers| headers.judge(&frame));
                if let Some(judged) = Judged::at_once(&frame) {
                    assert_eq!(Some(judged), long, "{frame:x?}");
                    at_once += 1;
                }
                let cut = &frame[..at];
                if let Some(judged) = Judged::at_once(cut) {
                    let long = Headers::parse(cut, TPID).map(|headers| headers.judge(cut));
                    assert_eq!(Some(judged), long);
                }
            }
        }
    }
    assert!(at_once > 500, "{at_once}");
    assert!(Judged::at_once(&bytes(UDP_IPV4)).is_some());
}

#[test]
fn padding_behind_the_packet_is_not_covered() {
    let mut padded = bytes(UDP_IPV4);
    padded.resize(60, 0xee);
    assert_eq!(judge(&padded), BOTH_RIGHT);
}

#[test]
fn no_frame_that_is_cut_or_changed_anywhere_is_too_much() {
    for frame in [
        TCP_IPV4,
        UDP_BEHIND_EXTENSIONS,
        TAGGED_UDP_IPV4_WITH_OPTIONS,
        SNAP_UDP_IPV4,
    ] {
        let good = bytes(frame);
        for end in 0..good.len() {
            let cut = &good[..end];
            assert!(Headers::parse(cut, TPID).is_none_or(|headers| headers.end <= end));
            for value in [0, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[end] = value;
                if let Some(headers) = Headers::parse(&changed, TPID) {
                    let _ = headers.judge(&changed);
                    let _ = headers.judge(cut);
                }
            }
        }
    }
}

#[test]
fn a_checksum_is_stored_complemented_over_the_sum_that_is_there() {
    let golden = bytes(TCP_IPV4);
    let mut packet = golden.clone();
    packet[24..26].fill(0);
    let ip = ChecksumField {
        start: 14,
        at: 24,
        end: Some(34),
        zero: ZeroSum::Zero,
    };
    assert!(ip.insert(&mut packet));
    // The pseudo header: both addresses, TCP, and 25 bytes.
    let pseudo = ones_sum(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 25]);
    packet[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let tcp = ChecksumField {
        start: 34,
        at: 50,
        ..ChecksumField::default()
    };
    assert!(tcp.insert(&mut packet));
    assert_eq!(packet, golden);
}

#[test]
fn a_checksum_of_zero_is_all_ones_where_it_is_udp() {
    let golden = bytes(UDP_SUM_OF_ZERO);
    for (zero, stored) in [(ZeroSum::Ones, 0xff), (ZeroSum::Zero, 0)] {
        let mut packet = golden.clone();
        let pseudo = ones_sum(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 10]);
        packet[40..42].copy_from_slice(&pseudo.to_be_bytes());
        let field = ChecksumField {
            start: 34,
            at: 40,
            end: None,
            zero,
        };
        assert!(field.insert(&mut packet));
        assert_eq!(packet[40..42], [stored; 2]);
    }
}

#[test]
fn a_checksum_that_is_beyond_the_packet_changes_nothing() {
    for (start, at, end) in [
        (20, 0, None),
        (0, 19, None),
        (0, 1000, None),
        (8, 0, Some(4)),
    ] {
        let mut packet = [7; 20];
        let field = ChecksumField {
            start,
            at,
            end,
            zero: ZeroSum::Zero,
        };
        assert!(!field.insert(&mut packet));
        assert_eq!(packet, [7; 20]);
    }
}

#[test]
fn a_tag_is_put_in_and_taken_out() {
    let tagged = bytes(TAGGED_UDP_IPV4_WITH_OPTIONS);
    assert_eq!(tag(&tagged, TPID), Some(0xa123));
    let (addresses, rest) = without_tag(&tagged).unwrap();
    let mut buffer = [&[0; TAG_LEN], &addresses[..], rest].concat();
    assert_eq!(tag(&buffer[TAG_LEN..], TPID), None);
    assert!(insert_tag(&mut buffer, TPID, 0xa123));
    assert_eq!(buffer, tagged);
    assert_eq!(filter_entry(0xa123), (0x123 >> 5, 1 << 3));
    assert!(!insert_tag(&mut [0; 15], TPID, 1));
    assert_eq!(without_tag(&[0; 15]), None);
}

/// The packet that these are the segments of: the first one's header, with the
/// last one's flags and the sum of the pseudo header but for the length, and the
/// payload of them all.
fn whole(segments: &[&str], header_len: usize, plan: &Segmentation) -> Vec<u8> {
    let segments: Vec<Vec<u8>> = segments.iter().map(|segment| bytes(segment)).collect();
    let mut packet = segments[0][..header_len].to_vec();
    let (transport, at) = plan.transport.unwrap();
    let field = plan.transport_checksum.unwrap().at;
    let number = match transport {
        Transport::Tcp => {
            packet[at + 13] = segments.last().unwrap()[at + 13];
            6
        }
        _ => 17,
    };
    let addresses = match plan.network.unwrap() {
        (Network::Ipv4, at) => &segments[0][at + 12..at + 20],
        (Network::Ipv6, at) => &segments[0][at + 8..at + 40],
    };
    let pseudo = ones_sum(&[addresses, &[0, number]].concat());
    packet[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
    // What the hardware fills in.
    if let Some(ip) = plan.network_checksum {
        packet[ip.at..ip.at + 2].fill(0);
        packet[16..18].fill(0);
    }
    for segment in &segments {
        packet.extend_from_slice(&segment[header_len..]);
    }
    packet
}

/// Feeds the packet in pieces of at most `piece` bytes, and gathers the segments.
fn cut(packet: &[u8], plan: Segmentation, piece: usize) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(2048);
    segmenter.begin(plan).unwrap();
    let mut segments = Vec::new();
    for mut rest in packet.chunks(piece) {
        while !rest.is_empty() && !segmenter.is_done() {
            let room = segmenter.room();
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            segmenter.filled(len);
            rest = &rest[len..];
            if let Some(segment) = segmenter.segment() {
                segments.push(segment[TAG_LEN..].to_vec());
            }
        }
    }
    assert!(segmenter.segment().is_none());
    segments
}

fn plan(network: Network, transport: Transport) -> Segmentation {
    let ip_len = match network {
        Network::Ipv4 => 20,
        Network::Ipv6 => 40,
    };
    let at = 14 + ip_len;
    let (header, field, zero) = match transport {
        Transport::Tcp => (20, 16, ZeroSum::Zero),
        _ => (8, 6, ZeroSum::Ones),
    };
    let ip = ChecksumField {
        start: 14,
        at: 24,
        end: Some(34),
        zero: ZeroSum::Zero,
    };
    Segmentation {
        header_len: at + header,
        mss: 4,
        payload_len: 11,
        network: Some((network, 14)),
        transport: Some((transport, at)),
        network_checksum: (network == Network::Ipv4).then_some(ip),
        transport_checksum: Some(ChecksumField {
            start: at,
            at: at + field,
            end: None,
            zero,
        }),
        keep_flags: KeepFlags::FIN_AND_PSH_LAST,
    }
}

#[test]
fn segments_are_those_that_another_made() {
    for (plan, golden) in [
        (plan(Network::Ipv4, Transport::Tcp), TCP_IPV4_SEGMENTS),
        (plan(Network::Ipv6, Transport::Tcp), TCP_IPV6_SEGMENTS),
        (plan(Network::Ipv4, Transport::Udp), UDP_IPV4_SEGMENTS),
    ] {
        let packet = whole(&golden, plan.header_len, &plan);
        for piece in [1, 3, 7, 60, 1000] {
            assert_eq!(
                cut(&packet, plan, piece),
                golden.map(bytes),
                "pieces of {piece}"
            );
        }
    }
}

#[test]
fn flags_are_kept_by_the_place_of_the_segment() {
    let mut plan = plan(Network::Ipv4, Transport::Tcp);
    // CWR in the first only.
    plan.keep_flags = KeepFlags {
        first: 0xff6,
        middle: 0xf76,
        last: 0xf7f,
    };
    let packet = whole(&TCP_IPV4_SEGMENTS, plan.header_len, &plan);
    let segments = cut(&packet, plan, 1000);
    let flags: Vec<u8> = segments.iter().map(|segment| segment[47]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x59]);
    assert!(segments.iter().all(|segment| judge(segment) == BOTH_RIGHT));
    plan.mss = 11;
    assert_eq!(
        cut(&packet, plan, 1000)[0][47],
        0xd9,
        "a single one has them all"
    );
}

#[test]
fn a_packet_that_ends_early_has_what_came_in_its_last_segment() {
    let plan = plan(Network::Ipv4, Transport::Tcp);
    let packet = whole(&TCP_IPV4_SEGMENTS, plan.header_len, &plan);
    let mut segmenter = Segmenter::new(2048);
    segmenter.begin(Segmentation { mss: 8, ..plan }).unwrap();
    for byte in &packet[..plan.header_len + 3] {
        segmenter.room()[0] = *byte;
        segmenter.filled(1);
    }
    assert!(segmenter.segment().is_none());
    let last = segmenter.cut_short().unwrap()[TAG_LEN..].to_vec();
    assert_eq!(last[54..], [1, 2, 3]);
    assert_eq!(judge(&last), BOTH_RIGHT);
    assert!(segmenter.is_done() && segmenter.room().is_empty());
    assert!(segmenter.cut_short().is_none());
}

#[test]
fn segments_that_make_no_sense_are_refused_and_nothing_comes_of_them() {
    let good = plan(Network::Ipv4, Transport::Tcp);
    let mut segmenter = Segmenter::new(2048);
    for bad in [
        Segmentation { mss: 0, ..good },
        Segmentation {
            payload_len: 0,
            ..good
        },
        Segmentation {
            header_len: 1025,
            ..good
        },
        Segmentation {
            mss: 2000,
            payload_len: 4000,
            ..good
        },
    ] {
        assert_eq!(segmenter.begin(bad), Err(ImpossibleSegments));
        assert!(segmenter.is_done() && segmenter.room().is_empty());
        segmenter.filled(100);
        assert!(segmenter.segment().is_none() && segmenter.cut_short().is_none());
    }
}

#[test]
fn offsets_beyond_the_segment_change_nothing() {
    let mut plan = plan(Network::Ipv4, Transport::Tcp);
    plan.header_len = 10;
    plan.network = Some((Network::Ipv6, 5000));
    plan.transport = Some((Transport::Tcp, 5000));
    let segments = cut(&[7; 21], plan, 100);
    assert_eq!(segments, [vec![7; 14], vec![7; 14], vec![7; 13]]);
}
