//! Batches through io_uring.
//!
//! The kernel may touch a buffer from the moment its request is submitted until
//! its completion has been reaped. Here both happen within one call: [`run`]
//! does not return success before it has reaped as many completions as it has
//! pushed requests, and the buffers belong to the same value as the ring, so
//! nothing can move or free them in between. Every request carries RWF_NOWAIT, so
//! that it ends while it is submitted: O_NONBLOCK would not do, since io_uring
//! waits all the same for a file that knows RWF_NOWAIT. Should the kernel refuse to go on in
//! the middle of a batch, the value is marked, is not used again, and leaks its
//! buffers when dropped.
//!
//! [`run`]: UringBatch::run

use super::BATCH;
use super::batch::{Completed, Slots};
use io_uring::{IoUring, opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The only registered file: the TAP device.
const DEVICE: types::Fixed = types::Fixed(0);

pub(super) struct UringBatch {
    ring: IoUring,
    pub(super) rx: Slots,
    pub(super) tx: Slots,
    /// Requests whose completions have not been reaped. It is not zero only
    /// within `run`, and for ever after a run that failed.
    in_flight: usize,
}

impl UringBatch {
    pub(super) fn new(device: &OwnedFd, max_frame: usize) -> io::Result<Self> {
        let ring = IoUring::new(BATCH as u32)?;
        ring.submitter().register_files(&[device.as_raw_fd()])?;
        let mut batch = Self {
            ring,
            rx: Slots::new(max_frame),
            tx: Slots::new(max_frame),
            in_flight: 0,
        };
        batch.probe()?;
        Ok(batch)
    }

    /// Asks whether the driver knows RWF_NOWAIT, by a read of no bytes, which
    /// takes no frame out of the queue.
    fn probe(&mut self) -> io::Result<()> {
        let base: *mut u8 = self.rx.memory.as_mut_ptr();
        let mut results = [0; BATCH];
        self.run(1, |_| read_entry(base, 0), &mut results)?;
        match results[0] {
            0.. => Ok(()),
            error if error == -libc::EAGAIN => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    /// Writes what has been gathered, in order. An error tells how many frames
    /// are lost with it.
    pub(super) fn write(
        &mut self,
        results: &mut [i32; BATCH],
    ) -> Result<usize, (usize, io::Error)> {
        let count = core::mem::take(&mut self.tx.used);
        if count == 0 {
            return Ok(0);
        }
        let lens = self.tx.lens;
        let base: *const u8 = self.tx.memory.as_ptr();
        let stride = self.tx.stride;
        let entry = |slot: usize| {
            let len = lens[slot] as u32;
            opcode::Write::new(DEVICE, base.wrapping_add(slot * stride), len)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        };
        self.run(count, entry, results)
            .map_err(|error| (count, error))?;
        Ok(count)
    }

    /// Reads into the first `count` slots.
    pub(super) fn read(&mut self, count: usize, completed: &mut Completed) -> io::Result<()> {
        let base: *mut u8 = self.rx.memory.as_mut_ptr();
        let (stride, room) = (self.rx.stride, self.rx.room as u32);
        let entry = |slot: usize| read_entry(base.wrapping_add(slot * stride), room);
        self.run(count, entry, &mut completed.results)?;
        completed.count = count;
        Ok(())
    }

    /// Runs `count` requests, at most [`BATCH`], to their ends, in one system
    /// call as a rule. `entry` makes the request of a slot: a read into, or a
    /// write from, that slot of `rx` or `tx`.
    fn run(
        &mut self,
        count: usize,
        entry: impl Fn(usize) -> squeue::Entry,
        results: &mut [i32; BATCH],
    ) -> io::Result<()> {
        if self.in_flight != 0 {
            return Err(io::Error::other("the ring has failed before"));
        }
        for slot in 0..count.min(BATCH) {
            self.push(&entry(slot).user_data(slot as u64))?;
        }
        while self.in_flight > 0 {
            self.submit_and_wait()?;
            self.reap(results);
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        let mut queue = self.ring.submission();
        // SAFETY: the entry's buffer is one slot of `self.rx` or `self.tx`: its
        // length is at most `room`, which is less than `stride`, and the slot is
        // below BATCH. Those boxes live as long as `self`, are not replaced, and
        // nothing reads or writes them until `run` has reaped this request's
        // completion; if it cannot, `in_flight` stays positive and Drop leaks them.
        let pushed = unsafe { queue.push(entry) };
        pushed.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }

    fn submit_and_wait(&mut self) -> io::Result<()> {
        match self.ring.submitter().submit_and_wait(self.in_flight) {
            Ok(_) => Ok(()),
            // Interrupted, or short of memory for a moment: what was submitted
            // stays so, and the rest is still in the queue.
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self, results: &mut [i32; BATCH]) {
        for completion in self.ring.completion() {
            let slot = completion.user_data() as usize;
            if let Some(result) = results.get_mut(slot) {
                *result = completion.result();
            }
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }
}

fn read_entry(buffer: *mut u8, len: u32) -> squeue::Entry {
    opcode::Read::new(DEVICE, buffer, len)
        .rw_flags(libc::RWF_NOWAIT)
        .build()
}

impl Drop for UringBatch {
    fn drop(&mut self) {
        // The kernel takes a closed ring apart some time later. Until then the
        // registered file would keep the interface attached, and its name busy.
        let _ = self.ring.submitter().unregister_files();
        if self.in_flight > 0 {
            core::mem::forget(core::mem::take(&mut self.rx.memory));
            core::mem::forget(core::mem::take(&mut self.tx.memory));
        }
    }
}

impl core::fmt::Debug for UringBatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UringBatch")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
