//! From a socket to IP.

use super::headers::{Headers, NewHeaders};
use super::{ErrorCode, SocketId, Udp};
use crate::checksum::pseudo_header_v4;
use crate::drop::DropReason;
use crate::ip::{Outgoing, Path, SendFailure};
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::route::IfIndex;
use crate::skb::SkBuff;
use crate::wire::ipv4::IpProtocol;
use crate::wire::udp::UdpHeader;
use core::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use softnet_dma_ring::Frame;

impl Udp {
    /// Sends the payload in `frame`. What goes wrong is counted, and told to
    /// the socket as an asynchronous error.
    #[inline]
    pub(crate) fn send(&mut self, net: &mut NetCore, id: SocketId, frame: Frame, to: SocketAddrV4) {
        if let Err(frame) = self.send_again(net, id, frame, to) {
            self.send_otherwise(net, id, SkBuff::outgoing(frame, IfIndex(0)), to);
        }
    }

    /// Sends behind the headers of an earlier datagram to the same peer; gives
    /// the frame back when there are none, or they are not right any more.
    #[inline]
    fn send_again(
        &mut self,
        net: &mut NetCore,
        id: SocketId,
        frame: Frame,
        to: SocketAddrV4,
    ) -> Result<(), Frame> {
        let stamp = self.stamp(net);
        let Some(headers) = self.headers.find(id, to, stamp) else {
            return Err(frame);
        };
        match headers.output(net, frame)? {
            Ok(()) => net.mib().inc(Snmp::UdpOutDatagrams),
            Err(failure) => self.tell(net, id, failure),
        }
        Ok(())
    }

    /// Leaves the checksum to the NIC, or everything to the layers.
    #[inline(never)]
    fn send_otherwise(&mut self, net: &mut NetCore, id: SocketId, skb: SkBuff, to: SocketAddrV4) {
        if let Err(frame) = self.send_unsummed(net, id, skb.into_frame(), to) {
            self.send_by_layers(net, id, SkBuff::outgoing(frame, IfIndex(0)), to);
        }
    }

    /// As [`send_again`](Self::send_again), with a checksum that is left to the NIC.
    fn send_unsummed(
        &mut self,
        net: &mut NetCore,
        id: SocketId,
        frame: Frame,
        to: SocketAddrV4,
    ) -> Result<(), Frame> {
        let stamp = self.stamp(net);
        let Some(headers) = self.headers.find(id, to, stamp) else {
            return Err(frame);
        };
        match headers.output_unsummed(net, frame)? {
            Ok(()) => net.mib().inc(Snmp::UdpOutDatagrams),
            Err(failure) => self.tell(net, id, failure),
        }
        Ok(())
    }

    fn send_by_layers(&mut self, net: &mut NetCore, id: SocketId, skb: SkBuff, to: SocketAddrV4) {
        let (Some(part), Some(binding)) = (self.part(id), self.table.binding(id.slot)) else {
            // The application closed the socket after it had sent.
            let _ = net.kfree_skb(skb, DropReason::SocketClose);
            return;
        };
        let source = match binding.local {
            // RFC 1122 section 3.2.1.3: a group or a broadcast address, to which
            // a socket may be bound, is no source.
            Some(IpAddr::V4(address)) if !net.addresses.is_group(address) => Some(address),
            _ => None,
        };
        let meta = Outgoing {
            source,
            destination: *to.ip(),
            protocol: IpProtocol::UDP,
            ttl: part.ttl,
            broadcast: part.broadcast,
        };
        let port = binding.port;
        match output(net, skb, port, to, meta) {
            Ok(path) => {
                net.mib().inc(Snmp::UdpOutDatagrams);
                let stamp = self.stamp(net);
                let new = NewHeaders {
                    socket: id,
                    port,
                    to,
                    ttl: meta.ttl,
                    path,
                    stamp,
                };
                if let Some(headers) = Headers::new(net, &new) {
                    self.headers.keep(headers);
                }
            }
            Err(failure) => self.tell(net, id, failure),
        }
    }

    /// Counts that a datagram was not sent, or tells its socket.
    #[cold]
    fn tell(&self, net: &NetCore, id: SocketId, failure: SendFailure) {
        if failure == SendFailure::Dropped {
            // A full queue is no news of the network: as in Linux, it is counted,
            // and the application hears nothing.
            net.mib().inc(Snmp::UdpSndbufErrors);
        } else if let Some(part) = self.part(id) {
            part.shared.set_error(failure.into());
        }
    }
}

/// Routes, and pushes the UDP header, whose checksum needs the source address
/// that the route gives. Returns the way that it took.
fn output(
    net: &mut NetCore,
    mut skb: SkBuff,
    port: u16,
    to: SocketAddrV4,
    meta: Outgoing,
) -> Result<Path, SendFailure> {
    let path = match net.route_output(&meta) {
        Ok(path) => path,
        Err(failure) => return Err(net.fail_output(skb, failure)),
    };
    if push_header(&mut skb, path.source, port, to).is_none() {
        return Err(net.fail_output(skb, SendFailure::TooLong));
    }
    net.ip_output(skb, &meta, path)?;
    Ok(path)
}

/// RFC 768: the length covers the header, and a checksum that comes out as 0 is
/// sent as all ones.
fn push_header(skb: &mut SkBuff, source: Ipv4Addr, port: u16, to: SocketAddrV4) -> Option<()> {
    let length = u16::try_from(skb.len() + UdpHeader::LEN).ok()?;
    let pseudo = pseudo_header_v4(source, *to.ip(), IpProtocol::UDP, length);
    let header = UdpHeader {
        source: port,
        destination: to.port(),
        length,
        checksum: 0,
    }
    .with_checksum(pseudo, skb.data());
    let bytes = skb.push(UdpHeader::LEN)?.first_chunk_mut()?;
    header.emit(bytes);
    skb.reset_transport_header();
    Some(())
}

impl From<SendFailure> for ErrorCode {
    fn from(failure: SendFailure) -> Self {
        match failure {
            SendFailure::NoRoute => Self::NetworkUnreachable,
            SendFailure::TooLong => Self::MessageTooLong,
            SendFailure::Prohibited => Self::Prohibited,
            SendFailure::Dropped => Self::HostUnreachable,
        }
    }
}
