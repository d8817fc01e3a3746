//! Time stamps, in the stack's time.

use crate::fake::{DD, EOP, Fake, Open, open, open_on};
use softnet_dma_ring::{DmaRing, Frame};
use softnet_igb::RxStamps;
use softnet_nic_hal::{NicError, NicHal};

const SYSTIML: u32 = 0xb600;
const TSYNCTXCTL: u32 = 0xb614;
const TXSTMPL: u32 = 0xb618;
const TSYNCRXCTL: u32 = 0xb620;
const RXSTMPL: u32 = 0xb624;

/// The device's clock counts 2^-19 nanoseconds.
fn set_stamp(fake: &Fake, low: u32, ns: u64) {
    let value = ns << 19;
    fake.set(low, value as u32);
    fake.set(low + 4, (value >> 32) as u32);
}

/// The stack's clock is at 5 s when the device's is at 1 s.
fn synchronized() -> Open {
    let open = open();
    set_stamp(&open.fake, SYSTIML, 1_000_000_000);
    open.nic.watchdog(5_000_000_000);
    open
}

/// A packet that is to be stamped, posted and sent.
fn post_stamped(open: &mut Open, seed: u8) {
    let mut frame = open.pool.alloc().unwrap();
    frame.put(60).unwrap().fill(seed);
    frame.set_wants_tx_timestamp(true);
    open.pair().tx.post(frame).unwrap();
}

fn sent(open: &mut Open, last: u64) -> Vec<Frame> {
    open.pair().tx.kick();
    open.fake.sent(0, last);
    std::iter::from_fn(|| open.pair().tx.reap()).collect()
}

#[test]
fn a_sent_packet_has_the_stacks_time_when_it_asked_for_it() {
    let mut open = synchronized();
    post_stamped(&mut open, 1);
    let word = open.fake.descriptor(crate::fake::tx(0), 0).1;
    assert_ne!(word & 1 << 19, 0, "the descriptor asks for no stamp");
    open.fake.set(TSYNCTXCTL, 1 << 4 | 1);
    set_stamp(&open.fake, TXSTMPL, 1_250_000_000);
    let frames = sent(&mut open, 0);
    assert_eq!(frames[0].timestamp_ns(), Some(5_250_000_000));
    assert_eq!(open.ethtool_stat("tx_hwtstamp_timeouts"), 0);
}

#[test]
fn a_stamp_of_before_the_look_at_the_clocks_is_of_before() {
    let mut open = synchronized();
    post_stamped(&mut open, 1);
    open.fake.set(TSYNCTXCTL, 1 << 4 | 1);
    set_stamp(&open.fake, TXSTMPL, 999_999_000);
    let frames = sent(&mut open, 0);
    assert_eq!(frames[0].timestamp_ns(), Some(4_999_999_000));
}

#[test]
fn a_stamp_that_does_not_come_is_counted_and_the_frame_has_none() {
    let mut open = synchronized();
    post_stamped(&mut open, 1);
    let frames = sent(&mut open, 0);
    assert_eq!(frames[0].timestamp_ns(), None);
    assert_eq!(open.ethtool_stat("tx_hwtstamp_timeouts"), 1);
    // And the next one is asked for again.
    post_stamped(&mut open, 2);
    open.fake.set(TSYNCTXCTL, 1 << 4 | 1);
    set_stamp(&open.fake, TXSTMPL, 2_000_000_000);
    assert!(sent(&mut open, 1)[0].timestamp_ns().is_some());
}

#[test]
fn one_packet_at_a_time_is_stamped() {
    let mut open = synchronized();
    post_stamped(&mut open, 1);
    post_stamped(&mut open, 2);
    let asks = |at| open.fake.descriptor(crate::fake::tx(0), at).1 & 1 << 19 != 0;
    assert_eq!([0, 1].map(asks), [true, false]);
    open.fake.set(TSYNCTXCTL, 1 << 4 | 1);
    let frames = sent(&mut open, 1);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].timestamp_ns().is_some() && frames[1].timestamp_ns().is_none());
    assert_eq!(open.ethtool_stat("tx_hwtstamp_skipped"), 1);
}

#[test]
fn stamps_before_the_first_look_at_the_clocks_are_in_the_devices_time() {
    let mut open = open();
    post_stamped(&mut open, 1);
    open.fake.set(TSYNCTXCTL, 1 << 4 | 1);
    set_stamp(&open.fake, TXSTMPL, 7);
    assert_eq!(sent(&mut open, 0)[0].timestamp_ns(), Some(7));
}

#[test]
fn a_received_packet_that_the_chip_stamped_has_the_stacks_time() {
    let mut open = synchronized();
    for _ in 0..3 {
        let frame = open.pool.alloc().unwrap();
        open.pair().rx.post(frame).unwrap();
    }
    open.pair().rx.kick();
    set_stamp(&open.fake, RXSTMPL, 3_000_000_000);
    open.fake.set(TSYNCRXCTL, 1 << 4 | 1);
    let stamped = DD | EOP | 1 << 16;
    open.fake.receive_as(0, 0, &[1; 60], 0, stamped);
    open.fake.receive_as(0, 1, &[1; 60], 0, DD | EOP);
    let times = [0, 1].map(|_| open.pair().rx.reap().unwrap().timestamp_ns());
    assert_eq!(times, [Some(7_000_000_000), None]);
    // A descriptor that says so although the register holds nothing.
    open.fake.set(TSYNCRXCTL, 1 << 4);
    open.fake.receive_as(0, 2, &[1; 60], 0, stamped);
    assert_eq!(open.pair().rx.reap().unwrap().timestamp_ns(), None);
}

#[test]
fn received_ptp_packets_are_stamped_when_asked_for_and_after_a_stop_again() {
    let open = open();
    open.nic.set_rx_stamps(RxStamps::Ptp2(0x01)).unwrap();
    for _ in 0..2 {
        assert_eq!(open.fake.value(0x5cbc), 0x88f7 | 1 << 26 | 1 << 30);
        assert_eq!(open.fake.value(0x5f50), 0x0100);
        assert_eq!(open.fake.value(TSYNCRXCTL), 1 << 4);
        open.nic.stop().unwrap();
        let config = crate::fake::config(&open.pool, 1, 8);
        drop(open.nic.open(&config, open.stack.clone()).unwrap());
    }
    open.nic.set_rx_stamps(RxStamps::None).unwrap();
    assert_eq!(open.fake.value(0x5cbc), 0);
}

#[test]
fn the_i210_sends_without_a_stamp() {
    let mut open = open_on(Fake::with_device(0x1533), |_| {});
    let result = open.nic.set_rx_stamps(RxStamps::Ptp2(0));
    assert!(matches!(result, Err(NicError::Unsupported(_))));
    assert!(!open.nic.capabilities().timestamps);
    post_stamped(&mut open, 1);
    let word = open.fake.descriptor(crate::fake::tx(0), 0).1;
    assert_eq!(word & 1 << 19, 0);
    assert_eq!(sent(&mut open, 0)[0].timestamp_ns(), None);
}
