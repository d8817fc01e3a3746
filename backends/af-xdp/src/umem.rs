//! The UMEM: memory that the kernel's XDP sockets and this process share.
//!
//! A chunk of the UMEM is a [`Frame`](softnet_dma_ring::Frame) of the UMEM's pool. One
//! UMEM serves all queues of a stack, also those of several NICs, so that a frame that
//! was received on one can be sent on another as it is.

use crate::error::UmemError;
use crate::handover::{Connection, Granted};
use crate::maker::OwnMemory;
use crate::ring::Layout;
use crate::xsk::{MemoryShape, XDP_HEADROOM, XskMemory};
use softnet_dma_ring::{DmaRegion, FramePool, PoolConfig};
use std::io;
use std::sync::Arc;

/// Bytes of one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkSize {
    /// 2048 bytes: packets of up to 1792 bytes.
    #[default]
    Half,
    /// 4096 bytes, a page: packets of up to 3840 bytes, and the shape for those of
    /// several chunks.
    Page,
}

impl ChunkSize {
    const fn shift(self) -> u32 {
        match self {
            Self::Half => 11,
            Self::Page => 12,
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.shift()
    }
}

/// Whether a UMEM has room for metadata before each packet that is sent, by which a
/// sender leaves its checksum to the device or asks when it left
/// (Documentation/networking/xsk-tx-metadata.rst; Linux 6.11 and later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxMetadata {
    /// It has none. Its sockets are made by xsk-rs.
    #[default]
    Off,
    /// It has, and what driver and kernel can do is used. libxdp cannot register such
    /// memory: its sockets are made by this crate itself.
    Room,
    /// As `Room`; and where the kernel copies, it computes the checksums in software
    /// (`XDP_UMEM_TX_SW_CSUM`), whatever the driver: a way to try the metadata, and no
    /// faster than the stack's own checksums.
    SoftwareChecksum,
}

/// The shape of a UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UmemConfig {
    /// How many chunks. With huge pages the number is rounded up to whole ones.
    pub chunks: u32,
    /// Bytes of one chunk.
    pub chunk_size: ChunkSize,
    /// Slots of each ring of each socket: a power of two, and the longest ring that a
    /// NIC on this UMEM can be opened with.
    pub ring: u16,
    /// Whether huge pages are tried first.
    pub huge_pages: bool,
    /// Frames outside of the UMEM, into which packets are copied that would starve a
    /// queue, or that are longer than a chunk. 0 for none.
    pub side_frames: u32,
    /// The longest packet that such a frame holds, in bytes.
    pub side_packet: u32,
    /// Whether there is room for metadata, if the kernel allows it.
    pub tx_metadata: TxMetadata,
}

impl Default for UmemConfig {
    /// 4096 chunks of 2048 bytes, rings of 2048, 512 side frames for packets of a
    /// chunk's length, and no room for metadata.
    fn default() -> Self {
        Self {
            chunks: 4096,
            chunk_size: ChunkSize::Half,
            ring: 2048,
            huge_pages: true,
            side_frames: 512,
            side_packet: 1792,
            tx_metadata: TxMetadata::Off,
        }
    }
}

impl UmemConfig {
    /// For packets of up to 9216 bytes, in chunks of a page.
    #[must_use]
    pub fn jumbo() -> Self {
        Self {
            chunk_size: ChunkSize::Page,
            side_packet: 9216,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), UmemError> {
        if self.chunks == 0 {
            return Err(UmemError::Shape("a UMEM needs a chunk"));
        }
        if !self.ring.is_power_of_two() {
            return Err(UmemError::Shape("a ring has a power of two of slots"));
        }
        Ok(())
    }

    pub(crate) fn long_packet(&self) -> Option<u32> {
        let longer = self.side_frames > 0 && self.side_packet > self.chunk_size.bytes();
        longer.then_some(self.side_packet)
    }

    /// The shape, on huge pages or on ordinary ones.
    pub(crate) fn shape(&self, huge_pages: bool) -> MemoryShape {
        let chunks = match huge_pages {
            true => self.huge_chunks(),
            false => self.chunks,
        };
        MemoryShape {
            chunks,
            chunk_size: self.chunk_size.bytes(),
            ring: u32::from(self.ring),
            huge_pages,
        }
    }

    /// The number of chunks that fills whole huge pages.
    fn huge_chunks(&self) -> u32 {
        self.chunks
            .next_multiple_of(HUGE_PAGE / self.chunk_size.bytes())
    }
}

/// Bytes of a huge page on the machines that have them by default.
const HUGE_PAGE: u32 = 2 << 20;

/// What a UMEM's memory is made of.
#[derive(Debug)]
pub enum Pages {
    /// Huge pages.
    Huge,
    /// Ordinary pages, since there are no huge ones; the kernel's answer.
    NoHuge(io::Error),
    /// Ordinary pages, as was asked for.
    Ordinary,
}

/// Who has registered the memory with the kernel.
#[derive(Debug)]
pub(crate) enum Backing {
    /// This process, by xsk-rs.
    Xsk(Arc<XskMemory>),
    /// This process, by itself, for each opening of a NIC.
    Own(Arc<OwnMemory>),
    /// A helper.
    Helper(Arc<Granted>),
}

/// Memory that is registered, before there are frames in it.
pub(crate) struct Parts {
    pub(crate) backing: Backing,
    pub(crate) shape: MemoryShape,
    pub(crate) region: DmaRegion,
    pub(crate) pages: Pages,
    /// The room for metadata, or why there is none.
    pub(crate) metadata: io::Result<TxMetadata>,
}

/// The UMEM of a stack. Its memory lives until the last frame of it is home.
#[derive(Debug)]
pub struct Umem {
    backing: Backing,
    ring: u16,
    pool: FramePool,
    side: Option<FramePool>,
    layout: Layout,
    pages: Pages,
    metadata: io::Result<TxMetadata>,
    long_packet: Option<u32>,
}

impl Umem {
    /// Maps the memory, registers it with the kernel, and makes frames of it.
    ///
    /// # Errors
    /// [`UmemError`] when the shape makes no sense or the kernel refuses.
    pub fn new(config: UmemConfig) -> Result<Arc<Self>, UmemError> {
        config.check()?;
        let parts = parts(&config, own)?;
        Self::assemble(&config, parts).map(Arc::new)
    }

    /// Has a helper make the memory and register it, so that this process needs no
    /// capability and no memlock limit. The UMEM is for the helper's interface alone;
    /// an [`AfXdpNic`](crate::AfXdpNic) on it has its sockets made by the helper too.
    ///
    /// # Errors
    /// [`UmemError`] when the shape makes no sense or the helper refuses.
    pub fn from_helper(config: UmemConfig, helper: Connection) -> Result<Arc<Self>, UmemError> {
        config.check()?;
        let mut parts = helper.memory(&config)?;
        if config.tx_metadata != TxMetadata::Off {
            parts.metadata = Err(io::Error::other("a helper's memory has no room for it"));
        }
        Self::assemble(&config, parts).map(Arc::new)
    }

    fn assemble(config: &UmemConfig, parts: Parts) -> Result<Self, UmemError> {
        let (shape, region) = (parts.shape, parts.region);
        let layout = Layout::new(region.dma_addr().0, shape.chunks, config.chunk_size.shift());
        let pool = PoolConfig {
            frames: shape.chunks,
            buffer_size: shape.chunk_size,
            headroom: XDP_HEADROOM,
        };
        Ok(Self {
            backing: parts.backing,
            ring: config.ring,
            pool: FramePool::in_region(pool, region)?,
            side: side_pool(config)?,
            layout,
            pages: parts.pages,
            metadata: parts.metadata,
            long_packet: config.long_packet(),
        })
    }

    /// The pool of the UMEM's frames, for the stack and for
    /// [`OpenConfig`](softnet_nic_hal::OpenConfig).
    #[must_use]
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// The frames outside of the UMEM.
    #[must_use]
    pub fn side_pool(&self) -> Option<&FramePool> {
        self.side.as_ref()
    }

    /// What its memory is made of.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The room for metadata that it has; the kernel's reason where it was asked for
    /// and there is none.
    ///
    /// # Errors
    /// That reason.
    pub fn tx_metadata(&self) -> Result<TxMetadata, &io::Error> {
        self.metadata.as_ref().copied()
    }

    /// The longest packet that fits one chunk, in bytes.
    #[must_use]
    pub fn chunk_room(&self) -> u32 {
        self.layout.chunk_size() - XDP_HEADROOM
    }

    /// Slots of each ring.
    #[must_use]
    pub fn ring(&self) -> u16 {
        self.ring
    }

    /// The longest packet in several chunks, in bytes: there are side frames that are
    /// longer than a chunk. Such a UMEM's sockets use several chunks a packet
    /// (`XDP_USE_SG`).
    #[must_use]
    pub fn long_packet(&self) -> Option<u32> {
        self.long_packet
    }

    pub(crate) fn is_multi_buffer(&self) -> bool {
        self.long_packet.is_some()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn backing(&self) -> &Backing {
        &self.backing
    }
}

/// Memory as it is asked for; without room for metadata where `own` gets none.
fn parts(
    config: &UmemConfig,
    own: impl FnOnce(&UmemConfig, TxMetadata) -> io::Result<Parts>,
) -> Result<Parts, UmemError> {
    if config.tx_metadata == TxMetadata::Off {
        return by_xsk_rs(config, Ok(TxMetadata::Off));
    }
    match own(config, config.tx_metadata) {
        Ok(parts) => Ok(parts),
        Err(refused) => by_xsk_rs(config, Err(refused)),
    }
}

/// Tries huge pages first, if they are asked for.
fn on_pages<M>(
    config: &UmemConfig,
    make: impl Fn(MemoryShape) -> io::Result<M>,
) -> io::Result<(M, MemoryShape, Pages)> {
    let plain = config.shape(false);
    if !config.huge_pages {
        return Ok((make(plain)?, plain, Pages::Ordinary));
    }
    let huge = config.shape(true);
    match make(huge) {
        Ok(memory) => Ok((memory, huge, Pages::Huge)),
        Err(error) => Ok((make(plain)?, plain, Pages::NoHuge(error))),
    }
}

fn by_xsk_rs(config: &UmemConfig, metadata: io::Result<TxMetadata>) -> Result<Parts, UmemError> {
    let refused = |source| UmemError::refused(config.shape(false).bytes(), source);
    let (memory, shape, pages) = on_pages(config, XskMemory::new).map_err(refused)?;
    let region = memory.region().map_err(refused)?;
    Ok(Parts {
        backing: Backing::Xsk(memory),
        shape,
        region,
        pages,
        metadata,
    })
}

/// Memory with room for metadata.
fn own(config: &UmemConfig, metadata: TxMetadata) -> io::Result<Parts> {
    let make = |shape| OwnMemory::new(shape, metadata);
    let (memory, shape, pages) = on_pages(config, make)?;
    Ok(Parts {
        region: memory.region(),
        backing: Backing::Own(memory),
        shape,
        pages,
        metadata: Ok(metadata),
    })
}

fn side_pool(config: &UmemConfig) -> Result<Option<FramePool>, UmemError> {
    if config.side_frames == 0 {
        return Ok(None);
    }
    let room = config.side_packet.checked_add(XDP_HEADROOM);
    let room = room.and_then(|room| room.checked_next_multiple_of(64));
    let pool = PoolConfig {
        frames: config.side_frames,
        buffer_size: room.ok_or(UmemError::Shape("no packet is that long"))?,
        headroom: XDP_HEADROOM,
    };
    Ok(Some(FramePool::new(pool)?))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const SMALL: UmemConfig = UmemConfig {
        chunks: 16,
        chunk_size: ChunkSize::Half,
        ring: 16,
        huge_pages: false,
        side_frames: 0,
        side_packet: 1792,
        tx_metadata: TxMetadata::Room,
    };

    #[test]
    fn a_kernel_that_refuses_metadata_gives_memory_without_it_and_the_reason() {
        let einval = || io::Error::from_raw_os_error(libc::EINVAL);
        let parts = match parts(&SMALL, |_, _| Err(einval())) {
            Err(reason) => return softnet_test_support::skip(reason.to_string()),
            Ok(parts) => parts,
        };
        assert!(matches!(parts.backing, Backing::Xsk(_)));
        let umem = Umem::assemble(&SMALL, parts).unwrap();
        let reason = umem.tx_metadata().unwrap_err();
        assert_eq!(reason.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn memory_that_nobody_wants_metadata_in_is_made_by_xsk_rs() {
        let plain = UmemConfig {
            tx_metadata: TxMetadata::Off,
            ..SMALL
        };
        let parts = match parts(&plain, |_, _| panic!("it was not asked for")) {
            Err(reason) => return softnet_test_support::skip(reason.to_string()),
            Ok(parts) => parts,
        };
        let umem = Umem::assemble(&plain, parts).unwrap();
        assert_eq!(umem.tx_metadata().unwrap(), TxMetadata::Off);
    }
}
