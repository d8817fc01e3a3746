//! The control plane: what the stack asks of the NIC.

use crate::core::Rx;
use crate::filter;
use crate::irq::Line;
use crate::probe::{self, PROM_WORDS, ProbeError};
use crate::regs::{self, Cr, Isr};
use crate::ring::{BUFFER, RxRing, TxRing};
use crate::shared::Shared;
use crate::watchdog;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;
use softnet_nic_hal::bus::{IrqMode, PciDevice};
use softnet_nic_hal::ethtool::EthtoolOps;
use softnet_nic_hal::{
    HangWatch, IrqHandler, MacAddress, NicCapabilities, NicError, NicHal, NicStats, OpenConfig,
    QueueId, QueuePair, Queues, RingLimits, RxMode, WatchdogReport,
};
use spin::Mutex;

/// Frames of either ring. The card has no descriptors; these wait in the driver.
const RINGS: RingLimits = RingLimits {
    min: 2,
    max: 4096,
    step: 1,
};
/// The card's only vector.
const VECTOR: u16 = 0;

/// An NE2000 on PCI, bound to its driver.
///
/// The type is the control plane. [`NicHal::open`] hands out the rings.
pub struct Ne2000<P: PciDevice> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) prom: [u16; PROM_WORDS],
    full_duplex: bool,
    pub(crate) control: Mutex<Control>,
}

/// What the control plane remembers.
#[derive(Debug)]
pub(crate) struct Control {
    mac: MacAddress,
    mode: RxMode,
    pub(crate) open: bool,
    removed: bool,
    hang: HangWatch,
}

impl<P: PciDevice> Ne2000<P> {
    /// Binds the driver to a function: resets it, reads its address, and finds out
    /// how much memory it has.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn probe(device: Arc<P>) -> Result<Arc<Self>, ProbeError> {
        let found = probe::probe(device)?;
        Ok(Arc::new(Self {
            shared: Arc::new(found.shared),
            prom: found.prom,
            full_duplex: found.full_duplex,
            control: Mutex::new(Control {
                mac: found.mac,
                mode: RxMode::default(),
                open: false,
                removed: false,
                hang: HangWatch::default(),
            }),
        }))
    }

    /// Unbinds the driver: stops the NIC if it is open. Rings that are still held
    /// refuse from then on, and [`open`](NicHal::open) gives [`NicError::Gone`].
    pub fn remove(&self) {
        // Not open: then there is nothing to stop.
        let _ = self.stop();
        self.control.lock().removed = true;
    }

    /// The function.
    #[must_use]
    pub fn device(&self) -> &Arc<P> {
        &self.shared.chip.device
    }

    /// Initializes the chip in the manual's order (chapter 11), all but its start.
    fn program(&self, control: &Control) {
        let chip = &self.shared.chip;
        let layout = self.shared.with(|core| core.layout);
        let first = Rx::new(&layout).next;
        chip.prepare();
        chip.write(regs::PSTART, layout.start);
        chip.write(regs::PSTOP, layout.stop);
        chip.write(regs::BNRY, layout.before(first));
        chip.acknowledge(Isr::all());
        chip.mask(Isr::empty());
        filter::set_station_address(chip, Cr::STOP, control.mac);
        filter::set_multicast(chip, Cr::STOP, filter::mar(&control.mode));
        chip.on_page(Cr::STOP, Cr::PAGE1, || chip.write(regs::CURR, first));
    }

    /// Begins a session: the chip listens and sends from here on.
    fn start(&self, control: &Control, stack: Arc<dyn IrqHandler>) -> u32 {
        let session = self.shared.next_session();
        self.shared.with(|core| {
            core.begin(stack);
            core.rcr = filter::rcr(&control.mode);
            let chip = &self.shared.chip;
            chip.command(Cr::RUN);
            chip.write(regs::RCR, core.rcr.bits());
            chip.write(regs::TCR, 0);
        });
        session
    }

    fn request_irq(&self, config: &OpenConfig) -> Result<(), NicError> {
        let device = &self.shared.chip.device;
        device.alloc_irq_vectors(1, &[IrqMode::Intx])?;
        let line = Arc::new(Line(self.shared.clone()));
        device
            .request_irq(VECTOR, device.name(), config.cpu(QueueId(0)), line)
            .inspect_err(|_| device.free_irq_vectors())?;
        Ok(())
    }

    fn free_irq(&self) {
        let device = &self.shared.chip.device;
        device.free_irq(VECTOR);
        device.free_irq_vectors();
    }

    fn harvest(&self) {
        if self.shared.is_open() && !self.shared.chip.is_gone() {
            self.shared.with(|core| self.shared.harvest(core));
        }
    }
}

fn capabilities(mac: MacAddress) -> NicCapabilities {
    NicCapabilities::basic("ne2k-pci", mac, RINGS)
}

impl<P: PciDevice> NicHal for Ne2000<P> {
    type Rx = RxRing<P>;
    type Tx = TxRing<P>;

    fn capabilities(&self) -> NicCapabilities {
        capabilities(self.control.lock().mac)
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let mut control = self.control.lock();
        if control.open {
            return Err(NicError::AlreadyOpen);
        }
        let chip = &self.shared.chip;
        if control.removed || chip.is_gone() {
            return Err(NicError::Gone);
        }
        config.check(&capabilities(control.mac), BUFFER)?;
        chip.reset()
            .map_err(|_| NicError::Device("it did not come out of its reset"))?;
        self.program(&control);
        self.request_irq(config)?;
        let session = self.start(&control, irq);
        control.open = true;
        control.hang = HangWatch::default();
        Ok(vec![QueuePair {
            id: QueueId(0),
            rx: RxRing::new(self.shared.clone(), session, config.rx_ring),
            tx: TxRing::new(self.shared.clone(), session, config.tx_ring),
        }])
    }

    fn stop(&self) -> Result<(), NicError> {
        let mut control = self.control.lock();
        if !control.open {
            return Err(NicError::NotOpen);
        }
        self.harvest();
        self.shared.next_session();
        self.shared.with(|core| {
            core.stack = None;
            self.shared.chip.stop();
        });
        self.free_irq();
        control.open = false;
        Ok(())
    }

    fn mask_irq(&self, queue: QueueId) {
        if queue == QueueId(0) {
            self.shared.mask();
        }
    }

    fn unmask_irq(&self, queue: QueueId) {
        if queue == QueueId(0) {
            self.shared.unmask();
        }
    }

    fn stats(&self, out: &mut NicStats) {
        let _control = self.control.lock();
        self.harvest();
        self.shared.counters.add_to(out);
    }

    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let _control = self.control.lock();
        self.harvest();
        self.shared.counters.visit(visit);
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        let mut control = self.control.lock();
        watchdog::look(&self.shared, &mut control.hang, self.full_duplex, now_ns)
    }

    fn set_mac_address(&self, mac: MacAddress) -> Result<(), NicError> {
        if !mac.is_unicast() {
            return Err(NicError::BadAddress(mac));
        }
        let mut control = self.control.lock();
        control.mac = mac;
        if control.open {
            let chip = &self.shared.chip;
            self.shared
                .with(|_| filter::set_station_address(chip, Cr::RUN, mac));
        }
        Ok(())
    }

    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        let mut control = self.control.lock();
        control.mode = mode.clone();
        if control.open {
            let chip = &self.shared.chip;
            self.shared.with(|core| {
                core.rcr = filter::rcr(mode);
                filter::set_multicast(chip, Cr::RUN, filter::mar(mode));
                chip.write(regs::RCR, core.rcr.bits());
            });
        }
        Ok(())
    }

    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        Some(self)
    }
}

impl<P: PciDevice> Drop for Ne2000<P> {
    fn drop(&mut self) {
        self.remove();
    }
}

impl<P: PciDevice> fmt::Debug for Ne2000<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ne2000")
            .field("device", &self.device().name())
            .finish_non_exhaustive()
    }
}
