//! Batches of reads and writes, whichever way they are done.

use super::uring::UringBatch;
use super::{BATCH, TapConfig, TapError, TapIo, TapIoChoice};
use nix::errno::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// Results of one batch of reads, slot by slot.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) results: [i32; BATCH],
    pub(super) count: usize,
}

impl Completed {
    pub(super) const fn new() -> Self {
        Self {
            results: [0; BATCH],
            count: 0,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The length of the frame in a slot, or the kernel's answer.
    pub(super) fn result(&self, slot: usize) -> Result<usize, Errno> {
        let result = self.results[slot];
        usize::try_from(result).map_err(|_| Errno::from_raw(-result))
    }
}

/// Room for the frames of one batch.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) memory: Box<[u8]>,
    /// Bytes from one slot to the next: an odd number of cache lines, so that
    /// the first lines of the slots do not all fall into one cache set.
    pub(super) stride: usize,
    /// Bytes of a slot that are used: one more than the longest frame, so that
    /// a read tells a longer frame from a longest one.
    pub(super) room: usize,
    pub(super) lens: [usize; BATCH],
    pub(super) used: usize,
}

const CACHE_LINE: usize = 64;

impl Slots {
    pub(super) fn new(max_frame: usize) -> Self {
        let room = max_frame + 1;
        let lines = room.div_ceil(CACHE_LINE) | 1;
        let stride = lines * CACHE_LINE;
        Self {
            memory: vec![0; stride * BATCH].into_boxed_slice(),
            stride,
            room,
            lens: [0; BATCH],
            used: 0,
        }
    }

    pub(super) fn frame(&self, slot: usize, len: usize) -> &[u8] {
        let start = slot * self.stride;
        &self.memory[start..start + len.min(self.room)]
    }

    fn whole_mut(&mut self, slot: usize) -> &mut [u8] {
        let start = slot * self.stride;
        &mut self.memory[start..start + self.room]
    }

    /// Copies a frame into the next slot, of which there is one. Returns
    /// whether that was the last.
    pub(super) fn gather(&mut self, frame: &[u8]) -> bool {
        let slot = self.used;
        self.whole_mut(slot)[..frame.len()].copy_from_slice(frame);
        self.lens[slot] = frame.len();
        self.used += 1;
        self.used == BATCH
    }
}

/// How the batches are done.
#[derive(Debug)]
enum Engine {
    Uring(Box<UringBatch>),
    Plain(Box<PlainBatch>),
}

/// Batches of one system call for each frame.
#[derive(Debug)]
struct PlainBatch {
    rx: Slots,
    tx: Slots,
}

#[derive(Debug)]
pub(super) struct Batch {
    engine: Engine,
    refusal: Option<io::Error>,
    max_frame: usize,
    /// How many frames the next batch of reads asks for.
    ahead: usize,
}

impl Engine {
    fn plain(max_frame: usize) -> Self {
        Self::Plain(Box::new(PlainBatch {
            rx: Slots::new(max_frame),
            tx: Slots::new(max_frame),
        }))
    }
}

impl Batch {
    pub(super) fn new(device: &OwnedFd, config: &TapConfig) -> Result<Self, TapError> {
        let max_frame = config.max_frame;
        let (engine, refusal) = match config.io {
            TapIoChoice::Plain => (Engine::plain(max_frame), None),
            choice => match UringBatch::new(device, max_frame) {
                Ok(uring) => (Engine::Uring(Box::new(uring)), None),
                Err(error) if choice == TapIoChoice::Uring => return Err(TapError::NoUring(error)),
                Err(error) => (Engine::plain(max_frame), Some(error)),
            },
        };
        Ok(Self {
            engine,
            refusal,
            max_frame,
            ahead: 1,
        })
    }

    pub(super) const fn io(&self) -> TapIo {
        match self.engine {
            Engine::Uring(_) => TapIo::Uring,
            Engine::Plain(_) => TapIo::Plain,
        }
    }

    pub(super) fn refusal(&self) -> Option<&io::Error> {
        self.refusal.as_ref()
    }

    /// Takes a frame for the next write. Returns whether that must come now.
    pub(super) fn gather(&mut self, frame: &[u8]) -> bool {
        match &mut self.engine {
            Engine::Uring(uring) => uring.tx.gather(frame),
            Engine::Plain(plain) => plain.tx.gather(frame),
        }
    }

    /// Writes what has been gathered. Returns how many results there are.
    pub(super) fn write(&mut self, device: &OwnedFd, results: &mut [i32; BATCH]) -> usize {
        match &mut self.engine {
            Engine::Uring(uring) => match uring.write(results) {
                Ok(count) => count,
                Err((count, error)) => {
                    self.fall_back(error);
                    results[..count].fill(-libc::EIO);
                    count
                }
            },
            Engine::Plain(plain) => plain.write(device, results),
        }
    }

    /// Reads at most `budget` frames, and at most one batch.
    ///
    /// A batch of io_uring reads asks for as many frames as there were last
    /// time and one more, doubled while every read finds a frame: a read that
    /// finds none costs little, yet not nothing.
    pub(super) fn read(&mut self, device: &OwnedFd, budget: usize) -> Completed {
        let want = self.ahead.min(budget).min(BATCH);
        let mut completed = Completed::new();
        match &mut self.engine {
            Engine::Uring(uring) => {
                if let Err(error) = uring.read(want, &mut completed) {
                    self.fall_back(error);
                    completed.count = 0;
                }
            }
            Engine::Plain(plain) => plain.read(device, budget, &mut completed),
        }
        self.adapt(&completed, want);
        completed
    }

    pub(super) fn received(&self, slot: usize, len: usize) -> &[u8] {
        match &self.engine {
            Engine::Uring(uring) => uring.rx.frame(slot, len),
            Engine::Plain(plain) => plain.rx.frame(slot, len),
        }
    }

    fn adapt(&mut self, completed: &Completed, want: usize) {
        let results = &completed.results[..completed.count];
        let found = results.iter().filter(|&&result| result > 0).count();
        self.ahead = if found >= want {
            (self.ahead * 2).min(BATCH)
        } else {
            found + 1
        };
    }

    /// A ring that fails is not tried again.
    fn fall_back(&mut self, error: io::Error) {
        self.refusal = Some(error);
        self.engine = Engine::plain(self.max_frame);
    }
}

impl PlainBatch {
    fn write(&mut self, device: &OwnedFd, results: &mut [i32; BATCH]) -> usize {
        let count = core::mem::take(&mut self.tx.used);
        for (slot, result) in results.iter_mut().enumerate().take(count) {
            let frame = self.tx.frame(slot, self.tx.lens[slot]);
            *result = as_result(nix::unistd::write(device, frame));
        }
        count
    }

    fn read(&mut self, device: &OwnedFd, budget: usize, completed: &mut Completed) {
        while completed.count < budget.min(BATCH) {
            let slot = completed.count;
            let read = nix::unistd::read(device, self.rx.whole_mut(slot));
            completed.results[slot] = as_result(read);
            completed.count += 1;
            if read.is_err() {
                break;
            }
        }
    }
}

fn as_result(result: nix::Result<usize>) -> i32 {
    match result {
        Ok(len) => i32::try_from(len).unwrap_or(i32::MAX),
        Err(errno) => -(errno as i32),
    }
}
