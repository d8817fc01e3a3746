//! The machine's table of interrupt lines.
//!
//! A bus raises a line, and the table calls the handler that a driver installed
//! on it: on the raising thread, without a lock and without an allocation. (The
//! first delivery on a thread sets up that thread's slot for reading handlers;
//! no later one allocates.)
//!
//! A line's word of state holds whether a handler is installed, and how many
//! calls of it are running. [`IrqTable::free`] first takes the flag away, so that no
//! further call begins, and then waits until the running ones have ended:
//! Linux's `synchronize_irq`. The calls' module has the protocol and its models.
//!
//! A line that screams, and whose handler has nothing to do each time, is switched
//! off, as Linux does when "nobody cared".
#![cfg(feature = "std")]

use crate::bus::{IrqReturn, VectorHandler};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arc_swap::ArcSwapOption;
use calls::Calls;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod calls;

/// The number of an interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(pub u32);

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
    /// The line has a handler already.
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
    /// No handler is installed, or the line was switched off, as nobody cared
    /// about it. Such a line is masked, and nothing is counted.
    Masked,
}

/// Interrupt lines, their handlers, and what they counted on each CPU.
pub struct IrqTable {
    cpus: usize,
    lines: Box<[Line]>,
}

struct Line {
    calls: Calls,
    screams: Screams,
    cpu: AtomicUsize,
    handler: ArcSwapOption<Action>,
    counts: Box<[Count]>,
    label: Mutex<Label>,
}

struct Action {
    vector: u16,
    handler: Arc<dyn VectorHandler>,
}

#[derive(Default)]
struct Count {
    delivered: AtomicU64,
    unhandled: AtomicU64,
}

#[derive(Default)]
struct Label {
    /// What raises the line; `None` while nobody has allocated it.
    source: Option<String>,
    /// The name under which the handler was installed.
    action: Option<String>,
}

impl Line {
    fn new(cpus: usize) -> Self {
        Self {
            calls: Calls::new(),
            screams: Screams::default(),
            cpu: AtomicUsize::new(0),
            handler: ArcSwapOption::empty(),
            counts: (0..cpus).map(|_| Count::default()).collect(),
            label: Mutex::default(),
        }
    }

    fn label(&self) -> MutexGuard<'_, Label> {
        self.label.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all calls of the handler, and removes it.
    fn quiet(&self) {
        self.calls.close();
        self.handler.store(None);
    }

    fn run(&self) -> Option<IrqReturn> {
        let _running = self.calls.begin()?;
        let action = self.handler.load();
        let action = action.as_ref()?;
        Some(action.handler.interrupt(action.vector))
    }
}

/// Of so many deliveries in a row to one line, so many without a handler that
/// had anything to do: then nobody cares, and the line is switched off. The
/// numbers are Linux's.
const WATCHED: u32 = 100_000;
const NOBODY_CARED: u32 = 99_900;

/// Watches for a line that screams and has no handler to quiet it.
#[derive(Default)]
struct Screams {
    deliveries: AtomicU32,
    unhandled: AtomicU32,
    off: AtomicBool,
}

impl Screams {
    fn note(&self, outcome: IrqReturn) {
        if outcome == IrqReturn::None {
            self.unhandled.fetch_add(1, Ordering::Relaxed);
        }
        if self.deliveries.fetch_add(1, Ordering::Relaxed) + 1 == WATCHED {
            self.deliveries.store(0, Ordering::Relaxed);
            if self.unhandled.swap(0, Ordering::Relaxed) > NOBODY_CARED {
                self.off.store(true, Ordering::Relaxed);
            }
        }
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    fn forget(&self) {
        self.deliveries.store(0, Ordering::Relaxed);
        self.unhandled.store(0, Ordering::Relaxed);
        self.off.store(false, Ordering::Relaxed);
    }
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

    /// Gives a line back; frees its handler first. Must not be called from it.
    pub fn release(&self, irq: Irq) {
        if let Some(line) = self.line(irq) {
            let mut label = line.label();
            line.quiet();
            *label = Label::default();
        }
    }

    /// Installs the handler of a line. It may be called from now on, with
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
        let line = self.line(irq).ok_or(IrqError::NoSuchLine(irq))?;
        let mut label = line.label();
        if label.source.is_none() {
            return Err(IrqError::NoSuchLine(irq));
        }
        if label.action.is_some() {
            return Err(IrqError::Busy(irq));
        }
        label.action = Some(name.into());
        line.cpu.store(self.clamp(cpu), Ordering::Relaxed);
        line.screams.forget();
        line.handler
            .store(Some(Arc::new(Action { vector, handler })));
        line.calls.open();
        Ok(())
    }

    /// Removes the handler of a line. When it returns, the handler is not
    /// running and will not be called again. Must not be called from it.
    pub fn free(&self, irq: Irq) {
        if let Some(line) = self.line(irq) {
            // The lock keeps a request from installing the next handler while
            // this one is taken away.
            let mut label = line.label();
            line.quiet();
            label.action = None;
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

    /// Calls the line's handler on this thread. Takes no lock and allocates
    /// nothing.
    pub fn deliver(&self, irq: Irq) -> Delivery {
        let Some(line) = self.line(irq) else {
            return Delivery::Masked;
        };
        if line.screams.is_off() {
            return Delivery::Masked;
        }
        let count = line.counts.get(line.cpu.load(Ordering::Relaxed));
        let Some(outcome) = line.run() else {
            return Delivery::Masked;
        };
        line.screams.note(outcome);
        if let Some(count) = count {
            count.delivered.fetch_add(1, Ordering::Relaxed);
        }
        match outcome {
            IrqReturn::Handled => Delivery::Handled,
            IrqReturn::None => {
                if let Some(count) = count {
                    count.unhandled.fetch_add(1, Ordering::Relaxed);
                }
                Delivery::Unhandled
            }
        }
    }

    /// Whether the line has a handler.
    #[must_use]
    pub fn is_requested(&self, irq: Irq) -> bool {
        self.line(irq).is_some_and(|line| line.calls.is_open())
    }

    /// The counters of all lines that exist.
    #[must_use]
    pub fn snapshot(&self) -> IrqSnapshot {
        let lines = self.lines.iter().enumerate();
        IrqSnapshot {
            cpus: self.cpus,
            lines: lines
                .filter_map(|(number, line)| row(number, line))
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

fn row(number: usize, line: &Line) -> Option<IrqLine> {
    let label = line.label();
    let counts = line.counts.iter();
    Some(IrqLine {
        irq: Irq(number as u32),
        source: label.source.clone()?,
        action: label.action.clone(),
        affinity: line.cpu.load(Ordering::Relaxed),
        disabled: line.screams.is_off(),
        delivered: counts
            .clone()
            .map(|c| c.delivered.load(Ordering::Relaxed))
            .collect(),
        unhandled: counts
            .map(|c| c.unhandled.load(Ordering::Relaxed))
            .collect(),
    })
}

impl fmt::Debug for IrqTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}

/// The counters of a table at one moment. It prints in the shape of
/// `/proc/interrupts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrqSnapshot {
    /// CPUs of the machine.
    pub cpus: usize,
    /// The lines that exist, by number.
    pub lines: Vec<IrqLine>,
}

/// One line's part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrqLine {
    /// Its number.
    pub irq: Irq,
    /// What raises it.
    pub source: String,
    /// The name of its handler, if there is one.
    pub action: Option<String>,
    /// The CPU that it interrupts.
    pub affinity: usize,
    /// Whether it was switched off, since it screamed and nobody cared: of
    /// 100,000 deliveries more than 99,900 were spurious. It is switched on again
    /// with its next handler.
    pub disabled: bool,
    /// Deliveries on each CPU.
    pub delivered: Vec<u64>,
    /// Of those, the spurious ones, in which the handler had nothing to do.
    pub unhandled: Vec<u64>,
}

impl IrqSnapshot {
    /// Deliveries of all lines on all CPUs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lines.iter().flat_map(|line| &line.delivered).sum()
    }

    /// Spurious interrupts of all lines on one CPU.
    fn unhandled_on(&self, cpu: usize) -> u64 {
        let counts = self.lines.iter().filter_map(|l| l.unhandled.get(cpu));
        counts.sum()
    }
}

impl fmt::Display for IrqSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "     ")?;
        for cpu in 0..self.cpus {
            let title = alloc::format!("CPU{cpu}");
            write!(f, "{title:>10} ")?;
        }
        writeln!(f)?;
        for line in &self.lines {
            write!(f, "{:>3}: ", line.irq.0)?;
            for count in &line.delivered {
                write!(f, "{count:>10} ")?;
            }
            let action = line.action.as_deref().unwrap_or("");
            let disabled = if line.disabled { "   disabled" } else { "" };
            writeln!(
                f,
                "{}{disabled}",
                alloc::format!("  {}   {action}", line.source).trim_end()
            )?;
        }
        write!(f, "SPU: ")?;
        for cpu in 0..self.cpus {
            write!(f, "{:>10} ", self.unhandled_on(cpu))?;
        }
        writeln!(f, "  Spurious interrupts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

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

    #[test]
    fn the_snapshot_prints_like_proc_interrupts() {
        let table = IrqTable::new(2);
        let first = table.allocate("PCI-INTx 0000:00:03.0").unwrap();
        table.allocate("PCI-INTx 0000:00:04.0").unwrap();
        let deaf = Arc::new(Fixed(IrqReturn::None));
        table.request(first, 0, "eth0", 1, deaf).unwrap();
        assert_eq!(table.deliver(first), Delivery::Unhandled);
        let lines: Vec<String> = alloc::format!("{}", table.snapshot())
            .lines()
            .map(String::from)
            .collect();
        assert_eq!(
            lines,
            [
                "           CPU0       CPU1 ",
                "  0:          0          1   PCI-INTx 0000:00:03.0   eth0",
                "  1:          0          0   PCI-INTx 0000:00:04.0",
                "SPU:          0          1   Spurious interrupts",
            ]
        );
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
}
