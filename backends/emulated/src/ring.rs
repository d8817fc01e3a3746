//! A descriptor ring, as its registers describe it.

use softnet_dma_ring::DmaAddr;

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// A ring of descriptors of 16 bytes, and how far the two sides are in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ring {
    pub(crate) base: u64,
    /// Descriptors.
    pub(crate) len: u32,
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

impl Ring {
    /// A ring in which nothing can be done: of no descriptors.
    pub(crate) const STOPPED: Self = Self {
        base: 0,
        len: 0,
        head: 0,
        tail: 0,
    };

    /// Descriptors that the device owns. None, while head or tail are beyond the
    /// ring: the manuals say nothing of such a ring, and the models stand still.
    #[inline]
    pub(crate) fn available(&self) -> u32 {
        if self.head >= self.len || self.tail >= self.len {
            0
        } else if self.tail >= self.head {
            self.tail - self.head
        } else {
            self.len - self.head + self.tail
        }
    }

    /// Where the descriptor at the head is.
    #[inline]
    pub(crate) fn descriptor(&self) -> DmaAddr {
        DmaAddr(self.base).offset(u64::from(self.head) * DESCRIPTOR)
    }

    #[inline]
    pub(crate) fn advance(&mut self) {
        self.head = if self.head + 1 >= self.len {
            0
        } else {
            self.head + 1
        };
    }
}
