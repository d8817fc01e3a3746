//! The self test.

use crate::chip::Chip;
use crate::eeprom::Eeprom;
use crate::phy;
use crate::regs::{self, Cause, Ctrl, Rctl, Status, Tctl};
use crate::shared::{DD, Shared};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::ethtool::SelfTest;

type Outcome = Result<(), &'static str>;

/// How long a frame may take to come back, and an interrupt to come.
const POLLS: u32 = 200;
const POLL_US: u32 = 1000;
/// How long the link may take to come up.
const LINK_POLLS: u32 = 500;
const LINK_POLL_US: u32 = 10_000;

/// Frames that are looped back, and their bytes.
const FRAMES: usize = 4;
const FRAME: usize = 256;
const RING: u32 = 8;
/// Bytes that lie between two buffers.
const STRIDE: usize = 2048;

/// End of packet, insert the FCS, report.
const SEND: u64 = 0b1011 << 24;

/// Tests the device. While it is open, what would disturb it is left out.
pub(crate) fn run<P: PciDevice>(shared: &Shared<P>, open: bool) -> Result<Vec<SelfTest>, NicError> {
    let chip = &shared.chip;
    let mut tests = Vec::new();
    let mut note = |name, result| tests.push(SelfTest { name, result });
    note("eeprom", eeprom(chip));
    if open {
        note("link", link_is_up(chip));
        return Ok(tests);
    }
    reset(chip)?;
    note("registers", registers(chip));
    reset(chip)?;
    note("interrupt", interrupt(chip));
    note("loopback", loopback(shared));
    reset(chip)?;
    note("link", link_comes_up(chip));
    reset(chip)?;
    Ok(tests)
}

fn reset<P: PciDevice>(chip: &Chip<P>) -> Result<(), NicError> {
    chip.reset()
        .map_err(|_| NicError::Device("it did not come out of its reset"))
}

fn expect(holds: bool, otherwise: &'static str) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn eeprom<P: PciDevice>(chip: &Chip<P>) -> Outcome {
    let words = Eeprom::new(chip).words();
    let words = words.map_err(|_| "the EEPROM does not answer")?;
    expect(Eeprom::<P>::is_sound(&words), "its checksum is wrong")
}

/// Registers of which some bits keep what is written, whatever it is.
const KEEPING: [(u32, u32); 18] = [
    (regs::FCAL, u32::MAX),
    (regs::FCAH, 0xffff),
    (regs::FCT, 0xffff),
    (regs::VET, 0xffff),
    (regs::FCTTV, 0xffff),
    (regs::FCRTH, 0xfff8),
    (regs::RDBAL, 0xffff_fff0),
    (regs::RDBAH, u32::MAX),
    (regs::RDLEN, 0x000f_ff80),
    (regs::RDT, 0xffff),
    (regs::TDBAL, 0xffff_fff0),
    (regs::TDBAH, u32::MAX),
    (regs::TDLEN, 0x000f_ff80),
    (regs::TDT, 0xffff),
    (regs::TIDV, 0xffff),
    (regs::RAL, u32::MAX),
    (regs::RAH, 0x8003_ffff),
    (regs::MTA, u32::MAX),
];

fn registers<P: PciDevice>(chip: &Chip<P>) -> Outcome {
    let keeps = |register, mask| {
        [0x5a5a_5a5a, 0xa5a5_a5a5, 0, u32::MAX]
            .into_iter()
            .all(|pattern| {
                chip.write(register, pattern);
                chip.read(register) & mask == pattern & mask
            })
    };
    let all = KEEPING.into_iter().all(|(at, mask)| keeps(at, mask));
    expect(all, "a register does not keep what is written")
}

/// Keeps the causes that it was called for.
struct Recorder<P> {
    chip: Chip<P>,
    causes: AtomicU32,
}

impl<P: PciDevice> VectorHandler for Recorder<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        let causes = self.chip.read(regs::ICR);
        if causes == 0 || causes == u32::MAX {
            return IrqReturn::None;
        }
        self.causes.fetch_or(causes, Ordering::SeqCst);
        IrqReturn::Handled
    }
}

fn interrupt<P: PciDevice>(chip: &Chip<P>) -> Outcome {
    let device = &chip.device;
    let recorder = Arc::new(Recorder {
        chip: chip.clone(),
        causes: AtomicU32::new(0),
    });
    let vectors = device.alloc_irq_vectors(1, &[IrqMode::Intx]);
    vectors.map_err(|_| "there is no interrupt for it")?;
    let asked = device.request_irq(0, device.name(), 0, recorder.clone());
    let outcome = asked
        .map_err(|_| "its interrupt cannot be had")
        .and_then(|()| {
            let outcome = causes(chip, &recorder);
            chip.mask_all();
            device.free_irq(0);
            outcome
        });
    device.free_irq_vectors();
    outcome
}

/// Each cause interrupts when it is enabled, and only then.
fn causes<P: PciDevice>(chip: &Chip<P>, recorder: &Recorder<P>) -> Outcome {
    for cause in [Cause::TXDW, Cause::LSC, Cause::RXDMT0, Cause::RXT0] {
        chip.mask_all();
        recorder.causes.store(0, Ordering::SeqCst);
        chip.write(regs::ICS, cause.bits());
        chip.flush();
        chip.device.delay_us(POLL_US);
        let silent = recorder.causes.load(Ordering::SeqCst) == 0;
        expect(silent, "a masked cause interrupts")?;
        chip.write(regs::IMS, cause.bits());
        let came = chip.device.poll(POLLS, POLL_US, || {
            recorder.causes.load(Ordering::SeqCst) & cause.bits() != 0
        });
        expect(came, "an enabled cause does not interrupt")?;
    }
    Ok(())
}

/// Has the PHY return what is sent, or end that.
pub(crate) fn set_loopback<P: PciDevice>(chip: &Chip<P>, on: bool) -> Result<(), NicError> {
    let mode = if on {
        phy::CONTROL_LOOPBACK
    } else {
        phy::CONTROL_AUTONEGOTIATE | phy::CONTROL_RESTART
    };
    if phy::write(chip, phy::CONTROL, mode | phy::CONTROL_GIGABIT) {
        Ok(())
    } else {
        Err(NicError::Device("the PHY does not answer"))
    }
}

fn loopback<P: PciDevice>(shared: &Shared<P>) -> Outcome {
    let chip = &shared.chip;
    let memory = chip.device.alloc_coherent(2 * FRAMES * STRIDE);
    let memory = memory.map_err(|_| "there is no memory for it")?;
    set_loopback(chip, true).map_err(|_| "the PHY does not answer")?;
    let forced = Ctrl::SLU | Ctrl::FRCSPD | Ctrl::FRCDPLX | Ctrl::SPEED_1000 | Ctrl::FD;
    chip.write(regs::CTRL, forced.bits());
    prepare(shared, &memory);
    let came = exchange(shared);
    chip.disable_units();
    let outcome = expect(came, "what was sent did not come back").and_then(|()| {
        expect(
            is_same(shared, &memory),
            "what came back is not what was sent",
        )
    });
    let ended = set_loopback(chip, false).map_err(|_| "the PHY does not answer");
    outcome.and(ended)
}

/// Lays out rings with frames to send, and buffers behind them.
fn prepare<P: PciDevice>(shared: &Shared<P>, memory: &P::Coherent) {
    let start = memory.dma_addr();
    shared.rx.clear(RING as u16);
    shared.tx.clear(RING as u16);
    for at in 0..FRAMES {
        let (from, to) = (at * STRIDE, (FRAMES + at) * STRIDE);
        for word in 0..FRAME / 8 {
            memory.write_u64(from + word * 8, pattern(at, word));
            memory.write_u64(to + word * 8, 0);
        }
        let address = |offset: usize| start.offset(offset as u64).0;
        shared.tx.describe(at, address(from), FRAME as u64 | SEND);
        shared.rx.describe(at, address(to), 0);
    }
    let chip = &shared.chip;
    for (descriptors, base) in [(&shared.rx, regs::RDBAL), (&shared.tx, regs::TDBAL)] {
        let address = descriptors.memory.dma_addr().0;
        let lengths = [address as u32, (address >> 32) as u32, RING * 16];
        for (register, value) in (base..).step_by(4).zip(lengths) {
            chip.write(register, value);
        }
        chip.write(base + (regs::RDH - regs::RDBAL), 0);
        chip.write(base + (regs::RDT - regs::RDBAL), 0);
    }
}

/// A broadcast of an experimental type (IEEE 802, 88b5h), and counting words.
fn pattern(frame: usize, word: usize) -> u64 {
    match word {
        0 => u64::from_le_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0]),
        1 => u64::from_le_bytes([0, 0, 0, 1, 0x88, 0xb5, frame as u8, 0]),
        word => (frame * 0x0101_0101 + word * 0x0203_0507) as u64,
    }
}

fn exchange<P: PciDevice>(shared: &Shared<P>) -> bool {
    let chip = &shared.chip;
    let receive = Rctl::EN | Rctl::BAM | Rctl::SECRC;
    chip.write(regs::RCTL, receive.bits());
    chip.write(regs::TCTL, Tctl::all().bits());
    chip.write(regs::RDT, FRAMES as u32);
    chip.write(regs::TDT, FRAMES as u32);
    chip.device.poll(POLLS, POLL_US, || {
        shared.rx.status_word(FRAMES - 1) & DD != 0
    })
}

fn is_same<P: PciDevice>(shared: &Shared<P>, memory: &P::Coherent) -> bool {
    (0..FRAMES).all(|at| {
        let to = (FRAMES + at) * STRIDE;
        shared.rx.status_word(at) & 0xffff == FRAME as u64
            && (0..FRAME / 8).all(|word| memory.read_u64(to + word * 8) == pattern(at, word))
    })
}

fn link_comes_up<P: PciDevice>(chip: &Chip<P>) -> Outcome {
    chip.set_link_up(Ctrl::empty());
    let up = chip
        .device
        .poll(LINK_POLLS, LINK_POLL_US, || link_is_up(chip).is_ok());
    expect(up, "the link does not come up")
}

fn link_is_up<P: PciDevice>(chip: &Chip<P>) -> Outcome {
    let status = Status::from_bits_retain(chip.read(regs::STATUS));
    expect(status.contains(Status::LU), "there is no link")
}
