//! Which sockets there are: the control plane's book, for all CPUs.

use crate::message::Control;
use crate::peer::Peer;
use crate::ports::{DEFAULT_RANGE, EphemeralPorts, PortsExhausted};
use crate::udp::{Binding, SocketId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use spin::Mutex;

/// Why an address could not be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has it.
    #[error("{0} is in use by another socket")]
    InUse(SocketAddr),
    /// It is not an address of this host.
    #[error("{0} is not an address of this host")]
    NotLocal(IpAddr),
    /// No ephemeral port is free.
    #[error(transparent)]
    Exhausted(#[from] PortsExhausted),
    /// The family is not supported.
    #[error("{0} is not an IPv4 address")]
    Family(IpAddr),
    /// There is no route to the peer.
    #[error("no route to {0}: add an address or a route first")]
    NoRoute(SocketAddr),
    /// The peer's port is 0.
    #[error("{0} cannot be a peer: its port is 0")]
    BadPeer(SocketAddr),
    /// A CPU's thread has ended.
    #[error("a CPU of the stack has stopped")]
    Stopped,
}

/// The book of UDP sockets. It is taken when sockets are made and closed, never
/// on the packet path.
pub(crate) struct Registry {
    book: Mutex<Book>,
}

struct Book {
    /// The generation of each slot.
    generations: Vec<u32>,
    free: Vec<u32>,
    /// The sockets on each port.
    ports: BTreeMap<u16, Vec<(u32, Binding)>>,
    ephemeral: EphemeralPorts,
    /// Closes that found a CPU's door full.
    deferred: VecDeque<(usize, SocketId)>,
}

impl Registry {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            book: Mutex::new(Book {
                generations: Vec::new(),
                free: Vec::new(),
                ports: BTreeMap::new(),
                ephemeral: EphemeralPorts::new(DEFAULT_RANGE, [seed, !seed]),
                deferred: VecDeque::new(),
            }),
        }
    }

    /// Gives out a slot and a port; port 0 asks for an ephemeral one.
    pub(crate) fn open(
        &self,
        local: Option<IpAddr>,
        port: u16,
        peers: &[Peer],
    ) -> Result<(SocketId, Binding), BindError> {
        let mut book = self.book.lock();
        book.retry(peers);
        let port = match port {
            0 => book.pick_port()?,
            port => port,
        };
        let binding = Binding {
            local,
            port,
            remote: None,
        };
        if book.conflicts(&binding, None) {
            let any = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
            return Err(BindError::InUse(SocketAddr::new(
                local.unwrap_or(any),
                port,
            )));
        }
        let slot = book.free.pop().unwrap_or_else(|| {
            book.generations.push(0);
            (book.generations.len() - 1) as u32
        });
        book.ports.entry(port).or_default().push((slot, binding));
        let generation = book.generations[slot as usize];
        Ok((SocketId { slot, generation }, binding))
    }

    /// Changes a socket's binding, on the same port.
    pub(crate) fn rebind(&self, id: SocketId, binding: Binding) -> Result<(), BindError> {
        let mut book = self.book.lock();
        if book.conflicts(&binding, Some(id.slot)) {
            let local = binding
                .local
                .unwrap_or(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED));
            return Err(BindError::InUse(SocketAddr::new(local, binding.port)));
        }
        let sockets = book.ports.entry(binding.port).or_default();
        if let Some((_, have)) = sockets.iter_mut().find(|(slot, _)| *slot == id.slot) {
            *have = binding;
        }
        Ok(())
    }

    /// The application has let go of a socket: its slot and port are free, and
    /// all CPUs drop their parts.
    pub(crate) fn close(&self, id: SocketId, port: u16, peers: &[Peer]) {
        let mut book = self.book.lock();
        book.retry(peers);
        for cpu in 0..peers.len() {
            book.close_on(cpu, id, peers);
        }
        if let Some(sockets) = book.ports.get_mut(&port) {
            sockets.retain(|(slot, _)| *slot != id.slot);
            if sockets.is_empty() {
                book.ports.remove(&port);
            }
        }
        // A slot whose generations are used up is not given out again.
        let generation = &mut book.generations[id.slot as usize];
        if let Some(next) = generation.checked_add(1) {
            *generation = next;
            book.free.push(id.slot);
        }
    }
}

impl Book {
    /// Two sockets may share a port if no datagram could be for both: with
    /// different local addresses, or with a peer that tells them apart.
    fn conflicts(&self, new: &Binding, except: Option<u32>) -> bool {
        let sockets = self.ports.get(&new.port).map_or(&[][..], Vec::as_slice);
        sockets.iter().any(|(slot, have)| {
            let same_local = match (have.local, new.local) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            };
            Some(*slot) != except && same_local && have.remote == new.remote
        })
    }

    fn pick_port(&mut self) -> Result<u16, PortsExhausted> {
        let ports = &self.ports;
        self.ephemeral.pick(|port| !ports.contains_key(&port))
    }

    fn close_on(&mut self, cpu: usize, id: SocketId, peers: &[Peer]) {
        if !Self::told(cpu, id, peers) {
            self.deferred.push_back((cpu, id));
        }
    }

    /// Tells a CPU of a close; `false` when its door is full.
    fn told(cpu: usize, id: SocketId, peers: &[Peer]) -> bool {
        let refused = |peer: &Peer| peer.control(Control::Close(id)).is_err();
        !peers.get(cpu).is_some_and(refused)
    }

    /// Tells of deferred closes until a door is full again.
    fn retry(&mut self, peers: &[Peer]) {
        while let Some(&(cpu, id)) = self.deferred.front() {
            if !Self::told(cpu, id, peers) {
                return;
            }
            self.deferred.pop_front();
        }
    }
}
