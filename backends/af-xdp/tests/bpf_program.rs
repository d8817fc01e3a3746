//! What the program in the kernel says about frames, by test runs: no NIC is
//! needed.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod bpf_support;

use bpf_support::Filter;
use bpf_support::frames::{
    BROADCAST_MAC, Extension, Frame, Ipv4, Ipv6, MULTICAST_MAC, OTHER_MAC, OTHER_V4, OTHER_V6,
    OUR_MAC, OUR_V4, OUR_V6, arp, ports,
};
use softnet_af_xdp::bpf::{
    Fragments, IpPrefix, MapError, MultiBuffer, PortRule, Program, ProgramOptions, Steering,
    Transport, Verdict, Vlans, XdpAction, XskMap,
};
use softnet_nic_hal::MacAddress;
use softnet_test_support::skip;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

/// A name, a frame, its verdict.
type Row = (&'static str, Frame, Verdict);

fn check(steering: &Steering, table: &[Row]) {
    check_each(&[(steering, table)]);
}

fn check_each(tables: &[(&Steering, &[Row])]) {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    for (steering, table) in tables {
        filter.steer(steering);
        for (name, frame, expected) in *table {
            assert_eq!(filter.judge_frame(frame), *expected, "{name}");
        }
    }
}

fn udp_ports() -> Steering {
    Steering::none().ports(PortRule::new(Transport::Udp, 9000..=9099))
}

fn ours() -> Steering {
    Steering::none().address(OUR_V4).address(OUR_V6)
}

fn udp4(to: Ipv4Addr, port: u16) -> Frame {
    Frame::ipv4(&Ipv4::udp(to, port))
}

#[test]
fn a_program_without_steering_passes_everything() {
    let (empty, arp) = (Frame::new(0, vec![0; 46]), arp(OUR_V4));
    check(
        &Steering::none(),
        &[
            ("no protocol", empty, Verdict::Pass),
            ("ARP", arp, Verdict::Pass),
            ("UDP", udp4(OUR_V4, 9000), Verdict::Pass),
        ],
    );
}

#[test]
fn all_takes_every_frame_even_one_without_headers() {
    check(
        &Steering::all().vlans(Vlans::Id(5)),
        &[
            ("a bare header", Frame::new(0x0800, vec![]), Verdict::All),
            (
                "another VLAN",
                Frame::new(0, vec![]).tag(0x8100, 6),
                Verdict::All,
            ),
        ],
    );
}

#[test]
fn a_mac_rule_takes_frames_to_that_address_of_any_protocol() {
    let frame = || Frame::new(0x88cc, vec![0; 46]);
    check(
        &Steering::none().mac(MacAddress(OUR_MAC)),
        &[
            ("ours", frame(), Verdict::Mac),
            ("ours, tagged", frame().tag(0x8100, 5), Verdict::Mac),
            ("another's", frame().to(OTHER_MAC), Verdict::Pass),
            ("broadcast", frame().to(BROADCAST_MAC), Verdict::Pass),
            ("multicast", frame().to(MULTICAST_MAC), Verdict::Pass),
        ],
    );
}

#[test]
fn broadcast_and_multicast_are_chosen_separately() {
    let frame = |to| Frame::new(0x88cc, vec![0; 46]).to(to);
    let table = |broadcast, multicast| {
        [
            ("broadcast", frame(BROADCAST_MAC), broadcast),
            ("multicast", frame(MULTICAST_MAC), multicast),
            ("unicast", frame(OTHER_MAC), Verdict::Pass),
        ]
    };
    let group = Steering::none().mac(MacAddress(MULTICAST_MAC));
    check_each(&[
        (
            &Steering::none().broadcast(),
            &table(Verdict::Mac, Verdict::Pass),
        ),
        (
            &Steering::none().multicast(),
            &table(Verdict::Pass, Verdict::Mac),
        ),
        (&group, &table(Verdict::Pass, Verdict::Mac)),
    ]);
}

#[test]
fn an_ipv4_address_takes_its_packets_with_options_and_fragments() {
    let options = Ipv4 {
        options: 10,
        ..Ipv4::udp(OUR_V4, 1)
    };
    let fragment = Ipv4 {
        fragment: 0x0010,
        ..Ipv4::udp(OUR_V4, 1)
    };
    let version = Ipv4::udp(OUR_V4, 1);
    let mut wrong = Frame::ipv4(&version);
    wrong.payload[0] = 0x55;
    let mut short = Frame::ipv4(&version);
    short.payload[0] = 0x44;
    check(
        &ours(),
        &[
            ("ours", udp4(OUR_V4, 1), Verdict::Address),
            ("options", Frame::ipv4(&options), Verdict::Address),
            ("a later fragment", Frame::ipv4(&fragment), Verdict::Address),
            ("another's", udp4(OTHER_V4, 1), Verdict::Pass),
            ("not version 4", wrong, Verdict::Pass),
            ("a header of 4 words", short, Verdict::Pass),
        ],
    );
}

#[test]
fn arp_goes_by_its_target_address() {
    let mut other_types = arp(OUR_V4);
    other_types.payload[1] = 6;
    let mut other_lengths = arp(OUR_V4);
    other_lengths.payload[4] = 8;
    let mut reply = arp(OUR_V4).to(OUR_MAC);
    reply.payload[7] = 2;
    check(
        &ours(),
        &[
            ("a request for ours", arp(OUR_V4), Verdict::Neighbour),
            ("a reply to ours", reply, Verdict::Neighbour),
            (
                "a request, tagged",
                arp(OUR_V4).tag(0x8100, 7),
                Verdict::Neighbour,
            ),
            ("a request for another", arp(OTHER_V4), Verdict::Pass),
            ("not Ethernet", other_types, Verdict::Pass),
            ("other lengths", other_lengths, Verdict::Pass),
        ],
    );
}

#[test]
fn neighbour_discovery_goes_by_its_target_address() {
    let nd = |kind, target| Frame::ipv6(&Ipv6::neighbour(kind, target));
    let hop_by_hop = Ipv6::neighbour(135, OUR_V6).behind(Extension::Options(0, 0));
    check(
        &ours(),
        &[
            (
                "a solicitation of ours",
                nd(135, OUR_V6),
                Verdict::Neighbour,
            ),
            (
                "an advertisement of ours",
                nd(136, OUR_V6),
                Verdict::Neighbour,
            ),
            (
                "behind options",
                Frame::ipv6(&hop_by_hop),
                Verdict::Neighbour,
            ),
            (
                "a solicitation of another",
                nd(135, OTHER_V6),
                Verdict::Pass,
            ),
            ("a router's advertisement", nd(134, OUR_V6), Verdict::Pass),
        ],
    );
}

#[test]
fn an_ipv6_address_takes_its_packets_whatever_headers_follow() {
    let plain = || Ipv6::udp(OUR_V6, 1);
    let deep = (0..9).fold(plain(), |packet, _| {
        packet.behind(Extension::Options(60, 0))
    });
    let fragment = plain().behind(Extension::Fragment(0x0100));
    check(
        &ours(),
        &[
            ("ours", Frame::ipv6(&plain()), Verdict::Address),
            ("nine headers", Frame::ipv6(&deep), Verdict::Address),
            ("a fragment", Frame::ipv6(&fragment), Verdict::Address),
            (
                "another's",
                Frame::ipv6(&Ipv6::udp(OTHER_V6, 1)),
                Verdict::Pass,
            ),
        ],
    );
}

#[test]
fn a_network_is_taken_but_for_the_longer_prefix_in_it() {
    let network = IpPrefix::new(OUR_V4.into(), 24).unwrap();
    let steering = Steering::none()
        .address(network)
        .ports_only_to(OTHER_V4)
        .ports(PortRule::new(Transport::Udp, 53..=53));
    check(
        &steering,
        &[
            (
                "in the network",
                udp4(Ipv4Addr::new(10, 0, 0, 77), 1),
                Verdict::Address,
            ),
            (
                "the one address, its port",
                udp4(OTHER_V4, 53),
                Verdict::Port,
            ),
            (
                "the one address, another port",
                udp4(OTHER_V4, 54),
                Verdict::Pass,
            ),
            ("ARP for the one address", arp(OTHER_V4), Verdict::Pass),
            (
                "outside, that port",
                udp4(Ipv4Addr::new(10, 0, 1, 1), 53),
                Verdict::Pass,
            ),
        ],
    );
}

#[test]
fn a_port_rule_takes_its_range_and_protocol_to_any_address() {
    let tcp = Ipv4 {
        protocol: 6,
        ..Ipv4::udp(OUR_V4, 9000)
    };
    let options = Ipv4 {
        options: 3,
        ..Ipv4::udp(OUR_V4, 9000)
    };
    check(
        &udp_ports(),
        &[
            ("the first port", udp4(OUR_V4, 9000), Verdict::Port),
            ("the last port", udp4(OTHER_V4, 9099), Verdict::Port),
            ("the port before", udp4(OUR_V4, 8999), Verdict::Pass),
            ("the port after", udp4(OUR_V4, 9100), Verdict::Pass),
            ("another protocol", Frame::ipv4(&tcp), Verdict::Pass),
            ("behind options", Frame::ipv4(&options), Verdict::Port),
            (
                "IPv6",
                Frame::ipv6(&Ipv6::udp(OTHER_V6, 9050)),
                Verdict::Port,
            ),
            ("ARP", arp(OUR_V4), Verdict::Pass),
        ],
    );
}

#[test]
fn fragments_pass_a_port_rule_unless_it_takes_them() {
    let first = Ipv4 {
        fragment: 0x2000,
        ..Ipv4::udp(OUR_V4, 9000)
    };
    let later = Ipv4 {
        fragment: 0x0010,
        ..Ipv4::udp(OUR_V4, 9000)
    };
    let first6 = Ipv6::udp(OUR_V6, 9000).behind(Extension::Fragment(0x0001));
    let later6 = Ipv6::udp(OUR_V6, 1).behind(Extension::Fragment(0x0100));
    let atomic = Ipv6::udp(OUR_V6, 9000).behind(Extension::Fragment(0));
    let frames = [
        Frame::ipv4(&first),
        Frame::ipv4(&later),
        Frame::ipv6(&first6),
        Frame::ipv6(&later6),
    ];
    let steering = |fragments| {
        let rule = PortRule::new(Transport::Udp, 9000..=9099);
        Steering::none().ports(rule.fragments(fragments))
    };
    let table = |expected| {
        let fragment = |frame: &Frame| ("a fragment", frame.clone(), expected);
        let mut table: Vec<Row> = frames.iter().map(fragment).collect();
        table.push(("a whole packet", Frame::ipv6(&atomic), Verdict::Port));
        table
    };
    check_each(&[
        (&steering(Fragments::Pass), &table(Verdict::PassFragment)),
        (&steering(Fragments::Take), &table(Verdict::Fragment)),
    ]);
}

#[test]
fn a_protocol_rule_takes_packets_without_ports_and_fragments() {
    let of = |protocol, fragment| {
        Frame::ipv4(&Ipv4 {
            protocol,
            fragment,
            ..Ipv4::udp(OTHER_V4, 0)
        })
    };
    check(
        &Steering::none().protocol(1).protocol(17),
        &[
            ("ICMP", of(1, 0), Verdict::Port),
            ("UDP to any port", udp4(OUR_V4, 4711), Verdict::Port),
            ("a fragment", of(1, 0x2000), Verdict::Fragment),
            ("TCP", of(6, 0), Verdict::Pass),
        ],
    );
}

#[test]
fn ports_are_found_behind_extension_headers_up_to_six() {
    let behind = |count| {
        let kinds = [0, 60, 43];
        let extension = |index: usize| Extension::Options(kinds[index % 3], (index % 2) as u8);
        let packet = Ipv6::udp(OUR_V6, 9000);
        Frame::ipv6(&(0..count).fold(packet, |packet, index| packet.behind(extension(index))))
    };
    check(
        &udp_ports(),
        &[
            ("one", behind(1), Verdict::Port),
            ("six", behind(6), Verdict::Port),
            ("seven", behind(7), Verdict::PassTruncated),
        ],
    );
}

#[test]
fn headers_are_found_behind_two_tags_and_not_behind_three() {
    let frame = || udp4(OUR_V4, 9000);
    check(
        &udp_ports(),
        &[
            ("one tag", frame().tag(0x8100, 5), Verdict::Port),
            ("QinQ", frame().tag(0x88a8, 5).tag(0x8100, 6), Verdict::Port),
            (
                "two of 802.1Q",
                frame().tag(0x8100, 5).tag(0x8100, 6),
                Verdict::Port,
            ),
            (
                "three",
                frame().tag(0x88a8, 5).tag(0x8100, 6).tag(0x8100, 7),
                Verdict::Pass,
            ),
        ],
    );
}

#[test]
fn the_outer_vlan_decides_whether_the_rules_hold() {
    let frame = || udp4(OUR_V4, 9000);
    let qinq = || frame().tag(0x88a8, 5).tag(0x8100, 6);
    let of_five = [
        ("its VLAN", frame().tag(0x8100, 5), Verdict::Port),
        ("outside of another", qinq(), Verdict::Port),
        ("another VLAN", frame().tag(0x8100, 6), Verdict::PassVlan),
        ("untagged", frame(), Verdict::PassVlan),
    ];
    let of_none = [
        ("untagged", frame(), Verdict::Port),
        ("a priority tag", frame().tag(0x8100, 0), Verdict::Port),
        ("a VLAN", frame().tag(0x8100, 5), Verdict::PassVlan),
    ];
    check_each(&[
        (&udp_ports().vlans(Vlans::Id(5)), &of_five),
        (&udp_ports().vlans(Vlans::Untagged), &of_none),
    ]);
}

#[test]
fn a_frame_cut_at_any_length_passes_until_its_headers_are_whole() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    let options = Ipv4 {
        options: 10,
        ..Ipv4::udp(OUR_V4, 9000)
    };
    let deep = Ipv6::udp(OUR_V6, 9000)
        .behind(Extension::Options(0, 1))
        .behind(Extension::Fragment(0));
    // Each with the bytes behind its tags that its verdict needs.
    let by_port = [
        (
            Frame::ipv4(&options).tag(0x88a8, 5).tag(0x8100, 6),
            22 + 60 + 4,
        ),
        (Frame::ipv6(&deep), 14 + 40 + 16 + 8 + 4),
    ];
    let by_address = [
        (arp(OUR_V4), 14 + 28),
        (udp4(OUR_V4, 1), 14 + 20),
        (Frame::ipv6(&Ipv6::udp(OUR_V6, 1)), 14 + 40),
    ];
    for (steering, table) in [(udp_ports(), &by_port[..]), (ours(), &by_address[..])] {
        filter.steer(&steering);
        for (frame, needed) in table {
            let bytes = frame.bytes();
            for len in 14..=bytes.len() {
                let verdict = filter.judge(&bytes[..len]);
                assert_eq!(verdict.is_ours(), len >= *needed, "{frame:?} at {len}");
                let cut = verdict == Verdict::PassTruncated;
                assert_eq!(cut, len < *needed, "{frame:?} at {len}");
            }
        }
    }
}

#[test]
fn an_update_takes_the_old_rules_out_of_force() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    let (first, second) = (udp4(OUR_V4, 9000), udp4(OUR_V4, 53));
    let other = Steering::none().ports(PortRule::new(Transport::Udp, 53..=53));
    for _ in 0..3 {
        filter.steer(&udp_ports());
        assert_eq!(filter.judge_frame(&first), Verdict::Port);
        assert_eq!(filter.judge_frame(&second), Verdict::Pass);
        filter.steer(&other);
        assert_eq!(filter.judge_frame(&first), Verdict::Pass);
        assert_eq!(filter.judge_frame(&second), Verdict::Port);
    }
}

#[test]
fn no_frame_finds_the_tables_empty_while_they_are_updated() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    // Each update has the rule in question, and others that differ.
    let steering = |round: u16| {
        let mut steering = ours().ports(PortRule::new(Transport::Tcp, round..=round + 200));
        for last in 0..=(round % 50) as u8 {
            steering = steering.address(Ipv4Addr::new(192, 0, 2, last));
        }
        steering
    };
    filter.steer(&steering(0));
    let frame = udp4(OUR_V4, 1).bytes();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..100 {
                filter.steer(&steering(round));
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            // One frame a call: for several the kernel would patch its code first,
            // and hardly ever run the program.
            filter.program.test_run(&frame, 1).unwrap();
        }
    });
    let counters = filter.program.counters().unwrap();
    assert!(counters.of(Verdict::Address) > 0);
    assert_eq!(counters.ours(), counters.of(Verdict::Address));
    let passed: u64 = counters.iter().map(|(_, count)| count).sum();
    assert_eq!(passed, counters.ours());
}

#[test]
fn an_update_that_does_not_fit_leaves_the_old_rules_in_force() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    filter.steer(&udp_ports());
    let too_many = (0..70_000_u32).fold(Steering::none(), |steering, index| {
        steering.mac(MacAddress([
            2,
            0,
            0,
            (index >> 16) as u8,
            (index >> 8) as u8,
            index as u8,
        ]))
    });
    let refused = filter.program.update(&too_many);
    assert!(matches!(refused, Err(MapError::Full { .. })), "{refused:?}");
    assert_eq!(filter.judge_frame(&udp4(OUR_V4, 9000)), Verdict::Port);
    filter.steer(&ours());
    assert_eq!(filter.judge_frame(&udp4(OUR_V4, 9000)), Verdict::Address);
}

#[test]
fn a_queue_without_a_socket_lets_its_frames_pass() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    filter.steer(&Steering::all());
    filter.program.xsk_map().remove(0).unwrap();
    let frame = Frame::new(0, vec![0; 46]);
    assert_eq!(filter.judge_frame(&frame), Verdict::PassNoSocket);
}

#[test]
fn an_xskmap_takes_xdp_sockets_for_its_queues_alone() {
    let map = match XskMap::new(2) {
        Ok(map) => map,
        Err(reason) => return skip(reason),
    };
    let Some(socket) = bpf_support::xdp_socket() else {
        return skip("no AF_XDP sockets here");
    };
    assert_eq!(map.queues(), 2);
    map.insert(1, socket.as_fd()).unwrap();
    let beyond = map.insert(2, socket.as_fd());
    assert!(
        matches!(beyond, Err(MapError::Full { entries: 2, .. })),
        "{beyond:?}"
    );
    let (other, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let wrong = map.insert(0, other.as_fd());
    assert_eq!(wrong, Err(MapError::NoXdpSocket { queue: 0 }));
    map.remove(1).unwrap();
    assert!(map.remove(2).is_err());
}

#[test]
fn a_jumbo_frame_is_judged_by_its_headers_even_behind_the_first_buffer() {
    let filter = match Filter::new(MultiBuffer::Yes) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    filter.steer(&udp_ports());
    let mut payload = ports(9000);
    payload.resize(8900, 7);
    let jumbo = Frame::ipv4(&Ipv4 {
        payload,
        ..Ipv4::udp(OUR_V4, 9000)
    });
    assert_eq!(filter.judge_frame(&jumbo), Verdict::Port);
    // Two headers of 2 KiB push the ports out of the first buffer, a page.
    let far = (0..2).fold(Ipv6::udp(OUR_V6, 9000), |packet, _| {
        packet.behind(Extension::Options(60, 255))
    });
    assert_eq!(filter.judge_frame(&Frame::ipv6(&far)), Verdict::Port);
}

#[test]
fn a_program_that_was_handed_over_can_be_steered_and_read() {
    let filter = match Filter::new(MultiBuffer::No) {
        Ok(filter) => filter,
        Err(reason) => return skip(reason),
    };
    filter.steer(&udp_ports());
    let Filter { program, .. } = &filter;
    let copy = duplicate(program);
    // The generation in force is the other one than at the beginning.
    copy.update(&ours()).unwrap();
    assert_eq!(filter.judge_frame(&udp4(OUR_V4, 1)), Verdict::Address);
    assert_eq!(copy.counters().unwrap().of(Verdict::Address), 1);
    let result = copy.test_run(&udp4(OTHER_V4, 9000).bytes(), 1).unwrap();
    assert_eq!(result.action, XdpAction::Pass);
}

#[test]
fn descriptors_in_the_wrong_order_are_refused() {
    let program = match Program::load(&ProgramOptions::default()) {
        Ok(program) => program,
        Err(reason) => return skip(reason),
    };
    let mut fds = program.into_fds();
    fds.swap(1, 2);
    let refused = Program::from_fds(fds);
    assert!(
        matches!(refused, Err(MapError::Foreign { .. })),
        "{refused:?}"
    );
}

/// What another process gets by SCM_RIGHTS: descriptors of the same objects.
fn duplicate(program: &Program) -> Program {
    let fds = program.as_fds().map(|fd| fd.try_clone_to_owned().unwrap());
    Program::from_fds(fds).unwrap()
}
