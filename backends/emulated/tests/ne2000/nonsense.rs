//! Nothing that a driver writes makes the model panic or hang.

use crate::rig::*;
use proptest::prelude::*;
use softnet_nic_hal::bus::PciDevice;

#[derive(Clone, Debug)]
enum Act {
    Read(u32, u8),
    Write(u32, u8, u32),
    /// A command that does something, so that the rest of the noise meets it.
    Command(u8),
    Ring([u8; 4]),
    Frame(bool, usize),
    Step(u64),
    Delay(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let command = prop::sample::select(vec![
        STOP,
        START,
        START | TXP,
        2 | RREAD,
        2 | RWRITE,
        2 | SEND_PACKET,
        0x62,
        0xa2,
        0xe2,
    ]);
    prop_oneof![
        2 => (0u32..40, 0u8..3).prop_map(|(at, width)| Act::Read(at, width)),
        6 => (0u32..40, 0u8..3, any::<u32>()).prop_map(|(at, width, v)| Act::Write(at, width, v)),
        3 => command.prop_map(Act::Command),
        2 => any::<[u8; 4]>().prop_map(Act::Ring),
        3 => (any::<bool>(), 0usize..20_000).prop_map(|(ours, len)| Act::Frame(ours, len)),
        2 => (0u64..2_000_000).prop_map(Act::Step),
        1 => (0u32..3000).prop_map(Act::Delay),
    ]
}

fn play(rig: &mut Rig, act: Act) {
    match act {
        Act::Read(at, 0) => drop(rig.nic.read8(0, at).to_string()),
        Act::Read(at, 1) => drop(rig.nic.read16(0, at).to_string()),
        Act::Read(at, _) => drop(rig.nic.read32(0, at).to_string()),
        Act::Write(at, 0, value) => rig.nic.write8(0, at, value as u8),
        Act::Write(at, 1, value) => rig.nic.write16(0, at, value as u16),
        Act::Write(at, _, value) => rig.nic.write32(0, at, value),
        Act::Command(command) => rig.write(CR, command),
        Act::Ring([pstart, pstop, bnry, curr]) => {
            rig.write(CR, START);
            for (register, value) in [(PSTART, pstart), (PSTOP, pstop), (BNRY, bnry)] {
                rig.write(register, value);
            }
            rig.on_page(1, || rig.write(CURR, curr));
        }
        Act::Frame(ours, len) => {
            let to = if ours { MAC } else { BROADCAST };
            rig.line.to_nic.push_back(frame(to, len, 1));
        }
        Act::Step(ns) => {
            rig.now_ns += ns;
            rig.step();
        }
        Act::Delay(us) => rig.nic.delay_us(us),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_model_survives_any_driver(acts in prop::collection::vec(act(), 1..200)) {
        let mut rig = Rig::started();
        let handler = rig.handler(0x7f);
        for act in acts {
            play(&mut rig, act);
        }
        // And then serves a good one: the ring is as good as new.
        rig.read(RESET);
        rig.line.to_nic.clear();
        rig.line.from_nic.clear();
        rig.now_ns += 1_000_000_000;
        rig.start();
        rig.step();
        let packet = frame(MAC, 300, 3);
        rig.receive(&packet);
        prop_assert_eq!(rig.stored(FIRST + 1).1, packet.clone());
        rig.ask(&packet);
        rig.step();
        prop_assert_eq!(&rig.line.from_nic, &[packet]);
        let _ = handler.calls();
    }
}
