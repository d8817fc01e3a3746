//! Nothing that a driver writes, or that comes from the wire, makes the model
//! panic, hang, or touch memory that is not mapped.

use crate::frames::*;
use crate::rig::*;
use proptest::prelude::*;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, PciDevice};
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
    Broken(usize, usize, u8),
    Step(u64),
    Delay(u32),
    Carrier(bool),
    Master(bool),
}

fn register() -> impl Strategy<Value = u32> {
    let hot = prop::sample::select(vec![
        CTRL, EECD, EERD, EEWR, MDIC, ICR, ICS, IMS, IMC, IAM, RCTL, TCTL, GPIE, EICS, EIMS, EIMC,
        EIAC, EIAM, EICR, EITR, IVAR, IVAR_MISC, RXCSUM, RLPML, PSRTYPE, MRQC, RETA, RSSRK, ETQF,
        VET, 0x2160, 0x2168, 0x2404, 0xb608, 0xb614, 0xb620, 0x5f50,
    ]);
    let queue = (prop::bool::ANY, 0u32..16, 0u32..16)
        .prop_map(|(tx, queue, at)| if tx { TX } else { RX } + queue * 0x40 + at * 4);
    let first = (prop::bool::ANY, 0u32..16).prop_map(|(tx, at)| if tx { TX } else { RX } + at * 4);
    prop_oneof![3 => hot, 3 => first, 2 => queue, 1 => 0u32..0x2_0010]
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(u32::MAX),
        0u32..512,
        Just(EN | UPE | MPE | BAM | LPE),
        Just(SLU | 1 | VME),
        Just(ENABLE),
        // SRRCTL: a layout, and sizes.
        (0u32..8, 0u32..64, 0u32..4)
            .prop_map(|(layout, header, packet)| { layout << 25 | header << 8 | packet }),
        any::<u32>()
    ]
}

/// A descriptor word: an address inside of, at the edge of or outside of the
/// mapping (`Memory` adds the base), one of a packet or of a context, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..8300,
        any::<u64>(),
        (any::<u8>(), 0u64..9, 0u64..3000, any::<u32>()).prop_map(|(command, kind, len, high)| {
            u64::from(high) << 32 | u64::from(command) << 24 | kind << 20 | len
        }),
        (0u64..2, 0u64..256, 0u64..3000).prop_map(|(tcp, l4_len, mss)| {
            mss << 48 | l4_len << 40 | DEXT | 2 << 20 | IPV4 | tcp << 11
        }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => register().prop_map(Act::Read),
        6 => (register(), value()).prop_map(|(at, value)| Act::Write(at, value)),
        1 => (0u32..40, value()).prop_map(|(at, value)| Act::Io(at, value)),
        1 => (0u16..64, value()).prop_map(|(at, value)| Act::Config(at * 4, value)),
        5 => (0usize..1024, word()).prop_map(|(at, word)| Act::Memory(at, word)),
        2 => (any::<u8>(), 0usize..3000).prop_map(|(first, len)| Act::Frame(first, len)),
        3 => (0usize..5, 0usize..80, any::<u8>()).prop_map(|(n, at, x)| Act::Broken(n, at, x)),
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
        Act::Broken(number, at, value) => {
            let whole = [TCP_IPV4, UDP_IPV4, TCP_IPV6, TAGGED_UDP_IPV4, FRAGMENT_IPV4];
            let mut frame = golden(whole[number]);
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
            frame.truncate(at.max(14));
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

/// A card with rings that work, to begin with, all in the same memory.
fn card(memory: &impl CoherentMemory, rig: &Rig) {
    for first in [RX, RX + 0x40, TX, TX + 0x40] {
        rig.w(first + BAL, memory.dma_addr().0 as u32);
        rig.w(first + BAH, (memory.dma_addr().0 >> 32) as u32);
        rig.w(first + LEN, 1024);
        rig.w(first + DCTL, ENABLE);
    }
    rig.w(RX + SRRCTL, ONE_BUFFER);
    rig.w(RCTL, EN | BAM | UPE | MPE | LPE);
    rig.w(TCTL, EN | PSP);
    rig.w(RX + TAIL, 63);
    rig.w(TX + TAIL, 20);
}

proptest! {
    #[test]
    fn no_driver_can_break_the_model(
        mode in prop::sample::select(vec![IrqMode::Intx, IrqMode::Msi, IrqMode::MsiX]),
        acts in prop::collection::vec(act(), 1..200),
    ) {
        let mut rig = Rig::new();
        let _handlers = rig.handlers(mode, 1);
        let before = DmaRegion::alloc(4096).unwrap();
        let memory = rig.dev.alloc_coherent(8192).unwrap();
        let after = DmaRegion::alloc(4096).unwrap();
        card(&memory, &rig);
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
