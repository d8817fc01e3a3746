//! The walk over configuration space, and drivers that are probed and removed.

use crate::rig::*;
use softnet_emulated::pci::PciCapabilities;
use softnet_emulated::{PciBus, PciFunction};
use softnet_nic_hal::bus::{
    BindError, Change, Host, PciDevice, PciDriver, PciDrivers, PciIdMatch, RegisterError,
    capability, enumerate,
};
use softnet_nic_hal::irq::IrqTable;
use std::sync::Arc;

struct TestHost;

impl Host for TestHost {
    type Device = PciFunction;
    /// What drivers did.
    type Context<'a> = Vec<String>;
    type Bound = String;
    type Error = &'static str;
}

/// A driver that takes each function of its table, or refuses each.
struct TestDriver {
    name: &'static str,
    refuses: bool,
    table: [PciIdMatch; 1],
}

impl TestDriver {
    fn boxed(name: &'static str, refuses: bool) -> Box<dyn PciDriver<TestHost>> {
        let table = [PciIdMatch {
            vendor: 0x1234,
            device: 0x5678,
        }];
        Box::new(Self {
            name,
            refuses,
            table,
        })
    }
}

impl PciDriver<TestHost> for TestDriver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn id_table(&self) -> &[PciIdMatch] {
        &self.table
    }

    fn probe(
        &self,
        cx: &mut Vec<String>,
        device: &Arc<PciFunction>,
    ) -> Result<String, &'static str> {
        cx.push(format!("{} probes {}", self.name, device.name()));
        if self.refuses {
            return Err("I do not like it");
        }
        Ok(format!("{} on {}", self.name, device.name()))
    }

    fn remove(&self, cx: &mut Vec<String>, device: &Arc<PciFunction>, bound: String) {
        cx.push(format!("{bound} goes, present: {}", device.is_present()));
    }
}

struct Drivers {
    bus: PciBus,
    drivers: PciDrivers<TestHost>,
    log: Vec<String>,
}

impl Drivers {
    fn new(names: &[(&'static str, bool)]) -> Self {
        let mut drivers = PciDrivers::new();
        for (name, refuses) in names {
            drivers.register(TestDriver::boxed(name, *refuses)).unwrap();
        }
        Self {
            bus: PciBus::new(Arc::new(IrqTable::new(1))),
            drivers,
            log: Vec::new(),
        }
    }

    fn plug(&self) -> Arc<PciFunction> {
        Arc::new(plug(&self.bus, PciCapabilities::default()).0)
    }

    fn scan(&mut self) -> Vec<Change<&'static str>> {
        let present = self.bus.functions().into_iter().map(Arc::new);
        self.drivers.scan(&mut self.log, present)
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

fn bound(function: &str, driver: &'static str) -> Change<&'static str> {
    Change::Bound {
        function: function.into(),
        driver,
    }
}

#[test]
fn a_walk_over_configuration_space_finds_what_is_plugged_in() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let cards = [plug(&bus, all()), plug(&bus, PciCapabilities::default())];
    let found = enumerate(&bus, 0..=255);
    assert_eq!(found.len(), 2);
    for (found, (dev, _)) in found.iter().zip(&cards) {
        assert_eq!(found.address.to_string(), dev.name());
        assert_eq!(found.ids, dev.ids());
        assert_eq!(found.bars, [0, 1, 2, 3, 4, 5].map(|bar| dev.bar(bar)));
        assert_eq!(found.pin, 1);
        assert_eq!(dev.config_read32(4) & 3, 3, "it is decoded again");
    }
    assert!(found[0].capabilities.contains(&(MSIX, capability::MSIX)));
    assert!(found[1].capabilities.is_empty());
    bus.unplug(cards[0].0.name());
    assert_eq!(enumerate(&bus, 0..=0).len(), 1);
}

#[test]
fn a_driver_is_probed_for_what_is_plugged_in_and_lets_go_of_what_is_pulled_out() {
    let mut on = Drivers::new(&[("a", false)]);
    assert_eq!(on.scan(), []);
    let first = on.plug();
    let changes = on.bus.changes();
    assert_eq!(on.scan(), [bound("0000:00:03.0", "a")]);
    assert_eq!(on.scan(), [], "nothing is new");
    on.plug();
    assert!(on.bus.changes() > changes);
    assert_eq!(on.scan(), [bound("0000:00:04.0", "a")]);
    on.bus.unplug(first.name());
    let removed = Change::Removed {
        function: "0000:00:03.0".into(),
        driver: "a",
    };
    assert_eq!(on.scan(), [removed]);
    let log = on.log();
    assert_eq!(
        log.last().unwrap(),
        "a on 0000:00:03.0 goes, present: false"
    );
    let left: Vec<_> = on.drivers.bound().collect();
    let expected = "a on 0000:00:04.0".to_owned();
    assert_eq!(left, [("0000:00:04.0", "a", &expected)]);
}

#[test]
fn another_card_in_the_same_slot_between_two_scans_is_another_card() {
    let mut on = Drivers::new(&[("a", false)]);
    let first = on.plug();
    on.scan();
    on.bus.unplug(first.name());
    assert_eq!(on.plug().name(), first.name());
    assert_eq!(on.scan().len(), 2, "removed, and bound");
    assert_eq!(on.log().len(), 3);
}

#[test]
fn the_next_driver_is_probed_when_one_refuses_and_none_twice() {
    let mut on = Drivers::new(&[("a", true), ("b", false)]);
    on.plug();
    let refused = Change::Refused {
        function: "0000:00:03.0".into(),
        driver: "a",
        error: "I do not like it",
    };
    assert_eq!(on.scan(), [refused, bound("0000:00:03.0", "b")]);
    let mut on = Drivers::new(&[("a", true)]);
    on.plug();
    assert_eq!(on.scan().len(), 1);
    assert_eq!(on.scan(), []);
    assert_eq!(on.log().len(), 1);
}

#[test]
fn a_driver_that_is_registered_late_gets_what_nobody_has_taken() {
    let mut on = Drivers::new(&[("a", true)]);
    on.plug();
    on.scan();
    on.drivers.register(TestDriver::boxed("b", false)).unwrap();
    let again = on.drivers.register(TestDriver::boxed("b", false));
    assert_eq!(again, Err(RegisterError::NameTaken("b")));
    assert_eq!(on.scan(), [bound("0000:00:03.0", "b")]);
}

#[test]
fn a_driver_that_is_unregistered_lets_go_and_another_can_follow() {
    let mut on = Drivers::new(&[("a", false), ("b", false)]);
    on.plug();
    on.scan();
    assert!(on.drivers.unregister(&mut on.log, "a"));
    assert!(!on.drivers.unregister(&mut on.log, "a"));
    assert_eq!(on.drivers.bound().count(), 0);
    let log = on.log();
    assert_eq!(log[1], "a on 0000:00:03.0 goes, present: true");
    assert_eq!(on.scan(), [bound("0000:00:03.0", "b")]);
}

#[test]
fn one_function_can_be_bound_and_let_go_of_by_itself() {
    let mut on = Drivers::new(&[("a", false)]);
    let card = on.plug();
    let name = on.drivers.bind(&mut on.log, Arc::clone(&card)).unwrap();
    assert_eq!(name, "a on 0000:00:03.0");
    let again = on.drivers.bind(&mut on.log, Arc::clone(&card));
    assert_eq!(again, Err(BindError::Bound("a")));
    let this = |dev: &PciFunction, _: &String| dev.name() == card.name();
    assert!(on.drivers.unbind(&mut on.log, this));
    assert!(!on.drivers.unbind(&mut on.log, this));
    assert_eq!(on.scan(), [bound("0000:00:03.0", "a")]);
}

#[test]
fn the_next_card_in_a_slot_can_be_bound_before_the_first_was_let_go_of() {
    let mut on = Drivers::new(&[("a", false)]);
    let first = on.plug();
    on.drivers.bind(&mut on.log, Arc::clone(&first)).unwrap();
    on.bus.unplug(first.name());
    let second = on.plug();
    on.drivers.bind(&mut on.log, second).unwrap();
    assert_eq!(on.drivers.bound().count(), 2);
    assert_eq!(on.scan().len(), 1, "the first one goes");
    assert_eq!(on.drivers.bound().count(), 1);
}

#[test]
fn a_function_that_cannot_be_bound_says_why_and_can_be_tried_again() {
    let mut on = Drivers::new(&[]);
    let card = on.plug();
    let none = on.drivers.bind(&mut on.log, Arc::clone(&card));
    assert_eq!(none, Err(BindError::NoDriver));
    on.drivers.register(TestDriver::boxed("a", true)).unwrap();
    on.plug();
    on.scan();
    on.log();
    for _ in 0..2 {
        let refused = on.drivers.bind(&mut on.log, Arc::clone(&card));
        assert_eq!(refused, Err(BindError::Refused("I do not like it")));
    }
    assert_eq!(on.log().len(), 2);
    assert_eq!(on.scan().len(), 1, "the other function is still known");
}
