//! The control plane: what the stack asks of the NIC.

use crate::clock::RxStamps;
use crate::filter;
use crate::irq::{self, Plan};
use crate::probe::{self, ProbeError};
use crate::program::{self, Program};
use crate::queue::{MAX_RING, Queue, RING_STEP};
use crate::regs::{self, Rctl};
use crate::ring::{self, RxRing, RxShape, TxRing, TxShape};
use crate::rss::Rss;
use crate::shared::Shared;
use crate::stats::{self, HwCounters, Statistics};
use crate::watchdog::{self, HangWatches};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use softnet_dma_ring::DmaRegion;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::{Coalesce, EthtoolOps, Features, Pause};
use softnet_nic_hal::{
    IrqHandler, MacAddress, NicCapabilities, NicError, NicHal, NicStats, OpenConfig, QueueId,
    QueuePair, Queues, RingLimits, RxMode, WatchdogReport,
};
use spin::{Mutex, MutexGuard};

const RINGS: RingLimits = RingLimits {
    min: RING_STEP,
    max: MAX_RING,
    step: RING_STEP,
};
/// Longest Ethernet payload: as Linux has it, within the 9.5 KB that the packet
/// buffers take (1.3).
const MAX_MTU: u16 = 9216;
/// The largest MTU whose packets are no long ones.
const STANDARD_MTU: u16 = 1500;

/// Every offload that the driver has.
pub(crate) const FEATURES: Features = Features::RX_CHECKSUM
    .union(Features::TX_CHECKSUM)
    .union(Features::TSO)
    .union(Features::RX_VLAN)
    .union(Features::TX_VLAN)
    .union(Features::RX_HASH);

/// A NIC of the 82576's kind, bound to its driver.
///
/// The type is the control plane. [`NicHal::open`] hands out the rings, which
/// share nothing with it but registers, descriptors and atomics.
pub struct Igb<P: PciDevice> {
    pub(crate) shared: Arc<Shared<P>>,
    hw: HwCounters,
    phy_id: u32,
    control: Mutex<Control>,
}

/// What the stack has asked for; it outlasts a stop.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) mode: RxMode,
    pub(crate) rss: Rss,
    pub(crate) coalesce: Coalesce,
    pub(crate) pause: Pause,
    pub(crate) features: Features,
    pub(crate) rx_stamps: RxStamps,
    header_split: bool,
}

impl Settings {
    fn new() -> Self {
        Self {
            mode: RxMode::default(),
            rss: Rss::default(),
            coalesce: Coalesce::default(),
            pause: Pause {
                autonegotiate: true,
                ..Pause::default()
            },
            features: FEATURES,
            rx_stamps: RxStamps::default(),
            header_split: false,
        }
    }

    /// How long interrupts are held back. Both directions of a queue have one
    /// interrupt: the shorter time counts, unless there is only one.
    pub(crate) fn throttle_us(&self) -> u32 {
        let Coalesce { rx_usecs, tx_usecs } = self.coalesce;
        if rx_usecs == 0 || tx_usecs == 0 {
            rx_usecs.max(tx_usecs)
        } else {
            rx_usecs.min(tx_usecs)
        }
    }

    /// Whether headers go to frames of their own.
    pub(crate) fn splits(&self, config: &OpenConfig) -> bool {
        self.header_split && config.scatter
    }

    /// What mode and MTU add to RCTL.
    fn rctl(&self, mtu: u16) -> Rctl {
        let mut bits = filter::rctl(&self.mode);
        bits.set(Rctl::LPE, mtu > STANDARD_MTU);
        bits
    }
}

/// What the control plane remembers.
#[derive(Debug)]
pub(crate) struct Control {
    mac: MacAddress,
    pub(crate) settings: Settings,
    pub(crate) open: Option<Opened>,
    removed: bool,
    link_up: bool,
    hang: HangWatches,
    tx_timeouts: u64,
}

/// What an open has taken.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The pool's memory, which is mapped.
    region: DmaRegion,
    pub(crate) plan: Plan,
    pub(crate) queues: u16,
}

/// A device that was brought up.
struct Running<P: PciDevice> {
    plan: Plan,
    queues: Vec<Arc<Queue<P>>>,
    session: u32,
}

impl<P: PciDevice> Igb<P> {
    /// Binds the driver to a function: resets it, and reads its address.
    ///
    /// # Errors
    /// [`ProbeError`]; the function is then left without bus mastering.
    pub fn probe(device: Arc<P>) -> Result<Arc<Self>, ProbeError> {
        let found = probe::probe(device)?;
        let settings = Settings::new();
        found.shared.set_features(settings.features);
        Ok(Arc::new(Self {
            shared: Arc::new(found.shared),
            hw: HwCounters::new(),
            phy_id: found.phy_id,
            control: Mutex::new(Control {
                mac: found.mac,
                settings,
                open: None,
                removed: false,
                link_up: false,
                hang: HangWatches::default(),
                tx_timeouts: 0,
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

    /// Chooses which received packets get a time stamp. The stamps of the device
    /// are translated to the stack's clock, which the driver knows from the
    /// first [`watchdog`](NicHal::watchdog) of a session on; until then they count
    /// from the open on.
    ///
    /// # Errors
    /// [`NicError::Unsupported`] where the chip's stamps are of another kind.
    pub fn set_rx_stamps(&self, stamps: RxStamps) -> Result<(), NicError> {
        let chip = &self.shared.chip;
        if !chip.family.has_timestamps() {
            return Err(NicError::Unsupported("time stamps"));
        }
        let mut control = self.control.lock();
        control.settings.rx_stamps = stamps;
        if control.open.is_some() {
            crate::clock::Clock::set_rx_stamps(chip, stamps);
        }
        Ok(())
    }

    /// From the next open on, puts the headers of IP, TCP and UDP packets into a
    /// frame of their own, and the payload into the next ones; or does not. Only
    /// where [`OpenConfig::scatter`] lets a packet lie in several frames. Each
    /// receive descriptor then takes two frames.
    pub fn set_header_split(&self, on: bool) {
        self.control.lock().settings.header_split = on;
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock()
    }

    /// Whether the device can be used.
    pub(crate) fn check_present(&self, control: &Control) -> Result<(), NicError> {
        if control.removed || self.shared.chip.is_gone() {
            return Err(NicError::Gone);
        }
        Ok(())
    }

    fn capabilities_of(&self, control: &Control) -> NicCapabilities {
        let family = self.shared.chip.family;
        let on = control.settings.features;
        let mut capabilities = NicCapabilities::basic("igb", control.mac, RINGS);
        capabilities.max_mtu = MAX_MTU;
        capabilities.max_queues = family.queues();
        capabilities.rx_checksum = on.contains(Features::RX_CHECKSUM);
        capabilities.tx_checksum = on.contains(Features::TX_CHECKSUM);
        capabilities.tx_segmentation = on.contains(Features::TSO);
        capabilities.vlan = on.contains(Features::RX_VLAN | Features::TX_VLAN);
        capabilities.rss = true;
        capabilities.timestamps = family.has_timestamps();
        capabilities.scatter = true;
        capabilities.moderation = true;
        capabilities
    }

    /// Opens the device; on an error it is as it was before.
    fn bring_up(
        &self,
        control: &Control,
        config: &OpenConfig,
        stack: Arc<dyn IrqHandler>,
    ) -> Result<Running<P>, NicError> {
        let chip = &self.shared.chip;
        let queues = (0..config.queues).map(|number| self.shared.make_queue(number));
        let queues: Vec<_> = queues.collect::<Result<_, _>>()?;
        chip.reset()
            .map_err(|_| NicError::Device("it did not come out of its reset"))?;
        HwCounters::discard(chip);
        let region = config.pool.region();
        chip.device.map(region)?;
        let plan = irq::request(&self.shared, config, &queues, &stack)
            .inspect_err(|_| chip.device.unmap(region))?;
        let session = self
            .switch_on(control, config, plan, &queues)
            .inspect_err(|_| {
                chip.mask_all();
                irq::free(&*chip.device, plan);
                chip.device.unmap(region);
            })?;
        Ok(Running {
            plan,
            queues,
            session,
        })
    }

    /// Programs the chip, and lets it run.
    fn switch_on(
        &self,
        control: &Control,
        config: &OpenConfig,
        plan: Plan,
        queues: &[Arc<Queue<P>>],
    ) -> Result<u32, NicError> {
        let settings = &control.settings;
        let program = Program {
            shared: &self.shared,
            queues,
            config,
            settings,
            mac: control.mac,
            plan,
        };
        program.run()?;
        program.enable_queues()?;
        let filter = settings.rctl(config.mtu);
        let session = self.shared.start(config.queues, filter);
        irq::open_link(&self.shared, plan);
        Ok(session)
    }

    /// Harvests the chip's counters, unless the device is gone. The control
    /// plane's lock is held: there is one harvest at a time.
    fn harvest(&self) {
        if self.shared.chip.is_gone() {
            return;
        }
        self.hw.harvest(&self.shared.chip);
        for queue in self.shared.open_queues() {
            stats::harvest_queue(&self.shared.chip, queue);
        }
    }

    fn statistics(&self, control: &Control) -> Statistics<'_, P> {
        Statistics {
            hw: &self.hw,
            queues: self.shared.queues().collect(),
            tx_timeouts: control.tx_timeouts,
        }
    }

    /// Once the link is up, what both ends have said about pause frames counts.
    fn note_link(&self, control: &mut Control, up: bool) {
        let came_up = up && !control.link_up;
        control.link_up = up;
        let pause = control.settings.pause;
        if came_up && pause.autonegotiate {
            // A PHY that does not answer now leaves pause frames off.
            let _ = program::resolve_pause(&self.shared.chip, pause);
        }
    }
}

impl<P: PciDevice> NicHal for Igb<P> {
    type Rx = RxRing<P>;
    type Tx = TxRing<P>;

    fn capabilities(&self) -> NicCapabilities {
        self.capabilities_of(&self.control.lock())
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let mut control = self.control.lock();
        if control.open.is_some() {
            return Err(NicError::AlreadyOpen);
        }
        self.check_present(&control)?;
        let buffer = program::buffer_len(config);
        config.check(&self.capabilities_of(&control), buffer)?;
        let running = self.bring_up(&control, config, irq)?;
        control.hang.restart(config.queues);
        control.link_up = false;
        control.open = Some(Opened {
            region: config.pool.region().clone(),
            plan: running.plan,
            queues: config.queues,
        });
        let rx = RxShape {
            len: config.rx_ring,
            buffer,
            scatter: config.scatter,
            split: control.settings.splits(config),
        };
        let tx = TxShape {
            len: config.tx_ring,
            mtu: config.mtu,
        };
        let session = running.session;
        let pairs = (0..).zip(running.queues).map(|(number, queue)| {
            let id = QueueId(number);
            let (rx, tx) = ring::pair(&self.shared, queue, id, session, (rx, tx));
            QueuePair { id, rx, tx }
        });
        Ok(pairs.collect())
    }

    fn stop(&self) -> Result<(), NicError> {
        let mut control = self.control.lock();
        let opened = control.open.take().ok_or(NicError::NotOpen)?;
        let chip = &self.shared.chip;
        self.shared.finish();
        irq::free(&*chip.device, opened.plan);
        self.harvest();
        self.shared.close();
        // Whatever the reset says: the units are off, and the bus keeps the
        // device from what is not mapped.
        let _ = chip.reset();
        let ctrl_ext = chip.read(regs::CTRL_EXT);
        chip.write(regs::CTRL_EXT, ctrl_ext & !regs::CTRL_EXT_DRV_LOAD);
        chip.device.unmap(&opened.region);
        Ok(())
    }

    #[inline]
    fn mask_irq(&self, queue: QueueId) {
        self.shared.mask(queue);
    }

    #[inline]
    fn unmask_irq(&self, queue: QueueId) {
        self.shared.unmask(queue);
    }

    fn moderate(&self, queue: QueueId, interval_us: u32) {
        self.shared.moderate(queue, interval_us);
    }

    fn stats(&self, out: &mut NicStats) {
        let control = self.control.lock();
        self.harvest();
        self.statistics(&control).add_to(out);
    }

    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let control = self.control.lock();
        self.harvest();
        self.statistics(&control).visit(visit);
    }

    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        Some(self)
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        let mut guard = self.control.lock();
        let control = &mut *guard;
        self.harvest();
        let open = control.open.is_some();
        let report = watchdog::look(&self.shared, &mut control.hang, open, now_ns);
        control.tx_timeouts += u64::from(report.tx_hang.is_some());
        if open && !report.gone {
            self.shared.clock.synchronize(&self.shared.chip, now_ns);
            self.note_link(control, report.link.up);
        }
        report
    }

    fn set_mac_address(&self, mac: MacAddress) -> Result<(), NicError> {
        if !mac.is_unicast() {
            return Err(NicError::BadAddress(mac));
        }
        let mut control = self.control.lock();
        control.mac = mac;
        if control.open.is_some() {
            filter::set_station_address(&self.shared.chip, mac);
        }
        Ok(())
    }

    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        let mut control = self.control.lock();
        control.settings.mode = mode.clone();
        if control.open.is_some() {
            filter::set_multicast(&self.shared.chip, mode);
            self.shared.set_filter(filter::rctl(mode));
        }
        Ok(())
    }
}

impl<P: PciDevice> Drop for Igb<P> {
    fn drop(&mut self) {
        self.remove();
    }
}

impl<P: PciDevice> fmt::Debug for Igb<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Igb")
            .field("device", &self.device().name())
            .finish_non_exhaustive()
    }
}
