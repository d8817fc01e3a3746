//! Opening and stopping, register by register.

use crate::fake::{FRAMES, Fake, Faults, MAC, Open, Stack, config, open, pool};
use softnet_dma_ring::DmaRing;
use softnet_e1000::E1000;
use softnet_nic_hal::{MacAddress, NicError, NicHal, NicStats, QueueId, RxMode};
use std::sync::Arc;

/// Writes to registers that stand for a whole table.
fn is_table(register: u32) -> bool {
    (0x5200..0x5400).contains(&register) || (0x5408..0x5480).contains(&register)
}

#[test]
fn open_programs_the_chip_in_the_manuals_order() {
    let open = open();
    let fake = &open.fake;
    let (tables, log): (Vec<_>, Vec<_>) = fake.take_log().into_iter().partition(|w| is_table(w.0));
    assert_eq!(tables.len(), 128 + 30);
    assert!(tables.iter().all(|&(_, value)| value == 0));
    let rx = (fake.value(0x2800), fake.value(0x2804));
    let tx = (fake.value(0x3800), fake.value(0x3804));
    let golden = [
        // 48 KiB of the packet buffer for the receiver.
        (0x1000, 48),
        // Nothing interrupts, nothing moves, then the reset.
        (0x00d8, 0xffff_ffff),
        (0x0100, 0),
        (0x0400, 1 << 3),
        (0x0000, 1 << 26),
        (0x00d8, 0xffff_ffff),
        // Link up by auto-negotiation, no flow control; but how a pause frame
        // would look, and when it would be sent.
        (0x0000, 1 << 6 | 1 << 5),
        (0x0028, 0x00c2_8001),
        (0x002c, 0x0100),
        (0x0030, 0x8808),
        (0x0170, 0xffff),
        (0x2168, 0xacc8),
        (0x2160, 1 << 31 | 0xacc0),
        // The station address.
        (0x5400, 0x1200_5452),
        (0x5404, 1 << 31 | 0x5634),
        // Receive ring of 8 descriptors.
        (0x2800, rx.0),
        (0x2804, rx.1),
        (0x2808, 128),
        (0x2810, 0),
        (0x2818, 0),
        // Transmit ring of 8 descriptors, the gap for copper.
        (0x3800, tx.0),
        (0x3804, tx.1),
        (0x3808, 128),
        (0x3810, 0),
        (0x3818, 0),
        (0x0410, 0x0060_200a),
        // Checksums on, also over IPv6; the type of tags; no delays.
        (0x5000, 0x700),
        (0x0038, 0x8100),
        (0x00c4, 0),
        (0x2820, 0),
        (0x282c, 0),
        (0x3820, 0),
        (0x382c, 0),
        // Both units on, and the link's interrupt.
        (0x0400, 1 << 1 | 1 << 3 | 0x0f << 4 | 0x40 << 12),
        (0x0100, 1 << 1 | 1 << 15 | 1 << 26),
        (0x00d0, 1 << 2),
    ];
    assert_eq!(log, golden);
}

#[test]
fn stop_masks_disables_resets_and_frees_the_interrupt() {
    let Open {
        fake, nic, pair, ..
    } = open();
    fake.take_log();
    nic.stop().unwrap();
    let golden = [
        (0x00d8, 0xffff_ffff),
        (0x0100, 0),
        (0x0400, 1 << 3),
        (0x00d8, 0xffff_ffff),
        (0x0100, 0),
        (0x0400, 1 << 3),
        (0x0000, 1 << 26 | 1 << 6 | 1 << 5),
        (0x00d8, 0xffff_ffff),
    ];
    assert_eq!(fake.take_log(), golden);
    assert!(!fake.has_handler());
    assert_eq!(fake.vectors(), 0);
    drop(pair);
    assert_eq!(fake.take_log(), [], "a ring of a stopped NIC was disabled");
}

#[test]
fn a_ring_that_is_dropped_first_disables_its_unit_alone() {
    let Open {
        fake, nic, pair, ..
    } = open();
    fake.take_log();
    drop(pair.rx);
    assert_eq!(fake.take_log(), [(0x100, 1 << 15 | 1 << 26)]);
    drop(pair.tx);
    assert_eq!(fake.take_log(), [(0x400, 1 << 3 | 0x0f << 4 | 0x40 << 12)]);
    nic.stop().unwrap();
}

#[test]
fn an_open_that_fails_leaves_nothing_behind() {
    let faults = [
        Faults {
            no_irq: true,
            ..Faults::default()
        },
        Faults {
            map_refused: true,
            ..Faults::default()
        },
        Faults {
            reset_sticks: true,
            ..Faults::default()
        },
    ];
    let (fake, pool) = (Fake::new(), pool());
    let nic = E1000::probe(fake.clone()).unwrap();
    for fault in faults {
        fake.set_faults(fault);
        let stack = Arc::new(Stack::default());
        assert!(nic.open(&config(&pool, 8), stack).is_err(), "{fault:?}");
        assert_eq!((fake.vectors(), fake.has_handler()), (0, false));
        assert!(matches!(nic.stop(), Err(NicError::NotOpen)));
    }
    fake.set_faults(Faults::default());
    // The fake refuses to unmap what is not mapped, so this proves the unwind.
    let pairs = nic.open(&config(&pool, 8), Arc::new(Stack::default()));
    assert!(pairs.is_ok());
    nic.stop().unwrap();
}

#[test]
fn a_device_that_is_gone_stops_and_gives_all_frames_back() {
    let Open {
        fake,
        nic,
        pool,
        mut pair,
        ..
    } = open();
    for _ in 0..7 {
        pair.rx.post(pool.alloc().unwrap()).unwrap();
    }
    pair.rx.kick();
    fake.unplug();
    assert!(nic.watchdog(0).gone);
    nic.unmask_irq(QueueId(0));
    assert!(pair.rx.reap().is_none());
    nic.stop().unwrap();
    drop(pair);
    assert_eq!(pool.count_free(), FRAMES);
    let result = nic.open(&config(&pool, 8), Arc::new(Stack::default()));
    assert!(matches!(result, Err(NicError::Gone)));
}

#[test]
fn a_removed_nic_lets_go_of_everything_and_cannot_be_opened() {
    let Open {
        fake,
        nic,
        pool,
        mut pair,
        ..
    } = open();
    nic.remove();
    assert!(!fake.bus_master() && !fake.has_handler());
    assert!(pair.rx.post(pool.alloc().unwrap()).is_err());
    let result = nic.open(&config(&pool, 8), Arc::new(Stack::default()));
    assert!(matches!(result, Err(NicError::Gone)));
}

#[test]
fn dropping_an_open_nic_frees_its_interrupt() {
    let Open { fake, nic, .. } = open();
    drop(nic);
    assert!(!fake.has_handler() && !fake.bus_master());
    assert_eq!(
        Arc::strong_count(&fake),
        1,
        "the driver still holds the function"
    );
}

#[test]
fn filters_reach_the_chip_at_once_and_after_a_reopen() {
    let open = open();
    let Open {
        fake, nic, pool, ..
    } = &open;
    let group = MacAddress([0x01, 0x00, 0x5e, 0x78, 0x9a, 0xbc]);
    let mode = RxMode {
        multicast: vec![group],
        ..RxMode::default()
    };
    nic.set_rx_mode(&mode).unwrap();
    // 13.5.1: row 94, bit 9.
    assert_eq!(fake.value(0x5200 + 94 * 4), 1 << 9);
    let all = RxMode {
        promiscuous: true,
        ..mode
    };
    nic.set_rx_mode(&all).unwrap();
    assert_eq!(
        fake.value(0x100),
        1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26
    );
    nic.set_mac_address(MacAddress([2, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!(fake.value(0x5400), 0x0302_0102);
    nic.stop().unwrap();
    let rings = nic.open(&config(pool, 8), Arc::new(Stack::default()));
    assert!(rings.is_ok());
    assert_eq!(fake.value(0x5404), 1 << 31 | 0x0504);
    assert_eq!(fake.value(0x100) & (1 << 3), 1 << 3);
    assert_eq!(fake.value(0x5200 + 94 * 4), 1 << 9);
    assert_ne!(nic.capabilities().mac, MacAddress(MAC));
}

#[test]
fn counters_that_clear_on_read_are_added_up() {
    let Open { fake, nic, .. } = open();
    let ethtool = |name: &str| {
        let mut found = None;
        nic.ethtool_stats(&mut |at, value| found = found.or((at == name).then_some(value)));
        found.unwrap()
    };
    for _ in 0..3 {
        fake.set(0x4010, 5);
        fake.set(0x4088, 0xffff_ffff);
        fake.set(0x408c, 1);
        fake.set(0x4000, 2);
        nic.watchdog(0);
    }
    let mut stats = NicStats::default();
    nic.stats(&mut stats);
    assert_eq!((stats.rx_missed_errors, stats.rx_crc_errors), (15, 6));
    assert_eq!(stats.rx_errors, 6);
    assert_eq!(ethtool("rx_missed_errors"), 15);
    assert_eq!(ethtool("rx_bytes"), 3 * 0x1_ffff_ffff);
    nic.stop().unwrap();
    assert_eq!(ethtool("rx_crc_errors"), 6, "lost by the reset");
}

#[test]
fn ethtool_names_are_distinct() {
    let Open { nic, .. } = open();
    let mut names = Vec::new();
    nic.ethtool_stats(&mut |name, _| names.push(name));
    let total = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), total);
}

#[test]
fn the_link_is_what_status_says() {
    let Open { fake, nic, .. } = open();
    let link_at = |status: u32| {
        fake.set(crate::fake::STATUS, status);
        let link = nic.watchdog(0).link;
        (link.up, link.speed_mbps, link.full_duplex)
    };
    assert_eq!(link_at(0x83), (true, 1000, true));
    assert_eq!(link_at(0xc3), (true, 1000, true));
    assert_eq!(link_at(0x42), (true, 100, false));
    assert_eq!(link_at(0x03), (true, 10, true));
    assert_eq!(link_at(0x81), (false, 0, false));
}

#[test]
fn a_transmitter_hangs_when_its_head_stands_for_four_seconds_with_work_and_a_link() {
    let Open { fake, nic, .. } = open();
    let second = 1_000_000_000;
    let hangs_at = |seconds: u64| nic.watchdog(seconds * second).tx_hang;
    fake.set(crate::fake::TDT, 3);
    assert_eq!([0, 2, 3].map(hangs_at), [None; 3]);
    fake.set(crate::fake::TDH, 1);
    assert_eq!([4, 6].map(hangs_at), [None; 2]);
    assert_eq!(hangs_at(8), Some(QueueId(0)));
    // Without a link packets wait.
    fake.set(crate::fake::STATUS, 0);
    assert_eq!([10, 12, 14, 16].map(hangs_at), [None; 4]);
    fake.set(crate::fake::STATUS, 0x83);
    fake.set(crate::fake::TDH, 3);
    assert_eq!([18, 20, 22, 24].map(hangs_at), [None; 4]);
}
