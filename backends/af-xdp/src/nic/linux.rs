//! An interface of this machine: the program that feeds its sockets, the mode in which
//! it does, and what rtnetlink says.

use super::kernel::{Facts, Kernel, Memory, Opened, Socket};
use super::opening::{Attached, Binder, Found, Opening};
use crate::bpf::{Existing, MultiBuffer, Program, ProgramMaps, ProgramOptions, Steering};
use crate::error::{AfXdpError, Refusal};
use crate::events::{BusyPoll, Events};
use crate::handover::Granted;
use crate::maker::OwnMemory;
use crate::mode::{Mode, ModeChoice};
use crate::netlink::{Interface, LinkWatch, NetlinkError, XdpFeatures, XskFeatures};
use crate::nic::{AfXdpNic, Nic};
use crate::ring::{RxChecksum, RxQueue, TxOffload};
use crate::socket::{SocketRx, SocketTx};
use crate::umem::{Backing, TxMetadata, Umem};
use crate::xsk::XskMemory;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use softnet_nic_hal::{LinkState, MacAddress, NicError};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
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

/// An interface of this machine, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Linux {
    config: AfXdpConfig,
    index: u32,
    /// Netlink's connections are one thread's at a time.
    interface: Mutex<Interface>,
    driver: Driver,
    umem: Arc<Umem>,
    source: Arc<Source>,
    state: Mutex<State>,
}

/// What is known of the interface's driver.
#[derive(Debug)]
struct Driver {
    /// As `ethtool -i` shows it; empty when it does not tell.
    name: String,
    /// Whether it has zero-copy sockets.
    zero_copy: bool,
    /// What a sender may ask of it in zero-copy mode.
    features: XskFeatures,
}

impl Driver {
    fn of(interface: &Interface) -> Result<Self, NetlinkError> {
        let name = interface
            .driver()?
            .map_or_else(String::new, |info| info.name);
        let xdp = interface.xdp_device()?;
        let has = |feature| xdp.is_some_and(|device| device.features.contains(feature));
        Ok(Self {
            name,
            zero_copy: has(XdpFeatures::XSK_ZEROCOPY),
            features: xdp
                .and_then(|device| device.xsk)
                .unwrap_or(XskFeatures::empty()),
        })
    }

    /// What it does, or the kernel before it, in a UMEM with that room for metadata.
    fn offload(&self, mode: Mode, metadata: TxMetadata) -> TxOffload {
        let room = metadata != TxMetadata::Off;
        let (checksum, timestamp) = match mode {
            Mode::ZeroCopy => (
                self.features.contains(XskFeatures::TX_CHECKSUM),
                self.features.contains(XskFeatures::TX_TIMESTAMP),
            ),
            // The kernel stamps the packet that it has made of ours. It has not looked at
            // the packet's headers, which some drivers of real NICs need for a checksum;
            // those of virtual ones do not.
            Mode::Copy | Mode::Skb => (
                metadata == TxMetadata::SoftwareChecksum
                    || RxChecksum::for_driver(&self.name) == RxChecksum::AcceptPartial,
                true,
            ),
        };
        TxOffload {
            room,
            checksum: room && checksum,
            timestamp: room && timestamp,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    link: Option<Attached>,
    /// Modes that the last opening fell back from.
    refusals: Vec<Refusal>,
    /// What was known of the interface last.
    facts: Option<Facts>,
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
        let driver = Driver::of(&interface).map_err(failed)?;
        let queues = interface.link().map_err(failed)?.rx_queues.unwrap_or(1);
        let source = Source::new(&config, queues, &umem)?;
        source
            .maps()
            .update(&config.steering)
            .map_err(|error| AfXdpError::other("telling the XDP program what is ours", error))?;
        Ok(Self {
            driver,
            config,
            index: interface.index(),
            interface: Mutex::new(interface),
            umem,
            source: Arc::new(source),
            state: Mutex::default(),
        })
    }

    /// What the program knows and counts. Its steering can be changed at any time.
    #[must_use]
    pub fn program(&self) -> &ProgramMaps {
        self.source.maps()
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
        &self.driver.name
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

    /// Opens the queues, here or by the helper.
    fn find(&self, queues: u16) -> Result<Found<Halves>, NicError> {
        let multi_buffer = self.umem.is_multi_buffer();
        match &*self.source {
            Source::Xsk(memory, program) => {
                let binder = Xsk {
                    interface: &self.config.interface,
                    memory,
                    multi_buffer,
                };
                self.opening(program, binder).open(queues)
            }
            Source::Own(memory, program) => {
                let binder = memory.binder(self.index, multi_buffer);
                self.opening(program, binder).open(queues)
            }
            Source::Helper(granted) => granted.open(queues, self.config.mode),
        }
    }

    fn opening<'a, B>(&'a self, program: &'a Program, binder: B) -> Opening<'a, B> {
        Opening {
            interface: &self.config.interface,
            index: self.index,
            program,
            existing: self.config.existing,
            modes: self.config.mode,
            binder,
        }
    }

    /// The mode that an opening is likely to find.
    fn likely_mode(&self) -> Mode {
        match self.config.mode {
            ModeChoice::Only(mode) => mode,
            ModeChoice::Best if self.driver.zero_copy => Mode::ZeroCopy,
            ModeChoice::Best => Mode::Copy,
        }
    }

    fn feed(&self, queue: u32, (rx, tx): Halves) -> Result<Socket<SocketRx, SocketTx>, AfXdpError> {
        // A kernel that has no such option sends 32 packets a call.
        let _ = tx.raise_budget();
        let source = self.source.clone();
        source
            .maps()
            .xsk_map()
            .insert(queue, rx.socket())
            .map_err(|error| AfXdpError::other("putting a socket into the XSKMAP", error))?;
        let unfeed = Box::new(move || {
            // An entry that is not there is as good as one that was removed.
            let _ = source.maps().xsk_map().remove(queue);
        });
        Ok(Socket { rx, tx, unfeed })
    }
}

/// Whose sockets and program it works with.
#[derive(Debug)]
enum Source {
    /// This process makes them, by xsk-rs.
    Xsk(Arc<XskMemory>, Box<Program>),
    /// This process makes them, by itself.
    Own(Arc<OwnMemory>, Box<Program>),
    /// A helper does.
    Helper(Arc<Granted>),
}

impl Source {
    fn new(config: &AfXdpConfig, queues: u32, umem: &Umem) -> Result<Self, AfXdpError> {
        if let Backing::Helper(granted) = umem.backing() {
            granted.check(&config.interface)?;
            return Ok(Self::Helper(granted.clone()));
        }
        let options = ProgramOptions {
            queues,
            multi_buffer: MultiBuffer::of(umem.is_multi_buffer()),
            ..ProgramOptions::default()
        };
        let program = Program::load(&options)
            .map_err(|error| AfXdpError::other("loading the XDP program", error))?;
        let program = Box::new(program);
        Ok(match umem.backing() {
            Backing::Xsk(memory) => Self::Xsk(memory.clone(), program),
            Backing::Own(memory) => Self::Own(memory.clone(), program),
            Backing::Helper(granted) => Self::Helper(granted.clone()),
        })
    }

    fn maps(&self) -> &ProgramMaps {
        match self {
            Self::Xsk(_, program) | Self::Own(_, program) => program.maps(),
            Self::Helper(granted) => granted.maps(),
        }
    }
}

/// Makes sockets by xsk-rs.
struct Xsk<'a> {
    interface: &'a str,
    memory: &'a Arc<XskMemory>,
    multi_buffer: bool,
}

impl Binder for Xsk<'_> {
    type Socket = Halves;

    fn bind(&self, queue: u16, mode: Mode) -> io::Result<Halves> {
        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= match mode {
            Mode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            Mode::Copy | Mode::Skb => BindFlags::XDP_COPY,
        };
        if self.multi_buffer {
            flags |= BindFlags::XDP_USE_SG;
        }
        let queue = u32::from(queue);
        let (rx, tx) = self.memory.bind(self.interface, queue, flags)?;
        Ok((SocketRx::Own(rx), SocketTx::Own(tx)))
    }

    fn zero_copy(&self) -> Option<bool> {
        self.memory.zero_copy()
    }
}

/// A socket's rings.
pub(crate) type Halves = (SocketRx, SocketTx);

fn facts_of(interface: &Interface) -> Result<Facts, NetlinkError> {
    let (link, queues) = (interface.link()?, interface.rx_queues()?);
    let speed = interface.speed()?;
    let up = link.up && link.carrier;
    let mbps = speed.and_then(|speed| speed.mbps).filter(|_| up);
    Ok(Facts {
        mac: link.mac.unwrap_or(MacAddress([0; 6])),
        mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
        queues: u16::try_from(queues).unwrap_or(u16::MAX),
        link: LinkState {
            up,
            speed_mbps: mbps.unwrap_or(0),
            full_duplex: speed.is_some_and(|speed| speed.full_duplex),
        },
    })
}

impl Kernel for Linux {
    type Rx = SocketRx;
    type Tx = SocketTx;

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
        match self.with_interface(facts_of) {
            Ok(facts) => {
                self.state().facts = Some(facts.clone());
                Some(facts)
            }
            Err(NetlinkError::Missing(_)) => None,
            // A question that failed says nothing about the interface.
            Err(_) => self.state().facts.clone(),
        }
    }

    fn tx_offload(&self, mode: Option<Mode>) -> TxOffload {
        let mode = mode.unwrap_or_else(|| self.likely_mode());
        let metadata = self.umem.tx_metadata().unwrap_or(TxMetadata::Off);
        self.driver.offload(mode, metadata)
    }

    fn open(&self, queues: u16) -> Result<Opened<SocketRx, SocketTx>, NicError> {
        let found = self.find(queues)?;
        let sockets: Result<Vec<_>, _> = (0..)
            .zip(found.sockets)
            .map(|(queue, halves)| self.feed(queue, halves))
            .collect();
        let opened = Opened {
            sockets: sockets?,
            mode: found.mode,
            rx_checksum: self
                .config
                .rx_checksum
                .unwrap_or_else(|| RxChecksum::for_driver(&self.driver.name)),
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
