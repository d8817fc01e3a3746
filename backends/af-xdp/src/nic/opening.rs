//! Opening the queues of an interface: the first mode that works, the program that
//! feeds them, and a socket for each. It is the same whoever uses the sockets then.

use crate::bpf::{AttachError, AttachMode, AttachOptions, Existing, Link, Program};
use crate::error::{AfXdpError, Refusal};
use crate::mode::{Mode, ModeChoice};
use softnet_nic_hal::NicError;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a queue may be busy that another socket has just left.
const BUSY: Duration = Duration::from_secs(1);
/// How often it is looked at.
const BUSY_STEP: Duration = Duration::from_millis(5);

const ATTACHING: &str = "attaching the XDP program";
const BINDING: &str = "binding a socket";
const SHARING: &str = "sharing the UMEM";
/// What of an opening a mode can fail at.
pub(crate) const STEPS: [&str; 3] = [ATTACHING, BINDING, SHARING];

/// What makes sockets.
pub(crate) trait Binder {
    type Socket;

    /// Makes a socket and binds it to a queue.
    fn bind(&self, queue: u16, mode: Mode) -> io::Result<Self::Socket>;

    /// Whether other sockets on the same memory are zero-copy ones; `None` when there
    /// are none.
    fn zero_copy(&self) -> Option<bool>;
}

/// An interface that is to be opened.
pub(crate) struct Opening<'a, B> {
    pub(crate) interface: &'a str,
    pub(crate) index: u32,
    pub(crate) program: &'a Program,
    pub(crate) existing: Existing,
    pub(crate) modes: ModeChoice,
    pub(crate) binder: B,
}

/// An interface that is open.
pub(crate) struct Found<S> {
    pub(crate) mode: Mode,
    pub(crate) link: Attached,
    /// One for each queue, from queue 0 on.
    pub(crate) sockets: Vec<S>,
    /// Better modes that do not work, and why.
    pub(crate) refusals: Vec<Refusal>,
}

/// The program on the interface, taken down by the drop.
#[derive(Debug)]
pub(crate) struct Attached(Option<Link>);

impl Attached {
    pub(crate) const fn new(link: Link) -> Self {
        Self(Some(link))
    }

    /// The link's descriptor, for another process: the program stays while that one has
    /// it.
    pub(crate) fn into_fd(mut self) -> Option<OwnedFd> {
        self.0.take().map(Link::into_fd)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            // Where it cannot be detached, closing it does, sooner or later.
            let _ = link.detach();
        }
    }
}

/// How a mode failed.
enum Failed {
    /// The next one may do.
    Mode(Refusal),
    /// So will all others.
    Hard(AfXdpError),
    /// There is no interface.
    Gone,
}

impl<B: Binder> Opening<'_, B> {
    /// Attaches the program and binds that many sockets.
    ///
    /// # Errors
    /// [`NicError`]; nothing is attached then.
    pub(crate) fn open(&self, queues: u16) -> Result<Found<B::Socket>, NicError> {
        let mut found = self.find_mode()?;
        for queue in 1..queues {
            let socket = self.bind(queue, found.mode);
            let socket = socket.map_err(|source| self.no_socket(queue, source))?;
            found.sockets.push(socket);
        }
        Ok(found)
    }

    /// The first mode that works, and why better ones do not.
    fn find_mode(&self) -> Result<Found<B::Socket>, NicError> {
        let mut refusals = Vec::new();
        let fixed = self.binder.zero_copy();
        for mode in self.modes.candidates() {
            if fixed.is_some_and(|zero_copy| zero_copy != (mode == Mode::ZeroCopy)) {
                refusals.push(Refusal {
                    mode,
                    step: SHARING,
                    reason: "another NIC has it open in another mode".into(),
                });
                continue;
            }
            match self.try_mode(mode) {
                Ok((link, socket)) => {
                    return Ok(Found {
                        mode,
                        link,
                        sockets: vec![socket],
                        refusals,
                    });
                }
                Err(Failed::Mode(refusal)) => refusals.push(refusal),
                Err(Failed::Hard(error)) => return Err(error.into()),
                Err(Failed::Gone) => return Err(NicError::Gone),
            }
        }
        let interface = self.interface.to_owned();
        Err(AfXdpError::NoMode {
            interface,
            refusals,
        }
        .into())
    }

    /// Attaches the program and binds the first queue, in one mode. A program that is
    /// to be replaced stays unless there is a socket.
    fn try_mode(&self, mode: Mode) -> Result<(Attached, B::Socket), Failed> {
        if self.existing == Existing::Replace {
            let socket = self.bind_first(mode)?;
            return Ok((self.attach(mode)?, socket));
        }
        let link = self.attach(mode)?;
        Ok((link, self.bind_first(mode)?))
    }

    fn attach(&self, mode: Mode) -> Result<Attached, Failed> {
        let options = AttachOptions {
            mode: match mode {
                Mode::ZeroCopy | Mode::Copy => AttachMode::Driver,
                Mode::Skb => AttachMode::Skb,
            },
            existing: self.existing,
        };
        self.program
            .attach(self.index, options)
            .map(Attached::new)
            .map_err(|error| match error {
                AttachError::NoInterface(_) => Failed::Gone,
                AttachError::AlreadyAttached(_) | AttachError::NotPermitted(_) => {
                    Failed::Hard(AfXdpError::other(ATTACHING, error))
                }
                error => Failed::Mode(Refusal {
                    mode,
                    step: ATTACHING,
                    reason: error.into(),
                }),
            })
    }

    fn bind_first(&self, mode: Mode) -> Result<B::Socket, Failed> {
        self.bind(0, mode).map_err(|error| {
            if is_gone(&error) {
                Failed::Gone
            } else if is_busy(&error) {
                Failed::Hard(self.no_socket(0, error))
            } else {
                Failed::Mode(Refusal {
                    mode,
                    step: BINDING,
                    reason: error.into(),
                })
            }
        })
    }

    fn no_socket(&self, queue: u16, source: io::Error) -> AfXdpError {
        let interface = self.interface.to_owned();
        if is_busy(&source) {
            return AfXdpError::QueueBusy { interface, queue };
        }
        AfXdpError::Queue {
            interface,
            queue,
            source,
        }
    }

    /// Binds a socket; waits for a queue that another one has just left.
    fn bind(&self, queue: u16, mode: Mode) -> io::Result<B::Socket> {
        let end = Instant::now() + BUSY;
        loop {
            match self.binder.bind(queue, mode) {
                Err(error) if is_busy(&error) && Instant::now() < end => {
                    std::thread::sleep(BUSY_STEP);
                }
                result => return result,
            }
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}
