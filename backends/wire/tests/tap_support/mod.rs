//! What the TAP tests stand on: a small runner, frames, and a peer that answers
//! ARP and ICMP echo requests.

use softnet_nic_hal::MacAddress;
use softnet_nic_hal::wire::Wire;
use std::net::Ipv4Addr;
use std::panic::catch_unwind;

pub(crate) const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 255);

/// `Err` is the reason for which a test was skipped.
pub(crate) type RunResult = Result<(), &'static str>;
pub(crate) type Check = (&'static str, fn() -> RunResult);

pub(crate) const fn skip(reason: &'static str) -> RunResult {
    Err(reason)
}

/// Runs the tests whose names have the first argument in them, one after the
/// other, and ends the process with a failure if one fails.
pub(crate) fn run_all(checks: &[Check], unusable: Option<&str>) {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'));
    let wanted = arguments.next().unwrap_or_default();
    let list = std::env::args().any(|word| word == "--list");
    let mut failures = 0;
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(&wanted)) {
        match unusable {
            _ if list => println!("{name}: test"),
            Some(reason) => println!("test {name} ... skipped: {reason}"),
            None => failures += usize::from(!run(name, *check)),
        }
    }
    assert_eq!(failures, 0, "tests failed");
}

fn run(name: &str, check: fn() -> RunResult) -> bool {
    match catch_unwind(check) {
        Ok(Ok(())) => println!("test {name} ... ok"),
        Ok(Err(reason)) => println!("test {name} ... skipped: {reason}"),
        Err(_) => {
            println!("test {name} ... FAILED");
            return false;
        }
    }
    true
}

pub(crate) fn counter(wire: &dyn Wire, wanted: &str) -> u64 {
    let mut found = None;
    wire.counters(&mut |name, value| {
        if name == wanted {
            found = Some(value);
        }
    });
    found.unwrap_or_else(|| panic!("there is no counter {wanted}"))
}

pub(crate) fn drain(wire: &mut dyn Wire) -> usize {
    let mut total = 0;
    loop {
        match wire.receive(0, 64, &mut |_| {}) {
            0 => return total,
            count => total += count,
        }
    }
}

/// A UDP datagram from the peer to the kernel, without UDP checksum.
pub(crate) fn udp_frame(kernel: MacAddress, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(kernel.0);
    frame.extend([2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    let total = 28 + payload.len() as u16;
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    header.extend(PEER.octets());
    header.extend(KERNEL.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend(4000_u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The peer: it answers ARP requests for its address and ICMP echo requests.
pub(crate) struct Answers {
    mac: MacAddress,
    replies: Vec<Vec<u8>>,
}

impl Answers {
    pub(crate) const fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            replies: Vec::new(),
        }
    }

    pub(crate) fn serve(&mut self, wire: &mut dyn Wire) {
        let (mac, replies) = (self.mac, &mut self.replies);
        wire.receive(0, 64, &mut |frame| replies.extend(answer(mac, frame)));
        for reply in replies.drain(..) {
            wire.transmit(&reply, 0).unwrap();
        }
        wire.flush(0);
    }
}

fn answer(mac: MacAddress, frame: &[u8]) -> Option<Vec<u8>> {
    match (frame.get(12)?, frame.get(13)?) {
        (0x08, 0x06) => answer_arp(mac, frame),
        (0x08, 0x00) => answer_echo(frame),
        _ => None,
    }
}

/// RFC 826: the reply swaps sender and target.
fn answer_arp(mac: MacAddress, frame: &[u8]) -> Option<Vec<u8>> {
    if frame.get(20..22)? != [0, 1] || frame.get(38..42)? != PEER.octets() {
        return None;
    }
    let mut reply = Vec::new();
    reply.extend(&frame[6..12]);
    reply.extend(mac.0);
    reply.extend(&frame[12..20]);
    reply.extend([0, 2]);
    reply.extend(mac.0);
    reply.extend(PEER.octets());
    reply.extend(&frame[22..32]);
    Some(reply)
}

/// RFC 792: the reply swaps the addresses and has type 0.
fn answer_echo(frame: &[u8]) -> Option<Vec<u8>> {
    if *frame.get(23)? != 1 || *frame.get(34)? != 8 {
        return None;
    }
    let mut reply = frame.to_vec();
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&frame[..6]);
    reply[26..30].copy_from_slice(&frame[30..34]);
    reply[30..34].copy_from_slice(&frame[26..30]);
    reply[34] = 0;
    reply[36..38].fill(0);
    let sum = checksum(&reply[34..]);
    reply[36..38].copy_from_slice(&sum.to_be_bytes());
    Some(reply)
}
