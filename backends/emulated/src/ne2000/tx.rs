//! The transmitter, and its loopback modes (chapters 8 and 12).

use super::core::Core;
use super::regs::{Cr, Dcr, Isr, Rsr, Tcr, Tsr};
use softnet_nic_hal::wire::{Wire, WireError};

/// Shortest packet: an Ethernet header.
const HEADER: usize = 14;
const FCS: usize = 4;
/// Longest packet without its FCS: with a VLAN tag. A longer one is jabber, which
/// no station hears.
const MAX_FRAME: usize = 1518;

/// The transmitter's own state.
pub(super) struct Transmitter {
    pub(super) tpsr: u8,
    pub(super) tbcr: u16,
    /// Collisions of the last packet. The wires have none that end well.
    pub(super) ncr: u8,
    state: State,
    ns_per_byte: u64,
    packet: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// TXP was written, and the device has not seen it yet.
    Asked,
    /// The packet is on its way; what comes of it is known.
    UnderWay {
        until_ns: u64,
        status: Tsr,
    },
}

/// What a step of the transmitter came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// There was nothing to send.
    Nothing,
    /// A packet is on the wire.
    OnWire,
    /// The wire refused it.
    Lost,
    /// It is none that a wire could take.
    Discarded,
    /// It stays inside, in loopback.
    Inside,
}

impl Transmitter {
    pub(super) fn new(ns_per_byte: u64) -> Self {
        Self {
            tpsr: 0,
            tbcr: 0,
            ncr: 0,
            state: State::Idle,
            ns_per_byte,
            packet: vec![0; MAX_FRAME + FCS].into(),
        }
    }

    pub(super) fn forget(&mut self) {
        self.state = State::Idle;
    }

    /// Takes a request back that the device has not seen yet.
    pub(super) fn withdraw(&mut self) -> bool {
        let asked = self.state == State::Asked;
        if asked {
            self.state = State::Idle;
        }
        asked
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay { .. })
    }

    /// Whether the device has something to do for it now.
    pub(super) fn is_asked(&self) -> bool {
        self.state == State::Asked
    }

    /// When the packet that is under way will have been sent.
    pub(super) fn due_ns(&self) -> Option<u64> {
        match self.state {
            State::UnderWay { until_ns, .. } => Some(until_ns),
            _ => None,
        }
    }

    /// So much time passes for a packet that is under way.
    pub(super) fn hurry(&mut self, ns: u64) {
        if let State::UnderWay { until_ns, .. } = &mut self.state {
            *until_ns = until_ns.saturating_sub(ns);
        }
    }
}

impl Core {
    /// The transmit command (10.3, "TXP"). It is of no effect while a packet is
    /// under way.
    pub(super) fn ask_transmit(&mut self) {
        self.cr.insert(Cr::TXP);
        if self.tx.state == State::Idle {
            self.tx.state = State::Asked;
            self.tsr = Tsr::empty();
            self.tx.ncr = 0;
        }
    }

    /// Puts the packet on the wire that is to be sent.
    pub(super) fn transmit(&mut self, now_ns: u64, wire: &mut dyn Wire) -> Sent {
        if !self.tx.is_asked() {
            return Sent::Nothing;
        }
        let len = usize::from(self.tx.tbcr);
        let (sent, status) = match self.fetch() {
            Some(frame) if self.tcr.intersects(Tcr::LB) => self.loop_back(frame, now_ns, wire),
            Some(frame) => self.send(&self.tx.packet[..frame], now_ns, wire),
            None => (Sent::Discarded, Tsr::PTX),
        };
        let lasts = self.tx.ns_per_byte.saturating_mul(len as u64);
        self.tx.state = State::UnderWay {
            until_ns: now_ns.saturating_add(lasts),
            status: status | Tsr::ND,
        };
        sent
    }

    /// Copies the packet out of the packet memory. Returns its length without FCS;
    /// `None` when it is no frame: too short, too long, or with a wrong FCS of
    /// the driver's own.
    fn fetch(&mut self) -> Option<usize> {
        let len = usize::from(self.tx.tbcr);
        let start = u16::from(self.tx.tpsr) << 8;
        let packet = self.tx.packet.get_mut(..len)?;
        for (byte, at) in packet.iter_mut().zip(0_u16..) {
            *byte = self.memory.read(start.wrapping_add(at));
        }
        let frame = if self.tcr.contains(Tcr::CRC) {
            let (frame, fcs) = packet.split_last_chunk::<FCS>()?;
            (crc32fast::hash(frame).to_le_bytes() == *fcs).then_some(frame.len())?
        } else {
            len
        };
        (HEADER..=MAX_FRAME).contains(&frame).then_some(frame)
    }

    /// A wire that has no room is a medium that is always busy: sixteen collisions
    /// end the attempt.
    fn send(&self, frame: &[u8], now_ns: u64, wire: &mut dyn Wire) -> (Sent, Tsr) {
        if !wire.carrier() {
            return (Sent::Lost, Tsr::PTX | Tsr::CRS);
        }
        match wire.transmit(frame, now_ns) {
            Ok(()) => (Sent::OnWire, Tsr::PTX),
            Err(WireError::Congested) => (Sent::Lost, Tsr::ABT | Tsr::COL),
            Err(WireError::NoCarrier) => (Sent::Lost, Tsr::PTX | Tsr::CRS),
            Err(_) => (Sent::Lost, Tsr::PTX),
        }
    }

    /// Sends the packet to the receiver's FIFO, where its end stays ("Loopback
    /// Modes", chapter 12): in mode 1 inside of the chip, in mode 2 over the
    /// encoder, in mode 3 over the wire. The receiver takes the transmitter's FCS
    /// for wrong, since both share one CRC generator.
    fn loop_back(&mut self, len: usize, now_ns: u64, wire: &mut dyn Wire) -> (Sent, Tsr) {
        let mode = self.tcr & Tcr::LB;
        let blocked = match mode {
            _ if mode == Tcr::LB0 => Tsr::CDH | Tsr::CRS,
            _ if mode == Tcr::LB1 => Tsr::CDH,
            _ => Tsr::empty(),
        };
        if !self.dcr.contains(Dcr::LS) {
            self.fill_fifo(len);
        }
        if mode != Tcr::LB {
            return (Sent::Inside, Tsr::PTX | blocked);
        }
        self.send(&self.tx.packet[..len], now_ns, wire)
    }

    /// The FIFO's last eight bytes: the end of the packet with its FCS, the low
    /// byte of its length, and the high byte twice.
    fn fill_fifo(&mut self, len: usize) {
        let frame = &self.tx.packet[..len];
        let fcs = crc32fast::hash(frame).to_le_bytes();
        let [low, high] = ((len + FCS) as u16).to_le_bytes();
        let last = frame.last().copied().unwrap_or(0);
        let [a, b, c, d] = fcs;
        self.rsr = match self.accept(frame) {
            Some(status) if self.tcr.contains(Tcr::CRC) => status | Rsr::PRX,
            _ => Rsr::CRC,
        };
        self.fifo.fill([last, a, b, c, d, low, high, high]);
    }

    /// Ends the transmission whose time has come.
    pub(super) fn finish_transmission(&mut self, now_ns: u64) {
        let State::UnderWay { until_ns, status } = self.tx.state else {
            return;
        };
        if until_ns > now_ns {
            return;
        }
        self.tx.state = State::Idle;
        self.cr.remove(Cr::TXP);
        self.tsr = status;
        let good = status.contains(Tsr::PTX);
        self.isr.insert(if good { Isr::PTX } else { Isr::TXE });
        if !self.running {
            self.isr.insert(Isr::RST);
        }
    }
}
