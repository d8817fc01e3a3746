//! The receive part of the packet buffer, where frames wait for descriptors.

use std::collections::VecDeque;

/// Frames in the order of their arrival. It never allocates after it was made.
pub(crate) struct Fifo {
    bytes: VecDeque<u8>,
    lengths: VecDeque<u16>,
    /// Bytes of the packet buffer in use.
    used: usize,
}

/// The packet buffer of the chips, as large as it can be divided for receive.
const PACKET_BUFFER: usize = 64 * 1024;

impl Fifo {
    pub(crate) fn new() -> Self {
        Self {
            bytes: VecDeque::with_capacity(PACKET_BUFFER),
            lengths: VecDeque::with_capacity(PACKET_BUFFER / Self::space(60)),
            used: 0,
        }
    }

    /// What a frame takes: its bytes and FCS in units of 16, and one unit for its
    /// status.
    pub(crate) const fn space(len: usize) -> usize {
        (len + 4).next_multiple_of(16) + 16
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes of the packet buffer in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Takes a frame in, if there is space for it in `limit` bytes.
    #[must_use]
    pub(crate) fn push(&mut self, frame: &[u8], limit: usize) -> bool {
        let space = Self::space(frame.len());
        let fits = self.used + space <= limit.min(PACKET_BUFFER);
        if fits {
            self.bytes.extend(frame);
            self.lengths.push_back(frame.len() as u16);
            self.used += space;
        }
        fits
    }

    /// Length of the oldest frame.
    pub(crate) fn front(&self) -> Option<usize> {
        self.lengths.front().copied().map(usize::from)
    }

    /// Moves the oldest frame into `out`, and returns it. One that is longer than
    /// `out` is lost.
    pub(crate) fn pop<'a>(&mut self, out: &'a mut [u8]) -> Option<&'a [u8]> {
        let len = usize::from(self.lengths.pop_front()?);
        self.used -= Self::space(len);
        let frame = self.bytes.drain(..len);
        let out = out.get_mut(..len)?;
        for (to, from) in out.iter_mut().zip(frame) {
            *to = from;
        }
        Some(out)
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.used = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_too_long_to_be_popped_leaves_those_behind_it_whole() {
        let mut fifo = Fifo::new();
        assert!(fifo.push(&[1; 100], usize::MAX) && fifo.push(&[2; 60], usize::MAX));
        let mut out = [0; 64];
        assert_eq!(fifo.pop(&mut out), None);
        assert_eq!(fifo.pop(&mut out), Some(&[2; 60][..]));
        assert_eq!((fifo.used(), fifo.is_empty()), (0, true));
    }
}
