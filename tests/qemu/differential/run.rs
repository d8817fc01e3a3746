//! Carries operations out on both models, and compares.

use super::script::{Expect, Named, Number, Op, To, frame, noise};
use super::side::{ARENA, Ours, Place, Side, Theirs, Width};
use softnet_dma_ring::DmaRegion;
use softnet_emulated::PciBus;
use softnet_nic_hal::irq::IrqTable;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

/// A chip that both sides model.
pub(crate) struct Chip {
    /// QEMU's name of it.
    pub(crate) model: &'static str,
    /// What scripts call its registers, and where in BAR 0 they are.
    pub(crate) registers: &'static [(&'static str, u32)],
    /// How wide they are.
    pub(crate) width: Width,
    /// Those of other widths.
    pub(crate) others: &'static [(&'static str, u32, Width)],
    /// Takes out of the memory what is known to differ.
    pub(crate) normal: fn(&mut [u8]),
    /// Plugs our model in.
    pub(crate) ours: fn(&PciBus, &DmaRegion) -> Ours,
}

impl Chip {
    pub(crate) fn named(&self) -> Vec<(&'static str, Place)> {
        let place = |offset, width| Place {
            bar: 0,
            offset,
            width,
        };
        let all = self.registers.iter();
        let all = all.map(|&(name, offset)| (name, place(offset, self.width)));
        let others = self.others.iter();
        let others = others.map(|&(name, offset, width)| (name, place(offset, width)));
        all.chain(others).collect()
    }

    /// The register of that name.
    pub(crate) fn register(&self, name: &str) -> Named {
        let mut all = self.named().into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no register {name}"))
    }

    pub(crate) fn write(&self, name: &str, value: u64) -> Op {
        Op::Write(self.register(name), Number::Plain(value))
    }

    /// Both read the same.
    pub(crate) fn read(&self, name: &str) -> Op {
        Op::Read(self.register(name), Expect::Same)
    }
}

/// Both models of a chip, fresh from their reset.
pub(crate) struct Pair {
    ours: Ours,
    theirs: Theirs,
    base: u64,
}

/// How the two differ.
pub(crate) type Found = String;

impl Pair {
    pub(crate) fn new(qemu: &Path, chip: &Chip) -> Self {
        let memory = DmaRegion::alloc(ARENA).unwrap();
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        Self {
            ours: (chip.ours)(&bus, &memory),
            theirs: Theirs::new(qemu, chip.model, &memory),
            base: memory.dma_addr().0,
        }
    }

    /// Carries one operation out.
    pub(crate) fn run(&mut self, op: &Op) -> Result<(), Found> {
        match op {
            Op::Write((_, at), value) => {
                let value = value.resolve(self.base) as u32;
                self.each(|side| side.write(*at, value));
                Ok(())
            }
            Op::Read((_, at), expect) => {
                let (ours, theirs) = self.each(|side| u64::from(side.read(*at)));
                check(*expect, ours, theirs)
            }
            Op::Store(at, words) => {
                let base = self.base;
                let words = words.iter().map(|word| word.resolve(base).to_le_bytes());
                let bytes: Vec<u8> = words.flatten().collect();
                self.store(*at, &bytes)
            }
            Op::Fill(at, len, seed) => self.store(*at, &noise(*len, *seed)),
            Op::Ring(at, count, buffers, step) => {
                let first = self.base + buffers;
                let words = (0..*count).flat_map(|index| [first + index * step, 0]);
                let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
                self.store(*at, &bytes)
            }
            Op::Load(at, expect) => self.load(*at, *expect),
            Op::Frame(To(to), len, seed) => self.arrive(&frame(*to, *len, *seed)),
            Op::Bytes(bytes) => self.arrive(bytes),
            Op::Advance(us) => {
                self.each(|side| side.advance(us * 1000));
                Ok(())
            }
            Op::Sent(expect) => self.sent(*expect),
            Op::Pin(expect) => {
                let (ours, theirs) = self.each(|side| u64::from(side.pin()));
                check(*expect, ours, theirs)
            }
        }
    }

    /// Whether a register is the same, but for bits that are known to differ.
    pub(crate) fn compare_register(&mut self, (name, at): Named, known: u32) -> Result<(), Found> {
        let (ours, theirs) = self.each(|side| side.read(at) & !known);
        same(name, &ours, &theirs)
    }

    /// Whether all that was sent, the pin and all of the memory are the same, once what is
    /// known to differ was taken out of the memory.
    pub(crate) fn compare(&mut self, normal: fn(&mut [u8])) -> Result<(), Found> {
        self.sent(Expect::Same)?;
        let (ours, theirs) = self.each(|side| side.pin());
        same("the pin", &ours, &theirs)?;
        self.compare_memory(normal)
    }

    fn compare_memory(&mut self, normal: fn(&mut [u8])) -> Result<(), Found> {
        let (ours, theirs) = self.each(|side| {
            let mut bytes = vec![0; ARENA];
            side.load(0, &mut bytes);
            normal(&mut bytes);
            bytes
        });
        let mut words = ours.chunks(8).zip(theirs.chunks(8));
        match words.position(|(ours, theirs)| ours != theirs) {
            Some(at) => {
                let word = at * 8..at * 8 + 8;
                let what = format!("memory at {:#x}", at * 8);
                same(&what, &&ours[word.clone()], &&theirs[word])
            }
            None => Ok(()),
        }
    }

    fn each<T>(&mut self, mut act: impl FnMut(&mut dyn Side) -> T) -> (T, T) {
        (act(&mut self.ours), act(&mut self.theirs))
    }

    fn store(&mut self, at: usize, bytes: &[u8]) -> Result<(), Found> {
        self.each(|side| side.store(at, bytes));
        Ok(())
    }

    fn arrive(&mut self, frame: &[u8]) -> Result<(), Found> {
        self.each(|side| side.frame(frame));
        Ok(())
    }

    fn load(&mut self, at: usize, expect: Expect<Number>) -> Result<(), Found> {
        let (ours, theirs) = self.each(|side| {
            let mut word = [0; 8];
            side.load(at, &mut word);
            u64::from_le_bytes(word)
        });
        let resolve = |number: Number| number.resolve(self.base);
        let expect = match expect {
            Expect::Same => Expect::Same,
            Expect::Both(both) => Expect::Both(resolve(both)),
            Expect::Differ(a, b) => Expect::Differ(resolve(a), resolve(b)),
        };
        check(expect, ours, theirs)
    }

    fn sent(&mut self, expect: Expect<u64>) -> Result<(), Found> {
        let (ours, theirs) = self.each(|side| side.sent());
        if let Expect::Differ(..) = expect {
            return check(expect, ours.len() as u64, theirs.len() as u64);
        }
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            same(&format!("frame {number}"), &Hex(ours), &Hex(theirs))?;
        }
        same("the number of frames", &ours.len(), &theirs.len())?;
        check(expect, ours.len() as u64, theirs.len() as u64)
    }
}

fn check(expect: Expect<u64>, ours: u64, theirs: u64) -> Result<(), Found> {
    let (want_ours, want_theirs) = match expect {
        Expect::Same => (theirs, theirs),
        Expect::Both(both) => (both, both),
        Expect::Differ(a, b) => (a, b),
    };
    if (ours, theirs) == (want_ours, want_theirs) {
        return Ok(());
    }
    Err(format!(
        "ours {ours:#x}, QEMU's {theirs:#x}; expected {want_ours:#x} and {want_theirs:#x}"
    ))
}

fn same<T: PartialEq + Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), Found> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!(
        "{what} differs: ours {ours:x?}, QEMU's {theirs:x?}"
    ))
}

#[derive(PartialEq)]
struct Hex<'a>(&'a [u8]);

impl Debug for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes ", self.0.len())?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
