//! The 82576. Section numbers are of Intel's *82576EB Gigabit Ethernet Controller
//! Datasheet*.

use super::random::Random;
use super::run::Chip;
use super::run_scripts;
use super::script::{Number, Op, To, frame, noise, parse};
use super::side::{Ours, Width};
use crate::bench::MAC;
use softnet_emulated::{Igb, IgbConfig};
use softnet_nic_hal::MacAddress;

/// Registers by their names (8.1.3).
static REGISTERS: &[(&str, u32)] = &[
    ("CTRL", 0x0),
    ("STATUS", 0x8),
    ("EERD", 0x14),
    ("CTRL_EXT", 0x18),
    ("MDIC", 0x20),
    ("VET", 0x38),
    ("ICR", 0xc0),
    ("ICS", 0xc8),
    ("IMS", 0xd0),
    ("IMC", 0xd8),
    ("IAM", 0xe0),
    ("RCTL", 0x100),
    ("TCTL", 0x400),
    ("GPIE", 0x1514),
    ("EICS", 0x1520),
    ("EIMS", 0x1524),
    ("EIMC", 0x1528),
    ("EIAC", 0x152c),
    ("EIAM", 0x1530),
    ("EICR", 0x1580),
    ("IVAR0", 0x1700),
    ("IVAR1", 0x1704),
    ("IVAR2", 0x1708),
    ("IVAR3", 0x170c),
    ("IVAR_MISC", 0x1740),
    ("RDBAL0", 0xc000),
    ("RDBAH0", 0xc004),
    ("RDLEN0", 0xc008),
    ("SRRCTL0", 0xc00c),
    ("RDH0", 0xc010),
    ("RDT0", 0xc018),
    ("RXDCTL0", 0xc028),
    ("RDBAL1", 0xc040),
    ("RDBAH1", 0xc044),
    ("RDLEN1", 0xc048),
    ("SRRCTL1", 0xc04c),
    ("RDH1", 0xc050),
    ("RDT1", 0xc058),
    ("RXDCTL1", 0xc068),
    ("RDBAL2", 0xc080),
    ("RDBAH2", 0xc084),
    ("RDLEN2", 0xc088),
    ("SRRCTL2", 0xc08c),
    ("RDH2", 0xc090),
    ("RDT2", 0xc098),
    ("RXDCTL2", 0xc0a8),
    ("RDBAL3", 0xc0c0),
    ("RDBAH3", 0xc0c4),
    ("RDLEN3", 0xc0c8),
    ("SRRCTL3", 0xc0cc),
    ("RDH3", 0xc0d0),
    ("RDT3", 0xc0d8),
    ("RXDCTL3", 0xc0e8),
    ("TDBAL0", 0xe000),
    ("TDBAH0", 0xe004),
    ("TDLEN0", 0xe008),
    ("TDH0", 0xe010),
    ("TDT0", 0xe018),
    ("TXDCTL0", 0xe028),
    ("TDBAL1", 0xe040),
    ("TDBAH1", 0xe044),
    ("TDLEN1", 0xe048),
    ("TDH1", 0xe050),
    ("TDT1", 0xe058),
    ("TXDCTL1", 0xe068),
    ("GPRC", 0x4074),
    ("BPRC", 0x4078),
    ("MPRC", 0x407c),
    ("GPTC", 0x4080),
    ("GORCL", 0x4088),
    ("GORCH", 0x408c),
    ("GOTCL", 0x4090),
    ("GOTCH", 0x4094),
    ("TORL", 0x40c0),
    ("TOTL", 0x40c8),
    ("TPR", 0x40d0),
    ("TPT", 0x40d4),
    ("MPTC", 0x40f0),
    ("BPTC", 0x40f4),
    ("RXCSUM", 0x5000),
    ("RLPML", 0x5004),
    ("RFCTL", 0x5008),
    ("MTA0", 0x5200),
    ("MTA64", 0x5300),
    ("MTA127", 0x53fc),
    ("RAL0", 0x5400),
    ("RAH0", 0x5404),
    ("RAL1", 0x5408),
    ("RAH1", 0x540c),
    ("PSRTYPE0", 0x5480),
    ("VFTA0", 0x5600),
    ("VFTA127", 0x57fc),
    ("MRQC", 0x5818),
    ("VT_CTL", 0x581c),
    ("MANC", 0x5820),
    ("RETA0", 0x5c00),
    ("RETA1", 0x5c04),
    ("RETA2", 0x5c08),
    ("RETA3", 0x5c0c),
    ("RETA4", 0x5c10),
    ("RETA5", 0x5c14),
    ("RETA6", 0x5c18),
    ("RETA7", 0x5c1c),
    ("RETA8", 0x5c20),
    ("RETA9", 0x5c24),
    ("RETA10", 0x5c28),
    ("RETA11", 0x5c2c),
    ("RETA12", 0x5c30),
    ("RETA13", 0x5c34),
    ("RETA14", 0x5c38),
    ("RETA15", 0x5c3c),
    ("RETA16", 0x5c40),
    ("RETA17", 0x5c44),
    ("RETA18", 0x5c48),
    ("RETA19", 0x5c4c),
    ("RETA20", 0x5c50),
    ("RETA21", 0x5c54),
    ("RETA22", 0x5c58),
    ("RETA23", 0x5c5c),
    ("RETA24", 0x5c60),
    ("RETA25", 0x5c64),
    ("RETA26", 0x5c68),
    ("RETA27", 0x5c6c),
    ("RETA28", 0x5c70),
    ("RETA29", 0x5c74),
    ("RETA30", 0x5c78),
    ("RETA31", 0x5c7c),
    ("RSSRK0", 0x5c80),
    ("RSSRK1", 0x5c84),
    ("RSSRK2", 0x5c88),
    ("RSSRK3", 0x5c8c),
    ("RSSRK4", 0x5c90),
    ("RSSRK5", 0x5c94),
    ("RSSRK6", 0x5c98),
    ("RSSRK7", 0x5c9c),
    ("RSSRK8", 0x5ca0),
    ("RSSRK9", 0x5ca4),
];

static CHIP: Chip = Chip {
    model: "igb",
    registers: REGISTERS,
    width: Width::Long,
    others: &[],
    normal,
    ours: |bus, memory| {
        let (function, model) = Igb::attach(bus, &IgbConfig::new(MAC)).unwrap();
        Ours::new(function, model, memory)
    },
};

#[test]
fn the_82576_does_what_qemus_does_in_all_scripts() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "igb");
}

#[test]
fn what_is_listed_for_the_82576_differs_as_it_is_listed() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    run_scripts(&qemu, &CHIP, "igb/differences");
}

/// Rings of 32 descriptors, two to send and four to receive, and what they point to.
const RING: u64 = 32;
const BYTES: u64 = RING * 16;
const TX_RINGS: u64 = 0x0;
const RX_RINGS: u64 = 0x800;
const PACKET: u64 = 0x1800;
const RX_BUFFERS: u64 = 0x4000;

/// QEMU writes the checksum that it inserts into the packet's own buffer. And of a packet in
/// several descriptors only the last one says more than DD and the length, and its packet
/// type does not say that it had a VLAN tag (7.1.5).
fn normal(memory: &mut [u8]) {
    memory[PACKET as usize..RX_BUFFERS as usize].fill(0);
    let rings = RX_RINGS as usize..(RX_RINGS + 4 * BYTES) as usize;
    for descriptor in memory[rings].chunks_mut(16) {
        if descriptor[8] & 1 == 1 {
            descriptor[2] &= 0xfe;
        }
        if descriptor[8] & 0b11 == 0b01 {
            descriptor[..8].fill(0);
            descriptor[8..12].copy_from_slice(&[1, 0, 0, 0]);
            descriptor[14..].fill(0);
        }
    }
}

/// The link up, all queues set up with advanced descriptors, flows spread over four of
/// them, and both units on. Interrupts stay masked.
fn prelude() -> Vec<Op> {
    let mut ops = parse(
        "write CTRL 0x40\nwrite MDIC 0x04201340\nadvance 6000000\nwrite IMC 0xffffffff\n\
         write EIMC 0xffffffff\nwrite RCTL 0\nwrite TCTL 0x400f8\n",
        &CHIP.named(),
    );
    for queue in 0..2 {
        let at = TX_RINGS + queue * BYTES;
        ops.extend(ring("TD", queue, at));
        ops.push(write(&format!("TXDCTL{queue}"), 0x0200_0000));
    }
    for queue in 0..4 {
        let at = RX_RINGS + queue * BYTES;
        ops.extend(ring("RD", queue, at));
        // One buffer of 2 KiB to a descriptor (7.1.5).
        ops.push(write(&format!("SRRCTL{queue}"), 0x0200_0002));
        ops.push(write(&format!("RXDCTL{queue}"), 0x0200_0000));
    }
    // The key and the table of the published test vectors' kind: anything that spreads.
    ops.extend((0..10).map(|at| write(&format!("RSSRK{at}"), 0x6d5a_56da + 0x1357_9bdf * at)));
    ops.extend((0..32).map(|at| write(&format!("RETA{at}"), 0x0302_0100)));
    // QEMU has no causes of queues whose vector is not valid, also without MSI-X.
    ops.extend((0..4).map(|at| write(&format!("IVAR{at}"), 0x8080_8080)));
    // RSS by IPv4, TCP over it, IPv6 and TCP over it (8.10.13).
    ops.push(write("MRQC", 0x0033_0002));
    ops.push(write("TCTL", 0x400fa));
    ops
}

/// Base and length of a ring.
fn ring(kind: &str, queue: u64, at: u64) -> Vec<Op> {
    let register = |what: &str| CHIP.register(&format!("{kind}{what}{queue}"));
    vec![
        Op::Write(register("BAL"), Number::At(at)),
        Op::Write(register("BAH"), Number::High(at)),
        Op::Write(register("LEN"), Number::Plain(BYTES)),
    ]
}

const VISIBLE: &[(&str, u32)] = &[
    ("TDH0", 0),
    ("TDH1", 0),
    ("RDH0", 0),
    ("RDH1", 0),
    ("RDH2", 0),
    ("RDH3", 0),
    ("IMS", 0),
];

fn write(name: &str, value: u64) -> Op {
    CHIP.write(name, value)
}

/// One thing that a driver, or somebody on the wire, might do.
fn next(rng: &mut fastrand::Rng) -> Vec<Op> {
    match rng.u8(..14) {
        0..=4 => transmit(rng),
        5..=8 => receive(rng),
        9..=12 => interrupts(rng),
        _ => vec![write("CTRL", 0x40 | rng.u64(..2) << 30)],
    }
}

/// Causes and masks (8.8), the pin being the interrupt. EICR leaves QEMU's pin alone.
fn interrupts(rng: &mut fastrand::Rng) -> Vec<Op> {
    let name = ["IMS", "IMC", "ICS", "ICR"][rng.usize(..4)];
    // TXDW and LSC, and RXDW.
    vec![write(name, rng.u64(..) & 0x85)]
}

/// A packet by advanced descriptors (7.2.2), on one of the queues: a context, and the data
/// in two parts.
fn transmit(rng: &mut fastrand::Rng) -> Vec<Op> {
    let (queue, tcp) = (rng.u64(..2), rng.bool());
    // QEMU does not cut UDP, but fragments it.
    let cut = tcp && rng.bool();
    let header: u64 = if tcp { 54 } else { 42 };
    let mss = if cut { rng.u64(64..1460) } else { 0 };
    let last = rng.u64(18..64);
    let payload = if cut {
        rng.u64(..5) * mss + last
    } else {
        rng.u64(18..1400)
    };
    let at = rng.u64(..RING - 4);
    let ring = (TX_RINGS + queue * BYTES + at * 16) as usize;
    let mut ops = stand(queue, at);
    ops.extend(packet(rng, tcp, payload, cut));
    // MACLEN and IPLEN; TUCMD with IPV4 and the L4 type; L4LEN and MSS.
    let lengths = 14 << 9 | 20;
    let tucmd = 0x400 | u64::from(tcp) << 11;
    let l4 = if tcp { 20 } else { 8 };
    let context = (mss << 16 | l4 << 8) << 32 | 0x2000_0000 | 2 << 20 | tucmd;
    let split = rng.u64(1..header + payload);
    let paylen = if cut { payload } else { header + payload };
    let checksums = if cut { 3 } else { rng.u64(..4) };
    let status = (paylen << 14 | checksums << 8) << 32;
    let tag = rng.u64(..2) << 30;
    let data = |len: u64, last: u64| {
        let command = 0x22 | u64::from(cut) << 7 | last;
        status | tag | command << 24 | 3 << 20 | len
    };
    let words = vec![
        Number::Plain(rng.u64(..0x1_0000) << 16 | lengths),
        Number::Plain(context),
        Number::At(PACKET),
        Number::Plain(data(split, 0)),
        Number::At(PACKET + split),
        Number::Plain(data(header + payload - split, 0x9)),
    ];
    ops.push(Op::Store(ring, words));
    ops.push(write(&format!("TDT{queue}"), at + 3));
    ops.push(Op::Advance(1000));
    ops
}

/// A transmit queue off, empty at a place, and on again (4.5.10).
fn stand(queue: u64, at: u64) -> Vec<Op> {
    let register = |name: &str, value| write(&format!("{name}{queue}"), value);
    vec![
        register("TXDCTL", 0),
        register("TDH", at),
        register("TDT", at),
        register("TXDCTL", 0x0200_0000),
    ]
}

/// An IPv4 packet with so much payload, its transport checksum that of the pseudo-header:
/// without the length where it is cut (7.2.4).
fn packet(rng: &mut fastrand::Rng, tcp: bool, payload: u64, cut: bool) -> Vec<Op> {
    let mut bytes = ip(rng, tcp, payload as usize);
    let len = if cut { 0 } else { bytes.len() as u32 - 34 };
    let sum = pseudo_header(&bytes, len);
    let at = if tcp { 50 } else { 40 };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let whole = bytes.len().next_multiple_of(8);
    bytes.resize(whole, 0);
    let words = bytes.chunks(8).take(8);
    let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let words = words.map(Number::Plain).collect();
    vec![
        Op::Fill(PACKET as usize, whole, rng.u64(..1000)),
        Op::Store(PACKET as usize, words),
    ]
}

/// Ethernet, IPv4 and TCP or UDP, without checksums of its own.
fn ip(rng: &mut fastrand::Rng, tcp: bool, payload: usize) -> Vec<u8> {
    let header = if tcp { 20 } else { 8 };
    let total = (20 + header + payload) as u16;
    let mut bytes = [&MAC.0[..], &[2, 0, 0, 0, 0xaa, 0xbb, 8, 0, 0x45, 0]].concat();
    bytes.extend(total.to_be_bytes());
    bytes.extend([
        rng.u8(..),
        rng.u8(..),
        0,
        0,
        64,
        if tcp { 6 } else { 17 },
        0,
        0,
    ]);
    bytes.extend([10, 0, 0, rng.u8(..), 10, 0, 0, 2]);
    bytes.extend([rng.u8(..), rng.u8(..), 0, 80]);
    if tcp {
        bytes.extend([
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            1,
            0x50,
            rng.u8(..) & 0x16,
            0x20,
            0,
            0,
            0,
            0,
            0,
        ]);
    } else {
        bytes.extend((total - 20).to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(noise(payload, rng.u64(..1000)));
    bytes
}

/// The sum of a packet's pseudo-header with this length.
fn pseudo_header(bytes: &[u8], len: u32) -> u16 {
    let words = bytes[26..34].chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    fold(sum + u32::from(bytes[23]) + len)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn ones_sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2);
    words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum()
}

/// All queues with a ring full of buffers, and frames.
fn receive(rng: &mut fastrand::Rng) -> Vec<Op> {
    let mut ops = vec![write("RCTL", 0)];
    let at = rng.u64(..RING);
    for queue in 0..4 {
        let register = |name: &str, value| write(&format!("{name}{queue}"), value);
        let place = (RX_RINGS + queue * BYTES) as usize;
        ops.push(register("RXDCTL", 0));
        ops.push(Op::Ring(place, RING, RX_BUFFERS + queue * 0x4000, 0x200));
        ops.push(register("RDH", at));
        ops.push(register("SRRCTL", 0x0200_0001 | rng.u64(..2)));
        ops.push(register("RXDCTL", 0x0200_0000));
        ops.push(register("RDT", (at + RING - 1) % RING));
    }
    // PCSD: the hash is reported, without which QEMU does not spread flows.
    ops.push(write("RXCSUM", 0x2000 | rng.u64(..4) << 8));
    ops.push(write("RCTL", rctl(rng)));
    ops.push(Op::Advance(1_500_000));
    ops.extend((0..rng.u8(1..4)).map(|_| arrive(rng)));
    ops
}

/// EN and SECRC, and at random UPE, MPE, LPE, MO, BAM and VFE (8.10.1).
fn rctl(rng: &mut fastrand::Rng) -> u64 {
    0x0400_0002 | rng.u64(..) & 0x0004_b038
}

fn arrive(rng: &mut fastrand::Rng) -> Op {
    let group = MacAddress([0x01, 0, 0x5e, rng.u8(..), rng.u8(..), rng.u8(..)]);
    let other = MacAddress([0x02, 1, 2, 3, 0x55, rng.u8(0x31..0x33)]);
    match rng.u8(..8) {
        0 => Op::Frame(To(MAC), rng.usize(60..1515), rng.u64(..1000)),
        1 => Op::Frame(
            To(MacAddress::BROADCAST),
            rng.usize(60..1515),
            rng.u64(..1000),
        ),
        2 => Op::Frame(To(group), rng.usize(60..1515), rng.u64(..1000)),
        3 => Op::Frame(To(other), rng.usize(60..1515), rng.u64(..1000)),
        4 => Op::Bytes(tagged(rng)),
        _ => Op::Bytes(flow(rng)),
    }
}

/// A frame with a VLAN tag.
fn tagged(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = frame(MAC, rng.usize(64..1515), rng.u64(..1000));
    bytes[12..14].copy_from_slice(&[0x81, 0]);
    bytes[14] = rng.u8(..) & 0xef;
    bytes
}

/// A packet of some flow, its checksums right, or one of them wrong.
fn flow(rng: &mut fastrand::Rng) -> Vec<u8> {
    let (tcp, len) = (rng.bool(), rng.usize(18..1400));
    let mut bytes = ip(rng, tcp, len);
    let network = !fold(ones_sum(&bytes[14..34]));
    bytes[24..26].copy_from_slice(&network.to_be_bytes());
    let len = bytes.len() as u32 - 34;
    let transport = !fold(u32::from(pseudo_header(&bytes, len)) + ones_sum(&bytes[34..]));
    let at = if tcp { 50 } else { 40 };
    bytes[at..at + 2].copy_from_slice(&transport.to_be_bytes());
    if rng.u8(..4) == 0 {
        let wrong = [25, at, 60][rng.usize(..3)];
        bytes[wrong] ^= 1 << rng.u8(..8);
    }
    bytes
}

#[test]
fn the_82576_does_what_qemus_does_at_random() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let random = Random {
        qemu: &qemu,
        chip: &CHIP,
        prelude: prelude(),
        visible: VISIBLE,
        next,
    };
    random.run_all(4, 40);
}
