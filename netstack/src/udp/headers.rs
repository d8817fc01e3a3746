//! Headers that are kept for the next datagram to the same peer.
//!
//! A datagram to a neighbour, or through one, differs from the one before it in
//! its length, its identification, its payload and the checksums. So what the
//! layers have found out and written once is kept, a few peers a CPU, and the
//! next datagram takes the headers from here. The layers stay the only place
//! where a way is looked for: what is kept here is used only while nothing has
//! changed that they look at (routes, addresses, devices, bindings: one stamp),
//! and everything unusual is theirs. The neighbour's state and address are looked
//! up for each datagram.
//!
//! Where the NIC fills in checksums, only the pseudo-header is summed here. The
//! layers, by which the first datagram goes and the unusual ones, sum everything.

use super::SocketId;
use crate::checksum::Sum;
use crate::ip::{Path, SendFailure};
use crate::mib::Snmp;
use crate::neigh::NeighHandle;
use crate::netcore::NetCore;
use crate::protocol::Verdict;
use crate::route::IfIndex;
use crate::skb::{PacketType, SkBuff};
use crate::wire::ethernet::{EtherType, EthernetHeader};
use crate::wire::ipv4::{Fragment, IpProtocol, Ipv4Header};
use crate::wire::udp::UdpHeader;
use alloc::boxed::Box;
use core::net::SocketAddrV4;
use softnet_dma_ring::{Frame, TxChecksum};
use softnet_nic_hal::MacAddress;

/// Where the IPv4 and the UDP header start, and where the payload does.
const IP: usize = EthernetHeader::LEN;
const UDP: usize = IP + Ipv4Header::LEN;
const PAYLOAD: usize = UDP + UdpHeader::LEN;

/// What is left to the NIC: the UDP segment, with its checksum in the header's last
/// field.
const UNSUMMED: TxChecksum = TxChecksum {
    start: UDP as u16,
    offset: 6,
};

/// Peers whose headers are kept on a CPU, as a power of two.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;

/// Headers by socket and peer; one that comes takes the place of another that
/// falls on the same slot.
pub(super) struct HeaderCache {
    slots: Box<[Option<Headers>; SLOTS]>,
}

impl HeaderCache {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([const { None }; SLOTS]),
        }
    }

    /// The headers for datagrams of a socket to a peer, if they were kept when
    /// everything was as it is now, by `stamp`.
    #[inline]
    pub(super) fn find(&self, socket: SocketId, to: SocketAddrV4, stamp: u64) -> Option<&Headers> {
        let headers = self.slots[slot_of(socket, to)].as_ref()?;
        let same = headers.socket == socket && headers.to == to && headers.stamp == stamp;
        same.then_some(headers)
    }

    pub(super) fn keep(&mut self, headers: Headers) {
        let slot = slot_of(headers.socket, headers.to);
        self.slots[slot] = Some(headers);
    }

    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        self.slots.fill_with(|| None);
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}

/// The high bits of a product with 2^64 divided by the golden ratio.
#[inline]
fn slot_of(socket: SocketId, to: SocketAddrV4) -> usize {
    let peer = u64::from(to.ip().to_bits()) << 16 | u64::from(to.port());
    let key = peer ^ u64::from(socket.slot) << 48;
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
}

/// The headers of a datagram to one peer, without what differs.
pub(super) struct Headers {
    socket: SocketId,
    to: SocketAddrV4,
    stamp: u64,
    neighbour: NeighHandle,
    dev: IfIndex,
    /// The MTU, for datagrams whose checksum is computed here; 0 where it is left to
    /// the NIC, so that [`output`](Self::output) declines and needs no further look.
    mtu: u16,
    /// The MTU where the checksum is left to the NIC, otherwise 0.
    unsummed_mtu: u16,
    /// With zeros for the link-layer destination, lengths, the identification and
    /// the checksums.
    bytes: [u8; PAYLOAD],
    /// Of the IPv4 header as it stands here.
    ip_sum: Sum,
    /// Of the pseudo-header without the length; and of the UDP header as it stands
    /// here, unless its checksum is left to the NIC.
    udp_sum: Sum,
}

/// What headers are made from.
pub(super) struct NewHeaders {
    pub(super) socket: SocketId,
    pub(super) port: u16,
    pub(super) to: SocketAddrV4,
    pub(super) ttl: u8,
    pub(super) path: Path,
    pub(super) stamp: u64,
}

impl Headers {
    /// The headers for a way that the layers have just found; `None` when it is
    /// not one by a neighbour.
    pub(super) fn new(net: &NetCore, new: &NewHeaders) -> Option<Self> {
        let neighbour = net.neighbours.handle_of(new.path.neighbour()?)?;
        let dev = new.path.dev;
        let device = net.device(dev)?;
        let (mtu, unsummed_mtu) = match device.tx_checksum() {
            true => (0, new.path.mtu),
            false => (new.path.mtu, 0),
        };
        let source_mac = device.mac();
        let mut headers = Self {
            socket: new.socket,
            to: new.to,
            stamp: new.stamp,
            neighbour,
            dev,
            mtu,
            unsummed_mtu,
            bytes: [0; PAYLOAD],
            ip_sum: Sum::ZERO,
            udp_sum: Sum::ZERO,
        };
        headers.write_ethernet(source_mac)?;
        headers.write_ip(new)?;
        headers.write_udp(new)?;
        Some(headers)
    }

    fn write_ethernet(&mut self, source: MacAddress) -> Option<()> {
        let header = EthernetHeader {
            destination: MacAddress::default(),
            source,
            ether_type: EtherType::IPV4,
        };
        header.emit(self.bytes.first_chunk_mut()?);
        Some(())
    }

    fn write_ip(&mut self, new: &NewHeaders) -> Option<()> {
        let header = Ipv4Header {
            tos: 0,
            total_len: 0,
            id: 0,
            fragment: Fragment::DONT,
            ttl: new.ttl,
            protocol: IpProtocol::UDP,
            source: new.path.source,
            destination: *new.to.ip(),
        };
        let bytes = self.bytes[IP..].first_chunk_mut()?;
        header.emit(bytes);
        bytes[10..12].fill(0);
        self.ip_sum = Sum::of_20(bytes);
        Some(())
    }

    fn write_udp(&mut self, new: &NewHeaders) -> Option<()> {
        let header = UdpHeader {
            source: new.port,
            destination: new.to.port(),
            length: 0,
            checksum: 0,
        };
        header.emit(self.bytes[UDP..].first_chunk_mut()?);
        // The two addresses stand right before the UDP header, as they do in the
        // pseudo-header.
        let summed = match self.unsummed_mtu {
            0 => &self.bytes[UDP - 8..],
            _ => &self.bytes[UDP - 8..UDP],
        };
        self.udp_sum = Sum::of(summed).combine(Sum::of_u16(u16::from(IpProtocol::UDP.0)));
        Some(())
    }

    /// Sends a payload behind these headers; gives the frame back as it was when
    /// that is for the layers.
    #[inline]
    pub(super) fn output(
        &self,
        net: &mut NetCore,
        mut frame: Frame,
    ) -> Result<Result<(), SendFailure>, Frame> {
        let total_len = frame.len() + (PAYLOAD - IP);
        if total_len > usize::from(self.mtu) || frame.headroom() < PAYLOAD {
            return Err(frame);
        }
        let Some(mac) = net.neigh_cached(self.neighbour) else {
            return Err(frame);
        };
        let payload = Sum::of(frame.data());
        match frame.push(PAYLOAD).and_then(|b| b.first_chunk_mut()) {
            Some(bytes) => self.write(bytes, mac, net.next_ip_id(), total_len as u16, payload),
            None => return Err(frame),
        }
        self.xmit(net, frame)
    }

    #[inline]
    fn xmit(&self, net: &mut NetCore, frame: Frame) -> Result<Result<(), SendFailure>, Frame> {
        let start = frame.headroom();
        let mut skb = SkBuff::with_headers(frame, self.dev, [start, start + IP, start + UDP]);
        skb.set_packet_type(PacketType::Outgoing);
        net.mib().inc(Snmp::IpOutRequests);
        match net.dev_queue_xmit(skb) {
            Verdict::Delivered => Ok(Ok(())),
            Verdict::Dropped(_) => {
                net.mib().inc(Snmp::IpOutDiscards);
                Ok(Err(SendFailure::Dropped))
            }
        }
    }

    /// Writes the headers, with what is this datagram's own.
    #[inline]
    fn write(
        &self,
        out: &mut [u8; PAYLOAD],
        mac: MacAddress,
        id: u16,
        total_len: u16,
        payload: Sum,
    ) {
        let length = total_len - Ipv4Header::LEN as u16;
        let ip_sum = self.ip_sum.combine(Sum::of_u16(total_len));
        let ip_checksum = ip_sum.combine(Sum::of_u16(id)).finish();
        // RFC 768: the length is in the header and in the pseudo-header.
        let lengths = Sum::of_u16(length).combine(Sum::of_u16(length));
        let sum = self.udp_sum.combine(lengths).combine(payload);
        *out = self.bytes;
        out[..6].copy_from_slice(&mac.0);
        out[IP + 2..IP + 4].copy_from_slice(&total_len.to_be_bytes());
        out[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
        out[IP + 10..IP + 12].copy_from_slice(&ip_checksum.to_be_bytes());
        out[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
        out[UDP + 6..].copy_from_slice(&UdpHeader::on_wire(sum).to_be_bytes());
    }
    /// The same where the checksum is left to the NIC: its field holds the sum of the
    /// pseudo-header, and the frame says where the rest starts.
    pub(super) fn output_unsummed(
        &self,
        net: &mut NetCore,
        mut frame: Frame,
    ) -> Result<Result<(), SendFailure>, Frame> {
        let len = frame.len();
        if len + (PAYLOAD - IP) > usize::from(self.unsummed_mtu) || frame.headroom() < PAYLOAD {
            return Err(frame);
        }
        let Some(mac) = net.neigh_cached(self.neighbour) else {
            return Err(frame);
        };
        match frame.push(PAYLOAD).and_then(|b| b.first_chunk_mut()) {
            Some(bytes) => self.write_unsummed(bytes, mac, net.next_ip_id(), len as u16),
            None => return Err(frame),
        }
        frame.set_tx_checksum(Some(UNSUMMED));
        self.xmit(net, frame)
    }

    /// As [`write`](Self::write), for a payload of `len` bytes that nobody has summed.
    fn write_unsummed(&self, out: &mut [u8; PAYLOAD], mac: MacAddress, id: u16, len: u16) {
        let length = len + UdpHeader::LEN as u16;
        let total_len = length + Ipv4Header::LEN as u16;
        self.write(out, mac, id, total_len, Sum::ZERO);
        let pseudo = !self.udp_sum.combine(Sum::of_u16(length)).finish();
        out[UDP + 6..].copy_from_slice(&pseudo.to_be_bytes());
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests;
