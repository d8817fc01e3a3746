//! The ten vectors.

/// A softirq vector. The order is Linux's, and it is the order in which a CPU
/// runs those that are pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Vector {
    /// Tasklets of high priority.
    Hi,
    /// The CPU's timers.
    Timer,
    /// Transmit work.
    NetTx,
    /// Receive work: NAPI.
    NetRx,
    /// Completions of block devices.
    Block,
    /// Polling of block devices.
    IrqPoll,
    /// Tasklets.
    Tasklet,
    /// Balancing of the scheduler.
    Sched,
    /// High-resolution timers.
    Hrtimer,
    /// Callbacks of read-copy-update.
    Rcu,
}

impl Vector {
    /// How many vectors there are.
    pub const COUNT: usize = 10;

    /// All vectors, in the order in which they run.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Hi,
        Self::Timer,
        Self::NetTx,
        Self::NetRx,
        Self::Block,
        Self::IrqPoll,
        Self::Tasklet,
        Self::Sched,
        Self::Hrtimer,
        Self::Rcu,
    ];

    /// The vector's place in [`Vector::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that `/proc/softirqs` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hi => "HI",
            Self::Timer => "TIMER",
            Self::NetTx => "NET_TX",
            Self::NetRx => "NET_RX",
            Self::Block => "BLOCK",
            Self::IrqPoll => "IRQ_POLL",
            Self::Tasklet => "TASKLET",
            Self::Sched => "SCHED",
            Self::Hrtimer => "HRTIMER",
            Self::Rcu => "RCU",
        }
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of vectors. Iterating takes them out in the order in which they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorSet(u32);

impl VectorSet {
    const MASK: u32 = (1 << Vector::COUNT) - 1;

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    #[inline]
    pub(crate) const fn with_bits(self, bits: u32) -> Self {
        Self(self.0 | bits)
    }

    /// Takes out the index of the vector that runs first.
    #[inline]
    pub(crate) const fn take_first(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let first = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(first)
    }

    /// Whether the set has no vector.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set has this vector.
    #[must_use]
    pub const fn contains(self, vector: Vector) -> bool {
        self.0 & vector.bit() != 0
    }
}

impl Iterator for VectorSet {
    type Item = Vector;

    fn next(&mut self) -> Option<Vector> {
        Vector::ALL.get(self.take_first()?).copied()
    }
}

impl FromIterator<Vector> for VectorSet {
    fn from_iter<I: IntoIterator<Item = Vector>>(vectors: I) -> Self {
        Self(
            vectors
                .into_iter()
                .fold(0, |bits, vector| bits | vector.bit()),
        )
    }
}
