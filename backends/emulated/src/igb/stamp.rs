//! Which packets are stamped as they arrive (section 7.9.3): those of the
//! precision time protocol (IEEE 1588), one at a time.

use super::chip::Chip;
use super::packet::Verdict;
use super::regs::offset;
use crate::offload::{Headers, TAG_LEN, Transport};

/// Bits of TSYNCRXCTL (section 8.16.1): valid, and enable.
pub(super) const VALID: u32 = 1;
const ENABLE: u32 = 1 << 4;

/// The types of packets that TSYNCRXCTL chooses.
mod kind {
    pub(super) const L2_V2: u32 = 0;
    pub(super) const L4_V1: u32 = 1;
    pub(super) const L2_L4_V2: u32 = 2;
    /// All event messages of version 2.
    pub(super) const EVENT_V2: u32 = 5;
}

/// UDP's port for event messages.
const EVENT_PORT: u16 = 319;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Whether any packet would be stamped now.
#[inline]
pub(super) fn wanted(chip: &Chip) -> bool {
    chip.registers.load(offset::TSYNCRXCTL) & (ENABLE | VALID) == ENABLE
}

/// Stamps a packet, if it is one to be stamped and the last stamp was read.
/// Returns whether it did.
#[cold]
pub(super) fn stamp(chip: &Chip, frame: &[u8], verdict: &Verdict, now_ns: u64) -> bool {
    let registers = &chip.registers;
    let tpid = registers.load(offset::VET) as u16;
    let Some(message) = message(frame, verdict, tpid) else {
        return false;
    };
    let kind = registers.load(offset::TSYNCRXCTL) >> 1 & 7;
    if !wanted(chip) || !message.matches(kind, registers.load(offset::TSYNCRXCFG)) {
        return false;
    }
    let systim = chip.slow().clock.systim(now_ns);
    let [a, b, c, d, e, f] = message.source;
    let [high, low] = message.sequence;
    for (at, value) in [
        (offset::RXSTMPL, systim as u32),
        (offset::RXSTMPH, (systim >> 32) as u32),
        (offset::RXSATRL, u32::from_le_bytes([a, b, c, d])),
        (offset::RXSATRH, u32::from_le_bytes([e, f, high, low])),
    ] {
        registers.set(at, value);
    }
    registers.set_bits(offset::TSYNCRXCTL, VALID);
    true
}

/// What matters of a message, whose header has the same length in both versions.
struct Message {
    over_udp: bool,
    version: u8,
    /// The message type of version 2, and the control field of version 1.
    kind: u8,
    control: u8,
    source: [u8; 6],
    sequence: [u8; 2],
}

fn message(frame: &[u8], verdict: &Verdict, tpid: u16) -> Option<Message> {
    let at = if verdict.stamp {
        ETHERNET + if verdict.tci.is_some() { TAG_LEN } else { 0 }
    } else {
        after_event_port(frame, &Headers::parse(frame, tpid)?)?
    };
    let header: &[u8; 33] = frame.get(at..)?.first_chunk()?;
    Some(Message {
        over_udp: !verdict.stamp,
        version: header[1] & 0xf,
        kind: header[0],
        control: header[32],
        source: *header[22..].first_chunk()?,
        sequence: *header[30..].first_chunk()?,
    })
}

/// Where a datagram's data is, if it is for the event port.
fn after_event_port(frame: &[u8], headers: &Headers) -> Option<usize> {
    let port = frame.get(headers.transport_at + 2..)?.first_chunk()?;
    let udp = headers.transport == Transport::Udp && !headers.fragment;
    let event = udp && u16::from_be_bytes(*port) == EVENT_PORT;
    event.then_some(headers.transport_at + 8)
}

impl Message {
    /// CTRLT is in the lower byte of TSYNCRXCFG, MSGT in the one above it.
    fn matches(&self, kind: u32, configuration: u32) -> bool {
        let [control, message, ..] = configuration.to_le_bytes();
        match kind {
            kind::L2_V2 => !self.over_udp && self.version == 2 && self.kind == message,
            kind::L4_V1 => self.over_udp && self.version == 1 && self.control == control,
            kind::L2_L4_V2 => self.version == 2 && self.kind == message,
            kind::EVENT_V2 => self.version == 2 && self.kind & 8 == 0,
            _ => false,
        }
    }
}
