//! The deferral of interrupts as sysfs has it: for a whole interface, on kernels
//! whose netlink does not have it for each NAPI instance
//! (Documentation/ABI/testing/sysfs-class-net).

use super::SettingsError;
use super::undo::Undo;
use crate::netlink::{Deferral, Link};
use std::ffi::CString;
use std::fs;

/// A file of sysfs, named without a NUL.
pub(super) struct File(CString);

/// The files of `napi_defer_hard_irqs` and `gro_flush_timeout`.
///
/// `None` if /sys is not there, or shows another network namespace: it shows that
/// of whoever mounted it, where an interface of the same name may be another.
pub(super) fn files(link: &Link) -> Option<[File; 2]> {
    let folder = format!("/sys/class/net/{}", link.name);
    let says = |file: &str, expected: String| {
        fs::read_to_string(format!("{folder}/{file}")).is_ok_and(|text| text.trim() == expected)
    };
    let same_number = says("ifindex", link.index.to_string());
    let same_address = link.mac.is_none_or(|mac| says("address", mac.to_string()));
    if !same_number || !same_address {
        return None;
    }
    let file = |name: &str| CString::new(format!("{folder}/{name}")).ok().map(File);
    Some([file("napi_defer_hard_irqs")?, file("gro_flush_timeout")?])
}

/// What the two files say for a deferral.
pub(super) fn texts(deferral: Deferral) -> [String; 2] {
    [
        deferral.defer_hard_irqs.to_string(),
        deferral.gro_flush_timeout_ns.to_string(),
    ]
}

/// What a user would type for a deferral.
pub(super) fn command(interface: &str, deferral: Deferral) -> String {
    let [irqs, timeout] = texts(deferral);
    let folder = format!("/sys/class/net/{interface}");
    format!(
        "echo {irqs} > {folder}/napi_defer_hard_irqs; echo {timeout} > {folder}/gro_flush_timeout"
    )
}

impl File {
    pub(super) fn read(&self) -> Result<String, SettingsError> {
        let text = fs::read_to_string(self.path());
        let text = text.map_err(|source| self.failed(source))?;
        Ok(text.trim().to_owned())
    }

    pub(super) fn write(&self, text: &str) -> Result<(), SettingsError> {
        fs::write(self.path(), text).map_err(|source| self.failed(source))
    }

    pub(super) fn undo(&self, text: &str) -> Undo {
        Undo::file(&self.0, text)
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    fn failed(&self, source: std::io::Error) -> SettingsError {
        let path = self.path();
        SettingsError::File { path, source }
    }
}
