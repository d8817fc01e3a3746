//! The interrupt side: what fires, and what is never lost.

use crate::fake::{IMC, LSC, Open, RDBAL, RXT0, TDT, TXDW, open};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::bus::IrqReturn;
use softnet_nic_hal::{NicHal, QueueId};

const QUEUE: QueueId = QueueId(0);
const QUEUE_CAUSES: u32 = 0xd1;

fn with_posted() -> Open {
    let mut open = open();
    for _ in 0..7 {
        open.pair.rx.post(open.pool.alloc().unwrap()).unwrap();
    }
    open.pair.rx.kick();
    open
}

fn unmask(open: &Open) {
    open.nic.unmask_irq(QUEUE);
    open.fake.deliver();
}

#[test]
fn the_handler_masks_and_calls_once_for_each_unmask() {
    let open = with_posted();
    unmask(&open);
    assert_eq!(open.fake.mask(), QUEUE_CAUSES | LSC);
    open.fake.receive(0, &[1; 60]);
    open.fake.raise(RXT0);
    assert_eq!((open.stack.irqs(), open.fake.mask()), (1, LSC));
    open.fake.receive(1, &[1; 60]);
    open.fake.raise(RXT0);
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn an_interrupt_without_a_cause_is_not_ours() {
    let open = with_posted();
    unmask(&open);
    assert_eq!(open.fake.deliver_spurious(), IrqReturn::None);
    open.fake.unplug();
    assert_eq!(open.fake.deliver_spurious(), IrqReturn::None);
    assert_eq!((open.stack.irqs(), open.stack.links()), (0, 0));
}

#[test]
fn a_frame_whose_cause_was_cleared_while_masked_fires_at_the_unmask() {
    let mut open = with_posted();
    unmask(&open);
    open.fake.receive(0, &[1; 60]);
    open.fake.raise(RXT0);
    // The stack polls, finds the frame, and before its unmask another comes,
    // whose cause is cleared by a read of ICR for the link.
    drop(open.pair.rx.reap().unwrap());
    open.fake.receive(1, &[2; 60]);
    open.fake.raise(RXT0 | LSC);
    assert_eq!((open.stack.irqs(), open.stack.links()), (1, 1));
    unmask(&open);
    assert_eq!(open.stack.irqs(), 2);
    assert_eq!(open.pair.rx.reap().unwrap().data(), &[2; 60]);
}

#[test]
fn a_sent_packet_whose_cause_was_cleared_fires_at_the_unmask() {
    let mut open = with_posted();
    for _ in 0..3 {
        let mut frame = open.pool.alloc().unwrap();
        frame.put(60).unwrap().fill(1);
        open.pair.tx.post(frame).unwrap();
    }
    open.pair.tx.kick();
    assert_eq!(open.fake.value(TDT), 3);
    unmask(&open);
    open.fake.sent(2);
    open.fake.raise(TXDW);
    for expected in 1..4 {
        assert_eq!(open.stack.irqs(), expected);
        // Reaped in part, and the rest is still announced.
        drop(open.pair.tx.reap().unwrap());
        unmask(&open);
    }
    assert_eq!(open.stack.irqs(), 3);
}

#[test]
fn an_unmask_of_an_idle_queue_raises_nothing() {
    let mut open = with_posted();
    unmask(&open);
    open.fake.receive(0, &[1; 60]);
    open.fake.raise(RXT0);
    drop(open.pair.rx.reap().unwrap());
    for _ in 0..3 {
        unmask(&open);
    }
    assert_eq!(open.stack.irqs(), 1);
}

#[test]
fn done_bits_behind_the_last_posted_frame_do_not_storm() {
    let mut open = with_posted();
    for at in 0..8 {
        open.fake
            .write_back(RDBAL, at, 60 | crate::fake::DD | crate::fake::EOP);
    }
    while open.pair.rx.reap().is_some() {}
    for _ in 0..3 {
        unmask(&open);
    }
    assert_eq!(open.stack.irqs(), 0);
}

#[test]
fn the_link_interrupts_while_the_queue_is_masked() {
    let open = with_posted();
    open.fake.raise(LSC);
    open.fake.raise(LSC | RXT0);
    assert_eq!((open.stack.links(), open.stack.irqs()), (2, 0));
}

#[test]
fn a_cause_that_slips_through_a_closing_mask_is_masked_again() {
    let open = with_posted();
    // An interrupt between the stack's two steps of a mask: the driver has been
    // disarmed, the chip's mask is still open.
    unmask(&open);
    open.nic.mask_irq(QUEUE);
    open.fake.set_mask(QUEUE_CAUSES | LSC);
    open.fake.take_log();
    open.fake.raise(RXT0);
    assert_eq!(open.stack.irqs(), 0);
    assert_eq!(open.fake.take_log(), [(IMC, QUEUE_CAUSES)]);
}

#[test]
fn an_unmask_that_meets_an_interrupt_of_nobody_is_not_undone_by_it() {
    let open = with_posted();
    // The queue is masked, and the driver's handler is called for a cause that slips
    // through. Before it has closed the mask, the stack unmasks.
    open.fake.set_mask(QUEUE_CAUSES | LSC);
    let nic = open.nic.clone();
    open.fake.before_imc(move || nic.unmask_irq(QUEUE));
    open.fake.raise(RXT0);
    assert_eq!(open.stack.irqs(), 0);
    assert_ne!(open.fake.mask() & QUEUE_CAUSES, 0, "the unmask is lost");
    open.fake.receive(0, &[1; 60]);
    open.fake.raise(RXT0);
    assert_eq!(open.stack.irqs(), 1);
}
