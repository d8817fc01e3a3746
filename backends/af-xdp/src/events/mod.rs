//! Interrupts: the readiness of a queue's socket, and where a CPU waits for it.
//!
//! The kernel interrupts nobody here: it writes to the rings, and makes the
//! socket ready. So a CPU fetches its interrupts itself. [`EventLoop::poll`] looks
//! into the rings of the CPU's unmasked queues, without a system call, and calls
//! the handlers of those that have something. [`EventLoop::wait`] sleeps in one
//! system call until one of the sockets is ready, the time is up, or an
//! [`EventWaker`] is used.
//!
//! A NIC [attaches](Events::attach) a queue when it is opened, and has in the
//! [`QueueIrq`] what `mask_irq` and `unmask_irq` are made of. Masks and unmasks
//! cost no system call while the CPU is awake: only a CPU that goes to sleep
//! tells the kernel, and only what has changed since its last sleep; and one that
//! sends much has the kernel forget the socket until then.
//!
//! The system call is epoll's. io_uring was tried for the same (multishot polls, with
//! and without deferred task work): a wake-up takes as long, and a wait that finds
//! something at once takes longer.

mod busy_poll;
mod cpu;
mod queue;
#[cfg(test)]
mod tests;
mod watch;

pub use busy_poll::BusyPoll;
pub use cpu::{EventLoop, EventWaker};
pub use queue::{Completions, QueueIrq, QueueSource};

use cpu::CpuEvents;
use rustix::event::{PollFd, PollFlags, Timespec};
use softnet_nic_hal::irq::{IrqError, IrqTable};
use std::io;
use std::sync::Arc;

/// Why a CPU cannot get events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The kernel gave no descriptor.
    #[error("no descriptor to wait with: {0}")]
    Descriptor(#[source] io::Error),
    /// The kernel does not wait for this socket.
    #[error("the socket cannot be waited for: {0}")]
    Watch(#[source] io::Error),
    /// The kernel does not poll for this socket as it was asked to.
    #[error("the kernel refuses busy polling ({0}): it needs CAP_NET_ADMIN, and Linux 5.11")]
    BusyPoll(#[source] io::Error),
    /// There is no interrupt line for the queue.
    #[error(transparent)]
    Irq(#[from] IrqError),
}

/// The event loops of all CPUs, for the NICs that interrupt them.
pub struct Events {
    cpus: Box<[Arc<CpuEvents>]>,
    irqs: Arc<IrqTable>,
}

impl Events {
    /// A place for each CPU of the machine whose interrupt lines `irqs` are.
    ///
    /// # Errors
    /// [`EventsError::Descriptor`].
    pub fn new(irqs: Arc<IrqTable>) -> Result<Arc<Self>, EventsError> {
        let cpus: Result<_, _> = (0..irqs.cpus()).map(|_| CpuEvents::new()).collect();
        Ok(Arc::new(Self { cpus: cpus?, irqs }))
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// The table in which interrupts are counted.
    #[must_use]
    pub fn irqs(&self) -> &Arc<IrqTable> {
        &self.irqs
    }

    /// The loop of a CPU; a number too high names the last one. Each CPU is to
    /// have one.
    #[must_use]
    pub fn event_loop(&self, cpu: usize) -> EventLoop {
        let cpu = cpu.min(self.cpus.len() - 1);
        EventLoop::new(self.cpus[cpu].clone())
    }

    /// Gives a queue its interrupt, masked: that of the CPU whose number is the
    /// queue's, modulo the number of CPUs.
    ///
    /// # Errors
    /// [`EventsError`]; nothing is attached then.
    pub fn attach(&self, source: QueueSource<'_>) -> Result<Arc<QueueIrq>, EventsError> {
        let cpu = usize::from(source.queue.0) % self.cpus.len();
        let irq = QueueIrq::new(source, cpu, self)?;
        self.cpus[cpu].add(&irq)?;
        Ok(irq)
    }

    /// Takes a queue's interrupt away. When this returns, its handler is not
    /// running and will not be called, and nothing is held of what was attached,
    /// the duplicate of the socket included. Not to be called from the handler.
    pub fn detach(&self, irq: &Arc<QueueIrq>) {
        self.irqs.release(irq.line());
        self.cpus[irq.cpu()].remove(irq);
        irq.let_go();
    }

    /// Whether the kernel polls the device of a queue for which it was asked to: it
    /// has seen a packet, and knows which NAPI instance brought it.
    #[must_use]
    pub fn is_busy_polled(&self) -> bool {
        self.cpus.iter().any(|cpu| cpu.is_busy_polled())
    }

    /// Waits for the events of all CPUs on one thread, which runs them all; see
    /// [`EventLoop::wait`].
    pub fn wait(&self, timeout_ns: Option<u64>) {
        let quiet = self.cpus.iter().all(|cpu| cpu.arm_all());
        if quiet {
            let mut fds: Vec<_> = self
                .cpus
                .iter()
                .map(|cpu| PollFd::new(cpu.epoll(), PollFlags::IN))
                .collect();
            // A signal ends the wait early, as a wait may.
            let _ = rustix::event::poll(&mut fds, timeout_ns.map(timespec).as_ref());
        }
        self.cpus.iter().for_each(|cpu| cpu.awake());
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("cpus", &self.cpus.len())
            .finish_non_exhaustive()
    }
}

/// A time of the kernel's interface, of so many nanoseconds.
fn timespec(ns: u64) -> Timespec {
    const SECOND: u64 = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(ns / SECOND).unwrap_or(i64::MAX),
        tv_nsec: (ns % SECOND) as _,
    }
}
