//! Whatever the bytes, parsing answers; whatever the header, what was written
//! is read again.

use proptest::prelude::*;
use softnet_netstack::checksum::{self, Sum};
use softnet_netstack::rss::{DEFAULT_KEY, Toeplitz};
use softnet_netstack::wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Fragment, IcmpMessage, IpProtocol,
    Ipv4Header, Ipv4Options, UdpHeader, Unreachable, VlanHeader,
};
use softnet_nic_hal::MacAddress;

fn mac() -> impl Strategy<Value = MacAddress> {
    any::<[u8; 6]>().prop_map(MacAddress)
}

fn ipv4_header() -> impl Strategy<Value = (Ipv4Header, usize)> {
    let fields = (any::<(u8, u16, u16, u8, u8)>(), any::<([u8; 4], [u8; 4])>());
    (fields, 0usize..1500).prop_map(|((fields, addresses), len)| {
        let (tos, id, fragment, ttl, protocol) = fields;
        let header = Ipv4Header {
            tos,
            total_len: (Ipv4Header::LEN + len) as u16,
            id,
            fragment: Fragment(fragment),
            ttl,
            protocol: IpProtocol(protocol),
            source: addresses.0.into(),
            destination: addresses.1.into(),
        };
        (header, len)
    })
}

fn icmp_message() -> impl Strategy<Value = IcmpMessage> {
    let plain = (0u8..16).prop_filter_map("4 has data", plain_unreachable);
    let too_big =
        any::<u16>().prop_map(|next_hop_mtu| Unreachable::FragmentationNeeded { next_hop_mtu });
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(id, sequence)| IcmpMessage::EchoRequest { id, sequence }),
        any::<(u16, u16)>().prop_map(|(id, sequence)| IcmpMessage::EchoReply { id, sequence }),
        plain.prop_map(IcmpMessage::DestinationUnreachable),
        too_big.prop_map(IcmpMessage::DestinationUnreachable),
        any::<u8>().prop_map(|code| IcmpMessage::TimeExceeded { code }),
        any::<(u8, u8)>()
            .prop_map(|(code, pointer)| IcmpMessage::ParameterProblem { code, pointer }),
        any::<(u8, [u8; 4])>().prop_map(|(code, gateway)| IcmpMessage::Redirect {
            code,
            gateway: gateway.into(),
        }),
        (13u8..=255, any::<(u8, [u8; 4])>())
            .prop_map(|(kind, (code, rest))| IcmpMessage::Unknown { kind, code, rest }),
    ]
}

fn plain_unreachable(code: u8) -> Option<Unreachable> {
    match IcmpMessage::parse_quoted(&[3, code, 0, 0, 0, 0, 0, 0]) {
        IcmpMessage::DestinationUnreachable(what) if code != 4 => Some(what),
        _ => None,
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..128),
        version in prop::sample::select(vec![0u8, 0x45, 0x46, 0x4f, 0x44, 0x60]),
        mend in any::<bool>(),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = if version == 0 { *first } else { version };
        }
        if mend && bytes.len() >= 20 {
            // Past the checksum, so that the checks behind it are reached too.
            let header_len = (usize::from(bytes[0] & 0xf) * 4).clamp(20, bytes.len());
            bytes[10..12].fill(0);
            let sum = checksum::checksum(&bytes[..header_len]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let len = bytes.len();
        let inside = |range: core::ops::Range<usize>| range.start <= range.end && range.end <= len;
        prop_assert!(EthernetHeader::parse(&bytes).is_ok_and(|(_, rest)| inside(rest)) == (len >= 14));
        prop_assert!(VlanHeader::parse(&bytes).is_ok_and(|(_, rest)| inside(rest)) == (len >= 4));
        let _ = ArpPacket::parse(&bytes).is_ok_and(|(_, rest)| { assert!(inside(rest)); true });
        let _ = UdpHeader::parse(&bytes).is_ok_and(|(_, rest)| { assert!(inside(rest)); true });
        let _ = IcmpMessage::parse(&bytes).is_ok_and(|(_, rest)| { assert!(inside(rest)); true });
        let _ = Toeplitz::new(&DEFAULT_KEY).hash_ipv4_packet(&bytes);
        if let Ok((_, payload)) = Ipv4Header::parse(&bytes) {
            prop_assert!(inside(payload.clone()) && (20..=60).contains(&payload.start));
            prop_assert!(Ipv4Options::new(&bytes, payload.start).count() <= 40);
        }
        // A caller may be wrong about where the payload starts.
        for start in 0..64 {
            prop_assert!(Ipv4Options::new(&bytes, start).count() <= 64);
        }
    }

    #[test]
    fn ethernet_headers_are_read_as_written(
        destination in mac(), source in mac(), kind in any::<u16>(), tci in any::<u16>(),
    ) {
        let ether_type = EtherType(kind);
        let header = EthernetHeader { destination, source, ether_type };
        let mut out = [0; EthernetHeader::LEN];
        header.emit(&mut out);
        prop_assert_eq!(EthernetHeader::parse(&out), Ok((header, 14..14)));
        let tag = VlanHeader { tci, ether_type };
        let mut out = [0; VlanHeader::LEN];
        tag.emit(&mut out);
        prop_assert_eq!(VlanHeader::parse(&out), Ok((tag, 4..4)));
    }

    #[test]
    fn arp_packets_are_read_as_written(
        operation in any::<u16>(), sender_mac in mac(), target_mac in mac(),
        sender in any::<[u8; 4]>(), target in any::<[u8; 4]>(),
    ) {
        let packet = ArpPacket {
            operation: ArpOperation(operation),
            sender_mac,
            sender_ip: sender.into(),
            target_mac,
            target_ip: target.into(),
        };
        let mut out = [0; ArpPacket::LEN];
        packet.emit(&mut out);
        prop_assert_eq!(ArpPacket::parse(&out), Ok((packet, 28..28)));
    }

    #[test]
    fn ipv4_headers_are_read_as_written((header, len) in ipv4_header()) {
        let mut packet = vec![0; Ipv4Header::LEN + len];
        header.emit(packet.first_chunk_mut().unwrap());
        prop_assert_eq!(Ipv4Header::parse(&packet), Ok((header, 20..20 + len)));
    }

    #[test]
    fn udp_datagrams_are_read_as_written_and_verify(
        ports in any::<(u16, u16)>(), addresses in any::<([u8; 4], [u8; 4])>(),
        data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let length = (UdpHeader::LEN + data.len()) as u16;
        let (source, destination) = ports;
        let (from, to) = (addresses.0.into(), addresses.1.into());
        let pseudo = checksum::pseudo_header_v4(from, to, IpProtocol::UDP, length);
        let header = UdpHeader { source, destination, length, checksum: 0 }
            .with_checksum(pseudo, &data);
        let mut datagram = vec![0; UdpHeader::LEN];
        header.emit(datagram.first_chunk_mut().unwrap());
        datagram.extend(&data);
        prop_assert_eq!(UdpHeader::parse(&datagram), Ok((header, 8..datagram.len())));
        prop_assert_ne!(header.checksum, 0);
        prop_assert_eq!(header.verify(pseudo, &datagram), Ok(()));
    }

    #[test]
    fn icmp_messages_are_read_as_written(
        message in icmp_message(), data in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = vec![0; IcmpMessage::LEN];
        message.emit(bytes.first_chunk_mut().unwrap(), Sum::of(&data));
        bytes.extend(&data);
        prop_assert_eq!(IcmpMessage::parse(&bytes), Ok((message, 8..bytes.len())));
    }
}
