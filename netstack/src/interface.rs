//! A NIC in the stack's service: what the control plane keeps of it.

use crate::device::{Adaptive, HardIrq, LinkWatch, QueueVector, RxStats, TxStats};
use crate::route::IfIndex;
use crate::shard::Shard;
use crate::steering::Steering;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use softnet_dma_ring::DmaRing;
use softnet_napi::{Deferral, NapiHandle, NapiPoll};
use softnet_nic_hal::ethtool::{EthtoolOps, Features};
use softnet_nic_hal::{
    LinkState, MacAddress, NicCapabilities, NicError, NicHal, NicStats, OpenConfig, QueueId,
    RxMode, WatchdogReport,
};
use softnet_softirq::Cpu;
use spin::Mutex;

/// A queue of any NIC, as NAPI polls it.
pub(crate) trait Queue: NapiPoll<Shard> {
    /// Posts empty frames until the ring is full.
    fn fill(&mut self, shard: &mut Shard, cpu: &mut Cpu);
}

impl<N: NicHal + 'static> Queue for QueueVector<N> {
    fn fill(&mut self, shard: &mut Shard, cpu: &mut Cpu) {
        QueueVector::fill(self, shard, cpu);
    }
}

/// The two halves of an opened queue.
pub(crate) struct OpenedQueue {
    pub(crate) rx: Box<dyn Queue>,
    pub(crate) tx: Box<dyn DmaRing>,
}

/// Any NIC. The packet path does not come through here: it has the rings.
pub(crate) trait AnyNic: Send + Sync {
    fn capabilities(&self) -> NicCapabilities;
    fn open(
        &self,
        dev: IfIndex,
        config: &OpenConfig,
        irq: HardIrq,
        queues: &[QueueRecord],
        adaptive: &Adaptive,
    ) -> Result<Vec<OpenedQueue>, NicError>;
    fn moderate(&self, queue: QueueId, interval_us: u32);
    fn ethtool(&self) -> Option<&dyn EthtoolOps>;
    fn stop(&self) -> Result<(), NicError>;
    fn unmask_irq(&self, queue: QueueId);
    fn stats(&self, out: &mut NicStats);
    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64));
    fn watchdog(&self, now_ns: u64) -> WatchdogReport;
    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError>;
}

/// A NIC of a certain kind.
pub(crate) struct Nic<N>(pub(crate) Arc<N>);

impl<N: NicHal + 'static> AnyNic for Nic<N> {
    fn capabilities(&self) -> NicCapabilities {
        self.0.capabilities()
    }

    fn open(
        &self,
        dev: IfIndex,
        config: &OpenConfig,
        irq: HardIrq,
        queues: &[QueueRecord],
        adaptive: &Adaptive,
    ) -> Result<Vec<OpenedQueue>, NicError> {
        let pairs = self.0.open(config, Arc::new(irq))?;
        let opened = pairs.into_iter().zip(queues).map(|(pair, record)| {
            let rx = QueueVector::new(
                self.0.clone(),
                pair.id,
                dev,
                pair.rx,
                record.napi.clone(),
                record.rx.clone(),
                adaptive.clone(),
            );
            OpenedQueue {
                rx: Box::new(rx),
                tx: Box::new(pair.tx),
            }
        });
        Ok(opened.collect())
    }

    fn moderate(&self, queue: QueueId, interval_us: u32) {
        self.0.moderate(queue, interval_us);
    }

    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        self.0.ethtool()
    }

    fn stop(&self) -> Result<(), NicError> {
        self.0.stop()
    }

    fn unmask_irq(&self, queue: QueueId) {
        self.0.unmask_irq(queue);
    }

    fn stats(&self, out: &mut NicStats) {
        self.0.stats(out);
    }

    fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.0.ethtool_stats(visit);
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        self.0.watchdog(now_ns)
    }

    fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        self.0.set_rx_mode(mode)
    }
}

/// A queue's place while the NIC is open.
pub(crate) struct QueueRecord {
    pub(crate) cpu: usize,
    pub(crate) napi: NapiHandle,
    pub(crate) rx: Arc<RxStats>,
    pub(crate) tx: Arc<TxStats>,
}

/// How far apart a NIC's receive interrupts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moderation {
    /// As close as the packets come.
    #[default]
    None,
    /// At least so many microseconds.
    Fixed(u32),
    /// As the load asks for, queue by queue ([`Dim`](softnet_nic_hal::dim::Dim)).
    Adaptive,
}

/// When a NIC is allowed to interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// The NIC's own part.
    pub moderation: Moderation,
    /// NAPI's part.
    pub deferral: Deferral,
}

/// The queues of a NIC in service (`ethtool -l` and `-g`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Queue pairs.
    pub queues: u16,
    /// Receive descriptors of each.
    pub rx: u16,
    /// Transmit descriptors of each.
    pub tx: u16,
}

/// A device of the stack, for the control plane and for reports.
pub struct Interface {
    pub(crate) dev: IfIndex,
    pub(crate) name: String,
    pub(crate) mac: MacAddress,
    /// Whether the NIC fills in transport checksums.
    pub(crate) tx_checksum: bool,
    /// How the NIC is opened, now and the next time.
    pub(crate) config: Mutex<OpenConfig>,
    pub(crate) steering: Arc<Steering>,
    pub(crate) nic: Box<dyn AnyNic>,
    pub(crate) link: LinkWatch,
    /// The queues while the NIC is open; taken out by whoever changes it.
    pub(crate) queues: Mutex<Vec<QueueRecord>>,
    pub(crate) link_state: Mutex<LinkState>,
    pub(crate) gone: AtomicBool,
    /// When it may interrupt, as far as it was said.
    pub(crate) interrupts: Mutex<Option<Interrupts>>,
    pub(crate) adaptive: Adaptive,
    /// Whether a reset could not open the NIC again.
    pub(crate) reset_failed: AtomicBool,
}

impl Interface {
    /// The device's number.
    #[must_use]
    pub fn index(&self) -> IfIndex {
        self.dev
    }

    /// The control plane that `ethtool` reaches, where the NIC has one.
    #[must_use]
    pub fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        self.nic.ethtool()
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The station address.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The largest network-layer packet, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.config.lock().mtu
    }

    /// Its queues and rings.
    #[must_use]
    pub fn rings(&self) -> Rings {
        let config = self.config.lock();
        Rings {
            queues: config.queues,
            rx: config.rx_ring,
            tx: config.tx_ring,
        }
    }

    /// Has the NIC spread flows as the stack does, if it can and there is more than one
    /// queue. Where it refuses, packets are steered once they are here.
    pub(crate) fn spread_flows(&self) {
        let queues = self.rings().queues;
        let Some(ethtool) = self.nic.ethtool().filter(|_| queues > 1) else {
            return;
        };
        if let Ok(now) = ethtool.rss() {
            let wanted = self.steering.for_nic(queues, now.table.len());
            // A refusal is no failure: see above.
            let _ = ethtool.set_rss(&wanted);
        }
    }

    /// Has the NIC leave VLAN tags in the frames: the stack has no VLANs, and a frame
    /// without its tag would pass for one of the untagged network.
    pub(crate) fn keep_tags(&self) -> Result<(), NicError> {
        let Some(ethtool) = self.nic.ethtool() else {
            return Ok(());
        };
        let on = ethtool.features().on;
        match on.contains(Features::RX_VLAN) {
            true => ethtool.set_features(on - Features::RX_VLAN),
            false => Ok(()),
        }
    }

    /// What the NIC can do.
    #[must_use]
    pub fn capabilities(&self) -> NicCapabilities {
        self.nic.capabilities()
    }

    /// The link, as the watchdog last saw it.
    #[must_use]
    pub fn link(&self) -> LinkState {
        *self.link_state.lock()
    }

    /// Whether the device was unplugged.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The NIC's counters.
    #[must_use]
    pub fn stats(&self) -> NicStats {
        let mut stats = NicStats::default();
        self.nic.stats(&mut stats);
        stats
    }

    /// The NIC's own counters by name, as `ethtool -S` lists them, and those of
    /// the queues.
    pub fn ethtool_stats(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        self.nic.ethtool_stats(visit);
    }

    /// Visits each queue: its CPU and its counters.
    pub fn queues(&self, visit: &mut dyn FnMut(usize, &RxStats, &TxStats)) {
        for queue in self.queues.lock().iter() {
            visit(queue.cpu, &queue.rx, &queue.tx);
        }
    }

    /// Changes which frames the NIC accepts.
    ///
    /// # Errors
    /// [`NicError::Unsupported`] where it cannot.
    pub fn set_rx_mode(&self, mode: &RxMode) -> Result<(), NicError> {
        self.nic.set_rx_mode(mode)
    }
}
