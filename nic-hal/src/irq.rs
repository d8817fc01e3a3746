//! The machine's table of interrupt lines.
//!
//! A bus raises a line, and the table calls the handler that a driver installed
//! on it: on the raising thread, without a lock and without an allocation. (The
//! first delivery on a thread sets up that thread's slot for reading handlers;
//! no later one allocates.)
//!
//! A line has one handler, or several that share it, as the pins of PCI functions
//! do: then all are called, and those whose device raised nothing say so. A handler
//! is never run twice at once: a delivery that comes while it runs makes it run once
//! more.
//!
//! A handler's word of state holds whether it is installed, and how many
//! calls of it are running. [`IrqTable::free`] first takes the flag away, so that no
//! further call begins, and then waits until the running ones have ended:
//! Linux's `synchronize_irq`. The calls' module has the protocol and its models.
//!
//! A line that screams, and whose handler has nothing to do each time, is switched
//! off, as Linux does when "nobody cared".
#![cfg(feature = "std")]

use crate::bus::VectorHandler;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use line::{Action, Line};

mod calls;
mod line;
mod signals;
mod snapshot;

pub use signals::Signals;
pub use snapshot::{IrqLine, IrqSnapshot};

/// The number of an interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(pub u32);

/// One of the handlers that share a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActionId(u64);

/// Why the table refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IrqError {
    /// All lines are in use.
    #[error("the machine has only {0} interrupt lines")]
    NoFreeLine(usize),
    /// The line was never allocated, or was given back.
    #[error("interrupt line {} does not exist", .0.0)]
    NoSuchLine(Irq),
    /// The line has a handler already, which does not share it, or is not to be
    /// shared with.
    #[error("interrupt line {} has a handler already", .0.0)]
    Busy(Irq),
}

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The handler has dealt with it.
    Handled,
    /// The handler had nothing to do: a spurious interrupt.
    Unhandled,
    /// No handler is installed, or all keep the line masked, or it was switched off,
    /// as nobody cared about it. Nothing is counted.
    Masked,
}

/// Interrupt lines, their handlers, and what they counted on each CPU.
pub struct IrqTable {
    cpus: usize,
    lines: Box<[Line]>,
    /// The next [`ActionId`].
    next: AtomicU64,
}

impl IrqTable {
    /// Lines of a table that was made with [`new`](Self::new).
    pub const LINES: usize = 256;

    /// A table for a machine with `cpus` CPUs (at least one).
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        Self::with_lines(cpus, Self::LINES)
    }

    /// A table with `lines` lines.
    #[must_use]
    pub fn with_lines(cpus: usize, lines: usize) -> Self {
        let cpus = cpus.max(1);
        Self {
            cpus,
            lines: (0..lines).map(|_| Line::new(cpus)).collect(),
            next: AtomicU64::new(0),
        }
    }

    /// CPUs of the machine.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Takes the first unused line for `source`, which reports show: the kind of
    /// the interrupt and what raises it, like `PCI-INTx 0000:00:03.0`.
    ///
    /// # Errors
    /// [`IrqError::NoFreeLine`].
    pub fn allocate(&self, source: &str) -> Result<Irq, IrqError> {
        for (number, line) in self.lines.iter().enumerate() {
            let mut label = line.label();
            if label.source.is_none() {
                label.source = Some(source.into());
                line.cpu.store(0, Ordering::Relaxed);
                for count in &line.counts {
                    count.delivered.store(0, Ordering::Relaxed);
                    count.unhandled.store(0, Ordering::Relaxed);
                }
                return Ok(Irq(number as u32));
            }
        }
        Err(IrqError::NoFreeLine(self.lines.len()))
    }

    /// Gives a line back; frees its handlers first. Must not be called from one of
    /// them.
    pub fn release(&self, irq: Irq) {
        if let Some(line) = self.line(irq) {
            let mut label = line.label();
            line.remove(|_| true);
            label.source = None;
        }
    }

    /// Installs the only handler of a line. It may be called from now on, with
    /// `vector`. A `cpu` that the machine does not have becomes CPU 0.
    ///
    /// # Errors
    /// [`IrqError::NoSuchLine`] or [`IrqError::Busy`].
    pub fn request(
        &self,
        irq: Irq,
        vector: u16,
        name: &str,
        cpu: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), IrqError> {
        let action = self.action(vector, name, handler);
        self.install(irq, cpu, false, action)
    }

    /// Installs one of the handlers that share a line: Linux's `IRQF_SHARED`.
    /// Otherwise as [`request`](Self::request); the line interrupts the CPU that
    /// its first handler names.
    ///
    /// # Errors
    /// [`IrqError::NoSuchLine`] or [`IrqError::Busy`].
    pub fn request_shared(
        &self,
        irq: Irq,
        vector: u16,
        name: &str,
        cpu: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<ActionId, IrqError> {
        let action = self.action(vector, name, handler);
        let id = action.id;
        self.install(irq, cpu, true, action)?;
        Ok(id)
    }

    fn action(&self, vector: u16, name: &str, handler: Arc<dyn VectorHandler>) -> Action {
        let id = ActionId(self.next.fetch_add(1, Ordering::Relaxed));
        Action::new(id, vector, name, handler)
    }

    fn install(&self, irq: Irq, cpu: usize, shared: bool, action: Action) -> Result<(), IrqError> {
        let line = self.line(irq).ok_or(IrqError::NoSuchLine(irq))?;
        let mut label = line.label();
        if label.source.is_none() {
            return Err(IrqError::NoSuchLine(irq));
        }
        if line.actions().is_empty() {
            label.shared = shared;
            line.cpu.store(self.clamp(cpu), Ordering::Relaxed);
        } else if !(label.shared && shared) {
            return Err(IrqError::Busy(irq));
        }
        line.screams.forget();
        line.add(action);
        Ok(())
    }

    /// Removes all handlers of a line. When it returns, they are not running and
    /// will not be called again. Must not be called from one of them.
    pub fn free(&self, irq: Irq) {
        self.remove(irq, |_| true);
    }

    /// Removes one of the handlers that share a line, as [`free`](Self::free) does.
    /// No delivery to the others is missed meanwhile.
    pub fn free_shared(&self, irq: Irq, id: ActionId) {
        self.remove(irq, |action| action.id == id);
    }

    fn remove(&self, irq: Irq, which: impl Fn(&Action) -> bool) {
        if let Some(line) = self.line(irq) {
            // The lock keeps a request from installing the next handler while
            // this one is taken away.
            let _label = line.label();
            line.remove(which);
        }
    }

    /// Makes the line's interrupts count as those of another CPU (CPU 0 if the
    /// machine does not have it).
    ///
    /// # Errors
    /// [`IrqError::NoSuchLine`].
    pub fn set_affinity(&self, irq: Irq, cpu: usize) -> Result<(), IrqError> {
        let line = self.line(irq).ok_or(IrqError::NoSuchLine(irq))?;
        line.cpu.store(self.clamp(cpu), Ordering::Relaxed);
        Ok(())
    }

    /// The CPU that the line interrupts.
    #[must_use]
    pub fn affinity(&self, irq: Irq) -> Option<usize> {
        Some(self.line(irq)?.cpu.load(Ordering::Relaxed))
    }

    /// Calls the line's handlers on this thread. Takes no lock and allocates
    /// nothing.
    pub fn deliver(&self, irq: Irq) -> Delivery {
        let Some(line) = self.line(irq).filter(|line| !line.screams.is_off()) else {
            return Delivery::Masked;
        };
        let count = line.counts.get(line.cpu.load(Ordering::Relaxed));
        let outcome = line.run();
        if outcome == Delivery::Masked {
            return outcome;
        }
        let unhandled = outcome == Delivery::Unhandled;
        line.screams.note(unhandled);
        if let Some(count) = count {
            count.delivered.fetch_add(1, Ordering::Relaxed);
            count
                .unhandled
                .fetch_add(unhandled.into(), Ordering::Relaxed);
        }
        outcome
    }

    /// Whether the line has a handler.
    #[must_use]
    pub fn is_requested(&self, irq: Irq) -> bool {
        self.line(irq)
            .is_some_and(|line| !line.actions().is_empty())
    }

    /// The counters of all lines that exist.
    #[must_use]
    pub fn snapshot(&self) -> IrqSnapshot {
        let lines = self.lines.iter().enumerate();
        IrqSnapshot {
            cpus: self.cpus,
            lines: lines
                .filter_map(|(number, line)| snapshot::row(number, line))
                .collect(),
        }
    }

    fn line(&self, irq: Irq) -> Option<&Line> {
        self.lines.get(irq.0 as usize)
    }

    fn clamp(&self, cpu: usize) -> usize {
        if cpu < self.cpus { cpu } else { 0 }
    }
}

impl fmt::Debug for IrqTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::line::WATCHED;
    use super::*;
    use crate::bus::IrqReturn;
    use core::sync::atomic::{AtomicBool, AtomicU32};
    use std::sync::OnceLock;

    struct Fixed(IrqReturn);

    impl VectorHandler for Fixed {
        fn interrupt(&self, _: u16) -> IrqReturn {
            self.0
        }
    }

    fn handled() -> Arc<dyn VectorHandler> {
        Arc::new(Fixed(IrqReturn::Handled))
    }

    #[test]
    fn a_line_counts_on_the_cpu_that_it_interrupts() {
        let table = IrqTable::new(2);
        let irq = table.allocate("PCI-INTx 0000:00:03.0").unwrap();
        table.request(irq, 0, "eth0", 1, handled()).unwrap();
        assert_eq!(table.deliver(irq), Delivery::Handled);
        assert_eq!(table.deliver(irq), Delivery::Handled);
        table.set_affinity(irq, 0).unwrap();
        table.deliver(irq);
        assert_eq!(table.snapshot().lines[0].delivered, [1, 2]);
        table.set_affinity(irq, 7).unwrap();
        assert_eq!(table.affinity(irq), Some(0), "there is no CPU 7");
    }

    #[test]
    fn a_line_that_its_handler_keeps_masked_counts_nothing() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        let masks = Arc::new(Fixed(IrqReturn::Masked));
        table.request_shared(irq, 0, "x", 0, masks).unwrap();
        assert_eq!(table.deliver(irq), Delivery::Masked);
        assert_eq!(table.snapshot().total(), 0);
        table.request_shared(irq, 0, "y", 0, handled()).unwrap();
        assert_eq!(table.deliver(irq), Delivery::Handled);
    }

    #[test]
    fn a_line_without_a_handler_is_masked_and_counts_nothing() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        assert_eq!(table.deliver(irq), Delivery::Masked);
        assert_eq!(table.deliver(Irq(9999)), Delivery::Masked);
        assert_eq!(table.snapshot().total(), 0);
    }

    #[test]
    fn a_line_has_one_handler_and_can_be_requested_again_after_free() {
        let table = IrqTable::with_lines(1, 1);
        let irq = table.allocate("x").unwrap();
        assert_eq!(table.allocate("y"), Err(IrqError::NoFreeLine(1)));
        assert!(!table.is_requested(irq));
        table.request(irq, 0, "a", 0, handled()).unwrap();
        let again = table.request(irq, 0, "b", 0, handled());
        assert_eq!(again, Err(IrqError::Busy(irq)));
        table.free(irq);
        table.request(irq, 0, "b", 0, handled()).unwrap();
        table.release(irq);
        let gone = table.request(irq, 0, "c", 0, handled());
        assert_eq!(gone, Err(IrqError::NoSuchLine(irq)));
        assert_eq!(table.allocate("z"), Ok(irq));
        assert_eq!(table.snapshot().total(), 0, "a new line counts from 0");
    }

    #[test]
    fn free_drops_the_handler() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        let handler = handled();
        table.request(irq, 0, "a", 0, Arc::clone(&handler)).unwrap();
        table.deliver(irq);
        table.free(irq);
        assert_eq!(Arc::strong_count(&handler), 1);
    }

    #[test]
    fn a_line_that_nobody_cares_about_is_switched_off_until_it_is_requested_anew() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        let deaf = Arc::new(Fixed(IrqReturn::None));
        table.request(irq, 0, "deaf", 0, deaf).unwrap();
        for _ in 0..WATCHED {
            assert_eq!(table.deliver(irq), Delivery::Unhandled);
        }
        assert_eq!(table.deliver(irq), Delivery::Masked);
        assert!(table.snapshot().lines[0].disabled);
        assert!(alloc::format!("{}", table.snapshot()).contains("deaf   disabled"));
        table.free(irq);
        table.request(irq, 0, "a", 0, handled()).unwrap();
        assert_eq!(table.deliver(irq), Delivery::Handled);
    }

    /// Answers to one in `0` deliveries.
    struct Now(u32, AtomicU32);

    impl VectorHandler for Now {
        fn interrupt(&self, _: u16) -> IrqReturn {
            let call = self.1.fetch_add(1, Ordering::Relaxed);
            if call.is_multiple_of(self.0) {
                IrqReturn::Handled
            } else {
                IrqReturn::None
            }
        }
    }

    #[test]
    fn a_line_whose_handler_has_something_to_do_now_and_then_stays_on() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        let now = Arc::new(Now(1000, AtomicU32::new(0)));
        table.request(irq, 0, "now and then", 0, now).unwrap();
        for _ in 0..3 * WATCHED {
            assert_ne!(table.deliver(irq), Delivery::Masked);
        }
    }

    /// A handler that stays inside until it is let out.
    #[derive(Default)]
    struct Gate {
        inside: AtomicBool,
        open: AtomicBool,
        left: AtomicBool,
    }

    impl VectorHandler for Gate {
        fn interrupt(&self, _: u16) -> IrqReturn {
            self.inside.store(true, Ordering::SeqCst);
            while !self.open.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            self.left.store(true, Ordering::SeqCst);
            IrqReturn::Handled
        }
    }

    #[test]
    fn free_waits_for_a_running_handler_and_none_runs_after() {
        for _ in 0..200 {
            let table = IrqTable::new(1);
            let irq = table.allocate("x").unwrap();
            let gate = Arc::new(Gate::default());
            table
                .request(irq, 0, "gate", 0, Arc::clone(&gate) as _)
                .unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| table.deliver(irq));
                while !gate.inside.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                let freed = scope.spawn(|| {
                    table.free(irq);
                    gate.left.load(Ordering::SeqCst)
                });
                // The free has begun when the line takes no further calls.
                while table.is_requested(irq) {
                    std::thread::yield_now();
                }
                assert_eq!(table.deliver(irq), Delivery::Masked);
                assert!(!freed.is_finished(), "the handler is still inside");
                gate.open.store(true, Ordering::SeqCst);
                assert!(freed.join().unwrap(), "the handler had left");
            });
        }
    }

    /// A device on a shared line, and what its handler has seen.
    #[derive(Default)]
    struct Device {
        raised: AtomicBool,
        calls: AtomicU32,
    }

    impl Device {
        fn calls(&self) -> u32 {
            self.calls.swap(0, Ordering::SeqCst)
        }
    }

    impl VectorHandler for Device {
        fn interrupt(&self, _: u16) -> IrqReturn {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if self.raised.swap(false, Ordering::SeqCst) {
                IrqReturn::Handled
            } else {
                IrqReturn::None
            }
        }
    }

    #[test]
    fn all_handlers_of_a_shared_line_are_called_and_one_answer_is_enough() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        let devices = [(); 3].map(|()| Arc::new(Device::default()));
        for device in &devices {
            let handler = Arc::clone(device) as _;
            table.request_shared(irq, 0, "eth", 0, handler).unwrap();
        }
        assert_eq!(table.deliver(irq), Delivery::Unhandled);
        devices[1].raised.store(true, Ordering::SeqCst);
        assert_eq!(table.deliver(irq), Delivery::Handled);
        assert_eq!(devices.map(|device| device.calls()), [2; 3]);
        let line = table.snapshot().lines.remove(0);
        assert_eq!(line.action.unwrap(), "eth, eth, eth");
        assert_eq!((line.delivered[0], line.unhandled[0]), (2, 1));
    }

    #[test]
    fn one_of_the_handlers_that_share_a_line_can_be_freed() {
        let table = IrqTable::new(2);
        let irq = table.allocate("x").unwrap();
        let devices = [(); 2].map(|()| Arc::new(Device::default()));
        let request = |device: &Arc<Device>, cpu| {
            let handler = Arc::clone(device) as _;
            table.request_shared(irq, 0, "eth", cpu, handler).unwrap()
        };
        let first = request(&devices[0], 1);
        let second = request(&devices[1], 0);
        assert_eq!(table.affinity(irq), Some(1), "the first one's");
        table.free_shared(irq, first);
        assert_eq!(Arc::strong_count(&devices[0]), 1);
        table.deliver(irq);
        assert_eq!(devices.each_ref().map(|device| device.calls()), [0, 1]);
        table.free_shared(irq, first);
        assert!(table.is_requested(irq), "the other one is still there");
        table.free_shared(irq, second);
        assert_eq!(table.deliver(irq), Delivery::Masked);
    }

    #[test]
    fn a_line_is_shared_only_by_handlers_that_agree_to_it() {
        let table = IrqTable::new(1);
        let irq = table.allocate("x").unwrap();
        table.request(irq, 0, "alone", 0, handled()).unwrap();
        let second = table.request_shared(irq, 0, "b", 0, handled());
        assert_eq!(second, Err(IrqError::Busy(irq)));
        table.free(irq);
        table.request_shared(irq, 0, "b", 0, handled()).unwrap();
        let second = table.request(irq, 0, "alone", 0, handled());
        assert_eq!(second, Err(IrqError::Busy(irq)));
    }

    /// Its line is raised again while it runs, some times.
    #[derive(Default)]
    struct Again {
        table: OnceLock<(Arc<IrqTable>, Irq)>,
        inside: AtomicBool,
        calls: AtomicU32,
    }

    impl VectorHandler for Again {
        fn interrupt(&self, _: u16) -> IrqReturn {
            assert!(!self.inside.swap(true, Ordering::SeqCst), "twice at once");
            let (table, irq) = self.table.get().unwrap();
            if self.calls.fetch_add(1, Ordering::SeqCst) < 3 {
                assert_eq!(table.deliver(*irq), Delivery::Handled);
            }
            self.inside.store(false, Ordering::SeqCst);
            IrqReturn::Handled
        }
    }

    #[test]
    fn a_delivery_while_the_handler_runs_makes_it_run_once_more() {
        let table = Arc::new(IrqTable::new(1));
        let irq = table.allocate("x").unwrap();
        let again = Arc::new(Again::default());
        assert!(again.table.set((Arc::clone(&table), irq)).is_ok());
        let handler = Arc::clone(&again) as _;
        table.request(irq, 0, "again", 0, handler).unwrap();
        table.deliver(irq);
        assert_eq!(again.calls.load(Ordering::SeqCst), 4);
        table.free(irq);
    }
}
