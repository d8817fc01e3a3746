//! The rings and their peers, behind one trait, and what is done with them.

pub mod mpsc;
pub mod sample;
pub mod spsc;

/// Slots of every ring in the two-thread rows.
pub const CAPACITY: usize = 1024;
/// Items of a batch.
pub const BATCH: usize = 32;

/// What goes through a ring.
pub trait Item: Copy + Send + 'static {
    /// Its name in a row.
    const NAME: &'static str;

    /// The item that stands for `number`.
    fn new(number: u64) -> Self;

    /// What the item stands for.
    fn number(self) -> u64;
}

impl Item for u64 {
    const NAME: &'static str = "u64";

    fn new(number: u64) -> Self {
        number
    }

    fn number(self) -> u64 {
        self
    }
}

impl Item for [u64; 2] {
    const NAME: &'static str = "[u64; 2]";

    fn new(number: u64) -> Self {
        [number, 0]
    }

    fn number(self) -> u64 {
        self[0].wrapping_add(self[1])
    }
}

impl Item for [u64; 6] {
    const NAME: &'static str = "[u64; 6]";

    fn new(number: u64) -> Self {
        [number, 0, 0, 0, 0, 0]
    }

    fn number(self) -> u64 {
        self.into_iter().fold(0, u64::wrapping_add)
    }
}
