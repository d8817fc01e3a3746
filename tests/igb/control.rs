//! What `ethtool` reaches, on the models.

use crate::emulated::Ends;
use crate::only::Only;
use softnet_emulated::{Igb as Chip, IgbConfig, PciBus};
use softnet_igb::Igb;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{IrqMode, PciDevice};
use softnet_nic_hal::ethtool::EthtoolOps;
use softnet_nic_hal::irq::IrqTable;
use std::sync::{Arc, Mutex};

const MODES: [IrqMode; 3] = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];

/// All parts of the self test pass on a device that is driven while it waits.
fn passes<P: PciDevice>(function: Arc<Only<P>>, meanwhile: impl Fn(u32) + Send + Sync + 'static) {
    let nic = Igb::probe(Arc::clone(&function)).unwrap();
    assert!(function.meanwhile.set(Box::new(meanwhile)).is_ok());
    let tests = nic.self_test().unwrap();
    assert_eq!(tests.len(), 5);
    assert!(tests.iter().all(|test| test.result.is_ok()), "{tests:?}");
}

#[test]
fn the_emulated_chip_passes_the_self_test() {
    for mode in MODES {
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let config = IgbConfig::new(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        let (function, chip) = Chip::attach(&bus, &config).unwrap();
        let device = Mutex::new((chip, Ends::default(), 0));
        passes(Only::new(function, mode, u16::MAX), move |us| {
            let (chip, wire, now_ns) = &mut *device.lock().unwrap();
            *now_ns += u64::from(us) * 1000;
            while chip.step(*now_ns, wire).worked() {}
        });
    }
}

#[test]
fn qemus_82576_passes_the_self_test() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    for mode in MODES {
        let machine = crate::bench::machine(&qemu, "igb", &Arc::new(IrqTable::new(1)));
        let function = machine.functions()[0].clone();
        passes(Only::new(function, mode, u16::MAX), move |_| {
            machine.deliver_interrupts();
        });
    }
}
