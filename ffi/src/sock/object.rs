//! The object behind a `softnet_sock`.

use crate::result::{Code, Error};
use crate::stack::{SLICE_NS, StackObject, broken};
use libc::c_int;
use rustix::event::{EventfdFlags, eventfd};
use softnet::netstack::{Datagram, Notify, RecvError, UdpOptions, UdpSocket};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Duration, Instant};

/// A socket of C: not yet bound, or bound.
///
/// Its lock is held for as long as a step takes, never while a receive waits, and
/// the packet path never takes it. It comes before the stack's lock.
pub(crate) struct SockObject {
    stack: Arc<StackObject>,
    closed: AtomicBool,
    notify: Arc<Notify>,
    /// Held by the thread that waits.
    waiter: Mutex<()>,
    ready: OnceLock<Arc<OwnedFd>>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// What the socket will be made with.
    pub(super) options: UdpOptions,
    pub(super) socket: Option<UdpSocket>,
}

/// How long a call waits.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    No,
    For(Duration),
    Forever,
}

impl Wait {
    /// Milliseconds; negative is for ever, as in poll(2).
    pub(crate) fn from_ms(ms: c_int) -> Self {
        match u64::try_from(ms) {
            Ok(0) => Self::No,
            Ok(ms) => Self::For(Duration::from_millis(ms)),
            Err(_) => Self::Forever,
        }
    }

    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::No => Some(Duration::ZERO),
            Self::For(time) => Some(time),
            Self::Forever => None,
        }
    }
}

impl SockObject {
    pub(crate) fn new(stack: Arc<StackObject>) -> Self {
        let notify = Arc::new(Notify::new());
        let options = UdpOptions {
            notify: Some(notify.clone()),
            ..UdpOptions::default()
        };
        Self {
            stack,
            closed: AtomicBool::new(false),
            notify,
            waiter: Mutex::new(()),
            ready: OnceLock::new(),
            state: Mutex::new(State {
                options,
                socket: None,
            }),
        }
    }

    pub(crate) fn stack(&self) -> &Arc<StackObject> {
        &self.stack
    }

    /// Ends the socket for all threads, and wakes the one that waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify.wake();
        // The listener holds the descriptor, and the CPUs hold the listener.
        self.notify.set_listener(|| ());
        // A call that panicked has left the socket in there: it goes too.
        let state = self.state.lock();
        state
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .socket = None;
    }

    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state.lock().map_err(|_| broken())?;
        self.check_open()?;
        Ok(state)
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Code::SOFTNET_RESULT_CLOSED.into());
        }
        Ok(())
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> Result<(), Error> {
        let mut state = self.state()?;
        if let Some(socket) = &state.socket {
            return Err(Error::new(
                Code::SOFTNET_RESULT_BOUND,
                format_args!("the socket is bound to {} already", socket.local_addr()),
            ));
        }
        self.open(&mut state, address)?;
        Ok(())
    }

    /// Makes the socket.
    fn open<'a>(
        &self,
        state: &'a mut State,
        address: SocketAddr,
    ) -> Result<&'a mut UdpSocket, Error> {
        let options = &state.options;
        let socket = self
            .stack
            .with(|machine| Ok(machine.stack_mut().udp_bind(address, options)?))?;
        Ok(state.socket.insert(socket))
    }

    /// The socket, bound to an ephemeral port if it was not bound yet.
    fn bound<'a>(&self, state: &'a mut State) -> Result<&'a mut UdpSocket, Error> {
        if state.socket.is_none() {
            self.open(state, SocketAddr::from(([0, 0, 0, 0], 0)))?;
        }
        state.socket.as_mut().ok_or_else(broken)
    }

    pub(crate) fn connect(&self, peer: SocketAddr) -> Result<(), Error> {
        let mut state = self.state()?;
        let socket = self.bound(&mut state)?;
        self.stack
            .with(|machine| Ok(machine.stack_mut().udp_connect(socket, peer)?))
    }

    pub(crate) fn send(&self, payload: &[u8], to: Option<SocketAddr>) -> Result<(), Error> {
        let mut state = self.state()?;
        let socket = self.bound(&mut state)?;
        match to {
            Some(to) => socket.try_send_to(payload, to)?,
            None => socket.try_send(payload)?,
        }
        Ok(())
    }

    /// Lets `work` send with the socket.
    pub(crate) fn with_socket<R>(
        &self,
        work: impl FnOnce(&mut UdpSocket) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut state = self.state()?;
        work(self.bound(&mut state)?)
    }

    pub(crate) fn local(&self) -> Result<Option<SocketAddr>, Error> {
        let state = self.state()?;
        Ok(state.socket.as_ref().map(UdpSocket::local_addr))
    }

    pub(crate) fn peer(&self) -> Result<Option<SocketAddr>, Error> {
        let state = self.state()?;
        Ok(state.socket.as_ref().and_then(UdpSocket::peer_addr))
    }

    /// Takes a datagram, and waits for one if it must.
    pub(crate) fn receive(&self, wait: Wait) -> Result<Datagram, Error> {
        match self.try_receive() {
            Err(RecvFailure::Nothing) if !matches!(wait, Wait::No) => {}
            Err(RecvFailure::Nothing) => return Err(RecvError::WouldBlock.into()),
            Err(RecvFailure::Failed(error)) => return Err(error),
            Ok(datagram) => return Ok(datagram),
        }
        let _turn = match self.waiter.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let message = "another thread waits for the socket's datagrams already";
                return Err(Error::new(Code::SOFTNET_RESULT_BUSY, message));
            }
        };
        if self.stack.is_running() {
            self.wait_for_threads(wait)
        } else {
            self.wait_inline(wait)
        }
    }

    fn try_receive(&self) -> Result<Datagram, RecvFailure> {
        let mut state = self.state().map_err(RecvFailure::Failed)?;
        let socket = state.socket.as_mut().ok_or(RecvFailure::Nothing)?;
        match socket.try_recv() {
            Err(RecvError::WouldBlock) => {
                self.unready(socket);
                Err(RecvFailure::Nothing)
            }
            Err(error) => Err(RecvFailure::Failed(error.into())),
            Ok(datagram) => Ok(datagram),
        }
    }

    /// The CPUs have threads: one of them wakes this one.
    fn wait_for_threads(&self, wait: Wait) -> Result<Datagram, Error> {
        let deadline = wait
            .duration()
            .and_then(|time| Instant::now().checked_add(time));
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !self.notify.wait(left, || self.has_news()) {
                return Err(RecvError::TimedOut.into());
            }
            // Another thread may have been faster.
            match self.try_receive() {
                Err(RecvFailure::Nothing) => {}
                Err(RecvFailure::Failed(error)) => return Err(error),
                Ok(datagram) => return Ok(datagram),
            }
        }
    }

    /// This thread runs the stack until there is something.
    fn wait_inline(&self, wait: Wait) -> Result<Datagram, Error> {
        let until = self.stack.deadline_ns(wait)?;
        loop {
            let turn = self.stack.with(|machine| {
                let now = machine.now_ns();
                if machine.is_running() {
                    return Ok(Turn::Running {
                        left_ns: until.saturating_sub(now),
                    });
                }
                let slice = now.saturating_add(SLICE_NS).min(until);
                machine.run_until(slice, |_| self.has_news())?;
                Ok(Turn::Over {
                    at_ns: machine.now_ns(),
                })
            })?;
            let now = match turn {
                // The stack was given threads meanwhile.
                Turn::Running { left_ns } => {
                    return self.wait_for_threads(Wait::For(Duration::from_nanos(left_ns)));
                }
                Turn::Over { at_ns } => at_ns,
            };
            match self.try_receive() {
                Err(RecvFailure::Nothing) if now >= until => {
                    return Err(RecvError::TimedOut.into());
                }
                Err(RecvFailure::Nothing) => {}
                Err(RecvFailure::Failed(error)) => return Err(error),
                Ok(datagram) => return Ok(datagram),
            }
        }
    }

    /// Whether a receive that waits has a reason to look.
    fn has_news(&self) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return true;
        }
        // Held by another thread: a look is due when it has let go. To wait for
        // it here could be for ever, with the stack's lock held.
        let state = self.state.try_lock();
        state.map_or(true, |state| {
            state.socket.as_ref().is_some_and(UdpSocket::is_readable)
        })
    }

    /// The descriptor that a poll(2) may wait for; made when it is first wanted.
    pub(crate) fn poll_fd(&self) -> Result<c_int, Error> {
        let mut state = self.state()?;
        if let Some(fd) = self.ready.get() {
            return Ok(fd.as_raw_fd());
        }
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(|error| {
            Error::new(
                Code::SOFTNET_RESULT_SYSTEM,
                format_args!("no eventfd: {error}"),
            )
        })?;
        let fd = Arc::new(fd);
        let signal = fd.clone();
        self.notify.set_listener(move || signal_fd(&*signal));
        let fd = self.ready.get_or_init(|| fd);
        if let Some(socket) = &mut state.socket {
            self.unready(socket);
        } else {
            self.notify.rearm();
        }
        Ok(fd.as_raw_fd())
    }

    /// Nothing is there: the descriptor is not readable until something comes.
    fn unready(&self, socket: &UdpSocket) {
        let Some(fd) = self.ready.get() else {
            return;
        };
        // Not readable: then it is as it should be.
        let _ = rustix::io::read(&**fd, &mut [0; 8]);
        self.notify.rearm();
        // What came since the caller looked has found nobody armed.
        if socket.is_readable() {
            self.signal();
        }
    }

    /// Makes the descriptor readable, if there is one.
    fn signal(&self) {
        if let Some(fd) = self.ready.get() {
            signal_fd(&**fd);
        }
    }
}

/// What became of a turn of an inline stack.
enum Turn {
    Running { left_ns: u64 },
    Over { at_ns: u64 },
}

/// Why nothing was received.
enum RecvFailure {
    Nothing,
    Failed(Error),
}

fn signal_fd(fd: impl AsFd) {
    // The counter is full: then the descriptor is readable as it is.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}
