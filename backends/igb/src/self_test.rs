//! The self test: registers, EEPROM, interrupt, link, loopback.
//!
//! While the NIC is open only what disturbs nobody is tested.

use crate::chip::Chip;
use crate::eeprom;
use crate::phy::{self, PauseAbility, Phy};
use crate::queue::{DESCRIPTOR, Descriptors, Queue, RING_STEP};
use crate::regs::{self, Cause, Ctrl, Rctl, Status, Tctl, queue};
use crate::shared::Shared;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::ethtool::SelfTest;

/// What autonegotiation may take.
const LINK_POLL_US: u32 = 10_000;
const LINK_POLLS: u32 = 500;
/// What an interrupt, or a packet in the loop, may take.
const POLL_US: u32 = 100;
const POLLS: u32 = 1000;

/// Bytes of the packet that goes round.
const PACKET: usize = 256;
/// Where the received one is put, behind the sent one.
const RECEIVED: usize = 2048;

type Finding = Result<(), &'static str>;

/// Runs the tests that the NIC's state allows.
pub(crate) fn run<P: PciDevice>(
    shared: &Arc<Shared<P>>,
    is_open: bool,
) -> Result<Vec<SelfTest>, NicError> {
    let chip = &shared.chip;
    if is_open {
        let tests = vec![
            named("EEPROM test (online)", test_eeprom(chip)),
            named("Link test (online)", link(chip)),
        ];
        return Ok(tests);
    }
    let queue = shared.make_queue(0)?;
    let tests = vec![
        named("Register test (offline)", fresh(chip, test_registers)),
        named("EEPROM test (offline)", fresh(chip, test_eeprom)),
        named("Interrupt test (offline)", fresh(chip, test_interrupt)),
        named("Link test (on/offline)", fresh(chip, test_link)),
        // The link that the last test brought up stays.
        named("Loopback test (offline)", test_loopback(chip, &queue)),
    ];
    // It failed, or it did not: nothing is left of the tests.
    let _ = chip.reset();
    Ok(tests)
}

const fn named(name: &'static str, result: Finding) -> SelfTest {
    SelfTest { name, result }
}

/// Tests a device that was just reset.
fn fresh<P: PciDevice>(chip: &Chip<P>, test: impl Fn(&Chip<P>) -> Finding) -> Finding {
    chip.reset()
        .map_err(|_| "it did not come out of its reset")?;
    test(chip)
}

/// Registers, and which of their bits hold what is written.
const WRITABLE: [(u32, u32); 12] = [
    (regs::FCAL, u32::MAX),
    (regs::FCAH, 0xffff),
    (regs::FCT, 0xffff),
    (regs::FCTTV, 0xffff),
    (regs::MTA, u32::MAX),
    (regs::RAL + 8, u32::MAX),
    (regs::RETA, 0x0f0f_0f0f),
    (regs::RSSRK, u32::MAX),
    (regs::RX_QUEUE + queue::DBAH, u32::MAX),
    (regs::RX_QUEUE + queue::DLEN, 0x000f_ff80),
    (regs::TX_QUEUE + queue::DBAH, u32::MAX),
    (regs::TX_QUEUE + queue::DLEN, 0x000f_ff80),
];

fn test_registers<P: PciDevice>(chip: &Chip<P>) -> Finding {
    for pattern in [0x5a5a_5a5a, 0xa5a5_a5a5, 0, u32::MAX] {
        for (register, bits) in WRITABLE {
            // On the I210 a table's entry has fewer bits than on the 82576.
            let bits = if register == regs::RETA {
                bits & (u32::from(chip.family.queues() - 1) * 0x0101_0101)
            } else {
                bits
            };
            chip.write(register, pattern & bits);
            if chip.read(register) & bits != pattern & bits {
                return Err("a register does not hold what was written");
            }
        }
    }
    Ok(())
}

fn test_eeprom<P: PciDevice>(chip: &Chip<P>) -> Finding {
    let words = eeprom::words(chip).map_err(|_| "the EEPROM does not answer")?;
    eeprom::verify(&words).map_err(|_| "the EEPROM's checksum is wrong")
}

fn link<P: PciDevice>(chip: &Chip<P>) -> Finding {
    let up = chip.status().contains(Status::LU);
    up.then_some(()).ok_or("there is no link")
}

fn test_link<P: PciDevice>(chip: &Chip<P>) -> Finding {
    chip.set_link_up();
    let silent = |_| "the PHY does not answer";
    let phy = Phy::acquire(chip).map_err(silent)?;
    phy.negotiate(PauseAbility::advertised(false, false))
        .map_err(silent)?;
    drop(phy);
    chip.device
        .poll(LINK_POLLS, LINK_POLL_US, || link(chip).is_ok());
    link(chip)
}

/// Notes that it was called.
struct Witness<P: PciDevice> {
    chip: Chip<P>,
    called: AtomicBool,
}

impl<P: PciDevice> VectorHandler for Witness<P> {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        let causes = Cause::from_bits_retain(self.chip.read(regs::ICR));
        if !causes.contains(Cause::LSC) {
            return IrqReturn::None;
        }
        self.called.store(true, Ordering::SeqCst);
        IrqReturn::Handled
    }
}

fn test_interrupt<P: PciDevice>(chip: &Chip<P>) -> Finding {
    let device = &chip.device;
    let modes = [IrqMode::MsiX, IrqMode::Msi, IrqMode::Intx];
    let refused = |_| "the bus gives no interrupt";
    device.alloc_irq_vectors(1, &modes).map_err(refused)?;
    let witness = Arc::new(Witness {
        chip: chip.clone(),
        called: AtomicBool::new(false),
    });
    let called = device
        .request_irq(0, device.name(), 0, witness.clone())
        .map_err(refused)
        .map(|()| {
            let called = is_called(chip, &witness.called);
            device.free_irq(0);
            called
        });
    device.free_irq_vectors();
    called?
}

/// A masked cause does not interrupt, and an open one does.
fn is_called<P: PciDevice>(chip: &Chip<P>, called: &AtomicBool) -> Finding {
    let seen = || called.load(Ordering::SeqCst);
    chip.write(regs::ICS, Cause::LSC.bits());
    chip.flush();
    chip.device.delay_us(POLL_US);
    if seen() {
        return Err("a masked cause interrupts");
    }
    chip.write(regs::IMS, Cause::LSC.bits());
    chip.write(regs::ICS, Cause::LSC.bits());
    let came = chip.device.poll(POLLS, POLL_US, seen);
    chip.mask_all();
    came.then_some(()).ok_or("no interrupt comes")
}

/// Sends a packet that the PHY returns.
fn test_loopback<P: PciDevice>(chip: &Chip<P>, queue: &Queue<P>) -> Finding {
    let buffers = chip.device.alloc_coherent(2 * RECEIVED);
    let buffers = buffers.map_err(|_| "there is no memory for a packet")?;
    close_loop(chip)?;
    let packet = packet();
    for (at, word) in (0..).step_by(8).zip(&packet) {
        buffers.write_u64(at, *word);
    }
    start_queue(chip, queue)?;
    let start = buffers.dma_addr().0;
    queue.rx.describe(0, [start + RECEIVED as u64, 0]);
    queue.tx.describe(0, [start, SEND]);
    chip.write(queue.rx.register(queue::DT), 1);
    chip.write(queue.tx.register(queue::DT), 1);
    let came = chip
        .device
        .poll(POLLS, POLL_US, || queue.rx.status_word(0) & 1 != 0);
    chip.disable_units();
    let same = (0..)
        .step_by(8)
        .zip(&packet)
        .all(|(at, word)| buffers.read_u64(RECEIVED + at) == *word);
    match (came, same) {
        (true, true) => Ok(()),
        (true, false) => Err("the packet was changed on its way"),
        (false, _) => Err("the packet does not come back"),
    }
}

/// A data descriptor of one packet: advanced, whole, with FCS and write-back.
const SEND: u64 =
    0b0011 << 20 | 1 << 24 | 1 << 25 | 1 << 27 | 1 << 29 | (PACKET as u64) << 46 | PACKET as u64;

/// Switches the PHY to return what is sent, at a speed that is forced.
fn close_loop<P: PciDevice>(chip: &Chip<P>) -> Finding {
    let silent = |_| "the PHY does not answer";
    let phy = Phy::acquire(chip).map_err(silent)?;
    phy.set_control(phy::LOOPBACK | phy::FULL_DUPLEX | phy::SPEED_1000)
        .map_err(silent)?;
    let forced = Ctrl::SLU | Ctrl::FRCSPD | Ctrl::FRCDPLX | Ctrl::SPEED_1000 | Ctrl::FD;
    chip.change_ctrl(Ctrl::empty(), forced);
    chip.device.delay_us(LINK_POLL_US);
    Ok(())
}

/// A packet to everybody, of an EtherType for experiments (IEEE 802), as words.
fn packet() -> Vec<u64> {
    let mut bytes: Vec<u8> = (0..PACKET).map(|at| at as u8).collect();
    let header = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
    ];
    for (byte, fixed) in bytes.iter_mut().zip(header) {
        *byte = fixed;
    }
    let words = bytes.chunks_exact(8);
    words
        .map(|eight| {
            let bytes = eight.iter().rev();
            bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
        })
        .collect()
}

fn start_queue<P: PciDevice>(chip: &Chip<P>, queue: &Queue<P>) -> Finding {
    place(chip, &queue.rx);
    place(chip, &queue.tx);
    let units = (RECEIVED / regs::SRRCTL_UNIT) as u32;
    let srrctl = units | regs::SRRCTL_ONE_BUFFER;
    chip.write(queue.rx.register(queue::SRRCTL), srrctl);
    let stuck = |_| "a queue could not be switched on";
    chip.enable_queue(queue.tx.register(queue::DCTL), regs::TXDCTL_THRESHOLDS)
        .map_err(stuck)?;
    chip.enable_queue(queue.rx.register(queue::DCTL), regs::RXDCTL_THRESHOLDS)
        .map_err(stuck)?;
    let rctl = Rctl::RXEN | Rctl::UPE | Rctl::MPE | Rctl::BAM | Rctl::SECRC;
    chip.write(regs::TCTL, Tctl::all().bits());
    chip.write(regs::RCTL, rctl.bits());
    Ok(())
}

/// The shortest ring.
fn place<P: PciDevice>(chip: &Chip<P>, descriptors: &Descriptors<P::Coherent>) {
    descriptors.clear(RING_STEP);
    let address = descriptors.memory.dma_addr().0;
    let write = |offset, value| chip.write(descriptors.register(offset), value);
    write(queue::DBAL, address as u32);
    write(queue::DBAH, (address >> 32) as u32);
    write(queue::DLEN, u32::from(RING_STEP) * DESCRIPTOR as u32);
    write(queue::DH, 0);
    write(queue::DT, 0);
}
