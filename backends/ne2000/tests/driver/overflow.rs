//! The manual's procedure for an overflow of the ring, step by step.

use crate::fake::{NODMA, OVW, Open, PRX, PTX, STA, STP, TXP, open};
use softnet_dma_ring::DmaRing;

const ISR: u8 = 0x7;
const TCR: u8 = 0xd;

/// Writes of CR, TCR and of OVW to ISR, on page 0.
fn steps(open: &Open) -> Vec<(u8, u8)> {
    let log = open.fake.take_log().into_iter();
    log.filter(|&(page, register, value)| {
        let command = register == 0 && value & 0xd8 == 0;
        page == 0 && (command || register == TCR || register == ISR && value == OVW)
    })
    .map(|(_, register, value)| (register, value))
    .collect()
}

fn overflowed() -> Open {
    let mut open = open();
    open.post(8);
    open.fake.store(&[1; 60]);
    open.fake.store(&[2; 60]);
    open.fake.set_causes(PRX | OVW);
    open.fake.take_log();
    open
}

#[test]
fn the_chip_is_stopped_started_in_loopback_relieved_and_let_go() {
    let mut open = overflowed();
    let before = open.fake.delayed_us();
    assert_eq!(open.pair.rx.reap().unwrap().data(), [1; 60]);
    assert_eq!(open.fake.delayed_us() - before, 1600);
    let steps = steps(&open);
    let (stop, start) = (STP | NODMA, STA | NODMA);
    assert_eq!(steps[..3], [(0, stop), (TCR, 0x02), (0, start)]);
    assert_eq!(steps[steps.len() - 2..], [(ISR, OVW), (TCR, 0)]);
    // Between the two, a packet was removed.
    assert!(
        steps[3..steps.len() - 2]
            .iter()
            .all(|step| *step == (0, start))
    );
    assert_eq!(open.counter("rx_over_errors"), 1);
    assert_eq!(open.pair.rx.reap().unwrap().data(), [2; 60]);
    assert_eq!(open.counter("rx_over_errors"), 1, "it is overcome");
}

#[test]
fn a_packet_that_the_stop_has_cut_off_is_sent_again() {
    let mut open = overflowed();
    open.send(60, 3..4);
    open.fake.take_log();
    drop(open.pair.rx.reap());
    assert_eq!(steps(&open).last(), Some(&(0, STA | NODMA | TXP)));
    assert_eq!(open.fake.sending().unwrap(), [3; 60]);
    open.fake.finish(PTX, 1);
    assert!(open.pair.tx.reap().is_some());
    assert_eq!(open.stats().tx_packets, 1);
}

#[test]
fn a_packet_that_was_through_before_the_stop_is_not() {
    let mut open = overflowed();
    open.send(60, 3..4);
    open.fake.finish(PTX, 1);
    drop(open.pair.rx.reap());
    assert_eq!(steps(&open).last(), Some(&(TCR, 0)));
    assert!(open.pair.tx.reap().is_some());
    assert_eq!(open.stats().tx_packets, 1);
}

#[test]
fn a_chip_that_overflows_without_a_packet_is_let_go_too() {
    let mut open = open();
    open.post(1);
    open.fake.set_causes(OVW);
    assert!(open.pair.rx.reap().is_none());
    assert_eq!(open.fake.written(0, usize::from(TCR)), 0);
    assert_eq!(open.fake.command_register(), STA | NODMA);
}
