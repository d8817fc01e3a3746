//! Causes, masks, vectors, throttles.

use crate::rig::*;
use softnet_emulated::IgbConfig;
use softnet_nic_hal::bus::IrqMode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MULTIPLE: u32 = 1 << 4;
const EIAME: u32 = 1 << 30;
const NSICR: u32 = 1;
const VALID: u32 = 1 << 7;

/// Handlers that leave ICR alone.
fn vectors(rig: &Rig, count: u16) -> Vec<Arc<Counting>> {
    let handlers = rig.handlers(IrqMode::MsiX, count);
    for handler in &handlers {
        handler.reads_icr.store(false, Ordering::SeqCst);
    }
    handlers
}

fn calls(handlers: &[Arc<Counting>]) -> Vec<u64> {
    handlers.iter().map(|handler| handler.calls()).collect()
}

#[test]
fn a_pin_is_asserted_while_an_enabled_cause_is_pending() {
    let mut rig = Rig::new();
    let handlers = rig.handlers(IrqMode::Intx, 1);
    rig.w(ICS, RXDMT0);
    rig.step();
    assert_eq!(handlers[0].calls(), 0, "it is masked");
    rig.w(IMS, RXDMT0);
    assert_eq!(handlers[0].calls(), 1);
    assert_eq!(handlers[0].causes.load(Ordering::SeqCst), INTA | RXDMT0);
    assert_eq!(rig.r(ICR), 0, "reading clears");
}

#[test]
fn a_message_is_sent_once_for_each_new_cause() {
    let rig = Rig::new();
    let handlers = rig.handlers(IrqMode::Msi, 1);
    handlers[0].reads_icr.store(false, Ordering::SeqCst);
    rig.w(IMS, LSC | RXDMT0);
    rig.w(ICS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(handlers[0].calls(), 1, "the cause is no news");
    rig.w(ICS, RXDMT0);
    assert_eq!(handlers[0].calls(), 2);
    assert_eq!(rig.r(ICR), INTA | LSC | RXDMT0);
}

#[test]
fn received_and_sent_packets_are_causes() {
    let mut rig = Rig::new();
    let _rx = rig.receive(SECRC);
    let mut tx = rig.transmit();
    rig.deliver(&frame(MAC, 60));
    assert_eq!(rig.r(ICR), RXDW);
    tx.put(&frame(MAC, 60), WHOLE & !RS);
    tx.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.r(ICR), 0, "nobody asked to be told");
    tx.put(&frame(MAC, 60), WHOLE);
    tx.ring_doorbell(&rig);
    rig.settle();
    assert_eq!(rig.r(ICR), TXDW);
}

#[test]
fn few_free_descriptors_are_a_cause_once() {
    let mut rig = Rig::new();
    let _ring = rig.rx_ring(0, 32, ONE_BUFFER | 1 << 20);
    rig.w(RCTL, EN | SECRC);
    for received in 1..=20 {
        rig.deliver(&frame(MAC, 60));
        // 31 free ones at first; the threshold is 16.
        let expected = if received == 15 { RXDMT0 } else { 0 };
        assert_eq!(rig.r(ICR) & RXDMT0, expected, "after {received}");
    }
}

#[test]
fn reading_icr_masks_what_iam_names() {
    let rig = Rig::new();
    rig.w(IAM, LSC);
    rig.w(IMS, LSC | RXDMT0);
    rig.w(ICS, RXDMT0);
    rig.r(ICR);
    assert_eq!(rig.r(IMS), RXDMT0);
}

#[test]
fn icr_is_kept_while_only_masked_causes_are_pending() {
    for (gpie, kept) in [(0, RXDMT0), (NSICR, 0)] {
        let rig = Rig::new();
        rig.w(GPIE, gpie);
        rig.w(IMS, LSC);
        rig.w(ICS, RXDMT0);
        assert_eq!(rig.r(ICR), RXDMT0);
        assert_eq!(rig.r(ICR), kept);
    }
}

#[test]
fn every_cause_can_be_set_by_software() {
    let rig = Rig::new();
    let handlers = rig.handlers(IrqMode::Intx, 1);
    for bit in (0..31).filter(|bit| 0x77d4_fbfd >> bit & 1 != 0) {
        handlers[0].causes.store(0, Ordering::SeqCst);
        rig.w(IMC, u32::MAX);
        rig.w(ICS, 1 << bit);
        assert_eq!(handlers[0].causes.load(Ordering::SeqCst), 0);
        rig.w(ICR, u32::MAX);
        rig.w(IMS, 1 << bit);
        rig.w(ICS, 1 << bit);
        assert_eq!(handlers[0].causes.load(Ordering::SeqCst), INTA | 1 << bit);
    }
}

#[test]
fn each_queue_has_the_vector_that_ivar_says() {
    let mut rig = Rig::with(&IgbConfig {
        vectors: 25,
        ..IgbConfig::new(MAC)
    });
    let handlers = vectors(&rig, 25);
    rig.w(GPIE, MULTIPLE | NSICR);
    rig.w(EIAC, u32::MAX);
    rig.w(EIMS, u32::MAX);
    // Of queue N, N + 1 for receive and N + 9 for transmit, modulo 25.
    let vector = |queue: u32, tx: bool| (queue + if tx { 9 } else { 1 }) % 25;
    for low in 0..8 {
        let entries = [(low, false), (low, true), (low + 8, false), (low + 8, true)];
        let bytes = entries.map(|(queue, tx)| (vector(queue, tx) | VALID) as u8);
        rig.w(IVAR + low * 4, u32::from_le_bytes(bytes));
    }
    rig.w(RCTL, EN | SECRC);
    rig.w(TCTL, EN);
    for queue in [0, 3, 7, 8, 15] {
        let _rx = rig.rx_ring(queue, 8, ONE_BUFFER);
        let before = calls(&handlers);
        rig.w(ETQF, 1 << 31 | 1 << 26 | (queue & 7) << 16 | 0x88b5);
        if queue < 8 {
            rig.deliver(&frame(MAC, 60));
            assert_eq!(news(&before, &handlers), [vector(queue, false)]);
        }
        let mut tx = rig.tx_ring(queue, 8);
        tx.put(&frame(MAC, 60), WHOLE);
        tx.ring_doorbell(&rig);
        let before = calls(&handlers);
        rig.settle();
        assert_eq!(news(&before, &handlers), [vector(queue, true)]);
    }
}

/// The vectors whose handlers were called since.
fn news(before: &[u64], handlers: &[Arc<Counting>]) -> Vec<u32> {
    let now = calls(handlers);
    let changed = (0..).zip(before.iter().zip(&now));
    changed
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn other_causes_have_the_vector_of_ivar_misc() {
    let rig = Rig::new();
    let handlers = vectors(&rig, 3);
    rig.w(GPIE, MULTIPLE);
    rig.w(IVAR_MISC, (2 | VALID) << 8);
    rig.w(EIMS, 7);
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(calls(&handlers), [0, 0, 1]);
    assert_eq!(rig.r(EICR), 1 << 2);
    assert_eq!(rig.r(ICR), INTA | LSC);
    rig.w(ICS, LSC);
    assert_eq!(calls(&handlers), [0, 0, 2], "it was read in between");
}

#[test]
fn a_message_clears_and_masks_its_bit_as_eiac_and_eiam_say() {
    for (eiac, eiam, gpie, eicr, eims) in [
        (0, 0, EIAME, 1, 1),
        (1, 0, EIAME, 0, 1),
        (0, 1, EIAME, 1, 0),
        (1, 1, EIAME, 0, 0),
        // Here EIAM is for accesses of EICR and EICS.
        (1, 0, 0, 0, 1),
    ] {
        let rig = Rig::new();
        let handlers = vectors(&rig, 1);
        rig.w(GPIE, MULTIPLE | gpie);
        rig.w(EIAC, eiac);
        rig.w(EIAM, eiam);
        rig.w(EIMS, 1);
        rig.w(EICS, 1);
        assert_eq!(handlers[0].calls(), 1);
        assert_eq!((rig.r(EIMS), rig.r(EICR)), (eims, eicr));
    }
}

#[test]
fn accesses_of_eicr_and_eics_mask_and_unmask_what_eiam_names() {
    let rig = Rig::new();
    rig.w(EIAM, 0b101);
    rig.w(EIMS, 0b111);
    rig.r(EICR);
    assert_eq!(rig.r(EIMS), 0b010, "read");
    rig.w(EICS, 0b011);
    assert_eq!(rig.r(EIMS), 0b011, "set");
    rig.w(EICR, 0b010);
    assert_eq!((rig.r(EIMS), rig.r(EICR)), (0b010, 0b001), "written");
}

#[test]
fn bits_that_are_vectors_stay_when_they_are_read() {
    let rig = Rig::new();
    rig.w(GPIE, MULTIPLE);
    rig.w(EICS, 3);
    assert_eq!([rig.r(EICR), rig.r(EICR)], [3, 3]);
    rig.w(EICR, 1);
    assert_eq!(rig.r(EICR), 2);
}

#[test]
fn what_comes_while_a_vector_is_masked_is_sent_when_it_is_enabled() {
    let rig = Rig::new();
    let handlers = vectors(&rig, 2);
    rig.w(GPIE, MULTIPLE | EIAME);
    rig.w(EIAC, 3);
    rig.w(EIAM, 3);
    rig.w(EIMS, 1);
    rig.w(EICS, 1);
    assert_eq!(calls(&handlers), [1, 0]);
    rig.w(EICS, 1);
    assert_eq!(calls(&handlers), [1, 0], "it has masked itself");
    rig.w(EIMS, 1);
    assert_eq!(calls(&handlers), [2, 0]);
    rig.w(EIMS, 1);
    assert_eq!(calls(&handlers), [2, 0], "nothing came");
}

#[test]
fn a_mask_keeps_and_a_clear_forgets() {
    let rig = Rig::new();
    let handlers = vectors(&rig, 1);
    rig.w(GPIE, MULTIPLE);
    rig.w(EIAC, 1);
    rig.w(EIMS, 1);
    rig.w(EIMC, 1);
    rig.w(EICS, 1);
    assert_eq!(handlers[0].calls(), 0);
    rig.w(EICR, 1);
    rig.w(EIMS, 1);
    assert_eq!(handlers[0].calls(), 0, "it was cleared");
}

#[test]
fn a_throttle_spaces_the_messages_of_its_vector() {
    let mut rig = Rig::new();
    let handlers = vectors(&rig, 2);
    rig.w(GPIE, MULTIPLE);
    rig.w(EIAC, 3);
    // 100 microseconds for vector 0.
    rig.w(EITR, 100 << 2);
    rig.w(EIMS, 3);
    rig.w(EICS, 3);
    rig.w(EICS, 3);
    assert_eq!(calls(&handlers), [1, 2]);
    let start = rig.now_ns;
    assert_eq!(rig.step().next_event_ns, Some(start + 100_000));
    rig.now_ns = start + 99_998;
    rig.step();
    assert_eq!(calls(&handlers), [1, 2]);
    rig.step();
    assert_eq!(calls(&handlers), [2, 2]);
}

#[test]
fn a_throttle_spaces_the_pin_too() {
    let mut rig = Rig::new();
    let handlers = rig.handlers(IrqMode::Intx, 1);
    rig.w(EITR, 50 << 2);
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(handlers[0].calls(), 1);
    rig.now_ns += 50_000;
    rig.step();
    assert_eq!(handlers[0].calls(), 2);
}

#[test]
fn a_write_that_keeps_the_counter_leaves_the_throttle_closed() {
    for (value, expected) in [(10 << 2 | 1 << 31, 1), (10 << 2, 2)] {
        let rig = Rig::new();
        let handlers = vectors(&rig, 1);
        rig.w(GPIE, MULTIPLE);
        rig.w(EIAC, 1);
        rig.w(EITR, 100 << 2);
        rig.w(EIMS, 1);
        rig.w(EICS, 1);
        rig.w(EITR, value);
        rig.w(EICS, 1);
        assert_eq!(handlers[0].calls(), expected, "{value:#x}");
    }
}

#[test]
fn with_a_single_message_queues_are_bits_of_eicr() {
    let mut rig = Rig::new();
    let handlers = rig.handlers(IrqMode::Msi, 1);
    handlers[0].reads_icr.store(false, Ordering::SeqCst);
    let _rx = rig.receive(SECRC);
    rig.w(IVAR, 5 | VALID);
    rig.w(EIMS, 1 << 5);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(handlers[0].calls(), 1);
    assert_eq!(rig.r(EICR), 1 << 5);
}
