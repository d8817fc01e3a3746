//! The hard-interrupt half.

use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::bus::{IrqReturn, PciDevice, VectorHandler};

/// The handler of the card's pin, for one session.
pub(crate) struct Line<P: PciDevice>(pub(crate) Arc<Shared<P>>);

impl<P: PciDevice> VectorHandler for Line<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        if self.0.interrupt() {
            IrqReturn::Handled
        } else {
            IrqReturn::None
        }
    }
}
