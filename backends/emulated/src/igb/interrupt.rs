//! Interrupt causes, their masks, the vectors that they go to, and the throttles
//! (sections 7.3 and 8.8).
//!
//! Causes of queues are bits of EICR; all others are bits of ICR. With several
//! messages (GPIE.Multiple_MSIX), a bit of EICR is a vector: IVAR says which one a
//! queue has, and IVAR_MISC which one stands for ICR. Otherwise there is one
//! interrupt for everything.

use super::regs::{QUEUES, cause};
use crate::pci::FunctionPort;
use softnet_nic_hal::bus::IrqMode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Vectors that the chip has registers for.
pub(super) const VECTORS: usize = 25;

/// Bits of EICR that are there with several messages: the vectors.
const VECTOR_BITS: u32 = (1 << VECTORS) - 1;
/// Bits of EICR that are there with a single interrupt: sixteen for queues, the
/// TCP timer, and "other".
const SINGLE_BITS: u32 = 0xc000_ffff;
/// The bit of EICR that stands for ICR.
const OTHER: u32 = 1 << 31;

/// Bits of GPIE (section 8.8.13).
mod gpie {
    pub(super) const NSICR: u32 = 1;
    pub(super) const MULTIPLE_MSIX: u32 = 1 << 4;
    pub(super) const EIAME: u32 = 1 << 30;
    pub(super) const KEPT: u32 = 0xc000_0f91;
}

/// Bits of EITR (section 8.8.12).
mod eitr {
    /// The interval, in microseconds.
    pub(super) const INTERVAL: u32 = 0x7ffc;
    pub(super) const KEPT: u32 = 0x001f_fffc;
    /// The written counter is to be ignored.
    pub(super) const CNT_INGR: u32 = 1 << 31;
}

/// An entry of IVAR: valid.
const IVAR_VALID: u32 = 1 << 7;

/// The interrupt registers, which every thread may change at any time.
///
/// A cause is set before its mask is looked at, and a mask is set before the causes
/// are looked at; so of a cause and an unmask at the same time, at least one sees
/// the other and makes the interrupt due. Hence the sequentially consistent order
/// throughout.
pub(super) struct Interrupts {
    icr: AtomicU32,
    ims: AtomicU32,
    iam: AtomicU32,
    eicr: AtomicU32,
    eims: AtomicU32,
    eiac: AtomicU32,
    eiam: AtomicU32,
    gpie: AtomicU32,
    ivar: [AtomicU32; 8],
    ivar_misc: AtomicU32,
    /// Messages that are to be sent, and may have to wait for a throttle.
    due: AtomicU32,
    throttles: [Throttle; VECTORS],
}

#[derive(Default)]
struct Throttle {
    eitr: AtomicU32,
    interval_ns: AtomicU64,
    /// Before this time, it lets nothing through.
    open_ns: AtomicU64,
}

impl Throttle {
    /// When it will open, if it is closed at `now_ns`.
    fn closed_until(&self, now_ns: u64) -> Option<u64> {
        if self.interval_ns.load(Ordering::SeqCst) == 0 {
            return None;
        }
        Some(self.open_ns.load(Ordering::SeqCst)).filter(|&open| open > now_ns)
    }

    /// An interrupt goes out: it closes.
    fn close(&self, now_ns: u64) {
        let interval = self.interval_ns.load(Ordering::SeqCst);
        let open = now_ns.saturating_add(interval);
        self.open_ns.store(open, Ordering::SeqCst);
    }

    fn write(&self, value: u32) {
        let us = u64::from((value & eitr::INTERVAL) >> 2);
        self.eitr.store(value & eitr::KEPT, Ordering::SeqCst);
        self.interval_ns.store(us * 1000, Ordering::SeqCst);
        if value & eitr::CNT_INGR == 0 {
            self.open_ns.store(0, Ordering::SeqCst);
        }
    }
}

impl Interrupts {
    pub(super) fn new() -> Self {
        let word = || AtomicU32::new(0);
        Self {
            icr: word(),
            ims: word(),
            iam: word(),
            eicr: word(),
            eims: word(),
            eiac: word(),
            eiam: word(),
            gpie: word(),
            ivar: std::array::from_fn(|_| word()),
            ivar_misc: word(),
            due: word(),
            throttles: std::array::from_fn(|_| Throttle::default()),
        }
    }

    pub(super) fn reset(&self) {
        let plain = [
            &self.icr,
            &self.ims,
            &self.iam,
            &self.eicr,
            &self.eims,
            &self.eiac,
            &self.eiam,
            &self.gpie,
            &self.ivar_misc,
            &self.due,
        ];
        for word in plain.into_iter().chain(&self.ivar) {
            word.store(0, Ordering::SeqCst);
        }
        for throttle in &self.throttles {
            throttle.write(0);
        }
    }

    fn has_vectors(&self) -> bool {
        self.gpie.load(Ordering::SeqCst) & gpie::MULTIPLE_MSIX != 0
    }

    /// The bits of EICR and its companions that are there in this mode.
    fn extended_bits(&self) -> u32 {
        if self.has_vectors() {
            VECTOR_BITS
        } else {
            SINGLE_BITS
        }
    }

    /// Sets causes of ICR.
    pub(super) fn set(&self, causes: u32) {
        if causes == 0 {
            return;
        }
        let before = self.icr.fetch_or(causes, Ordering::SeqCst);
        self.fresh(causes & !before & self.ims.load(Ordering::SeqCst));
    }

    /// Causes of ICR became pending and are enabled.
    fn fresh(&self, causes: u32) {
        if causes == 0 {
            return;
        }
        if self.has_vectors() {
            let entry = self.ivar_misc.load(Ordering::SeqCst) >> 8;
            self.set_extended(vector_bit(entry));
        } else {
            self.due.fetch_or(1, Ordering::SeqCst);
        }
    }

    /// Sets bits of EICR. Each time an enabled one is set is a reason for a
    /// message, also while the bit was set already.
    pub(super) fn set_extended(&self, bits: u32) {
        let bits = bits & self.extended_bits();
        if bits == 0 {
            return;
        }
        self.eicr.fetch_or(bits, Ordering::SeqCst);
        self.make_due(bits & self.eims.load(Ordering::SeqCst));
    }

    fn make_due(&self, bits: u32) {
        if bits != 0 {
            let due = if self.has_vectors() { bits } else { 1 };
            self.due.fetch_or(due, Ordering::SeqCst);
        }
    }

    /// The bit of EICR of a receive queue, and of a transmit queue; 0 when none is
    /// allocated (section 8.8.15).
    pub(super) fn rx_bit(&self, queue: usize) -> u32 {
        self.queue_bit(queue, 0)
    }

    pub(super) fn tx_bit(&self, queue: usize) -> u32 {
        self.queue_bit(queue, 8)
    }

    fn queue_bit(&self, queue: usize, shift: usize) -> u32 {
        debug_assert!(queue < QUEUES);
        let word = self.ivar[queue % 8].load(Ordering::Relaxed);
        vector_bit(word >> (shift + queue / 8 % 2 * 16))
    }

    /// Reads ICR. It clears, unless GPIE says otherwise while no enabled cause is
    /// pending; and the causes that IAM names are masked.
    pub(super) fn take(&self) -> u32 {
        let ims = self.ims.load(Ordering::SeqCst);
        let pending = self.icr.load(Ordering::SeqCst) & ims != 0;
        let always = self.gpie.load(Ordering::SeqCst) & gpie::NSICR != 0;
        let causes = if always || ims == 0 || pending {
            self.icr.swap(0, Ordering::SeqCst)
        } else {
            self.icr.load(Ordering::SeqCst)
        };
        if always || pending {
            self.auto_mask();
        }
        causes | if causes & ims != 0 { cause::INTA } else { 0 }
    }

    fn auto_mask(&self) {
        let iam = self.iam.load(Ordering::SeqCst);
        self.ims.fetch_and(!iam, Ordering::SeqCst);
    }

    /// Ones that are written to ICR clear.
    pub(super) fn clear(&self, bits: u32) {
        if self.icr.load(Ordering::SeqCst) & self.ims.load(Ordering::SeqCst) != 0 {
            self.auto_mask();
        }
        self.icr.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(super) fn mask(&self) -> u32 {
        self.ims.load(Ordering::SeqCst)
    }

    pub(super) fn unmask(&self, causes: u32) {
        let causes = causes & cause::ALL;
        let before = self.ims.fetch_or(causes, Ordering::SeqCst);
        self.fresh(causes & !before & self.icr.load(Ordering::SeqCst));
    }

    pub(super) fn remask(&self, bits: u32) {
        self.ims.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Reads EICR. It clears, unless its bits are vectors.
    pub(super) fn take_extended(&self) -> u32 {
        if self.has_vectors() {
            return self.eicr.load(Ordering::SeqCst);
        }
        let other = self.icr.load(Ordering::SeqCst) & self.ims.load(Ordering::SeqCst) != 0;
        let bits = self.eicr.swap(0, Ordering::SeqCst);
        self.acknowledge();
        bits | if other { OTHER } else { 0 }
    }

    pub(super) fn clear_extended(&self, bits: u32) {
        self.eicr.fetch_and(!bits, Ordering::SeqCst);
        self.acknowledge();
    }

    /// EICS: sets bits of EICR, and unmasks those that EIAM names, if that is not
    /// for messages.
    pub(super) fn set_by_software(&self, bits: u32) {
        if !self.masks_by_messages() {
            let eiam = self.eiam.load(Ordering::SeqCst);
            self.unmask_extended(bits & eiam);
        }
        self.set_extended(bits & !OTHER);
    }

    /// Whether EIAM is for the bits of messages that are sent; otherwise it is for
    /// the accesses of EICR and EICS.
    fn masks_by_messages(&self) -> bool {
        self.gpie.load(Ordering::SeqCst) & gpie::EIAME != 0
    }

    /// EICR was read or written.
    fn acknowledge(&self) {
        if !self.masks_by_messages() {
            let eiam = self.eiam.load(Ordering::SeqCst);
            self.eims.fetch_and(!eiam, Ordering::SeqCst);
        }
    }

    /// A message is sent.
    fn mask_by_message(&self, bit: u32) {
        if self.masks_by_messages() {
            let eiam = self.eiam.load(Ordering::SeqCst);
            self.eims.fetch_and(!(bit & eiam), Ordering::SeqCst);
        }
    }

    pub(super) fn extended_mask(&self) -> u32 {
        self.eims.load(Ordering::SeqCst)
    }

    pub(super) fn unmask_extended(&self, bits: u32) {
        let bits = bits & self.extended_bits();
        let before = self.eims.fetch_or(bits, Ordering::SeqCst);
        self.make_due(bits & !before & self.eicr.load(Ordering::SeqCst));
    }

    pub(super) fn remask_extended(&self, bits: u32) {
        self.eims.fetch_and(!bits, Ordering::SeqCst);
    }

    /// EIAC, EIAM, GPIE, IAM, and the allocation of vectors.
    pub(super) fn plain(&self, which: Plain) -> u32 {
        self.plain_word(which).load(Ordering::SeqCst)
    }

    pub(super) fn set_plain(&self, which: Plain, value: u32) {
        let mask = match which {
            Plain::Eiac => VECTOR_BITS,
            Plain::Eiam => self.extended_bits(),
            Plain::Gpie => gpie::KEPT,
            Plain::Iam => cause::ALL,
            Plain::Ivar(_) => 0x9f9f_9f9f,
            Plain::IvarMisc => 0x9f9f,
        };
        self.plain_word(which).store(value & mask, Ordering::SeqCst);
    }

    fn plain_word(&self, which: Plain) -> &AtomicU32 {
        match which {
            Plain::Eiac => &self.eiac,
            Plain::Eiam => &self.eiam,
            Plain::Gpie => &self.gpie,
            Plain::Iam => &self.iam,
            Plain::Ivar(index) => &self.ivar[index % 8],
            Plain::IvarMisc => &self.ivar_misc,
        }
    }

    pub(super) fn eitr(&self, vector: usize) -> u32 {
        self.throttles[vector % VECTORS].eitr.load(Ordering::SeqCst)
    }

    pub(super) fn set_eitr(&self, vector: usize, value: u32) {
        self.throttles[vector % VECTORS].write(value);
    }

    /// Whether the pin, or the single message, is asserted, but for the throttle.
    pub(super) fn pending(&self) -> bool {
        let plain = self.icr.load(Ordering::SeqCst) & self.ims.load(Ordering::SeqCst);
        let extended = self.eicr.load(Ordering::SeqCst) & self.eims.load(Ordering::SeqCst);
        plain | extended != 0
    }

    /// When an interrupt will get through the throttle that holds it now.
    pub(super) fn next_event_ns(&self, mode: IrqMode, now_ns: u64) -> Option<u64> {
        let mut due = self.due.load(Ordering::SeqCst);
        if mode == IrqMode::Intx {
            due = u32::from(self.pending());
        }
        bits_of(due)
            .filter_map(|vector| self.throttles[vector % VECTORS].closed_until(now_ns))
            .min()
    }

    /// Interrupts for what is due, as far as the throttles are open. Returns
    /// whether this thread called a handler. No lock is held.
    pub(super) fn deliver(&self, port: &FunctionPort, now_ns: &AtomicU64) -> bool {
        match port.irq_mode() {
            IrqMode::Intx => {
                // The level says it all.
                self.pending() && port.raise_intx(&|| self.let_pin_through(now_ns))
            }
            _ if self.due.load(Ordering::SeqCst) == 0 => false,
            IrqMode::MsiX if self.has_vectors() => self.send_due(port, now_ns),
            IrqMode::Msi | IrqMode::MsiX => self.send_single(port, now_ns),
        }
    }

    fn let_pin_through(&self, now_ns: &AtomicU64) -> bool {
        let now_ns = now_ns.load(Ordering::SeqCst);
        let through = self.pending() && self.throttles[0].closed_until(now_ns).is_none();
        if through {
            self.throttles[0].close(now_ns);
        }
        through
    }

    fn send_single(&self, port: &FunctionPort, now_ns: &AtomicU64) -> bool {
        let now_ns = now_ns.load(Ordering::SeqCst);
        if self.throttles[0].closed_until(now_ns).is_some() {
            return false;
        }
        let mine = self.due.swap(0, Ordering::SeqCst) != 0;
        if !mine || !self.pending() {
            return false;
        }
        self.throttles[0].close(now_ns);
        port.message(0)
    }

    fn send_due(&self, port: &FunctionPort, now_ns: &AtomicU64) -> bool {
        let mut called = false;
        for vector in bits_of(self.due.load(Ordering::SeqCst)) {
            let now_ns = now_ns.load(Ordering::SeqCst);
            let throttle = &self.throttles[vector % VECTORS];
            if throttle.closed_until(now_ns).is_none() && self.claim(1 << vector) {
                throttle.close(now_ns);
                called |= port.message(vector as u16);
            }
        }
        called
    }

    /// Makes a due message this thread's to send, unless it was masked meanwhile:
    /// clears and masks what is to be cleared and masked with it.
    fn claim(&self, bit: u32) -> bool {
        let mine = self.due.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        let enabled = self.eicr.load(Ordering::SeqCst) & self.eims.load(Ordering::SeqCst);
        if !mine || enabled & bit == 0 {
            return false;
        }
        let eiac = self.eiac.load(Ordering::SeqCst);
        self.mask_by_message(bit);
        self.eicr.fetch_and(!(bit & eiac), Ordering::SeqCst);
        true
    }
}

/// The registers that only hold what is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    Eiac,
    Eiam,
    Gpie,
    Iam,
    Ivar(usize),
    IvarMisc,
}

/// The bit of EICR that an entry of IVAR names.
fn vector_bit(entry: u32) -> u32 {
    if entry & IVAR_VALID == 0 {
        0
    } else {
        1 << (entry & 0x1f)
    }
}

fn bits_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        bit
    })
}
