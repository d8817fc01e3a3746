//! The generator in the kernel, into a veth whose other end counts.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod bpf_support;
mod bpf_veth;
mod support;

use bpf_support::frames::{Frame, Ipv4, OUR_V4, ports};
use bpf_veth::on_veth;
use softnet_af_xdp::bpf::{
    AttachMode, AttachOptions, Generator, GeneratorError, GeneratorOptions, Link, PortRule,
    Program, ProgramOptions, SourcePorts, Steering, Transport, Verdict,
};
use std::time::{Duration, Instant};

/// The receiver: a program that counts frames to UDP port 9000 as taken (there is
/// no socket, so they pass), and nothing else.
fn receiver(ifindex: u32) -> (Program, Link) {
    let program = Program::load(&ProgramOptions::default()).unwrap();
    let rule = PortRule::new(Transport::Udp, 9000..=9000);
    program.update(&Steering::none().ports(rule)).unwrap();
    let options = AttachOptions {
        mode: AttachMode::Driver,
        ..AttachOptions::default()
    };
    let link = program.attach(ifindex, options).unwrap();
    (program, link)
}

/// Waits until the receiver has counted so many frames; the last ones are still
/// on their way when the sender returns.
fn wait_for(program: &Program, frames: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while program.counters().unwrap().of(Verdict::PassNoSocket) < frames {
        assert!(Instant::now() < deadline, "{:?}", program.counters());
        std::thread::yield_now();
    }
}

fn template() -> Vec<u8> {
    let mut payload = ports(9000);
    payload.resize(60, 7);
    Frame::ipv4(&Ipv4 {
        payload,
        ..Ipv4::udp(OUR_V4, 9000)
    })
    .bytes()
}

#[test]
fn every_frame_of_the_generator_reaches_the_other_end() {
    on_veth(|veth| {
        let (program, _link) = receiver(veth.b);
        let generator = Generator::new(veth.a, &template(), GeneratorOptions::default());
        let generator = generator.unwrap();
        // Few enough that the ring of the receiver, 256, cannot run over.
        for round in 1..=20 {
            generator.send(100).unwrap();
            wait_for(&program, round * 100);
        }
        let counters = program.counters().unwrap();
        assert_eq!(counters.of(Verdict::PassNoSocket), 2000);
    });
}

#[test]
fn the_generators_frames_are_the_template_with_source_ports_in_turn() {
    on_veth(|veth| {
        let (_program, _link) = receiver(veth.b);
        let socket = packet_socket(veth.b);
        let template = with_checksum();
        let options = GeneratorOptions {
            source_ports: Some(SourcePorts {
                first: 65_534,
                count: 3,
            }),
            ..GeneratorOptions::default()
        };
        let generator = Generator::new(veth.a, &template, options).unwrap();
        generator.send(6).unwrap();
        let expected = [65_534, 65_535, 0].map(u16::to_be_bytes);
        for index in 0..6 {
            let mut frame = receive(&socket, &template);
            assert_eq!(frame[34..36], expected[index % 3]);
            assert_eq!(udp_sum(&frame), 0xffff, "{frame:02x?}");
            // Apart from the port and the checksum it is the template.
            frame[34..36].copy_from_slice(&template[34..36]);
            frame[40..42].copy_from_slice(&template[40..42]);
            assert_eq!(frame, template);
        }
    });
}

#[test]
fn a_generator_needs_an_interface_and_ports_to_vary() {
    on_veth(|veth| {
        let missing = Generator::new(9999, &template(), GeneratorOptions::default());
        assert!(
            matches!(missing, Err(GeneratorError::NoInterface(9999))),
            "{missing:?}"
        );
        let options = GeneratorOptions {
            source_ports: Some(SourcePorts { first: 1, count: 2 }),
            ..GeneratorOptions::default()
        };
        let none = Generator::new(veth.a, &[0; 64], options);
        assert!(matches!(none, Err(GeneratorError::NoPorts)), "{none:?}");
    });
}

/// The template with its UDP checksum.
fn with_checksum() -> Vec<u8> {
    let mut frame = template();
    let sum = !udp_sum(&frame);
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The sum over the pseudo-header and the datagram: 0xffff if it is right.
fn udp_sum(frame: &[u8]) -> u16 {
    let datagram = &frame[34..];
    let pseudo = 17 + datagram.len() as u32;
    let words = frame[26..34].chunks(2).chain(datagram.chunks(2));
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum = words.map(word).sum::<u32>() + pseudo;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::os::fd::{AsRawFd, OwnedFd};

/// A packet(7) socket for all frames of an interface.
fn packet_socket(ifindex: u32) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).unwrap();
    let all = libc::ETH_P_ALL as u16;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: all.to_be(),
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer is to a `sockaddr_ll` of that length.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(len)) };
    bind(socket.as_raw_fd(), &address.unwrap()).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(20, 0)).unwrap();
    socket
}

/// The next frame as long as the template: the kernel's own are none of ours.
fn receive(socket: &OwnedFd, template: &[u8]) -> Vec<u8> {
    let mut frame = [0; 2048];
    loop {
        let len = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap();
        if len == template.len() && frame[..12] == template[..12] {
            return frame[..len].to_vec();
        }
    }
}
