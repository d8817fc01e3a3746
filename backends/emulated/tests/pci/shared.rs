//! Pins of several functions on one line.

use crate::rig::*;
use softnet_emulated::pci::PciCapabilities;
use softnet_emulated::{PciBus, PciFunction};
use softnet_nic_hal::bus::{BusError, IrqMode, PciDevice};
use softnet_nic_hal::irq::{IrqError, IrqTable};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A function with a handler on its pin.
struct Card {
    dev: PciFunction,
    chip: Arc<TestChip>,
    count: Arc<Count>,
}

impl Card {
    fn new(bus: &PciBus) -> Self {
        let (dev, chip) = plug(bus, PciCapabilities::default());
        dev.alloc_irq_vectors(1, &[IrqMode::Intx]).unwrap();
        let count = Count::of(&chip);
        let handler = Arc::clone(&count) as _;
        dev.request_irq(0, "test", 0, handler).unwrap();
        Self { dev, chip, count }
    }
}

fn bus(lines: usize) -> (Arc<IrqTable>, PciBus) {
    let irqs = Arc::new(IrqTable::new(1));
    let bus = PciBus::with_shared_pins(Arc::clone(&irqs), lines).unwrap();
    (irqs, bus)
}

#[test]
fn slots_take_the_lines_in_turn() {
    let (_irqs, bus) = bus(2);
    let cards: Vec<_> = (0..4).map(|_| Card::new(&bus)).collect();
    let lines: Vec<_> = cards.iter().map(|card| card.dev.irq()).collect();
    assert_eq!(lines[0], lines[2]);
    assert_eq!(lines[1], lines[3]);
    assert_ne!(lines[0], lines[1]);
}

#[test]
fn each_function_on_a_line_is_served_and_the_others_say_that_it_was_not_theirs() {
    let (irqs, bus) = bus(1);
    let cards: Vec<_> = (0..3).map(|_| Card::new(&bus)).collect();
    for card in &cards {
        card.chip.happen(0);
        assert!(!card.chip.cause.load(Ordering::SeqCst), "acknowledged");
    }
    for card in &cards {
        assert_eq!(card.count.take(), [0]);
    }
    let line = irqs.snapshot().lines.remove(0);
    assert_eq!((line.delivered[0], line.unhandled[0]), (3, 0));
}

#[test]
fn a_function_that_disables_its_pin_leaves_the_line_to_the_others() {
    let (_irqs, bus) = bus(1);
    let [quiet, other] = [Card::new(&bus), Card::new(&bus)];
    quiet.dev.config_write32(4, 1 << 10);
    quiet.chip.happen(0);
    other.chip.happen(0);
    assert_eq!(other.count.take(), [0]);
    assert_eq!(quiet.count.take(), [0], "a handler looks at its own device");
    quiet.chip.happen(0);
    assert!(
        quiet.count.take().is_empty(),
        "nobody else has raised the line"
    );
    quiet.dev.config_write32(4, 0);
    assert_eq!(quiet.count.take(), [0]);
}

#[test]
fn a_function_that_goes_leaves_the_others_their_handlers() {
    let (irqs, bus) = bus(1);
    let [goes, stays] = [Card::new(&bus), Card::new(&bus)];
    goes.dev.free_irq(0);
    goes.chip.happen(0);
    assert!(goes.count.take().is_empty());
    let name = goes.dev.name().to_owned();
    bus.unplug(&name);
    drop(goes);
    stays.chip.happen(0);
    assert_eq!(stays.count.take(), [0]);
    drop((bus, stays));
    assert_eq!(irqs.snapshot().lines.len(), 0, "the last one gives it back");
}

#[test]
fn a_function_has_one_handler_on_the_line() {
    let (_irqs, bus) = bus(1);
    let card = Card::new(&bus);
    let second = card.dev.request_irq(0, "second", 0, Count::of(&card.chip));
    assert_eq!(second, Err(BusError::VectorBusy(0)));
}

#[test]
fn a_table_with_too_few_lines_says_so() {
    let irqs = Arc::new(IrqTable::with_lines(1, 3));
    let bus = PciBus::with_shared_pins(Arc::clone(&irqs), 4);
    assert_eq!(bus.err(), Some(IrqError::NoFreeLine(3)));
    assert_eq!(irqs.snapshot().lines.len(), 0);
}

/// Several threads raise one line for their functions; nobody's cause stays.
#[test]
fn causes_of_several_functions_at_once_are_all_served() {
    let (_irqs, bus) = bus(1);
    let cards: Vec<_> = (0..3).map(|_| Card::new(&bus)).collect();
    std::thread::scope(|scope| {
        for card in &cards {
            scope.spawn(|| {
                for _ in 0..5000 {
                    card.chip.happen(0);
                    while card.chip.cause.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    for card in cards {
        assert!(!card.count.take().is_empty());
    }
}
