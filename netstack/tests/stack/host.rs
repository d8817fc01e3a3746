//! A stack with a `LoopNic`, and packets built by hand, not by the code under
//! test.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use softnet_dma_ring::PoolConfig;
use softnet_netstack::rss::Rss;
use softnet_netstack::{
    DropReason, IfIndex, NicOptions, Snmp, Stack, StackConfig, UdpOptions, UdpSocket,
};
use softnet_nic_hal::testing::{Injection, LoopConfig, LoopNic, LoopPort};
use softnet_nic_hal::{MacAddress, QueueId};
use softnet_softirq::{Clock, VirtualClock};
use std::sync::Arc;

pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xee, 0x01];
pub(crate) const QUEUE: QueueId = QueueId(0);
pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) struct Host {
    pub(crate) stack: Stack,
    pub(crate) port: LoopPort,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) dev: IfIndex,
    pub(crate) mac: MacAddress,
}

/// What of a host is not the default.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) cpus: usize,
    pub(crate) frames: u32,
    pub(crate) queues: u16,
    pub(crate) nic: NicOptions,
    pub(crate) rss: Option<Rss>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            cpus: 1,
            frames: 4096,
            queues: 1,
            nic: NicOptions::default(),
            rss: None,
        }
    }
}

impl Host {
    pub(crate) fn new(cpus: usize) -> Self {
        Self::with(&Shape {
            cpus,
            ..Shape::default()
        })
    }

    pub(crate) fn with(shape: &Shape) -> Self {
        let clock = Arc::new(VirtualClock::new(SECOND));
        let config = StackConfig {
            cpus: shape.cpus,
            frame_cache: 16,
            pool: PoolConfig {
                frames: shape.frames,
                ..PoolConfig::default()
            },
            rss: shape.rss.clone(),
            ..StackConfig::default()
        };
        let source: Arc<dyn Clock> = clock.clone();
        let mut stack = Stack::new(&config, &source).unwrap();
        let loop_config = LoopConfig {
            queues: shape.queues,
            ..LoopConfig::default()
        };
        let (nic, port) = LoopNic::new(loop_config);
        let dev = stack.add_nic(nic, &shape.nic).unwrap();
        stack.add_address(dev, IpAddr::V4(OURS), 24).unwrap();
        stack.run_until_idle();
        Self {
            stack,
            port,
            clock,
            dev,
            mac: loop_config.mac,
        }
    }

    pub(crate) fn knows_peer(mut self) -> Self {
        self.stack
            .add_neighbour(self.dev, PEER, MacAddress(PEER_MAC))
            .unwrap();
        self
    }

    pub(crate) fn bind(&mut self, port: u16) -> UdpSocket {
        self.bind_with(OURS, port, &UdpOptions::default())
    }

    pub(crate) fn bind_with(&mut self, ip: Ipv4Addr, port: u16, options: &UdpOptions) -> UdpSocket {
        let address = SocketAddr::new(IpAddr::V4(ip), port);
        self.stack.udp_bind(address, options).unwrap()
    }

    pub(crate) fn receive(&mut self, frame: &[u8]) -> Injection {
        let injection = self.port.inject(QUEUE, frame);
        self.stack.run_until_idle();
        injection
    }

    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.port
            .transmitted(QUEUE, 64, |bytes| frames.push(bytes.to_vec()));
        self.stack.run_until_idle();
        frames
    }

    /// Sends from a socket, and returns what came to the wire.
    pub(crate) fn send(
        &mut self,
        socket: &mut UdpSocket,
        payload: &[u8],
        to: SocketAddr,
    ) -> Vec<Vec<u8>> {
        socket.try_send_to(payload, to).unwrap();
        self.stack.run_until_idle();
        self.sent()
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn advance(&mut self, ns: u64) {
        let end = self.clock.now_ns() + ns;
        while let Some(next) = self.stack.run_until_idle().filter(|&next| next <= end) {
            self.clock.set(next.max(self.clock.now_ns() + 1));
        }
        self.clock.set(end);
        self.stack.run_until_idle();
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.over_cpus(|cpu| self.stack.counters(cpu).unwrap().drops.load(reason))
    }

    pub(crate) fn all_drops(&self) -> u64 {
        self.over_cpus(|cpu| self.stack.counters(cpu).unwrap().drops.total())
    }

    pub(crate) fn rx_drops(&self) -> u64 {
        self.over_cpus(|cpu| self.stack.counters(cpu).unwrap().rx_drops.total())
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.over_cpus(|cpu| self.stack.counters(cpu).unwrap().delivered())
    }

    pub(crate) fn snmp(&self, counter: Snmp) -> u64 {
        self.over_cpus(|cpu| self.stack.counters(cpu).unwrap().snmp.value(counter))
    }

    fn over_cpus(&self, of: impl Fn(usize) -> u64) -> u64 {
        (0..self.stack.cpus()).map(of).sum()
    }
}

pub(crate) fn peer(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(PEER), port)
}

pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet in an Ethernet frame, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) to_mac: [u8; 6],
    pub(crate) ether_type: u16,
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// A multiple of 4 bytes, at most 40.
    pub(crate) options: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// From the peer to this host.
    pub(crate) fn new(protocol: u8, body: &[u8]) -> Self {
        Self {
            to_mac: OUR_MAC,
            ether_type: 0x0800,
            fragment: 0x4000,
            ttl: 64,
            protocol,
            source: PEER,
            destination: OURS,
            options: Vec::new(),
            body: body.to_vec(),
        }
    }

    pub(crate) fn udp(from: u16, to: u16, payload: &[u8]) -> Self {
        let mut body = Vec::new();
        for word in [from, to, (payload.len() + 8) as u16, 0] {
            body.extend(word.to_be_bytes());
        }
        body.extend(payload);
        Self::new(17, &body)
    }

    pub(crate) fn icmp(message: &[u8]) -> Self {
        let mut body = message.to_vec();
        let sum = checksum(&[&body]);
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        Self::new(1, &body)
    }

    pub(crate) fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = source;
        self
    }

    pub(crate) fn to(mut self, destination: Ipv4Addr) -> Self {
        self.destination = destination;
        self
    }

    pub(crate) fn framed_to(mut self, mac: [u8; 6]) -> Self {
        self.to_mac = mac;
        self
    }

    /// The frame, with the checksums of IP and, if it is UDP, of UDP.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let total = words * 4 + self.body.len();
        let mut header = vec![0x40 | words as u8, 0];
        header.extend((total as u16).to_be_bytes());
        header.extend([0, 1]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let ether_type = self.ether_type.to_be_bytes();
        let frame = [
            &self.to_mac[..],
            &PEER_MAC,
            &ether_type,
            &header,
            &self.body,
        ];
        let mut frame = frame.concat();
        fix_ip_checksum(&mut frame);
        if self.protocol == 17 {
            fix_udp_checksum(&mut frame);
        }
        frame
    }
}

/// Computes the IP header's checksum, if there is a header.
pub(crate) fn fix_ip_checksum(frame: &mut [u8]) {
    let len = frame.get(14).map_or(0, |first| usize::from(first & 15) * 4);
    if len >= 20
        && let Some(header) = frame.get_mut(14..14 + len)
    {
        header[10..12].fill(0);
        let sum = checksum(&[header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Computes the UDP checksum over the UDP length, if that lies in the frame.
pub(crate) fn fix_udp_checksum(frame: &mut [u8]) {
    let start = 14 + frame.get(14).map_or(0, |first| usize::from(first & 15) * 4);
    let Some(&[high, low]) = frame.get(start + 4..start + 6) else {
        return;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < 8 || frame.len() < start + len || start < 34 {
        return;
    }
    frame[start + 6..start + 8].fill(0);
    let pseudo = [&frame[26..34], &[0, 17, high, low]].concat();
    let sum = match checksum(&[&pseudo, &frame[start..start + len]]) {
        0 => 0xffff,
        sum => sum,
    };
    frame[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
}

/// A datagram from the peer to this host.
pub(crate) fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    Packet::udp(from, to, payload).emit()
}

/// An echo request from the peer.
pub(crate) fn ping(data: &[u8]) -> Vec<u8> {
    Packet::icmp(&[&[8, 0, 0, 0, 0x12, 0x34, 0, 1], data].concat()).emit()
}

/// An ARP packet: 1 asks, 2 answers.
pub(crate) fn arp(
    operation: u8,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
) -> Vec<u8> {
    let to = if operation == 1 { [0xff; 6] } else { target.0 };
    let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let mut frame = [&to[..], &sender.0, &head, &sender.0].concat();
    frame.extend(sender.1.octets());
    frame.extend(target.0);
    frame.extend(target.1.octets());
    frame
}

/// The peer's answer to this host's question.
pub(crate) fn arp_answer() -> Vec<u8> {
    arp(2, (PEER_MAC, PEER), (OUR_MAC, OURS))
}
