//! One packet buffer: a handle to a cache line of metadata beside its bytes.

use crate::DmaAddr;
use crate::pool::Shared;
use crate::sync::Track;
use core::fmt;
use core::ptr::NonNull;

/// What is known of a received packet's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ChecksumStatus {
    /// Nothing is known: software verifies it (`CHECKSUM_NONE`).
    #[default]
    None,
    /// The device has verified it (`CHECKSUM_UNNECESSARY`).
    Unnecessary,
    /// The packet never left this host, and its sender left the checksum to the
    /// device: only the pseudo-header is summed (`CHECKSUM_PARTIAL`).
    Partial,
}

/// What a receive hash was computed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HashKind {
    /// There is no hash.
    #[default]
    None,
    /// Over the two network addresses.
    L3,
    /// Over the two network addresses and the two ports.
    L4,
}

/// A transmit checksum that is left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksum {
    /// Where summing starts, in bytes from the start of the packet.
    pub start: u16,
    /// Where the sum is stored, in bytes from `start`.
    pub offset: u16,
}

/// The metadata of one buffer: exactly one cache line, and all of it belongs to
/// the owner of the [`Frame`]. (The links of the pool's free list are shared
/// words, and so they stand elsewhere: see `pool`.)
#[repr(C, align(64))]
pub(crate) struct Meta {
    pub(crate) pool: NonNull<Shared>,
    /// The first byte of the buffer.
    pub(crate) buffer: NonNull<u8>,
    pub(crate) index: u32,
    /// Where the data starts, in bytes from `buffer`.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) capacity: u32,
    // From here on everything is 0 in a fresh frame, and lies together, so that
    // a reset is a few wide stores.
    pub(crate) hash: u32,
    /// A word for whoever holds the frame; see [`Frame::cookie`].
    pub(crate) cookie: u32,
    /// Nanoseconds of the stack's clock; 0 when not stamped.
    pub(crate) timestamp_ns: u64,
    pub(crate) vlan_tci: u16,
    pub(crate) checksum_start: u16,
    pub(crate) checksum_offset: u16,
    pub(crate) gso_size: u16,
    pub(crate) flags: u8,
    pub(crate) hash_kind: HashKind,
    pub(crate) checksum: ChecksumStatus,
    pub(crate) track: Track,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Meta>() == 64);
const _: () = assert!(size_of::<Option<Frame>>() == size_of::<usize>());

const FLAG_VLAN: u8 = 1;
const FLAG_TX_CHECKSUM: u8 = 2;
const FLAG_CONTINUES: u8 = 4;
const FLAG_TX_TIMESTAMP: u8 = 8;

/// One packet buffer, owned.
///
/// A frame is one pointer wide, and move-only: neither `Clone` nor `Copy`.
/// Dropping it returns the buffer to its pool, from any thread. Inside the
/// buffer, *data* is the packet; before it is the *headroom*, after it the
/// *tailroom*:
///
/// ```text
/// 0            offset                 offset+len            capacity
/// |  headroom  |  data                |  tailroom           |
/// ```
///
/// A frame that was posted is gone:
///
/// ```compile_fail,E0382
/// # fn f(ring: &mut dyn softnet_dma_ring::DmaRing, frame: softnet_dma_ring::Frame) {
/// ring.post(frame).unwrap();
/// println!("{}", frame.len());
/// # }
/// ```
#[repr(transparent)]
pub struct Frame {
    meta: NonNull<Meta>,
}

// SAFETY: a frame is the only owner of its metadata and of its bytes; the pool that it returns to takes frames from any thread.
unsafe impl Send for Frame {}
// SAFETY: a shared frame only gives out shared reads of what it owns.
unsafe impl Sync for Frame {}

impl Frame {
    /// Takes ownership of a buffer that nobody owns.
    ///
    /// # Safety
    /// `meta` is of a live pool, and its buffer is on no free list and in no
    /// other `Frame`.
    #[inline]
    pub(crate) unsafe fn from_meta(meta: NonNull<Meta>) -> Self {
        Self { meta }
    }

    /// Gives up ownership without returning the buffer.
    #[inline]
    pub(crate) fn into_meta(self) -> NonNull<Meta> {
        let meta = self.meta;
        core::mem::forget(self);
        meta
    }

    #[inline]
    pub(crate) fn meta(&self) -> &Meta {
        // SAFETY: a frame that exists keeps its pool's memory alive, and nobody
        // else has a reference to its metadata.
        let meta = unsafe { self.meta.as_ref() };
        meta.track.read();
        meta
    }

    #[inline]
    fn meta_mut(&mut self) -> &mut Meta {
        // SAFETY: as in `meta`; the exclusive borrow of the frame is the
        // exclusive borrow of its metadata.
        let meta = unsafe { self.meta.as_mut() };
        meta.track.write();
        meta
    }

    /// Length of the data, in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.meta().len as usize
    }

    /// Whether there is no data.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.meta().len == 0
    }

    /// Bytes of the whole buffer.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.meta().capacity as usize
    }

    /// Bytes before the data.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.meta().offset as usize
    }

    /// Bytes after the data.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.capacity() - self.headroom() - self.len()
    }

    /// The data.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        let meta = self.meta();
        // SAFETY: `offset <= capacity`, which is inside of the buffer.
        let start = unsafe { meta.buffer.add(meta.offset as usize) };
        // SAFETY: `offset + len <= capacity`; the bytes were zeroed when the
        // pool was made, and the frame owns them.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), meta.len as usize) }
    }

    /// The data, to be changed.
    #[must_use]
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let meta = self.meta();
        // SAFETY: `offset <= capacity`, which is inside of the buffer.
        let start = unsafe { meta.buffer.add(meta.offset as usize) };
        // SAFETY: as in `data`; `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), meta.len as usize) }
    }

    /// The bytes from `start` to the end of the data, with `start` counted from
    /// the first byte of the buffer: `frame.headroom()` gives the data itself,
    /// less gives headers that were pulled. Empty when `start` is behind the
    /// end.
    #[must_use]
    #[inline]
    pub fn bytes_from(&self, start: usize) -> &[u8] {
        let meta = self.meta();
        let end = (meta.offset + meta.len) as usize;
        let start = start.min(end);
        // SAFETY: `start <= offset + len <= capacity`.
        let first = unsafe { meta.buffer.add(start) };
        // SAFETY: as above; the bytes were zeroed when the pool was made, and
        // the frame owns them.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), end - start) }
    }

    /// The `N` bytes right before the data, which are headers that were pulled;
    /// `None` when the headroom is shorter.
    #[must_use]
    #[inline]
    pub fn bytes_before<const N: usize>(&self) -> Option<&[u8; N]> {
        let meta = self.meta();
        let start = (meta.offset as usize).checked_sub(N)?;
        // SAFETY: `start <= offset <= capacity`.
        let first = unsafe { meta.buffer.add(start) };
        // SAFETY: `start + N == offset <= capacity`; the bytes were zeroed when
        // the pool was made, and the frame owns them.
        Some(unsafe { first.cast().as_ref() })
    }

    /// Bytes of memory that the frame occupies, metadata included: what counts
    /// against a socket's receive buffer.
    #[must_use]
    #[inline]
    pub fn truesize(&self) -> usize {
        self.capacity() + size_of::<Meta>()
    }

    /// Where the data starts, as devices see it. A receive ring gives this
    /// address to the device, with [`tailroom`](Self::tailroom) as the length.
    #[must_use]
    #[inline]
    pub fn dma_addr(&self) -> DmaAddr {
        let meta = self.meta();
        // SAFETY: a frame that exists keeps its pool's memory alive.
        let pool = unsafe { meta.pool.as_ref() };
        pool.dma_addr_of(meta.buffer, meta.offset)
    }

    /// A number that no other frame of the same pool has, below the pool's
    /// number of frames.
    #[must_use]
    #[inline]
    pub fn index(&self) -> u32 {
        self.meta().index
    }

    /// Empties the frame: no data, `headroom` bytes before it, no metadata.
    /// A headroom above the capacity becomes the capacity.
    #[inline]
    pub fn reset(&mut self, headroom: usize) {
        let meta = self.meta_mut();
        meta.offset = headroom.min(meta.capacity as usize) as u32;
        meta.len = 0;
        meta.hash = 0;
        meta.cookie = 0;
        meta.timestamp_ns = 0;
        meta.vlan_tci = 0;
        meta.checksum_start = 0;
        meta.checksum_offset = 0;
        meta.gso_size = 0;
        meta.flags = 0;
        meta.hash_kind = HashKind::None;
        meta.checksum = ChecksumStatus::None;
    }

    /// Makes the data `len` bytes long from where it starts; the bytes are
    /// whatever the buffer holds (what a device has just written, say).
    /// Returns `false`, and changes nothing, when the buffer is too short.
    #[must_use]
    #[inline]
    pub fn set_len(&mut self, len: usize) -> bool {
        if len > self.capacity() - self.headroom() {
            return false;
        }
        self.meta_mut().len = len as u32;
        true
    }

    /// Extends the data by `bytes` at the front, into the headroom, and returns
    /// the new bytes; `None` when the headroom is too short.
    #[must_use]
    #[inline]
    pub fn push(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.headroom() {
            return None;
        }
        let meta = self.meta_mut();
        meta.offset -= bytes as u32;
        meta.len += bytes as u32;
        self.data_mut().get_mut(..bytes)
    }

    /// Removes `bytes` from the front of the data; `false`, and nothing
    /// changed, when there are fewer.
    #[must_use]
    #[inline]
    pub fn pull(&mut self, bytes: usize) -> bool {
        if bytes > self.len() {
            return false;
        }
        let meta = self.meta_mut();
        meta.offset += bytes as u32;
        meta.len -= bytes as u32;
        true
    }

    /// Narrows the data to `len` bytes from `front` bytes behind its start;
    /// `false`, and nothing changed, when there are fewer.
    #[must_use]
    #[inline]
    pub fn narrow(&mut self, front: usize, len: usize) -> bool {
        let fits = front.checked_add(len).is_some_and(|end| end <= self.len());
        if fits {
            let meta = self.meta_mut();
            meta.offset += front as u32;
            meta.len = len as u32;
        }
        fits
    }

    /// Extends the data by `bytes` at the end, into the tailroom, and returns
    /// the new bytes; `None` when the tailroom is too short.
    #[must_use]
    #[inline]
    pub fn put(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.tailroom() {
            return None;
        }
        let old = self.len();
        self.meta_mut().len += bytes as u32;
        self.data_mut().get_mut(old..)
    }

    /// Cuts the data to its first `len` bytes; does nothing when it is shorter.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        let meta = self.meta_mut();
        meta.len = len.min(meta.len as usize) as u32;
    }

    /// When the device or the stack received the packet, in nanoseconds of the
    /// stack's clock; `None` when nobody stamped it.
    #[must_use]
    #[inline]
    pub fn timestamp_ns(&self) -> Option<u64> {
        Some(self.meta().timestamp_ns).filter(|&ns| ns != 0)
    }

    /// Stamps the frame; 0 removes the stamp.
    #[inline]
    pub fn set_timestamp_ns(&mut self, ns: u64) {
        self.meta_mut().timestamp_ns = ns;
    }

    /// The receive hash and what it was computed over.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> (u32, HashKind) {
        (self.meta().hash, self.meta().hash_kind)
    }

    /// Sets the receive hash.
    #[inline]
    pub fn set_hash(&mut self, hash: u32, kind: HashKind) {
        let meta = self.meta_mut();
        meta.hash = hash;
        meta.hash_kind = kind;
    }

    /// What is known of the received transport checksum.
    #[must_use]
    #[inline]
    pub fn checksum(&self) -> ChecksumStatus {
        self.meta().checksum
    }

    /// Sets what is known of the received transport checksum.
    #[inline]
    pub fn set_checksum(&mut self, status: ChecksumStatus) {
        self.meta_mut().checksum = status;
    }

    /// The VLAN tag control information that the device stripped or is to
    /// insert, in host order.
    #[must_use]
    #[inline]
    pub fn vlan_tci(&self) -> Option<u16> {
        (self.meta().flags & FLAG_VLAN != 0).then_some(self.meta().vlan_tci)
    }

    /// Sets or removes the VLAN tag.
    #[inline]
    pub fn set_vlan_tci(&mut self, tci: Option<u16>) {
        let meta = self.meta_mut();
        meta.flags = meta.flags & !FLAG_VLAN | if tci.is_some() { FLAG_VLAN } else { 0 };
        meta.vlan_tci = tci.unwrap_or(0);
    }

    /// The transmit checksum that is left to the device.
    #[must_use]
    #[inline]
    pub fn tx_checksum(&self) -> Option<TxChecksum> {
        let meta = self.meta();
        (meta.flags & FLAG_TX_CHECKSUM != 0).then_some(TxChecksum {
            start: meta.checksum_start,
            offset: meta.checksum_offset,
        })
    }

    /// Leaves a transmit checksum to the device, or takes the request back.
    #[inline]
    pub fn set_tx_checksum(&mut self, request: Option<TxChecksum>) {
        let meta = self.meta_mut();
        meta.flags &= !FLAG_TX_CHECKSUM;
        if let Some(TxChecksum { start, offset }) = request {
            meta.flags |= FLAG_TX_CHECKSUM;
            meta.checksum_start = start;
            meta.checksum_offset = offset;
        }
    }

    /// How many bytes of payload each segment has, when the device is to cut the
    /// packet into segments (`gso_size`): TCP's, or UDP's datagrams.
    #[must_use]
    #[inline]
    pub fn gso_size(&self) -> Option<u16> {
        Some(self.meta().gso_size).filter(|&size| size != 0)
    }

    /// Leaves segmentation to the device, or takes the request back. The packet
    /// has one set of headers, from Ethernet's on, and asks for its
    /// [transmit checksum](Self::set_tx_checksum) too: `start` says where the
    /// transport header is, and `offset` which transport it is.
    #[inline]
    pub fn set_gso_size(&mut self, size: Option<u16>) {
        self.meta_mut().gso_size = size.unwrap_or(0);
    }

    /// Whether the packet goes on in the next frame of the ring. Frames of one
    /// packet are posted, and reaped, one directly after the other.
    #[must_use]
    #[inline]
    pub fn continues(&self) -> bool {
        self.meta().flags & FLAG_CONTINUES != 0
    }

    /// Says whether the packet goes on in the next frame.
    #[inline]
    pub fn set_continues(&mut self, more: bool) {
        self.set_flag(FLAG_CONTINUES, more);
    }

    /// Whether the device is to say when the packet left: its
    /// [`timestamp_ns`](Self::timestamp_ns) then holds that when the frame is
    /// reaped.
    #[must_use]
    #[inline]
    pub fn wants_tx_timestamp(&self) -> bool {
        self.meta().flags & FLAG_TX_TIMESTAMP != 0
    }

    /// Asks when the packet leaves, or takes the request back.
    #[inline]
    pub fn set_wants_tx_timestamp(&mut self, wanted: bool) {
        self.set_flag(FLAG_TX_TIMESTAMP, wanted);
    }

    /// Whether anything is asked of the device beside sending the data: a
    /// checksum, segmentation, a VLAN tag, a time stamp, or that the packet goes
    /// on in the next frame.
    #[must_use]
    #[inline]
    pub fn has_requests(&self) -> bool {
        let meta = self.meta();
        meta.flags != 0 || meta.gso_size != 0
    }

    #[inline]
    fn set_flag(&mut self, flag: u8, on: bool) {
        let meta = self.meta_mut();
        meta.flags = meta.flags & !flag | if on { flag } else { 0 };
    }

    /// A word that travels with the frame, for whoever holds it: the stack
    /// keeps there where the headers of a queued datagram lie. 0 in a fresh
    /// frame.
    #[must_use]
    #[inline]
    pub fn cookie(&self) -> u32 {
        self.meta().cookie
    }

    /// Sets the travelling word.
    #[inline]
    pub fn set_cookie(&mut self, cookie: u32) {
        self.meta_mut().cookie = cookie;
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the frame owned the buffer and gives it up here, once.
        unsafe { Shared::give_back(self.meta) };
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("index", &self.index())
            .field("headroom", &self.headroom())
            .field("len", &self.len())
            .field("tailroom", &self.tailroom())
            .finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
