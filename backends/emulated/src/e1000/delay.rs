//! Interrupt delay timers (sections 13.4.30, 13.4.31, 13.4.41 and 13.4.44): one
//! that each packet starts anew, and one that bounds it.

/// Nanoseconds of one count.
const UNIT_NS: u64 = 1024;

/// A pair of delay timers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delay {
    packet: Option<u64>,
    absolute: Option<u64>,
}

impl Delay {
    /// A packet came: its timer starts anew with `packet` counts, and the other
    /// one, unless it is running or its register is 0, with `absolute`.
    pub(super) fn start(&mut self, now_ns: u64, packet: u32, absolute: u32) {
        let after = |counts: u32| now_ns.saturating_add(u64::from(counts) * UNIT_NS);
        self.packet = Some(after(packet));
        if absolute != 0 && self.absolute.is_none() {
            self.absolute = Some(after(absolute));
        }
    }

    /// When the first of them ends.
    pub(super) fn due(&self) -> Option<u64> {
        self.packet.into_iter().chain(self.absolute).min()
    }

    /// Whether one has ended; both stop then.
    pub(super) fn expire(&mut self, now_ns: u64) -> bool {
        let over = self.due().is_some_and(|due| due <= now_ns);
        if over {
            self.stop();
        }
        over
    }

    /// Stops both; returns whether they were running.
    pub(super) fn stop(&mut self) -> bool {
        std::mem::take(self).packet.is_some()
    }
}
