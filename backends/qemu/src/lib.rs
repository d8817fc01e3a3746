#![doc = include_str!("../README.md")]

mod bars;
mod config;
mod delivery;
mod function;
mod machine;
mod memory;
mod process;
mod qmp;
mod qtest;
mod vectors;
mod wire;

pub use function::QemuFunction;
pub use machine::{QemuConfig, QemuMachine, QemuNic};
pub use memory::QemuCoherent;
pub use qtest::Traffic;
pub use wire::QemuWire;

/// Why QEMU did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// The system refused something that a child process needs.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// QEMU ended before it could be spoken to. The text is its own.
    #[error("QEMU has ended: {0}")]
    Ended(String),
    /// QEMU's monitor refused a command. The text is its own.
    #[error("QEMU refuses: {0}")]
    Refused(String),
    /// The machine has no such network card.
    #[error("the machine has no network card {0}")]
    NoNic(usize),
    /// A network card is not where it was put.
    #[error("there is no function at {0}")]
    NoFunction(String),
    /// The machine's address space has no room for a base address register.
    #[error("no room for a BAR of {0} bytes")]
    NoRoom(u32),
    /// There is no interrupt line left.
    #[error(transparent)]
    Irq(#[from] softnet_nic_hal::irq::IrqError),
}

impl From<rustix::io::Errno> for QemuError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}
