//! What is tormented: each driver on its chip's model, and each model.

use softnet_emulated::{
    DeviceModel, E1000, E1000Config, Igb, IgbConfig, Ne2000, Ne2000Config, PciBus, PciFunction,
};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::testing::hostile::{
    HostileDevice, Knowledge, Plan, Register, Whim, WhimWire, discover, torment_model, torment_nic,
};
use softnet_nic_hal::{MacAddress, NicHal};
use std::sync::{Arc, OnceLock};

/// Torments for at most so many operations. Returns how many of them found something
/// to torment: none do where the driver refuses a card that gives nonsense.
pub(crate) type Torment = fn(&Arc<Whim>, usize) -> usize;

/// All targets by their names, which are those of the fuzz targets.
pub(crate) const TARGETS: &[(&str, Torment)] = &[
    ("driver_e1000", driver_e1000),
    ("driver_igb", driver_igb),
    ("driver_ne2000", driver_ne2000),
    ("model_e1000", model_e1000),
    ("model_igb", model_igb),
    ("model_ne2000", model_ne2000),
];

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn bus() -> PciBus {
    PciBus::new(Arc::new(IrqTable::new(2)))
}

/// A function and its chip.
type Card = (PciFunction, Box<dyn DeviceModel>);

fn e1000() -> Card {
    let (function, chip) = E1000::attach(&bus(), &E1000Config::new(MAC)).expect("a free slot");
    (function, Box::new(chip))
}

fn igb() -> Card {
    let (function, chip) = Igb::attach(&bus(), &IgbConfig::new(MAC)).expect("a free slot");
    (function, Box::new(chip))
}

fn ne2000() -> Card {
    let (function, chip) = Ne2000::attach(&bus(), &Ne2000Config::new(MAC)).expect("a free slot");
    (function, Box::new(chip))
}

fn driver_e1000(whim: &Arc<Whim>, operations: usize) -> usize {
    driver(e1000(), whim, operations, |device| {
        softnet_e1000::E1000::probe(device).ok()
    })
}

fn driver_igb(whim: &Arc<Whim>, operations: usize) -> usize {
    driver(igb(), whim, operations, |device| {
        softnet_igb::Igb::probe(device).ok()
    })
}

fn driver_ne2000(whim: &Arc<Whim>, operations: usize) -> usize {
    driver(ne2000(), whim, operations, |device| {
        softnet_ne2000::Ne2000::probe(device).ok()
    })
}

type Hostile = HostileDevice<PciFunction>;

/// Probes a driver in some mood, and torments it while the mood changes and its
/// chip works. It may refuse nonsense only.
fn driver<N: NicHal>(
    (function, mut chip): Card,
    whim: &Arc<Whim>,
    operations: usize,
    probe: impl Fn(Arc<Hostile>) -> Option<Arc<N>>,
) -> usize {
    let device = HostileDevice::new(function.clone(), Arc::clone(whim));
    let first = mood(whim, 3);
    device.set_mood(first);
    let Some(nic) = probe(Arc::clone(&device)) else {
        assert_ne!(first, 0, "the driver refuses a good card");
        return 0;
    };
    device.set_mood(0);
    let (mut wire, mut now_ns) = (WhimWire::new(Arc::clone(whim)), 0);
    torment_nic(&*nic, whim, operations, || {
        device.set_mood(mood(whim, 8));
        now_ns += u64::from(whim.word()) >> whim.below(24);
        if whim.chance(160) {
            chip.step(now_ns, &mut wire);
        }
        if whim.chance(64) {
            device.interrupt();
        }
        if whim.chance(1) && whim.chance(16) {
            function.unplug();
        }
    })
}

/// Good in most cases; otherwise some, much or only nonsense.
fn mood(whim: &Whim, kinds: usize) -> u8 {
    match whim.below(kinds) {
        1 => 2,
        2 => 24,
        3 => 128,
        4 if whim.chance(64) => 255,
        _ => 0,
    }
}

fn model_e1000(whim: &Arc<Whim>, operations: usize) -> usize {
    static KNOWN: OnceLock<Knowledge> = OnceLock::new();
    model(e1000, &KNOWN, E1000_PLAN, whim, operations)
}

fn model_igb(whim: &Arc<Whim>, operations: usize) -> usize {
    static KNOWN: OnceLock<Knowledge> = OnceLock::new();
    model(igb, &KNOWN, IGB_PLAN, whim, operations)
}

fn model_ne2000(whim: &Arc<Whim>, operations: usize) -> usize {
    static KNOWN: OnceLock<Knowledge> = OnceLock::new();
    model(ne2000, &KNOWN, NE2000_PLAN, whim, operations)
}

use Plan::{AddressHigh, AddressLow, Exactly, Times};

/// One ring's registers from there on: base, length, head, tail.
macro_rules! ring {
    ($first:expr) => {
        [
            ((0, $first), AddressLow),
            ((0, $first + 4), AddressHigh),
            ((0, $first + 8), Times(128)),
            ((0, $first + 0x10), Exactly(0)),
            ((0, $first + 0x18), Times(1)),
        ]
    };
}

/// CTRL with SLU, both rings, IMS, RCTL and TCTL.
const E1000_PLAN: &[&[(Register, Plan)]] = &[
    &[((0, 0), Exactly(1 << 6))],
    &ring!(0x2800),
    &ring!(0x3800),
    &[
        ((0, 0xd0), Exactly(u32::MAX)),
        ((0, 0x100), Exactly(0x0400_803a)),
        ((0, 0x400), Exactly(0x0004_010a)),
        ((0, 0x3818), Times(1)),
    ],
];

/// CTRL with SLU, two queues each way with SRRCTL, RXDCTL and TXDCTL, MRQC, EIMS,
/// RCTL and TCTL.
const IGB_PLAN: &[&[(Register, Plan)]] = &[
    &[((0, 0), Exactly(1 << 6))],
    &ring!(0xc000),
    &ring!(0xc040),
    &ring!(0xe000),
    &ring!(0xe040),
    &[
        ((0, 0xc00c), Exactly(0x0200_0002)),
        ((0, 0xc04c), Exactly(0x0400_0402)),
        ((0, 0xc028), Exactly(1 << 25)),
        ((0, 0xc068), Exactly(1 << 25)),
        ((0, 0xe028), Exactly(1 << 25)),
        ((0, 0xe068), Exactly(1 << 25)),
        ((0, 0x5818), Exactly(0x00ff_0002)),
        ((0, 0x1524), Exactly(u32::MAX)),
        ((0, 0xd0), Exactly(u32::MAX)),
        ((0, 0x100), Exactly(0x0400_803a)),
        ((0, 0x400), Exactly(0x0004_010a)),
        ((0, 0xc018), Times(1)),
        ((0, 0xc058), Times(1)),
        ((0, 0xe018), Times(1)),
        ((0, 0xe058), Times(1)),
    ],
];

/// The start sequence of the DP8390, with a packet to send and a remote DMA.
const NE2000_PLAN: &[&[(Register, Plan)]] = &[&[
    ((0, 0x00), Exactly(0x21)),
    ((0, 0x0e), Exactly(0x48)),
    ((0, 0x0c), Exactly(0x1c)),
    ((0, 0x0d), Exactly(0)),
    ((0, 0x01), Exactly(0x46)),
    ((0, 0x02), Exactly(0x80)),
    ((0, 0x03), Exactly(0x46)),
    ((0, 0x0f), Exactly(0xff)),
    ((0, 0x00), Exactly(0x61)),
    ((0, 0x07), Exactly(0x47)),
    ((0, 0x00), Exactly(0x22)),
    ((0, 0x04), Exactly(0x40)),
    ((0, 0x05), Times(4)),
    ((0, 0x06), Times(1)),
    ((0, 0x08), Times(4)),
    ((0, 0x09), Times(2)),
    ((0, 0x0a), Times(4)),
    ((0, 0x0b), Times(1)),
    ((0, 0x00), Times(1)),
    ((0, 0x10), Times(4)),
]];

fn model(
    make: fn() -> Card,
    known: &OnceLock<Knowledge>,
    plan: &[&[(Register, Plan)]],
    whim: &Arc<Whim>,
    operations: usize,
) -> usize {
    let known = known.get_or_init(|| Knowledge {
        registers: discover(&make().0),
        plan: plan.concat(),
    });
    let (function, mut chip) = make();
    torment_model(&function, known, whim, operations, |now_ns, wire| {
        chip.step(now_ns, wire);
    });
    operations
}
