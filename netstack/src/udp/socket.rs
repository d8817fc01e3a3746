//! The application's end of a UDP socket.

use super::{Shared, SocketId};
use crate::message::TxMessage;
use crate::notify::Notify;
use crate::peer::Peer;
use crate::registry::Registry;
use crate::skb::datagram_headers;
use crate::steering::Steering;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Deref;
use softnet_dma_ring::{Frame, FramePool, lending};

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// There is nothing now.
    #[error("no datagram is waiting")]
    WouldBlock,
    /// There was nothing until the time was up.
    #[error("no datagram came in time")]
    TimedOut,
    /// The peer's host answered an earlier datagram: nobody listens there.
    #[error("the peer's host says that nobody listens on that port")]
    ConnectionRefused,
    /// An earlier datagram found no route.
    #[error("the network cannot be reached: no route to it, or a router said so")]
    NetworkUnreachable,
    /// An earlier datagram found no host.
    #[error("the host cannot be reached: it does not answer, or a router said so")]
    HostUnreachable,
    /// An earlier datagram was too long for the path.
    #[error("an earlier datagram was too long for the device's MTU")]
    MessageTooLong,
    /// An earlier datagram was to everybody, and the socket is not allowed to.
    #[error(
        "the destination needs the permission to broadcast, or the source may not leave the host"
    )]
    Prohibited,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Too much waits to be sent already.
    #[error("too many datagrams wait to be sent: try again when some have left")]
    WouldBlock,
    /// All frames of the pool are in use.
    #[error("no frame is free: make the pool larger, or read what is queued")]
    NoBuffers,
    /// The payload does not fit a frame, or no UDP datagram.
    #[error("a datagram of {len} bytes does not fit: at most {max} bytes")]
    TooLong {
        /// Bytes of the payload.
        len: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// The socket is not connected, and no destination was given.
    #[error("the socket is not connected: give a destination, or connect it")]
    NotConnected,
    /// The destination's port is 0, or its family is not the socket's.
    #[error("{0} cannot be a destination of this socket")]
    BadDestination(SocketAddr),
}

/// A received datagram.
///
/// It is the frame that the NIC filled; nothing was copied. It dereferences to
/// its payload. Dropping it returns the frame to its pool.
pub struct Datagram {
    frame: Frame,
}

impl Datagram {
    /// Who sent it.
    #[must_use]
    #[inline]
    pub fn from(&self) -> SocketAddr {
        sender(&self.frame)
    }

    /// To which of this host's addresses it was sent.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        receiver(&self.frame)
    }

    /// When it was received, in nanoseconds of the stack's clock.
    #[must_use]
    pub fn timestamp_ns(&self) -> Option<u64> {
        self.frame.timestamp_ns()
    }

    /// The payload, to be changed: for an answer in the same frame.
    #[must_use]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.frame.data_mut()
    }

    /// The frame, with the payload as its data.
    #[must_use]
    pub fn into_frame(self) -> Frame {
        self.frame
    }
}

/// Who sent a datagram that was queued.
#[inline]
fn sender(frame: &Frame) -> SocketAddr {
    let Some((ip, udp)) = datagram_headers(frame) else {
        return NOWHERE;
    };
    let [.., a, b, c, d, _, _, _, _] = *ip;
    let [high, low, ..] = *udp;
    end([a, b, c, d], [high, low])
}

/// To whom it was sent.
fn receiver(frame: &Frame) -> SocketAddr {
    let Some((ip, udp)) = datagram_headers(frame) else {
        return NOWHERE;
    };
    let [.., a, b, c, d] = *ip;
    let [_, _, high, low, ..] = *udp;
    end([a, b, c, d], [high, low])
}

#[inline]
fn end(address: [u8; 4], port: [u8; 2]) -> SocketAddr {
    let address = IpAddr::V4(Ipv4Addr::from(address));
    SocketAddr::new(address, u16::from_be_bytes(port))
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Deref for Datagram {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.frame.data()
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("from", &self.from())
            .field("to", &self.to())
            .field("len", &self.len())
            .finish()
    }
}

/// Copies out what fits. Returns how much that was, and the sender.
#[inline]
fn copy(frame: &Frame, buffer: &mut [u8]) -> (usize, SocketAddr) {
    let data = frame.data();
    let len = data.len().min(buffer.len());
    buffer[..len].copy_from_slice(&data[..len]);
    (len, sender(frame))
}

/// A UDP socket: the application's end.
///
/// It belongs to one thread at a time (`Send`, not `Sync`), and works the same
/// whether the stack's CPUs are threads or run inline. Dropping it closes the
/// socket.
pub struct UdpSocket {
    shared: Arc<Shared>,
    /// One queue for each CPU.
    queues: Vec<lending::Borrower<Frame>>,
    /// The queue to look at first: where the last datagram was, if there was one.
    turn: usize,
    has_received: bool,
    peers: Arc<[Peer]>,
    steering: Arc<Steering>,
    registry: Arc<Registry>,
    pool: FramePool,
    local: SocketAddr,
    remote: Option<SocketAddr>,
}

/// What makes an application's end.
pub(crate) struct NewSocket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Arc<[Peer]>,
    pub(crate) steering: Arc<Steering>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: FramePool,
    pub(crate) local: SocketAddr,
}

impl UdpSocket {
    pub(crate) fn new(new: NewSocket) -> Self {
        Self {
            shared: new.shared,
            queues: Vec::new(),
            turn: 0,
            has_received: false,
            peers: new.peers,
            steering: new.steering,
            registry: new.registry,
            pool: new.pool,
            local: new.local,
            remote: None,
        }
    }

    pub(crate) fn with_queues(mut self, queues: Vec<lending::Borrower<Frame>>) -> Self {
        self.queues = queues;
        self
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The peer that the socket is connected to.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.remote
    }

    pub(crate) fn id(&self) -> SocketId {
        self.shared.id
    }

    pub(crate) fn set_addresses(&mut self, local: SocketAddr, remote: Option<SocketAddr>) {
        self.local = local;
        self.remote = remote;
    }

    /// Where this socket's datagrams are announced.
    #[must_use]
    pub fn notify(&self) -> &Arc<Notify> {
        &self.shared.notify
    }

    /// Whether a datagram, or an error, is waiting.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.shared
            .error
            .load(core::sync::atomic::Ordering::Relaxed)
            != 0
            || self.queues.iter().any(|queue| !queue.is_empty())
    }

    /// Datagrams that were dropped because this socket's queue was full.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.shared
            .parts
            .iter()
            .map(|part| part.drops.count())
            .sum()
    }

    /// Takes a datagram, without waiting and without a copy.
    ///
    /// # Errors
    /// [`RecvError::WouldBlock`], or an error that came back from the network
    /// for an earlier send.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Datagram, RecvError> {
        self.receive(|queue| queue.take().map(|frame| Datagram { frame }))
    }

    /// Has `receive` take a datagram from a queue that has one.
    // A call would cost a fifth of the whole.
    #[inline(always)]
    fn receive<R>(
        &mut self,
        mut receive: impl FnMut(&mut lending::Borrower<Frame>) -> Option<R>,
    ) -> Result<R, RecvError> {
        if let Some(code) = self.shared.take_error() {
            return Err(code.into());
        }
        loop {
            if let Some(queue) = self.queues.get_mut(self.turn)
                && let Some(received) = receive(queue)
            {
                self.has_received = true;
                return Ok(received);
            }
            self.turn = self.filled_elsewhere().ok_or(RecvError::WouldBlock)?;
        }
    }

    /// The next queue with a datagram, when the one whose turn it is has none.
    #[cold]
    fn filled_elsewhere(&self) -> Option<usize> {
        let count = self.queues.len();
        (1..count)
            .map(|step| (self.turn + step) % count)
            .find(|&cpu| !self.queues[cpu].is_empty())
    }

    /// Copies a datagram to `buffer`, without waiting. Returns the bytes copied
    /// and the sender; what does not fit is lost, as with the kernel's sockets.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    #[inline]
    pub fn try_recv_from(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), RecvError> {
        self.receive(|queue| queue.read(|frame| copy(frame, buffer)))
    }

    /// Sends a copy of `payload` to `to`, without waiting.
    ///
    /// The datagram is on its way when this returns: it leaves when its CPU
    /// runs next. What goes wrong later comes back as an error of a later
    /// receive.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send_to(&mut self, payload: &[u8], to: SocketAddr) -> Result<(), SendError> {
        let mut frame = self.pool.alloc().ok_or(SendError::NoBuffers)?;
        let (len, max) = (payload.len(), frame.tailroom());
        let bytes = frame.put(len).ok_or(SendError::TooLong { len, max })?;
        bytes.copy_from_slice(payload);
        self.send_frame(frame, to).map_err(|(error, _)| error)
    }

    /// Sends a copy of `payload` to the connected peer, without waiting.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let to = self.remote.ok_or(SendError::NotConnected)?;
        self.try_send_to(payload, to)
    }

    /// Sends a received datagram's frame, with its payload as it is now, to
    /// `to`: an answer without a copy.
    ///
    /// # Errors
    /// [`SendError`], and the datagram's frame back.
    #[inline]
    pub fn try_send_datagram(
        &mut self,
        datagram: Datagram,
        to: SocketAddr,
    ) -> Result<(), (SendError, Frame)> {
        self.send_frame(datagram.into_frame(), to)
    }

    /// The CPU that is to send to `to`: the one that will receive the answer. A
    /// socket that is bound to no one address does not know which of them it will
    /// send from; what it sends is most likely an answer itself, to what was
    /// received last.
    #[inline]
    fn sending_cpu(&self, to: SocketAddr) -> usize {
        match self.has_received && self.local.ip().is_unspecified() {
            true => self.turn,
            false => self.steering.cpu_of_reply(self.local, to),
        }
    }

    /// Sends the data of a frame, which has headroom for all headers, to `to`.
    ///
    /// # Errors
    /// [`SendError`], and the frame back.
    pub fn send_frame(&mut self, frame: Frame, to: SocketAddr) -> Result<(), (SendError, Frame)> {
        let SocketAddr::V4(peer_address) = to else {
            return Err((SendError::BadDestination(to), frame));
        };
        if to.port() == 0 {
            return Err((SendError::BadDestination(to), frame));
        }
        let cpu = self.sending_cpu(to);
        let Some(peer) = self.peers.get(cpu) else {
            return Err((SendError::NoBuffers, frame));
        };
        let message = TxMessage::Udp {
            socket: self.shared.id,
            frame,
            to: peer_address,
        };
        peer.transmit(message).map_err(|message| match message {
            TxMessage::Udp { frame, .. } | TxMessage::Xmit { frame, .. } => {
                (SendError::WouldBlock, frame)
            }
        })
    }
}

#[cfg(feature = "std")]
mod blocking {
    use super::{Datagram, RecvError, SendError, UdpSocket};
    use core::net::SocketAddr;
    use core::time::Duration;

    /// Waiting needs a thread to wait on; these are for stacks whose CPUs are
    /// threads. Inline, nobody would receive meanwhile.
    impl UdpSocket {
        /// Takes a datagram without a copy, and waits for one at most `timeout`
        /// (`None`: for as long as it takes).
        ///
        /// # Errors
        /// [`RecvError::TimedOut`], or an error that came back from the network
        /// for an earlier send.
        pub fn recv(&mut self, timeout: Option<Duration>) -> Result<Datagram, RecvError> {
            match self.try_recv() {
                Err(RecvError::WouldBlock) => {}
                done => return done,
            }
            self.wait_readable(timeout)?;
            self.try_recv()
        }

        fn wait_readable(&self, timeout: Option<Duration>) -> Result<(), RecvError> {
            let notify = &self.shared.notify;
            let ready = notify.wait(timeout, || self.is_readable());
            ready.then_some(()).ok_or(RecvError::TimedOut)
        }

        /// Copies a datagram to `buffer`, and waits for one at most `timeout`.
        /// Returns the bytes copied and the sender; what does not fit is lost.
        ///
        /// # Errors
        /// As [`recv`](Self::recv).
        pub fn recv_from(
            &mut self,
            buffer: &mut [u8],
            timeout: Option<Duration>,
        ) -> Result<(usize, SocketAddr), RecvError> {
            match self.try_recv_from(buffer) {
                Err(RecvError::WouldBlock) => {}
                done => return done,
            }
            self.wait_readable(timeout)?;
            self.try_recv_from(buffer)
        }

        /// Sends a copy of `payload`, and waits at most `timeout` while too
        /// much waits to be sent already.
        ///
        /// # Errors
        /// [`SendError`]; [`SendError::WouldBlock`] when the time was up.
        pub fn send_to(
            &mut self,
            payload: &[u8],
            to: SocketAddr,
            timeout: Option<Duration>,
        ) -> Result<(), SendError> {
            let peers = self.peers.clone();
            let Some(peer) = peers.get(self.sending_cpu(to)) else {
                return Err(SendError::BadDestination(to));
            };
            let mut result = self.try_send_to(payload, to);
            if result == Err(SendError::WouldBlock) {
                peer.tx_space.wait(timeout, || {
                    result = self.try_send_to(payload, to);
                    result != Err(SendError::WouldBlock)
                });
            }
            result
        }
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let port = self.local.port();
        self.registry.close(self.shared.id, port, &self.peers);
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("readable", &self.is_readable())
            .finish()
    }
}

impl From<super::ErrorCode> for RecvError {
    fn from(code: super::ErrorCode) -> Self {
        match code {
            super::ErrorCode::ConnectionRefused => Self::ConnectionRefused,
            super::ErrorCode::NetworkUnreachable => Self::NetworkUnreachable,
            super::ErrorCode::HostUnreachable => Self::HostUnreachable,
            super::ErrorCode::MessageTooLong => Self::MessageTooLong,
            super::ErrorCode::Prohibited => Self::Prohibited,
        }
    }
}
