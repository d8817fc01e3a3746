//! The other end of a card's cable: a pair of datagram sockets, one datagram a frame.

use crate::machine::Shared;
use crate::qtest::Qtest;
use softnet_nic_hal::wire::{Wire, WireError};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest frame that a card of QEMU sends, and more.
const LONGEST: usize = 64 * 1024;

/// So often a full socket is tried again. Each time QEMU has looked at it.
const TRIES: usize = 64;

/// Our end of the pair.
pub(crate) struct Ends {
    socket: UnixDatagram,
    /// Frames sent since the machine was last settled.
    sent: AtomicUsize,
}

impl Ends {
    pub(crate) fn new(socket: UnixDatagram) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let sent = AtomicUsize::new(0);
        Ok(Self { socket, sent })
    }

    /// Lets QEMU look at the socket once for each frame that may be in it. It takes one
    /// frame a turn of its loop, in which it also answers a command; a turn that has
    /// begun before the frame was there may answer first, hence one more, and one to see
    /// the last turn end.
    pub(crate) fn settle(&self, qtest: &Qtest) {
        let frames = self.sent.swap(0, Ordering::Relaxed);
        let mut line = qtest.lock();
        for _ in 0..frames + 2 {
            line.round_trip();
        }
    }
}

/// What a card of a [`QemuMachine`](crate::QemuMachine) is plugged into: what is
/// transmitted here the card receives, and the other way round.
pub struct QemuWire {
    shared: Arc<Shared>,
    ends: Arc<Ends>,
    buffer: Box<[u8]>,
}

impl QemuWire {
    pub(crate) fn new(shared: Arc<Shared>, ends: Arc<Ends>) -> Self {
        let buffer = vec![0; LONGEST].into();
        Self {
            shared,
            ends,
            buffer,
        }
    }
}

impl Wire for QemuWire {
    /// Waits a little when the card does not take what is on the cable already.
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        // Commands and frames go different ways: what the driver wrote before comes first.
        self.shared.qtest.lock().settle();
        for _ in 0..TRIES {
            match self.ends.socket.send(frame) {
                Ok(_) => {
                    self.ends.sent.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.shared.qtest.lock().round_trip();
                }
                Err(_) => return Err(WireError::NoCarrier),
            }
        }
        Err(WireError::Congested)
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        for taken in 0..budget {
            match self.ends.socket.recv(&mut self.buffer) {
                Ok(len) => sink(&self.buffer[..len]),
                Err(_) => return taken,
            }
        }
        budget
    }
}

impl std::fmt::Debug for QemuWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QemuWire").finish_non_exhaustive()
    }
}
