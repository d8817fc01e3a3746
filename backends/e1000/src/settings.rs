//! What can be changed while the driver is bound, and lasts over a stop.

use crate::chip::Chip;
use crate::phy;
use crate::regs::{self, Ctrl, Rctl, Rxcsum};
use crate::ring::{BUFFER, Buffers};
use crate::shared::Shared;
use softnet_dma_ring::FramePool;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::{Coalesce, Features, Pause};
use softnet_nic_hal::{NicError, OpenConfig};

/// Ethernet's header and a VLAN tag.
pub(crate) const OVERHEAD: usize = 14 + 4;
const FCS: usize = 4;
/// Bytes of the longest packet without LPE, with its FCS.
const LONGEST_SHORT: usize = 1522;
/// Largest MTU: packets of 16128 bytes with their headers and FCS.
pub(crate) const MAX_MTU: u16 = 16128 - (OVERHEAD + FCS) as u16;

/// KiB of the packet buffer that the receiver has, of 64. Long packets leave more
/// to the transmitter, which holds a whole packet before it sends it.
const RECEIVE_KB: u32 = 48;
const RECEIVE_KB_LONG: u32 = 40;
const LONG: usize = 8192;

/// Largest intervals that fit into sixteen bits of 256 ns, and of 1.024 us.
const MAX_RX_USECS: u32 = 0xffff * 256 / 1000;
const MAX_TX_USECS: u32 = 0xffff;

/// What the driver can switch.
pub(crate) const AVAILABLE: Features = Features::RX_CHECKSUM
    .union(Features::TX_CHECKSUM)
    .union(Features::TSO)
    .union(Features::RX_VLAN)
    .union(Features::TX_VLAN)
    .union(Features::LOOPBACK);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) coalesce: Coalesce,
    pub(crate) pause: Pause,
    pub(crate) features: Features,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // NAPI's mask is the moderation: an interval would only add latency.
            coalesce: Coalesce::default(),
            pause: Pause::default(),
            // A stack that does not look at tags would take a packet of a VLAN
            // whose tag was taken out for its own.
            features: Features::RX_CHECKSUM | Features::TX_CHECKSUM | Features::TSO,
        }
    }
}

impl Settings {
    pub(crate) fn set_coalesce(&mut self, asked: &Coalesce) -> Result<(), NicError> {
        if asked.rx_usecs > MAX_RX_USECS || asked.tx_usecs > MAX_TX_USECS {
            return Err(NicError::Unsupported("so long an interval"));
        }
        self.coalesce = *asked;
        Ok(())
    }

    /// The chip has one switch for tags in both directions; the receiver's decides.
    pub(crate) fn set_features(&mut self, asked: Features) -> Result<(), NicError> {
        if !AVAILABLE.contains(asked) {
            return Err(NicError::Unsupported("one of these offloads"));
        }
        self.features = asked;
        let tags = asked.contains(Features::RX_VLAN);
        self.features.set(Features::TX_VLAN, tags);
        Ok(())
    }

    /// Flow control without asking the partner.
    pub(crate) fn forced_flow(&self) -> Ctrl {
        if self.pause.autonegotiate {
            Ctrl::empty()
        } else {
            flow(self.pause.rx, self.pause.tx)
        }
    }

    pub(crate) fn ctrl(&self) -> Ctrl {
        let mut ctrl = self.forced_flow();
        ctrl.set(Ctrl::VME, self.features.contains(Features::RX_VLAN));
        ctrl
    }

    pub(crate) fn program_coalesce<P: PciDevice>(&self, shared: &Shared<P>) {
        let chip = &shared.chip;
        chip.write(regs::ITR, regs::itr(self.coalesce.rx_usecs));
        // RDTR holds interrupts back in a way that loses some; ITR does not (the
        // warning in 13.4.30).
        chip.write(regs::RDTR, 0);
        chip.write(regs::RADV, 0);
        let delay = regs::delay(self.coalesce.tx_usecs);
        chip.write(regs::TIDV, delay);
        chip.write(regs::TADV, delay);
        shared.set_delays_tx(delay != 0);
    }

    pub(crate) fn program_features<P: PciDevice>(&self, shared: &Shared<P>) {
        let mut rxcsum = Rxcsum::empty();
        if self.features.contains(Features::RX_CHECKSUM) {
            rxcsum = Rxcsum::all();
        }
        shared.chip.write(regs::RXCSUM, rxcsum.bits());
        shared.chip.write(regs::VET, regs::VLAN_TYPE);
        shared.set_tags(self.features.contains(Features::RX_VLAN));
    }
}

/// The bits of CTRL for flow control in these directions.
fn flow(rx: bool, tx: bool) -> Ctrl {
    let mut ctrl = Ctrl::empty();
    ctrl.set(Ctrl::RFCE, rx);
    ctrl.set(Ctrl::TFCE, tx);
    ctrl
}

/// Sets up how pause frames look, and at which fill they are sent (8.7).
pub(crate) fn program_flow_control<P: PciDevice>(chip: &Chip<P>, longest: usize) {
    let [low, high] = regs::PAUSE_ADDRESS;
    chip.write(regs::FCAL, low);
    chip.write(regs::FCAH, high);
    chip.write(regs::FCT, regs::PAUSE_TYPE);
    chip.write(regs::FCTTV, regs::PAUSE_TIME);
    // A whole packet more finds room, or at least a tenth.
    let buffer = receive_kb(longest) * 1024;
    let threshold = (buffer * 9 / 10).min(buffer - longest as u32) & 0xfff8;
    chip.write(regs::FCRTH, threshold);
    chip.write(regs::FCRTL, (threshold - 8) | regs::FCRTL_XONE);
}

pub(crate) fn receive_kb(longest: usize) -> u32 {
    if longest > LONG {
        RECEIVE_KB_LONG
    } else {
        RECEIVE_KB
    }
}

/// The link's partner is told which pauses are wanted, or none. One that is only
/// to be obeyed cannot be told from both (annex 28B.2).
pub(crate) fn advertise<P: PciDevice>(chip: &Chip<P>, pause: Pause) -> bool {
    let wanted = match (pause.autonegotiate, pause.rx, pause.tx) {
        (true, true, _) => phy::PAUSE | phy::ASYMMETRIC,
        (true, false, true) => phy::ASYMMETRIC,
        _ => 0,
    };
    let Some(before) = phy::read(chip, phy::ADVERTISEMENT) else {
        return false;
    };
    let after = before & !(phy::PAUSE | phy::ASYMMETRIC) | wanted;
    let restart = phy::CONTROL_AUTONEGOTIATE | phy::CONTROL_RESTART;
    after == before
        || phy::write(chip, phy::ADVERTISEMENT, after)
            && phy::read(chip, phy::CONTROL)
                .is_some_and(|control| phy::write(chip, phy::CONTROL, control | restart))
}

/// What the two partners have agreed on (IEEE 802.3, table 28B-3), within what is
/// wanted.
pub(crate) fn agreed<P: PciDevice>(chip: &Chip<P>, pause: Pause) -> Option<Ctrl> {
    let own = phy::read(chip, phy::ADVERTISEMENT)?;
    let partner = phy::read(chip, phy::PARTNER)?;
    let both = own & partner;
    let (rx, tx) = if both & phy::PAUSE != 0 {
        (pause.rx, pause.tx)
    } else if both & phy::ASYMMETRIC != 0 {
        (own & phy::PAUSE != 0, partner & phy::PAUSE != 0)
    } else {
        (false, false)
    };
    Some(flow(rx && pause.rx, tx && pause.tx))
}

/// Bytes of the longest packet for an MTU, without FCS.
pub(crate) fn longest(config: &OpenConfig) -> usize {
    usize::from(config.mtu) + OVERHEAD
}

/// The smallest buffers that hold the longest packet, as far as the frames do.
pub(crate) fn buffers(config: &OpenConfig) -> Buffers {
    let wanted = longest(config) + FCS;
    let have = tailroom(&config.pool);
    let mut bytes = BUFFER;
    while bytes < wanted && bytes < 16384 && bytes * 2 <= have {
        bytes *= 2;
    }
    let scatter = config.scatter;
    Buffers { bytes, scatter }
}

/// Bytes of the pool's frames; of an empty pool, as many as there have to be.
fn tailroom(pool: &FramePool) -> usize {
    pool.alloc().map_or(BUFFER, |frame| frame.tailroom())
}

/// What these buffers and packets add to RCTL.
pub(crate) fn rctl(longest: usize, buffers: Buffers) -> Rctl {
    let mut rctl = match buffers.bytes {
        4096 => Rctl::BSEX | Rctl::BSIZE_4096,
        8192 => Rctl::BSEX | Rctl::BSIZE_8192,
        16384 => Rctl::BSEX | Rctl::BSIZE_16384,
        _ => Rctl::empty(),
    };
    rctl.set(Rctl::LPE, longest + FCS > LONGEST_SHORT);
    rctl
}
