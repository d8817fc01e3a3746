//! The interrupt side: what fires, and what is never lost.

use crate::fake::{DD, EIMC, EOP, Fake, Faults, IMC, LSC, Open, RXDW, TXDW, open, open_on, rx};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::bus::{IrqMode, IrqReturn};
use softnet_nic_hal::{NicHal, QueueId};

/// Every way to interrupt, with that many vectors.
const KINDS: [(IrqMode, u16); 5] = [
    (IrqMode::MsiX, 25),
    (IrqMode::MsiX, 2),
    (IrqMode::MsiX, 1),
    (IrqMode::Msi, 1),
    (IrqMode::Intx, 1),
];

fn open_with(kind: (IrqMode, u16), queues: u16) -> Open {
    let fake = Fake::new();
    fake.set_kinds(&[kind]);
    let mut open = open_on(fake, |config| config.queues = queues);
    for at in 0..open.pairs.len() {
        for _ in 0..7 {
            let frame = open.pool.alloc().unwrap();
            open.pairs[at].rx.post(frame).unwrap();
        }
        open.pairs[at].rx.kick();
    }
    open
}

fn for_each_kind(check: impl Fn((IrqMode, u16))) {
    for kind in KINDS {
        println!("{kind:?}");
        check(kind);
    }
}

fn unmask(open: &Open, queue: u16) {
    open.nic.unmask_irq(QueueId(queue));
    open.fake.deliver();
}

fn receive(open: &Open, queue: u16, at: u64) {
    open.fake.receive(queue.into(), at, &[queue as u8 + 1; 60]);
    open.fake.raise_queue(queue, RXDW);
}

#[test]
fn vectors_are_taken_in_the_order_of_their_kinds() {
    let falls = [
        (&[(IrqMode::MsiX, 25), (IrqMode::Intx, 1)][..], 5),
        (&[(IrqMode::MsiX, 3), (IrqMode::Msi, 1)], 3),
        (&[(IrqMode::Msi, 1), (IrqMode::Intx, 1)], 1),
        (&[(IrqMode::Intx, 1)], 1),
    ];
    for (kinds, vectors) in falls {
        let fake = Fake::new();
        fake.set_kinds(kinds);
        let open = open_on(fake, |config| config.queues = 4);
        assert_eq!(open.fake.vectors(), vectors, "{kinds:?}");
    }
}

#[test]
fn a_vector_counts_as_the_cpu_of_its_queue() {
    let fake = Fake::new();
    let open = open_on(fake, |config| {
        config.queues = 4;
        config.queue_cpus = vec![3, 1, 2];
    });
    assert_eq!(open.fake.affinities(), [0, 3, 1, 2, 0]);
}

#[test]
fn queues_have_valid_vectors_in_every_mode() {
    let entries = |kind: (IrqMode, u16), device: u16, queues: u16| {
        let fake = Fake::with_device(device);
        fake.set_kinds(&[kind]);
        let open = open_on(fake, |config| config.queues = queues);
        let words = (0..u32::from(queues) / 2).map(|word| open.fake.value(0x1700 + 4 * word));
        words.collect::<Vec<_>>()
    };
    let all = entries((IrqMode::MsiX, 25), 0x10c9, 16);
    assert_eq!(all[..2], [0x8989_8181, 0x8a8a_8282]);
    assert_eq!(all[7], 0x9090_8888);
    // Ten vectors are nine for sixteen queues.
    let few = entries((IrqMode::MsiX, 10), 0x10c9, 16);
    assert_eq!(few[..2], [0x8989_8181, 0x8181_8282]);
    assert_eq!(entries((IrqMode::Intx, 1), 0x10c9, 16), [0x8080_8080; 8]);
    let i210 = entries((IrqMode::MsiX, 5), 0x1533, 4);
    assert_eq!(i210, [0x8282_8181, 0x8484_8383]);
}

#[test]
fn a_queue_is_announced_once_for_each_unmask() {
    for_each_kind(|kind| {
        let open = open_with(kind, 1);
        unmask(&open, 0);
        receive(&open, 0, 0);
        receive(&open, 0, 1);
        assert_eq!(open.stack.irqs(), 1);
        unmask(&open, 0);
        assert_eq!(open.stack.irqs(), 2, "the frames were not reaped");
    });
}

#[test]
fn queues_do_not_announce_each_other() {
    for_each_kind(|kind| {
        let mut open = open_with(kind, 4);
        for queue in 0..3 {
            unmask(&open, queue);
        }
        receive(&open, 1, 0);
        receive(&open, 3, 0);
        let irqs = [0, 1, 2, 3].map(|queue| open.stack.irqs_of(queue));
        assert_eq!(irqs, [0, 1, 0, 0]);
        unmask(&open, 3);
        receive(&open, 2, 0);
        let irqs = [0, 1, 2, 3].map(|queue| open.stack.irqs_of(queue));
        assert_eq!(irqs, [0, 1, 1, 1]);
        let frame = open.pairs[3].rx.reap().unwrap();
        assert_eq!(frame.data(), &[4; 60]);
    });
}

#[test]
fn a_queue_that_stays_armed_still_fires_after_another_one_did() {
    for_each_kind(|kind| {
        let open = open_with(kind, 2);
        unmask(&open, 0);
        unmask(&open, 1);
        receive(&open, 0, 0);
        receive(&open, 1, 0);
        assert_eq!([0, 1].map(|queue| open.stack.irqs_of(queue)), [1, 1]);
    });
}

#[test]
fn a_masked_queue_is_not_announced() {
    for_each_kind(|kind| {
        let open = open_with(kind, 2);
        unmask(&open, 0);
        unmask(&open, 1);
        open.nic.mask_irq(QueueId(0));
        receive(&open, 0, 0);
        assert_eq!(open.stack.irqs(), 0);
        receive(&open, 1, 0);
        assert_eq!([0, 1].map(|queue| open.stack.irqs_of(queue)), [0, 1]);
        unmask(&open, 0);
        assert_eq!(open.stack.irqs_of(0), 1);
    });
}

#[test]
fn a_handler_with_a_vector_of_its_own_touches_no_register() {
    let open = open_with((IrqMode::MsiX, 25), 1);
    unmask(&open, 0);
    open.fake.take_log();
    receive(&open, 0, 0);
    assert_eq!(open.stack.irqs(), 1);
    assert_eq!(open.fake.take_log(), []);
    assert_eq!(open.fake.masks(), (LSC, 1));
}

#[test]
fn a_message_that_does_not_close_its_mask_is_masked_by_the_next() {
    let open = open_with((IrqMode::MsiX, 25), 1);
    open.fake.set_faults(Faults {
        no_auto_mask: true,
        ..Faults::default()
    });
    unmask(&open, 0);
    receive(&open, 0, 0);
    assert_eq!(open.fake.masks().1, 0b11);
    open.fake.take_log();
    receive(&open, 0, 1);
    receive(&open, 0, 2);
    assert_eq!(open.stack.irqs(), 1);
    assert_eq!(open.fake.take_log(), [(EIMC, 0b10)]);
}

#[test]
fn an_interrupt_without_a_cause_is_not_ours() {
    let open = open_with((IrqMode::Intx, 1), 1);
    unmask(&open, 0);
    assert_eq!(open.fake.deliver_spurious(0), IrqReturn::None);
    open.fake.unplug();
    assert_eq!(open.fake.deliver_spurious(0), IrqReturn::None);
    assert_eq!((open.stack.irqs(), open.stack.links()), (0, 0));
}

#[test]
fn a_frame_whose_cause_was_cleared_while_masked_fires_at_the_unmask() {
    for_each_kind(|kind| {
        let mut open = open_with(kind, 1);
        unmask(&open, 0);
        receive(&open, 0, 0);
        // The stack polls, finds the frame, and before its unmask another comes,
        // whose cause is cleared.
        drop(open.pair().rx.reap().unwrap());
        open.fake.receive(0, 1, &[2; 60]);
        open.fake.raise(LSC);
        assert_eq!((open.stack.irqs(), open.stack.links()), (1, 1));
        unmask(&open, 0);
        assert_eq!(open.stack.irqs(), 2);
        assert_eq!(open.pair().rx.reap().unwrap().data(), &[2; 60]);
    });
}

#[test]
fn a_sent_packet_that_was_reaped_in_part_fires_at_the_unmask() {
    for_each_kind(|kind| {
        let mut open = open_with(kind, 1);
        for _ in 0..3 {
            let mut frame = open.pool.alloc().unwrap();
            frame.put(60).unwrap().fill(1);
            open.pair().tx.post(frame).unwrap();
        }
        open.pair().tx.kick();
        unmask(&open, 0);
        open.fake.sent(0, 2);
        open.fake.raise_queue(0, TXDW);
        for expected in 1..4 {
            assert_eq!(open.stack.irqs(), expected);
            // Reaped in part, and the rest is still announced.
            drop(open.pair().tx.reap().unwrap());
            unmask(&open, 0);
        }
        assert_eq!(open.stack.irqs(), 3);
    });
}

#[test]
fn an_unmask_of_an_idle_queue_raises_nothing() {
    for_each_kind(|kind| {
        let mut open = open_with(kind, 1);
        unmask(&open, 0);
        receive(&open, 0, 0);
        drop(open.pair().rx.reap().unwrap());
        for _ in 0..3 {
            unmask(&open, 0);
        }
        assert_eq!(open.stack.irqs(), 1);
    });
}

#[test]
fn done_bits_behind_the_last_posted_frame_do_not_storm() {
    for_each_kind(|kind| {
        let mut open = open_with(kind, 1);
        for at in 0..8 {
            let word = 60 << 32 | DD | EOP;
            open.fake.write_back(rx(0), at, (0, word));
        }
        while open.pair().rx.reap().is_some() {}
        for _ in 0..3 {
            unmask(&open, 0);
        }
        assert_eq!(open.stack.irqs(), 0);
    });
}

#[test]
fn the_link_interrupts_while_the_queues_are_masked() {
    for_each_kind(|kind| {
        let open = open_with(kind, 2);
        open.fake.raise(LSC);
        open.fake.raise(LSC | RXDW);
        assert_eq!((open.stack.links(), open.stack.irqs()), (2, 0));
    });
}

#[test]
fn a_message_that_slips_through_a_closing_mask_closes_it_again() {
    let open = open_with((IrqMode::MsiX, 25), 1);
    // An interrupt between the stack's two steps of a mask: the driver has been
    // disarmed, the chip's mask is still open.
    unmask(&open, 0);
    open.nic.mask_irq(QueueId(0));
    open.fake.set_extended_mask(0b11);
    open.fake.take_log();
    open.fake.raise_queue(0, RXDW);
    assert_eq!(open.stack.irqs(), 0);
    assert_eq!(open.fake.take_log(), [(EIMC, 0b10)]);
}

#[test]
fn a_pin_that_is_shared_closes_the_mask_of_all_queues_once_none_is_armed() {
    let open = open_with((IrqMode::Intx, 1), 2);
    unmask(&open, 0);
    open.fake.take_log();
    receive(&open, 0, 0);
    assert_eq!(open.stack.irqs(), 1);
    assert_eq!(open.fake.take_log(), [(IMC, RXDW | TXDW)]);
    assert_eq!(open.fake.masks().0, LSC);
}

#[test]
fn interrupts_before_the_first_unmask_announce_nothing() {
    let open = open();
    open.fake.raise_queue(0, RXDW);
    assert_eq!(open.stack.irqs(), 0);
}
