//! What is sent, its status, and what only pretends to be sent.

use crate::rig::*;
use softnet_emulated::Ne2000Config;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::wire::WireError;

#[test]
fn a_packet_is_sent_from_the_page_that_tpsr_names() {
    let mut rig = Rig::started();
    for len in [14, 60, 61, 1514, 1518] {
        let packet = frame(BROADCAST, len, len as u8);
        rig.ask(&packet);
        assert_eq!(rig.read(CR) & TXP, TXP, "under way");
        rig.step();
        assert_eq!(rig.line.from_nic.pop().unwrap(), packet);
        assert_eq!((rig.read(CR) & TXP, rig.read(ISR)), (0, PTX));
        // PTX, and the bit that is always set.
        assert_eq!((rig.read(TSR), rig.read(NCR)), (0x03, 0));
        rig.write(ISR, PTX);
    }
}

#[test]
fn a_status_comes_as_late_as_the_line_is_slow() {
    let transmit_ns_per_byte = 800;
    let config = Ne2000Config::new(MacAddress(MAC));
    let mut rig = Rig::with(&Ne2000Config {
        transmit_ns_per_byte,
        ..config
    });
    rig.start();
    rig.ask(&frame(BROADCAST, 1000, 1));
    let step = rig.step();
    assert_eq!(step.next_event_ns, Some(800_000));
    assert_eq!((rig.line.from_nic.len(), rig.read(ISR)), (1, 0));
    rig.now_ns = 799_999;
    rig.step();
    assert_eq!(rig.read(ISR), 0);
    rig.now_ns = 800_000;
    rig.step();
    assert_eq!((rig.read(ISR), rig.read(CR) & TXP), (PTX, 0));
}

#[test]
fn a_stop_lets_the_packet_end_that_is_under_way() {
    let transmit_ns_per_byte = 800;
    let config = Ne2000Config::new(MacAddress(MAC));
    let mut rig = Rig::with(&Ne2000Config {
        transmit_ns_per_byte,
        ..config
    });
    rig.start();
    rig.ask(&frame(BROADCAST, 1514, 1));
    rig.step();
    rig.write(CR, STOP);
    assert_eq!(rig.read(ISR), 0, "not stopped yet");
    // The longest packet is through in 1.2 ms.
    rig.nic.delay_us(1600);
    assert_eq!(rig.read(ISR), PTX | RST);
}

#[test]
fn a_stop_takes_back_what_has_not_begun() {
    let mut rig = Rig::started();
    rig.ask(&frame(BROADCAST, 60, 1));
    rig.write(CR, STOP);
    assert_eq!((rig.read(CR), rig.read(ISR)), (STOP, RST));
    rig.step();
    assert!(rig.line.from_nic.is_empty());
    // The driver sends it again.
    rig.write(CR, START);
    rig.write(CR, START | TXP);
    rig.step();
    assert_eq!(rig.line.from_nic.len(), 1);
}

#[test]
fn a_line_without_a_carrier_is_told_and_so_is_a_busy_one() {
    let mut rig = Rig::started();
    rig.line.pulled = true;
    rig.ask(&frame(BROADCAST, 60, 1));
    rig.step();
    assert_eq!((rig.read(ISR), rig.read(TSR)), (PTX, 0x13), "CRS");
    rig.write(ISR, PTX);
    rig.line.pulled = false;
    rig.line.refuses = Some(WireError::Congested);
    rig.ask(&frame(BROADCAST, 60, 1));
    rig.step();
    assert_eq!((rig.read(ISR), rig.read(TSR)), (TXE, 0x0e), "ABT, COL");
    // Again: the packet is still there.
    rig.write(ISR, TXE);
    rig.line.refuses = None;
    rig.write(CR, START | TXP);
    rig.step();
    assert_eq!((rig.read(ISR), rig.line.from_nic.len()), (PTX, 1));
    assert_eq!(rig.chip.counters().wire_tx_lost, 2);
}

#[test]
fn what_is_no_frame_reaches_no_wire() {
    for len in [0, 13, 1519, 0xffff] {
        let mut rig = Rig::started();
        rig.write(TPSR, 0x40);
        rig.write_pair(TBCR0, len);
        rig.write(CR, START | TXP);
        rig.step();
        assert_eq!((rig.read(ISR), rig.line.from_nic.len()), (PTX, 0), "{len}");
        assert_eq!(rig.chip.counters().tx_discarded, 1);
    }
}

#[test]
fn a_packet_that_brings_its_own_fcs_is_sent_if_that_is_right() {
    let mut rig = Rig::started();
    rig.write(TCR, 0x01);
    // The chip stores a received frame with its FCS.
    let packet = frame(MAC, 60, 9);
    rig.receive(&packet);
    let with_fcs = rig.memory((u16::from(FIRST + 1) << 8) + 4, 64);
    rig.ask(&with_fcs);
    rig.step();
    assert_eq!(rig.line.from_nic, [packet]);
    let mut wrong = with_fcs;
    wrong[63] ^= 1;
    rig.ask(&wrong);
    rig.step();
    assert_eq!(
        (rig.line.from_nic.len(), rig.chip.counters().tx_discarded),
        (1, 1)
    );
}

/// TSR, RSR and ISR after a packet in a loopback mode.
fn loop_back(mode: u8) -> (Rig, [u8; 3]) {
    let mut rig = Rig::started();
    rig.write(DCR, 0x41);
    rig.write(TCR, mode);
    rig.ask(&frame(MAC, 64, 5));
    rig.step();
    let seen = [TSR, RSR, ISR].map(|register| rig.read(register));
    (rig, seen)
}

#[test]
fn the_loopback_modes_answer_as_the_manuals_table_says() {
    // "Loopback Tests", chapter 12.
    for (mode, tsr) in [(0x02, 0x53), (0x04, 0x43), (0x06, 0x03)] {
        let (rig, seen) = loop_back(mode);
        assert_eq!(seen, [tsr, 0x02, PTX], "mode {mode}");
        assert_eq!(rig.line.from_nic.len(), usize::from(mode == 0x06));
    }
}

#[test]
fn the_fifo_holds_the_end_of_the_packet_its_fcs_and_its_length() {
    let (rig, _) = loop_back(0x02);
    let fifo: Vec<u8> = (0..8).map(|_| rig.read(FIFO)).collect();
    assert_eq!(fifo[0], *frame(MAC, 64, 5).last().unwrap());
    assert_eq!(fifo[5..], [68, 0, 0]);
    assert_eq!(rig.read(FIFO), fifo[0], "round and round");
}
