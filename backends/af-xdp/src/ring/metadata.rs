//! What a sender asks the kernel for, packet by packet: the metadata right before it.
//!
//! The layout is that of `struct xsk_tx_metadata` (if_xdp.h, Linux 6.8 and later), the
//! rules are those of Documentation/networking/xsk-tx-metadata.rst. A descriptor says by
//! [`Descriptor::METADATA`](super::Descriptor::METADATA) that its packet has some. In a
//! UMEM that was registered with room for it, *every* packet that is sent needs the room:
//! the kernel refuses a descriptor whose chunk has less before the packet.

use softnet_dma_ring::{Frame, TxChecksum};

/// Bytes before a packet that its metadata takes (`tx_metadata_len`): eight of flags,
/// and sixteen of a request, the first eight of which the answer overwrites.
pub(crate) const METADATA_LEN: usize = 24;

/// `XDP_TXMD_FLAGS_TIMESTAMP`.
const TIMESTAMP: u64 = 1;
/// `XDP_TXMD_FLAGS_CHECKSUM`.
const CHECKSUM: u64 = 1 << 1;

/// What metadata can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "kernels other than Linux say what they can"
)]
pub struct TxOffload {
    /// The UMEM was registered with room for metadata before each packet.
    pub room: bool,
    /// The kernel, or the device, fills in a transport checksum.
    pub checksum: bool,
    /// The kernel, or the device, says when a packet left.
    pub timestamp: bool,
}

impl TxOffload {
    /// Whether a packet lies so that the kernel takes it.
    #[inline]
    pub(super) fn has_room(self, frame: &Frame) -> bool {
        !self.room || frame.headroom() >= METADATA_LEN
    }

    /// Whether a prepared packet has metadata.
    #[inline]
    pub(super) fn is_used_by(self, frame: &Frame) -> bool {
        self.room && (frame.tx_checksum().is_some() || self.timestamp && frame.wants_tx_timestamp())
    }

    /// Writes what a packet asks for before it, if it asks for anything. Its checksum
    /// is inside of it, if it leaves one to the device.
    #[inline]
    pub(super) fn write(self, frame: &mut Frame) {
        if self.is_used_by(frame) {
            let bytes = request(frame.tx_checksum(), self.timestamp_of(frame));
            before(frame, |place| *place = bytes);
        }
    }

    /// Stamps a packet that was sent, if it asked when that was.
    #[inline]
    pub(super) fn read(self, frame: &mut Frame) {
        if self.timestamp_of(frame) {
            let asked = request(frame.tx_checksum(), true);
            let mut left = 0;
            before(frame, |place| left = answer(&asked, place));
            frame.set_timestamp_ns(left);
        }
    }

    #[inline]
    fn timestamp_of(self, frame: &Frame) -> bool {
        self.room && self.timestamp && frame.wants_tx_timestamp()
    }
}

/// Whether a checksum lies inside of its packet. The kernel would refuse the packet
/// again and again, and send none after it.
#[inline]
pub(super) fn is_inside(checksum: TxChecksum, frame: &Frame) -> bool {
    usize::from(checksum.start) + usize::from(checksum.offset) + 2 <= frame.len()
}

#[inline]
fn request(checksum: Option<TxChecksum>, timestamp: bool) -> [u8; METADATA_LEN] {
    let mut flags = if timestamp { TIMESTAMP } else { 0 };
    let mut bytes = [0; METADATA_LEN];
    if let Some(TxChecksum { start, offset }) = checksum {
        flags |= CHECKSUM;
        bytes[8..10].copy_from_slice(&start.to_ne_bytes());
        bytes[10..12].copy_from_slice(&offset.to_ne_bytes());
    }
    bytes[..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// The time in an answer; 0 when the request still stands there, since nobody
/// answered.
fn answer(asked: &[u8; METADATA_LEN], place: &[u8; METADATA_LEN]) -> u64 {
    match place[8..16].first_chunk() {
        Some(time) if asked[8..16] != place[8..16] => u64::from_ne_bytes(*time),
        _ => 0,
    }
}

/// Reaches the metadata of a frame that has room for it.
#[inline]
fn before(frame: &mut Frame, act: impl FnOnce(&mut [u8; METADATA_LEN])) {
    let Some(bytes) = frame.push(METADATA_LEN) else {
        return;
    };
    if let Some(place) = bytes.first_chunk_mut() {
        act(place);
    }
    let pulled = frame.pull(METADATA_LEN);
    debug_assert!(pulled, "they were just pushed");
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use softnet_dma_ring::{FramePool, PoolConfig};

    const ALL: TxOffload = TxOffload {
        room: true,
        checksum: true,
        timestamp: true,
    };
    const UDP: TxChecksum = TxChecksum {
        start: 34,
        offset: 6,
    };

    fn frame() -> Frame {
        let pool = FramePool::new(PoolConfig {
            frames: 1,
            buffer_size: 2048,
            headroom: 256,
        });
        let mut frame = pool.unwrap().alloc().unwrap();
        frame.put(60).unwrap().fill(0xee);
        frame
    }

    fn metadata(frame: &Frame) -> [u8; METADATA_LEN] {
        *frame.bytes_before().unwrap()
    }

    /// As `if_xdp.h` has it: `flags`, then `csum_start` and `csum_offset`.
    #[test]
    fn a_request_has_the_kernels_layout() {
        let mut asks = frame();
        asks.set_tx_checksum(Some(UDP));
        asks.set_wants_tx_timestamp(true);
        ALL.write(&mut asks);
        let mut expected = [0; METADATA_LEN];
        expected[..8].copy_from_slice(&3_u64.to_ne_bytes());
        expected[8..10].copy_from_slice(&34_u16.to_ne_bytes());
        expected[10..12].copy_from_slice(&6_u16.to_ne_bytes());
        assert_eq!(metadata(&asks), expected);
        assert_eq!(asks.data(), [0xee; 60], "the packet is as it was");
    }

    #[test]
    fn the_structure_is_that_of_the_kernels_header() {
        assert!(size_of::<libc::xsk_tx_metadata>() <= METADATA_LEN);
        assert_eq!(METADATA_LEN % 8, 0, "xdp_umem_reg asks for it");
        assert_eq!(TIMESTAMP, u64::from(libc::XDP_TXMD_FLAGS_TIMESTAMP));
        assert_eq!(CHECKSUM, u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM));
        assert_eq!(
            std::mem::offset_of!(libc::xsk_tx_metadata, xsk_tx_metadata_union),
            8
        );
    }

    #[test]
    fn who_asks_for_nothing_or_cannot_be_helped_has_no_metadata() {
        let mut silent = frame();
        let bytes = metadata(&silent);
        ALL.write(&mut silent);
        assert_eq!((ALL.is_used_by(&silent), metadata(&silent)), (false, bytes));
        silent.set_wants_tx_timestamp(true);
        let deaf = TxOffload {
            timestamp: false,
            ..ALL
        };
        assert!(!deaf.is_used_by(&silent));
        silent.set_tx_checksum(Some(UDP));
        assert!(!TxOffload::default().is_used_by(&silent));
    }

    #[test]
    fn an_answer_is_the_stamp_and_a_request_that_still_stands_is_none() {
        for checksum in [None, Some(UDP)] {
            let mut sent = frame();
            sent.set_tx_checksum(checksum);
            sent.set_wants_tx_timestamp(true);
            ALL.write(&mut sent);
            ALL.read(&mut sent);
            assert_eq!(sent.timestamp_ns(), None, "nobody has answered");
            before(&mut sent, |place| {
                place[8..16].copy_from_slice(&123_456_789_u64.to_ne_bytes());
            });
            ALL.read(&mut sent);
            assert_eq!(sent.timestamp_ns(), Some(123_456_789));
        }
    }

    #[test]
    fn a_packet_without_the_room_is_told_from_one_that_needs_none() {
        let mut close = frame();
        assert!(close.push(256 - METADATA_LEN).is_some());
        assert!(ALL.has_room(&close));
        assert!(close.push(1).is_some());
        assert!(!ALL.has_room(&close));
        assert!(TxOffload::default().has_room(&close));
    }

    #[test]
    fn a_checksum_at_the_end_is_inside_and_one_behind_it_is_not() {
        let last = |offset| TxChecksum { start: 34, offset };
        assert!(is_inside(last(24), &frame()));
        assert!(!is_inside(last(25), &frame()));
        let far = TxChecksum {
            start: u16::MAX,
            offset: u16::MAX,
        };
        assert!(!is_inside(far, &frame()));
    }
}
