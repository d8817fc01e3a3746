//! From frames to addresses in the UMEM and back.

use softnet_dma_ring::Frame;

/// How chunks lie in a UMEM: one after another, of one length, which is a power of
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the pool's region starts, as devices see it.
    base: u64,
    chunks: u32,
    shift: u32,
}

impl Layout {
    /// Chunks of `1 << shift` bytes in the region that starts at `base`.
    #[must_use]
    pub const fn new(base: u64, chunks: u32, shift: u32) -> Self {
        Self {
            base,
            chunks,
            shift,
        }
    }

    /// How many chunks there are.
    #[must_use]
    pub const fn chunks(self) -> u32 {
        self.chunks
    }

    /// Bytes of one chunk.
    #[must_use]
    pub const fn chunk_size(self) -> u32 {
        1 << self.shift
    }

    /// Where a frame's data starts, in bytes from the start of the UMEM; `None` when
    /// the frame is not of this UMEM.
    #[inline]
    pub(crate) fn addr_of(self, frame: &Frame) -> Option<u64> {
        let offset = frame.dma_addr().0.wrapping_sub(self.base);
        let within = offset.wrapping_sub(u64::from(frame.index()) << self.shift);
        // A frame without tailroom starts where the next chunk does.
        let mine = frame.index() < self.chunks && within <= u64::from(self.chunk_size());
        mine.then_some(offset)
    }

    /// Which chunk an address is in, and how far.
    #[inline]
    fn split(self, addr: u64) -> (u64, usize) {
        let offset = addr & u64::from(self.chunk_size() - 1);
        (addr >> self.shift, offset as usize)
    }
}

/// The frames that the kernel holds, by number.
#[derive(Debug)]
pub(crate) struct Table {
    layout: Layout,
    frames: Box<[Option<Frame>]>,
    held: u32,
}

impl Table {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            frames: (0..layout.chunks).map(|_| None).collect(),
            held: 0,
        }
    }

    /// How many frames the kernel holds.
    #[inline]
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Keeps a frame. One that is not of the UMEM comes back.
    #[inline]
    pub(crate) fn insert(&mut self, frame: Frame) -> Result<(), Frame> {
        match self.frames.get_mut(frame.index() as usize) {
            Some(slot) if self.layout.addr_of(&frame).is_some() => {
                *slot = Some(frame);
                self.held += 1;
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// Keeps a frame that is known to be of the UMEM.
    #[inline]
    pub(crate) fn keep(&mut self, frame: Frame) {
        debug_assert!(self.layout.addr_of(&frame).is_some());
        if let Some(slot) = self.frames.get_mut(frame.index() as usize) {
            *slot = Some(frame);
            self.held += 1;
        }
    }

    /// Takes the frame of a chunk out, if it is there.
    pub(crate) fn take_chunk(&mut self, chunk: u32) -> Option<Frame> {
        let frame = self.frames.get_mut(chunk as usize)?.take()?;
        self.held -= 1;
        Some(frame)
    }

    /// All frames that the kernel held.
    pub(crate) fn into_frames(self) -> impl Iterator<Item = Frame> {
        self.frames.into_iter().flatten()
    }

    /// Takes the frame that holds `addr` out, and says how far into its chunk the
    /// address is; `None` when the kernel does not hold it.
    #[inline]
    pub(crate) fn remove(&mut self, addr: u64) -> Option<(Frame, usize)> {
        let (chunk, offset) = self.layout.split(addr);
        let slot = self.frames.get_mut(usize::try_from(chunk).ok()?)?;
        let frame = slot.take()?;
        self.held -= 1;
        Some((frame, offset))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use softnet_dma_ring::{FramePool, PoolConfig};

    fn pool() -> FramePool {
        FramePool::new(PoolConfig {
            frames: 4,
            buffer_size: 2048,
            headroom: 256,
        })
        .unwrap()
    }

    fn layout(pool: &FramePool) -> Layout {
        Layout::new(pool.region().dma_addr().0, 4, 11)
    }

    #[test]
    fn a_frame_is_found_again_by_any_address_in_its_chunk() {
        let pool = pool();
        let mut table = Table::new(layout(&pool));
        for within in [0, 1, 256, 2047] {
            let frame = pool.alloc().unwrap();
            let index = frame.index();
            table.insert(frame).unwrap();
            assert_eq!(table.held(), 1);
            let addr = u64::from(index) * 2048 + within;
            let (frame, offset) = table.remove(addr).unwrap();
            assert_eq!((frame.index(), offset as u64), (index, within));
            assert!(table.remove(addr).is_none(), "it is taken once");
        }
        assert_eq!(table.held(), 0);
    }

    #[test]
    fn an_address_outside_of_the_umem_finds_nothing() {
        let pool = pool();
        let mut table = Table::new(layout(&pool));
        for frame in std::iter::from_fn(|| pool.alloc()) {
            table.insert(frame).unwrap();
        }
        for addr in [4 * 2048, u64::MAX, 1 << 48] {
            assert!(table.remove(addr).is_none());
        }
        assert_eq!(table.held(), 4);
    }

    #[test]
    fn a_frame_of_another_pool_comes_back() {
        let (mine, other) = (pool(), pool());
        let mut table = Table::new(layout(&mine));
        let foreign = other.alloc().unwrap();
        assert!(layout(&mine).addr_of(&foreign).is_none());
        assert!(table.insert(foreign).is_err());
        assert_eq!(table.held(), 0);
    }

    #[test]
    fn the_address_is_where_the_data_starts() {
        let pool = pool();
        let mut frame = pool.alloc().unwrap();
        let start = u64::from(frame.index()) * 2048;
        assert_eq!(layout(&pool).addr_of(&frame), Some(start + 256));
        frame.push(42).unwrap();
        assert_eq!(layout(&pool).addr_of(&frame), Some(start + 214));
        frame.reset(2048);
        assert_eq!(layout(&pool).addr_of(&frame), Some(start + 2048));
    }
}
