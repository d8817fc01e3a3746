//! Receive-side scaling, against a hash of the test's own over the registers
//! that the driver has filled.

use crate::fake::{DD, EOP, Fake, Open, open, open_on};
use softnet_dma_ring::{DmaRing, HashKind};
use softnet_igb::Igb;
use softnet_nic_hal::ethtool::{EthtoolOps, RssConfig};
use softnet_nic_hal::{NicError, NicHal};

/// Source, destination, ports, the hash over all four, and over the addresses:
/// of the verification suite that Microsoft has published.
type Vector = ([u8; 4], [u8; 4], u16, u16, u32, u32);

const VECTORS: [Vector; 5] = [
    (
        [66, 9, 149, 187],
        [161, 142, 100, 80],
        2794,
        1766,
        0x51cc_c178,
        0x323e_8fc2,
    ),
    (
        [199, 92, 111, 2],
        [65, 69, 140, 83],
        14230,
        4739,
        0xc626_b0ea,
        0xd718_262a,
    ),
    (
        [24, 19, 198, 95],
        [12, 22, 207, 184],
        12898,
        38024,
        0x5c2b_394a,
        0xd2d0_a5de,
    ),
    (
        [38, 27, 205, 30],
        [209, 142, 163, 6],
        48228,
        2217,
        0xafc7_327f,
        0x8298_9176,
    ),
    (
        [153, 39, 163, 191],
        [202, 188, 127, 2],
        44251,
        1303,
        0x10e8_28a2,
        0x5d18_09c5,
    ),
];

/// The table's entries, as the registers have them.
fn table(fake: &Fake) -> Vec<u8> {
    let words = (0..32).map(|word| fake.value(0x5c00 + 4 * word));
    words.flat_map(u32::to_le_bytes).collect()
}

/// The key, as the registers have it: first byte lowest.
fn key(fake: &Fake) -> Vec<u8> {
    let words = (0..10).map(|word| fake.value(0x5c80 + 4 * word));
    words.flat_map(u32::to_le_bytes).collect()
}

/// The hash that a chip with this key computes.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 != 0;
    (0..input.len() * 8)
        .filter(|&at| bit(input, at))
        .map(|at| (at..at + 32).fold(0, |word, at| word << 1 | u32::from(bit(key, at))))
        .fold(0, |hash, word| hash ^ word)
}

fn input(vector: Vector) -> Vec<u8> {
    let ports = [vector.2.to_be_bytes(), vector.3.to_be_bytes()].concat();
    [vector.0.to_vec(), vector.1.to_vec(), ports].concat()
}

fn open_with(queues: u16) -> Open {
    open_on(Fake::new(), |config| config.queues = queues)
}

#[test]
fn the_key_is_in_the_registers_as_the_published_vectors_want_it() {
    let open = open();
    let key = key(&open.fake);
    for vector in VECTORS {
        let input = input(vector);
        assert_eq!(toeplitz(&key, &input), vector.4, "{vector:?}");
        assert_eq!(toeplitz(&key, &input[..8]), vector.5, "{vector:?}");
    }
}

#[test]
fn a_hash_is_in_the_frame_with_what_it_covers() {
    let mut open = open();
    for _ in 0..7 {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    open.pair().rx.kick();
    // The types of table 7-13: none, TCP and UDP, addresses alone.
    let kinds = [
        (0, HashKind::None),
        (1, HashKind::L4),
        (2, HashKind::L3),
        (5, HashKind::L3),
        (6, HashKind::L4),
        (7, HashKind::L4),
        (8, HashKind::L4),
    ];
    for (at, (kind, _)) in (0..).zip(kinds) {
        let first = 0xc626_b0ea << 32 | kind;
        open.fake.receive_as(0, at, &[1; 60], first, DD | EOP);
        if at == 6 {
            break;
        }
    }
    for (kind, expected) in kinds {
        let hash = open.pair().rx.reap().unwrap().hash();
        let value = if kind == 0 { 0 } else { 0xc626_b0ea };
        assert_eq!(hash, (value, expected), "type {kind}");
    }
}

#[test]
fn queues_take_turns_in_the_table_of_every_number_of_queues() {
    for queues in [1, 3, 16] {
        let open = open_with(queues);
        let expected: Vec<u8> = (0..queues as u8).cycle().take(128).collect();
        assert_eq!(table(&open.fake), expected);
        assert_ne!(open.fake.value(0x5818) & 7, 0);
    }
}

#[test]
fn a_table_and_a_key_are_changed_while_open_and_outlast_a_stop() {
    let open = open_with(4);
    let config = RssConfig {
        key: std::array::from_fn(|at| at as u8),
        table: (0..128).map(|at| at / 32).collect(),
    };
    open.nic.set_rss(&config).unwrap();
    for reopened in [false, true] {
        let entries: Vec<u16> = table(&open.fake).into_iter().map(u16::from).collect();
        assert_eq!(entries, config.table, "reopened: {reopened}");
        assert_eq!(key(&open.fake), config.key);
        assert_eq!(open.nic.rss().unwrap(), config);
        open.nic.stop().unwrap();
        let again = crate::fake::config(&open.pool, 4, 8);
        drop(open.nic.open(&again, open.stack.clone()).unwrap());
    }
}

#[test]
fn a_table_that_names_a_queue_that_is_not_open_counts_for_nothing() {
    let open = open_with(4);
    let good = open.nic.rss().unwrap();
    let mut wrong = good.clone();
    wrong.table[7] = 4;
    assert!(matches!(
        open.nic.set_rss(&wrong),
        Err(NicError::Unsupported(_))
    ));
    wrong.table.truncate(64);
    assert!(open.nic.set_rss(&wrong).is_err());
    assert_eq!(open.nic.rss().unwrap(), good);
    // One that was right, and is not with fewer queues.
    let mut last = good;
    last.table.fill(3);
    open.nic.set_rss(&last).unwrap();
    open.nic.stop().unwrap();
    let fewer = crate::fake::config(&open.pool, 2, 8);
    drop(open.nic.open(&fewer, open.stack.clone()).unwrap());
    assert!(table(&open.fake).iter().all(|&queue| queue < 2));
}

#[test]
fn the_i210_has_four_queues_to_name() {
    let nic = Igb::probe(Fake::with_device(0x1533)).unwrap();
    let mut rss = nic.rss().unwrap();
    rss.table.fill(3);
    assert!(nic.set_rss(&rss).is_ok());
    rss.table.fill(4);
    assert!(nic.set_rss(&rss).is_err());
}
