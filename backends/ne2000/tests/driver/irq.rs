//! The interrupt side: what fires, and what is never lost.

use crate::fake::{CNT, FRAMES, OVW, PRX, PTX, QUEUE, TXE, open};
use softnet_dma_ring::{DmaRing, FrameBatch};
use softnet_nic_hal::NicHal;
use softnet_nic_hal::bus::IrqReturn;

#[test]
fn the_handler_masks_and_calls_once_for_each_unmask() {
    let mut open = open();
    open.post(4);
    open.unmask();
    assert_eq!(open.fake.mask(), PRX | OVW | CNT);
    open.fake.store(&[1; 60]);
    open.fake.raise(PRX);
    assert_eq!((open.stack.irqs(), open.fake.mask()), (1, CNT));
    open.fake.store(&[2; 60]);
    open.fake.raise(PRX);
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn an_interrupt_without_a_cause_is_not_ours() {
    let mut open = open();
    open.post(4);
    open.unmask();
    assert_eq!(open.fake.deliver_spurious(), IrqReturn::None);
    open.fake.unplug();
    assert_eq!(open.fake.deliver_spurious(), IrqReturn::None);
    assert_eq!(open.stack.irqs(), 0);
}

#[test]
fn a_poll_that_empties_the_ring_forgets_its_cause() {
    let mut open = open();
    open.post(4);
    open.unmask();
    open.fake.store(&[1; 60]);
    open.fake.raise(PRX);
    assert_eq!(open.pair.rx.reap().unwrap().data(), [1; 60]);
    assert!(open.pair.rx.reap().is_none());
    for _ in 0..3 {
        open.unmask();
    }
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn a_packet_that_a_poll_left_in_the_card_fires_though_its_cause_is_gone() {
    let mut open = open();
    open.post(4);
    for number in 1..4 {
        open.fake.store(&[number; 60]);
    }
    open.fake.set_causes(PRX);
    drop(open.pair.rx.reap().unwrap());
    for expected in 1..4 {
        open.unmask();
        assert_eq!(open.stack.irqs(), expected);
    }
    assert_eq!(open.pair.rx.reap_into(&mut FrameBatch::new(), 9), 2);
    open.unmask();
    assert_eq!(open.stack.irqs(), 3);
}

#[test]
fn packets_without_frames_interrupt_nobody_until_frames_come() {
    let mut open = open();
    open.unmask();
    open.fake.store(&[1; 60]);
    open.fake.raise(PRX | OVW);
    assert_eq!((open.stack.irqs(), open.fake.mask()), (0, CNT));
    open.post(1);
    open.fake.deliver();
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn the_end_of_a_packet_sends_the_next_also_while_masked() {
    let mut open = open();
    open.send(60, 1..4);
    assert_eq!(open.fake.mask(), PTX | TXE | CNT);
    open.fake.finish(PTX, 1);
    assert_eq!(open.fake.sending().unwrap(), [2; 60]);
    open.fake.finish(PTX, 1);
    assert_eq!(open.fake.sending().unwrap(), [3; 60]);
    // Behind the last there is nothing to send: nobody wants to know.
    assert_eq!(open.fake.mask(), CNT);
    open.fake.finish(PTX, 1);
    assert_eq!(open.stack.irqs(), 0);
    open.unmask();
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn a_mask_takes_an_unmask_back() {
    let mut open = open();
    open.post(1);
    open.unmask();
    open.nic.mask_irq(QUEUE);
    assert_eq!(open.fake.mask(), CNT);
    open.fake.store(&[1; 60]);
    open.fake.raise(PRX);
    assert_eq!(open.stack.irqs(), 0);
}

#[test]
fn an_interrupt_in_the_middle_of_a_transfer_waits_for_its_end() {
    let mut open = open();
    open.send(60, 1..3);
    open.post(4);
    let packet: Vec<u8> = (0..200).collect();
    open.fake.store(&packet);
    // The first packet is through while the driver reads: were the chip told to send
    // the next one now, the transfer would break off.
    open.unmask();
    open.fake.interrupt_after(20, PTX);
    assert_eq!(open.pair.rx.reap().unwrap().data(), packet);
    assert_eq!(open.fake.sending().unwrap(), [2; 60]);
    assert_eq!(open.stack.irqs(), 1);
    assert!(open.pair.tx.reap().is_some());
}

#[test]
fn tally_counters_that_ask_are_read_at_once() {
    let open = open();
    open.fake.set_tallies([1, 2, 130]);
    open.fake.raise(CNT);
    let stats = open.stats();
    assert_eq!((stats.rx_crc_errors, stats.rx_missed_errors), (2, 130));
    assert_eq!(open.counter("rx_frame_errors"), 1);
    assert_eq!(open.stack.irqs(), 0);
}

#[test]
fn a_transmit_ring_that_was_dropped_leaves_nothing_to_announce() {
    let mut open = open();
    open.send(60, 1..3);
    let crate::fake::Open {
        fake,
        nic,
        stack,
        pool,
        pair,
    } = open;
    drop(pair);
    assert_eq!(pool.count_free(), FRAMES);
    fake.finish(PTX, 1);
    fake.finish(PTX, 1);
    nic.unmask_irq(QUEUE);
    fake.deliver();
    assert_eq!(stack.irqs(), 0);
}
