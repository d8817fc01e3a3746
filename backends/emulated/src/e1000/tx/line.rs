//! The last part of the way out: tags, padding, counting.

use crate::e1000::chip::Chip;
use crate::e1000::regs::{Tctl, offset};
use crate::e1000::stats::{Delta, Octets, Stat};
use crate::offload::{TAG_LEN, insert_tag};
use softnet_nic_hal::wire::Wire;

/// Bytes to which short packets are padded, without FCS.
const SHORTEST: usize = 60;

/// Where complete packets go.
pub(super) struct Line<'a> {
    chip: &'a Chip,
    pub(super) delta: &'a mut Delta,
    wire: &'a mut dyn Wire,
    pub(super) now_ns: u64,
    /// TCTL.PSP: short packets are padded.
    pad: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        chip: &'a Chip,
        delta: &'a mut Delta,
        now_ns: u64,
        tctl: Tctl,
        wire: &'a mut dyn Wire,
    ) -> Self {
        Self {
            chip,
            delta,
            wire,
            now_ns,
            pad: tctl.contains(Tctl::PSP),
        }
    }

    /// Sends the packet that begins [`TAG_LEN`] bytes into `buffer`.
    #[inline]
    pub(super) fn send(&mut self, buffer: &mut [u8], tag: Option<u16>) {
        let tagged = tag.is_some_and(|tci| {
            let tpid = self.chip.registers.load(offset::VET) as u16;
            insert_tag(buffer, tpid, tci)
        });
        let packet = if tagged {
            buffer
        } else {
            &mut buffer[TAG_LEN..]
        };
        if self.pad && packet.len() < SHORTEST {
            let mut padded = [0; SHORTEST];
            padded[..packet.len()].copy_from_slice(packet);
            self.put(&padded);
        } else {
            self.put(packet);
        }
    }

    #[inline]
    fn put(&mut self, packet: &[u8]) {
        match self.wire.transmit(packet, self.now_ns) {
            Ok(()) => self.chip.counters.wire_tx.add(1),
            Err(_) => self.chip.counters.wire_tx_lost.add(1),
        }
        self.count(packet);
    }

    #[inline]
    fn count(&mut self, packet: &[u8]) {
        let delta = &mut *self.delta;
        let len = packet.len() + 4;
        delta.count(Stat::TPT);
        delta.octets(Octets::TOT, len);
        delta.count(Stat::PTC64.of_size(len));
        if len >= 64 {
            delta.count(Stat::GPTC);
            delta.octets(Octets::GOTC, len);
        }
        if packet.starts_with(&[0xff; 6]) {
            delta.count(Stat::BPTC);
        } else if packet[0] & 1 != 0 {
            delta.count(Stat::MPTC);
        }
    }
}
