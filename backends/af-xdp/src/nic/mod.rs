//! The NIC: an interface's queues by XDP sockets.

mod kernel;
mod linux;
mod opening;
mod stats;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod watchdog;

pub use kernel::{Facts, Kernel, Memory, Opened, OpenedOf, Socket};
pub(crate) use linux::Halves;
pub use linux::{AfXdpConfig, Linux};
pub(crate) use opening::{Attached, Binder, Found, Opening, STEPS};

use crate::events::{BusyPoll, Events, EventsError, QueueSource};
use crate::mode::Mode;
use crate::ring::cell::{Cell, RxHalf, TxHalf};
use crate::ring::{RxPolicy, RxQueue, RxRing, TxPolicy, TxRing};
use arc_swap::ArcSwapOption;
use softnet_dma_ring::Frame;
use softnet_nic_hal::{
    IrqHandler, NicCapabilities, NicError, NicHal, NicStats, OpenConfig, QueueId, QueuePair,
    Queues, RingLimits, WatchdogReport,
};
use stats::Totals;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use watchdog::Watch;

/// A NIC on an interface of this machine.
pub type AfXdpNic = Nic<Linux>;

/// Bytes of an Ethernet header and a VLAN tag.
const HEADER: usize = 14 + 4;
/// The shortest ring.
const MIN_RING: u16 = 8;

type CellOf<K> = Cell<<K as Kernel>::Rx, <K as Kernel>::Tx>;

/// A NIC on an interface of a [`Kernel`].
pub struct Nic<K: Kernel> {
    kernel: K,
    memory: Memory,
    events: Arc<Events>,
    busy_poll: Option<BusyPoll>,
    /// The open queues, for the packet path.
    queues: ArcSwapOption<Vec<Arc<CellOf<K>>>>,
    state: Mutex<State>,
    /// Times that the handler was told of the link.
    link_changes: Arc<AtomicU64>,
    /// As the interface was when it was last seen.
    facts: Mutex<Facts>,
}

/// What the control plane knows.
#[derive(Default)]
struct State {
    session: Option<Session>,
    totals: Totals,
    /// Frames that a device may still write to, until its queue is free again.
    quarantine: Vec<Frame>,
}

struct Session {
    mode: Mode,
    watch: Watch,
    /// Ends the watch over the link when it is dropped.
    _link: Box<dyn Send + Sync>,
}

impl<K: Kernel> Nic<K> {
    /// A NIC on `kernel`'s interface, whose queues interrupt by `events`.
    ///
    /// # Errors
    /// [`NicError::Gone`] when there is no such interface.
    pub fn with_kernel(
        kernel: K,
        events: Arc<Events>,
        busy_poll: Option<BusyPoll>,
    ) -> Result<Arc<Self>, NicError> {
        let facts = kernel.facts().ok_or(NicError::Gone)?;
        Ok(Arc::new(Self {
            memory: kernel.memory(),
            kernel,
            events,
            busy_poll,
            queues: ArcSwapOption::empty(),
            state: Mutex::default(),
            link_changes: Arc::default(),
            facts: Mutex::new(facts),
        }))
    }

    /// The interface.
    #[must_use]
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The mode in which the NIC is open.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.state().session.as_ref().map(|session| session.mode)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the interface is like; what it was like when it is gone.
    fn facts(&self) -> Facts {
        let mut last = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = self.kernel.facts() {
            *last = now;
        }
        last.clone()
    }

    fn with_queue(&self, queue: QueueId, act: impl FnOnce(&CellOf<K>)) {
        let queues = self.queues.load();
        if let Some(cell) = queues
            .as_ref()
            .and_then(|all| all.get(usize::from(queue.0)))
        {
            act(cell);
        }
    }

    /// The longest packet that can be received and sent, in bytes.
    fn longest(&self) -> usize {
        self.memory.long_packet.unwrap_or(self.memory.chunk_room)
    }

    fn describe(&self, facts: &Facts) -> NicCapabilities {
        let ring = RingLimits {
            min: MIN_RING,
            max: self.memory.ring,
            step: 1,
        };
        let room = self.longest().saturating_sub(HEADER);
        let mut described = NicCapabilities::basic("af-xdp", facts.mac, ring);
        described.max_mtu = facts.mtu.min(u16::try_from(room).unwrap_or(u16::MAX));
        described.max_queues = facts.queues;
        described.tx_checksum = self.kernel.tx_offload(None).checksum;
        described.rss = facts.queues > 1;
        described
    }

    fn check(&self, config: &OpenConfig, facts: &Facts) -> Result<(), NicError> {
        let packet = usize::from(config.mtu) + HEADER;
        let buffer = packet.min(self.memory.chunk_room);
        config.check(&self.describe(facts), buffer)?;
        if !config.pool.region().same_as(self.memory.pool.region()) {
            return Err(NicError::ForeignPool);
        }
        Ok(())
    }

    /// The rings of one socket, and its interrupt.
    fn queue(
        &self,
        id: QueueId,
        socket: Socket<K::Rx, K::Tx>,
        config: &OpenConfig,
        opened: &Shape,
        irq: &Arc<dyn IrqHandler>,
    ) -> Result<(Arc<CellOf<K>>, PairOf<K>), EventsError> {
        let layout = self.memory.layout;
        let fd = socket.rx.socket().try_clone_to_owned();
        let fd = fd.map_err(EventsError::Descriptor)?;
        let view = socket.rx.view().map_err(EventsError::Descriptor)?;
        let cell = Arc::new(Cell::new(
            id,
            opened.mode,
            view,
            RxHalf::new(socket.rx, layout),
            TxHalf::new(socket.tx, layout),
            socket.unfeed,
        ));
        self.attach(id, fd.as_fd(), &cell, irq)?;
        let rx = RxRing::new(cell.clone(), layout, opened.rx.clone(), config.rx_ring);
        let tx = TxRing::new(cell.clone(), layout, opened.tx.clone(), config.tx_ring);
        Ok((cell, QueuePair { id, rx, tx }))
    }

    fn attach(
        &self,
        queue: QueueId,
        socket: BorrowedFd<'_>,
        cell: &Arc<CellOf<K>>,
        handler: &Arc<dyn IrqHandler>,
    ) -> Result<(), EventsError> {
        let name = format!("{}-{}", self.kernel.name(), queue.0);
        let closed = || EventsError::Descriptor(io::ErrorKind::NotConnected.into());
        let look = cell.watch().ok_or_else(closed)?;
        let interrupt = self.events.attach(QueueSource {
            queue,
            name: &name,
            socket,
            completions: Arc::new(look),
            handler: handler.clone(),
            busy_poll: self.busy_poll,
        })?;
        cell.attach(self.events.clone(), interrupt);
        Ok(())
    }

    fn shape(&self, config: &OpenConfig, opened: &OpenedOf<K>) -> Shape {
        let rx = RxPolicy {
            pool: self.memory.pool.clone(),
            side: self.memory.side.clone(),
            low: u32::from(config.rx_ring / 4).max(1),
            checksum: opened.rx_checksum,
        };
        let tx = TxPolicy {
            pool: self.memory.pool.clone(),
            max_packet: usize::from(config.mtu) + HEADER,
            multi_buffer: self.memory.long_packet.is_some(),
            offload: self.kernel.tx_offload(Some(opened.mode)),
        };
        let mode = opened.mode;
        Shape { mode, rx, tx }
    }

    fn watch_link(&self, irq: Arc<dyn IrqHandler>) -> Box<dyn Send + Sync> {
        let count = self.link_changes.clone();
        self.kernel.watch_link(Box::new(move || {
            irq.link_changed();
            count.fetch_add(1, Ordering::SeqCst);
        }))
    }

    /// Closes sockets, and takes down what feeds them.
    fn shut(&self, state: &mut State, cells: &[Arc<CellOf<K>>], mode: Mode) {
        for cell in cells {
            let frames = cell.close();
            state.totals.add(&cell.counts, cell.kernel_counters());
            if mode == Mode::ZeroCopy {
                // The driver stops its queue some time after the socket is closed.
                state.quarantine.extend(frames);
            }
        }
        self.kernel.close();
    }
}

/// A queue pair of a kernel's NIC.
type PairOf<K> = QueuePair<
    RxRing<<K as Kernel>::Rx, <K as Kernel>::Tx>,
    TxRing<<K as Kernel>::Rx, <K as Kernel>::Tx>,
>;

/// What all rings of one opening have in common.
struct Shape {
    mode: Mode,
    rx: RxPolicy,
    tx: TxPolicy,
}

impl<K: Kernel> NicHal for Nic<K> {
    type Rx = RxRing<K::Rx, K::Tx>;
    type Tx = TxRing<K::Rx, K::Tx>;

    fn capabilities(&self) -> NicCapabilities {
        self.describe(&self.facts())
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let mut state = self.state();
        if state.session.is_some() {
            return Err(NicError::AlreadyOpen);
        }
        let facts = self.kernel.facts().ok_or(NicError::Gone)?;
        self.check(config, &facts)?;
        // Before the program is attached, for which some drivers take the link down and up.
        let link = self.watch_link(irq.clone());
        let opened = self.kernel.open(config.queues)?;
        // The kernel has given the queues anew, so the device had let go of them.
        state.quarantine.clear();
        let shape = self.shape(config, &opened);
        let mode = opened.mode;
        let (mut cells, mut pairs) = (Vec::new(), Vec::new());
        for (number, socket) in (0..).zip(opened.sockets) {
            match self.queue(QueueId(number), socket, config, &shape, &irq) {
                Ok((cell, pair)) => {
                    cells.push(cell);
                    pairs.push(pair);
                }
                Err(error) => {
                    self.shut(&mut state, &cells, mode);
                    return Err(NicError::Backend(Box::new(error)));
                }
            }
        }
        state.session = Some(Session {
            mode,
            watch: Watch::new(cells.len()),
            _link: link,
        });
        self.queues.store(Some(Arc::new(cells)));
        Ok(pairs)
    }

    fn stop(&self) -> Result<(), NicError> {
        let mut state = self.state();
        let session = state.session.take().ok_or(NicError::NotOpen)?;
        let mode = session.mode;
        drop(session);
        if let Some(cells) = self.queues.swap(None) {
            self.shut(&mut state, &cells, mode);
        }
        Ok(())
    }

    #[inline]
    fn mask_irq(&self, queue: QueueId) {
        self.with_queue(queue, |cell| {
            if let Some(irq) = cell.irq() {
                irq.mask();
            }
        });
    }

    #[inline]
    fn unmask_irq(&self, queue: QueueId) {
        self.with_queue(queue, |cell| cell.unmask());
    }

    fn stats(&self, out: &mut NicStats) {
        self.totals().fill(out);
    }

    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.totals().visit(visit);
        visit("link_changes", self.link_changes.load(Ordering::SeqCst));
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        self.watch(now_ns)
    }
}

impl<K: Kernel> Drop for Nic<K> {
    fn drop(&mut self) {
        // Not open is as good as stopped.
        let _ = self.stop();
    }
}

impl<K: Kernel> fmt::Debug for Nic<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic")
            .field("kernel", &self.kernel)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
