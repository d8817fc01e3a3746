//! The socket buffer: a frame on its way through the layers.

use crate::route::IfIndex;
use crate::wire::ethernet::EtherType;
use core::fmt;
use softnet_dma_ring::{ChecksumStatus, Frame};

/// To whom a received frame was addressed, by its destination address
/// (`PACKET_HOST` and so on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketType {
    /// To this device.
    #[default]
    Host,
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
    /// To another station: seen by promiscuous devices only.
    OtherHost,
    /// Sent by this host.
    Outgoing,
}

/// One packet: a [`Frame`] and where its headers lie.
///
/// The *data* starts at the layer that works on it: each layer pulls its header
/// on the way up and pushes it on the way down. Header positions stay known
/// after the pull. They are counted from the start of the buffer, so a push or
/// pull does not change them. Nothing is copied: the frame that the NIC filled
/// is the frame that the socket hands to the application.
pub struct SkBuff {
    frame: Frame,
    dev: IfIndex,
    mac: u16,
    network: u16,
    transport: u16,
    /// Ethernet type, in host order.
    protocol: u16,
    packet_type: PacketType,
}

impl SkBuff {
    /// A packet that a device received, or that will be sent on it; the data is
    /// the frame's.
    #[must_use]
    #[inline]
    pub fn new(frame: Frame, dev: IfIndex) -> Self {
        let at = frame.headroom() as u16;
        Self {
            frame,
            dev,
            mac: at,
            network: at,
            transport: at,
            protocol: 0,
            packet_type: PacketType::Host,
        }
    }

    /// A packet of this host, that will be sent on a device.
    #[must_use]
    #[inline]
    pub(crate) fn outgoing(frame: Frame, dev: IfIndex) -> Self {
        let mut skb = Self::new(frame, dev);
        skb.packet_type = PacketType::Outgoing;
        skb
    }

    /// A packet of this host, whose link-layer, network and transport headers start at these places of the buffer.
    #[inline]
    pub(crate) fn with_headers(
        frame: Frame,
        dev: IfIndex,
        [mac, network, transport]: [usize; 3],
    ) -> Self {
        Self {
            frame,
            dev,
            mac: mac as u16,
            network: network as u16,
            transport: transport as u16,
            protocol: EtherType::IPV4.0,
            packet_type: PacketType::Host,
        }
    }

    /// Gives up the header positions and keeps the frame.
    #[must_use]
    #[inline]
    pub fn into_frame(self) -> Frame {
        self.frame
    }

    /// The frame of a received datagram whose data is the payload: see
    /// [`datagram`].
    #[must_use]
    #[inline]
    pub(crate) fn into_datagram(self) -> Frame {
        let headers = self.headroom() - usize::from(self.network);
        datagram(self.frame, headers)
    }

    /// The frame.
    #[must_use]
    #[inline]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The frame, to be changed.
    #[must_use]
    #[inline]
    pub fn frame_mut(&mut self) -> &mut Frame {
        &mut self.frame
    }

    /// The device that the packet came in by or will go out by.
    #[must_use]
    #[inline]
    pub fn dev(&self) -> IfIndex {
        self.dev
    }

    /// Sets the device.
    #[inline]
    pub fn set_dev(&mut self, dev: IfIndex) {
        self.dev = dev;
    }

    /// The data, from the current layer's header on.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.frame.data()
    }

    /// The data, to be changed.
    #[must_use]
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.frame.data_mut()
    }

    /// Length of the data, in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether there is no data.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// Bytes before the data.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.frame.headroom()
    }

    /// Bytes after the data.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.frame.tailroom()
    }

    /// Moves the start of an empty packet `bytes` further on, to keep room for
    /// headers; `false`, and nothing changed, when there is data or no room.
    #[must_use]
    pub fn reserve(&mut self, bytes: usize) -> bool {
        self.is_empty() && self.frame.put(bytes).is_some() && self.frame.pull(bytes)
    }

    /// Extends the data at the end and returns the new bytes; `None` when the
    /// tailroom is too short.
    #[must_use]
    #[inline]
    pub fn put(&mut self, bytes: usize) -> Option<&mut [u8]> {
        self.frame.put(bytes)
    }

    /// Extends the data at the front, for a header, and returns the new bytes;
    /// `None` when the headroom is too short.
    #[must_use]
    #[inline]
    pub fn push(&mut self, bytes: usize) -> Option<&mut [u8]> {
        self.frame.push(bytes)
    }

    /// Takes `bytes` off the front; `false`, and nothing changed, when there
    /// are fewer.
    #[must_use]
    #[inline]
    pub fn pull(&mut self, bytes: usize) -> bool {
        self.frame.pull(bytes)
    }

    /// Cuts the data to its first `len` bytes.
    #[inline]
    pub fn trim(&mut self, len: usize) {
        self.frame.truncate(len);
    }

    /// Marks the link-layer header as starting where the data starts.
    #[inline]
    pub fn reset_mac_header(&mut self) {
        self.mac = self.frame.headroom() as u16;
    }

    /// Marks the network header as starting where the data starts.
    #[inline]
    pub fn reset_network_header(&mut self) {
        self.network = self.frame.headroom() as u16;
    }

    /// Marks the transport header as starting where the data starts.
    #[inline]
    pub fn reset_transport_header(&mut self) {
        self.transport = self.frame.headroom() as u16;
    }

    /// The packet from its link-layer header on.
    #[must_use]
    #[inline]
    pub fn mac_header(&self) -> &[u8] {
        self.frame.bytes_from(usize::from(self.mac))
    }

    /// The packet from its network header on.
    #[must_use]
    #[inline]
    pub fn network_header(&self) -> &[u8] {
        self.frame.bytes_from(usize::from(self.network))
    }

    /// The packet from its transport header on.
    #[must_use]
    #[inline]
    pub fn transport_header(&self) -> &[u8] {
        self.frame.bytes_from(usize::from(self.transport))
    }

    /// The Ethernet type, in host order; 0 before the link layer has looked.
    #[must_use]
    #[inline]
    pub fn protocol(&self) -> u16 {
        self.protocol
    }

    /// Sets the Ethernet type.
    #[inline]
    pub fn set_protocol(&mut self, protocol: u16) {
        self.protocol = protocol;
    }

    /// To whom the packet was addressed.
    #[must_use]
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// Sets to whom the packet was addressed.
    #[inline]
    pub fn set_packet_type(&mut self, packet_type: PacketType) {
        self.packet_type = packet_type;
    }

    /// When the packet was received, in nanoseconds of the stack's clock.
    #[must_use]
    #[inline]
    pub fn timestamp_ns(&self) -> Option<u64> {
        self.frame.timestamp_ns()
    }

    /// What is known of the transport checksum.
    #[must_use]
    #[inline]
    pub fn checksum(&self) -> ChecksumStatus {
        self.frame.checksum()
    }
}

/// A received datagram's frame. It keeps how many bytes of network and transport
/// headers stand before the data.
#[inline]
pub(crate) fn datagram(mut frame: Frame, headers: usize) -> Frame {
    frame.set_cookie(headers as u32);
    frame
}

/// The bytes of an IPv4 and a UDP header without options.
pub(crate) const PLAIN_HEADERS: usize = 28;

/// The headers of a [`datagram`]: the first 20 bytes of the IPv4 header, and the UDP
/// header; `None` if there are none.
#[inline]
pub(crate) fn datagram_headers(frame: &Frame) -> Option<(&[u8; 20], &[u8; 8])> {
    if frame.cookie() as usize == PLAIN_HEADERS {
        let headers = frame.bytes_before::<PLAIN_HEADERS>()?;
        return Some((headers.first_chunk()?, headers.last_chunk()?));
    }
    let network = frame.headroom().checked_sub(frame.cookie() as usize)?;
    Some((
        frame.bytes_from(network).first_chunk()?,
        frame.bytes_before()?,
    ))
}

impl fmt::Debug for SkBuff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkBuff")
            .field("dev", &self.dev)
            .field("mac", &self.mac)
            .field("network", &self.network)
            .field("transport", &self.transport)
            .field("protocol", &format_args!("{:#06x}", self.protocol))
            .field("packet_type", &self.packet_type)
            .field("frame", &self.frame)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softnet_dma_ring::{FramePool, PoolConfig};

    fn packet(headroom: u32) -> SkBuff {
        let config = PoolConfig {
            frames: 1,
            buffer_size: 256,
            headroom,
        };
        let pool = FramePool::new(config).unwrap();
        SkBuff::new(pool.alloc().unwrap(), IfIndex(1))
    }

    #[test]
    fn headers_stay_where_they_are_after_a_pull() {
        let mut skb = packet(64);
        skb.put(20).unwrap().copy_from_slice(&[7; 20]);
        skb.reset_network_header();
        assert!(skb.pull(8));
        skb.reset_transport_header();
        assert_eq!(skb.network_header().len(), 20);
        assert_eq!(skb.transport_header().len(), 12);
        assert_eq!(skb.data().len(), 12);
    }

    #[test]
    fn reserve_moves_an_empty_packet_only() {
        let mut skb = packet(0);
        assert!(skb.reserve(32));
        assert_eq!(skb.headroom(), 32);
        assert!(!skb.reserve(1000));
        assert!(skb.put(1).is_some());
        assert!(!skb.reserve(1));
    }

    #[test]
    fn a_push_beyond_the_headroom_is_refused_and_changes_nothing() {
        let mut skb = packet(16);
        skb.put(4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
        assert!(skb.push(17).is_none());
        assert_eq!(skb.data(), &[1, 2, 3, 4]);
        assert!(skb.push(16).is_some());
        assert_eq!(skb.len(), 20);
    }
}
