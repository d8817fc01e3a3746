//! A capture file as a wire.

use super::PcapError;
use super::reader::{Packet, PacketReader, Visit};
use crate::wake::Waiter;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When a packet of the file arrives.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// As soon as it is asked for.
    FullSpeed,
    /// With the recorded distances in time, divided by `speed`. A packet whose
    /// time lies before the first one's arrives at once.
    Recorded {
        /// 1.0 is the recorded speed, 2.0 twice as fast. Not positive: full
        /// speed.
        speed: f64,
    },
}

/// How a file is replayed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReplayConfig {
    /// When packets arrive.
    pub pace: Pace,
    /// How often the file is read from its start; 0 is taken for 1. Each time
    /// starts as soon as the one before has ended.
    pub loops: u64,
    /// Bytes of the longest frame, without FCS, that is passed on. Longer ones
    /// are counted.
    pub max_frame: usize,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            pace: Pace::FullSpeed,
            loops: 1,
            max_frame: 64 * 1024,
        }
    }
}

/// A wire on which the packets of a capture file arrive.
///
/// What is sent on it is counted and gone. After the last packet, or at the
/// point where the file is broken, it has carrier and stays silent;
/// [`is_finished`](Self::is_finished) and [`failure`](Self::failure) tell.
pub struct Replay {
    config: ReplayConfig,
    path: Option<PathBuf>,
    packets: PacketReader,
    loops_left: u64,
    schedule: Schedule,
    state: State,
    counts: Counts,
    waiter: Waiter,
}

#[derive(Debug)]
enum State {
    Running,
    Finished,
    Failed(PcapError),
}

/// Recorded time to the wire's time.
#[derive(Debug, Default)]
struct Schedule {
    /// Recorded time of the pass's first packet, and the time it arrived.
    start: Option<(u64, u64)>,
    /// When the packet that is waiting will arrive.
    next_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    rx_frames: u64,
    rx_truncated: u64,
    rx_too_long: u64,
    tx_discarded: u64,
    loops: u64,
}

impl Replay {
    /// Opens a file and looks at its start.
    ///
    /// # Errors
    /// The file cannot be read, is no capture, or is not of Ethernet. What is
    /// wrong further on shows when it is reached.
    pub fn open(path: impl AsRef<Path>, config: ReplayConfig) -> Result<Self, PcapError> {
        let path = path.as_ref();
        let packets = PacketReader::new(open_file(path)?)?;
        Self::start(packets, Some(path.to_owned()), config)
    }

    /// Reads a capture from `source`, once.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_reader(
        source: impl Read + Send + 'static,
        config: ReplayConfig,
    ) -> Result<Self, PcapError> {
        Self::start(PacketReader::new(source)?, None, config)
    }

    /// Whether no more packets will come, for whatever reason.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        !matches!(self.state, State::Running)
    }

    /// Why the file could not be read to its end.
    #[must_use]
    pub const fn failure(&self) -> Option<&PcapError> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    fn start(
        mut packets: PacketReader,
        path: Option<PathBuf>,
        config: ReplayConfig,
    ) -> Result<Self, PcapError> {
        let first = packets.visit_next(&mut |_| Visit::ComeBack)?;
        let state = first.map_or(State::Finished, |_| State::Running);
        Ok(Self {
            loops_left: config.loops.max(1) - 1,
            config,
            path,
            packets,
            schedule: Schedule::default(),
            state,
            counts: Counts::default(),
            waiter: Waiter::new(),
        })
    }

    /// Deals with one packet. Returns whether a frame was passed on, or `None`
    /// when nothing is due.
    fn step(&mut self, now_ns: u64, sink: &mut dyn FnMut(&[u8])) -> Option<bool> {
        let (schedule, counts, config) = (&mut self.schedule, &mut self.counts, &self.config);
        let mut passed = false;
        let visited = self.packets.visit_next(&mut |packet| {
            if !schedule.is_due(packet.time_ns, now_ns, config.pace) {
                return Visit::ComeBack;
            }
            passed = counts.pass(&packet, config.max_frame, sink);
            Visit::Taken
        });
        match visited {
            Ok(Some(Visit::Taken)) => Some(passed),
            Ok(Some(Visit::ComeBack)) => None,
            Ok(None) => self.next_loop().then_some(false),
            Err(error) => {
                self.state = State::Failed(error);
                None
            }
        }
    }

    /// Starts the next pass. False at the end of the last one.
    fn next_loop(&mut self) -> bool {
        self.schedule = Schedule::default();
        self.counts.loops += 1;
        let path = self.path.as_ref().filter(|_| self.loops_left > 0);
        let reopened = path.map(|path| open_file(path).and_then(PacketReader::new));
        match reopened {
            Some(Ok(packets)) => {
                self.packets = packets;
                self.loops_left -= 1;
                return true;
            }
            Some(Err(error)) => self.state = State::Failed(error),
            None => self.state = State::Finished,
        }
        false
    }
}

fn open_file(path: &Path) -> Result<File, PcapError> {
    File::open(path).map_err(|source| PcapError::Open {
        path: path.display().to_string(),
        source,
    })
}

impl Schedule {
    fn is_due(&mut self, recorded_ns: u64, now_ns: u64, pace: Pace) -> bool {
        let Pace::Recorded { speed } = pace else {
            return true;
        };
        let (recorded_start, start) = *self.start.get_or_insert((recorded_ns, now_ns));
        let distance = recorded_ns.saturating_sub(recorded_start) as f64 / speed;
        // A conversion from float saturates; a distance that is no number is 0.
        let due = start.saturating_add(distance as u64);
        let is_due = due <= now_ns || speed.is_nan() || speed <= 0.0;
        self.next_ns = (!is_due).then_some(due);
        is_due
    }
}

impl Counts {
    fn pass(&mut self, packet: &Packet<'_>, max: usize, sink: &mut dyn FnMut(&[u8])) -> bool {
        if packet.bytes.len() > max {
            self.rx_too_long += 1;
            return false;
        }
        self.rx_truncated += u64::from(packet.truncated);
        self.rx_frames += 1;
        sink(packet.bytes);
        true
    }
}

impl Wire for Replay {
    fn transmit(&mut self, _frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.counts.tx_discarded += 1;
        Ok(())
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut frames = 0;
        while frames < budget && !self.is_finished() {
            match self.step(now_ns, sink) {
                Some(passed) => frames += usize::from(passed),
                None => break,
            }
        }
        frames
    }

    /// 0, that is now, while packets come at full speed.
    fn next_event_ns(&self) -> Option<u64> {
        match self.state {
            State::Running => Some(self.schedule.next_ns.unwrap_or(0)),
            _ => None,
        }
    }

    /// Returns at once while a packet may be due.
    fn wait(&mut self, timeout_ns: Option<u64>) {
        if self.is_finished() || self.schedule.next_ns.is_some() {
            self.waiter.wait(timeout_ns);
        }
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        self.waiter.waker()
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        visit("replay_rx_frames", self.counts.rx_frames);
        visit("replay_rx_truncated", self.counts.rx_truncated);
        visit("replay_rx_too_long", self.counts.rx_too_long);
        visit("replay_loops", self.counts.loops);
        visit("replay_failures", u64::from(self.failure().is_some()));
        visit("replay_tx_discarded", self.counts.tx_discarded);
    }
}

impl core::fmt::Debug for Replay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Replay")
            .field("path", &self.path)
            .field("state", &self.state)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
