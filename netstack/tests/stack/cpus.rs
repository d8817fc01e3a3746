//! Several CPUs: steering, hand-over, backlogs.

use super::host::{Host, OURS, PEER, QUEUE, Shape, datagram, peer, ping};
use core::net::{IpAddr, Ipv4Addr};
use softnet_netstack::rss::{DEFAULT_KEY, INDIRECTION_LEN, Rss};
use softnet_netstack::{DropReason, Snmp, Stack, StackConfig, StackError, UdpOptions};
use softnet_nic_hal::QueueId;
use softnet_softirq::{Clock, VirtualClock};
use std::sync::Arc;

#[test]
fn a_flow_stays_on_the_cpu_of_its_hash() {
    for cpus in [2, 4] {
        let mut host = Host::new(cpus).knows_peer();
        let socket = host.bind(7);
        let rss = Rss::new(&DEFAULT_KEY, cpus as u16);
        for from in 4000..4064 {
            let cpu = usize::from(rss.cpu_of_flow(socket.local_addr(), peer(from)));
            let counters = host.stack.counters(cpu).unwrap();
            let before = counters.snmp.value(Snmp::UdpInDatagrams);
            host.receive(&datagram(from, 7, b"x"));
            let after = counters.snmp.value(Snmp::UdpInDatagrams);
            assert_eq!(after, before + 1, "port {from}");
        }
    }
}

/// Also from a socket that is bound to no one address, and so cannot know the flow.
#[test]
fn an_answer_leaves_by_the_cpu_that_the_flow_came_to() {
    for ip in [OURS, Ipv4Addr::UNSPECIFIED] {
        let mut host = Host::new(4).knows_peer();
        let mut socket = host.bind_with(ip, 7, &UdpOptions::default());
        for from in 4000..4064 {
            let cpu =
                usize::from(Rss::new(&DEFAULT_KEY, 4).cpu_of_flow((OURS, 7).into(), peer(from)));
            host.receive(&datagram(from, 7, b"x"));
            let datagram = socket.try_recv().unwrap();
            let sent = |host: &Host| {
                let counters = host.stack.counters(cpu).unwrap();
                counters.snmp.value(Snmp::UdpOutDatagrams)
            };
            let before = sent(&host);
            socket.try_send_to(b"y", datagram.from()).unwrap();
            host.stack.run_until_idle();
            assert_eq!(sent(&host), before + 1, "bound to {ip}, port {from}");
        }
    }
}

#[test]
fn a_flow_belongs_to_the_cpu_that_the_embedder_says() {
    let to_the_last = Rss::new(&DEFAULT_KEY, 4).with_indirection([3; INDIRECTION_LEN]);
    let mut host = Host::with(&Shape {
        cpus: 4,
        rss: Some(to_the_last),
        ..Shape::default()
    })
    .knows_peer();
    let _socket = host.bind(7);
    for from in 4000..4016 {
        host.receive(&datagram(from, 7, b"x"));
    }
    let received = |cpu| {
        let counters = host.stack.counters(cpu).unwrap();
        counters.snmp.value(Snmp::UdpInDatagrams)
    };
    assert_eq!([0, 1, 2, 3].map(received), [0, 0, 0, 16]);
}

#[test]
fn a_table_that_names_a_cpu_that_is_not_there_is_refused() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(0));
    let config = StackConfig {
        cpus: 2,
        rss: Some(Rss::new(&DEFAULT_KEY, 3)),
        ..StackConfig::default()
    };
    let refused = Stack::new(&config, &clock);
    assert!(matches!(refused, Err(StackError::Rss(2))));
}

#[test]
fn every_cpu_can_send_by_a_queue_that_is_not_its_own() {
    for (cpus, queues) in [(4, 1), (4, 2), (2, 1)] {
        let mut host = Host::with(&Shape {
            cpus,
            queues,
            ..Shape::default()
        })
        .knows_peer();
        let mut socket = host.bind(7);
        for to in 9000..9064 {
            socket.try_send_to(&[7], peer(to)).unwrap();
            host.stack.run_until_idle();
        }
        let mut sent = 0;
        for queue in 0..queues {
            sent += host.port.discard_transmitted(QueueId(queue), 100);
        }
        assert_eq!(sent, 64, "{cpus} CPUs, {queues} queues");
        host.receive(&ping(b"x"));
    }
}

#[test]
fn a_backlog_that_overflows_is_counted_and_the_rest_arrives() {
    let mut host = Host::new(2);
    let mut socket = host.bind_with(
        super::host::OURS,
        7,
        &softnet_netstack::UdpOptions {
            receive_buffer: softnet_netstack::RMEM_MAX,
            ..Default::default()
        },
    );
    let rss = Rss::new(&DEFAULT_KEY, 2);
    let far = (4000..)
        .find(|&port| rss.cpu_of_flow(socket.local_addr(), peer(port)) == 1)
        .unwrap();
    let frame = datagram(far, 7, b"x");
    // CPU 0 alone takes packets, as on threads when CPU 1 is busy.
    let batch: Vec<&[u8]> = vec![&frame; 200];
    let mut received = 0;
    for _ in 0..10 {
        received += host.port.inject_batch(QUEUE, &batch) as u64;
        host.stack.run_once();
    }
    host.stack.run_until_idle();
    let mut read = 0;
    while socket.try_recv().is_ok() {
        read += 1;
    }
    assert_eq!(host.delivered() + host.rx_drops(), received);
    assert_eq!(read + host.rx_drops(), received);
    assert_eq!(host.snmp(Snmp::UdpInDatagrams), read);
    assert_eq!(
        host.drops(DropReason::CpuBacklog),
        0,
        "inline, each CPU keeps up"
    );
}

#[test]
fn a_device_counts_as_one_on_all_cpus() {
    let mut host = Host::new(4);
    let dev = host.dev;
    let seen = host
        .stack
        .on_each_cpu(move |shard| shard.device(dev).map(|device| device.mtu()))
        .unwrap();
    assert_eq!(seen, [Some(1500); 4]);
    let locals = host
        .stack
        .on_each_cpu(|shard| shard.core().is_unicast_local(PEER))
        .unwrap();
    assert_eq!(locals, [false; 4]);
    let second = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 9));
    host.stack.add_address(dev, second, 24).unwrap();
    assert!(host.stack.add_address(dev, second, 24).is_err());
}
