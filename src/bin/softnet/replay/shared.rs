//! The capture as a wire that the program keeps a handle to.

use softnet::nic_hal::wire::{Wire, WireError};
use softnet::wire::pcap::{PcapError, Replay, ReplayConfig};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A replay that waits until it is let go; clones are of the same one.
#[derive(Clone)]
pub(super) struct SharedReplay(Arc<Mutex<Inner>>);

struct Inner {
    replay: Replay,
    held: bool,
    offered: u64,
    /// Frames that are given at a time, at most.
    burst: usize,
}

impl SharedReplay {
    /// Opens a file.
    pub(super) fn open(file: &Path, burst: usize) -> Result<Self, PcapError> {
        let replay = Replay::open(file, ReplayConfig::default())?;
        Ok(Self(Arc::new(Mutex::new(Inner {
            replay,
            held: true,
            offered: 0,
            burst,
        }))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on packets come.
    pub(super) fn let_go(&self) {
        self.lock().held = false;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.lock().replay.is_finished()
    }

    /// Frames that were handed to the NIC, counted here.
    pub(super) fn offered(&self) -> u64 {
        self.lock().offered
    }

    /// Shows why the file could not be read to its end.
    pub(super) fn with_failure<R>(&self, show: impl FnOnce(Option<&PcapError>) -> R) -> R {
        show(self.lock().replay.failure())
    }
}

impl Wire for SharedReplay {
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError> {
        self.lock().replay.transmit(frame, now_ns)
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut inner = self.lock();
        let Inner {
            replay,
            held,
            offered,
            burst,
        } = &mut *inner;
        if *held {
            return 0;
        }
        replay.receive(now_ns, budget.min(*burst), &mut |frame| {
            *offered += 1;
            sink(frame);
        })
    }

    /// Nothing comes by itself while the packets are held back.
    fn next_event_ns(&self) -> Option<u64> {
        let inner = self.lock();
        inner.replay.next_event_ns().filter(|_| !inner.held)
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.lock().replay.counters(visit);
    }
}
