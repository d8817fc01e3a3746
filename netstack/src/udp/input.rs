//! From IP to a socket's queue.

use super::{ErrorCode, Memory, Part, Udp};
use crate::checksum::pseudo_header_v4;
use crate::drop::DropReason;
use crate::icmp::IcmpError;
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::protocol::Verdict;
use crate::skb::{PacketType, SkBuff};
use crate::wire::icmpv4::Unreachable;
use crate::wire::ipv4::IpProtocol;
use crate::wire::udp::{UdpError, UdpHeader};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_dma_ring::{ChecksumStatus, Frame, FrameCache, lending};

/// The addresses of a datagram, from its IP header.
#[inline]
fn addresses(skb: &SkBuff) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = skb.network_header().first_chunk::<20>()?;
    let [.., a, b, c, d, e, f, g, h] = *header;
    Some((Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
}

impl Udp {
    /// Takes a datagram whose data starts at the UDP header (`udp_rcv`).
    #[inline]
    pub(crate) fn receive(&mut self, net: &mut NetCore, mut skb: SkBuff) -> Verdict {
        let Some((source, destination)) = addresses(&skb) else {
            return bad(net, skb, DropReason::HdrTrunc);
        };
        let header = match check(&skb, source, destination) {
            Ok(header) => header,
            Err(UdpError::Checksum) => {
                net.mib().inc(Snmp::UdpInCsumErrors);
                return bad(net, skb, DropReason::UdpCsum);
            }
            Err(_) => return bad(net, skb, DropReason::PktTooSmall),
        };
        // What lies behind the datagram's own length is not part of it.
        skb.trim(usize::from(header.length));
        let _ = skb.pull(UdpHeader::LEN);
        if skb.packet_type() != PacketType::Host || !net.is_unicast_local(destination) {
            return self.receive_group(net, skb, header, destination);
        }
        let from = SocketAddr::new(IpAddr::V4(source), header.source);
        match self
            .table
            .lookup(IpAddr::V4(destination), header.destination, from)
        {
            Some(slot) => self.queue(net, slot, skb),
            None => no_port(net, skb),
        }
    }

    /// A datagram to a group or to everybody goes to one socket here: with
    /// unshared ports there is at most one for each local address, and the one
    /// that is bound to this group or to any address takes it. RFC 1122 forbids
    /// an ICMP error in answer (section 3.2.2).
    #[cold]
    fn receive_group(
        &mut self,
        net: &mut NetCore,
        skb: SkBuff,
        header: UdpHeader,
        destination: Ipv4Addr,
    ) -> Verdict {
        let to = IpAddr::V4(destination);
        let wanted = self.table.listeners(header.destination).find(|&slot| {
            let local = self.table.binding(slot).and_then(|binding| binding.local);
            local.is_none_or(|local| local == to)
        });
        match wanted {
            Some(slot) => self.queue(net, slot, skb),
            None => {
                net.mib().inc(Snmp::UdpNoPorts);
                net.kfree_skb(skb, DropReason::NoSocket)
            }
        }
    }

    /// The slot of the socket that a datagram is for.
    #[inline]
    pub(crate) fn lookup(&self, to: IpAddr, port: u16, from: SocketAddr) -> Option<u32> {
        self.table.lookup(to, port, from)
    }

    /// Queues a datagram to a socket, within its buffer and that of all.
    #[inline]
    pub(crate) fn queue(&mut self, net: &mut NetCore, slot: u32, skb: SkBuff) -> Verdict {
        match self.room(slot, &mut net.cache) {
            Some(room) => room.lend(skb.into_datagram()),
            None => return self.queue_late(net, slot, skb),
        }
        net.mib().inc(Snmp::UdpInDatagrams);
        Verdict::Delivered
    }

    /// Room for one datagram in a socket's queue, if there is any as far as one
    /// look a pass says.
    #[inline]
    pub(crate) fn room(&mut self, slot: u32, cache: &mut FrameCache) -> Option<Room<'_>> {
        let Some(Some(part)) = self.parts.get_mut(slot as usize) else {
            return None;
        };
        if !part.dirty {
            // The first of this pass: what came in an earlier one was read.
            part.dirty = true;
            self.dirty.push(slot);
            self.memory.lent -= part.collect(cache);
            if !part.holds {
                part.holds = true;
                self.holders.push(slot);
            }
        }
        let memory = &mut self.memory;
        if memory.lent >= memory.limit {
            return None;
        }
        let room = part.queue.room()?;
        Some(Room { room, memory })
    }

    /// Queues a datagram although there seems to be no room: the application, or
    /// other applications, may have read meanwhile.
    #[cold]
    fn queue_late(&mut self, net: &mut NetCore, slot: u32, skb: SkBuff) -> Verdict {
        if self.memory.lent >= self.memory.limit {
            self.collect_from(LOOKED_AT, &mut net.cache);
        }
        let Some(Some(part)) = self.parts.get_mut(slot as usize) else {
            return no_port(net, skb);
        };
        self.memory.lent -= part.collect(&mut net.cache);
        let memory = &mut self.memory;
        if memory.lent >= memory.limit {
            return refuse(net, part, skb, DropReason::ProtoMem);
        }
        match part.queue.room() {
            Some(room) => Room { room, memory }.lend(skb.into_datagram()),
            None => return refuse(net, part, skb, DropReason::SocketRcvbuff),
        }
        net.mib().inc(Snmp::UdpInDatagrams);
        Verdict::Delivered
    }

    /// An ICMP error about a datagram that this host has sent: the socket that
    /// sent it learns of it (RFC 1122 section 4.1.3.3). Only a connected socket
    /// does, since only it has one peer that the error can be about.
    pub(crate) fn error(&self, local: SocketAddr, peer: SocketAddr, error: IcmpError) {
        let Some(slot) = self.table.lookup(local.ip(), local.port(), peer) else {
            return;
        };
        let connected = self
            .table
            .binding(slot)
            .is_some_and(|b| b.remote == Some(peer));
        let code = match error {
            IcmpError::Unreachable(Unreachable::Port) => ErrorCode::ConnectionRefused,
            IcmpError::Unreachable(Unreachable::Network | Unreachable::NetworkUnknown) => {
                ErrorCode::NetworkUnreachable
            }
            IcmpError::Unreachable(Unreachable::FragmentationNeeded { .. }) => {
                ErrorCode::MessageTooLong
            }
            IcmpError::Unreachable(_) => ErrorCode::HostUnreachable,
            // Transient: RFC 1122 section 4.1.3.3 lets UDP pass it on, and Linux
            // does so only to those who ask.
            IcmpError::Other => return,
        };
        if let Some(Some(part)) = self.parts.get(slot as usize).filter(|_| connected) {
            part.shared.set_error(code);
        }
    }
}

/// Sockets whose frames are looked through for one datagram that finds the memory
/// of all sockets in use: a flood must not make each of its packets expensive.
const LOOKED_AT: usize = 64;

/// Room for one datagram in a socket's queue.
pub(crate) struct Room<'a> {
    room: lending::Room<'a, Frame>,
    memory: &'a mut Memory,
}

impl Room<'_> {
    #[inline]
    pub(crate) fn lend(self, datagram: Frame) {
        self.room.lend(datagram);
        self.memory.lent += 1;
    }
}

/// Header and checksum. A checksum of 0 says that there is none.
#[inline]
fn check(skb: &SkBuff, source: Ipv4Addr, destination: Ipv4Addr) -> Result<UdpHeader, UdpError> {
    let (header, _) = UdpHeader::parse(skb.data())?;
    if skb.checksum() == ChecksumStatus::None && header.checksum != 0 {
        let pseudo = pseudo_header_v4(source, destination, IpProtocol::UDP, header.length);
        // Not over what the IP packet may have behind the datagram.
        let datagram = skb.data().get(..usize::from(header.length));
        header.verify(pseudo, datagram.unwrap_or_default())?;
    }
    Ok(header)
}

#[cold]
fn bad(net: &mut NetCore, skb: SkBuff, reason: DropReason) -> Verdict {
    net.mib().inc(Snmp::UdpInErrors);
    net.kfree_skb(skb, reason)
}

/// RFC 1122 section 4.1.3.1: a datagram to a port on which nobody listens is
/// answered by ICMP.
#[cold]
fn no_port(net: &mut NetCore, skb: SkBuff) -> Verdict {
    net.mib().inc(Snmp::UdpNoPorts);
    net.icmp_unreachable(&skb, Unreachable::Port);
    net.kfree_skb(skb, DropReason::NoSocket)
}

#[cold]
fn refuse(net: &mut NetCore, part: &Part, skb: SkBuff, reason: DropReason) -> Verdict {
    let counter = match reason {
        DropReason::ProtoMem => Snmp::UdpMemErrors,
        _ => Snmp::UdpRcvbufErrors,
    };
    net.mib().inc(counter);
    net.mib().inc(Snmp::UdpInErrors);
    part.count_drop();
    net.kfree_skb(skb, reason)
}

impl Part {
    fn count_drop(&self) {
        if let Some(part) = self.shared.parts.get(self.cpu) {
            part.drops.add(1);
        }
    }
}
