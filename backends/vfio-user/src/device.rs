//! What a client's requests do to the device.

use crate::access;
use crate::config::{Layout, Written};
use crate::interrupts::{Interrupts, Wanted};
use crate::memory::{self, Window};
use softnet_dma_ring::DmaRegion;
use softnet_nic_hal::bus::{BusError, IrqMode, PciDevice};
use std::fs::File;
use std::io;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, ServerBackend};

/// The longest access that a client may make in one request, in bytes: as much as
/// the server says that it takes.
const MAX_ACCESS: usize = 1 << 20;

/// One client's hold on the device. When it is dropped, the device has no vectors and
/// no memory of that client any more, and is reset.
pub(crate) struct Session<D: PciDevice> {
    device: Arc<D>,
    layout: Arc<Layout>,
    interrupts: Interrupts<D>,
    memory: Vec<DmaRegion>,
}

impl<D: PciDevice> Session<D> {
    pub(crate) fn new(device: Arc<D>, layout: Arc<Layout>) -> Self {
        Self {
            interrupts: Interrupts::new(Arc::clone(&device)),
            device,
            layout,
            memory: Vec::new(),
        }
    }

    /// The BAR that a region is, and where in it the access is.
    fn bar_access(&self, region: u32, offset: u64, len: usize) -> io::Result<(u8, u32)> {
        let bar = u8::try_from(region).map_err(|_| invalid())?;
        let info = self.device.bar(bar).ok_or_else(invalid)?;
        let end = offset.checked_add(len as u64).ok_or_else(invalid)?;
        if len > MAX_ACCESS || end > u64::from(info.len) {
            return Err(invalid());
        }
        Ok((bar, u32::try_from(offset).map_err(|_| invalid())?))
    }

    /// Whether the access touches what belongs to MSI-X, which is this side's: a
    /// client says by requests where its vectors go.
    fn is_msix(&self, bar: u8, offset: u32, len: usize) -> bool {
        let start = u64::from(offset);
        let end = start + len as u64;
        let mut areas = self.layout.msix_areas.iter();
        areas.any(|area| area.bar == bar && start < area.bytes.end && area.bytes.start < end)
    }

    fn assign(&mut self, mode: IrqMode, start: u32, count: u32, fds: Vec<File>) -> io::Result<()> {
        let vectors = self.vectors(mode);
        let end = start.checked_add(count).ok_or_else(invalid)?;
        if end > u32::from(vectors) || !(fds.is_empty() || fds.len() == count as usize) {
            return Err(invalid());
        }
        let wanted = Wanted {
            start: start as u16,
            count: count as u16,
            eventfds: fds,
        };
        let assigned = self.interrupts.assign(mode, vectors, wanted);
        assigned.map_err(io::Error::other)
    }

    fn vectors(&self, mode: IrqMode) -> u16 {
        match mode {
            IrqMode::Intx => self.layout.intx,
            IrqMode::Msi => self.layout.msi,
            IrqMode::MsiX => self.layout.msix,
        }
    }

    /// The pin has no eventfd any more, or a kind of interrupt is switched off.
    fn is_release(mode: IrqMode, flags: u32, count: u32, fds: &[File]) -> bool {
        let none = flags & VFIO_IRQ_SET_DATA_NONE != 0 && count == 0;
        none || mode == IrqMode::Intx && flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 && fds.is_empty()
    }

    fn trigger(&mut self, mode: IrqMode, asked: Asked, fds: Vec<File>) -> io::Result<()> {
        if Self::is_release(mode, asked.flags, asked.count, &fds) {
            self.interrupts.release_mode(mode);
            return Ok(());
        }
        if asked.flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            return self.assign(mode, asked.start, asked.count, fds);
        }
        let part = |value| u16::try_from(value).map_err(|_| invalid());
        self.interrupts
            .trigger(part(asked.start)?, part(asked.count)?);
        Ok(())
    }

    fn reset_function(&mut self) -> Result<(), BusError> {
        self.device.reset_function()
    }

    /// Takes away the memory that a condition is true of.
    fn unmap_where(&mut self, gone: impl Fn(&DmaRegion) -> bool) {
        let device = &self.device;
        self.memory.retain(|region| {
            let unmap = gone(region);
            if unmap {
                device.unmap(region);
            }
            !unmap
        });
    }
}

/// The part of a request for interrupts that says what to do.
#[derive(Clone, Copy)]
struct Asked {
    flags: u32,
    start: u32,
    count: u32,
}

impl<D: PciDevice> ServerBackend for Session<D> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            let read = self.layout.read(&*self.device, offset, data);
            return read.ok_or_else(invalid);
        }
        let (bar, offset) = self.bar_access(region, offset, data.len())?;
        if !self.is_msix(bar, offset, data.len()) {
            access::read(&*self.device, bar, offset, data);
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            let written = self.layout.write(&*self.device, offset, data);
            return match written.ok_or_else(invalid)? {
                Written::Done => Ok(()),
                Written::Reset => self.reset(),
            };
        }
        let (bar, offset) = self.bar_access(region, offset, data.len())?;
        if !self.is_msix(bar, offset, data.len()) {
            access::write(&*self.device, bar, offset, data);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        // Memory that the client has only itself, as the ROM of a virtual machine:
        // the device does not reach it.
        let Some(fd) = fd else { return Ok(()) };
        let window = Window {
            address,
            size,
            offset,
            writable: flags.contains(DmaMapFlags::WRITE),
        };
        let region = memory::region(&fd, &window)?;
        self.device.map(&region).map_err(io::Error::other)?;
        self.memory.push(region);
        Ok(())
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.unmap_where(|_| true);
            return Ok(());
        }
        let end = address.checked_add(size).ok_or_else(invalid)?;
        self.unmap_where(|region| {
            let start = region.dma_addr().0;
            start >= address && start + region.len() as u64 <= end
        });
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.reset_function().map_err(io::Error::other)
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        let mode = match index {
            VFIO_PCI_INTX_IRQ_INDEX => IrqMode::Intx,
            VFIO_PCI_MSI_IRQ_INDEX => IrqMode::Msi,
            VFIO_PCI_MSIX_IRQ_INDEX => IrqMode::MsiX,
            _ => return Err(invalid()),
        };
        let is = |action| flags & action != 0;
        if is(VFIO_IRQ_SET_ACTION_TRIGGER) {
            let asked = Asked {
                flags,
                start,
                count,
            };
            return self.trigger(mode, asked, fds);
        }
        // Messages are masked by the client's own table.
        if mode != IrqMode::Intx || is(VFIO_IRQ_SET_DATA_EVENTFD) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if is(VFIO_IRQ_SET_ACTION_MASK) {
            self.interrupts.mask();
        } else if is(VFIO_IRQ_SET_ACTION_UNMASK) {
            self.interrupts.unmask();
        }
        Ok(())
    }
}

impl<D: PciDevice> Drop for Session<D> {
    fn drop(&mut self) {
        self.interrupts.release();
        self.device.set_bus_master(false);
        self.unmap_where(|_| true);
        // A device that cannot be reset is reset by its next driver.
        let _ = self.reset_function();
    }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
