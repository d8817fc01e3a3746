//! From the link layer to a transport protocol (RFC 1122 section 3.2.1).

use crate::address::AddressKind;
use crate::drop::DropReason;
use crate::martian;
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::protocol::{NetContext, Verdict};
use crate::skb::{PacketType, SkBuff};
use crate::wire::ipv4::{Ipv4Error, Ipv4Header, Ipv4Options};
use core::net::Ipv4Addr;

/// Takes a packet whose data starts at the IP header (`ip_rcv`).
#[inline]
pub(crate) fn receive(net: &mut NetContext<'_>, mut skb: SkBuff) -> Verdict {
    // What only a promiscuous device shows was not received by IP.
    if skb.packet_type() == PacketType::OtherHost {
        return net.kfree_skb(skb, DropReason::Otherhost);
    }
    net.mib().inc(Snmp::IpInReceives);
    let (header, payload) = match Ipv4Header::parse(skb.data()) {
        Ok(parsed) => parsed,
        Err(error) => return bad_header(net, skb, error),
    };
    // What lies behind the packet's own length is padding of the link layer.
    skb.trim(payload.end);
    if let Err(reason) = validate(net, &skb, &header, payload.start) {
        return refuse(net, skb, reason);
    }
    let _ = skb.pull(payload.start);
    skb.reset_transport_header();
    net.deliver(header.protocol.0, skb)
}

/// Everything beyond the header's own consistency: addresses, options and
/// fragments.
#[inline]
fn validate(
    net: &NetCore,
    skb: &SkBuff,
    header: &Ipv4Header,
    header_len: usize,
) -> Result<(), DropReason> {
    check_addresses(net, skb, header.source, header.destination)?;
    match net.addresses.kind(header.destination) {
        AddressKind::Local => check_unicast(skb)?,
        AddressKind::Broadcast => {}
        AddressKind::Multicast if is_joined(header.destination) => {}
        // Forwarding is off: RFC 1122 section 3.3.1, strong or weak, a host
        // discards in silence what is not for it.
        AddressKind::Multicast | AddressKind::Foreign => {
            return Err(DropReason::IpInaddrerrors);
        }
    }
    if header_len > Ipv4Header::LEN {
        check_options(skb.data(), header_len)?;
    }
    if header.fragment.is_fragment() {
        return Err(DropReason::IpFragment);
    }
    Ok(())
}

/// RFC 1122 section 3.2.1.3: addresses that no packet from a wire can have.
#[inline]
fn check_addresses(
    net: &NetCore,
    skb: &SkBuff,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Result<(), DropReason> {
    if net.is_loopback(skb.dev()) {
        return Ok(());
    }
    martian::check(source, destination)?;
    match net.addresses.kind(source) {
        AddressKind::Local => Err(DropReason::IpLocalSource),
        // A connected network's own broadcast address; the others are martians.
        AddressKind::Broadcast => Err(DropReason::IpInvalidSource),
        AddressKind::Multicast | AddressKind::Foreign => Ok(()),
    }
}

/// RFC 1122 section 3.3.6: a packet to one host in a frame to many is somebody's
/// mistake or attack.
#[inline]
fn check_unicast(skb: &SkBuff) -> Result<(), DropReason> {
    match skb.packet_type() {
        PacketType::Host => Ok(()),
        _ => Err(DropReason::UnicastInL2Multicast),
    }
}

/// Groups that this host is in. RFC 1112 section 7.2: every host is in
/// 224.0.0.1.
fn is_joined(group: Ipv4Addr) -> bool {
    group == Ipv4Addr::new(224, 0, 0, 1)
}

/// RFC 1122 section 3.2.1.8: unknown options are passed over, malformed ones
/// make the packet invalid. Source routes are refused, as Linux does unless told
/// otherwise (RFC 7126 section 4.3).
#[cold]
fn check_options(packet: &[u8], header_len: usize) -> Result<(), DropReason> {
    for option in Ipv4Options::new(packet, header_len) {
        match option {
            Ok(option) if option.is_source_route() => return Err(DropReason::IpSourceRoute),
            Ok(_) => {}
            Err(_) => return Err(DropReason::IpInhdr),
        }
    }
    Ok(())
}

#[cold]
fn bad_header(net: &mut NetCore, skb: SkBuff, error: Ipv4Error) -> Verdict {
    net.mib().inc(Snmp::IpInHdrErrors);
    let reason = match error {
        Ipv4Error::Checksum => DropReason::IpCsum,
        Ipv4Error::TooShort { .. } => DropReason::HdrTrunc,
        Ipv4Error::Truncated { .. } => DropReason::PktTooSmall,
        Ipv4Error::Version(_) | Ipv4Error::HeaderLength { .. } | Ipv4Error::TotalLength { .. } => {
            DropReason::IpInhdr
        }
    };
    net.kfree_skb(skb, reason)
}

#[cold]
fn refuse(net: &mut NetCore, skb: SkBuff, reason: DropReason) -> Verdict {
    let counter = match reason {
        DropReason::IpInhdr | DropReason::IpSourceRoute => Snmp::IpInHdrErrors,
        DropReason::IpFragment => Snmp::IpInDiscards,
        _ => Snmp::IpInAddrErrors,
    };
    net.mib().inc(counter);
    net.kfree_skb(skb, reason)
}
