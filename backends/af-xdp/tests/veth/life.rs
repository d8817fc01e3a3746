//! What happens to an interface while it is a NIC.

use super::support::{
    Calls, OURS, PEER, PacketSocket, arrival, counter, echo, events, in_namespace, ip, is_ready,
    nic, open, open_config, packet, post_rx, reap_one, send, small, umem, veth, wait_for,
};
use softnet_af_xdp::bpf::Existing;
use softnet_af_xdp::netlink::Interface;
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::{NicError, NicHal, OpenConfig};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Whether an XDP program is attached.
fn has_program() -> bool {
    let output = std::process::Command::new("ip")
        .args(["link", "show", OURS])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

#[test]
fn an_open_attaches_a_program_and_a_stop_and_a_drop_take_it_down() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        assert!(!has_program());
        let queues = open(&nic, &umem, 1);
        assert!(has_program());
        nic.stop().unwrap();
        assert!(!has_program());
        drop(queues);
        let queues = open(&nic, &umem, 1);
        assert!(has_program());
        drop(nic);
        assert!(!has_program());
        drop(queues);
        assert_eq!(umem.pool().count_free(), umem.pool().frames());
    });
}

#[test]
fn a_queue_that_was_just_closed_is_waited_for() {
    in_namespace(|| {
        veth(OURS, PEER, 2);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        for round in 0..20 {
            // Rings that are dropped before the stop, after it, and in between.
            let mut queues = open(&nic, &umem, 2);
            let mut last = queues.pop().unwrap();
            let mut first = queues.pop().unwrap();
            post_rx(&mut first, &umem, 4);
            post_rx(&mut last, &umem, 4);
            let sent = packet(nic.capabilities().mac, 64, round);
            send(&mut last, &umem, &sent);
            assert_eq!(arrival(&peer), sent);
            match round % 3 {
                0 => drop((first, last)),
                1 => drop(first),
                _ => {}
            }
            nic.stop().unwrap();
        }
        assert_eq!(umem.pool().count_free(), umem.pool().frames());
    });
}

#[test]
fn a_program_that_is_there_already_is_named_and_left_alone() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let (umem, other) = (umem(), umem());
        let holder = nic(AfXdpConfig::new(OURS), &umem);
        let _queues = open(&holder, &umem, 1);
        let late = nic(AfXdpConfig::new(OURS), &other);
        let config = open_config(&late, &other, 1);
        let error = late.open(&config, Arc::new(Calls::default())).unwrap_err();
        assert!(error.to_string().contains("softnet_xdp"), "{error}");
        assert!(has_program());
    });
}

#[test]
fn a_pool_of_other_memory_is_refused() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let (umem, other) = (umem(), umem());
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let config = OpenConfig {
            pool: other.pool().clone(),
            ..open_config(&nic, &umem, 1)
        };
        let refused = nic.open(&config, Arc::new(Calls::default()));
        assert!(matches!(refused, Err(NicError::ForeignPool)));
    });
}

#[test]
fn an_interface_that_is_deleted_while_open_is_gone_and_frames_come_home() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let calls = Arc::new(Calls::default());
        let config = open_config(&nic, &umem, 1);
        let mut pair = nic.open(&config, calls.clone()).unwrap().pop().unwrap();
        post_rx(&mut pair, &umem, 8);
        assert!(!nic.watchdog(0).gone);
        // With the peer goes the pair.
        ip("link del sx1").unwrap();
        wait_for("the word of it", || calls.links.load(Ordering::SeqCst) > 0);
        wait_for("the watchdog", || nic.watchdog(0).gone);
        assert_eq!(pair.rx.free_slots(), 0);
        nic.stop().unwrap();
        drop(pair);
        assert_eq!(umem.pool().count_free(), umem.pool().frames());
        let again = nic.open(&config, calls);
        assert!(matches!(again, Err(NicError::Gone)));
    });
}

#[test]
fn an_interface_that_is_deleted_lets_its_cpu_sleep() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let (umem, events) = (umem(), events());
        let nic = AfXdpNic::new(AfXdpConfig::new(OURS), umem.clone(), events.clone()).unwrap();
        let mut cpu = events.event_loop(0);
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 8);
        nic.unmask_irq(pair.id);
        cpu.wait(Some(1));
        // A packet that nobody will take.
        let peer = PacketSocket::open(PEER).unwrap();
        peer.send(&packet(nic.capabilities().mac, 60, 1));
        wait_for("the packet", || is_ready(&cpu));
        ip("link del sx1").unwrap();
        wait_for("the watchdog", || nic.watchdog(0).gone);
        nic.unmask_irq(pair.id);
        // One wait finds out what there is, and after it the kernel is quiet.
        cpu.wait(Some(1));
        assert!(!is_ready(&cpu));
        events.wait(Some(1));
        assert!(!is_ready(&cpu));
    });
}

#[test]
fn a_peer_whose_namespace_is_destroyed_takes_the_interface_with_it() {
    in_namespace(|| {
        let name = format!("softnet-xsk-{}", std::process::id());
        ip(&format!("netns add {name}")).unwrap();
        let made = ip(&format!(
            "link add {OURS} type veth peer name {PEER} netns {name}"
        ));
        let up = ip(&format!("link set {OURS} up"));
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let pair = open(&nic, &umem, 1);
        ip(&format!("netns del {name}")).unwrap();
        made.and(up).unwrap();
        wait_for("the watchdog", || nic.watchdog(0).gone);
        nic.stop().unwrap();
        drop(pair);
        assert_eq!(umem.pool().count_free(), umem.pool().frames());
    });
}

#[test]
fn packets_that_wait_for_the_interface_go_when_it_is_up_again() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 8);
        ip("link set sx0 down").unwrap();
        assert!(!nic.watchdog(0).link.up);
        let sent = packet(nic.capabilities().mac, 77, 1);
        let mut frame = umem.pool().alloc().unwrap();
        frame.put(77).unwrap().copy_from_slice(&sent);
        pair.tx.post(frame).unwrap();
        pair.tx.kick();
        assert!(pair.tx.reap().is_none());
        ip("link set sx0 up").unwrap();
        wait_for("the link", || nic.watchdog(0).link.up);
        // The watchdog has the ring's owner wake the kernel, at its next reap.
        reap_one(&mut pair.tx);
        assert_eq!(arrival(&peer), sent);
        // Until then the kernel swallows what the peer sends.
        let far = Interface::open(PEER).unwrap();
        wait_for("the peer's link", || far.link().unwrap().carrier);
        echo(&mut pair, &peer, &packet(nic.capabilities().mac, 90, 2));
    });
}

#[test]
fn the_mtu_of_the_interface_is_the_limit_of_the_next_opening() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        assert_eq!(nic.capabilities().max_mtu, 1500);
        let queues = open(&nic, &umem, 1);
        ip("link set sx0 mtu 1000").unwrap();
        nic.stop().unwrap();
        drop(queues);
        assert_eq!(nic.capabilities().max_mtu, 1000);
        let config = OpenConfig {
            mtu: 1500,
            ..open_config(&nic, &umem, 1)
        };
        let refused = nic.open(&config, Arc::new(Calls::default()));
        assert!(matches!(refused, Err(NicError::Mtu { max: 1000, .. })));
        open(&nic, &umem, 1);
    });
}

#[test]
fn traffic_goes_on_while_the_mtu_changes() {
    in_namespace(|| {
        veth(OURS, PEER, 1);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mac = nic.capabilities().mac;
        let mut pair = open(&nic, &umem, 1).pop().unwrap();
        post_rx(&mut pair, &umem, 16);
        // Below 1280 IPv6 would leave, and come back with frames of its own.
        for (seed, mtu) in [1300, 1500, 1280, 1400].into_iter().enumerate() {
            let told = counter(&nic, "link_changes");
            // In the kernel's hands while the MTU changes.
            peer.send(&packet(mac, 500, seed));
            ip(&format!("link set {OURS} mtu {mtu}")).unwrap();
            ip(&format!("link set {PEER} mtu {mtu}")).unwrap();
            assert_eq!(reap_one(&mut pair.rx).data(), packet(mac, 500, seed));
            wait_for("the word of it", || counter(&nic, "link_changes") > told);
            assert!(nic.watchdog(0).link.up);
            echo(&mut pair, &peer, &packet(mac, mtu + 14, seed));
        }
        nic.stop().unwrap();
        drop(pair);
        assert_eq!(umem.pool().count_free(), umem.pool().frames());
    });
}

#[test]
fn a_queue_of_somebody_else_is_named_with_what_to_do() {
    in_namespace(|| {
        veth(OURS, PEER, 2);
        let (umem, other) = (umem(), umem());
        let holder = nic(AfXdpConfig::new(OURS), &umem);
        let queues = open(&holder, &umem, 1);
        let config = AfXdpConfig {
            existing: Existing::Replace,
            ..AfXdpConfig::new(OURS)
        };
        let late = nic(config, &other);
        let config = open_config(&late, &other, 1);
        let error = late.open(&config, Arc::new(Calls::default())).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("queue 0 of sx0 is in use"), "{said}");
        assert!(said.contains("ss --xdp -p"), "{said}");
        assert!(has_program(), "it is the holder's, and stays");
        drop(queues);
        holder.stop().unwrap();
        drop(open(&late, &other, 1));
    });
}

#[test]
fn frames_that_are_out_keep_the_memory_of_a_umem_that_is_dropped() {
    in_namespace(|| {
        let umem = Umem::new(small()).unwrap();
        let mut frame = umem.pool().alloc().unwrap();
        drop(umem);
        frame.put(1500).unwrap().fill(7);
        assert_eq!(frame.data(), [7; 1500]);
    });
}

#[test]
fn random_closes_flaps_and_floods_lose_no_frame() {
    in_namespace(|| {
        veth(OURS, PEER, 2);
        let umem = umem();
        let nic = nic(AfXdpConfig::new(OURS), &umem);
        let peer = PacketSocket::open(PEER).unwrap();
        let mut random = 0x5eed_u64;
        for _ in 0..12 {
            let mut pairs = open(&nic, &umem, 2);
            for _ in 0..10 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                let which = ((random >> 40) % 2) as usize;
                let pair = &mut pairs[which];
                match (random >> 33) % 4 {
                    0 => while pair.rx.post(umem.pool().alloc().unwrap()).is_ok() {},
                    1 => {
                        for seed in 0..40 {
                            let _ = peer.try_send(&packet(nic.capabilities().mac, 64, seed));
                        }
                    }
                    2 => {
                        ip("link set sx1 down").unwrap();
                        ip("link set sx1 up").unwrap();
                    }
                    _ => {
                        while let Some(frame) = pair.rx.reap() {
                            drop(pair.tx.post(frame));
                        }
                    }
                }
                pair.rx.kick();
                pair.tx.kick();
                while pair.tx.reap().is_some() {}
            }
            if random >> 63 == 0 {
                nic.stop().unwrap();
                drop(pairs);
            } else {
                drop(pairs);
                nic.stop().unwrap();
            }
            assert_eq!(umem.pool().count_free(), umem.pool().frames());
        }
        assert_eq!(counter(&nic, "rx_bad_descriptors"), 0);
        assert_eq!(counter(&nic, "tx_bad_completions"), 0);
    });
}
