//! Sockets: made, connected and closed.

use super::cpus::Executor;
use super::{Stack, StackError, UdpOptions};
use crate::ip::Outgoing;
use crate::registry::BindError;
use crate::udp::{Binding, NewPart, NewSocket, Shared, SocketId, UdpSocket};
use crate::wire::ipv4::IpProtocol;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_dma_ring::{Frame, lending};

impl Stack {
    /// Makes a UDP socket bound to `address`. Port 0 asks for an ephemeral port,
    /// and the unspecified address takes datagrams to any address of the host.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(
        &mut self,
        address: SocketAddr,
        options: &UdpOptions,
    ) -> Result<UdpSocket, BindError> {
        let local = self.check_local(address.ip())?;
        let (id, binding) = self.registry.open(local, address.port(), &self.peers)?;
        let shared = Arc::new(Shared {
            id,
            error: 0.into(),
            notify: options.notify.clone().unwrap_or_default(),
            parts: (0..self.cpus()).map(|_| Default::default()).collect(),
        });
        let queues = self.open_parts(&shared, binding, options);
        let local = SocketAddr::new(address.ip(), binding.port);
        let socket = UdpSocket::new(NewSocket {
            shared,
            peers: self.peers.clone(),
            steering: self.steering.clone(),
            registry: self.registry.clone(),
            pool: self.pool().clone(),
            local,
        });
        // If a CPU has stopped, dropping the socket closes what was opened.
        Ok(socket.with_queues(queues?))
    }

    /// Gives each CPU its part of a socket.
    fn open_parts(
        &mut self,
        shared: &Arc<Shared>,
        binding: Binding,
        options: &UdpOptions,
    ) -> Result<Vec<lending::Borrower<Frame>>, BindError> {
        // One datagram always fits, as in Linux, so that a small buffer is not a
        // dead one.
        let most = (options.receive_buffer() / self.frame_size).max(1);
        let mut queues = Vec::new();
        for cpu in 0..self.cpus() {
            let (lender, borrower) = lending::channel(most);
            queues.push(borrower);
            let part = NewPart {
                shared: shared.clone(),
                queue: lender,
                // RFC 1122 section 3.2.1.7: never sent with 0.
                ttl: options.ttl.max(1),
                broadcast: options.broadcast,
            };
            self.exec(cpu, move |shard, _| {
                shard.transports.udp.open(part, binding)
            })?;
        }
        Ok(queues)
    }

    /// Connects a socket: it then hears `peer` alone, sends there by default,
    /// and learns of ICMP errors. A socket that was bound to any address gets
    /// the one that the route to the peer has.
    ///
    /// # Errors
    /// [`BindError`]; the socket is as it was.
    pub fn udp_connect(
        &mut self,
        socket: &mut UdpSocket,
        peer: SocketAddr,
    ) -> Result<(), BindError> {
        let SocketAddr::V4(v4) = peer else {
            return Err(BindError::Family(peer.ip()));
        };
        if peer.port() == 0 {
            return Err(BindError::BadPeer(peer));
        }
        let bound = Some(socket.local_addr().ip()).filter(|ip| !ip.is_unspecified());
        let local = match bound {
            Some(local) => local,
            None => self.source_for(*v4.ip()).ok_or(BindError::NoRoute(peer))?,
        };
        let port = socket.local_addr().port();
        self.rebind(
            socket.id(),
            Binding {
                local: Some(local),
                port,
                remote: Some(peer),
            },
        )?;
        socket.set_addresses(SocketAddr::new(local, port), Some(peer));
        Ok(())
    }

    fn rebind(&mut self, id: SocketId, binding: Binding) -> Result<(), BindError> {
        self.registry.rebind(id, binding)?;
        for cpu in 0..self.cpus() {
            self.exec(cpu, move |shard, _| {
                shard.transports.udp.rebind(id, binding)
            })?;
        }
        Ok(())
    }

    /// The source address of packets to `destination`.
    fn source_for(&mut self, destination: Ipv4Addr) -> Option<IpAddr> {
        let meta = Outgoing {
            source: None,
            destination,
            protocol: IpProtocol::UDP,
            ttl: 1,
            broadcast: true,
        };
        let path = self.exec(0, move |shard, _| shard.core.route_output(&meta));
        Some(IpAddr::V4(path.ok()?.ok()?.source))
    }

    /// The local half of a binding: `None` is any address.
    fn check_local(&mut self, address: IpAddr) -> Result<Option<IpAddr>, BindError> {
        let IpAddr::V4(v4) = address else {
            return Err(BindError::Family(address));
        };
        if v4.is_unspecified() {
            return Ok(None);
        }
        let known = self.exec(0, move |shard, _| {
            shard.core.addresses.kind(v4) != crate::address::AddressKind::Foreign
        });
        if known? {
            Ok(Some(address))
        } else {
            Err(BindError::NotLocal(address))
        }
    }
}

impl From<StackError> for BindError {
    /// All that can go wrong on the way to a CPU is that it has stopped.
    fn from(_: StackError) -> Self {
        Self::Stopped
    }
}
