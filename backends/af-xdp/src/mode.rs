//! How the kernel moves packets between an interface and a socket.

use std::fmt;

/// A mode, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The device itself reads and writes the UMEM.
    ZeroCopy,
    /// The driver runs the XDP program, and the kernel copies.
    Copy,
    /// The kernel runs the XDP program behind the driver, and copies: for every
    /// interface, and the slowest.
    Skb,
}

impl Mode {
    /// All modes, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::ZeroCopy, Self::Copy, Self::Skb];

    /// Its name in reports and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Skb => "skb",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no mode has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: zero-copy, copy or skb")]
pub struct UnknownMode(pub String);

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// Which modes may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// The best that works.
    #[default]
    Best,
    /// This one, or none.
    Only(Mode),
}

impl ModeChoice {
    /// The modes to be tried, in order.
    pub fn candidates(self) -> impl Iterator<Item = Mode> {
        Mode::ALL
            .into_iter()
            .filter(move |&mode| self == Self::Best || self == Self::Only(mode))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_best_mode_is_tried_first_and_a_forced_one_alone() {
        let all: Vec<_> = ModeChoice::Best.candidates().collect();
        assert_eq!(all, [Mode::ZeroCopy, Mode::Copy, Mode::Skb]);
        let one: Vec<_> = ModeChoice::Only(Mode::Skb).candidates().collect();
        assert_eq!(one, [Mode::Skb]);
    }

    #[test]
    fn a_mode_is_found_by_the_name_that_it_prints() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("native".parse::<Mode>().is_err());
    }
}
