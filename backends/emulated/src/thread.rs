//! A thread that stands for the device's own parallelism.

use crate::model::DeviceModel;
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Where a device thread takes its time from: nanoseconds of the stack's clock.
pub type NowNs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A model and its wire.
type Driven = (Box<dyn DeviceModel>, Box<dyn Wire>);

/// Runs a [`DeviceModel`] against its wire, until it is stopped or the card is
/// unplugged. While there is nothing to do the thread waits in
/// [`Wire::wait`]; register writes wake it.
///
/// Interrupt handlers are called on this thread, and on the threads that write
/// the registers that unmask or raise an interrupt.
pub struct DeviceThread {
    stop: Arc<AtomicBool>,
    waker: Arc<dyn WireWaker>,
    thread: Option<JoinHandle<Driven>>,
}

impl DeviceThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it cannot start one.
    pub fn spawn(nic: Box<dyn DeviceModel>, wire: Box<dyn Wire>, now: NowNs) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let waker = wire.waker();
        nic.set_waker(Some(Arc::clone(&waker)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(nic.name().into())
            .spawn(move || run(nic, wire, &*now, &stopped))?;
        Ok(Self {
            stop,
            waker,
            thread: Some(thread),
        })
    }

    /// Ends the thread and gives back what it drove; `None` if it panicked (in a
    /// wire, or in an interrupt handler).
    pub fn stop(mut self) -> Option<(Box<dyn DeviceModel>, Box<dyn Wire>)> {
        self.join()
    }

    /// Whether the thread has ended by itself, since the card was unplugged.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(&mut self) -> Option<(Box<dyn DeviceModel>, Box<dyn Wire>)> {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
        let (nic, wire) = self.thread.take()?.join().ok()?;
        nic.set_waker(None);
        Some((nic, wire))
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(
    mut nic: Box<dyn DeviceModel>,
    mut wire: Box<dyn Wire>,
    now: &dyn Fn() -> u64,
    stop: &AtomicBool,
) -> Driven {
    while !stop.load(Ordering::SeqCst) && nic.is_present() {
        let step = nic.step(now(), &mut *wire);
        if step.worked() || step.again {
            continue;
        }
        nic.sleep(&mut || {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let due = step.next_event_ns.into_iter().chain(wire.next_event_ns());
            let timeout = due.min().map(|due| due.saturating_sub(now()));
            wire.wait(timeout);
        });
    }
    (nic, wire)
}
