//! The device's view of memory: what is mapped into the IOMMU for it.

use crate::function::VfioFunction;
use softnet_dma_ring::{DmaAddr, DmaRegion};
use softnet_nic_hal::bus::{BusError, CoherentMemory};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vfio_ioctls::VfioContainer;

/// The regions that the device reaches, each at its own address.
///
/// A region is kept here while it is mapped, so its memory cannot be freed under the
/// device, whatever becomes of other handles to it.
pub(crate) struct Domain {
    container: Arc<VfioContainer>,
    mapped: Mutex<Vec<DmaRegion>>,
}

impl Domain {
    pub(crate) fn new(container: Arc<VfioContainer>) -> Self {
        Self {
            container,
            mapped: Mutex::default(),
        }
    }

    /// Maps the region; nothing if it is mapped already.
    pub(crate) fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        let mut mapped = self.mapped();
        if mapped.iter().any(|known| known.same_as(region)) {
            return Ok(());
        }
        let (at, len) = (region.dma_addr().0, region.len());
        // SAFETY: the region's memory stays there until it is unmapped, since a handle
        // is kept in `mapped` until then; and it is reached only by atomics and raw
        // copies, which is what a region is for.
        let done = unsafe { self.container.vfio_dma_map(at, len, region.base().as_ptr()) };
        done.map_err(|_| BusError::NoMemory(len))?;
        mapped.push(region.clone());
        Ok(())
    }

    /// Takes the region away. When this returns, the device cannot reach it.
    pub(crate) fn unmap(&self, region: &DmaRegion) {
        let mut mapped = self.mapped();
        let Some(place) = mapped.iter().position(|known| known.same_as(region)) else {
            return;
        };
        let (at, len) = (region.dma_addr().0, region.len());
        if self.container.vfio_dma_unmap(at, len).is_ok() {
            mapped.swap_remove(place);
        } else {
            // The device may reach it still, so its memory is never given back.
            std::mem::forget(region.clone());
        }
    }

    fn mapped(&self) -> MutexGuard<'_, Vec<DmaRegion>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *self.mapped());
        for region in &all {
            let (at, len) = (region.dma_addr().0, region.len());
            if self.container.vfio_dma_unmap(at, len).is_err() {
                std::mem::forget(region.clone());
            }
        }
    }
}

/// Descriptor memory of one function, which is taken away from it when dropped.
pub struct VfioCoherent {
    region: DmaRegion,
    function: VfioFunction,
}

impl VfioCoherent {
    pub(crate) fn new(function: &VfioFunction, len: usize) -> Result<Self, BusError> {
        let region = DmaRegion::alloc(len).map_err(|_| BusError::NoMemory(len))?;
        function.domain().map(&region)?;
        Ok(Self {
            region,
            function: function.clone(),
        })
    }
}

impl CoherentMemory for VfioCoherent {
    fn dma_addr(&self) -> DmaAddr {
        CoherentMemory::dma_addr(&self.region)
    }

    fn len(&self) -> usize {
        CoherentMemory::len(&self.region)
    }

    #[inline]
    fn read_u64(&self, offset: usize) -> u64 {
        CoherentMemory::read_u64(&self.region, offset)
    }

    #[inline]
    fn write_u64(&self, offset: usize, value: u64) {
        CoherentMemory::write_u64(&self.region, offset, value);
    }

    #[inline]
    fn write_pair(&self, offset: usize, words: [u64; 2]) {
        CoherentMemory::write_pair(&self.region, offset, words);
    }
}

impl Drop for VfioCoherent {
    fn drop(&mut self) {
        self.function.domain().unmap(&self.region);
    }
}
