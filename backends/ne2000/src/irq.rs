//! The hard-interrupt half.

use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::bus::{IrqReturn, PciDevice, VectorHandler};

/// The handler of the card's pin, for one session.
pub(crate) struct Line<P: PciDevice>(pub(crate) Arc<Shared<P>>);

impl<P: PciDevice> VectorHandler for Line<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        match self.0.interrupt() {
            Some(true) => IrqReturn::Handled,
            Some(false) => IrqReturn::None,
            // The pin stays asserted until then: to be called over and over for it
            // would take a CPU, and the window's owner its time.
            None => IrqReturn::Masked,
        }
    }
}
