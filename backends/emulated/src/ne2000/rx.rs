//! The receiver: filter, page ring, overflow (chapters 4 and 7).

use super::core::{Core, PageRing};
use super::regs::{Isr, Rcr, Rsr, Tcr};
use super::tally::Tallied;

/// Shortest packet without its FCS; a shorter one is a runt.
const MIN_FRAME: usize = 60;
/// Longest packet that the model takes from a wire. The chip has no limit of its
/// own, but a length field of 16 bits.
const MAX_FRAME: usize = 16 * 1024;
/// Before each packet: status, next packet, byte count.
const HEADER: usize = 4;
const FCS: usize = 4;
const PAGE: usize = 256;

/// What became of a frame from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The receiver is off.
    Unheard,
    /// It is for somebody else, or a runt.
    Filtered,
    /// It found no room, or is only to be counted.
    Missed,
    Stored,
}

impl Core {
    /// A frame comes from the wire, without its FCS.
    pub(super) fn receive(&mut self, frame: &[u8]) -> Fate {
        if !self.running || self.tcr.intersects(Tcr::LB) {
            return Fate::Unheard;
        }
        if frame.len() >= MIN_FRAME {
            return self.hear(frame);
        }
        let mut padded = [0; MIN_FRAME];
        match padded.get_mut(..frame.len()) {
            Some(start) if self.pad_short => start.copy_from_slice(frame),
            _ => return self.hear_runt(frame),
        }
        self.hear(&padded)
    }

    fn hear_runt(&mut self, frame: &[u8]) -> Fate {
        if self.rcr.contains(Rcr::AR) {
            self.hear(frame)
        } else {
            Fate::Filtered
        }
    }

    fn hear(&mut self, frame: &[u8]) -> Fate {
        let Some(status) = self.accept(frame).filter(|_| frame.len() <= MAX_FRAME) else {
            return Fate::Filtered;
        };
        if self.rcr.contains(Rcr::MON) {
            self.miss(status | Rsr::DIS);
            return Fate::Missed;
        }
        let room = self.ring.room_for(frame.len());
        let Some(next) = room.filter(|_| !self.ring.overflowed) else {
            self.overflow(status);
            return Fate::Missed;
        };
        self.store(frame, status | Rsr::PRX, next);
        self.isr.insert(Isr::PRX);
        Fate::Stored
    }

    /// What the filters say of a frame: whether it is for us, and by which kind of
    /// address (10.3, "Receive Configuration Register").
    pub(super) fn accept(&self, frame: &[u8]) -> Option<Rsr> {
        let destination: [u8; 6] = *frame.first_chunk()?;
        let (wanted, status) = if destination == [0xff; 6] {
            (self.rcr.contains(Rcr::AB), Rsr::PHY)
        } else if destination[0] & 1 != 0 {
            let hashed = self.rcr.contains(Rcr::AM) && self.is_in_mar(destination);
            (hashed, Rsr::PHY)
        } else {
            let ours = self.rcr.contains(Rcr::PRO) || destination == self.par;
            (ours, Rsr::empty())
        };
        wanted.then_some(status)
    }

    /// The upper six bits of the address's CRC name a bit of the table.
    fn is_in_mar(&self, group: [u8; 6]) -> bool {
        // The chip's CRC is neither reflected nor inverted.
        let crc = (!crc32fast::hash(&group)).reverse_bits();
        let bit = crc >> 26;
        self.mar[(bit >> 3) as usize] & 1 << (bit & 7) != 0
    }

    fn miss(&mut self, status: Rsr) {
        self.rsr = status | Rsr::MPA;
        let asks = self.tally.count(Tallied::Missed);
        self.isr.insert(asks);
    }

    /// RST shows an overflow too, until a packet was removed.
    fn overflow(&mut self, status: Rsr) {
        self.ring.overflowed = true;
        self.isr.insert(Isr::OVW | Isr::RST);
        self.miss(status);
    }

    fn store(&mut self, frame: &[u8], status: Rsr, next: u8) {
        let count = (frame.len() + FCS) as u16;
        let [low, high] = count.to_le_bytes();
        self.ring.clda = u16::from(self.ring.curr) << 8;
        let header = [status.bits(), next, low, high];
        let fcs = crc32fast::hash(frame).to_le_bytes();
        for &byte in header.iter().chain(frame).chain(&fcs) {
            self.memory.write(self.ring.clda, byte);
            self.ring.clda = self.ring.behind(self.ring.clda);
        }
        self.rsr = status;
        self.ring.curr = next;
    }

    /// The driver moves the boundary, and so removes packets.
    pub(super) fn set_boundary(&mut self, page: u8) {
        self.ring.bnry = page;
        if self.running {
            self.isr.remove(Isr::RST);
        }
    }
}

impl PageRing {
    fn next_page(&self, page: u8) -> u8 {
        let next = page.wrapping_add(1);
        if next == self.pstop {
            self.pstart
        } else {
            next
        }
    }

    /// The address behind this one.
    fn behind(&self, address: u16) -> u16 {
        let next = address.wrapping_add(1);
        if next == u16::from(self.pstop) << 8 {
            u16::from(self.pstart) << 8
        } else {
            next
        }
    }

    /// The page behind a packet, if it can be stored. Each page that is linked to
    /// is compared with the boundary, also the last one, which the packet does not
    /// reach: it will be the next packet's.
    fn room_for(&self, len: usize) -> Option<u8> {
        let pages = (HEADER + len + FCS).div_ceil(PAGE);
        (0..pages).try_fold(self.curr, |page, _| {
            let next = self.next_page(page);
            (next != self.bnry).then_some(next)
        })
    }
}
