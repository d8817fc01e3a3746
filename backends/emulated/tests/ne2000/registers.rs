//! Pages, resets, and the pin.

use crate::rig::*;
use softnet_emulated::DeviceModel;
use softnet_nic_hal::bus::{BarKind, PciDevice};

#[test]
fn the_card_is_an_rtl8029_with_32_ports() {
    let rig = Rig::new();
    let ids = rig.nic.ids();
    assert_eq!((ids.vendor, ids.device), (0x10ec, 0x8029));
    let bar = rig.nic.bar(0).unwrap();
    assert_eq!((bar.kind, bar.len), (BarKind::Io, 32));
    assert_eq!([0xa, 0xb].map(|at| rig.read(at)), *b"PC");
    assert_eq!(
        rig.on_page(3, || [0xe, 0xf].map(|at| rig.read(at))),
        [0x29, 0x80]
    );
}

#[test]
fn a_new_card_is_stopped_and_a_started_one_is_not() {
    let rig = Rig::new();
    assert_eq!((rig.read(CR), rig.read(ISR)), (STOP, RST));
    rig.write(CR, START);
    assert_eq!((rig.read(CR), rig.read(ISR)), (START, 0));
    // Neither STP nor STA: it goes on as it was.
    rig.write(CR, 0x20);
    assert_eq!(rig.read(ISR), 0);
    rig.write(CR, STOP);
    assert_eq!(rig.read(ISR), RST);
    // RST is a state, and cannot be acknowledged away.
    rig.write(ISR, 0xff);
    assert_eq!(rig.read(ISR), RST);
}

#[test]
fn page_2_shows_what_page_0_writes() {
    let rig = Rig::new();
    let written = [
        (PSTART, 0x46),
        (PSTOP, 0x80),
        (TPSR, 0x40),
        (RCR, 0x0c),
        (TCR, 0x04),
    ];
    for (register, value) in written.into_iter().chain([(DCR, 0x49), (IMR, 0x1f)]) {
        rig.write(register, value);
    }
    let shown = rig.on_page(2, || {
        [PSTART, PSTOP, TPSR, RCR, TCR, DCR, IMR].map(|register| rig.read(register))
    });
    assert_eq!(shown, [0x46, 0x80, 0x40, 0xcc, 0xe4, 0xc9, 0x9f]);
}

#[test]
fn page_1_keeps_addresses_and_the_current_page() {
    let rig = Rig::new();
    rig.on_page(1, || {
        for register in 1..16 {
            rig.write(register, 0xa0 + register as u8);
        }
        for register in 1..16 {
            assert_eq!(rig.read(register), 0xa0 + register as u8);
        }
    });
}

#[test]
fn wide_accesses_of_registers_are_several_narrow_ones() {
    let rig = Rig::new();
    rig.on_page(1, || {
        rig.nic.write32(0, 0x8, 0x4433_2211);
        assert_eq!(
            [0x8, 0x9, 0xa, 0xb].map(|at| rig.read(at)),
            [0x11, 0x22, 0x33, 0x44]
        );
        assert_eq!(rig.nic.read16(0, 0xa), 0x4433);
    });
}

#[test]
fn the_reset_port_stops_the_chip_in_the_middle_of_everything() {
    let mut rig = Rig::started();
    rig.write(IMR, 0x7f);
    rig.receive(&frame(BROADCAST, 60, 1));
    rig.ask(&frame(BROADCAST, 60, 2));
    let value = rig.read(RESET);
    rig.write(RESET, value);
    assert_eq!((rig.read(CR), rig.read(ISR)), (STOP, RST));
    assert_eq!(rig.on_page(2, || rig.read(IMR)), RST, "all masked");
    rig.step();
    assert!(rig.line.from_nic.is_empty(), "nothing is sent any more");
    rig.start();
    rig.receive(&frame(BROADCAST, 60, 3));
    assert_eq!(rig.read(ISR), PRX);
}

#[test]
fn the_pin_follows_the_causes_and_the_mask() {
    let mut rig = Rig::started();
    let handler = rig.handler(PRX);
    rig.receive(&frame(BROADCAST, 60, 1));
    assert_eq!(handler.calls(), 0, "masked");
    // The cause is a level: the unmask lets it through.
    rig.write(IMR, PRX);
    assert_eq!((handler.calls(), rig.read(ISR)), (1, 0));
    rig.receive(&frame(BROADCAST, 60, 1));
    assert_eq!(handler.calls(), 2);
    rig.write(IMR, PTX);
    rig.receive(&frame(BROADCAST, 60, 1));
    assert_eq!((handler.calls(), rig.read(ISR)), (2, PRX));
}

#[test]
fn a_handler_that_leaves_its_cause_is_called_again_at_each_step_and_not_for_ever() {
    let mut rig = Rig::started();
    let handler = rig.handler(0);
    rig.write(IMR, PRX);
    rig.receive(&frame(BROADCAST, 60, 1));
    let calls = handler.calls();
    assert!(calls > 0);
    // A register that is touched is no reason to call it.
    rig.read(ISR);
    assert_eq!(handler.calls(), calls);
    assert!(rig.step().again);
    assert!(handler.calls() > calls);
}

#[test]
fn the_reset_state_never_interrupts() {
    let rig = Rig::new();
    let handler = rig.handler(0);
    rig.write(IMR, 0xff);
    assert_eq!((rig.read(ISR), handler.calls()), (RST, 0));
}

#[test]
fn an_unplugged_card_reads_as_all_ones_and_does_nothing() {
    let mut rig = Rig::started();
    rig.ask(&frame(BROADCAST, 60, 1));
    rig.nic.unplug();
    assert_eq!((rig.read(CR), rig.nic.read32(0, DATA)), (0xff, u32::MAX));
    assert!(!rig.chip.is_present());
    rig.receive(&frame(BROADCAST, 60, 1));
    assert!(rig.line.from_nic.is_empty());
    assert_eq!(rig.line.to_nic.len(), 1);
}
