//! ICMP (RFC 792, RFC 1122 section 3.2.2).

use crate::address::AddressKind;
use crate::checksum::{self, Sum};
use crate::drop::DropReason;
use crate::ip::{DEFAULT_TTL, Outgoing};
use crate::martian;
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::protocol::Verdict;
use crate::skb::{PacketType, SkBuff};
use crate::udp::Udp;
use crate::wire::icmpv4::{IcmpError as Malformed, IcmpMessage, Unreachable};
use crate::wire::ipv4::{IpProtocol, Ipv4Header};
use crate::wire::udp::UdpHeader;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What an ICMP error says to a transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpError {
    Unreachable(Unreachable),
    Other,
}

/// The longest ICMP error, with its IP header, in bytes (RFC 1812 section
/// 4.3.2.3).
const ERROR_MAX: usize = 576;

/// Takes a message whose data starts at the ICMP header (`icmp_rcv`).
pub(crate) fn receive(net: &mut NetCore, udp: &Udp, skb: SkBuff) -> Verdict {
    net.mib().inc(Snmp::IcmpInMsgs);
    let message = match IcmpMessage::parse(skb.data()) {
        Ok((message, _)) => message,
        Err(Malformed::Checksum) => {
            net.mib().inc(Snmp::IcmpInCsumErrors);
            return bad(net, skb, DropReason::IcmpCsum);
        }
        Err(_) => return bad(net, skb, DropReason::HdrTrunc),
    };
    match message {
        IcmpMessage::EchoRequest { .. } => echo(net, skb),
        IcmpMessage::EchoReply { .. } => {
            net.mib().inc(Snmp::IcmpInEchoReps);
            // Nobody here has asked.
            net.kfree_skb(skb, DropReason::IcmpIgnored)
        }
        IcmpMessage::DestinationUnreachable(code) => {
            net.mib().inc(Snmp::IcmpInDestUnreachs);
            error(net, udp, skb, IcmpError::Unreachable(code))
        }
        IcmpMessage::TimeExceeded { .. } | IcmpMessage::ParameterProblem { .. } => {
            error(net, udp, skb, IcmpError::Other)
        }
        // RFC 1122 section 3.2.2: unknown types are discarded in silence.
        // Redirects are not followed (RFC 1122 section 3.2.2.2 lets a host
        // that has another source of routes ignore them).
        IcmpMessage::Redirect { .. } | IcmpMessage::Unknown { .. } => {
            net.kfree_skb(skb, DropReason::IcmpIgnored)
        }
    }
}

#[cold]
fn bad(net: &mut NetCore, skb: SkBuff, reason: DropReason) -> Verdict {
    net.mib().inc(Snmp::IcmpInErrors);
    net.kfree_skb(skb, reason)
}

/// Source and destination of the packet, from its IP header.
fn addresses(skb: &SkBuff) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = skb.network_header().first_chunk::<20>()?;
    let [.., a, b, c, d, e, f, g, h] = *header;
    Some((Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
}

/// RFC 1122 section 3.2.2.6: the reply has the request's data, and goes back
/// from the address that was asked. It is the same frame.
fn echo(net: &mut NetCore, mut skb: SkBuff) -> Verdict {
    net.mib().inc(Snmp::IcmpInEchos);
    let Some((source, destination)) = addresses(&skb) else {
        return bad(net, skb, DropReason::HdrTrunc);
    };
    if skb.packet_type() != PacketType::Host || !net.is_unicast_local(destination) {
        // Allowed by RFC 1122, and Linux's default: no amplifier for smurfs.
        return net.kfree_skb(skb, DropReason::IcmpIgnored);
    }
    turn_to_reply(skb.data_mut());
    net.mib().inc(Snmp::IcmpOutEchoReps);
    send(net, skb, Some(destination), source)
}

/// Type 8 becomes 0, and the checksum follows (RFC 1624).
fn turn_to_reply(message: &mut [u8]) {
    if let [kind, code, high, low, ..] = message {
        let old = u16::from_be_bytes([*kind, *code]);
        *kind = 0;
        let new = u16::from_be_bytes([0, *code]);
        let sum = checksum::update(u16::from_be_bytes([*high, *low]), old, new);
        [*high, *low] = sum.to_be_bytes();
    }
}

fn send(net: &mut NetCore, mut skb: SkBuff, source: Option<Ipv4Addr>, to: Ipv4Addr) -> Verdict {
    net.mib().inc(Snmp::IcmpOutMsgs);
    skb.set_packet_type(PacketType::Outgoing);
    let meta = Outgoing {
        source,
        destination: to,
        protocol: IpProtocol::ICMP,
        ttl: DEFAULT_TTL,
        broadcast: false,
    };
    // Whatever the outcome, the packet that came in has been dealt with; a drop
    // on the way out has been counted as such.
    let _ = match net.route_output(&meta) {
        Ok(path) => net.ip_output(skb, &meta, path),
        Err(failure) => Err(net.fail_output(skb, failure)),
    };
    Verdict::Delivered
}

/// An error about a packet that this host has sent: its quoted headers tell
/// which (RFC 1122 section 3.2.2.1 and following).
fn error(net: &mut NetCore, udp: &Udp, skb: SkBuff, error: IcmpError) -> Verdict {
    let Some((local, peer)) = quoted_udp(skb.data()) else {
        return net.kfree_skb(skb, DropReason::IcmpIgnored);
    };
    udp.error(local, peer, error);
    net.consume_skb(skb);
    Verdict::Delivered
}

/// The addresses of the UDP datagram that an ICMP error quotes. The quotation
/// need not hold more than the first 8 bytes after the IP header, so the quoted
/// lengths say nothing.
fn quoted_udp(message: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let quoted = message.get(IcmpMessage::LEN..)?;
    let header = quoted.first_chunk::<{ Ipv4Header::LEN }>()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let is_udp = header[0] >> 4 == 4 && IpProtocol(header[9]) == IpProtocol::UDP;
    if !is_udp || header_len < Ipv4Header::LEN {
        return None;
    }
    let ports = quoted
        .get(header_len..)?
        .first_chunk::<{ UdpHeader::LEN }>()?;
    let [.., a, b, c, d, e, f, g, h] = *header;
    let local = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let peer = IpAddr::V4(Ipv4Addr::new(e, f, g, h));
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((
        SocketAddr::new(local, port(0)),
        SocketAddr::new(peer, port(2)),
    ))
}

impl NetCore {
    /// Answers a received packet with "destination unreachable", where RFC 1122
    /// section 3.2.2 allows an answer and the rate limit has room
    /// (`icmp_send`). The packet itself stays with the caller.
    #[cold]
    pub(crate) fn icmp_unreachable(&mut self, about: &SkBuff, code: Unreachable) {
        let Some((source, destination)) = addresses(about) else {
            return;
        };
        if !self.may_answer(about, source, destination) {
            return;
        }
        let message = IcmpMessage::DestinationUnreachable(code);
        let now_ns = self.now_ns();
        if !self.icmp_limit.allow(message, IpAddr::V4(source), now_ns) {
            return self.mib().inc(Snmp::IcmpOutRateLimit);
        }
        let Some(mut skb) = self.alloc_skb() else {
            return;
        };
        if quote(&mut skb, message, about.network_header()).is_some() {
            self.mib().inc(Snmp::IcmpOutDestUnreachs);
            // About a packet of its own, a host tells itself.
            let local = self.is_unicast_local(destination);
            let from = if local { destination } else { source };
            let _ = send(self, skb, Some(from), source);
        } else {
            self.consume_skb(skb);
        }
    }

    /// RFC 1122 section 3.2.2: no error about an error, about a packet to many,
    /// about a later fragment, or to an address that is not one host's.
    fn may_answer(&self, about: &SkBuff, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let header = about.network_header();
        let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        let is_icmp = IpProtocol(header[9]) == IpProtocol::ICMP;
        let to_one = match about.packet_type() {
            PacketType::Host => self.addresses.kind(destination) == AddressKind::Local,
            PacketType::Outgoing => self.addresses.kind(source) == AddressKind::Local,
            _ => false,
        };
        to_one && fragment_offset == 0 && !is_icmp && self.is_one_host(source)
    }

    /// Whether an address can be that of one host, this one included.
    fn is_one_host(&self, address: Ipv4Addr) -> bool {
        match self.addresses.kind(address) {
            AddressKind::Local => true,
            AddressKind::Broadcast | AddressKind::Multicast => false,
            AddressKind::Foreign => {
                martian::check(address, Ipv4Addr::BROADCAST).is_ok() && !address.is_unspecified()
            }
        }
    }
}

/// Builds an error: the message, and as much of the packet as fits.
fn quote(skb: &mut SkBuff, message: IcmpMessage, packet: &[u8]) -> Option<()> {
    let room = ERROR_MAX - Ipv4Header::LEN - IcmpMessage::LEN;
    let quoted = &packet[..packet.len().min(room)];
    skb.put(quoted.len())?.copy_from_slice(quoted);
    let header = skb.push(IcmpMessage::LEN)?.first_chunk_mut()?;
    message.emit(header, Sum::of(quoted));
    Some(())
}
