//! Nothing that a driver writes makes the model panic, hang, or touch memory
//! that is not mapped.

use crate::frames::*;
use crate::rig::*;
use proptest::prelude::*;
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};
use softnet_nic_hal::dma_ring::DmaRegion;
use std::sync::atomic::Ordering;

#[derive(Clone, Debug)]
enum Act {
    Read(u32),
    Write(u32, u32),
    Io(u32, u32),
    Config(u16, u32),
    Memory(usize, u64),
    Frame(u8, usize),
    /// A real frame of which a byte is changed, cut there or not.
    Spoilt(&'static str, usize, u8, bool),
    Step(u64),
    Delay(u32),
    Carrier(bool),
    Master(bool),
}

fn register() -> impl Strategy<Value = u32> {
    let hot = prop::sample::select(vec![
        CTRL, EECD, EERD, MDIC, ICR, ITR, ICS, IMS, IMC, RCTL, TCTL, PBA, RDBAL, RDBAH, RDLEN, RDH,
        RDT, RDTR, RADV, TDBAL, TDBAH, TDLEN, TDH, TDT, TIDV, TXDCTL, TADV, RAL, RAH, VET, FCAL,
        FCAH, FCT, FCTTV, FCRTL, FCRTH, RSRPD, RXCSUM, VFTA, CTRL_EXT,
    ]);
    prop_oneof![4 => hot, 1 => 0u32..0x2_0010]
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(u32::MAX),
        0u32..512,
        Just(EN | UPE | MPE | BAM | LPE),
        Just(SLU | 1),
        Just(SLU | 1 | VME | RFCE | TFCE),
        // Loopback in the MAC; and all checksums.
        Just(EN | UPE | BAM | LPE | VFE | 1 << 6),
        Just(0x0700),
        any::<u32>()
    ]
}

/// A descriptor word: an address inside of, at the edge of or outside of the
/// mapping (`Memory` adds the base), or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..8300,
        any::<u64>(),
        (any::<u8>(), 0u64..3000).prop_map(|(command, len)| u64::from(command) << 24 | len),
        extended(),
    ]
}

/// The second word of a context or of data, with small numbers where a driver
/// would have them.
fn extended() -> impl Strategy<Value = u64> {
    let numbers = (0u64..3000, 0u64..3, any::<u8>(), any::<u8>(), 0u64..300);
    numbers.prop_map(|(len, kind, command, header, mss)| {
        let command = u64::from(command) | DEXT;
        len | kind << 20 | command << 24 | u64::from(header) << 40 | mss << 48
    })
}

fn spoilt() -> impl Strategy<Value = Act> {
    let frames = vec![TCP_IPV4, UDP_IPV4, TCP_IPV6, TAGGED_UDP_IPV4, FRAGMENT_IPV4];
    let frame = prop::sample::select(frames);
    let parts = (frame, 0usize..90, any::<u8>(), any::<bool>());
    parts.prop_map(|(frame, at, flip, cut)| Act::Spoilt(frame, at, flip, cut))
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => register().prop_map(Act::Read),
        6 => (register(), value()).prop_map(|(at, value)| Act::Write(at, value)),
        1 => (0u32..80, value()).prop_map(|(at, value)| Act::Io(at, value)),
        1 => (0u16..64, value()).prop_map(|(at, value)| Act::Config(at * 4, value)),
        4 => (0usize..1024, word()).prop_map(|(at, word)| Act::Memory(at, word)),
        3 => (any::<u8>(), 0usize..3000).prop_map(|(first, len)| Act::Frame(first, len)),
        2 => spoilt(),
        3 => (0u64..2_000_000).prop_map(Act::Step),
        1 => (0u32..10_000).prop_map(Act::Delay),
        1 => any::<bool>().prop_map(Act::Carrier),
        1 => any::<bool>().prop_map(Act::Master),
    ]
}

fn perform(rig: &mut Rig, memory: &impl CoherentMemory, act: Act) {
    match act {
        Act::Read(at) => drop(rig.r(at)),
        Act::Write(at, value) => rig.w(at, value),
        Act::Io(at, value) => rig.dev.write32(2, at, value),
        Act::Config(at, value) => rig.dev.config_write32(at, value),
        Act::Memory(at, word) => {
            let base = if word < 8300 { memory.dma_addr().0 } else { 0 };
            memory.write_u64(at * 8, word.wrapping_add(base));
        }
        Act::Frame(first, len) => rig.wire.push(&vec![first; len]),
        Act::Spoilt(hex, at, flip, cut) => {
            let mut frame = golden(hex);
            let at = at % frame.len();
            frame[at] ^= flip;
            frame.truncate(if cut { at } else { frame.len() });
            rig.wire.push(&frame);
        }
        Act::Step(ns) => {
            rig.now_ns += ns;
            rig.step();
        }
        Act::Delay(us) => rig.dev.delay_us(us),
        Act::Carrier(carrier) => rig.wire.set_carrier(carrier),
        Act::Master(master) => rig.dev.set_bus_master(master),
    }
}

proptest! {
    #[test]
    fn no_driver_can_break_the_model(acts in prop::collection::vec(act(), 1..200)) {
        let mut rig = Rig::new();
        let _handler = Counting::new(&rig);
        let before = DmaRegion::alloc(4096).unwrap();
        let memory = rig.dev.alloc_coherent(8192).unwrap();
        let after = DmaRegion::alloc(4096).unwrap();
        // A ring that works, to begin with: both kinds in the same memory.
        for (low, high, len) in [(RDBAL, RDBAH, RDLEN), (TDBAL, TDBAH, TDLEN)] {
            rig.w(low, memory.dma_addr().0 as u32);
            rig.w(high, (memory.dma_addr().0 >> 32) as u32);
            rig.w(len, 1024);
        }
        rig.w(RCTL, EN | BAM | UPE | MPE | LPE);
        rig.w(TCTL, EN | PSP);
        rig.w(RDT, 63);
        for act in acts {
            perform(&mut rig, &memory, act);
        }
        for neighbour in [before, after] {
            for word in 0..512 {
                prop_assert_eq!(neighbour.read_u64(word * 8, Ordering::Relaxed), Some(0));
            }
        }
    }
}
