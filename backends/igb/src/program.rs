//! Programming the chip from its reset on (4.5), all but the units' enable bits.

use crate::chip::{Chip, QueueTimeout};
use crate::filter;
use crate::irq::{self, Plan};
use crate::nic::Settings;
use crate::phy::{Phy, PhyError};
use crate::queue::{DESCRIPTOR, Descriptors, Queue};
use crate::regs::{self, Ctrl, Rxcsum, queue};
use crate::ring::HEADER_BUFFER;
use crate::shared::Shared;
use alloc::sync::Arc;
use softnet_nic_hal::bus::{CoherentMemory, PciDevice};
use softnet_nic_hal::ethtool::{Features, Pause};
use softnet_nic_hal::{MacAddress, NicError, OpenConfig};

/// Ethernet header and FCS, and one VLAN tag.
const FRAMING: usize = 14 + 4 + 4;
/// Bytes that a buffer has when every packet fits into it: what a pool's frames
/// hold unless something else is asked for.
const BUFFER: usize = 2048;
/// Bytes that the packet buffer keeps for a pause to take effect, at least.
const PAUSE_ROOM: u32 = 16 * 1024;
/// How long a pause lasts, in units of 512 bit times.
const PAUSE_TIME: u32 = 0xffff;

/// Bytes that the device may write to one frame.
pub(crate) fn buffer_len(config: &OpenConfig) -> usize {
    let whole = usize::from(config.mtu) + FRAMING;
    let whole = whole.next_multiple_of(regs::SRRCTL_UNIT).max(BUFFER);
    if !config.scatter {
        return whole;
    }
    let room = config.pool.alloc().map_or(BUFFER, |frame| frame.tailroom());
    let units = room - room % regs::SRRCTL_UNIT;
    units.clamp(regs::SRRCTL_UNIT, whole)
}

/// What is programmed.
pub(crate) struct Program<'a, P: PciDevice> {
    pub(crate) shared: &'a Shared<P>,
    pub(crate) queues: &'a [Arc<Queue<P>>],
    pub(crate) config: &'a OpenConfig,
    pub(crate) settings: &'a Settings,
    pub(crate) mac: MacAddress,
    pub(crate) plan: Plan,
}

impl<P: PciDevice> Program<'_, P> {
    pub(crate) fn run(&self) -> Result<(), NicError> {
        let chip = &self.shared.chip;
        chip.set_link_up();
        set_pause(chip, self.settings.pause).map_err(phy_error)?;
        filter::set_addresses(chip, self.mac);
        filter::set_multicast(chip, &self.settings.mode);
        set_features(chip, self.settings.features);
        self.settings.rss.program(chip, self.config.queues);
        chip.write(regs::RLPML, u32::from(self.config.mtu) + FRAMING as u32);
        irq::program(self.shared, self.plan);
        set_throttle(chip, self.plan, self.settings.throttle_us());
        if self.settings.splits(self.config) {
            let words = usize::from(chip.family.queues()).min(regs::PSRTYPES);
            let types = core::iter::repeat_n(regs::PSRTYPE_ALL, words);
            chip.write_all(regs::PSRTYPE, types);
        }
        for queue in self.queues {
            self.program_rx(&queue.rx);
            self.program_tx(&queue.tx);
        }
        self.shared.clock.start(chip, self.settings.rx_stamps);
        Ok(())
    }

    /// Switches the queues on; the units must be on already, and tails count
    /// only then (8.10.8, 8.12.11).
    pub(crate) fn enable_queues(&self) -> Result<(), NicError> {
        let enable = |queue: &Queue<P>| -> Result<(), QueueTimeout> {
            let chip = &self.shared.chip;
            chip.enable_queue(queue.tx.register(queue::DCTL), regs::TXDCTL_THRESHOLDS)?;
            chip.write(queue.tx.register(queue::DT), 0);
            chip.enable_queue(queue.rx.register(queue::DCTL), regs::RXDCTL_THRESHOLDS)?;
            chip.write(queue.rx.register(queue::DT), 0);
            Ok(())
        };
        let timeout = |_| NicError::Device("a queue could not be switched on");
        self.queues
            .iter()
            .try_for_each(|queue| enable(queue).map_err(timeout))
    }

    fn program_rx(&self, descriptors: &Descriptors<P::Coherent>) {
        self.program_ring(descriptors, self.config.rx_ring);
        let units = buffer_len(self.config) / regs::SRRCTL_UNIT;
        let mut srrctl = units as u32 | self.layout();
        // A queue that nobody fills must not hold the others up.
        if self.config.queues > 1 {
            srrctl |= regs::SRRCTL_DROP_EN;
        }
        let register = descriptors.register(queue::SRRCTL);
        self.shared.chip.write(register, srrctl);
    }

    /// Where the device puts headers.
    fn layout(&self) -> u32 {
        if !self.settings.splits(self.config) {
            return regs::SRRCTL_ONE_BUFFER;
        }
        let units = (HEADER_BUFFER / regs::SRRCTL_HEADER_UNIT) as u32;
        regs::SRRCTL_SPLIT | units << regs::SRRCTL_HEADER_SHIFT
    }

    fn program_tx(&self, descriptors: &Descriptors<P::Coherent>) {
        self.program_ring(descriptors, self.config.tx_ring);
    }

    /// Both directions have their base, length and head at the same distances.
    fn program_ring(&self, descriptors: &Descriptors<P::Coherent>, len: u16) {
        let chip = &self.shared.chip;
        descriptors.clear(len);
        let address = descriptors.memory.dma_addr().0;
        let write = |offset, value| chip.write(descriptors.register(offset), value);
        write(queue::DCTL, 0);
        write(queue::DBAL, address as u32);
        write(queue::DBAH, (address >> 32) as u32);
        write(queue::DLEN, u32::from(len) * DESCRIPTOR as u32);
        write(queue::DH, 0);
    }
}

/// What the driver says of a PHY that it cannot use.
pub(crate) fn phy_error(error: PhyError) -> NicError {
    NicError::Device(match error {
        PhyError::Locked => "the firmware does not let go of the PHY",
        PhyError::Silent => "the PHY does not answer",
    })
}

/// Says what is done with pause frames, to the link partner or, without
/// autonegotiation of it, to the MAC itself; then the link comes up anew.
pub(crate) fn set_pause<P: PciDevice>(chip: &Chip<P>, pause: Pause) -> Result<(), PhyError> {
    // The address and type of a pause frame (IEEE 802.3, annex 31B).
    chip.write(regs::FCAL, 0x00c2_8001);
    chip.write(regs::FCAH, 0x0000_0100);
    chip.write(regs::FCT, 0x8808);
    chip.write(regs::FCTTV, PAUSE_TIME);
    let (high, low) = thresholds(chip, pause);
    chip.write(regs::FCRTL, low);
    chip.write(regs::FCRTH, high);
    if !pause.autonegotiate {
        obey(chip, pause);
    }
    use crate::phy::PauseAbility;
    Phy::acquire(chip)?.negotiate(PauseAbility::advertised(pause.rx, pause.tx))
}

/// When pause frames are sent: with the packet buffer that full, and again with
/// it emptied so far; bytes (8.10: RXPBS counts in KB).
fn thresholds<P: PciDevice>(chip: &Chip<P>, pause: Pause) -> (u32, u32) {
    let size = (chip.read(regs::RXPBS) & 0x7f) * 1024;
    let high = size.saturating_sub(PAUSE_ROOM) & !0xf;
    if pause.tx && high > 16 {
        (high, high - 16)
    } else {
        (0, 0)
    }
}

/// Switches pause frames on and off in the MAC.
fn obey<P: PciDevice>(chip: &Chip<P>, pause: Pause) {
    let mut on = Ctrl::empty();
    on.set(Ctrl::RFCE, pause.rx);
    on.set(Ctrl::TFCE, pause.tx);
    chip.change_ctrl(Ctrl::RFCE | Ctrl::TFCE, on);
}

/// Does what both ends have agreed on (IEEE 802.3, table 28B-3), once the link
/// is up.
pub(crate) fn resolve_pause<P: PciDevice>(chip: &Chip<P>, asked: Pause) -> Result<(), PhyError> {
    let [ours, theirs] = Phy::acquire(chip)?.pause()?;
    let both = ours.symmetric && theirs.symmetric;
    let asymmetric = ours.asymmetric && theirs.asymmetric;
    let pause = Pause {
        rx: asked.rx && (both || asymmetric && ours.symmetric),
        tx: asked.tx && (both || asymmetric && theirs.symmetric),
        ..asked
    };
    obey(chip, pause);
    Ok(())
}

/// Switches the offloads of the receiver.
pub(crate) fn set_features<P: PciDevice>(chip: &Chip<P>, on: Features) {
    let mut ctrl = Ctrl::empty();
    ctrl.set(Ctrl::VME, on.contains(Features::RX_VLAN));
    chip.change_ctrl(Ctrl::VME, ctrl);
    let mut rxcsum = Rxcsum::PCSD;
    rxcsum.set(
        Rxcsum::IPOFLD | Rxcsum::TUOFLD,
        on.contains(Features::RX_CHECKSUM),
    );
    chip.write(regs::RXCSUM, rxcsum.bits());
}

/// Holds interrupts back for so long, in microseconds.
pub(crate) fn set_throttle<P: PciDevice>(chip: &Chip<P>, plan: Plan, us: u32) {
    let interval = us.min(regs::EITR_MAX_US) << regs::EITR_SHIFT;
    // The link's interrupt is not held back, if it has a vector of its own.
    let first = u16::from(plan.by_vector());
    for vector in first..plan.count {
        chip.write(regs::EITR + 4 * u32::from(vector), interval);
    }
}
