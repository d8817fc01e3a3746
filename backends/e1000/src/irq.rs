//! The hard-interrupt half.

use crate::regs::{self, Cause};
use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::bus::{IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::{IrqHandler, QueueId};

/// The handler of the chip's only vector, for one session.
pub(crate) struct Line<P: PciDevice> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) stack: Arc<dyn IrqHandler>,
}

impl<P: PciDevice> VectorHandler for Line<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        let bits = self.shared.chip.read(regs::ICR);
        // All ones: the device is gone.
        if bits == 0 || bits == u32::MAX {
            return IrqReturn::None;
        }
        let causes = Cause::from_bits_retain(bits);
        if causes.intersects(Cause::QUEUE) {
            self.queue();
        }
        if causes.contains(Cause::LSC) {
            self.stack.link_changed();
        }
        IrqReturn::Handled
    }
}

impl<P: PciDevice> Line<P> {
    /// Masks even when the stack was called before: the vector may have come
    /// for the link, or for another device on the pin, while an unmask was
    /// under way. What the read of ICR has then cleared, the next unmask finds
    /// in the descriptors. An unmask that came in between has its mask closed by
    /// this: it is opened again.
    fn queue(&self) {
        let armed = self.shared.disarm();
        self.shared.chip.write(regs::IMC, Cause::QUEUE.bits());
        if armed {
            self.stack.irq(QueueId(0));
        } else if self.shared.is_armed() {
            self.shared.rearm();
        }
    }
}
