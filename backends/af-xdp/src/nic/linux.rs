//! An interface of this machine: the program that feeds its sockets, the mode in which
//! it does, and what rtnetlink says.

use super::kernel::{Facts, Kernel, Memory, Opened, Socket};
use crate::bpf::{
    AttachError, AttachMode, AttachOptions, Existing, Link, MultiBuffer, Program, ProgramOptions,
    Steering,
};
use crate::error::{AfXdpError, Refusal};
use crate::events::{BusyPoll, Events};
use crate::mode::{Mode, ModeChoice};
use crate::netlink::{Interface, LinkWatch, NetlinkError};
use crate::nic::{AfXdpNic, Nic};
use crate::ring::RxChecksum;
use crate::umem::Umem;
use crate::xsk::{XskRx, XskTx};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use softnet_nic_hal::{LinkState, MacAddress, NicError};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xsk_rs::config::BindFlags;

/// How an interface is used.
#[derive(Clone, Debug)]
pub struct AfXdpConfig {
    /// The interface's name.
    pub interface: String,
    /// Which modes may be used.
    pub mode: ModeChoice,
    /// What becomes of an XDP program that is there already.
    pub existing: Existing,
    /// Which frames are ours.
    pub steering: Steering,
    /// Whether half-made checksums are accepted; `None` leaves it to the driver's name
    /// ([`RxChecksum::for_driver`]).
    pub rx_checksum: Option<RxChecksum>,
    /// Whether the kernel polls the device for the sockets.
    pub busy_poll: Option<BusyPoll>,
}

impl AfXdpConfig {
    /// All frames of the interface, in the best mode that works.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            mode: ModeChoice::Best,
            existing: Existing::LeaveAlone,
            steering: Steering::all(),
            rx_checksum: None,
            busy_poll: None,
        }
    }
}

/// How long a queue may be busy that another socket has just left.
const BUSY: Duration = Duration::from_secs(1);
/// How often it is looked at.
const BUSY_STEP: Duration = Duration::from_millis(5);

/// An interface of this machine, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Linux {
    config: AfXdpConfig,
    index: u32,
    /// Netlink's connections are one thread's at a time.
    interface: Mutex<Interface>,
    driver: String,
    umem: Arc<Umem>,
    program: Arc<Program>,
    state: Mutex<State>,
}

/// The program on the interface, taken down by the drop.
#[derive(Debug)]
struct Attached(Option<Link>);

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            // Where it cannot be detached, closing it does, sooner or later.
            let _ = link.detach();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    link: Option<Attached>,
    /// Modes that the last opening fell back from.
    refusals: Vec<Refusal>,
}

impl AfXdpNic {
    /// A NIC on an interface, with the frames of `umem`, whose queues interrupt by
    /// `events`. Nothing is attached before it is opened. The thread that opens it is
    /// in the same network namespace.
    ///
    /// # Errors
    /// There is no such interface, or the XDP program cannot be loaded.
    pub fn new(
        config: AfXdpConfig,
        umem: Arc<Umem>,
        events: Arc<Events>,
    ) -> Result<Arc<Self>, NicError> {
        let busy_poll = config.busy_poll;
        Nic::with_kernel(Linux::new(config, umem)?, events, busy_poll)
    }
}

impl Linux {
    pub(crate) fn new(config: AfXdpConfig, umem: Arc<Umem>) -> Result<Self, AfXdpError> {
        let failed = |error| AfXdpError::other("reading the interface", error);
        let interface = Interface::open(&config.interface).map_err(failed)?;
        let driver = interface.driver().map_err(failed)?;
        let queues = interface.link().map_err(failed)?.rx_queues.unwrap_or(1);
        let options = ProgramOptions {
            queues,
            multi_buffer: if umem.is_multi_buffer() {
                MultiBuffer::Yes
            } else {
                MultiBuffer::No
            },
            ..ProgramOptions::default()
        };
        let program = Program::load(&options)
            .map_err(|error| AfXdpError::other("loading the XDP program", error))?;
        program
            .update(&config.steering)
            .map_err(|error| AfXdpError::other("telling the XDP program what is ours", error))?;
        Ok(Self {
            driver: driver.map_or_else(String::new, |info| info.name),
            config,
            index: interface.index(),
            interface: Mutex::new(interface),
            umem,
            program: Arc::new(program),
            state: Mutex::default(),
        })
    }

    /// The program, whose steering can be changed at any time.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Asks the kernel about the interface.
    pub fn with_interface<R>(&self, ask: impl FnOnce(&Interface) -> R) -> R {
        ask(&self
            .interface
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// The driver's name.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The UMEM.
    #[must_use]
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Looks at the modes that the last opening fell back from, with the kernel's
    /// reasons.
    pub fn with_refusals<R>(&self, look: impl FnOnce(&[Refusal]) -> R) -> R {
        look(&self.state().refusals)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches the program and binds the first queue, in one mode.
    fn try_mode(&self, mode: Mode) -> Result<(Attached, (XskRx, XskTx)), Failed> {
        let refused = |step, reason: Box<dyn std::error::Error + Send + Sync>| {
            Failed::Mode(Refusal { mode, step, reason })
        };
        let options = AttachOptions {
            mode: match mode {
                Mode::ZeroCopy | Mode::Copy => AttachMode::Driver,
                Mode::Skb => AttachMode::Skb,
            },
            existing: self.config.existing,
        };
        let link = match self.program.attach(self.index, options) {
            Ok(link) => Attached(Some(link)),
            Err(AttachError::NoInterface(_)) => return Err(Failed::Gone),
            Err(error @ (AttachError::AlreadyAttached(_) | AttachError::NotPermitted(_))) => {
                let error = AfXdpError::other("attaching the XDP program", error);
                return Err(Failed::Hard(error));
            }
            Err(error) => return Err(refused("attaching the XDP program", error.into())),
        };
        match self.bind(0, mode) {
            Ok(socket) => Ok((link, socket)),
            Err(error) if is_gone(&error) => Err(Failed::Gone),
            Err(error) if is_busy(&error) => Err(Failed::Hard(self.busy(0))),
            Err(error) => Err(refused("binding a socket", error.into())),
        }
    }

    fn busy(&self, queue: u16) -> AfXdpError {
        AfXdpError::QueueBusy {
            interface: self.config.interface.clone(),
            queue,
        }
    }

    /// Binds a socket; waits for a queue that another one has just left.
    fn bind(&self, queue: u16, mode: Mode) -> io::Result<(XskRx, XskTx)> {
        let end = Instant::now() + BUSY;
        loop {
            match self.bind_now(queue, mode) {
                Err(error) if is_busy(&error) && Instant::now() < end => {
                    std::thread::sleep(BUSY_STEP);
                }
                result => return result,
            }
        }
    }

    fn bind_now(&self, queue: u16, mode: Mode) -> io::Result<(XskRx, XskTx)> {
        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= match mode {
            Mode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            Mode::Copy | Mode::Skb => BindFlags::XDP_COPY,
        };
        if self.umem.is_multi_buffer() {
            flags |= BindFlags::XDP_USE_SG;
        }
        let interface = &self.config.interface;
        self.umem.memory().bind(interface, u32::from(queue), flags)
    }

    /// The first mode that works, and why better ones do not.
    fn find_mode(&self) -> Result<Found, NicError> {
        let mut refusals = Vec::new();
        let fixed = self.umem.memory().zero_copy();
        for mode in self.config.mode.candidates() {
            if fixed.is_some_and(|zero_copy| zero_copy != (mode == Mode::ZeroCopy)) {
                refusals.push(Refusal {
                    mode,
                    step: "sharing the UMEM",
                    reason: "another NIC has it open in another mode".into(),
                });
                continue;
            }
            match self.try_mode(mode) {
                Ok((link, socket)) => {
                    return Ok(Found {
                        mode,
                        link,
                        socket,
                        refusals,
                    });
                }
                Err(Failed::Mode(refusal)) => refusals.push(refusal),
                Err(Failed::Hard(error)) => return Err(error.into()),
                Err(Failed::Gone) => return Err(NicError::Gone),
            }
        }
        let interface = self.config.interface.clone();
        Err(AfXdpError::NoMode {
            interface,
            refusals,
        }
        .into())
    }

    /// The sockets of the queues after the first.
    fn bind_rest(&self, queues: u16, mode: Mode) -> Result<Vec<(XskRx, XskTx)>, AfXdpError> {
        let bind = |queue| {
            self.bind(queue, mode).map_err(|source| {
                if is_busy(&source) {
                    return self.busy(queue);
                }
                AfXdpError::Queue {
                    interface: self.config.interface.clone(),
                    queue,
                    source,
                }
            })
        };
        (1..queues).map(bind).collect()
    }

    fn feed(&self, queue: u32, rx: XskRx, tx: XskTx) -> Result<Socket<XskRx, XskTx>, AfXdpError> {
        use crate::ring::RxQueue;
        // A kernel that has no such option sends 32 packets a call.
        let _ = tx.raise_budget();
        let program = self.program.clone();
        program
            .xsk_map()
            .insert(queue, rx.socket())
            .map_err(|error| AfXdpError::other("putting a socket into the XSKMAP", error))?;
        let unfeed = Box::new(move || {
            // An entry that is not there is as good as one that was removed.
            let _ = program.xsk_map().remove(queue);
        });
        Ok(Socket { rx, tx, unfeed })
    }
}

/// A mode that works.
struct Found {
    mode: Mode,
    link: Attached,
    socket: (XskRx, XskTx),
    refusals: Vec<Refusal>,
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

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

impl Kernel for Linux {
    type Rx = XskRx;
    type Tx = XskTx;

    fn name(&self) -> &str {
        &self.config.interface
    }

    fn memory(&self) -> Memory {
        let umem = &self.umem;
        Memory {
            pool: umem.pool().clone(),
            side: umem.side_pool().cloned(),
            layout: umem.layout(),
            ring: umem.ring(),
            chunk_room: umem.chunk_room() as usize,
            long_packet: umem.long_packet().map(|packet| packet as usize),
        }
    }

    fn facts(&self) -> Option<Facts> {
        let (link, queues, speed) = self.with_interface(|interface| {
            let link = interface.link().ok()?;
            let speed = interface.speed().ok()?;
            Some((link, interface.rx_queues().ok()?, speed))
        })?;
        let up = link.up && link.carrier;
        Some(Facts {
            mac: link.mac.unwrap_or(MacAddress([0; 6])),
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            queues: u16::try_from(queues).unwrap_or(u16::MAX),
            link: LinkState {
                up,
                speed_mbps: speed
                    .and_then(|speed| speed.mbps)
                    .filter(|_| up)
                    .unwrap_or(0),
                full_duplex: speed.is_some_and(|speed| speed.full_duplex),
            },
        })
    }

    fn open(&self, queues: u16) -> Result<Opened<XskRx, XskTx>, NicError> {
        let found = self.find_mode()?;
        let mut halves = vec![found.socket];
        halves.extend(self.bind_rest(queues, found.mode)?);
        let sockets: Result<Vec<_>, _> = (0..)
            .zip(halves)
            .map(|(queue, (rx, tx))| self.feed(queue, rx, tx))
            .collect();
        let opened = Opened {
            sockets: sockets?,
            mode: found.mode,
            rx_checksum: self
                .config
                .rx_checksum
                .unwrap_or_else(|| RxChecksum::for_driver(&self.driver)),
        };
        let mut state = self.state();
        state.link = Some(found.link);
        state.refusals = found.refusals;
        Ok(opened)
    }

    fn close(&self) {
        self.state().link = None;
    }

    fn watch_link(&self, changed: Box<dyn Fn() + Send + Sync>) -> Box<dyn Send + Sync> {
        match self.with_interface(|interface| LinkThread::start(interface, changed)) {
            Ok(thread) => Box::new(thread),
            // The watchdog looks every two seconds all the same.
            Err(_) => Box::new(()),
        }
    }
}

/// A thread that sleeps until the kernel tells of the link.
struct LinkThread {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl LinkThread {
    fn start(
        interface: &Interface,
        changed: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, NetlinkError> {
        let watch = interface.watch()?;
        let flags = EventfdFlags::CLOEXEC;
        let end = eventfd(0, flags).map_err(|error| NetlinkError::Socket(error.into()))?;
        let end = Arc::new(end);
        let ended = end.clone();
        let thread = std::thread::Builder::new()
            .name("softnet-link".to_owned())
            .spawn(move || watch_until(&watch, &ended, &*changed))
            .map_err(NetlinkError::Socket)?;
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

fn watch_until(watch: &LinkWatch, end: &OwnedFd, changed: &dyn Fn()) {
    loop {
        let mut fds = [
            PollFd::new(watch, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        let polled = rustix::event::poll(&mut fds, None);
        if !fds[1].revents().is_empty() {
            return;
        }
        match (polled, watch.events()) {
            (Ok(_), Ok(events)) if !events.is_empty() => changed(),
            (Ok(_), Ok(_)) | (Err(rustix::io::Errno::INTR), _) => {}
            // A watch that fails tells nothing more; the watchdog does.
            _ => return,
        }
    }
}

impl Drop for LinkThread {
    fn drop(&mut self) {
        // The counter of an eventfd that was never read has room.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}
