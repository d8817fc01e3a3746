//! The network tally counters (10.3, "Network Tally Counters").

use super::regs::Isr;

/// What is counted, in the order of CNTR0 to CNTR2.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tallied {
    FrameAlignment,
    Crc,
    Missed,
}

/// Three counters, which stop at 192 and are cleared when they are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally([u8; 3]);

const FULL: u8 = 192;
/// A counter whose top bit is set asks to be read.
const ASKS: u8 = 0x80;

impl Tally {
    /// Counts one, and says what that raises.
    #[must_use]
    pub(super) fn count(&mut self, what: Tallied) -> Isr {
        let counter = &mut self.0[what as usize];
        *counter = counter.saturating_add(1).min(FULL);
        if *counter >= ASKS {
            Isr::CNT
        } else {
            Isr::empty()
        }
    }

    pub(super) fn take(&mut self, what: Tallied) -> u8 {
        std::mem::take(&mut self.0[what as usize])
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_asks_from_128_on_stops_at_192_and_clears_when_it_is_read() {
        let mut tally = Tally::default();
        let asks = (0..300).filter(|_| tally.count(Tallied::Crc) == Isr::CNT);
        assert_eq!(asks.count(), 300 - 127);
        assert_eq!(tally.take(Tallied::Crc), 192);
        assert_eq!(tally.take(Tallied::Crc), 0);
        assert_eq!(tally.take(Tallied::Missed), 0);
        assert_eq!(tally.take(Tallied::FrameAlignment), 0);
    }
}
