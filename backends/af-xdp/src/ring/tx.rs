//! TX and completion ring as the transmit ring of a queue.

use super::cell::{Cell, Count, TxHalf};
use super::metadata::{self, TxOffload};
use super::rx::MAX_CHUNKS;
use super::table::Layout;
use super::{Descriptor, RxQueue, TxQueue, Wake, checksum};
use crate::sync::{Ordering, fence};
use arrayvec::ArrayVec;
use softnet_dma_ring::{BATCH, DmaRing, Frame, FrameBatch, FrameCache, FramePool, RingFull};
use std::fmt;
use std::sync::Arc;

/// Bytes of the Ethernet header.
const ETHERNET_HEADER: usize = 14;

/// What can be sent.
#[derive(Clone, Debug)]
pub struct TxPolicy {
    /// The UMEM's pool: packets in other frames are copied into frames of this one.
    pub pool: FramePool,
    /// The longest packet without its FCS, in bytes.
    pub max_packet: usize,
    /// Whether one packet may lie in several chunks (`XDP_USE_SG`).
    pub multi_buffer: bool,
    /// What a packet's metadata can ask for.
    pub offload: TxOffload,
}

/// The transmit ring of one queue.
pub struct TxRing<R: RxQueue, T: TxQueue> {
    cell: Arc<Cell<R, T>>,
    layout: Layout,
    policy: TxPolicy,
    len: usize,
    /// Descriptors of frames that were posted and not reaped, wherever they are.
    outstanding: usize,
    /// Posted, and not in the TX ring yet.
    posts: FrameBatch,
    /// Sent, and not reaped yet; the oldest is the last.
    done: FrameBatch,
    /// The kernel has been given packets and was not woken since, or was too busy.
    unwoken: bool,
    /// The packet of the last frame goes on in the next.
    inside: bool,
    /// Where the kernel's completions are copied to.
    addrs: Box<[u64; BATCH]>,
}

impl<R: RxQueue, T: TxQueue> TxRing<R, T> {
    pub(crate) fn new(cell: Arc<Cell<R, T>>, layout: Layout, policy: TxPolicy, len: u16) -> Self {
        Self {
            cell,
            layout,
            policy,
            len: usize::from(len),
            outstanding: 0,
            posts: FrameBatch::new(),
            done: FrameBatch::new(),
            unwoken: false,
            inside: false,
            addrs: Box::new([0; BATCH]),
        }
    }

    /// Whether the packet can be sent; sees to its checksum.
    #[inline]
    fn prepare(&mut self, frame: &mut Frame, in_place: bool) -> bool {
        let part = core::mem::replace(&mut self.inside, frame.continues());
        let sendable = (ETHERNET_HEADER..=self.policy.max_packet).contains(&frame.len());
        // No XDP socket inserts a tag or cuts segments, and a packet is one frame.
        let offloaded = frame.vlan_tci().is_some() || frame.gso_size().is_some();
        if !sendable || offloaded || part || self.inside {
            return false;
        }
        match frame.tx_checksum() {
            None => true,
            Some(request) if in_place && self.policy.offload.checksum => {
                self.cell.counts.tx_checksums_left.add(1);
                metadata::is_inside(request, frame)
            }
            Some(request) => {
                self.cell.counts.tx_checksums.add(1);
                checksum::complete(frame, request)
            }
        }
    }

    /// Whether the kernel can be given the frame where it is.
    #[inline]
    fn is_in_place(&self, frame: &Frame) -> bool {
        self.layout.addr_of(frame).is_some() && self.policy.offload.has_room(frame)
    }

    /// Moves posted frames into the TX ring.
    fn flush(&mut self) {
        let Some(mut half) = self.cell.tx.take() else {
            return;
        };
        let offload = self.policy.offload;
        let sent = half.send(self.layout, offload, &mut self.posts, &self.cell.counts);
        self.unwoken |= sent > 0;
        self.cell.tx_held.store(half.held(), Ordering::Relaxed);
    }

    /// Tells the kernel of packets, if it wants to be told.
    fn wake(&mut self) {
        let Some(mut half) = self.cell.tx.take() else {
            return;
        };
        // As in the receive ring: the flag is looked at after the ring was written.
        fence(Ordering::SeqCst);
        let mut again = false;
        if half.queue.needs_wakeup() {
            self.cell.counts.tx_wakeups.add(1);
            if let Some(irq) = self.cell.irq() {
                irq.sends(half.held());
            }
            again = half.queue.wake() == Wake::Again;
            self.cell.counts.tx_busy.add(u64::from(again));
        }
        self.unwoken = again;
        self.cell.stuck.store(again, Ordering::Relaxed);
    }

    /// Takes sent frames from the kernel into `done`.
    #[inline]
    fn complete(&mut self) {
        let Some(mut half) = self.cell.tx.take() else {
            return;
        };
        if !half.queue.pending() {
            return;
        }
        // As in the receive ring: said before they are taken.
        self.cell.tx_left.store(1, Ordering::Relaxed);
        let count = half.queue.complete(&mut self.addrs[..]);
        self.cell.counts.tx_completed.add(count as u64);
        for &addr in self.addrs.iter().take(count) {
            match half.table.remove(addr) {
                Some((mut frame, _)) => {
                    self.policy.offload.read(&mut frame);
                    self.done.push(frame);
                }
                None if half.copies.remove(addr).is_some() => {}
                None => {
                    self.cell.counts.tx_bad_completions.add(1);
                    continue;
                }
            }
            self.outstanding = self.outstanding.saturating_sub(1);
        }
        self.done.reverse();
        self.note_left();
        self.cell.tx_held.store(half.held(), Ordering::Relaxed);
    }

    #[inline]
    fn note_left(&self) {
        let left = self.done.len() as u32;
        self.cell.tx_left.store(left, Ordering::Relaxed);
    }

    /// Copies a packet into chunks, since its frame is not of the UMEM, or has no room
    /// for the metadata before it, and gives it to the kernel. The frame goes home at once.
    #[cold]
    fn post_copy(&mut self, frame: &Frame) {
        self.flush();
        let Some(parts) = self.copied(frame) else {
            return self.cell.counts.tx_no_chunk.add(1);
        };
        let Some(mut half) = self.cell.tx.take() else {
            return;
        };
        let descriptors = half.keep_parts(self.layout, self.policy.offload, parts);
        let sent = half.queue.send(&descriptors);
        debug_assert_eq!(sent, descriptors.len(), "there are slots: post has looked");
        self.outstanding += descriptors.len();
        self.unwoken = true;
        self.cell.tx_held.store(half.held(), Ordering::Relaxed);
        self.cell.counts.tx_copied_in.add(1);
        count_sent(
            &self.cell.counts.tx_packets,
            &self.cell.counts.tx_bytes,
            frame.len(),
        );
    }

    fn copied(&self, frame: &Frame) -> Option<ArrayVec<Frame, MAX_CHUNKS>> {
        let mut parts = ArrayVec::new();
        let mut rest = frame.data();
        while !rest.is_empty() {
            let mut part = self.policy.pool.alloc()?;
            let (now, later) = rest.split_at(rest.len().min(part.tailroom()));
            part.put(now.len())?.copy_from_slice(now);
            parts.try_push(part).ok()?;
            rest = later;
        }
        let fits = parts.len() == 1 || self.policy.multi_buffer;
        if let Some(first) = parts.first_mut() {
            first.set_cookie(frame.cookie());
            first.set_wants_tx_timestamp(frame.wants_tx_timestamp());
            self.policy.offload.write(first);
        }
        (fits && parts.len() <= self.free_slots()).then_some(parts)
    }
}

#[inline]
fn count_sent(packets: &Count, bytes: &Count, len: usize) {
    packets.add(1);
    bytes.add(len as u64);
}

#[inline]
fn options_of(offload: TxOffload, frame: &Frame) -> u32 {
    if offload.is_used_by(frame) {
        return Descriptor::METADATA;
    }
    0
}

impl<Q: TxQueue> TxHalf<Q> {
    /// Gives the frames at the front of `posts` to the kernel, and removes them from
    /// it. Returns how many.
    #[inline]
    fn send(
        &mut self,
        layout: Layout,
        offload: TxOffload,
        posts: &mut FrameBatch,
        counts: &super::cell::Counts,
    ) -> usize {
        let descriptor = |frame: &Frame| Descriptor {
            addr: layout.addr_of(frame).unwrap_or(0),
            len: frame.len() as u32,
            options: options_of(offload, frame),
        };
        let descriptors: ArrayVec<Descriptor, BATCH> = posts.iter().map(descriptor).collect();
        // The table first: the kernel may be done with a packet at once.
        let indices: ArrayVec<u32, BATCH> = posts.iter().map(Frame::index).collect();
        for frame in posts.drain(..) {
            // Only frames of the UMEM get here: see `post`.
            self.table.keep(frame);
        }
        let sent = self.queue.send(&descriptors);
        let lengths = descriptors
            .iter()
            .take(sent)
            .map(|sent| u64::from(sent.len));
        counts.tx_bytes.add(lengths.sum());
        counts.tx_packets.add(sent as u64);
        for &chunk in indices.iter().skip(sent) {
            posts.extend(self.table.take_chunk(chunk));
        }
        sent
    }

    /// Keeps the parts of a packet, and describes them to the kernel.
    fn keep_parts(
        &mut self,
        layout: Layout,
        offload: TxOffload,
        parts: ArrayVec<Frame, MAX_CHUNKS>,
    ) -> ArrayVec<Descriptor, MAX_CHUNKS> {
        let last = parts.len().saturating_sub(1);
        let mut descriptors = ArrayVec::new();
        for (at, part) in parts.into_iter().enumerate() {
            let more = if at < last { Descriptor::CONTINUED } else { 0 };
            // Only the first part asks for anything.
            descriptors.push(Descriptor {
                addr: layout.addr_of(&part).unwrap_or(0),
                len: part.len() as u32,
                options: more | options_of(offload, &part),
            });
            let table = if at == 0 {
                &mut self.table
            } else {
                &mut self.copies
            };
            // The pool is that of the UMEM.
            drop(table.insert(part));
        }
        descriptors
    }
}

impl<R: RxQueue, T: TxQueue> DmaRing for TxRing<R, T> {
    #[inline]
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.free_slots() == 0 {
            return Err(RingFull(frame));
        }
        let in_place = self.is_in_place(&frame);
        if !self.prepare(&mut frame, in_place) {
            self.cell.counts.tx_refused.add(1);
            return Ok(());
        }
        if !in_place {
            self.post_copy(&frame);
            return Ok(());
        }
        self.policy.offload.write(&mut frame);
        if self.posts.is_full() {
            self.flush();
        }
        self.posts
            .try_push(frame)
            .map_err(|full| RingFull(full.element()))?;
        self.outstanding += 1;
        Ok(())
    }

    #[inline]
    fn reap(&mut self) -> Option<Frame> {
        if self.done.is_empty() {
            if self.cell.stuck.load(Ordering::Relaxed) {
                self.wake();
            }
            self.complete();
        }
        if !self.cell.is_open() {
            return None;
        }
        let frame = self.done.pop()?;
        self.note_left();
        Some(frame)
    }

    fn reap_home(&mut self, cache: &mut FrameCache) -> usize {
        if self.cell.stuck.load(Ordering::Relaxed) {
            self.wake();
        }
        let mut home = 0;
        while self.cell.is_open() {
            if self.done.is_empty() {
                self.complete();
            }
            if self.done.is_empty() {
                break;
            }
            home += self.done.len();
            self.done
                .drain(..)
                .rev()
                .for_each(|frame| cache.free(frame));
        }
        self.note_left();
        home
    }

    fn kick(&mut self) {
        if self.posts.is_empty() && !self.unwoken {
            return;
        }
        self.flush();
        self.wake();
        self.cell.look();
    }

    #[inline]
    fn free_slots(&self) -> usize {
        if self.cell.is_open() {
            self.len.saturating_sub(self.outstanding)
        } else {
            0
        }
    }
}

impl<R: RxQueue, T: TxQueue> Drop for TxRing<R, T> {
    fn drop(&mut self) {
        self.cell.tx_left.store(0, Ordering::Relaxed);
        self.cell.retire_tx();
    }
}

impl<R: RxQueue, T: TxQueue> fmt::Debug for TxRing<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxRing")
            .field("queue", &self.cell.id)
            .field("len", &self.len)
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}
