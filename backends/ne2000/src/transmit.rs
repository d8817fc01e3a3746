//! From the rings' frames to the wire: the card's transmit buffers (chapter 8).

use crate::core::{Core, SENT};
use crate::regs::{self, Cr, Isr, Tsr};
use crate::shared::{Shared, count};
use alloc::collections::VecDeque;
use softnet_dma_ring::Frame;
use softnet_nic_hal::bus::PciDevice;

/// Shortest packet, without FCS: the chip does not pad.
const MIN_PACKET: usize = 60;
/// How often a packet is sent again that the chip gave up.
const RETRIES: u8 = 2;

impl<P: PciDevice> Shared<P> {
    /// Fills free buffers with the packets that wait, of the first `kicked`
    /// frames, and sends on.
    pub(crate) fn pump(&self, core: &mut Core, frames: &VecDeque<Frame>, kicked: usize) {
        let waiting = frames.iter().take(kicked);
        let known = core.tx.done + usize::from(core.tx.filled);
        let mut waiting = waiting.skip(known).peekable();
        while core.tx.filled < core.layout.buffers && !core.tx.stuck {
            let Some(frame) = waiting.next() else {
                break;
            };
            self.upload(core, frame);
        }
        core.tx.waiting = waiting.peek().is_some();
        self.send_next(core);
    }

    /// Fills the next buffer.
    fn upload(&self, core: &mut Core, frame: &Frame) {
        let tx = &mut core.tx;
        let buffer = (tx.head + tx.filled) % core.layout.buffers;
        let address = u16::from(core.layout.buffer(buffer)) << 8;
        match self.chip.write_memory(address, frame.data(), MIN_PACKET) {
            Ok(()) => {
                if let Some(length) = tx.lengths.get_mut(usize::from(buffer)) {
                    *length = frame.len().max(MIN_PACKET) as u16;
                }
                tx.filled += 1;
            }
            Err(_) => tx.stuck = true,
        }
    }

    /// Has the chip send the buffer at the head, if it is idle.
    fn send_next(&self, core: &mut Core) {
        let tx = &mut core.tx;
        if tx.sending || tx.filled == 0 {
            return;
        }
        let length = tx.lengths.get(usize::from(tx.head)).copied().unwrap_or(0);
        self.chip.write(regs::TPSR, core.layout.buffer(tx.head));
        self.chip.write_pair(regs::TBCR0, length);
        self.chip.command(Cr::RUN | Cr::TXP);
        tx.sending = true;
    }

    /// Sees whether the packet that is sent is through, and sends the next.
    pub(crate) fn finish_sent(&self, core: &mut Core, causes: Isr) {
        if !causes.intersects(SENT) {
            return;
        }
        self.chip.acknowledge(SENT);
        if !core.tx.sending {
            return;
        }
        let status = Tsr::from_bits_retain(self.chip.read(regs::TSR));
        self.count_collisions(status);
        let good = causes.contains(Isr::PTX);
        if !good && status.intersects(Tsr::ABT | Tsr::FU) && core.tx.retries < RETRIES {
            core.tx.retries += 1;
            count(&self.counters.tx_retries, 1);
            self.chip.command(Cr::RUN | Cr::TXP);
            return;
        }
        self.count_sent(core, good, status);
        core.tx.pass(core.layout.buffers);
        self.send_next(core);
    }

    /// NCR counts to 15: what was given up after 16 collisions shows 0.
    fn count_collisions(&self, status: Tsr) {
        let collisions = if status.contains(Tsr::ABT) {
            16
        } else if status.contains(Tsr::COL) {
            self.chip.read(regs::NCR) & 0xf
        } else {
            0
        };
        count(&self.counters.collisions, collisions.into());
    }

    fn count_sent(&self, core: &Core, good: bool, status: Tsr) {
        let counters = &self.counters;
        let kinds = [
            (Tsr::ABT, &counters.tx_aborted_errors),
            (Tsr::FU, &counters.tx_fifo_errors),
            (Tsr::CRS, &counters.tx_carrier_errors),
            (Tsr::CDH, &counters.tx_heartbeat_errors),
            (Tsr::OWC, &counters.tx_window_errors),
        ];
        for (_, counter) in kinds.iter().filter(|(kind, _)| status.contains(*kind)) {
            count(counter, 1);
        }
        if !good {
            count(&counters.tx_errors, 1);
            return;
        }
        let tx = &core.tx;
        let length = tx.lengths.get(usize::from(tx.head)).copied().unwrap_or(0);
        count(&counters.tx_packets, 1);
        count(&counters.tx_bytes, length.into());
    }
}
