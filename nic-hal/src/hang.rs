//! Telling a transmitter that hangs from one that is slow.

/// A transmitter that stands for two watchdog intervals hangs.
const HANG_NS: u64 = 4_000_000_000;

/// Where a transmit queue stood when its driver's
/// [`watchdog`](crate::NicHal::watchdog) looked, and since when: what
/// [`WatchdogReport::tx_hang`](crate::WatchdogReport::tx_hang) is told by.
#[derive(Debug, Default)]
pub struct HangWatch {
    standing: Option<Standing>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    position: u32,
    since_ns: u64,
}

impl HangWatch {
    /// Notes how far a transmitter that has work has come, in whatever count changes
    /// with each packet, at `now_ns` nanoseconds of the clock. True once it has stood
    /// for 4 seconds, and then again only after as long.
    pub fn note(&mut self, position: u32, now_ns: u64) -> bool {
        let since_ns = match self.standing {
            Some(standing) if standing.position == position => standing.since_ns,
            _ => now_ns,
        };
        let hangs = now_ns.saturating_sub(since_ns) >= HANG_NS;
        self.standing = (!hangs).then_some(Standing { position, since_ns });
        hangs
    }

    /// The transmitter has no work, or may not send: that it stands is no fault.
    pub fn forget(&mut self) {
        self.standing = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmitter_hangs_once_it_has_stood_too_long_and_again_after_as_long() {
        let mut watch = HangWatch::default();
        let seen = [
            0,
            HANG_NS - 1,
            HANG_NS,
            HANG_NS + 1,
            2 * HANG_NS,
            2 * HANG_NS + 1,
        ];
        let hangs = seen.map(|now_ns| watch.note(7, now_ns));
        assert_eq!(hangs, [false, false, true, false, false, true]);
    }

    #[test]
    fn one_that_moves_or_has_no_work_in_between_does_not_hang() {
        let mut watch = HangWatch::default();
        assert!(!watch.note(7, 0));
        assert!(!watch.note(8, HANG_NS));
        watch.forget();
        assert!(!watch.note(8, 3 * HANG_NS));
    }
}
