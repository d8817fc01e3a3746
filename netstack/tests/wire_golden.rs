//! Packets that the Linux kernel sent (6.18, a veth pair between two network
//! namespaces, checksum offload off, recorded with tcpdump), read and written
//! again to the same bytes.
#![expect(
    clippy::unwrap_used,
    reason = "clippy lifts it in test functions, and not in their helpers"
)]

use core::net::Ipv4Addr;
use core::ops::Range;
use softnet_netstack::checksum::{self, Sum};
use softnet_netstack::drop::DropReason;
use softnet_netstack::wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Fragment, IcmpError, IcmpMessage,
    IpProtocol, Ipv4Error, Ipv4Header, Ipv4Option, Ipv4Options, UdpError, UdpHeader, Unreachable,
    VlanHeader,
};
use softnet_nic_hal::MacAddress;

const A_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const B_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const A: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

const ARP_REQUEST: &str = "ffffffffffff020000000001080600010800060400010200000000010a630001\
                           0000000000000a630002";
const ARP_REPLY: &str = "020000000001020000000002080600010800060400020200000000020a630002\
                         0200000000010a630001";
const UDP: &str = "02000000000202000000000108004500002a84f640004011a1040a6300010a630002\
                   9c40270f001679ef68656c6c6f2c20736f66746e6574";
const UDP_NO_CHECKSUM: &str = "0200000000020200000000010800450000228522400040\
                               11a0e00a6300010a6300028782270e000e00006e6f6373756d";
const UDP_RECORD_ROUTE: &str = "02000000000202000000000108004800002f8523400040112abc0a6300010a63\
                                0002070b080a6300010000000001dfac270d000f1e056f7074696f6e73";
const ECHO_REQUEST: &str = "02000000000202000000000108004500002b811340004001a4f60a6300010a630002\
                            0800a2ef123400016162636465666768696a6b6c6d6e6f";
const ECHO_REPLY: &str = "02000000000102000000000208004500002bb2dd00004001b32c0a6300020a630001\
                          0000aaef123400016162636465666768696a6b6c6d6e6f";
const PROTOCOL_UNREACHABLE: &str = "020000000001020000000002080045c00034b2eb00004001b2550a630002\
                                    0a630001030224210000000045000018d8c8400040fd4c580a6300010a63\
                                    000277686174";
const PORT_UNREACHABLE_WITH_OPTIONS: &str = "020000000001020000000002080048c00057b2dc00004001d3210a6300020a630001070b0c0a6300010a6300020003\
     03a8db000000004800002f8523400040112abc0a6300010a630002070b0c0a6300010a63000201dfac270d000f1e05\
     6f7074696f6e73";
/// The quoted packet goes on with 520 times the letter B.
const FRAGMENTATION_NEEDED: &str = "020000000001020000000002080045c00240b37d00004001afb70a6300020a6300010304402000000258450003a000\
     0040004011229c0a6300010a4d0001a6cf0005038cc4d7";
/// The first of two fragments, whose payload goes on with the letter x.
const FIRST_FRAGMENT: &str = "0200000000020200000000010800450005dc856d20004011badb0a6300010a6300\
                              029939270c0648a5d7";
const LAST_FRAGMENT: &str = "020000000002020000000001080045000094856d00b94011df6a0a6300010a630002";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// Reads the Ethernet header, writes it again, and gives the rest.
fn ethernet(frame: &[u8], destination: MacAddress, source: MacAddress, kind: EtherType) -> &[u8] {
    let expected = EthernetHeader {
        destination,
        source,
        ether_type: kind,
    };
    let (header, payload) = EthernetHeader::parse(frame).unwrap();
    assert_eq!(header, expected);
    let mut out = [0; EthernetHeader::LEN];
    header.emit(&mut out);
    assert_eq!(out, frame[..payload.start]);
    &frame[payload]
}

/// Reads an IPv4 packet of a frame between the two hosts; if it has no options,
/// writes its header again.
fn ipv4(frame: &[u8]) -> (Ipv4Header, Range<usize>, &[u8]) {
    let packet = &frame[EthernetHeader::LEN..];
    let (header, payload) = Ipv4Header::parse(packet).unwrap();
    if payload.start == Ipv4Header::LEN {
        let mut out = [0xaa; Ipv4Header::LEN];
        header.emit(&mut out);
        assert_eq!(out, packet[..Ipv4Header::LEN]);
    }
    (header, payload.clone(), &packet[payload])
}

/// Reads an ICMP message, writes it again, and gives what it carries.
fn icmp(message: &[u8]) -> (IcmpMessage, &[u8]) {
    let (header, payload) = IcmpMessage::parse(message).unwrap();
    let data = &message[payload];
    let mut out = [0xaa; IcmpMessage::LEN];
    header.emit(&mut out, Sum::of(data));
    assert_eq!(out, message[..IcmpMessage::LEN]);
    (header, data)
}

#[test]
fn an_arp_request_goes_both_ways() {
    let frame = bytes(ARP_REQUEST);
    let payload = ethernet(&frame, MacAddress::BROADCAST, A_MAC, EtherType::ARP);
    let expected = ArpPacket::request(A_MAC, A, B);
    assert_eq!(ArpPacket::parse(payload), Ok((expected, 28..28)));
    let mut out = [0; ArpPacket::LEN];
    expected.emit(&mut out);
    assert_eq!(out, payload);
}

#[test]
fn the_reply_to_the_request_is_the_kernels() {
    let frame = bytes(ARP_REPLY);
    let payload = ethernet(&frame, A_MAC, B_MAC, EtherType::ARP);
    let (reply, _) = ArpPacket::parse(payload).unwrap();
    assert_eq!(reply.operation, ArpOperation::REPLY);
    assert_eq!(ArpPacket::request(A_MAC, A, B).reply(B_MAC), reply);
}

#[test]
fn arp_ignores_padding_and_refuses_other_links() {
    let mut payload = bytes(ARP_REQUEST)[EthernetHeader::LEN..].to_vec();
    payload.resize(46, 0);
    assert_eq!(ArpPacket::parse(&payload).unwrap().1, 28..46);
    let reason = |payload: &[u8]| ArpPacket::parse(payload).map_err(DropReason::from);
    for (at, value) in [(1, 6), (3, 1), (4, 8), (5, 16)] {
        let mut other = payload.clone();
        other[at] = value;
        assert_eq!(reason(&other), Err(DropReason::ArpInvalid));
    }
    assert_eq!(reason(&payload[..27]), Err(DropReason::PktTooSmall));
}

#[test]
fn a_udp_datagram_goes_both_ways() {
    let frame = bytes(UDP);
    ethernet(&frame, B_MAC, A_MAC, EtherType::IPV4);
    let (ip, payload, datagram) = ipv4(&frame);
    let expected = Ipv4Header {
        tos: 0,
        total_len: 42,
        id: 0x84f6,
        fragment: Fragment::DONT,
        ttl: 64,
        protocol: IpProtocol::UDP,
        source: A,
        destination: B,
    };
    assert_eq!((ip, payload), (expected, 20..42));

    let (udp, data) = UdpHeader::parse(datagram).unwrap();
    assert_eq!(
        (udp.source, udp.destination, udp.length),
        (40_000, 9999, 22)
    );
    let pseudo = checksum::pseudo_header_v4(A, B, IpProtocol::UDP, udp.length);
    assert_eq!(udp.verify(pseudo, datagram), Ok(()));
    assert_eq!(&datagram[data.clone()], b"hello, softnet");

    let unsummed = UdpHeader { checksum: 0, ..udp };
    assert_eq!(unsummed.with_checksum(pseudo, &datagram[data]), udp);
    let mut out = [0; UdpHeader::LEN];
    udp.emit(&mut out);
    assert_eq!(out, datagram[..8]);
}

#[test]
fn a_damaged_datagram_is_caught() {
    let frame = bytes(UDP);
    let (_, _, datagram) = ipv4(&frame);
    let pseudo = checksum::pseudo_header_v4(A, B, IpProtocol::UDP, 22);
    for at in 0..datagram.len() {
        let mut damaged = datagram.to_vec();
        damaged[at] ^= 0x10;
        let verdict = UdpHeader::parse(&damaged).and_then(|(udp, _)| udp.verify(pseudo, &damaged));
        assert!(verdict.is_err(), "byte {at}");
    }
}

#[test]
fn a_datagram_without_a_checksum_is_right() {
    let frame = bytes(UDP_NO_CHECKSUM);
    let (_, _, datagram) = ipv4(&frame);
    let (udp, _) = UdpHeader::parse(datagram).unwrap();
    assert_eq!(udp.checksum, 0);
    assert_eq!(udp.verify(Sum::ZERO, datagram), Ok(()));
}

#[test]
fn a_udp_sum_of_zero_is_sent_as_ones() {
    let udp = UdpHeader {
        source: 0,
        destination: 0,
        length: 8,
        checksum: 0,
    };
    // The header alone sums to 8, and this to 0xfff7: together 0xffff.
    let summed = udp.with_checksum(Sum::of_u16(0xfff7), &[]);
    assert_eq!(summed.checksum, 0xffff);
}

#[test]
fn udp_lengths_are_held_to_the_payload() {
    let frame = bytes(UDP);
    let (_, _, datagram) = ipv4(&frame);
    let with_length = |length: u16, have: usize| {
        let mut datagram = datagram.to_vec();
        datagram.resize(have, 0);
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        UdpHeader::parse(&datagram).map(|(_, data)| data)
    };
    assert_eq!(
        with_length(22, 30),
        Ok(8..22),
        "bytes behind it are ignored"
    );
    assert_eq!(with_length(8, 22), Ok(8..8), "no data is fine");
    let error = |length, have| Err(UdpError::Length { length, have });
    assert_eq!(with_length(7, 22), error(7, 22));
    assert_eq!(with_length(0, 22), error(0, 22));
    assert_eq!(with_length(23, 22), error(23, 22));
    assert_eq!(with_length(7, 7), Err(UdpError::TooShort { len: 7 }));
}

#[test]
fn options_are_skipped_and_walked() {
    let frame = bytes(UDP_RECORD_ROUTE);
    let (_, payload, datagram) = ipv4(&frame);
    assert_eq!(payload, 32..47);
    let (udp, data) = UdpHeader::parse(datagram).unwrap();
    assert_eq!((udp.destination, &datagram[data]), (9997, &b"options"[..]));
    let packet = &frame[EthernetHeader::LEN..];
    let options: Vec<_> = Ipv4Options::new(packet, payload.start).collect();
    let record_route = Ipv4Option {
        kind: Ipv4Option::RECORD_ROUTE,
        at: 20,
        data: &[8, 10, 99, 0, 1, 0, 0, 0, 0],
    };
    assert_eq!(options, [Ok(record_route)]);
}

#[test]
fn options_end_where_they_say_or_where_they_are_wrong() {
    let walk = |options: [u8; 8]| {
        let mut packet = [0; 28];
        packet[20..].copy_from_slice(&options);
        let seen = Ipv4Options::new(&packet, 28).map(|option| match option {
            Ok(option) => Ok((option.kind, option.at, option.data.len())),
            Err(error) => Err(error.at),
        });
        seen.collect::<Vec<_>>()
    };
    assert_eq!(walk([1, 1, 1, 1, 1, 1, 1, 1]), []);
    assert_eq!(walk([0, 7, 3, 9, 0, 0, 0, 0]), []);
    assert_eq!(walk([1, 148, 4, 0, 0, 0, 0, 0]), [Ok((148, 21, 2))]);
    assert_eq!(
        walk([7, 2, 9, 6, 1, 2, 3, 4]),
        [Ok((7, 20, 0)), Ok((9, 22, 4))]
    );
    assert_eq!(walk([7, 1, 1, 1, 1, 1, 1, 1]), [Err(20)]);
    assert_eq!(walk([7, 0, 1, 1, 1, 1, 1, 1]), [Err(20)]);
    assert_eq!(walk([1, 7, 8, 1, 1, 1, 1, 1]), [Err(21)]);
    assert_eq!(walk([1, 1, 1, 1, 1, 1, 1, 7]), [Err(27)]);
}

#[test]
fn each_ipv4_check_has_its_error() {
    let frame = bytes(UDP);
    let packet = &frame[EthernetHeader::LEN..];
    let with = |at: usize, value: u8, mend: bool| {
        let mut packet = packet.to_vec();
        packet[at] = value;
        if mend {
            packet[10..12].fill(0);
            let header_len = usize::from(packet[0] & 0xf) * 4;
            let sum = checksum::checksum(&packet[..header_len.clamp(20, 40)]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let error = Ipv4Header::parse(&packet).unwrap_err();
        (error, DropReason::from(error))
    };
    use DropReason::{IpCsum, IpInhdr, PktTooSmall};
    assert_eq!(with(0, 0x65, true), (Ipv4Error::Version(6), IpInhdr));
    let short = Ipv4Error::HeaderLength { len: 16 };
    assert_eq!(with(0, 0x44, true), (short, IpInhdr));
    let cut = Ipv4Error::TooShort { len: 42 };
    assert_eq!(with(0, 0x4f, true), (cut, PktTooSmall));
    assert_eq!(with(8, 63, false), (Ipv4Error::Checksum, IpCsum));
    let (total, have) = (43, 42);
    assert_eq!(
        with(3, 43, true),
        (Ipv4Error::Truncated { total, have }, PktTooSmall)
    );
    let (total, header) = (19, 20);
    assert_eq!(
        with(3, 19, true),
        (Ipv4Error::TotalLength { total, header }, IpInhdr)
    );
    let none = Ipv4Header::parse(&packet[..19]);
    assert_eq!(none, Err(Ipv4Error::TooShort { len: 19 }));
}

#[test]
fn link_layer_padding_is_no_payload() {
    let mut packet = bytes(UDP)[EthernetHeader::LEN..].to_vec();
    packet.resize(46, 0);
    assert_eq!(Ipv4Header::parse(&packet).unwrap().1, 20..42);
}

#[test]
fn fragments_are_recognised() {
    let mut first = bytes(FIRST_FRAGMENT);
    first.resize(EthernetHeader::LEN + 1500, b'x');
    let (ip, _, datagram) = ipv4(&first);
    assert!(ip.fragment.is_fragment() && ip.fragment.more_fragments());
    assert_eq!((ip.fragment.offset(), datagram.len()), (0, 1480));

    let mut last = bytes(LAST_FRAGMENT);
    last.resize(EthernetHeader::LEN + 148, b'x');
    let (ip, _, rest) = ipv4(&last);
    assert!(ip.fragment.is_fragment() && !ip.fragment.more_fragments());
    assert!(!ip.fragment.dont_fragment());
    assert_eq!((ip.fragment.offset(), rest.len()), (1480, 128));
}

#[test]
fn an_echo_request_and_its_reply_go_both_ways() {
    let (request, reply) = (bytes(ECHO_REQUEST), bytes(ECHO_REPLY));
    let (id, sequence) = (0x1234, 1);
    let data = &b"abcdefghijklmno"[..];
    let asked = IcmpMessage::EchoRequest { id, sequence };
    assert_eq!(icmp(ipv4(&request).2), (asked, data));
    let answered = IcmpMessage::EchoReply { id, sequence };
    assert_eq!(icmp(ipv4(&reply).2), (answered, data));
}

#[test]
fn unreachable_messages_quote_the_packet() {
    let frame = bytes(PROTOCOL_UNREACHABLE);
    let (header, quoted) = icmp(ipv4(&frame).2);
    let expected = IcmpMessage::DestinationUnreachable(Unreachable::Protocol);
    assert_eq!(header, expected);
    let (quoted, _) = Ipv4Header::parse(quoted).unwrap();
    assert_eq!((quoted.source, quoted.protocol), (A, IpProtocol(253)));

    let frame = bytes(PORT_UNREACHABLE_WITH_OPTIONS);
    let (_, payload, message) = ipv4(&frame);
    assert_eq!(payload, 32..87);
    let (header, _) = icmp(message);
    assert_eq!(
        header,
        IcmpMessage::DestinationUnreachable(Unreachable::Port)
    );
}

#[test]
fn fragmentation_needed_tells_the_mtu() {
    let mut frame = bytes(FRAGMENTATION_NEEDED);
    frame.resize(frame.len() + 520, b'B');
    let (header, quoted) = icmp(ipv4(&frame).2);
    let next_hop_mtu = 600;
    let what = Unreachable::FragmentationNeeded { next_hop_mtu };
    assert_eq!(header, IcmpMessage::DestinationUnreachable(what));
    assert_eq!(quoted.len(), 548);
}

#[test]
fn every_type_is_read_from_its_numbers() {
    let read = |kind: u8, code: u8, rest: [u8; 4]| {
        let mut message = [kind, code, 0, 0, rest[0], rest[1], rest[2], rest[3]];
        let sum = checksum::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        IcmpMessage::parse(&message).unwrap().0
    };
    let gateway = Ipv4Addr::new(1, 2, 3, 4);
    assert_eq!(
        read(5, 1, [1, 2, 3, 4]),
        IcmpMessage::Redirect { code: 1, gateway }
    );
    assert_eq!(read(11, 0, [0; 4]), IcmpMessage::TimeExceeded { code: 0 });
    let problem = IcmpMessage::ParameterProblem {
        code: 0,
        pointer: 20,
    };
    assert_eq!(read(12, 0, [20, 0, 0, 0]), problem);
    for code in 0..16 {
        let IcmpMessage::DestinationUnreachable(what) = read(3, code, [0; 4]) else {
            panic!("code {code} is known");
        };
        assert_eq!(what.code(), code);
    }
    for (kind, code) in [(3, 16), (8, 1), (0, 1), (4, 0), (13, 0), (255, 255)] {
        let rest = [9, 8, 7, 6];
        assert_eq!(
            read(kind, code, rest),
            IcmpMessage::Unknown { kind, code, rest }
        );
    }
}

#[test]
fn no_error_answers_an_error() {
    let unknown = |kind| IcmpMessage::Unknown {
        kind,
        code: 0,
        rest: [0; 4],
    };
    assert!(IcmpMessage::DestinationUnreachable(Unreachable::Port).is_error());
    assert!(IcmpMessage::TimeExceeded { code: 0 }.is_error());
    assert!(unknown(4).is_error() && unknown(200).is_error());
    assert!(!unknown(13).is_error());
    assert!(!IcmpMessage::EchoRequest { id: 0, sequence: 0 }.is_error());
}

#[test]
fn a_damaged_icmp_message_is_caught() {
    let mut message = ipv4(&bytes(ECHO_REQUEST)).2.to_vec();
    message[12] ^= 1;
    assert_eq!(IcmpMessage::parse(&message), Err(IcmpError::Checksum));
    let short = IcmpMessage::parse(&message[..7]);
    assert_eq!(short, Err(IcmpError::TooShort { len: 7 }));
}

#[test]
fn a_vlan_tag_goes_both_ways() {
    // IEEE 802.1Q: priority 5, VLAN 7, then IPv4.
    let frame = bytes("020000000002020000000001 8100 a007 0800 45");
    let payload = ethernet(&frame, B_MAC, A_MAC, EtherType::VLAN);
    let (tag, rest) = VlanHeader::parse(payload).unwrap();
    assert_eq!((tag.vid(), tag.priority(), rest.clone()), (7, 5, 4..5));
    assert_eq!(tag.ether_type, EtherType::IPV4);
    let mut out = [0; VlanHeader::LEN];
    tag.emit(&mut out);
    assert_eq!(out, payload[..rest.start]);
    assert!(EtherType::VLAN.is_vlan() && EtherType::QINQ.is_vlan() && !EtherType::IPV4.is_vlan());
    assert!(EtherType(1500).is_length() && !EtherType::IPV4.is_length());
}
