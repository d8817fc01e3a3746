//! From the reset to the start, and back.

use crate::fake::{CNT, Fake, Faults, NODMA, QUEUE, STA, STP, Stack, config, open, pool};
use softnet_dma_ring::DmaRing;
use softnet_ne2000::Ne2000;
use softnet_nic_hal::{MacAddress, NicError, NicHal, RxMode};
use std::sync::Arc;

/// Registers of page 0 that the initialization is about.
const NAMES: [(u8, &str); 9] = [
    (0x1, "PSTART"),
    (0x2, "PSTOP"),
    (0x3, "BNRY"),
    (0x7, "ISR"),
    (0xa, "RBCR0"),
    (0xc, "RCR"),
    (0xd, "TCR"),
    (0xe, "DCR"),
    (0xf, "IMR"),
];

/// The order in which the registers were written, each repetition once.
fn order(log: &[(u8, u8, u8)]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for &(page, register, value) in log {
        let name = match (page, register) {
            (_, 0) if value & STP != 0 => "stop",
            (_, 0) if value & 0xc0 == 0 => "start",
            (0, _) => NAMES
                .iter()
                .find(|(at, _)| *at == register)
                .map_or("", |n| n.1),
            (1, 0x7) => "CURR",
            (1, 0x1..=0x6) => "PAR",
            (1, _) => "MAR",
            _ => "",
        };
        if !name.is_empty() && order.last().is_none_or(|last| last != name) {
            order.push(name.to_owned());
        }
    }
    order
}

#[test]
fn the_chip_is_initialized_in_the_manuals_order() {
    let open = open();
    let log = open.fake.take_log();
    let order = order(&log);
    let prepared = order.iter().position(|name| name == "DCR").unwrap();
    let expected = [
        "DCR", "RBCR0", "RCR", "TCR", "PSTART", "PSTOP", "BNRY", "ISR", "IMR", "stop", "PAR",
        "stop", "MAR", "stop", "CURR", "stop", "start", "RCR", "TCR", "IMR",
    ];
    assert_eq!(order[prepared..], expected);
}

#[test]
fn an_open_chip_runs_on_the_network_with_an_empty_ring() {
    let open = open();
    let register = |at| open.fake.written(0, at);
    assert_eq!(open.fake.command_register(), STA | NODMA);
    assert_eq!((register(0xe), register(0xd)), (0x49, 0), "DCR, TCR");
    assert_eq!(register(0xc), 0x04, "RCR: broadcast");
    assert_eq!((register(0x3), open.fake.curr()), (0x64, 0x65));
    assert_eq!(open.fake.mask(), CNT, "the queue is masked");
}

#[test]
fn a_refused_interrupt_leaves_the_nic_closed() {
    let fake = Fake::new();
    let nic = Ne2000::probe(fake.clone()).unwrap();
    fake.set_faults(Faults {
        no_irq: true,
        ..Faults::default()
    });
    let stack = Arc::new(Stack::default());
    let refused = nic.open(&config(&pool()), stack.clone());
    assert!(matches!(refused, Err(NicError::Bus(_))));
    assert_eq!((fake.has_handler(), fake.vectors()), (false, 0));
    fake.set_faults(Faults::default());
    nic.open(&config(&pool()), stack).unwrap();
}

#[test]
fn a_reset_that_does_not_end_is_told() {
    let fake = Fake::new();
    let nic = Ne2000::probe(fake.clone()).unwrap();
    fake.set_faults(Faults {
        reset_sticks: true,
        ..Faults::default()
    });
    let refused = nic.open(&config(&pool()), Arc::new(Stack::default()));
    assert!(matches!(refused, Err(NicError::Device(_))));
}

#[test]
fn a_stop_waits_until_the_chip_has_stopped_and_frees_the_interrupt() {
    let mut open = open();
    open.post(4);
    let before = open.fake.delayed_us();
    open.nic.stop().unwrap();
    assert!(open.fake.delayed_us() - before >= 1600);
    assert_eq!(open.fake.command_register() & 3, STP);
    assert_eq!((open.fake.mask(), open.fake.vectors()), (0, 0));
    assert!(!open.fake.has_handler());
    assert_eq!(open.pair.rx.free_slots(), 0);
}

#[test]
fn a_removed_driver_opens_nothing() {
    let open = open();
    open.nic.remove();
    let refused = open
        .nic
        .open(&config(&open.pool), Arc::new(Stack::default()));
    assert!(matches!(refused, Err(NicError::Gone)));
    open.nic.unmask_irq(QUEUE);
    assert_eq!(open.stack.irqs(), 0);
}

#[test]
fn a_new_address_goes_into_par_and_stays_over_an_open() {
    let open = open();
    let mac = MacAddress([2, 1, 2, 3, 4, 5]);
    open.nic.set_mac_address(mac).unwrap();
    let par = || [1, 2, 3, 4, 5, 6].map(|at| open.fake.written(1, at));
    assert_eq!(par(), mac.0);
    assert_eq!(open.fake.command_register(), STA | NODMA, "page 0 again");
    open.nic.stop().unwrap();
    open.nic
        .open(&config(&open.pool), Arc::new(Stack::default()))
        .unwrap();
    assert_eq!(par(), mac.0);
}

#[test]
fn promiscuous_mode_opens_every_filter() {
    let open = open();
    let mode = |promiscuous| RxMode {
        promiscuous,
        ..RxMode::default()
    };
    open.nic.set_rx_mode(&mode(true)).unwrap();
    let mar = || -> [u8; 8] { std::array::from_fn(|at| open.fake.written(1, 8 + at)) };
    assert_eq!((open.fake.written(0, 0xc), mar()), (0x1c, [0xff; 8]));
    open.nic.set_rx_mode(&mode(false)).unwrap();
    assert_eq!((open.fake.written(0, 0xc), mar()), (0x04, [0; 8]));
}

#[test]
fn the_dump_has_the_rings_registers_and_the_prom() {
    let open = open();
    let ethtool = open.nic.ethtool().unwrap();
    let mut dump = Vec::new();
    ethtool.registers(&mut |name, at, value| dump.push((name, at, value)));
    assert!(dump.contains(&("CURR", 0x17, 0x65)), "{dump:?}");
    assert!(dump.contains(&("BNRY", 0x03, 0x64)), "{dump:?}");
    assert_eq!(ethtool.eeprom().unwrap()[..2], [0x5252, 0x5454]);
    assert_eq!(open.fake.command_register(), STA | NODMA, "page 0 again");
}
