//! Reading a wire's counters while a device's thread owns the wire.

use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a reader waits for a thread that does not answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it looks whether the thread still lives.
const LOOK: Duration = Duration::from_millis(10);

type Counters = Vec<(&'static str, u64)>;

/// A wire that tells its counters to whoever asks its [`WireWatch`].
pub(super) struct WatchedWire {
    wire: Box<dyn Wire>,
    watch: Arc<WireWatch>,
}

/// The asking half.
pub(super) struct WireWatch {
    /// Somebody asks. It publishes nothing, so its order does not matter.
    asked: AtomicBool,
    answer: Mutex<Answer>,
    answered: Condvar,
    waker: Arc<dyn WireWaker>,
}

#[derive(Default)]
struct Answer {
    counters: Counters,
    count: u64,
}

impl WireWatch {
    pub(super) fn new(waker: Arc<dyn WireWaker>) -> Self {
        Self {
            asked: AtomicBool::new(false),
            answer: Mutex::default(),
            answered: Condvar::new(),
            waker,
        }
    }

    /// Ends the wait of whoever drives the wire.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// The last answer.
    pub(super) fn last(&self) -> Counters {
        self.answer().counters.clone()
    }

    /// Asks the thread that drives the wire, and waits for the answer until it
    /// has `finished` or is found not to answer: then the last answer has to do.
    pub(super) fn ask(&self, finished: impl Fn() -> bool) -> Counters {
        let mut answer = self.answer();
        let (before, deadline) = (answer.count, Instant::now() + PATIENCE);
        self.asked.store(true, Ordering::Relaxed);
        self.wake();
        while answer.count == before && !finished() && Instant::now() < deadline {
            let waited = self.answered.wait_timeout(answer, LOOK);
            answer = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        answer.counters.clone()
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchedWire {
    pub(super) fn new(wire: Box<dyn Wire>, watch: Arc<WireWatch>) -> Self {
        Self { wire, watch }
    }

    #[cold]
    fn tell(&self) {
        let mut counters = Counters::new();
        self.wire
            .counters(&mut |name, value| counters.push((name, value)));
        let mut answer = self.watch.answer();
        answer.counters = counters;
        answer.count += 1;
        self.watch.answered.notify_all();
    }
}

impl Wire for WatchedWire {
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError> {
        self.wire.transmit(frame, now_ns)
    }

    fn flush(&mut self, now_ns: u64) {
        self.wire.flush(now_ns);
    }

    /// Called in every step of a device, so this is where questions are heard.
    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        if self.watch.asked.load(Ordering::Relaxed) {
            self.watch.asked.store(false, Ordering::Relaxed);
            self.tell();
        }
        self.wire.receive(now_ns, budget, sink)
    }

    fn next_event_ns(&self) -> Option<u64> {
        self.wire.next_event_ns()
    }

    fn carrier(&self) -> bool {
        self.wire.carrier()
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.wire.wait(timeout_ns);
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        self.wire.waker()
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.wire.counters(visit);
    }
}

impl Drop for WatchedWire {
    /// The last word: whoever asks later still hears it.
    fn drop(&mut self) {
        self.tell();
    }
}
