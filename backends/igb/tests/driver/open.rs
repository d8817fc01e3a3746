//! Opening and stopping, register by register.

use crate::fake::{
    DCTL, FRAMES, Fake, Faults, MAC, Open, Stack, config, open, open_on, pool, rx, tx,
};
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};
use softnet_igb::Igb;
use softnet_nic_hal::{MacAddress, NicError, NicHal, QueueId, RxMode};
use std::sync::Arc;

/// Writes to registers that stand for a whole table, and to the PHY, and to
/// what it is locked by.
fn is_table(register: u32) -> bool {
    (0x5200..0x5400).contains(&register)
        || (0x5408..0x5480).contains(&register)
        || (0x5c00..0x5ca8).contains(&register)
        || [0x20, 0x5b50, 0x5b5c].contains(&register)
}

/// What a reset writes.
const RESET: [(u32, u32); 11] = [
    // Nothing interrupts, nothing moves, no bus transaction begins.
    (0x1528, 0xffff_ffff),
    (0x00d8, 0xffff_ffff),
    (0x1580, 0xffff_ffff),
    (0x0100, 0),
    (0x0400, 1 << 3),
    (0x0000, 1 << 2),
    (0x0000, 1 << 2 | 1 << 26),
    (0x1528, 0xffff_ffff),
    (0x00d8, 0xffff_ffff),
    (0x1580, 0xffff_ffff),
    // Where the next list goes on.
    (0x0000, 1 << 6),
];

#[test]
fn open_programs_the_chip_from_its_reset_on() {
    let open = open();
    let fake = &open.fake;
    let log = fake.take_log();
    let log: Vec<_> = log.into_iter().filter(|w| !is_table(w.0)).collect();
    let (rx_base, tx_base) = (fake.value(rx(0)), fake.value(tx(0)));
    let (rx_high, tx_high) = (fake.value(rx(0) + 4), fake.value(tx(0) + 4));
    let mut golden = RESET.to_vec();
    golden.extend([
        // A driver is there; no pause frames.
        (0x0018, 1 << 28),
        (0x0028, 0x00c2_8001),
        (0x002c, 0x0100),
        (0x0030, 0x8808),
        (0x0170, 0xffff),
        (0x2160, 0),
        (0x2168, 0),
        // The station address.
        (0x5400, 0x1200_5452),
        (0x5404, 1 << 31 | 0x5634),
        // Tags are stripped, checksums verified, the hash is in descriptors.
        (0x0000, 1 << 6 | 1 << 30),
        (0x5000, 1 << 8 | 1 << 9 | 1 << 13),
        (0x5818, 0b010 | 0b1111_0111 << 16),
        (0x5004, 1522),
        // MSI-X: queue 0 has vector 1, the link vector 0.
        (0x1514, 1 | 1 << 4 | 1 << 30 | 1 << 31),
        (0x00e0, 0),
        (0x1700, 0x8181),
        (0x1704, 0),
        (0x1708, 0),
        (0x170c, 0),
        (0x1710, 0),
        (0x1714, 0),
        (0x1718, 0),
        (0x171c, 0),
        (0x1740, 0x8000),
        (0x152c, 0b11),
        (0x1530, 0b10),
        (0x1684, 0),
        // Receive ring of 8 descriptors, one buffer of 2 KB.
        (0xc028, 0),
        (0xc000, rx_base),
        (0xc004, rx_high),
        (0xc008, 128),
        (0xc010, 0),
        (0xc00c, 2 | 1 << 25),
        // Transmit ring of 8 descriptors.
        (0xe028, 0),
        (0xe000, tx_base),
        (0xe004, tx_high),
        (0xe008, 128),
        (0xe010, 0),
        // The clock, and stamps of what is sent.
        (0xb608, 1 << 24 | 16 << 19),
        (0xb600, 0),
        (0xb604, 0),
        (0xb614, 1 << 4),
        (0x5f50, 0),
        (0x5cbc, 0),
        (0xb620, 0),
        // Queues on, then their tails; then the units, and the link's interrupt.
        (0xe028, 1 << 25 | 8 | 1 << 8 | 1 << 16),
        (0xe018, 0),
        (0xc028, 1 << 25 | 8 | 8 << 8 | 1 << 16),
        (0xc018, 0),
        (0x0400, 1 << 1 | 1 << 3 | 0x0f << 4 | 0x40 << 12),
        (0x0100, 1 << 1 | 1 << 15 | 1 << 26),
        (0x1524, 1),
        (0x00d0, 1 << 2),
    ]);
    assert_eq!(log, golden);
}

#[test]
fn the_link_is_negotiated_anew_under_the_lock_of_the_phy() {
    let open = open();
    let autonegotiate_restart = 1 << 12 | 1 << 9;
    assert_eq!(
        open.fake.phy(0) & autonegotiate_restart,
        autonegotiate_restart
    );
    // No pause frames are advertised.
    assert_eq!(open.fake.phy(4), 0x01e1);
    assert_eq!(open.fake.value(0x5b5c), 0);
}

#[test]
fn several_queues_have_registers_of_their_own_and_drop_what_finds_no_descriptor() {
    let open = open_on(Fake::new(), |config| config.queues = 16);
    let fake = &open.fake;
    let bases: std::collections::BTreeSet<_> = (0..16)
        .flat_map(|queue| [rx(queue), tx(queue)])
        .map(|ring| u64::from(fake.value(ring)) | u64::from(fake.value(ring + 4)) << 32)
        .collect();
    assert_eq!(bases.len(), 32);
    for queue in 0..16 {
        assert_eq!(fake.value(rx(queue) + 0xc), 2 | 1 << 25 | 1 << 31);
        assert_ne!(fake.value(rx(queue) + DCTL) & 1 << 25, 0);
        assert_ne!(fake.value(tx(queue) + DCTL) & 1 << 25, 0);
    }
}

#[test]
fn stop_masks_disables_resets_and_frees_the_interrupt() {
    let Open {
        fake, nic, pairs, ..
    } = open();
    fake.take_log();
    nic.stop().unwrap();
    let log = fake.take_log();
    assert_eq!(
        log[..7],
        [
            (0x1528, 0xffff_ffff),
            (0x00d8, 0xffff_ffff),
            (0x1580, 0xffff_ffff),
            (0x0100, 0),
            (0x0400, 1 << 3),
            (0xc028, 0),
            (0xe028, 0),
        ]
    );
    assert!(log.iter().any(|w| w.0 == 0 && w.1 & 1 << 26 != 0));
    assert!(fake.affinities().is_empty());
    assert_eq!(fake.vectors(), 0);
    drop(pairs);
    assert_eq!(fake.take_log(), [], "a ring of a stopped NIC was disabled");
}

#[test]
fn a_ring_that_is_dropped_first_disables_its_queue_alone() {
    let Open {
        fake,
        nic,
        mut pairs,
        ..
    } = open_on(Fake::new(), |config| config.queues = 2);
    let second = pairs.pop().unwrap();
    fake.take_log();
    drop(second.rx);
    assert_eq!(fake.take_log(), [(rx(1) + DCTL, 0)]);
    drop(second.tx);
    assert_eq!(fake.take_log(), [(tx(1) + DCTL, 0)]);
    nic.stop().unwrap();
}

#[test]
fn an_open_that_fails_leaves_nothing_behind() {
    let none = Faults::default();
    let faults = [
        Faults {
            no_irq: true,
            ..none
        },
        Faults {
            vector_refused: Some(0),
            ..none
        },
        Faults {
            vector_refused: Some(1),
            ..none
        },
        Faults {
            map_refused: true,
            ..none
        },
        Faults {
            reset_sticks: true,
            ..none
        },
        Faults {
            phy_silent: true,
            ..none
        },
        Faults {
            queue_never_on: true,
            ..none
        },
    ];
    let (fake, pool) = (Fake::new(), pool());
    let nic = Igb::probe(fake.clone()).unwrap();
    for fault in faults {
        fake.set_faults(fault);
        let stack = Arc::new(Stack::default());
        assert!(nic.open(&config(&pool, 1, 8), stack).is_err(), "{fault:?}");
        assert_eq!((fake.vectors(), fake.affinities().len()), (0, 0));
        assert!(matches!(nic.stop(), Err(NicError::NotOpen)));
    }
    fake.set_faults(Faults::default());
    // The fake refuses to unmap what is not mapped, so this proves the unwind.
    let pairs = nic.open(&config(&pool, 1, 8), Arc::new(Stack::default()));
    assert!(pairs.is_ok());
    nic.stop().unwrap();
}

#[test]
fn a_device_that_is_gone_stops_and_gives_all_frames_back() {
    let mut open = open();
    for _ in 0..7 {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    open.pair().rx.kick();
    open.fake.unplug();
    assert!(open.nic.watchdog(0).gone);
    open.nic.unmask_irq(QueueId(0));
    assert!(open.pair().rx.reap().is_none());
    open.nic.stop().unwrap();
    drop(open.pairs);
    assert_eq!(open.pool.count_free(), FRAMES);
    let config = config(&open.pool, 1, 8);
    let result = open.nic.open(&config, Arc::new(Stack::default()));
    assert!(matches!(result, Err(NicError::Gone)));
}

#[test]
fn a_removed_nic_lets_go_of_everything_and_cannot_be_opened() {
    let mut open = open();
    open.nic.remove();
    assert!(!open.fake.bus_master() && open.fake.affinities().is_empty());
    let frame = open.pool.alloc().unwrap();
    assert!(open.pair().rx.post(frame).is_err());
    let config = config(&open.pool, 1, 8);
    let result = open.nic.open(&config, Arc::new(Stack::default()));
    assert!(matches!(result, Err(NicError::Gone)));
}

#[test]
fn long_packets_want_long_frames_or_several() {
    let fake = Fake::new();
    let nic = Igb::probe(fake.clone()).unwrap();
    let mut jumbo = config(&pool(), 1, 8);
    jumbo.mtu = 9000;
    let error = nic.open(&jumbo, Arc::new(Stack::default()));
    let (needed, have) = (9216, 2048);
    assert!(
        matches!(error, Err(NicError::FrameTooShort { needed: n, have: h }) if (n, h) == (needed, have))
    );
    jumbo.scatter = true;
    drop(nic.open(&jumbo, Arc::new(Stack::default())).unwrap());
    // RCTL.LPE, RLPML, and buffers of 2 KB.
    assert_eq!(fake.value(0x100) & 1 << 5, 1 << 5);
    assert_eq!(fake.value(0x5004), 9022);
    assert_eq!(fake.value(rx(0) + 0xc) & 0x7f, 2);
    nic.stop().unwrap();
    jumbo.scatter = false;
    jumbo.pool = FramePool::new(PoolConfig {
        frames: 8,
        buffer_size: 9216 + 128,
        headroom: 128,
    })
    .unwrap();
    drop(nic.open(&jumbo, Arc::new(Stack::default())).unwrap());
    assert_eq!(fake.value(rx(0) + 0xc) & 0x7f, 9);
}

#[test]
fn filters_are_changed_while_open_and_outlast_a_stop() {
    let open = open();
    let fake = &open.fake;
    let mode = RxMode {
        promiscuous: true,
        multicast: vec![MacAddress([0x01, 0, 0x5e, 0, 0, 0xfb])],
        ..RxMode::default()
    };
    let mac = MacAddress([2, 1, 2, 3, 4, 5]);
    open.nic.set_rx_mode(&mode).unwrap();
    open.nic.set_mac_address(mac).unwrap();
    for reopened in [false, true] {
        let rctl = fake.value(0x100);
        assert_eq!(rctl & 0b11 << 3, 0b11 << 3, "reopened: {reopened}");
        assert_ne!(rctl & 1 << 1, 0);
        // The hash of fb:00 is 0xfb0.
        assert_eq!(fake.value(0x5200 + 4 * 0x7d), 1 << 16);
        assert_eq!(fake.value(0x5400), 0x0302_0102);
        if !reopened {
            open.nic.stop().unwrap();
            let config = config(&open.pool, 1, 8);
            drop(open.nic.open(&config, open.stack.clone()).unwrap());
        }
    }
    assert_ne!(MAC, mac.0);
}

#[test]
fn counters_that_clear_on_read_are_added_up() {
    let open = open_on(Fake::new(), |config| config.queues = 2);
    let fake = &open.fake;
    for _ in 0..3 {
        fake.set(0x4010, 5);
        fake.set(0x4088, 0xffff_ffff);
        fake.set(0x408c, 1);
        fake.set(0x4000, 2);
        fake.set(rx(1) + 0x30, 7);
        open.nic.watchdog(0);
        fake.set(rx(1) + 0x30, 0);
    }
    let stats = open.stats();
    assert_eq!((stats.rx_missed_errors, stats.rx_crc_errors), (36, 6));
    assert_eq!(stats.rx_errors, 6);
    assert_eq!(open.ethtool_stat("rx_missed_errors"), 15);
    assert_eq!(open.ethtool_stat("rx_queue_1_drops"), 21);
    assert_eq!(open.ethtool_stat("rx_bytes"), 3 * 0x1_ffff_ffff);
    open.nic.stop().unwrap();
    assert_eq!(open.ethtool_stat("rx_crc_errors"), 6, "lost by the reset");
}

#[test]
fn ethtool_names_are_distinct() {
    let open = open_on(Fake::new(), |config| config.queues = 16);
    let mut names = Vec::new();
    open.nic.ethtool_stats(&mut |name, _| names.push(name));
    let total = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), total);
}

#[test]
fn the_link_is_what_status_says() {
    let open = open();
    let link_at = |status: u32| {
        open.fake.set(crate::fake::STATUS, status);
        let link = open.nic.watchdog(0).link;
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
    let open = open_on(Fake::new(), |config| config.queues = 3);
    let fake = &open.fake;
    let second = 1_000_000_000;
    let hangs_at = |seconds: u64| open.nic.watchdog(seconds * second).tx_hang;
    let (head, tail) = (tx(2) + crate::fake::DH, tx(2) + crate::fake::DT);
    fake.set(tail, 3);
    assert_eq!([0, 2, 3].map(hangs_at), [None; 3]);
    fake.set(head, 1);
    assert_eq!([4, 6].map(hangs_at), [None; 2]);
    assert_eq!(hangs_at(8), Some(QueueId(2)));
    assert_eq!(open.stats().tx_timeouts, 1);
    // Without a link packets wait.
    fake.set(crate::fake::STATUS, 0);
    assert_eq!([10, 12, 14, 16].map(hangs_at), [None; 4]);
    fake.set(crate::fake::STATUS, 0x83);
    fake.set(head, 3);
    assert_eq!([18, 20, 22, 24].map(hangs_at), [None; 4]);
}
