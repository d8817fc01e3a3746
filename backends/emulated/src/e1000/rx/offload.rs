//! What is done with a frame beside storing it: checksums (section 3.2.9) and VLAN
//! tags (chapter 9).

use super::descriptor;
use crate::e1000::regs::{Ctrl, Rctl, Registers, Rxcsum, offset};
use crate::offload::{Headers, Judged, Network, filter_entry, tag};

/// What the registers ask for, read once a burst.
pub(super) struct Offload {
    /// Nothing is asked for, which is quickly done.
    idle: bool,
    tpid: u16,
    /// CTRL.VME: tags are taken out.
    strip: bool,
    /// RCTL.VFE: the filter table decides, and the bit that CFI has to be, if
    /// RCTL.CFIEN asks for one.
    filter: bool,
    cfi: Option<bool>,
    rxcsum: Rxcsum,
    /// Where the packet checksum starts.
    start: usize,
}

impl Offload {
    pub(super) fn load(registers: &Registers, rctl: Rctl) -> Self {
        let rxcsum = Rxcsum::from_bits_retain(registers.load(offset::RXCSUM));
        let strip = registers.ctrl().contains(Ctrl::VME);
        let filter = rctl.contains(Rctl::VFE);
        let start = (rxcsum & Rxcsum::PCSS).bits() as usize;
        let judge = rxcsum.intersects(Rxcsum::IPOFLD | Rxcsum::TUOFLD);
        Self {
            idle: !strip && !judge,
            tpid: registers.load(offset::VET) as u16,
            strip,
            filter,
            cfi: (rctl.contains(Rctl::CFIEN)).then_some(rctl.contains(Rctl::CFI)),
            rxcsum,
            start,
        }
    }

    /// Whether the VLAN filter lets a frame through: it is not tagged, or its
    /// VLAN is in the table.
    #[inline]
    pub(super) fn accepts(&self, frame: &[u8], registers: &Registers) -> bool {
        !self.filter
            || tag(frame, self.tpid).is_none_or(|tci| {
                let (word, mask) = filter_entry(tci);
                let listed = registers.load(offset::VFTA + word as u32 * 4) & mask != 0;
                listed && self.cfi.is_none_or(|cfi| (tci & 1 << 12 != 0) == cfi)
            })
    }

    /// Where the packet checksum starts; 0: it is not computed.
    pub(super) fn checksum_from(&self) -> usize {
        self.start
    }

    /// The bits of the descriptor that say what the frame is; VP: its tag is taken
    /// out.
    #[inline]
    pub(super) fn describe(&self, frame: &[u8]) -> u64 {
        if self.idle {
            return descriptor::IXSM;
        }
        self.tag(frame) | self.judge(frame)
    }

    #[inline]
    fn tag(&self, frame: &[u8]) -> u64 {
        if !self.strip {
            return 0;
        }
        tag(frame, self.tpid).map_or(0, |tci| descriptor::VP | u64::from(tci) << 48)
    }

    /// The checksum bits of the descriptor. A filter that is off is where the
    /// search for what can be judged ends: IPv4 needs IPOFLD, IPv6 IPV6OFL.
    #[inline]
    fn judge(&self, frame: &[u8]) -> u64 {
        if !self.rxcsum.intersects(Rxcsum::IPOFLD | Rxcsum::TUOFLD) {
            return descriptor::IXSM;
        }
        let judged = match Judged::at_once(frame) {
            Some(judged) if self.rxcsum.contains(Rxcsum::IPOFLD) => judged,
            _ => self.judge_any(frame),
        };
        let judges_transport = self.rxcsum.contains(Rxcsum::TUOFLD);
        let transport = judged.transport.filter(|_| judges_transport);
        let flags = bits(judged.network, descriptor::IPCS, descriptor::IPE)
            | bits(transport, descriptor::TCPCS, descriptor::TCPE);
        if flags == 0 { descriptor::IXSM } else { flags }
    }

    /// Any kind of packet.
    #[inline(never)]
    fn judge_any(&self, frame: &[u8]) -> Judged {
        let headers = Headers::parse(frame, self.tpid).filter(|headers| {
            self.rxcsum.contains(match headers.network {
                Network::Ipv4 => Rxcsum::IPOFLD,
                Network::Ipv6 => Rxcsum::IPV6OFL,
            })
        });
        let judged = headers.map(|headers| headers.judge(frame));
        judged.unwrap_or_default()
    }
}

#[inline]
fn bits(judged: Option<bool>, looked: u64, wrong: u64) -> u64 {
    match judged {
        None => 0,
        Some(true) => looked,
        Some(false) => looked | wrong,
    }
}
