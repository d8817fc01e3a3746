//! The 82540EM. Section numbers are of Intel's *PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual*.

use super::random::Random;
use super::run::Chip;
use super::run_scripts;
use super::script::{Number, Op, To, frame, noise, parse};
use super::side::{Ours, Width};
use crate::bench::MAC;
use softnet_emulated::{E1000, E1000Config};
use softnet_nic_hal::MacAddress;

/// Registers by their names (table 13-2).
static REGISTERS: &[(&str, u32)] = &[
    ("CTRL", 0x0),
    ("STATUS", 0x8),
    ("EECD", 0x10),
    ("EERD", 0x14),
    ("CTRL_EXT", 0x18),
    ("MDIC", 0x20),
    ("FCAL", 0x28),
    ("FCAH", 0x2c),
    ("FCT", 0x30),
    ("VET", 0x38),
    ("ICR", 0xc0),
    ("ITR", 0xc4),
    ("ICS", 0xc8),
    ("IMS", 0xd0),
    ("IMC", 0xd8),
    ("RCTL", 0x100),
    ("FCTTV", 0x170),
    ("TCTL", 0x400),
    ("TIPG", 0x410),
    ("AIT", 0x458),
    ("LEDCTL", 0xe00),
    ("PBA", 0x1000),
    ("FCRTL", 0x2160),
    ("FCRTH", 0x2168),
    ("RDBAL", 0x2800),
    ("RDBAH", 0x2804),
    ("RDLEN", 0x2808),
    ("RDH", 0x2810),
    ("RDT", 0x2818),
    ("RDTR", 0x2820),
    ("RXDCTL", 0x2828),
    ("RADV", 0x282c),
    ("RSRPD", 0x2c00),
    ("TXDMAC", 0x3000),
    ("TDBAL", 0x3800),
    ("TDBAH", 0x3804),
    ("TDLEN", 0x3808),
    ("TDH", 0x3810),
    ("TDT", 0x3818),
    ("TIDV", 0x3820),
    ("TXDCTL", 0x3828),
    ("TADV", 0x382c),
    ("TSPMT", 0x3830),
    ("MPC", 0x4010),
    ("RNBC", 0x40a0),
    ("PRC64", 0x405c),
    ("PRC127", 0x4060),
    ("PRC255", 0x4064),
    ("PRC511", 0x4068),
    ("PRC1023", 0x406c),
    ("PRC1522", 0x4070),
    ("GPRC", 0x4074),
    ("BPRC", 0x4078),
    ("MPRC", 0x407c),
    ("GPTC", 0x4080),
    ("GORCL", 0x4088),
    ("GORCH", 0x408c),
    ("GOTCL", 0x4090),
    ("GOTCH", 0x4094),
    ("RUC", 0x40a4),
    ("ROC", 0x40ac),
    ("TORL", 0x40c0),
    ("TORH", 0x40c4),
    ("TOTL", 0x40c8),
    ("TOTH", 0x40cc),
    ("TPR", 0x40d0),
    ("TPT", 0x40d4),
    ("PTC64", 0x40d8),
    ("PTC127", 0x40dc),
    ("PTC255", 0x40e0),
    ("PTC511", 0x40e4),
    ("PTC1023", 0x40e8),
    ("PTC1522", 0x40ec),
    ("MPTC", 0x40f0),
    ("BPTC", 0x40f4),
    ("TSCTC", 0x40f8),
    ("TSCTFC", 0x40fc),
    ("RXCSUM", 0x5000),
    ("MTA0", 0x5200),
    ("MTA64", 0x5300),
    ("MTA127", 0x53fc),
    ("RAL0", 0x5400),
    ("RAH0", 0x5404),
    ("RAL1", 0x5408),
    ("RAH1", 0x540c),
    ("RAL15", 0x5478),
    ("RAH15", 0x547c),
    ("VFTA0", 0x5600),
    ("VFTA127", 0x57fc),
    ("WUC", 0x5800),
    ("WUFC", 0x5808),
    ("MANC", 0x5820),
];

static CHIP: Chip = Chip {
    model: "e1000",
    registers: REGISTERS,
    width: Width::Long,
    others: &[],
    normal,
    ours: |bus, memory| {
        let (function, model) = E1000::attach(bus, &E1000Config::new(MAC)).unwrap();
        Ours::new(function, model, memory)
    },
};

#[test]
fn the_82540em_does_what_qemus_does_in_all_scripts() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "e1000");
}

#[test]
fn what_is_listed_for_the_82540em_differs_as_it_is_listed() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "e1000/differences");
}

/// Rings of 64 descriptors; what they point to lies above.
const RING: u64 = 64;
const TX_RING: u64 = 0x0;
const RX_RING: u64 = 0x400;
const TX_BUFFERS: u64 = 0x1000;
const RX_BUFFERS: u64 = 0x6000;

/// Both rings set up, one buffer of 2 KiB or its parts to each receive descriptor, the
/// link up, and both units on.
const PRELUDE: &str = "
write CTRL 0x40
advance 3000000
write IMC 0xffffffff
write TDBAL @0x0
write TDBAH ^0x0
write TDLEN 1024
write RDBAL @0x400
write RDBAH ^0x0
write RDLEN 1024
write TCTL 0x40102
fill 0x1000 0x2000 1
write ICR 0xffffffff
";

/// The status of a receive descriptor other than its packet's last says nothing but DD,
/// but ours sets IXSM there too; and QEMU does not know PIF (3.2.3.1).
fn normal(memory: &mut [u8]) {
    let ring = RX_RING as usize..(RX_RING + RING * 16) as usize;
    for descriptor in memory[ring].chunks_mut(16) {
        descriptor[12] &= 0x7f;
        if descriptor[12] & 0b11 == 0b01 {
            descriptor[12] = 1;
        }
    }
}

/// Registers to compare, and the bits of them that are known to differ.
const VISIBLE: &[(&str, u32)] = &[
    ("TDH", 0),
    ("TDT", 0),
    ("RDH", 0),
    ("RDT", 0),
    ("IMS", 0),
    ("ICS", 0x8002),
    ("RCTL", 0),
    ("TCTL", 0),
];

/// The statistics registers that both count.
const STATISTICS: &[&str] = &["MPC", "GPRC", "GPTC", "TPT"];

fn write(name: &str, value: u64) -> Op {
    CHIP.write(name, value)
}

/// One thing that a driver, or somebody on the wire, might do.
fn next(rng: &mut fastrand::Rng) -> Vec<Op> {
    match rng.u8(..16) {
        0..=2 => transmit(rng),
        3..=5 => receive(rng),
        6 => interrupts(rng),
        7 => addresses(rng),
        8 => vec![write("TCTL", 0x40100 | rng.u64(..) & 0x2)],
        9 => vec![write("CTRL", 0x40 | rng.u64(..2) << 30)],
        10..=12 => extended(rng),
        13..=14 => vec![CHIP.read(rng.choice(STATISTICS).copied().unwrap_or("TPT"))],
        _ => vec![write("ICR", u64::MAX)],
    }
}

/// A few descriptors, and the tail somewhere.
fn transmit(rng: &mut fastrand::Rng) -> Vec<Op> {
    let mut ops: Vec<Op> = (0..rng.u8(..6)).map(|_| legacy(rng)).collect();
    ops.push(write("TDT", rng.u64(..RING)));
    ops
}

/// A legacy descriptor (3.3.3). IFCS is set, and IC and RPS are not.
fn legacy(rng: &mut fastrand::Rng) -> Op {
    let at = TX_RING + rng.u64(..RING) * 16;
    let buffer = TX_BUFFERS + rng.u64(..0x1000);
    let len = rng.u64(60..1515);
    let flags = rng.u64(..2) << 3 | rng.u64(..2) << 6 | rng.u64(..2) << 7;
    let command = 0x2 | u64::from(rng.u8(..10) > 1) | flags;
    let tag = rng.u64(..0x1_0000) << 48;
    let words = [Number::At(buffer), Number::Plain(tag | command << 24 | len)];
    Op::Store(at as usize, words.to_vec())
}

/// A packet by extended descriptors (3.3.6, 3.3.7), in a ring that holds nothing else: a
/// short packet that ends whatever was begun before, a context, and the packet's data in
/// two parts. Afterwards the ring is empty, so that nothing of it is met out of place.
fn extended(rng: &mut fastrand::Rng) -> Vec<Op> {
    let (tcp, cut) = (rng.bool(), rng.bool());
    let header: u64 = if tcp { 54 } else { 42 };
    let mss = if cut { rng.u64(64..1460) } else { 0 };
    // No packet is shorter than Ethernet's shortest.
    let last = rng.u64(18..64);
    let payload = if cut {
        rng.u64(..5) * mss + last
    } else {
        rng.u64(18..1400)
    };
    let at = rng.u64(..RING - 4);
    let mut ops = vec![write("TCTL", 0x40100), write("TDH", at), write("TDT", at)];
    ops.extend(packet(rng, tcp, payload));
    // TUCSE, TUCSO, TUCSS and IPCSE, IPCSO, IPCSS.
    let checksums = (34 | if tcp { 50 } else { 40 } << 8) << 32 | 33 << 16 | 24 << 8 | 14;
    let kind = u64::from(tcp) | 0x2 | u64::from(cut) << 2 | 0x20;
    let context = mss << 48 | header << 40 | kind << 24 | payload;
    let split = rng.u64(1..header + payload);
    let data = |len: u64, last: u64| {
        let command = 0x22 | u64::from(cut) << 2 | last;
        command << 24 | 1 << 20 | len
    };
    let options = rng.u64(..4) << 40;
    let tag = rng.u64(..2) << 30 | rng.u64(..0x1_0000) << 48;
    let begin = Number::At(TX_BUFFERS + 0x2000);
    let words = vec![
        begin,
        Number::Plain(0x0b00_003c),
        Number::Plain(checksums),
        Number::Plain(context),
        begin,
        Number::Plain(options | tag | data(split, 0)),
        Number::At(TX_BUFFERS + 0x2000 + split),
        Number::Plain(options | tag | data(header + payload - split, 0x9)),
    ];
    ops.push(Op::Store((TX_RING + at * 16) as usize, words));
    ops.extend([write("TCTL", 0x40102), write("TDT", at + 4)]);
    // The wire of a long packet has many frames; the ring is cleared once they are out.
    ops.push(Op::Advance(1000));
    ops.push(Op::Store(
        (TX_RING + at * 16) as usize,
        vec![Number::Plain(0); 8],
    ));
    ops
}

/// Puts an IPv4 packet with so much payload into memory. Its transport checksum is the
/// pseudo-header's, without the length, as segmentation asks for (3.3.6).
fn packet(rng: &mut fastrand::Rng, tcp: bool, payload: u64) -> Vec<Op> {
    let at = (TX_BUFFERS + 0x2000) as usize;
    let mut bytes = [&MAC.0[..], &[2, 0, 0, 0, 0xaa, 0xbb, 8, 0, 0x45, 0]].concat();
    bytes.extend([
        0,
        0,
        rng.u8(..),
        rng.u8(..),
        0,
        0,
        64,
        if tcp { 6 } else { 17 },
    ]);
    bytes.extend([0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(noise(if tcp { 22 } else { 14 }, rng.u64(..)));
    if tcp {
        bytes[46] = 0x50;
    }
    let words = bytes.chunks_exact(8);
    let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let words = words.map(Number::Plain).collect();
    vec![
        Op::Fill(at, payload as usize + 54, rng.u64(..1000)),
        Op::Store(at, words),
    ]
}

/// The receiver with other settings and a ring full of buffers, and then frames.
fn receive(rng: &mut fastrand::Rng) -> Vec<Op> {
    let mut ops = vec![write("RCTL", 0)];
    let at = rng.u64(..RING);
    ops.push(Op::Ring(RX_RING as usize, RING, RX_BUFFERS, 1024));
    ops.push(write("RDH", at));
    ops.push(write("RDT", (at + RING - 1) % RING));
    ops.push(write("RCTL", rctl(rng)));
    ops.push(Op::Advance(1_500_000));
    ops.extend((0..rng.u8(..4)).map(|_| arrive(rng)));
    ops
}

/// EN and SECRC, and at random UPE, MPE, LPE, RDMTS, MO, BAM, BSIZE and VFE (13.4.22).
fn rctl(rng: &mut fastrand::Rng) -> u64 {
    let filters = rng.u64(..) & 0x0000_b338;
    // Buffers of 1024 bytes at most.
    let size = rng.u64(1..4) << 16;
    0x0400_0002 | filters | size | rng.u64(..2) << 18
}

/// A frame, perhaps with a VLAN tag.
fn arrive(rng: &mut fastrand::Rng) -> Op {
    if rng.u8(..4) == 0 {
        let mut bytes = frame(MAC, rng.usize(64..1515), rng.u64(..1000));
        bytes[12..14].copy_from_slice(&[0x81, 0]);
        bytes[14] = rng.u8(..) & 0xef;
        return Op::Bytes(bytes);
    }
    let group = MacAddress([0x01, 0, 0x5e, rng.u8(..), rng.u8(..), rng.u8(..)]);
    // Not in the words of the multicast table that are written, whatever RCTL.MO says:
    // QEMU looks there for station addresses too.
    let other = MacAddress([0x02, 1, 2, 3, 0x55, rng.u8(0x31..0x33)]);
    let to = [MAC, MacAddress::BROADCAST, group, other];
    let len = if rng.u8(..8) == 0 {
        rng.usize(1600..4000)
    } else {
        rng.usize(60..1515)
    };
    Op::Frame(To(to[rng.usize(..4)]), len, rng.u64(..1000))
}

fn interrupts(rng: &mut fastrand::Rng) -> Vec<Op> {
    let name = ["IMS", "IMC", "ICS", "ICR"][rng.usize(..4)];
    // The causes that this chip has (13.4.17), but TXQE and TXD_LOW.
    vec![write(name, rng.u64(..) & 0x1_76dd)]
}

fn addresses(rng: &mut fastrand::Rng) -> Vec<Op> {
    match rng.u8(..4) {
        0 => vec![write("MTA0", rng.u64(..)), write("MTA64", rng.u64(..))],
        1 => vec![
            write("RAL1", 0x0302_0102),
            write("RAH1", 0x3155 | rng.u64(..2) << 31 | rng.u64(..4) << 8),
        ],
        2 if rng.bool() => vec![write("VFTA0", rng.u64(..)), write("VFTA127", rng.u64(..))],
        2 => vec![write("RAH0", 0x5634 | rng.u64(..2) << 31)],
        _ => vec![write("MTA127", rng.u64(..))],
    }
}

#[test]
fn the_82540em_does_what_qemus_does_at_random() {
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
