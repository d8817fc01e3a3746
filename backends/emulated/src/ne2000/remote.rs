//! Remote DMA: how the host reaches the card's memory, through the data port
//! (chapter 9).

use super::core::{Core, Remote, Transfer};
use super::regs::{Cr, Dcr, Isr};
use crate::pci::Width;

/// Bytes of the header before each packet in the ring.
const HEADER_COUNT: u16 = 2;

impl Core {
    /// The RD bits of a command.
    pub(super) fn remote_command(&mut self, command: Cr) {
        if command.contains(Cr::RD2) {
            self.remote.kind = Transfer::None;
        } else if command == Cr::RD0 {
            self.begin(Transfer::Read, false);
        } else if command == Cr::RD1 {
            self.begin(Transfer::Write, false);
        } else if command == Cr::RD0 | Cr::RD1 {
            self.send_packet();
        }
        // No bit at all is "not allowed", and changes nothing.
    }

    fn begin(&mut self, kind: Transfer, of_packet: bool) {
        self.remote.kind = kind;
        self.remote.of_packet = of_packet;
        if self.remote.count == 0 {
            self.complete();
        }
    }

    /// Reads the oldest packet of the ring, whose length its header says
    /// ("Send Packet Command").
    fn send_packet(&mut self) {
        let header = u16::from(self.ring.bnry) << 8;
        let count =
            [HEADER_COUNT, HEADER_COUNT + 1].map(|at| self.memory.read(header.wrapping_add(at)));
        self.remote = Remote {
            address: header,
            count: u16::from_le_bytes(count),
            ..self.remote
        };
        self.begin(Transfer::Read, true);
    }

    fn complete(&mut self) {
        self.isr.insert(Isr::RDC);
        self.remote.kind = Transfer::None;
        if std::mem::take(&mut self.remote.of_packet) {
            let next = (u16::from(self.ring.bnry) << 8).wrapping_add(1);
            self.set_boundary(self.memory.read(next));
        }
    }

    /// How many bytes the channel moves for an access of the data port. In word
    /// mode it moves words, of which a narrow access sees the first half; the bus
    /// makes several cycles of a wide access.
    fn cycle(&self, width: Width) -> u32 {
        if self.dcr.contains(Dcr::WTS) {
            width.bytes().max(2)
        } else {
            width.bytes()
        }
    }

    /// Words are where the lowest address line is 0.
    fn align(&mut self) {
        if self.dcr.contains(Dcr::WTS) {
            self.remote.address &= !1;
        }
    }

    /// A read of the data port. Where no transfer is under way, the bus floats
    /// high.
    pub(super) fn read_data(&mut self, width: Width) -> u32 {
        self.align();
        let cycle = self.cycle(width);
        (0..cycle).fold(0, |value, at| {
            value | u32::from(self.read_remote()) << (8 * at)
        })
    }

    fn read_remote(&mut self) -> u8 {
        if self.remote.kind != Transfer::Read {
            return u8::MAX;
        }
        let byte = self.memory.read(self.remote.address);
        self.advance();
        byte
    }

    /// A write of the data port.
    pub(super) fn write_data(&mut self, width: Width, value: u32) {
        self.align();
        let value = (value & width.mask()).to_le_bytes();
        for byte in value.into_iter().take(self.cycle(width) as usize) {
            if self.remote.kind == Transfer::Write {
                self.memory.write(self.remote.address, byte);
                self.advance();
            }
        }
    }

    /// One byte was moved. Behind the ring's last page comes its first.
    fn advance(&mut self) {
        let remote = &mut self.remote;
        remote.address = remote.address.wrapping_add(1);
        if remote.address == u16::from(self.ring.pstop) << 8 {
            remote.address = u16::from(self.ring.pstart) << 8;
        }
        // The driver may have cleared the count in the middle of a transfer.
        remote.count = remote.count.saturating_sub(1);
        if remote.count == 0 {
            self.complete();
        }
    }
}
