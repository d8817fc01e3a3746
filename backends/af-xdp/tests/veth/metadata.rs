//! What is left to the kernel packet by packet: checksums, and when a packet left.

use super::support::{
    OURS, PEER, PacketSocket, Pair, arrival, counter, in_namespace, nic, open, packet, post_rx,
    reap_one, run, send, small, veth, wait_for,
};
use nix::time::{ClockId, clock_gettime};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Mode, ModeChoice, TxMetadata, Umem, UmemConfig};
use softnet_dma_ring::{DmaRing, Frame, TxChecksum};
use softnet_nic_hal::{NicHal, Queues};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

const MODES: [Mode; 2] = [Mode::Copy, Mode::Skb];
/// Where the UDP header starts, and its checksum in it.
const UDP: TxChecksum = TxChecksum {
    start: 34,
    offset: 6,
};
const FIELD: usize = 40;
/// 0x0a09 + 0x0001 + 0x0a09 + 0x0002 + 17 + 12.
const PSEUDO: [u8; 2] = [0x14, 0x32];

fn memory(metadata: TxMetadata) -> Arc<Umem> {
    let umem = Umem::new(UmemConfig {
        tx_metadata: metadata,
        ..small()
    });
    umem.unwrap()
}

/// A NIC in one mode, opened; `None`, and the test is skipped, where the kernel has no
/// metadata.
fn opened(
    mode: Mode,
    metadata: TxMetadata,
) -> Option<(Arc<Umem>, Arc<AfXdpNic>, Queues<AfXdpNic>)> {
    let umem = memory(metadata);
    if let Err(reason) = umem.tx_metadata() {
        softnet_test_support::skip(format!("no room for metadata: {reason}"));
        return None;
    }
    let config = AfXdpConfig {
        mode: ModeChoice::Only(mode),
        ..AfXdpConfig::new(OURS)
    };
    let nic = nic(config, &umem);
    let queues = open(&nic, &umem, 1);
    Some((umem, nic, queues))
}

/// The kernel's socket at the other end, 10.9.0.2:7.
fn listener() -> UdpSocket {
    run("ip", "addr add 10.9.0.2/24 dev sx1").unwrap();
    let socket = UdpSocket::bind("10.9.0.2:7").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

/// "half" from 10.9.0.1:4096 to 10.9.0.2:7, with the sum of the pseudo-header alone.
fn half_made(umem: &Umem) -> Frame {
    let bytes = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0xaa, 0xbb, 8, 0, // Ethernet
        0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb9, 10, 9, 0, 1, 10, 9, 0, 2, // IPv4
        0x10, 0, 0, 7, 0, 12, PSEUDO[0], PSEUDO[1], b'h', b'a', b'l', b'f', // UDP
    ];
    let mut frame = umem.pool().alloc().unwrap();
    frame.put(46).unwrap().copy_from_slice(&bytes);
    frame
}

fn transmit(pair: &mut Pair, frame: Frame) -> Frame {
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    reap_one(&mut pair.tx)
}

/// RFC 1071 over an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum: u32 = words
        .iter()
        .map(|&word| u32::from(u16::from_be_bytes(word)))
        .sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Whether the UDP checksum of a packet that [`half_made`] has made is right.
fn is_summed(packet: &[u8]) -> bool {
    let (pseudo, segment) = (u16::from_be_bytes(PSEUDO), sum(&packet[34..]));
    u32::from(pseudo) + u32::from(segment) == 0xffff
}

fn a_kernel_takes_what_was_left_to_ours(metadata: TxMetadata) {
    for mode in MODES {
        in_namespace(move || {
            veth(OURS, PEER, 1);
            let listener = listener();
            let peer = PacketSocket::open(PEER).unwrap();
            let Some((umem, nic, mut queues)) = opened(mode, metadata) else {
                return;
            };
            assert!(nic.capabilities().tx_checksum);
            let mut frame = half_made(&umem);
            frame.set_tx_checksum(Some(UDP));
            transmit(&mut queues[0], frame);
            let mut payload = [0; 16];
            let len = listener.recv(&mut payload).unwrap();
            assert_eq!(payload[..len], *b"half");
            let seen = arrival(&peer);
            match metadata {
                // Between two interfaces of one machine it stays half made.
                TxMetadata::Room => assert_eq!(seen[FIELD..FIELD + 2], PSEUDO),
                _ => assert!(is_summed(&seen), "{seen:x?}"),
            }
            assert_eq!(counter(&nic, "tx_checksums_left"), 1);
            assert_eq!(counter(&nic, "tx_checksums"), 0);
            assert_eq!(counter(&nic, "xdp_tx_invalid_descs"), 0);
        });
    }
}

#[test]
fn a_kernel_takes_a_datagram_whose_checksum_was_left_half_made() {
    a_kernel_takes_what_was_left_to_ours(TxMetadata::Room);
}

#[test]
fn a_checksum_that_is_left_to_the_kernel_is_computed_by_it() {
    a_kernel_takes_what_was_left_to_ours(TxMetadata::SoftwareChecksum);
}

/// Without this the tests above would prove nothing.
#[test]
fn a_half_made_checksum_that_nobody_marks_is_a_wrong_one_to_a_kernel() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let listener = listener();
        let Some((umem, _nic, mut queues)) = opened(Mode::Copy, TxMetadata::Room) else {
            return;
        };
        transmit(&mut queues[0], half_made(&umem));
        let mut marked = half_made(&umem);
        marked.set_tx_checksum(Some(UDP));
        marked.data_mut()[42..46].copy_from_slice(b"next");
        transmit(&mut queues[0], marked);
        let mut payload = [0; 16];
        let len = listener.recv(&mut payload).unwrap();
        assert_eq!(payload[..len], *b"next");
    });
}

#[test]
fn memory_without_room_gets_its_checksums_in_software() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let listener = listener();
        let Some((umem, nic, mut queues)) = opened(Mode::Copy, TxMetadata::Off) else {
            return;
        };
        assert!(!nic.capabilities().tx_checksum);
        let mut frame = half_made(&umem);
        frame.set_tx_checksum(Some(UDP));
        let sent = transmit(&mut queues[0], frame);
        assert!(is_summed(sent.data()));
        let mut payload = [0; 16];
        assert_eq!(listener.recv(&mut payload).unwrap(), 4);
        assert_eq!(counter(&nic, "tx_checksums"), 1);
    });
}

#[test]
fn the_kernel_says_when_a_packet_left() {
    for mode in MODES {
        in_namespace(move || {
            veth(OURS, PEER, 1);
            let Some((umem, nic, mut queues)) = opened(mode, TxMetadata::Room) else {
                return;
            };
            let now = || {
                let time: Duration = clock_gettime(ClockId::CLOCK_TAI).unwrap().into();
                time.as_nanos() as u64
            };
            for also_summed in [false, true] {
                let mut frame = half_made(&umem);
                frame.set_wants_tx_timestamp(true);
                frame.set_tx_checksum(also_summed.then_some(UDP));
                let before = now();
                let sent = transmit(&mut queues[0], frame);
                let left = sent.timestamp_ns().unwrap();
                assert!((before..=now()).contains(&left), "{before} {left}");
                drop(sent);
                let silent = transmit(&mut queues[0], half_made(&umem));
                assert_eq!(silent.timestamp_ns(), None, "it did not ask");
            }
            assert_eq!(counter(&nic, "xdp_tx_invalid_descs"), 0);
        });
    }
}

#[test]
fn a_packet_at_the_start_of_its_chunk_is_sent_all_the_same() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let peer = PacketSocket::open(PEER).unwrap();
        let Some((umem, nic, mut queues)) = opened(Mode::Copy, TxMetadata::Room) else {
            return;
        };
        for (headroom, copies) in [(24, 0), (23, 1), (0, 2)] {
            let bytes = packet(nic.capabilities().mac, 80, headroom);
            let mut frame = umem.pool().alloc().unwrap();
            frame.reset(headroom);
            frame.put(80).unwrap().copy_from_slice(&bytes);
            transmit(&mut queues[0], frame);
            assert_eq!(arrival(&peer), bytes, "{headroom} bytes before it");
            assert_eq!(counter(&nic, "tx_copied_in"), copies);
        }
        assert_eq!(counter(&nic, "xdp_tx_invalid_descs"), 0);
    });
}

#[test]
fn two_nics_with_two_queues_share_memory_with_room_and_open_again() {
    in_namespace(|| {
        veth(OURS, PEER, 2);
        veth("sy0", "sy1", 2);
        let umem = memory(TxMetadata::Room);
        let nics = [OURS, "sy0"].map(|name| nic(AfXdpConfig::new(name), &umem));
        let peers = [PEER, "sy1"].map(|name| PacketSocket::open(name).unwrap());
        for round in 0..3 {
            let mut queues = nics.each_ref().map(|nic| open(nic, &umem, 2));
            post_rx(&mut queues[0][0], &umem, 8);
            post_rx(&mut queues[0][1], &umem, 8);
            let sent = packet(nics[0].capabilities().mac, 100, round);
            peers[0].send(&sent);
            let mut frame = None;
            wait_for("a frame", || {
                frame = queues[0].iter_mut().find_map(|pair| pair.rx.reap());
                frame.is_some()
            });
            // What one NIC received the other sends, as it is.
            transmit(&mut queues[1][1], frame.unwrap());
            assert_eq!(arrival(&peers[1]), sent);
            for pair in &mut queues[1] {
                send(pair, &umem, &sent);
                assert_eq!(arrival(&peers[1]), sent);
            }
            nics[round % 2].stop().unwrap();
            drop(queues);
            nics[1 - round % 2].stop().unwrap();
        }
        assert_eq!(counter(&nics[1], "tx_copied_in"), 0);
    });
}
