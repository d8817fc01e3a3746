//! The clock that packets are stamped by (section 7.9, registers in 8.16).

use std::time::Instant;

/// Nanoseconds of one period of the clock that TIMINCA divides.
const TICK_NS: u64 = 16;

/// SYSTIM: a count that grows by an increment in every period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// SYSTIM, and the device's time when it was that.
    value: u64,
    at_ns: u64,
    timinca: u32,
    timadj_low: u32,
    /// The upper half of a SYSTIM whose lower half was read.
    latched_high: u32,
    /// The device's time of the last step, and when that was, if the device's
    /// thread sleeps in between.
    anchor: Option<(u64, Instant)>,
}

impl Clock {
    /// Whether it runs at all.
    pub(super) fn runs(&self) -> bool {
        self.timinca & 0xff_ffff != 0
    }

    /// A step of a model that is driven in real time begins.
    pub(super) fn set_anchor(&mut self, now_ns: u64) {
        self.anchor = Some((now_ns, Instant::now()));
    }

    pub(super) fn clear_anchor(&mut self) {
        self.anchor = None;
    }

    fn now(&self, stepped_ns: u64) -> u64 {
        match self.anchor {
            Some((then, instant)) => {
                then.saturating_add(u64::try_from(instant.elapsed().as_nanos()).unwrap_or(0))
            }
            None => stepped_ns,
        }
    }

    /// SYSTIM at `now_ns`.
    pub(super) fn systim(&self, now_ns: u64) -> u64 {
        let increment = u64::from(self.timinca & 0xff_ffff);
        let period = u64::from(self.timinca >> 24) * TICK_NS;
        let passed = now_ns.saturating_sub(self.at_ns);
        let periods = passed.checked_div(period).unwrap_or(0);
        self.value.wrapping_add(periods.wrapping_mul(increment))
    }

    /// Continues from a value.
    fn set(&mut self, value: u64, now_ns: u64) {
        self.value = value;
        self.at_ns = now_ns;
    }

    /// Reads SYSTIML, which keeps SYSTIMH for the read that follows.
    pub(super) fn read_low(&mut self, stepped_ns: u64) -> u32 {
        let value = self.systim(self.now(stepped_ns));
        self.latched_high = (value >> 32) as u32;
        value as u32
    }

    pub(super) fn read_high(&self) -> u32 {
        self.latched_high
    }

    pub(super) fn write_low(&mut self, low: u32, stepped_ns: u64) {
        let now = self.now(stepped_ns);
        let value = self.systim(now) >> 32 << 32 | u64::from(low);
        self.set(value, now);
    }

    pub(super) fn write_high(&mut self, high: u32, stepped_ns: u64) {
        let now = self.now(stepped_ns);
        let value = self.systim(now) & 0xffff_ffff | u64::from(high) << 32;
        self.set(value, now);
        self.latched_high = high;
    }

    pub(super) fn timinca(&self) -> u32 {
        self.timinca
    }

    pub(super) fn write_timinca(&mut self, timinca: u32, stepped_ns: u64) {
        let now = self.now(stepped_ns);
        self.set(self.systim(now), now);
        self.timinca = timinca;
    }

    pub(super) fn write_adjust_low(&mut self, low: u32) {
        self.timadj_low = low;
    }

    /// Adds TIMADJ to the clock, or takes it off: bit 31 is the sign.
    pub(super) fn adjust(&mut self, high: u32, stepped_ns: u64) {
        let now = self.now(stepped_ns);
        let by = u64::from(high & 0x7fff_ffff) << 32 | u64::from(self.timadj_low);
        let value = self.systim(now);
        let value = if high >> 31 == 0 {
            value.wrapping_add(by)
        } else {
            value.wrapping_sub(by)
        };
        self.set(value, now);
    }
}
