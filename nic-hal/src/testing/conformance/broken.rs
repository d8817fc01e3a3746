//! A NIC that breaks its contract in one way at a time, and the check that finds
//! it.

use super::{Harness, Verdict, lines, outcome};
use crate::ethtool::{Coalesce, EthtoolOps, FeatureSet, Features};
use crate::nic::{
    IrqHandler, NicCapabilities, NicError, NicHal, OpenConfig, QueueId, QueuePair, Queues,
    WatchdogReport,
};
use crate::stats::NicStats;
use crate::testing::{LoopConfig, LoopHarness, LoopNic, LoopRx, LoopTx};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use softnet_dma_ring::{ChecksumStatus, DmaRing, Frame, FrameBatch, RingFull};

/// What is wrong with the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// Nothing.
    None,
    /// It sends what asks for an offload as if it had not asked.
    IgnoresRequests,
    /// It says that it has every offload, and has none.
    Boasts,
    /// It calls every received checksum right.
    TrustsAll,
    /// It says of received frames that they go on.
    GoesOn,
    /// It takes packets of any length.
    TakesAnyLength,
    /// It gives its queues in another order.
    Reversed,
    /// Its queues have each other's transmit rings.
    CrossedTx,
    /// Its queues have each other's receive rings.
    CrossedRx,
    /// It says that all interrupts are the first queue's.
    OneInterrupt,
    /// It counts nothing.
    CountsNothing,
    /// A full ring drops what is posted.
    Swallows,
    /// A reap of none takes one.
    TakesOne,
    /// It does not notice the first kick of receive frames.
    OverseesKick,
    /// It changes a byte now and then.
    Garbles,
    /// It loses a frame now and then.
    Leaks,
    /// It gives no frame back.
    KeepsAll,
    /// It forgets what ethtool sets.
    Forgets,
    /// It switches on whatever it is asked to.
    AgreesToAll,
    /// Once its interrupts are kept apart, none comes any more.
    Sleeps,
}

struct Broken {
    inner: Arc<LoopNic>,
    defect: Defect,
    asleep: AtomicBool,
}

struct BrokenRing<R> {
    inner: R,
    defect: Defect,
    count: usize,
}

/// Says that all interrupts are the first queue's.
struct First(Arc<dyn IrqHandler>);

impl IrqHandler for First {
    fn irq(&self, _: QueueId) {
        self.0.irq(QueueId(0));
    }

    fn link_changed(&self) {
        self.0.link_changed();
    }
}

impl Broken {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn wrap<R>(&self, inner: R) -> BrokenRing<R> {
        BrokenRing {
            inner,
            defect: self.defect,
            count: 0,
        }
    }

    /// The rings of the queues, in an order of the defect's.
    fn cross(&self, mut pairs: Queues<LoopNic>) -> Queues<LoopNic> {
        let [first, .., last] = &mut pairs[..] else {
            return pairs;
        };
        match self.defect {
            Defect::CrossedTx => core::mem::swap(&mut first.tx, &mut last.tx),
            Defect::CrossedRx => core::mem::swap(&mut first.rx, &mut last.rx),
            Defect::Reversed => pairs.reverse(),
            _ => {}
        }
        pairs
    }
}

impl NicHal for Broken {
    type Rx = BrokenRing<LoopRx>;
    type Tx = BrokenRing<LoopTx>;

    fn capabilities(&self) -> NicCapabilities {
        let have = self.inner.capabilities();
        if !self.is(Defect::Boasts) {
            return NicCapabilities {
                moderation: self.is(Defect::Sleeps),
                ..have
            };
        }
        NicCapabilities {
            max_mtu: 9000,
            rx_checksum: true,
            tx_checksum: true,
            rss: true,
            tx_segmentation: true,
            vlan: true,
            timestamps: true,
            scatter: true,
            ..have
        }
    }

    fn open(
        &self,
        config: &OpenConfig,
        irq: Arc<dyn IrqHandler>,
    ) -> Result<Queues<Self>, NicError> {
        let irq = if self.is(Defect::OneInterrupt) {
            Arc::new(First(irq)) as Arc<dyn IrqHandler>
        } else {
            irq
        };
        let mut config = config.clone();
        if self.is(Defect::TakesAnyLength) {
            config.mtu = self.inner.capabilities().max_mtu;
        }
        let pairs = self.cross(self.inner.open(&config, irq)?);
        let wrapped = pairs.into_iter().map(|pair| QueuePair {
            id: pair.id,
            rx: self.wrap(pair.rx),
            tx: self.wrap(pair.tx),
        });
        Ok(wrapped.collect())
    }

    fn stop(&self) -> Result<(), NicError> {
        self.inner.stop()
    }

    fn mask_irq(&self, queue: QueueId) {
        self.inner.mask_irq(queue);
    }

    fn unmask_irq(&self, queue: QueueId) {
        if !self.asleep.load(Ordering::Relaxed) {
            self.inner.unmask_irq(queue);
        }
    }

    fn moderate(&self, _: QueueId, _: u32) {
        let sleeps = self.is(Defect::Sleeps);
        self.asleep.store(sleeps, Ordering::Relaxed);
    }

    fn stats(&self, out: &mut NicStats) {
        if !self.is(Defect::CountsNothing) {
            self.inner.stats(out);
        }
    }

    fn watchdog(&self, now_ns: u64) -> WatchdogReport {
        self.inner.watchdog(now_ns)
    }

    fn ethtool(&self) -> Option<&dyn EthtoolOps> {
        let has = self.is(Defect::Forgets) || self.is(Defect::AgreesToAll);
        has.then_some(self)
    }
}

impl EthtoolOps for Broken {
    fn coalesce(&self) -> Result<Coalesce, NicError> {
        Ok(Coalesce::default())
    }

    fn set_coalesce(&self, _: &Coalesce) -> Result<(), NicError> {
        Ok(())
    }

    fn features(&self) -> FeatureSet {
        FeatureSet {
            available: Features::empty(),
            on: Features::empty(),
        }
    }

    fn set_features(&self, _: Features) -> Result<(), NicError> {
        Ok(())
    }
}

impl<R: DmaRing> BrokenRing<R> {
    /// Every so many calls.
    fn now_and_then(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(10)
    }

    fn spoil(&mut self, mut frame: Frame) -> Option<Frame> {
        let hit = self.now_and_then();
        match self.defect {
            Defect::TrustsAll => frame.set_checksum(ChecksumStatus::Unnecessary),
            Defect::GoesOn => frame.set_continues(true),
            Defect::Garbles if hit => {
                if let Some(last) = frame.data_mut().last_mut() {
                    *last ^= 1;
                }
            }
            Defect::Leaks if hit => {
                core::mem::forget(frame);
                return None;
            }
            _ => {}
        }
        Some(frame)
    }
}

impl<R: DmaRing> DmaRing for BrokenRing<R> {
    fn post(&mut self, mut frame: Frame) -> Result<(), RingFull<Frame>> {
        if self.defect == Defect::Swallows && self.inner.free_slots() == 0 {
            return Ok(());
        }
        if matches!(self.defect, Defect::IgnoresRequests | Defect::Boasts) {
            frame.set_tx_checksum(None);
            frame.set_gso_size(None);
            frame.set_vlan_tci(None);
            frame.set_continues(false);
        }
        self.inner.post(frame)
    }

    fn reap(&mut self) -> Option<Frame> {
        if self.defect == Defect::KeepsAll {
            return None;
        }
        let frame = self.inner.reap()?;
        self.spoil(frame)
    }

    fn kick(&mut self) {
        self.count += 1;
        if self.defect != Defect::OverseesKick || self.count > 1 {
            self.inner.kick();
        }
    }

    fn free_slots(&self) -> usize {
        self.inner.free_slots()
    }

    fn reap_into(&mut self, out: &mut FrameBatch, max: usize) -> usize {
        let max = if self.defect == Defect::TakesOne {
            max.max(1)
        } else {
            max
        };
        let before = out.len();
        while out.len() - before < max {
            let Some(frame) = self.reap() else {
                break;
            };
            out.push(frame);
        }
        out.len() - before
    }
}

struct BrokenHarness {
    inner: LoopHarness,
    nic: Arc<Broken>,
}

impl BrokenHarness {
    fn new(defect: Defect) -> Self {
        let long = matches!(defect, Defect::TakesAnyLength);
        let inner = LoopHarness::with(LoopConfig {
            queues: 4,
            max_mtu: if long { 1800 } else { 1500 },
            ..LoopConfig::default()
        });
        let nic = Arc::new(Broken {
            inner: inner.nic(),
            defect,
            asleep: AtomicBool::new(false),
        });
        Self { inner, nic }
    }
}

impl Harness for BrokenHarness {
    type Nic = Broken;

    fn nic(&self) -> Arc<Broken> {
        self.nic.clone()
    }

    fn inject(&mut self, queue: QueueId, frame: &[u8]) {
        self.inner.inject(queue, frame);
    }

    fn inject_bad_length(&mut self, queue: QueueId, frame: &[u8]) -> bool {
        self.inner.inject_bad_length(queue, frame)
    }

    fn queues(&self) -> u16 {
        4
    }

    fn steers(&self) -> bool {
        true
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        self.inner.drain(sink);
    }

    fn step(&mut self) {
        self.inner.step();
    }
}

/// What one check says of a NIC with that defect.
fn verdict(defect: Defect, fact: &str) -> Verdict {
    let lines = lines::<BrokenHarness>();
    let line = lines.iter().find(|line| line.0 == fact);
    outcome(line.unwrap(), BrokenHarness::new(defect)).verdict
}

/// Each check beside a defect that it has to find.
const FINDS: &[(Defect, &str)] = &[
    (
        Defect::IgnoresRequests,
        "an offload that the NIC does not have is refused",
    ),
    (
        Defect::CountsNothing,
        "an offload that the NIC does not have is refused",
    ),
    (
        Defect::Boasts,
        "a checksum that is left to the NIC is right on the wire",
    ),
    (
        Defect::Boasts,
        "a long packet that is left to the NIC is cut into segments",
    ),
    (
        Defect::Boasts,
        "a tag that is left to the NIC is on the wire",
    ),
    (Defect::Boasts, "a tag on the wire is in the frame"),
    (Defect::TrustsAll, "a wrong checksum is never called right"),
    (Defect::Boasts, "a right checksum is called so"),
    (
        Defect::Boasts,
        "a packet in several frames is one on the wire",
    ),
    (
        Defect::Boasts,
        "a packet longer than a frame comes in several",
    ),
    (
        Defect::GoesOn,
        "without scatter a received packet is one frame",
    ),
    (
        Defect::Boasts,
        "when a packet left is told if it is asked for",
    ),
    (
        Defect::Reversed,
        "a NIC opens with every number of queues it has",
    ),
    (Defect::KeepsAll, "each queue sends what is posted to it"),
    (Defect::CrossedTx, "each queue interrupts for itself alone"),
    (
        Defect::OneInterrupt,
        "each queue interrupts for itself alone",
    ),
    (Defect::CrossedRx, "each queue receives what comes for it"),
    (
        Defect::Boasts,
        "a flow stays in its queue, and no frame comes twice",
    ),
    (Defect::CountsNothing, "the counters add up over all queues"),
    (
        Defect::Swallows,
        "a full transmit ring gives the packet back, and goes on",
    ),
    (Defect::TakesOne, "who reaps none gets none and loses none"),
    (
        Defect::OverseesKick,
        "a NIC without buffers receives once it has some",
    ),
    (
        Defect::TakesAnyLength,
        "frames of bad lengths are not received",
    ),
    (
        Defect::CountsNothing,
        "frames of bad lengths are not received",
    ),
    (
        Defect::Garbles,
        "in a random sequence no frame is lost, doubled or changed",
    ),
    (
        Defect::Leaks,
        "in a random sequence no frame is lost, doubled or changed",
    ),
    (
        Defect::OverseesKick,
        "in a random sequence no frame is lost, doubled or changed",
    ),
    (
        Defect::OneInterrupt,
        "each queue receives what comes for it",
    ),
    (
        Defect::Leaks,
        "a NIC can be stopped at any moment, and every frame comes home",
    ),
    (Defect::Forgets, "what is set by ethtool can be read back"),
    (
        Defect::AgreesToAll,
        "offloads that the NIC does not have cannot be switched on",
    ),
    (Defect::Sleeps, "interrupts that are kept apart still come"),
];

#[test]
fn each_check_finds_the_defect_that_it_is_for() {
    let overseen: Vec<_> = FINDS
        .iter()
        .filter(|(defect, fact)| !matches!(verdict(*defect, fact), Verdict::Broken(_)))
        .collect();
    assert!(overseen.is_empty(), "overseen: {overseen:?}");
}

#[test]
fn what_the_defects_are_built_into_keeps_the_contract() {
    let lacks = [
        "a change of the station address",
        "receive filters",
        "the NIC fills in no checksums",
        "the NIC cuts no segments",
        "the NIC handles no VLAN tags",
        "the NIC verifies no checksums",
        "a packet is one frame",
        "the NIC does not tell",
        "the NIC does not spread flows",
        "the NIC has no such control plane",
        "the NIC does not keep interrupts apart",
        "the cable cannot be pulled",
        "the transmitter cannot be held",
        "the NIC cannot be pulled out",
    ];
    super::assert_holds(&lacks, || BrokenHarness::new(Defect::None));
}
