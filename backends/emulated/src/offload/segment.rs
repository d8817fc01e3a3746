//! TCP and UDP segmentation: one header and much payload become many packets.

use super::checksum::{ChecksumField, ones_add};
use super::headers::{Network, Transport};
use super::vlan::TAG_LEN;
use thiserror::Error;

/// Bytes of the longest header that any chip can describe.
const MAX_HEADER: usize = 1024;

/// The flags of TCP are the lower twelve bits of the word at this offset.
const TCP_FLAGS: usize = 12;

/// How a large packet is to be cut. Offsets are those in the packet, without a
/// VLAN tag that is put in afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes at the packet's start that each segment begins with.
    pub header_len: usize,
    /// Payload bytes of each segment but the last.
    pub mss: usize,
    /// Payload bytes of all segments.
    pub payload_len: usize,
    /// Which IP header to bring up to date, and where it is. IPv4: the total
    /// length, and the identification counts up. IPv6: the payload length.
    pub network: Option<(Network, usize)>,
    /// Which header to bring up to date, and where it is. TCP: the sequence number
    /// and the flags. UDP: the length.
    pub transport: Option<(Transport, usize)>,
    /// The IP checksum.
    pub network_checksum: Option<ChecksumField>,
    /// The TCP or UDP checksum. The packet has the sum of the pseudo header there,
    /// with a length of zero; each segment's own length is added.
    pub transport_checksum: Option<ChecksumField>,
    /// The flags of TCP (twelve bits) that a segment keeps: the first, the last,
    /// and those between. A single one keeps all.
    pub keep_flags: KeepFlags,
}

/// Which flags of TCP segments keep; see [`Segmentation::keep_flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFlags {
    /// Of the first segment.
    pub first: u16,
    /// Of those between.
    pub middle: u16,
    /// Of the last segment.
    pub last: u16,
}

impl KeepFlags {
    /// FIN and PSH go into the last segment only, all others into each.
    pub const FIN_AND_PSH_LAST: Self = Self {
        first: 0xff6,
        middle: 0xff6,
        last: 0xfff,
    };
}

/// A [`Segmentation`] that no segments come of: nothing to send, or segments of
/// no payload, or longer than the device can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no segments can be made")]
pub struct ImpossibleSegments;

/// Cuts a packet into segments while its bytes come, so that there is never more
/// of it than one segment.
///
/// Fill [`room`](Self::room), say how much with [`filled`](Self::filled), and take
/// each [`segment`](Self::segment) that is complete, until
/// [`is_done`](Self::is_done).
pub struct Segmenter {
    /// Room for a tag, and the segment after it.
    buffer: Box<[u8]>,
    prototype: Box<[u8; MAX_HEADER]>,
    what: Segmentation,
    /// Bytes of the segment that are there.
    len: usize,
    /// Payload bytes, and segments, that are gone.
    sent: usize,
    count: u16,
}

impl Segmenter {
    /// One whose longest segment has `longest` bytes. It allocates now, and never
    /// again.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            buffer: vec![0; TAG_LEN + longest].into(),
            prototype: Box::new([0; MAX_HEADER]),
            what: Segmentation {
                header_len: 0,
                mss: 0,
                payload_len: 0,
                network: None,
                transport: None,
                network_checksum: None,
                transport_checksum: None,
                keep_flags: KeepFlags::FIN_AND_PSH_LAST,
            },
            len: 0,
            sent: 0,
            count: 0,
        }
    }

    /// Begins a packet, and forgets the one before it.
    ///
    /// # Errors
    /// [`ImpossibleSegments`]; then this has nothing to cut, and
    /// [`is_done`](Self::is_done).
    pub fn begin(&mut self, what: Segmentation) -> Result<(), ImpossibleSegments> {
        let longest = what.header_len + what.mss.min(what.payload_len);
        let possible = what.mss > 0
            && what.payload_len > 0
            && what.header_len <= MAX_HEADER
            && longest <= self.buffer.len() - TAG_LEN;
        self.what = what;
        self.len = 0;
        self.count = 0;
        self.sent = if possible { 0 } else { what.payload_len };
        possible.then_some(()).ok_or(ImpossibleSegments)
    }

    /// Payload bytes of the segment that is being filled.
    fn share(&self) -> usize {
        self.what.mss.min(self.what.payload_len - self.sent)
    }

    /// Whether all of the payload has come and gone. Bytes beyond it belong
    /// nowhere.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent >= self.what.payload_len
    }

    /// Where the packet's next bytes belong: the header first, then what the
    /// segment still lacks. Empty when the segment is complete, or all is done.
    pub fn room(&mut self) -> &mut [u8] {
        let header_len = self.what.header_len;
        let end = if self.is_done() {
            self.len
        } else if self.len < header_len {
            header_len
        } else {
            header_len + self.share()
        };
        &mut self.buffer[TAG_LEN + self.len..TAG_LEN + end]
    }

    /// The first `len` bytes of [`room`](Self::room) have been filled.
    pub fn filled(&mut self, len: usize) {
        let before = self.len;
        self.len += len.min(self.room().len());
        let header_len = self.what.header_len;
        if before < header_len && self.len == header_len {
            let header = &self.buffer[TAG_LEN..TAG_LEN + header_len];
            self.prototype[..header_len].copy_from_slice(header);
        }
    }

    /// The segment, if it is complete: [`TAG_LEN`] bytes of room for a tag, and
    /// the packet as it goes out. The next call is about the next segment.
    pub fn segment(&mut self) -> Option<&mut [u8]> {
        let complete = !self.is_done() && self.len == self.what.header_len + self.share();
        complete.then(|| self.seal())
    }

    /// The packet has ended before all of the payload came that was announced:
    /// what is there of a segment is the last one.
    pub fn cut_short(&mut self) -> Option<&mut [u8]> {
        let some = !self.is_done() && self.len > self.what.header_len;
        if !some {
            self.sent = self.what.payload_len;
            return None;
        }
        self.what.payload_len = self.sent + self.len - self.what.header_len;
        Some(self.seal())
    }

    fn seal(&mut self) -> &mut [u8] {
        let (len, sent) = (self.len, self.sent);
        self.sent += len - self.what.header_len;
        let keep = self.keep_flags();
        let what = self.what;
        let packet = &mut self.buffer[TAG_LEN..TAG_LEN + len];
        packet[..what.header_len].copy_from_slice(&self.prototype[..what.header_len]);
        update_network(packet, &what, self.count);
        update_transport(packet, &what, sent as u32, keep);
        insert_checksums(packet, &what);
        self.count = self.count.wrapping_add(1);
        self.len = what.header_len;
        &mut self.buffer[..TAG_LEN + len]
    }

    /// The mask of the segment that is being sealed; `sent` counts it already.
    fn keep_flags(&self) -> u16 {
        match (self.count, self.is_done()) {
            (0, true) => u16::MAX,
            (0, false) => self.what.keep_flags.first,
            (_, false) => self.what.keep_flags.middle,
            (_, true) => self.what.keep_flags.last,
        }
    }
}

fn update_network(packet: &mut [u8], what: &Segmentation, count: u16) {
    let Some((network, at)) = what.network else {
        return;
    };
    let len = packet.len().saturating_sub(at);
    match network {
        Network::Ipv4 => {
            change(packet, at + 2, |_| len as u16);
            change(packet, at + 4, |id| id.wrapping_add(count));
        }
        // It does not count the header itself.
        Network::Ipv6 => change(packet, at + 4, |_| len.saturating_sub(40) as u16),
    }
}

fn update_transport(packet: &mut [u8], what: &Segmentation, sent: u32, keep: u16) {
    match what.transport {
        Some((Transport::Tcp, at)) => {
            if let Some(sequence) = packet.get_mut(at + 4..).and_then(<[u8]>::first_chunk_mut) {
                let number = u32::from_be_bytes(*sequence).wrapping_add(sent);
                *sequence = number.to_be_bytes();
            }
            // The upper four bits are the header's length.
            change(packet, at + TCP_FLAGS, |flags| flags & (keep | 0xf000));
        }
        Some((Transport::Udp, at)) => {
            let len = packet.len().saturating_sub(at);
            change(packet, at + 4, |_| len as u16);
        }
        Some(_) | None => {}
    }
}

fn insert_checksums(packet: &mut [u8], what: &Segmentation) {
    if let Some(field) = &what.network_checksum {
        field.insert(packet);
    }
    if let Some(field) = &what.transport_checksum {
        if let Some((_, at)) = what.transport {
            let len = packet.len().saturating_sub(at);
            change(packet, field.at, |pseudo| ones_add(pseudo, len as u16));
        }
        field.insert(packet);
    }
}

/// Changes a word, if it is in the packet.
fn change(packet: &mut [u8], at: usize, how: impl FnOnce(u16) -> u16) {
    if let Some(word) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *word = how(u16::from_be_bytes(*word)).to_be_bytes();
    }
}
