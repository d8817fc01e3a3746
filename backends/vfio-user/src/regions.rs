//! What the client is told of the device: regions and interrupts, by the indices of
//! VFIO's UAPI (`linux/vfio.h`).

use crate::config::Layout;
use softnet_nic_hal::bus::PciDevice;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{IrqInfo, ServerRegion};

/// All regions; those that the function has not are of no bytes.
pub(crate) fn regions<D: PciDevice>(device: &D, layout: &Layout) -> Vec<ServerRegion> {
    let len = |index: u32| match u8::try_from(index) {
        _ if index == VFIO_PCI_CONFIG_REGION_INDEX => layout.len,
        Ok(bar @ 0..=5) => device.bar(bar).map_or(0, |info| u64::from(info.len)),
        _ => 0,
    };
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| region(index, len(index)))
        .collect()
}

fn region(index: u32, size: u64) -> ServerRegion {
    let both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    ServerRegion {
        region_info: vfio_region_info {
            argsz: size_of::<vfio_region_info>() as u32,
            flags: if size == 0 { 0 } else { both },
            index,
            size,
            ..vfio_region_info::default()
        },
        sparse_areas: Vec::new(),
        mmap_fd: None,
    }
}

/// All kinds of interrupts, in the order of their indices: the pin, MSI, MSI-X, and
/// two that the function has not.
pub(crate) fn irqs(layout: &Layout) -> Vec<IrqInfo> {
    let pin = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    let kinds = [
        (pin, layout.intx),
        (VFIO_IRQ_INFO_EVENTFD, layout.msi),
        (VFIO_IRQ_INFO_EVENTFD, layout.msix),
    ];
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| {
            let (flags, count) = kinds.get(index as usize).copied().unwrap_or((0, 0));
            IrqInfo {
                index,
                flags,
                count: count.into(),
            }
        })
        .collect()
}
