//! The RTL8029. Chapters and sections are of National's *DP8390D/NS32490D NIC Network
//! Interface Controller*.

use super::random::Random;
use super::run::Chip;
use super::run_scripts;
use super::script::{Op, To, parse};
use super::side::{Ours, Width};
use crate::bench::MAC;
use softnet_emulated::{Ne2000, Ne2000Config};
use softnet_nic_hal::MacAddress;

/// Registers by their names, of all pages: CR says which page an access reaches (10.2).
static REGISTERS: &[(&str, u32)] = &[
    ("CR", 0x0),
    ("PSTART", 0x1),
    ("PSTOP", 0x2),
    ("BNRY", 0x3),
    ("TPSR", 0x4),
    ("TSR", 0x4),
    ("TBCR0", 0x5),
    ("NCR", 0x5),
    ("TBCR1", 0x6),
    ("ISR", 0x7),
    ("RSAR0", 0x8),
    ("RSAR1", 0x9),
    ("RBCR0", 0xa),
    ("RBCR1", 0xb),
    ("RCR", 0xc),
    ("RSR", 0xc),
    ("TCR", 0xd),
    ("CNTR0", 0xd),
    ("DCR", 0xe),
    ("CNTR1", 0xe),
    ("IMR", 0xf),
    ("CNTR2", 0xf),
    ("PAR0", 0x1),
    ("PAR1", 0x2),
    ("PAR2", 0x3),
    ("PAR3", 0x4),
    ("PAR4", 0x5),
    ("PAR5", 0x6),
    ("CURR", 0x7),
    ("MAR0", 0x8),
    ("MAR1", 0x9),
    ("MAR2", 0xa),
    ("MAR3", 0xb),
    ("MAR4", 0xc),
    ("MAR5", 0xd),
    ("MAR6", 0xe),
    ("MAR7", 0xf),
    ("DATA8", 0x10),
    ("RESET", 0x1f),
];

static CHIP: Chip = Chip {
    model: "ne2k_pci",
    registers: REGISTERS,
    width: Width::Byte,
    others: &[("DATA", 0x10, Width::Word), ("DATA32", 0x10, Width::Long)],
    normal: |_| {},
    ours: |bus, memory| {
        let (function, model) = Ne2000::attach(bus, &Ne2000Config::new(MAC)).unwrap();
        Ours::new(function, model, memory)
    },
};

#[test]
fn the_rtl8029_does_what_qemus_does_in_all_scripts() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "ne2000");
}

#[test]
fn what_is_listed_for_the_rtl8029_differs_as_it_is_listed() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "ne2000/differences");
}

/// The pages of the packet memory: six for a packet to send, and the receive ring.
const TX_PAGE: u64 = 0x40;
const START: u64 = 0x46;
const STOP: u64 = 0x80;

/// Word transfers, the ring, the station address, and on (chapter 11, "Initialization
/// Sequence").
const PRELUDE: &str = "
write RESET 0
write CR 0x21
write DCR 0x49
write RBCR0 0
write RBCR1 0
write RCR 0x04
write TCR 0x00
write PSTART 0x46
write PSTOP 0x80
write BNRY 0x46
write ISR 0xff
write IMR 0x00
write CR 0x61
write PAR0 0x52
write PAR1 0x54
write PAR2 0x00
write PAR3 0x12
write PAR4 0x34
write PAR5 0x56
write CURR 0x47
write CR 0x22
";

const VISIBLE: &[(&str, u32)] = &[
    ("CR", 0),
    ("BNRY", 0),
    ("ISR", 0),
    ("TSR", 0x2),
    ("RSAR0", 0),
    ("RSAR1", 0),
];

fn write(name: &str, value: u64) -> Op {
    CHIP.write(name, value)
}

/// One thing that a driver, or somebody on the wire, might do. It ends with page 0.
fn next(rng: &mut fastrand::Rng) -> Vec<Op> {
    match rng.u8(..10) {
        0..=1 => transmit(rng),
        2..=4 => receive(rng),
        5..=6 => remote_write(rng),
        7 => remote_read(rng.u64(TX_PAGE..START), rng.u64(1..40)),
        8 => vec![write(["IMR", "ISR"][rng.usize(..2)], rng.u64(..0x80))],
        _ => filters(rng),
    }
}

/// A transfer of so many words, begun at that byte.
fn remote(command: u64, at: u64, words: u64) -> Vec<Op> {
    let bytes = words * 2;
    vec![
        write("ISR", 0x40),
        write("RSAR0", at & 0xff),
        write("RSAR1", at >> 8),
        write("RBCR0", bytes & 0xff),
        write("RBCR1", bytes >> 8),
        write("CR", command),
    ]
}

fn remote_read(page: u64, words: u64) -> Vec<Op> {
    let mut ops = remote(0x0a, page << 8, words);
    ops.extend((0..words).map(|_| CHIP.read("DATA")));
    ops.push(write("CR", 0x22));
    ops
}

fn remote_write(rng: &mut fastrand::Rng) -> Vec<Op> {
    let (at, words) = ((TX_PAGE << 8) + rng.u64(..0x200) * 2, rng.u64(1..64));
    let mut ops = remote(0x12, at, words);
    ops.extend((0..words).map(|_| write("DATA", rng.u64(..0x1_0000))));
    ops.push(write("CR", 0x22));
    ops
}

fn transmit(rng: &mut fastrand::Rng) -> Vec<Op> {
    let len = rng.u64(60..1515);
    vec![
        write("TPSR", TX_PAGE),
        write("TBCR0", len & 0xff),
        write("TBCR1", len >> 8),
        write("CR", 0x26),
    ]
}

/// The ring emptied, somewhere; frames; and what of the first one, which is for us, is in memory. QEMU does
/// not store an FCS, so nothing is looked at that might be one.
fn receive(rng: &mut fastrand::Rng) -> Vec<Op> {
    let page = rng.u64(START..STOP);
    let next = if page + 1 == STOP { START } else { page + 1 };
    let mut ops = vec![
        write("BNRY", page),
        write("CR", 0x62),
        write("CURR", next),
        write("CR", 0x22),
    ];
    ops.push(Op::Frame(To(MAC), rng.usize(80..1515), rng.u64(..1000)));
    ops.extend((0..rng.u8(..3)).map(|_| arrive(rng)));
    ops.push(write("CR", 0x62));
    ops.push(CHIP.read("CURR"));
    ops.push(write("CR", 0x22));
    ops.push(CHIP.read("RSR"));
    ops.extend(remote_read(next, 40));
    ops
}

fn arrive(rng: &mut fastrand::Rng) -> Op {
    let group = MacAddress([0x01, 0, 0x5e, rng.u8(..), rng.u8(..), rng.u8(..)]);
    let other = MacAddress([0x02, 1, 2, 3, 4, 5]);
    let to = [MAC, MacAddress::BROADCAST, group, other];
    Op::Frame(To(to[rng.usize(..4)]), rng.usize(80..1515), rng.u64(..1000))
}

/// The receive configuration and the multicast table. PRO is for physical addresses, but
/// QEMU takes all by it; so it comes with all else that takes all.
fn filters(rng: &mut fastrand::Rng) -> Vec<Op> {
    let all = rng.u8(..4) == 0;
    let rcr = if all { 0x1c } else { rng.u64(..4) << 2 };
    let mut ops = vec![write("RCR", rcr), write("CR", 0x62)];
    for at in 0..8 {
        let bits = if all { 0xff } else { rng.u64(..0x100) };
        ops.push(write(&format!("MAR{at}"), bits));
    }
    ops.push(write("CR", 0x22));
    ops
}

#[test]
fn the_rtl8029_does_what_qemus_does_at_random() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let random = Random {
        qemu: &qemu,
        chip: &CHIP,
        prelude: parse(PRELUDE, &CHIP.named()),
        visible: VISIBLE,
        next,
    };
    random.run_all(4, 60);
}
