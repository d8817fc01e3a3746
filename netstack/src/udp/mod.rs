//! UDP (RFC 768, RFC 1122 section 4.1).
//!
//! A socket has two ends. The application holds the [`UdpSocket`]; each CPU
//! holds a part of it, that queues the datagrams which that CPU receives. The
//! two are joined by one lending ring a CPU, so that neither takes a lock and a
//! datagram is never copied on its way. The frames of datagrams that the
//! application has copied out of are collected by the CPU: when the next one comes
//! for that socket, when frames get scarce, or by the timer.

mod headers;
mod input;
mod output;
mod socket;
mod table;

pub(crate) use socket::NewSocket;
pub use socket::{Datagram, RecvError, SendError, UdpSocket};
pub(crate) use table::Binding;

use crate::netcore::NetCore;
use crate::notify::Notify;
use crate::sync::Ordering;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use headers::HeaderCache;
use softnet_dma_ring::{Frame, FrameCache, lending};
use softnet_softirq::Counter;
use table::Table;

/// Bytes that a socket's receive queue may hold on one CPU, if the application
/// does not say otherwise (`net.core.rmem_default`); frames count with their
/// whole size.
pub const RMEM_DEFAULT: usize = 212_992;
/// The most that an application can ask for (`net.core.rmem_max`).
pub const RMEM_MAX: usize = 4 * 1024 * 1024;

/// A socket's slot, the same on every CPU, and which use of the slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What the two ends of a socket share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: SocketId,
    /// The last asynchronous error (`SO_ERROR`): an [`ErrorCode`], or 0.
    pub(crate) error: AtomicU32,
    pub(crate) notify: Arc<Notify>,
    pub(crate) parts: Box<[PartShared]>,
}

/// One CPU's share of a socket's counters, in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct PartShared {
    /// Datagrams that this CPU dropped because the queue was full.
    pub(crate) drops: Counter,
}

/// An error that comes back from the network some time after a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ErrorCode {
    /// The peer's host answered that nobody listens there.
    ConnectionRefused = 1,
    /// No route, or a router said so.
    NetworkUnreachable = 2,
    /// The host does not answer, or a router said so.
    HostUnreachable = 3,
    /// The datagram does not fit the device's MTU.
    MessageTooLong = 4,
    /// The source address was refused, or broadcast was not asked for.
    Prohibited = 5,
}

impl Shared {
    pub(crate) fn set_error(&self, code: ErrorCode) {
        self.error.store(code as u32, Ordering::Relaxed);
        crate::notify::publish_fence();
        self.notify.notify_fenced();
    }

    pub(crate) fn take_error(&self) -> Option<ErrorCode> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.error.swap(0, Ordering::Relaxed) {
            1 => Some(ErrorCode::ConnectionRefused),
            2 => Some(ErrorCode::NetworkUnreachable),
            3 => Some(ErrorCode::HostUnreachable),
            4 => Some(ErrorCode::MessageTooLong),
            5 => Some(ErrorCode::Prohibited),
            _ => None,
        }
    }
}

/// One CPU's part of a socket.
pub(crate) struct Part {
    pub(crate) shared: Arc<Shared>,
    queue: lending::Lender<Frame>,
    cpu: usize,
    /// Whether it is on the list of those to be told of new datagrams.
    dirty: bool,
    /// Whether it is on the list of those with frames to collect.
    holds: bool,
    pub(crate) ttl: u8,
    pub(crate) broadcast: bool,
}

impl Part {
    /// Takes the frames back that the application is done with. Returns how many
    /// do not count any more.
    #[inline(never)]
    fn collect(&mut self, cache: &mut FrameCache) -> usize {
        self.queue.collect(|frame| cache.free(frame))
    }
}

/// What makes a CPU's part of a socket.
pub(crate) struct NewPart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: lending::Lender<Frame>,
    pub(crate) ttl: u8,
    pub(crate) broadcast: bool,
}

/// One CPU's UDP.
pub(crate) struct Udp {
    cpu: usize,
    table: Table,
    parts: Vec<Option<Part>>,
    /// Slots with new datagrams since the last [`wake`](Self::wake).
    dirty: Vec<u32>,
    /// Slots that may have frames to collect.
    holders: Vec<u32>,
    /// Which of these is looked at next.
    next_holder: usize,
    memory: Memory,
    headers: HeaderCache,
    /// Counts the changes of bindings.
    generation: u64,
}

/// What all sockets of a CPU may hold together (`net.ipv4.udp_mem`), so that
/// applications that do not read cannot starve the NICs of frames.
struct Memory {
    /// Frames.
    limit: usize,
    /// Frames that wait to be read, or to be collected.
    lent: usize,
}

impl Udp {
    /// All sockets together may hold `limit` frames.
    pub(crate) fn new(cpu: usize, limit: usize, seed: u64) -> Self {
        Self {
            cpu,
            table: Table::new(seed),
            parts: Vec::new(),
            dirty: Vec::new(),
            holders: Vec::new(),
            next_holder: 0,
            memory: Memory { limit, lent: 0 },
            headers: HeaderCache::new(),
            generation: 0,
        }
    }

    /// Counts the changes of bindings.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Stays the same for as long as the way of a datagram does: each of the
    /// terms only ever grows.
    #[inline]
    fn stamp(&self, net: &NetCore) -> u64 {
        self.generation.wrapping_add(net.path_generation())
    }

    /// Forgets the headers that are kept, so that the layers write the next.
    #[cfg(test)]
    pub(crate) fn forget_headers(&mut self) {
        self.headers.forget();
    }

    #[cfg(test)]
    pub(crate) fn headers_kept(&self) -> usize {
        self.headers.kept()
    }

    /// Adds this CPU's part of a socket. Replaces what is in the slot.
    pub(crate) fn open(&mut self, new: NewPart, binding: Binding) {
        let slot = new.shared.id.slot;
        // The slot's last socket may be closed already, and this CPU not know.
        self.close_slot(slot);
        let at = slot as usize;
        if self.parts.len() <= at {
            self.parts.resize_with(at + 1, || None);
        }
        // So that marking a socket never allocates.
        self.dirty.reserve(self.parts.len() - self.dirty.len());
        self.holders.reserve(self.parts.len() - self.holders.len());
        self.parts[at] = Some(Part {
            shared: new.shared,
            queue: new.queue,
            cpu: self.cpu,
            dirty: false,
            holds: false,
            ttl: new.ttl,
            broadcast: new.broadcast,
        });
        self.table.insert(slot, binding);
    }

    /// Changes to what a socket listens.
    pub(crate) fn rebind(&mut self, id: SocketId, binding: Binding) {
        if self.part(id).is_some() {
            self.generation += 1;
            self.table.remove(id.slot);
            self.table.insert(id.slot, binding);
        }
    }

    /// Removes this CPU's part of a socket.
    pub(crate) fn close(&mut self, id: SocketId) {
        if self.part(id).is_some() {
            self.close_slot(id.slot);
        }
    }

    fn close_slot(&mut self, slot: u32) {
        self.generation += 1;
        self.table.remove(slot);
        if let Some(Some(part)) = self.parts.get_mut(slot as usize).map(Option::take) {
            // What is still in the queue goes home with it.
            self.memory.lent -= part.queue.lent();
            self.dirty.retain(|&dirty| dirty != slot);
            self.holders.retain(|&holder| holder != slot);
        }
    }

    #[inline]
    fn part(&self, id: SocketId) -> Option<&Part> {
        self.parts
            .get(id.slot as usize)?
            .as_ref()
            .filter(|part| part.shared.id == id)
    }

    /// Takes back all frames that applications are done with.
    pub(crate) fn collect(&mut self, cache: &mut FrameCache) {
        self.collect_from(self.holders.len(), cache);
    }

    /// Takes frames back from the next `count` sockets that may have some.
    fn collect_from(&mut self, count: usize, cache: &mut FrameCache) {
        for _ in 0..count.min(self.holders.len()) {
            if self.next_holder >= self.holders.len() {
                self.next_holder = 0;
            }
            let Some(&slot) = self.holders.get(self.next_holder) else {
                return;
            };
            let Some(Some(part)) = self.parts.get_mut(slot as usize) else {
                continue;
            };
            self.memory.lent -= part.collect(cache);
            part.holds = part.queue.lent() > 0;
            if part.holds {
                self.next_holder += 1;
            } else {
                self.holders.swap_remove(self.next_holder);
            }
        }
    }

    /// Tells the applications of sockets with new datagrams.
    #[inline]
    pub(crate) fn wake(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        crate::notify::publish_fence();
        for &slot in &self.dirty {
            if let Some(Some(part)) = self.parts.get_mut(slot as usize) {
                part.dirty = false;
                part.shared.notify.notify_fenced();
            }
        }
        self.dirty.clear();
    }
}
