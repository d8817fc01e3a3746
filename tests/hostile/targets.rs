//! What is tormented: each driver on its chip's model, and each model.

use softnet_emulated::{
    DeviceModel, E1000, E1000Config, Igb, IgbConfig, Ne2000, Ne2000Config, PciBus, PciFunction,
};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::testing::hostile::{
    HostileDevice, Register, Whim, WhimWire, discover, torment_model, torment_nic,
};
use softnet_nic_hal::{MacAddress, NicHal};
use std::sync::{Arc, OnceLock};

/// Torments for at most so many operations.
pub(crate) type Torment = fn(&Arc<Whim>, usize);

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

fn e1000() -> Option<Card> {
    let (function, chip) = E1000::attach(&bus(), &E1000Config::new(MAC)).ok()?;
    Some((function, Box::new(chip)))
}

fn igb() -> Option<Card> {
    let (function, chip) = Igb::attach(&bus(), &IgbConfig::new(MAC)).ok()?;
    Some((function, Box::new(chip)))
}

fn ne2000() -> Option<Card> {
    let (function, chip) = Ne2000::attach(&bus(), &Ne2000Config::new(MAC)).ok()?;
    Some((function, Box::new(chip)))
}

fn driver_e1000(whim: &Arc<Whim>, operations: usize) {
    driver(e1000(), whim, operations, |device| {
        softnet_e1000::E1000::probe(device).ok()
    });
}

fn driver_igb(whim: &Arc<Whim>, operations: usize) {
    driver(igb(), whim, operations, |device| {
        softnet_igb::Igb::probe(device).ok()
    });
}

fn driver_ne2000(whim: &Arc<Whim>, operations: usize) {
    driver(ne2000(), whim, operations, |device| {
        softnet_ne2000::Ne2000::probe(device).ok()
    });
}

type Hostile = HostileDevice<PciFunction>;

/// Probes a driver in some mood, and torments it while the mood changes and its
/// chip works.
fn driver<N: NicHal>(
    card: Option<Card>,
    whim: &Arc<Whim>,
    operations: usize,
    probe: impl Fn(Arc<Hostile>) -> Option<Arc<N>>,
) {
    let Some((function, mut chip)) = card else {
        return;
    };
    let device = HostileDevice::new(function.clone(), Arc::clone(whim));
    device.set_mood(mood(whim, 3));
    let Some(nic) = probe(Arc::clone(&device)) else {
        return;
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
        if whim.chance(1) {
            function.unplug();
        }
    });
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

fn model_e1000(whim: &Arc<Whim>, operations: usize) {
    static REGISTERS: OnceLock<Vec<Register>> = OnceLock::new();
    model(e1000, &REGISTERS, whim, operations);
}

fn model_igb(whim: &Arc<Whim>, operations: usize) {
    static REGISTERS: OnceLock<Vec<Register>> = OnceLock::new();
    model(igb, &REGISTERS, whim, operations);
}

fn model_ne2000(whim: &Arc<Whim>, operations: usize) {
    static REGISTERS: OnceLock<Vec<Register>> = OnceLock::new();
    model(ne2000, &REGISTERS, whim, operations);
}

fn model(
    make: fn() -> Option<Card>,
    registers: &OnceLock<Vec<Register>>,
    whim: &Arc<Whim>,
    operations: usize,
) {
    let registers = registers.get_or_init(|| {
        let known = make().map(|(function, _)| discover(&function));
        known.unwrap_or_default()
    });
    if let Some((function, mut chip)) = make() {
        torment_model(&function, registers, whim, operations, |now_ns, wire| {
            chip.step(now_ns, wire);
        });
    }
}
