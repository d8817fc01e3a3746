//! Where the headers of a packet end that are to be split off (section 7.1.6, and
//! PSRTYPE in 8.10.3).

use super::packet::Verdict;
use super::regs::{Registers, offset};
use crate::offload::{Headers, Network, Transport};

/// Bits of PSRTYPE: the stacks of headers that are split off.
mod psrtype {
    pub(super) const IPV4: u32 = 1 << 1;
    pub(super) const IPV4_TCP: u32 = 1 << 2;
    pub(super) const IPV4_UDP: u32 = 1 << 3;
    pub(super) const IPV6: u32 = 1 << 7;
    pub(super) const IPV6_TCP: u32 = 1 << 8;
    pub(super) const IPV6_UDP: u32 = 1 << 9;
}

/// Bytes of the headers of a packet, if they are of a stack that the queue's
/// PSRTYPE names. A stripped tag does not count.
pub(super) fn header_len(
    registers: &Registers,
    number: usize,
    frame: &[u8],
    verdict: &Verdict,
) -> Option<usize> {
    let enabled = registers.load(offset::PSRTYPE + (number as u32 % 8) * 4);
    let headers = Headers::parse(frame, registers.load(offset::VET) as u16)?;
    let (stack, end) = stack(frame, &headers);
    let stripped = if verdict.tag_is_stripped() { 4 } else { 0 };
    (enabled & stack != 0).then_some(end.min(frame.len()) - stripped)
}

/// The stack, and where it ends.
fn stack(frame: &[u8], headers: &Headers) -> (u32, usize) {
    let transport = if headers.fragment {
        Transport::Other
    } else {
        headers.transport
    };
    let at = headers.transport_at;
    match (headers.network, transport) {
        (Network::Ipv4, Transport::Tcp) => (psrtype::IPV4_TCP, at + tcp_len(frame, at)),
        (Network::Ipv4, Transport::Udp) => (psrtype::IPV4_UDP, at + 8),
        (Network::Ipv4, _) => (psrtype::IPV4, at),
        (Network::Ipv6, Transport::Tcp) => (psrtype::IPV6_TCP, at + tcp_len(frame, at)),
        (Network::Ipv6, Transport::Udp) => (psrtype::IPV6_UDP, at + 8),
        (Network::Ipv6, _) => (psrtype::IPV6, at),
    }
}

/// Bytes of a TCP header with its options.
fn tcp_len(frame: &[u8], at: usize) -> usize {
    let offset = frame.get(at + 12).map_or(0, |byte| byte >> 4);
    usize::from(offset.max(5)) * 4
}
