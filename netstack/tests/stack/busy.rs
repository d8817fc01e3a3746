//! NICs that are polled without interrupts.

use super::host::{Host, QUEUE, SECOND, datagram, peer};
use softnet_netstack::{StackError, ThreadOptions};

/// A host whose NIC is busy-polled: its first packet has brought it there.
fn busy() -> Host {
    let mut host = Host::new(1).knows_peer();
    host.stack.set_busy_poll(true).unwrap();
    host.receive(&datagram(9, 1, b"to nobody"));
    assert_eq!(host.port.is_masked(QUEUE), Some(true));
    host.sent();
    host
}

#[test]
fn packets_go_both_ways_with_the_interrupt_masked() {
    let mut host = busy();
    let mut socket = host.bind(7);
    for _ in 0..1000 {
        host.receive(&datagram(9, 7, b"data"));
        let datagram = socket.try_recv().unwrap();
        socket.try_send_datagram(datagram, peer(9)).unwrap();
        host.stack.run_until_idle();
        assert_eq!(host.sent().len(), 1);
        assert_eq!(host.port.is_masked(QUEUE), Some(true));
    }
    assert_eq!(host.all_drops(), 1);
}

#[test]
fn an_application_that_sends_all_the_time_keeps_no_packet_out() {
    let mut host = busy();
    let mut socket = host.bind(7);
    for _ in 0..100 {
        host.port.inject(QUEUE, &datagram(9, 7, b"data"));
        for _ in 0..2 {
            socket.try_send_to(b"x", peer(9)).unwrap();
            host.stack.run_once();
        }
        assert!(socket.try_recv().is_ok());
        host.port.discard_transmitted(QUEUE, 64);
    }
}

#[test]
fn a_packet_before_the_sleep_ends_it() {
    let mut host = busy();
    let mut socket = host.bind(7);
    host.port.inject(QUEUE, &datagram(9, 7, b"data"));
    host.stack.sleep(None, |_| panic!("it slept over a packet"));
    host.stack.run_until_idle();
    assert!(socket.try_recv().is_ok());
    // With nothing there it sleeps, and an interrupt could come.
    let mut slept = 0;
    host.stack.sleep(None, |_| slept += 1);
    assert_eq!((slept, host.port.is_masked(QUEUE)), (1, Some(false)));
}

#[test]
fn it_ends_with_the_interrupt_let_in() {
    let mut host = busy();
    let mut socket = host.bind(7);
    host.port.inject(QUEUE, &datagram(9, 7, b"data"));
    host.stack.set_busy_poll(false).unwrap();
    host.stack.run_until_idle();
    assert!(socket.try_recv().is_ok());
    assert_eq!(host.port.is_masked(QUEUE), Some(false));
}

#[test]
fn a_busy_polled_nic_is_reset_and_removed_like_any_other() {
    let mut host = busy();
    let mut socket = host.bind(7);
    host.port.set_tx_stalled(true);
    socket.try_send_to(b"x", peer(9)).unwrap();
    host.advance(10 * SECOND);
    host.port.set_tx_stalled(false);
    host.advance(4 * SECOND);
    host.receive(&datagram(9, 7, b"data"));
    assert!(socket.try_recv().is_ok());
    host.stack.remove_nic(host.dev).unwrap();
    assert_eq!(host.port.is_masked(QUEUE), None);
}

#[test]
fn threads_are_not_busy_polled_by_the_caller() {
    let mut host = busy();
    host.stack.start(&ThreadOptions::default()).unwrap();
    assert!(matches!(
        host.stack.set_busy_poll(true),
        Err(StackError::Running)
    ));
    host.stack.stop().unwrap();
}
