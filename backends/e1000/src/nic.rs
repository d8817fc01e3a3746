//! The control plane: what the stack asks of the NIC.

use crate::filter;
use crate::irq::Line;
use crate::probe::{self, ProbeError};
use crate::regs::{self, Cause, Ctrl};
use crate::ring::{BUFFER, Buffers, RxRing, TxRing};
use crate::settings::{self, Settings};
use crate::shared::{DESCRIPTOR, Descriptors, MAX_RING, RING_STEP, Shared};
use crate::stats::{HwCounters, Statistics};
use crate::watchdog;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;
use softnet_dma_ring::DmaRegion;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, PciDevice};
use softnet_nic_hal::ethtool::{EthtoolOps, Features};
use softnet_nic_hal::{
    HangWatch, IrqHandler, MacAddress, NicCapabilities, NicError, NicHal, NicStats, OpenConfig,
    QueueId, QueuePair, Queues, RingLimits, RxMode, WatchdogReport,
};
use spin::{Mutex, MutexGuard};

const RINGS: RingLimits = RingLimits {
    min: RING_STEP,
    max: MAX_RING,
    step: RING_STEP,
};
/// The chip's only vector.
const VECTOR: u16 = 0;

/// A NIC of the 8254x family, bound to its driver.
///
/// The type is the control plane. [`NicHal::open`] hands out the rings, which
/// share nothing with it but registers, descriptors and atomics.
pub struct E1000<P: PciDevice> {
    shared: Arc<Shared<P>>,
    hw: HwCounters,
    phy_id: u32,
    control: Mutex<Control>,
}

/// What the control plane remembers.
#[derive(Debug)]
pub(crate) struct Control {
    mac: MacAddress,
    mode: RxMode,
    pub(crate) settings: Settings,
    /// The pool that is mapped while the NIC is open.
    mapped: Option<DmaRegion>,
    removed: bool,
    hang: HangWatch,
}

impl Control {
    pub(crate) fn is_open(&self) -> bool {
        self.mapped.is_some()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }
}

impl<P: PciDevice> E1000<P> {
    /// Binds the driver to a function: resets it, and reads its address.
    ///
    /// # Errors
    /// [`ProbeError`]; the function is then left without bus mastering.
    pub fn probe(device: Arc<P>) -> Result<Arc<Self>, ProbeError> {
        let found = probe::probe(device)?;
        Ok(Arc::new(Self {
            shared: Arc::new(found.shared),
            hw: HwCounters::new(),
            phy_id: found.phy_id,
            control: Mutex::new(Control {
                mac: found.mac,
                mode: RxMode::default(),
                settings: Settings::default(),
                mapped: None,
                removed: false,
                hang: HangWatch::default(),
            }),
        }))
    }

    /// Unbinds the driver: stops the NIC if it is open, and leaves the function
    /// unable to do DMA. Rings that are still held refuse from then on, and
    /// [`open`](NicHal::open) gives [`NicError::Gone`].
    pub fn remove(&self) {
        // Not open: then there is nothing to stop.
        let _ = self.stop();
        self.control.lock().removed = true;
        self.shared.chip.device.set_bus_master(false);
    }

    /// The PHY's identifier (IEEE 802.3, registers 2 and 3).
    #[must_use]
    pub fn phy_id(&self) -> u32 {
        self.phy_id
    }

    /// The function.
    #[must_use]
    pub fn device(&self) -> &Arc<P> {
        &self.shared.chip.device
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock()
    }

    pub(crate) fn shared(&self) -> &Shared<P> {
        &self.shared
    }

    /// Sets some bits of CTRL, and clears the others of `which`. The control
    /// plane's lock is held.
    pub(crate) fn set_ctrl(&self, which: Ctrl, to: Ctrl) {
        let chip = &self.shared.chip;
        let before = Ctrl::from_bits_retain(chip.read(regs::CTRL));
        let after = before.difference(which) | to;
        if after != before {
            chip.write(regs::CTRL, after.bits());
        }
    }

    /// Programs the chip from its reset on (chapter 14), all but the units'
    /// enable bits.
    fn program(&self, control: &Control, config: &OpenConfig) {
        let chip = &self.shared.chip;
        chip.set_link_up(control.settings.ctrl());
        settings::program_flow_control(chip, settings::longest(config));
        filter::set_addresses(chip, control.mac);
        filter::set_multicast(chip, &control.mode);
        self.program_ring(&self.shared.rx, regs::RDBAL, config.rx_ring);
        self.program_ring(&self.shared.tx, regs::TDBAL, config.tx_ring);
        chip.write(regs::TIPG, regs::TIPG_COPPER);
        control.settings.program_features(&self.shared);
        control.settings.program_coalesce(&self.shared);
    }

    /// Both directions have their base, length, head and tail at the same
    /// distances.
    fn program_ring(&self, descriptors: &Descriptors<P::Coherent>, base: u32, len: u16) {
        let chip = &self.shared.chip;
        descriptors.clear(len);
        let address = descriptors.memory.dma_addr().0;
        chip.write(base, address as u32);
        chip.write(base + (regs::RDBAH - regs::RDBAL), (address >> 32) as u32);
        let bytes = u32::from(len) * DESCRIPTOR as u32;
        chip.write(base + (regs::RDLEN - regs::RDBAL), bytes);
        chip.write(base + (regs::RDH - regs::RDBAL), 0);
        chip.write(base + (regs::RDT - regs::RDBAL), 0);
    }

    fn request_irq(&self, stack: Arc<dyn IrqHandler>) -> Result<(), NicError> {
        let device = &self.shared.chip.device;
        device.alloc_irq_vectors(1, &[IrqMode::Intx])?;
        let line = Arc::new(Line {
            shared: self.shared.clone(),
            stack,
        });
        device
            .request_irq(VECTOR, device.name(), 0, line)
            .inspect_err(|_| device.free_irq_vectors())?;
        Ok(())
    }

    fn free_irq(&self) {
        let device = &self.shared.chip.device;
        device.free_irq(VECTOR);
        device.free_irq_vectors();
    }

    /// Opens the device; on an error it is as it was before.
    fn bring_up(
        &self,
        control: &Control,
        config: &OpenConfig,
        buffers: Buffers,
        stack: Arc<dyn IrqHandler>,
    ) -> Result<u32, NicError> {
        let chip = &self.shared.chip;
        let longest = settings::longest(config);
        // A reset puts this to use.
        chip.write(regs::PBA, settings::receive_kb(longest));
        chip.reset()
            .map_err(|_| NicError::Device("it did not come out of its reset"))?;
        HwCounters::discard(chip);
        let region = config.pool.region();
        chip.device.map(region)?;
        self.request_irq(stack)
            .inspect_err(|_| chip.device.unmap(region))?;
        self.program(control, config);
        let receive = filter::rctl(&control.mode) | settings::rctl(longest, buffers);
        let session = self.shared.start(receive);
        chip.write(regs::IMS, Cause::LSC.bits());
        Ok(session)
    }

    /// Harvests the chip's counters, unless the device is gone. The control
    /// plane's lock is held: there is one harvest at a time.
    fn harvest(&self) {
        if !self.shared.chip.is_gone() {
            self.hw.harvest(&self.shared.chip);
        }
    }

    /// With the link up, the two partners have agreed on pause frames.
    fn settle_flow_control(&self, settings: &Settings) {
        if settings.pause.autonegotiate
            && let Some(agreed) = settings::agreed(&self.shared.chip, settings.pause)
        {
            self.set_ctrl(Ctrl::RFCE | Ctrl::TFCE, agreed);
        }
    }

    fn statistics(&self) -> Statistics<'_> {
        Statistics {
            hw: &self.hw,
            soft: &self.shared.counters,
        }
    }
}

fn capabilities(control: &Control) -> NicCapabilities {
    let on = |feature| control.settings.features.contains(feature);
    let mut capabilities = NicCapabilities::basic("e1000", control.mac, RINGS);
    capabilities.max_mtu = settings::MAX_MTU;
    capabilities.rx_checksum = on(Features::RX_CHECKSUM);
    capabilities.tx_checksum = on(Features::TX_CHECKSUM);
    capabilities.tx_segmentation = on(Features::TSO);
    capabilities.vlan = on(Features::RX_VLAN);
    capabilities.scatter = true;
    capabilities.moderation = true;
    capabilities
}

impl<P: PciDevice> NicHal for E1000<P> {
    type Rx = RxRing<P>;
    type Tx = TxRing<P>;

    fn capabilities(&self) -> NicCapabilities {
        capabilities(&self.control.lock())
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let mut control = self.control.lock();
        if control.mapped.is_some() {
            return Err(NicError::AlreadyOpen);
        }
        if control.removed || self.shared.chip.is_gone() {
            return Err(NicError::Gone);
        }
        config.check(&capabilities(&control), BUFFER)?;
        let buffers = settings::buffers(config);
        let session = self.bring_up(&control, config, buffers, irq)?;
        control.mapped = Some(config.pool.region().clone());
        control.hang = HangWatch::default();
        let (shared, longest) = (&self.shared, settings::longest(config));
        Ok(vec![QueuePair {
            id: QueueId(0),
            rx: RxRing::new(shared.clone(), session, config.rx_ring, buffers),
            tx: TxRing::new(shared.clone(), session, config.tx_ring, longest),
        }])
    }

    fn stop(&self) -> Result<(), NicError> {
        let mut control = self.control.lock();
        let region = control.mapped.take().ok_or(NicError::NotOpen)?;
        self.shared.finish();
        self.free_irq();
        self.harvest();
        // Whatever the reset says: the units are off, and the bus keeps the
        // device from what is not mapped.
        let _ = self.shared.chip.reset();
        self.shared.chip.device.unmap(&region);
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

    fn moderate(&self, queue: QueueId, interval_us: u32) {
        if queue == QueueId(0) {
            self.shared.chip.write(regs::ITR, regs::itr(interval_us));
        }
    }

    fn stats(&self, out: &mut NicStats) {
        let _control = self.control.lock();
        self.harvest();
        self.statistics().add_to(out);
    }

    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let _control = self.control.lock();
        self.harvest();
        self.statistics().visit(visit);
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        let mut control = self.control.lock();
        self.harvest();
        let open = control.is_open();
        let report = watchdog::look(&self.shared, &mut control.hang, open, now_ns);
        if open && report.link.up {
            self.settle_flow_control(&control.settings);
        }
        report
    }

    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        Some(self)
    }

    fn set_mac_address(&self, mac: MacAddress) -> Result<(), NicError> {
        if !mac.is_unicast() {
            return Err(NicError::BadAddress(mac));
        }
        let mut control = self.control.lock();
        control.mac = mac;
        if control.mapped.is_some() {
            filter::set_station_address(&self.shared.chip, mac);
        }
        Ok(())
    }

    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        let mut control = self.control.lock();
        control.mode = mode.clone();
        if control.mapped.is_some() {
            filter::set_multicast(&self.shared.chip, mode);
            self.shared.set_filter(filter::rctl(mode));
        }
        Ok(())
    }
}

impl<P: PciDevice> Drop for E1000<P> {
    fn drop(&mut self) {
        self.remove();
    }
}

impl<P: PciDevice> fmt::Debug for E1000<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("E1000")
            .field("device", &self.device().name())
            .finish_non_exhaustive()
    }
}
