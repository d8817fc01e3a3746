//! Sequences of operations, in memory and as text.
//!
//! A line is an operation; what is after a `#` is a comment. Numbers are decimal, or
//! hexadecimal with `0x`; `@0x40` is the bus address of the arena's byte 0x40, of which a
//! register of 32 bits takes the lower half, and `^0x40` is the upper half.
//!
//! | line | does |
//! |---|---|
//! | `write REGISTER VALUE` | writes a register, by its name |
//! | `read REGISTER` | both read the same |
//! | `read REGISTER VALUE` | both read that |
//! | `read REGISTER OURS QEMUS` | the two read these, which is a known difference |
//! | `store OFFSET WORD...` | puts 64-bit words into the arena |
//! | `fill OFFSET LENGTH SEED` | puts bytes into the arena |
//! | `ring OFFSET COUNT BUFFERS STEP` | puts descriptors there: an address in the arena, `STEP` further in each, and 0 |
//! | `load OFFSET` | the arena has the same 64-bit word there |
//! | `load OFFSET OURS QEMUS` | the two have these words there, a known difference |
//! | `frame TO LENGTH SEED` | a frame arrives; TO is an address, `me` or `all` |
//! | `bytes HEX` | a frame arrives that is these bytes |
//! | `advance MICROSECONDS` | time passes |
//! | `sent COUNT` | both have sent so many frames, and the same |
//! | `sent OURS QEMUS` | they have sent so many, and not the same: a known difference |
//! | `pin LEVEL` | both have their interrupt pin at 0 or 1 |
//! | `pin OURS QEMUS` | the pins are so, a known difference |

use super::side::Place;
use crate::bench::MAC;
use softnet_nic_hal::MacAddress;
use std::fmt;

/// A register that scripts may name.
pub(crate) type Named = (&'static str, Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write(Named, Number),
    Read(Named, Expect<u64>),
    Store(usize, Vec<Number>),
    Fill(usize, usize, u64),
    Ring(usize, u64, u64, u64),
    Load(usize, Expect<Number>),
    Frame(To, usize, u64),
    Bytes(Vec<u8>),
    Advance(u64),
    Sent(Expect<u64>),
    Pin(Expect<u64>),
}

/// What the two models are to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect<T> {
    Same,
    Both(T),
    Differ(T, T),
}

/// A number, or an address in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Plain(u64),
    At(u64),
    /// The upper half of the address.
    High(u64),
}

impl Number {
    pub(crate) fn resolve(self, base: u64) -> u64 {
        match self {
            Self::Plain(value) => value,
            Self::At(offset) => base + offset,
            Self::High(offset) => (base + offset) >> 32,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct To(pub(crate) MacAddress);

/// Bytes that depend on a seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.u8(..)).collect()
}

/// A frame of `len` bytes to `to`, of an EtherType that nobody has.
pub(crate) fn frame(to: MacAddress, len: usize, seed: u64) -> Vec<u8> {
    let head = [&to.0[..], &[2, 0, 0, 0, 0xaa, 0xbb, 0x88, 0xb5]].concat();
    let mut bytes = noise(len, seed);
    for (byte, fixed) in bytes.iter_mut().zip(head) {
        *byte = fixed;
    }
    bytes
}

/// Reads a script; panics at what is none, naming the line.
pub(crate) fn parse(text: &str, registers: &[Named]) -> Vec<Op> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.split('#').next().unwrap_or("")));
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| match operation(line, registers) {
            Some(op) => op,
            None => panic!("line {number} is no operation: {line}"),
        })
        .collect()
}

fn operation(line: &str, registers: &[Named]) -> Option<Op> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (&verb, rest) = words.split_first()?;
    let named = |name: &str| registers.iter().find(|(known, _)| *known == name).copied();
    Some(match (verb, rest) {
        ("write", [name, value]) => Op::Write(named(name)?, number(value)?),
        ("read", [name, values @ ..]) => Op::Read(named(name)?, expect(values, plain)?),
        ("store", [at, values @ ..]) => {
            let values: Option<_> = values.iter().map(|word| number(word)).collect();
            Op::Store(plain(at)? as usize, values?)
        }
        ("fill", [at, len, seed]) => {
            Op::Fill(plain(at)? as usize, plain(len)? as usize, plain(seed)?)
        }
        ("ring", [at, count, buffers, step]) => Op::Ring(
            plain(at)? as usize,
            plain(count)?,
            plain(buffers)?,
            plain(step)?,
        ),
        ("load", [at, values @ ..]) => Op::Load(plain(at)? as usize, expect(values, number)?),
        ("frame", [to, len, seed]) => Op::Frame(address(to)?, plain(len)? as usize, plain(seed)?),
        ("bytes", [hex]) => Op::Bytes(bytes(hex)?),
        ("advance", [us]) => Op::Advance(plain(us)?),
        ("sent", values) => Op::Sent(expect(values, plain)?),
        ("pin", values) => Op::Pin(expect(values, plain)?),
        _ => return None,
    })
}

fn plain(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn number(word: &str) -> Option<Number> {
    match word.split_at_checked(1)? {
        ("@", offset) => plain(offset).map(Number::At),
        ("^", offset) => plain(offset).map(Number::High),
        _ => plain(word).map(Number::Plain),
    }
}

fn expect<T>(words: &[&str], read: fn(&str) -> Option<T>) -> Option<Expect<T>> {
    Some(match words {
        [] => Expect::Same,
        [both] => Expect::Both(read(both)?),
        [ours, theirs] => Expect::Differ(read(ours)?, read(theirs)?),
        _ => return None,
    })
}

fn address(word: &str) -> Option<To> {
    let mac = match word {
        "me" => MAC,
        "all" => MacAddress::BROADCAST,
        _ => {
            let bytes: Option<Vec<u8>> = word
                .split(':')
                .map(|part| u8::from_str_radix(part, 16).ok())
                .collect();
            MacAddress(bytes?.try_into().ok()?)
        }
    };
    Some(To(mac))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let at = |index| u8::from_str_radix(hex.get(index..index + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(at).collect()
}

/// As a line of a script, so that what a random run has found can become one.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write((name, _), value) => write!(f, "write {name} {value}"),
            Self::Read((name, _), expect) => write!(f, "read {name}{expect}"),
            Self::Store(at, words) => {
                write!(f, "store {at:#x}")?;
                words.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::Fill(at, len, seed) => write!(f, "fill {at:#x} {len} {seed}"),
            Self::Ring(at, count, buffers, step) => {
                write!(f, "ring {at:#x} {count} {buffers:#x} {step:#x}")
            }
            Self::Load(at, expect) => write!(f, "load {at:#x}{expect}"),
            Self::Frame(To(to), len, seed) => write!(f, "frame {to} {len} {seed}"),
            Self::Bytes(bytes) => {
                write!(f, "bytes ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Advance(us) => write!(f, "advance {us}"),
            Self::Sent(expect) => write!(f, "sent{expect}"),
            Self::Pin(expect) => write!(f, "pin{expect}"),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => write!(f, "{value:#x}"),
            Self::At(offset) => write!(f, "@{offset:#x}"),
            Self::High(offset) => write!(f, "^{offset:#x}"),
        }
    }
}

impl<T: Copy + Into<Number>> fmt::Display for Expect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Same => Ok(()),
            Self::Both(value) => write!(f, " {}", value.into()),
            Self::Differ(ours, theirs) => write!(f, " {} {}", ours.into(), theirs.into()),
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Plain(value)
    }
}

#[test]
fn a_script_is_read_as_it_is_printed() {
    let place = Place {
        bar: 0,
        offset: 0,
        width: super::side::Width::Long,
    };
    let text = "write CTRL 0x40\nwrite CTRL ^0x0\nread CTRL\nread CTRL 0x1\nread CTRL 0x1 0x2\n\
                store 0x10 @0x40 0x5\nfill 0x0 3 9\nring 0x40 2 0x80 0x20\nload 0x10\nload 0x10 @0x0 0x0\n\
                frame ff:ff:ff:ff:ff:ff 60 1\nbytes 00ff10\nadvance 5\nsent 0x1\npin 0x0 0x1\n";
    let ops = parse(text, &[("CTRL", place)]);
    let printed: String = ops.iter().map(|op| format!("{op}\n")).collect();
    assert_eq!(printed, text);
}
