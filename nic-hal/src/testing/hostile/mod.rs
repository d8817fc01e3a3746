//! Hardware and drivers that do what no manual allows.
//!
//! [`HostileDevice`] stands between a driver and its device, and returns nonsense
//! now and then: impossible lengths, descriptors that are done without data, all
//! ones as after an unplug, causes that never end. [`torment_nic`] drives a NIC
//! meanwhile and holds the driver to what nonsense cannot change: it does not
//! panic, does not ask for ever, and every frame comes home.
//!
//! [`torment_model`] is the other side: a driver that programs nonsense, for the
//! models.
//!
//! All nonsense comes from a [`Whim`], which a seed or the bytes of a fuzzer
//! decide.

mod device;
mod driver;
mod nic;

pub use device::{HostileDevice, HostileMemory};
pub use driver::{Knowledge, Plan, Register, WhimWire, discover, torment_model};
pub use nic::torment_nic;

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::{Mutex, PoisonError};

/// What decides, again and again, which nonsense comes next.
#[derive(Debug)]
pub struct Whim(Mutex<Source>);

#[derive(Debug)]
enum Source {
    /// Xorshift, which never ends.
    Seed(u64),
    /// The bytes that are left, the last first.
    Bytes(Vec<u8>),
}

impl Whim {
    /// The whims of a seed: the same ones each time.
    #[must_use]
    pub fn from_seed(seed: u64) -> Arc<Self> {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Arc::new(Self(Mutex::new(Source::Seed(state))))
    }

    /// The whims that these bytes decide; when they are used up, all are 0.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Arc<Self> {
        let left = bytes.iter().rev().copied().collect();
        Arc::new(Self(Mutex::new(Source::Bytes(left))))
    }

    /// Whether all bytes were used up.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*source, Source::Bytes(left) if left.is_empty())
    }

    /// Any byte.
    pub fn byte(&self) -> u8 {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *source {
            Source::Bytes(left) => left.pop().unwrap_or(0),
            Source::Seed(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                (*state >> 32) as u8
            }
        }
    }

    /// Any word.
    pub fn word(&self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A number below `limit`; 0 when that is 0.
    pub fn below(&self, limit: usize) -> usize {
        let any = if limit <= 256 {
            usize::from(self.byte())
        } else {
            self.word() as usize
        };
        any % limit.max(1)
    }

    /// True in so many of 256 cases.
    pub fn chance(&self, of_256: u8) -> bool {
        self.byte() < of_256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_each_time_and_bytes_are_used_in_their_order() {
        let words = |whim: &Whim| [whim.word(), whim.word(), whim.word()];
        assert_eq!(words(&Whim::from_seed(7)), words(&Whim::from_seed(7)));
        assert_ne!(words(&Whim::from_seed(7)), words(&Whim::from_seed(8)));
        let whim = Whim::from_bytes(&[1, 0, 0, 0, 200]);
        assert_eq!(whim.word(), 1);
        assert!(!whim.is_spent());
        assert_eq!(whim.below(150), 50);
        assert!(whim.is_spent());
        assert_eq!(whim.word(), 0);
    }
}
