//! Frames both ways.

use super::support::{
    OURS, PEER, PacketSocket, in_namespace, nic, open, packet, umem, veth, wait_for,
};
use softnet_af_xdp::AfXdpConfig;
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::NicHal;

#[test]
fn zero_copy_is_refused_by_a_veth_and_the_reason_is_kept() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let _queues = open(&nic, &umem, 1);
        let refusals = nic
            .kernel()
            .with_refusals(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(nic.mode(), Some(softnet_af_xdp::Mode::Copy));
        let reason = "zero-copy: binding a socket: Operation not supported (os error 95)";
        assert_eq!(refusals, [reason]);
    });
}

#[test]
fn frames_go_both_ways() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mut queues = open(&nic, &umem, 1);
        let mut queue = queues.pop().unwrap();
        for _ in 0..8 {
            queue.rx.post(umem.pool().alloc().unwrap()).unwrap();
        }
        queue.rx.kick();
        let sent = packet(nic.capabilities().mac, 100, 1);
        peer.send(&sent);
        let mut got = None;
        wait_for("a frame", || {
            got = got.take().or_else(|| queue.rx.reap());
            got.is_some()
        });
        let got = got.unwrap();
        assert_eq!(got.data(), sent);
        queue.tx.post(got).unwrap();
        queue.tx.kick();
        let mut back = None;
        wait_for("its echo", || {
            back = back.take().or_else(|| peer.receive());
            back.is_some()
        });
        assert_eq!(back.unwrap(), sent);
    });
}
