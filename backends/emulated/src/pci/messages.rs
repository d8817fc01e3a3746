//! The registers of MSI and of MSI-X, and where their messages go.
//!
//! A message is a write of a word to an address. The bus has one window for such
//! writes, as PCs have, and what is written there is an index into the function's
//! own table of interrupt lines, as with interrupt remapping: so a function can
//! raise no lines but its own, whatever its driver programs.

use super::capabilities::{MsiLayout, MsixLayout};
use super::vector::{Hold, Route, Vector};
use bitflags::bitflags;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// The window that takes messages: 1 MiB at FEE0_0000h.
pub(super) const WINDOW: u32 = 0xfee0_0000;
const WINDOW_MASK: u32 = 0xfff0_0000;

/// The route that a message of `data` to this address takes.
fn route(low: u32, high: u32, data: u32) -> Route {
    if high != 0 || low & WINDOW_MASK != WINDOW {
        return Route::NOWHERE;
    }
    u16::try_from(data).map_or(Route::NOWHERE, Route)
}

bitflags! {
    /// Message control of MSI-X.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct MsixControl: u16 {
        /// Messages are masked all together.
        const MASK = 1 << 14;
        /// Messages are used instead of the pin.
        const ENABLE = 1 << 15;
    }
}

/// MSI-X: control word, table and pending bits.
pub(super) struct Msix {
    pub(super) layout: MsixLayout,
    control: AtomicU16,
    entries: Box<[Entry]>,
}

/// One entry of the table. Only the vector's word is read when a message is sent;
/// the others are what the driver wrote.
struct Entry {
    words: [AtomicU32; 3],
    vector: Vector,
}

/// Bytes of an entry.
const ENTRY: u32 = 16;

impl Entry {
    fn new() -> Self {
        Self {
            words: [const { AtomicU32::new(0) }; 3],
            vector: Vector::new(),
        }
    }

    fn read(&self, word: usize) -> u32 {
        let plain = self.words.get(word);
        plain.map_or_else(|| self.vector.is_masked().into(), load)
    }

    /// Returns where to send the message that this write has released.
    fn write(&self, word: usize, value: u32) -> Option<Route> {
        if let Some(plain) = self.words.get(word) {
            plain.store(value, Ordering::Relaxed);
            let [low, high, data] = &self.words;
            self.vector
                .set_route(route(load(low), load(high), load(data)));
            return None;
        }
        if value & 1 == 0 {
            return self.vector.lift(Hold::Mask);
        }
        self.vector.hold(Hold::Mask);
        None
    }

    fn reset(&self) {
        for word in &self.words {
            word.store(0, Ordering::Relaxed);
        }
        self.vector.reset();
    }
}

impl Msix {
    pub(super) fn new(mut layout: MsixLayout) -> Self {
        layout.vectors = layout.vectors.clamp(1, 2048);
        Self {
            layout,
            control: AtomicU16::new(0),
            entries: (0..layout.vectors).map(|_| Entry::new()).collect(),
        }
    }

    pub(super) fn control(&self) -> MsixControl {
        MsixControl::from_bits_truncate(self.control.load(Ordering::Acquire))
    }

    pub(super) fn set_control(&self, control: MsixControl) {
        self.control.store(control.bits(), Ordering::Release);
    }

    /// The word of its capability at `at`, without identifier and next pointer.
    pub(super) fn config_read(&self, at: u16) -> u32 {
        let bar = u32::from(self.layout.bar);
        match at {
            0 => u32::from(self.control().bits() | (self.layout.vectors - 1)) << 16,
            4 => self.layout.table | bar,
            8 => self.layout.pba | bar,
            _ => 0,
        }
    }

    pub(super) fn config_write(&self, at: u16, value: u32) {
        if at == 0 {
            self.set_control(MsixControl::from_bits_truncate((value >> 16) as u16));
        }
    }

    /// What of the BAR's space at `offset` is not the model's: offsets in the table,
    /// or in the pending bits.
    pub(super) fn part(&self, bar: u8, offset: u32) -> Option<Part> {
        if bar != self.layout.bar {
            return None;
        }
        let vectors = u32::from(self.layout.vectors);
        let inside = |start: u32, len: u32| offset.checked_sub(start).filter(|at| *at < len);
        let table = inside(self.layout.table, vectors * ENTRY).map(Part::Table);
        table.or_else(|| inside(self.layout.pba, vectors.div_ceil(64) * 8).map(Part::Pending))
    }

    /// The word that holds an offset.
    pub(super) fn read(&self, part: Part) -> u32 {
        match part {
            Part::Table(at) => self.entry(at).map_or(0, |(entry, word)| entry.read(word)),
            Part::Pending(at) => self.pending(at / 4),
        }
    }

    /// Writes a whole word. The pending bits cannot be written. Returns where to
    /// send the message that this has released.
    pub(super) fn write(&self, part: Part, value: u32) -> Option<Route> {
        let Part::Table(at) = part else {
            return None;
        };
        let (entry, word) = self.entry(at)?;
        entry.write(word, value)
    }

    fn entry(&self, at: u32) -> Option<(&Entry, usize)> {
        let entry = self.entries.get((at / ENTRY) as usize)?;
        Some((entry, (at % ENTRY / 4) as usize))
    }

    fn pending(&self, word: u32) -> u32 {
        let entries = self.entries.iter().skip(word as usize * 32).take(32);
        bits(entries.map(|entry| entry.vector.is_pending()))
    }

    /// All words of the table, the mask of each entry last.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        let words = u32::from(self.layout.vectors) * (ENTRY / 4);
        (0..words).map(|word| Part::Table(word * 4))
    }

    pub(super) fn message(&self, vector: u16) -> Option<Route> {
        self.entries.get(usize::from(vector))?.vector.message()
    }

    /// Lets the function send, or not; `due` gets the messages that have waited.
    pub(super) fn set_open(&self, open: bool, due: &mut Vec<Route>) {
        for entry in &self.entries {
            due.extend(set_open(&entry.vector, open));
        }
    }

    pub(super) fn reset(&self) {
        self.set_control(MsixControl::empty());
        self.entries.iter().for_each(Entry::reset);
    }
}

/// A part of a BAR that the bus answers for, with the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The table.
    Table(u32),
    /// The pending bits.
    Pending(u32),
}

impl Part {
    /// The first word of a vector's entry.
    pub(super) fn entry(vector: u16) -> u32 {
        u32::from(vector) * ENTRY
    }
}

/// Message control of MSI: enable, and the exponent of the number of vectors that
/// the driver was given.
const MSI_ENABLE: u16 = 1;
const MSI_GIVEN: u16 = 7 << 4;
/// 64-bit address, and a mask bit for each vector.
const MSI_KIND: u16 = 1 << 7 | 1 << 8;

/// MSI: its capability's registers.
pub(super) struct Msi {
    pub(super) layout: MsiLayout,
    control: AtomicU16,
    address: [AtomicU32; 2],
    data: AtomicU16,
    vectors: Box<[Vector]>,
}

impl Msi {
    pub(super) fn new(mut layout: MsiLayout) -> Self {
        let log = layout.vectors.clamp(1, 32).ilog2();
        layout.vectors = 1 << log;
        let msi = Self {
            layout,
            control: AtomicU16::new(0),
            address: [const { AtomicU32::new(0) }; 2],
            data: AtomicU16::new(0),
            vectors: (0..layout.vectors).map(|_| Vector::new()).collect(),
        };
        msi.reset();
        msi
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.control.load(Ordering::Acquire) & MSI_ENABLE != 0
    }

    /// Vectors that the driver was given.
    fn given(&self) -> u16 {
        let log = (self.control.load(Ordering::Acquire) & MSI_GIVEN) >> 4;
        (1 << log.min(5)).min(u16::from(self.layout.vectors))
    }

    /// Enables so many vectors, a power of two; 0 disables.
    pub(super) fn enable(&self, vectors: u16) {
        let log = vectors.checked_ilog2();
        let control = log.map_or(0, |log| MSI_ENABLE | (log as u16) << 4);
        self.control.store(control, Ordering::Release);
    }

    pub(super) fn config_read(&self, at: u16) -> u32 {
        let [low, high] = &self.address;
        match at {
            0 => {
                let able = self.layout.vectors.ilog2() as u16;
                let control = self.control.load(Ordering::Acquire) | MSI_KIND | able << 1;
                u32::from(control) << 16
            }
            4 => load(low),
            8 => load(high),
            12 => self.data.load(Ordering::Relaxed).into(),
            16 => bits(self.vectors.iter().map(Vector::is_masked)),
            20 => bits(self.vectors.iter().map(Vector::is_pending)),
            _ => 0,
        }
    }

    /// `due` gets the messages that the write has released.
    pub(super) fn config_write(&self, at: u16, value: u32, due: &mut Vec<Route>) {
        let [low, high] = &self.address;
        match at {
            0 => {
                let control = (value >> 16) as u16 & (MSI_ENABLE | MSI_GIVEN);
                self.control.store(control, Ordering::Release);
            }
            4 => low.store(value & !3, Ordering::Relaxed),
            8 => high.store(value, Ordering::Relaxed),
            12 => self.data.store(value as u16, Ordering::Relaxed),
            16 => due.extend(self.mask(value)),
            _ => {}
        }
        self.lead();
    }

    /// The function puts a vector's number into the low bits of the data.
    pub(super) fn lead(&self) {
        let [low, high] = &self.address;
        let given = self.given();
        let data = self.data.load(Ordering::Relaxed) & !(given - 1);
        for (number, vector) in (0..given).zip(&self.vectors) {
            let data = u32::from(data | number);
            vector.set_route(route(load(low), load(high), data));
        }
    }

    fn mask(&self, mask: u32) -> Vec<Route> {
        let vectors = self.vectors.iter().enumerate();
        let lifted = vectors.filter_map(|(number, vector)| {
            if mask & 1 << number == 0 {
                return vector.lift(Hold::Mask);
            }
            vector.hold(Hold::Mask);
            None
        });
        lifted.collect()
    }

    pub(super) fn message(&self, vector: u16) -> Option<Route> {
        let vector = vector & (self.given() - 1);
        self.vectors.get(usize::from(vector))?.message()
    }

    pub(super) fn set_open(&self, open: bool, due: &mut Vec<Route>) {
        for vector in &self.vectors {
            due.extend(set_open(vector, open));
        }
    }

    /// All vectors are unmasked after a reset.
    pub(super) fn reset(&self) {
        self.enable(0);
        for word in &self.address {
            word.store(0, Ordering::Relaxed);
        }
        self.data.store(0, Ordering::Relaxed);
        for vector in &self.vectors {
            vector.reset();
            vector.lift(Hold::Mask);
        }
    }
}

fn set_open(vector: &Vector, open: bool) -> Option<Route> {
    if open {
        return vector.lift(Hold::Function);
    }
    vector.hold(Hold::Function);
    None
}

fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Relaxed)
}

/// The first is bit 0.
fn bits(set: impl Iterator<Item = bool>) -> u32 {
    set.enumerate()
        .fold(0, |all, (n, set)| all | u32::from(set) << n)
}
