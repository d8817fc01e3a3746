//! Recording what passes a wire.

use crate::pcap::{Capture, Direction};
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::io::Write;
use std::sync::Arc;

/// A wire that also writes every frame to a capture file.
///
/// Frames that the wire behind it refused are not in the file. A file that
/// cannot be written does not stop the wire: what is missing is counted.
#[derive(Debug)]
pub struct Recorder<W, F: Write> {
    wire: W,
    capture: Capture<F>,
    errors: u64,
}

impl<W: Wire, F: Write + Send> Recorder<W, F> {
    /// Records `wire` into `capture`.
    pub const fn new(wire: W, capture: Capture<F>) -> Self {
        Self {
            wire,
            capture,
            errors: 0,
        }
    }

    /// Gives back the wire and the file.
    pub fn into_parts(self) -> (W, Capture<F>) {
        (self.wire, self.capture)
    }

    /// The wire that is recorded.
    pub const fn wire(&self) -> &W {
        &self.wire
    }
}

impl<W: Wire, F: Write + Send> Wire for Recorder<W, F> {
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError> {
        self.wire.transmit(frame, now_ns)?;
        let written = self.capture.write(Direction::Outbound, now_ns, frame);
        self.errors += u64::from(written.is_err());
        Ok(())
    }

    fn flush(&mut self, now_ns: u64) {
        self.wire.flush(now_ns);
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let (capture, errors) = (&mut self.capture, &mut self.errors);
        self.wire.receive(now_ns, budget, &mut |frame| {
            let written = capture.write(Direction::Inbound, now_ns, frame);
            *errors += u64::from(written.is_err());
            sink(frame);
        })
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
        visit("recorder_frames", self.capture.frames());
        visit("recorder_truncated", self.capture.truncated());
        visit("recorder_errors", self.errors);
        self.wire.counters(visit);
    }
}
