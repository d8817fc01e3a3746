//! How a function that is bound to `vfio-pci` is got hold of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};

/// Why a function cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such function.
    #[error("there is no PCI function {0}: it is named as 0000:01:00.0")]
    NoFunction(String),
    /// It is not bound to `vfio-pci`, but to this driver, or to none.
    #[error("{name} is bound to {}, not to vfio-pci", .driver.as_deref().unwrap_or("no driver"))]
    NotBound {
        /// The function.
        name: String,
        /// Its driver.
        driver: Option<String>,
    },
    /// It is in no IOMMU group.
    #[error(
        "{0} is behind no IOMMU: switch it on in the firmware, and by intel_iommu=on on the kernel's command line"
    )]
    NoIommu(String),
    /// The container, the group or the device could not be opened or set up.
    #[error("{name} cannot be opened: {source}")]
    Vfio {
        /// The function.
        name: String,
        /// Why.
        source: VfioError,
    },
    /// A BAR could not be mapped.
    #[error("BAR {bar} of {name} cannot be mapped: {source}")]
    Map {
        /// The function.
        name: String,
        /// The BAR.
        bar: u8,
        /// Why.
        source: io::Error,
    },
}

/// An open device, and the address space that its DMA goes through.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) device: VfioDevice,
    pub(crate) container: Arc<VfioContainer>,
    /// Whether the kernel has a way to reset it alone.
    pub(crate) resettable: bool,
}

impl Opened {
    /// Opens the function of that name, as `0000:01:00.0`.
    pub(crate) fn by_name(name: &str) -> Result<Self, OpenError> {
        let path = sysfs(name)?;
        let failed = |source| OpenError::Vfio {
            name: name.to_owned(),
            source,
        };
        let container = Arc::new(VfioContainer::new(None).map_err(failed)?);
        let ops = Arc::clone(&container) as Arc<dyn VfioOps>;
        let device = VfioDevice::new(&path, ops, false).map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            device,
            container,
            resettable: path.join("reset").exists(),
        })
    }
}

/// The function's folder, if it is one that VFIO has.
fn sysfs(name: &str) -> Result<PathBuf, OpenError> {
    let path = Path::new("/sys/bus/pci/devices").join(name);
    let plain = !name.is_empty() && !name.contains('/');
    if !plain || !path.exists() {
        return Err(OpenError::NoFunction(name.to_owned()));
    }
    let driver = link(&path.join("driver"));
    if driver.as_deref() != Some("vfio-pci") {
        let name = name.to_owned();
        return Err(OpenError::NotBound { name, driver });
    }
    match link(&path.join("iommu_group")) {
        Some(_) => Ok(path),
        None => Err(OpenError::NoIommu(name.to_owned())),
    }
}

/// The last part of what a link leads to.
fn link(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_functions_is_told() {
        for name in ["", "0000:ff:1f.7", "../devices", "/", "eth0"] {
            let error = Opened::by_name(name).err();
            assert!(
                matches!(error, Some(OpenError::NoFunction(_))),
                "{name}: {error:?}"
            );
        }
    }
}
