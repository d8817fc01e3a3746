//! Which faults, and how often.

/// How likely something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chance(u64);

/// A chance of one, in the units of [`Chance`].
const CERTAIN: u64 = 1 << 32;

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(CERTAIN);

    /// From a probability; what lies outside of 0 to 1 is taken for the nearer
    /// one, and what is no number for 0.
    #[must_use]
    pub fn of(probability: f64) -> Self {
        Self((probability.clamp(0.0, 1.0) * CERTAIN as f64) as u64)
    }

    /// Whether it happens, for a number that was drawn evenly from all `u32`.
    pub(super) const fn happens(self, drawn: u32) -> bool {
        (drawn as u64) < self.0
    }

    pub(super) const fn is_never(self) -> bool {
        self.0 == 0
    }
}

/// Loss in bursts: the model of Gilbert and Elliott. The line is good or bad,
/// changes state by chance at each frame, and loses frames by the chance of the
/// state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurstLoss {
    /// From good to bad, at each frame.
    pub become_bad: Chance,
    /// From bad to good, at each frame. The mean burst has `1 / become_good`
    /// frames.
    pub become_good: Chance,
    /// Loss while the line is bad.
    pub loss_in_bad: Chance,
    /// Loss while the line is good.
    pub loss_in_good: Chance,
}

/// Frames that are overtaken by later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// How likely a frame is held back.
    pub chance: Chance,
    /// How many later frames overtake it; 0 is taken for 1.
    pub packets: u32,
    /// Nanoseconds after which it goes on in any case.
    pub timeout_ns: u64,
}

/// A line that takes time for each bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits in a second on the line; 0 is taken for 1. Each frame costs 24
    /// bytes more than it has: preamble, FCS and the gap between frames (IEEE
    /// 802.3).
    pub bits_per_second: u64,
    /// Frames that wait for the line, the one that is being sent included,
    /// before the next one is lost; 0 is taken for 1.
    pub queue_frames: usize,
}

/// What happens to the frames of one direction. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Impairment {
    /// Each frame is lost by this chance.
    pub loss: Chance,
    /// Loss in bursts.
    pub burst_loss: Option<BurstLoss>,
    /// Each frame arrives twice by this chance.
    pub duplicate: Chance,
    /// One bit of each frame is flipped by this chance. The wire has no FCS, so
    /// the frame arrives, and the checksums above must catch it.
    pub corrupt: Chance,
    /// Reordering.
    pub reorder: Option<Reorder>,
    /// Nanoseconds that each frame takes.
    pub delay_ns: u64,
    /// Up to so many nanoseconds more, drawn evenly. Frames overtake each other
    /// where it is larger than their distance.
    pub jitter_ns: u64,
    /// A limited rate.
    pub rate: Option<Rate>,
    /// Frames that are held at once for all of these reasons before the next
    /// one is lost.
    pub limit: usize,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: Chance::NEVER,
            burst_loss: None,
            duplicate: Chance::NEVER,
            corrupt: Chance::NEVER,
            reorder: None,
            delay_ns: 0,
            jitter_ns: 0,
            rate: None,
            limit: 10_000,
        }
    }
}

impl Impairment {
    /// Whether nothing happens to any frame.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let limit = self.limit;
        *self
            == Self {
                limit,
                ..Self::default()
            }
    }
}

/// The faults of both directions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultConfig {
    /// What the random draws start from.
    pub seed: u64,
    /// From the model to the wire behind.
    pub transmit: Impairment,
    /// From the wire behind to the model.
    pub receive: Impairment,
}

impl FaultConfig {
    /// No faults yet, and a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }
}
