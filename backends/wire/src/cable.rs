//! A cable between two device models of one process.
//!
//! ```
//! use softnet_nic_hal::wire::Wire;
//! use softnet_wire::cable::{self, CableConfig};
//!
//! let (mut left, mut right) = cable::pair(&CableConfig::default());
//! left.transmit(b"an Ethernet frame", 0).unwrap();
//! left.flush(0);
//! let mut seen = Vec::new();
//! right.receive(0, 64, &mut |frame| seen.extend_from_slice(frame));
//! assert_eq!(seen, b"an Ethernet frame");
//! ```

use crate::wake::Waiter;
use parking::Unparker;
use softnet_dma_ring::spsc;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much a cable holds in each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CableConfig {
    /// Frames on their way in one direction before the next one is lost, as at
    /// a full switch port. Rounded up to a power of two.
    pub frames: usize,
    /// Bytes of the longest frame, without FCS.
    pub max_frame: usize,
}

impl Default for CableConfig {
    fn default() -> Self {
        Self {
            frames: 512,
            max_frame: 16 * 1024,
        }
    }
}

/// Makes a cable. Each end is plugged into one model.
///
/// All memory is allocated here: `2 * frames * max_frame` bytes, of which the
/// system gives only what frames have touched.
#[must_use]
pub fn pair(config: &CableConfig) -> (CableEnd, CableEnd) {
    let sides = Arc::new([Side::default(), Side::default()]);
    let waiters = [Waiter::new(), Waiter::new()];
    let unparkers = [waiters[0].unparker(), waiters[1].unparker()];
    let (to_right, from_left) = lane(config);
    let (to_left, from_right) = lane(config);
    let [left, right] = waiters;
    let plug = |me| CablePlug {
        sides: Arc::clone(&sides),
        me,
        unparkers: unparkers.clone(),
    };
    (
        CableEnd::new(plug(0), left, to_right, from_right),
        CableEnd::new(plug(1), right, to_left, from_left),
    )
}

/// One end of a cable.
///
/// Dropping it takes the carrier from the other end.
#[derive(Debug)]
pub struct CableEnd {
    plug: CablePlug,
    waiter: Waiter,
    out: Outgoing,
    inbound: Incoming,
    counts: Counts,
}

/// Plugs and unplugs one end of a cable, from any thread, while a model owns
/// the end.
#[derive(Debug, Clone)]
pub struct CablePlug {
    sides: Arc<[Side; 2]>,
    me: usize,
    unparkers: [Unparker; 2],
}

#[derive(Debug)]
struct Side {
    /// This end is plugged in. Nothing is published through it: a frame that
    /// crosses the change may go either way, as it may on copper.
    plugged: AtomicBool,
    /// Frames that were sent to this end and found no room.
    overruns: AtomicU64,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            plugged: AtomicBool::new(true),
            overruns: AtomicU64::new(0),
        }
    }
}

/// Frames travel to the other end in buffers that come back empty, so that
/// nothing is allocated for a frame. As many buffers exist as either ring has
/// slots, hence a push of a buffer always finds room.
#[derive(Debug)]
struct Outgoing {
    full: spsc::Producer<Vec<u8>>,
    empty: spsc::Consumer<Vec<u8>>,
    max_frame: usize,
    unannounced: bool,
}

#[derive(Debug)]
struct Incoming {
    full: spsc::Consumer<Vec<u8>>,
    empty: spsc::Producer<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Counts {
    tx_frames: u64,
    tx_no_carrier: u64,
    tx_too_long: u64,
    rx_frames: u64,
}

fn lane(config: &CableConfig) -> (Outgoing, Incoming) {
    let frames = config.frames.max(1).next_power_of_two();
    let (full_in, full_out) = spsc::channel(frames);
    let (mut empty_in, empty_out) = spsc::channel(frames);
    for _ in 0..frames {
        let buffer = Vec::with_capacity(config.max_frame);
        let pushed = empty_in.push(buffer);
        debug_assert!(pushed.is_ok(), "there are as many slots as buffers");
    }
    let out = Outgoing {
        full: full_in,
        empty: empty_out,
        max_frame: config.max_frame,
        unannounced: false,
    };
    let inbound = Incoming {
        full: full_out,
        empty: empty_in,
    };
    (out, inbound)
}

impl CablePlug {
    /// Plugs this end in, or pulls it out. Both ends see it, and a wait at
    /// either end returns.
    pub fn set_carrier(&self, plugged: bool) {
        self.sides[self.me]
            .plugged
            .store(plugged, Ordering::Relaxed);
        for unparker in &self.unparkers {
            unparker.unpark();
        }
    }

    /// Whether both ends are plugged in.
    #[must_use]
    pub fn carrier(&self) -> bool {
        self.sides
            .iter()
            .all(|side| side.plugged.load(Ordering::Relaxed))
    }

    const fn other(&self) -> usize {
        1 - self.me
    }
}

impl CableEnd {
    fn new(plug: CablePlug, waiter: Waiter, out: Outgoing, inbound: Incoming) -> Self {
        Self {
            plug,
            waiter,
            out,
            inbound,
            counts: Counts::default(),
        }
    }

    /// What plugs and unplugs this end from elsewhere.
    #[must_use]
    pub fn plug(&self) -> CablePlug {
        self.plug.clone()
    }

    /// Plugs this end in, or pulls it out.
    pub fn set_carrier(&self, plugged: bool) {
        self.plug.set_carrier(plugged);
    }

    /// Counts a frame that found no room, at the end that it was meant for.
    fn overrun(&self) -> WireError {
        let other = &self.plug.sides[self.plug.other()];
        other.overruns.fetch_add(1, Ordering::Relaxed);
        WireError::Congested
    }

    fn refuse(&mut self, len: usize) -> Option<WireError> {
        if !self.plug.carrier() {
            self.counts.tx_no_carrier += 1;
            return Some(WireError::NoCarrier);
        }
        let max = self.out.max_frame;
        if len > max {
            self.counts.tx_too_long += 1;
            return Some(WireError::TooLong { len, max });
        }
        None
    }
}

impl Outgoing {
    /// Copies the frame into an empty buffer and sends that on its way.
    fn send(&mut self, frame: &[u8]) -> bool {
        let Some(mut buffer) = self.empty.pop() else {
            return false;
        };
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.unannounced = true;
        self.full.push(buffer).is_ok()
    }
}

impl Wire for CableEnd {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        if let Some(error) = self.refuse(frame.len()) {
            return Err(error);
        }
        if !self.out.send(frame) {
            return Err(self.overrun());
        }
        self.counts.tx_frames += 1;
        Ok(())
    }

    /// Wakes the other end. What `transmit` has sent is there already.
    fn flush(&mut self, _now_ns: u64) {
        if core::mem::take(&mut self.out.unannounced) {
            self.plug.unparkers[self.plug.other()].unpark();
        }
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < budget {
            let Some(buffer) = self.inbound.full.pop() else {
                break;
            };
            sink(&buffer);
            let returned = self.inbound.empty.push(buffer);
            debug_assert!(returned.is_ok(), "there are as many slots as buffers");
            count += 1;
        }
        self.counts.rx_frames += count as u64;
        count
    }

    fn carrier(&self) -> bool {
        self.plug.carrier()
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        if self.inbound.full.is_empty() {
            self.waiter.wait(timeout_ns);
        }
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        self.waiter.waker()
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let overruns = |side: usize| self.plug.sides[side].overruns.load(Ordering::Relaxed);
        visit("cable_tx_frames", self.counts.tx_frames);
        visit("cable_tx_no_carrier", self.counts.tx_no_carrier);
        visit("cable_tx_too_long", self.counts.tx_too_long);
        visit("cable_tx_overruns", overruns(self.plug.other()));
        visit("cable_rx_frames", self.counts.rx_frames);
        visit("cable_rx_overruns", overruns(self.plug.me));
    }
}

impl Drop for CableEnd {
    fn drop(&mut self) {
        self.plug.set_carrier(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn small(frames: usize) -> (CableEnd, CableEnd) {
        pair(&CableConfig {
            frames,
            max_frame: 100,
        })
    }

    fn counter(end: &CableEnd, wanted: &str) -> u64 {
        let mut found = None;
        end.counters(&mut |name, value| {
            if name == wanted {
                found = Some(value);
            }
        });
        found.unwrap()
    }

    #[test]
    fn a_frame_that_finds_no_room_is_lost_and_counted_at_both_ends() {
        let (mut left, mut right) = small(2);
        assert_eq!(left.transmit(&[1], 0), Ok(()));
        assert_eq!(left.transmit(&[2], 0), Ok(()));
        assert_eq!(left.transmit(&[3], 0), Err(WireError::Congested));
        let mut seen = Vec::new();
        assert_eq!(right.receive(0, 9, &mut |frame| seen.push(frame[0])), 2);
        assert_eq!(seen, [1, 2]);
        assert_eq!(counter(&left, "cable_tx_overruns"), 1);
        assert_eq!(counter(&right, "cable_rx_overruns"), 1);
        assert_eq!(left.transmit(&[4], 0), Ok(()));
    }

    #[test]
    fn a_frame_longer_than_the_cable_takes_is_refused() {
        let (mut left, _right) = small(2);
        let error = WireError::TooLong { len: 101, max: 100 };
        assert_eq!(left.transmit(&[0; 101], 0), Err(error));
        assert_eq!(left.transmit(&[0; 100], 0), Ok(()));
    }

    #[test]
    fn either_end_takes_the_carrier_from_both() {
        let (mut left, right) = small(2);
        assert!(left.carrier() && right.carrier());
        right.plug().set_carrier(false);
        assert!(!left.carrier() && !right.carrier());
        assert_eq!(left.transmit(&[0], 0), Err(WireError::NoCarrier));
        right.set_carrier(true);
        assert!(left.carrier());
        drop(right);
        assert!(!left.carrier());
    }

    // Each of the three waits has no limit: without its wake-up the test would
    // never end.

    #[test]
    fn a_flushed_frame_ends_the_other_ends_wait() {
        let (mut left, mut right) = small(2);
        let thread = std::thread::spawn(move || {
            while right.receive(0, 1, &mut |_| {}) == 0 {
                right.wait(None);
            }
        });
        left.transmit(&[0], 0).unwrap();
        left.flush(0);
        thread.join().unwrap();
    }

    #[test]
    fn a_change_of_carrier_ends_the_other_ends_wait() {
        let (left, mut right) = small(2);
        let thread = std::thread::spawn(move || {
            while right.carrier() {
                right.wait(None);
            }
        });
        drop(left);
        thread.join().unwrap();
    }

    #[test]
    fn a_waker_used_before_the_wait_ends_it() {
        let (_left, mut right) = small(2);
        right.waker().wake();
        right.wait(None);
    }

    #[test]
    fn frames_keep_their_order_between_threads() {
        const FRAMES: u32 = 20_000;
        let (mut left, mut right) = small(16);
        let sender = std::thread::spawn(move || {
            let mut next = 0_u32;
            while next < FRAMES {
                match left.transmit(&next.to_be_bytes(), 0) {
                    Ok(()) => next += 1,
                    Err(_) => std::thread::yield_now(),
                }
                left.flush(0);
            }
            left
        });
        let mut expected = 0_u32;
        while expected < FRAMES {
            right.wait(None);
            right.receive(0, 64, &mut |frame| {
                assert_eq!(frame, expected.to_be_bytes());
                expected += 1;
            });
        }
        sender.join().unwrap();
    }

    proptest! {
        #[test]
        fn a_cable_is_a_bounded_queue(steps in proptest::collection::vec(0_u8..4, 0..300)) {
            let (mut left, mut right) = small(8);
            let mut model = VecDeque::new();
            let mut next = 0_u32;
            for step in steps {
                if step > 0 {
                    let sent = left.transmit(&next.to_be_bytes(), 0).is_ok();
                    prop_assert_eq!(sent, model.len() < 8);
                    if sent {
                        model.push_back(next);
                    }
                    next += 1;
                } else {
                    let mut seen = Vec::new();
                    right.receive(0, 3, &mut |frame| seen.push(frame.to_vec()));
                    let expected: Vec<_> = model.drain(..model.len().min(3)).collect();
                    prop_assert_eq!(seen.len(), expected.len());
                    for (frame, number) in seen.iter().zip(expected) {
                        prop_assert_eq!(&frame[..], &number.to_be_bytes()[..]);
                    }
                }
            }
        }
    }
}
