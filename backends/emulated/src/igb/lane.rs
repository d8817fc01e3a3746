//! One receive queue, as its registers describe it for the time of a burst.

use super::chip::Chip;
use super::regs::{Rctl, offset, queue};
use crate::ring::Ring;

/// How the descriptors of a queue are laid out, and where headers go (SRRCTL's
/// DESCTYPE, section 8.10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Legacy,
    OneBuffer,
    /// A header that is recognized goes to the header buffer.
    Split,
    /// And of what is not recognized, as much as the header buffer takes.
    SplitAlways,
    /// A header is in both buffers.
    Replicate,
    /// The same, of packets that are longer than the header buffer.
    ReplicateLarge,
}

impl Layout {
    fn of(srrctl: u32) -> Self {
        match srrctl >> 25 & 7 {
            0 => Self::Legacy,
            2 => Self::Split,
            3 => Self::Replicate,
            4 => Self::ReplicateLarge,
            5 => Self::SplitAlways,
            _ => Self::OneBuffer,
        }
    }

    /// Whether what is in the header buffer is in the packet buffer too.
    pub(super) fn replicates(self) -> bool {
        matches!(self, Self::Replicate | Self::ReplicateLarge)
    }

    /// Bytes of a packet of `len` bytes that go to a header buffer of `room`
    /// bytes: its header, if it has one that fits.
    pub(super) fn header_share(
        self,
        header: Option<usize>,
        room: usize,
        len: usize,
    ) -> Option<usize> {
        match self {
            Self::Legacy | Self::OneBuffer => None,
            Self::Split | Self::Replicate => header,
            Self::SplitAlways => Some(header.unwrap_or(room.min(len))),
            Self::ReplicateLarge => header.filter(|_| len > room),
        }
    }

    /// Whether each packet goes to packet buffers alone.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::Legacy | Self::OneBuffer)
    }
}

/// What a burst knows of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) ring: Ring,
    /// Descriptors that the device owns, and how many there were at first.
    pub(super) left: u32,
    free: u32,
    /// Packets and bytes that were stored.
    pub(super) packets: u32,
    pub(super) octets: u32,
    pub(super) multicast: u32,
    pub(super) layout: Layout,
    /// Bytes of a packet buffer, and of a header buffer.
    pub(super) buffer_len: usize,
    pub(super) header_len: usize,
    /// What finds no descriptor is dropped, and does not wait.
    pub(super) drops: bool,
    /// Free descriptors at which RXDMT0 is due.
    low: u32,
    /// The queue is switched on.
    pub(super) open: bool,
}

/// The registers of the queue `index`, from their first on.
pub(super) fn registers_of(index: usize) -> u32 {
    offset::RX_QUEUES + index as u32 * queue::STRIDE
}

impl Lane {
    /// A queue that nothing can be done in.
    pub(super) const CLOSED: Self = Self {
        ring: Ring::STOPPED,
        left: 0,
        free: 0,
        packets: 0,
        octets: 0,
        multicast: 0,
        layout: Layout::OneBuffer,
        buffer_len: 1024,
        header_len: 0,
        drops: false,
        low: 0,
        open: false,
    };

    /// Reads the registers of the queue `index`. `stopped`: it may not be used
    /// now, whatever they say.
    pub(super) fn load(chip: &Chip, index: usize, stopped: bool, rctl: Rctl) -> Self {
        let at = registers_of(index);
        let srrctl = chip.registers.load(at + queue::SRRCTL);
        let kib = (srrctl & 0x7f) as usize;
        let ring = if stopped {
            Ring::STOPPED
        } else {
            chip.rx_ring(index)
        };
        Self {
            ring,
            left: ring.available(),
            free: ring.available(),
            layout: Layout::of(srrctl),
            buffer_len: if kib == 0 {
                rctl.buffer_len()
            } else {
                kib * 1024
            },
            header_len: (srrctl >> 8 & 0x3f) as usize * 64,
            drops: srrctl >> 31 != 0 || chip.registers.load(offset::QDE) >> index & 1 != 0,
            low: (srrctl >> 20 & 0x1f) * 16,
            open: chip.registers.load(at + queue::DCTL) & queue::ENABLE != 0,
            ..Self::CLOSED
        }
    }

    /// The driver may have moved the tail meanwhile.
    #[cold]
    pub(super) fn look_for_more(&mut self, chip: &Chip, index: usize) {
        if self.ring.len != 0 {
            self.ring.tail = chip.registers.load(registers_of(index) + queue::TAIL);
            let now = self.ring.available();
            self.free += now.saturating_sub(self.left);
            self.left = now;
        }
    }

    #[inline]
    pub(super) fn next(&mut self) {
        self.ring.advance();
        self.left -= 1;
    }

    /// Whether the free descriptors have become few.
    pub(super) fn ran_low(&self) -> bool {
        self.free > self.low && self.left <= self.low
    }

    /// Nothing more can be done in it.
    pub(super) fn halt(&mut self) {
        self.ring = Ring::STOPPED;
        self.left = 0;
    }
}
