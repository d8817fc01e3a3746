//! From the card's ring to the rings' frames (chapters 7 and 9).

use crate::core::Core;
use crate::layout::HEADER;
use crate::regs::{self, Cr, Isr, Rsr};
use crate::shared::{Shared, count};
use alloc::collections::VecDeque;
use softnet_dma_ring::Frame;
use softnet_nic_hal::bus::PciDevice;

/// Shortest and longest packet without FCS: the longest has a VLAN tag.
const MIN_PACKET: usize = 60;
pub(crate) const MAX_PACKET: usize = 1518;
const FCS: usize = 4;

/// Bad packets that one reap passes over at most, so that a card that invents
/// them without end cannot hold the stack here.
const BAD_AT_ONCE: usize = 64;

/// What stands before each packet in the ring ("Storage Format", chapter 7).
#[derive(Clone, Copy, Debug)]
struct Header {
    status: Rsr,
    next: u8,
    /// Bytes of the packet with its FCS.
    count: usize,
}

impl Header {
    fn parse(bytes: [u8; HEADER]) -> Self {
        let [status, next, low, high] = bytes;
        Self {
            status: Rsr::from_bits_retain(status),
            next,
            count: u16::from_le_bytes([low, high]).into(),
        }
    }

    /// The packet's length; `None` when it is none that a packet can have.
    fn len(&self) -> Option<usize> {
        let len = self.count.checked_sub(FCS)?;
        (MIN_PACKET..=MAX_PACKET).contains(&len).then_some(len)
    }

    fn is_good(&self) -> bool {
        let bad = Rsr::CRC | Rsr::FAE | Rsr::FO;
        self.status.contains(Rsr::PRX) && !self.status.intersects(bad)
    }
}

impl<P: PciDevice> Shared<P> {
    /// Reads at most `max` packets into the frames that are posted. Returns how
    /// many.
    pub(crate) fn receive(
        &self,
        core: &mut Core,
        posted: &mut VecDeque<Frame>,
        max: usize,
        mut take: impl FnMut(Frame),
    ) -> usize {
        let recovery = self.begin_recovery(core);
        let (mut packets, mut bad) = (0, 0);
        while packets < max && bad < BAD_AT_ONCE && !posted.is_empty() {
            if !self.has_packet(core) {
                break;
            }
            match self.take_packet(core, posted) {
                Some(frame) => {
                    packets += 1;
                    take(frame);
                }
                None => bad += 1,
            }
        }
        core.rx.fed = !posted.is_empty();
        self.end_recovery(recovery);
        packets
    }

    /// Whether the ring holds a packet, as far as CURR last showed, or shows now.
    fn has_packet(&self, core: &mut Core) -> bool {
        if core.rx.next != core.rx.curr {
            return true;
        }
        // In this order: a packet that comes between the two is seen, or else has
        // its cause set again.
        self.chip.acknowledge(Isr::PRX | Isr::RXE);
        let curr = self
            .chip
            .on_page(Cr::RUN, Cr::PAGE1, || self.chip.read(regs::CURR));
        if core.layout.contains(curr) {
            core.rx.curr = curr;
        }
        core.rx.next != core.rx.curr
    }

    /// Takes the oldest packet out of the ring: into a frame, if it is good.
    fn take_packet(&self, core: &mut Core, posted: &mut VecDeque<Frame>) -> Option<Frame> {
        let page = core.rx.next;
        let mut header = [0; HEADER];
        self.chip.read_memory(u16::from(page) << 8, &mut header);
        let header = Header::parse(header);
        if !core.layout.follows(page, header.count, header.next) {
            self.resynchronize(core);
            return None;
        }
        let frame = match header.len().filter(|_| header.is_good()) {
            Some(len) => self.read_packet(core, page, len, posted),
            None => {
                self.count_bad(&header);
                None
            }
        };
        self.move_boundary(core, header.next);
        frame
    }

    fn read_packet(
        &self,
        core: &Core,
        page: u8,
        len: usize,
        posted: &mut VecDeque<Frame>,
    ) -> Option<Frame> {
        let mut frame = posted.pop_front()?;
        if !frame.set_len(len) {
            // Every frame that was posted has room.
            return None;
        }
        let address = (u16::from(page) << 8) + HEADER as u16;
        let data = frame.data_mut();
        let (to_stop, from_start) = data.split_at_mut(core.layout.until_stop(address).min(len));
        self.chip.read_memory(address, to_stop);
        if !from_start.is_empty() {
            let start = u16::from(core.layout.start) << 8;
            self.chip.read_memory(start, from_start);
        }
        self.count_good(frame.data());
        Some(frame)
    }

    fn count_good(&self, packet: &[u8]) {
        count(&self.counters.rx_packets, 1);
        count(&self.counters.rx_bytes, packet.len() as u64);
        let is_group = packet.first().is_some_and(|byte| byte & 1 != 0);
        if is_group && !packet.starts_with(&[0xff; 6]) {
            count(&self.counters.multicast, 1);
        }
    }

    fn count_bad(&self, header: &Header) {
        count(&self.counters.rx_errors, 1);
        if header.status.contains(Rsr::FO) {
            count(&self.counters.rx_fifo_errors, 1);
        } else if header.len().is_none() {
            count(&self.counters.rx_length_errors, 1);
        }
    }

    /// The header at hand is none: gives up everything that the ring holds.
    #[cold]
    fn resynchronize(&self, core: &mut Core) {
        count(&self.counters.rx_errors, 1);
        count(&self.counters.rx_resyncs, 1);
        let curr = core.rx.curr;
        self.move_boundary(core, curr);
    }

    /// Gives the chip the pages before `next`.
    fn move_boundary(&self, core: &mut Core, next: u8) {
        core.rx.next = next;
        self.chip.write(regs::BNRY, core.layout.before(next));
    }
}
