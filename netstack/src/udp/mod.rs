//! UDP (RFC 768, RFC 1122 section 4.1).
//!
//! A socket has two ends. The application holds the [`UdpSocket`]; each CPU
//! holds a part of it, that queues the datagrams which that CPU receives. The
//! two are joined by one single-producer ring a CPU, so that neither takes a
//! lock and a datagram is never copied on its way.

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
use crate::skb::SkBuff;
use crate::sync::{AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use headers::HeaderCache;
use softnet_dma_ring::spsc;
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
    /// Bytes that the application has taken out of this CPU's queue, ever.
    /// Written by the application's end only.
    pub(crate) dequeued: AtomicU64,
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
    queue: spsc::Producer<SkBuff>,
    cpu: usize,
    /// Bytes that may wait in the queue.
    rcvbuf: u64,
    /// Bytes ever queued.
    enqueued: u64,
    /// What `enqueued` may come to, as of the last look at what the application
    /// has taken out.
    full_at: u64,
    /// Whether it is on the list of those to be told of new datagrams.
    dirty: bool,
    pub(crate) ttl: u8,
    pub(crate) broadcast: bool,
}

impl Part {
    /// Bytes that the application has taken out of this CPU's queue, ever.
    fn taken(&self) -> u64 {
        let shared = self.shared.parts.get(self.cpu);
        shared.map_or(0, |part| part.dequeued.load(Ordering::Relaxed))
    }
}

/// What makes a CPU's part of a socket.
pub(crate) struct NewPart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: spsc::Producer<SkBuff>,
    pub(crate) rcvbuf: usize,
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
    memory: Memory,
    headers: HeaderCache,
    /// Counts the changes of bindings.
    generation: u64,
}

/// What all sockets of a CPU may hold together (`net.ipv4.udp_mem`), so that
/// applications that do not read cannot starve the NICs of frames.
struct Memory {
    limit: u64,
    /// Bytes ever queued.
    enqueued: u64,
    /// What `enqueued` may come to, as of the last look at `taken`.
    full_at: u64,
    /// Bytes ever taken out, by all applications.
    taken: Arc<AtomicU64>,
}

impl Udp {
    pub(crate) fn new(cpu: usize, limit: u64, taken: Arc<AtomicU64>, seed: u64) -> Self {
        Self {
            cpu,
            table: Table::new(seed),
            parts: Vec::new(),
            dirty: Vec::new(),
            memory: Memory {
                limit,
                enqueued: 0,
                full_at: limit,
                taken,
            },
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
        self.parts[at] = Some(Part {
            shared: new.shared,
            queue: new.queue,
            cpu: self.cpu,
            rcvbuf: new.rcvbuf as u64,
            enqueued: 0,
            full_at: new.rcvbuf as u64,
            dirty: false,
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
            // What the application has not read yet goes home with the queue,
            // and nobody will count it as taken.
            let left = part.enqueued.wrapping_sub(part.taken());
            self.memory.enqueued = self.memory.enqueued.wrapping_sub(left);
        }
    }

    #[inline]
    fn part(&self, id: SocketId) -> Option<&Part> {
        self.parts
            .get(id.slot as usize)?
            .as_ref()
            .filter(|part| part.shared.id == id)
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
