//! Interrupt moderation that follows the load.

/// The steps of moderation, in microseconds between two interrupts.
const STEPS: [u32; 6] = [0, 8, 20, 50, 125, 250];

/// Interrupts that make one measurement.
const EVENTS: u32 = 32;

/// A measurement ends after this long too, in nanoseconds, so that a load that
/// has gone is noticed when the next packet comes.
const WINDOW_NS: u64 = 10_000_000;

/// So many interrupts in a second cost a CPU nothing worth a longer delay.
const CHEAP_PER_S: u64 = 25_000;

/// More packets than this with one interrupt save nothing: NAPI polls for so many at
/// a time, and a ring is soon full.
const ENOUGH: u64 = 64;

/// Measurements at rest after which a step is tried all the same.
const PATIENCE: u32 = 64;

/// How a measurement compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// More traffic, or the same with fewer interrupts.
    Better,
    Same,
    /// Less traffic, or the same with more interrupts.
    Worse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Nothing is tried.
    Parked { quiet: u32 },
    /// Towards longer intervals.
    Up { turned: bool },
    /// Towards shorter ones.
    Down { turned: bool },
}

/// Rates of one measurement, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    bytes: u64,
    packets: u64,
    events: u64,
}

/// Finds, for one receive queue, the time between two interrupts that suits its
/// load: dynamic interrupt moderation.
///
/// It climbs a hill: every few interrupts it looks whether the last step
/// has made the traffic denser or, at the same traffic, the interrupts fewer. While
/// it does so it goes on in that direction; when it makes things worse it turns
/// round; when nothing changes it rests until the load does. Where interrupts are
/// few anyway it takes the shortest delay that keeps them so.
///
/// ```
/// use softnet_nic_hal::dim::Dim;
/// let mut dim = Dim::new();
/// // A million packets of 64 bytes a second, one interrupt each: it slows them down.
/// let slower = (1..=100).find_map(|n| dim.sample(n * 1_000, 1, 64));
/// assert!(slower.is_some_and(|usecs| usecs > 0));
/// ```
#[derive(Clone, Debug)]
pub struct Dim {
    step: usize,
    course: Course,
    last: Rates,
    /// What was counted since the measurement began.
    since: Option<u64>,
    events: u32,
    packets: u64,
    bytes: u64,
}

impl Dim {
    /// No delay, and nothing measured.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            step: 0,
            course: Course::Parked { quiet: 0 },
            last: Rates {
                bytes: 0,
                packets: 0,
                events: 0,
            },
            since: None,
            events: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// The interval that was chosen last, in microseconds.
    #[must_use]
    pub fn interval_us(&self) -> u32 {
        STEPS.get(self.step).copied().unwrap_or(0)
    }

    /// Counts an interrupt and what was received because of it, at `now_ns`
    /// nanoseconds of the clock. Returns another interval, in microseconds, when
    /// there is to be one.
    #[inline]
    pub fn sample(&mut self, now_ns: u64, packets: usize, bytes: u64) -> Option<u32> {
        let since = *self.since.get_or_insert(now_ns);
        self.events = self.events.saturating_add(1);
        self.packets = self.packets.saturating_add(packets as u64);
        self.bytes = self.bytes.saturating_add(bytes);
        let lasted = now_ns.saturating_sub(since);
        if self.events < EVENTS && lasted < WINDOW_NS || lasted == 0 {
            return None;
        }
        self.measure(now_ns, lasted)
    }

    #[cold]
    fn measure(&mut self, now_ns: u64, lasted_ns: u64) -> Option<u32> {
        let per_s = |count: u64| count.saturating_mul(1_000_000_000) / lasted_ns;
        let now = Rates {
            bytes: per_s(self.bytes),
            packets: per_s(self.packets),
            events: per_s(u64::from(self.events)),
        };
        let change = compare(self.last, now);
        self.last = now;
        (self.since, self.events) = (Some(now_ns), 0);
        (self.packets, self.bytes) = (0, 0);
        let before = self.step;
        self.decide(change, now);
        (self.step != before).then(|| self.interval_us())
    }

    fn decide(&mut self, change: Change, now: Rates) {
        // A step is a factor of 2.5 at most: one down, they are still few.
        let are_very_few = now.events.saturating_mul(5) <= CHEAP_PER_S * 2;
        if are_very_few || now.packets / (2 * ENOUGH) > now.events {
            self.step = self.step.saturating_sub(1);
        }
        if now.events <= CHEAP_PER_S || now.packets / ENOUGH > now.events {
            self.course = Course::Parked { quiet: 0 };
            return;
        }
        self.course = match (self.course, change) {
            (Course::Parked { quiet }, Change::Same) if quiet < PATIENCE => {
                Course::Parked { quiet: quiet + 1 }
            }
            (Course::Parked { .. }, Change::Worse) => self.down(false),
            (Course::Parked { .. }, _) => self.up(false),
            (_, Change::Same) => Course::Parked { quiet: 0 },
            (Course::Up { turned }, Change::Better) => self.up(turned),
            (Course::Down { turned }, Change::Better) => self.down(turned),
            (Course::Up { turned: false }, Change::Worse) => self.down(true),
            (Course::Down { turned: false }, Change::Worse) => self.up(true),
            (_, Change::Worse) => Course::Parked { quiet: 0 },
        };
    }

    /// One step up, or rest at the end.
    fn up(&mut self, turned: bool) -> Course {
        if self.step + 1 == STEPS.len() {
            return Course::Parked { quiet: 0 };
        }
        self.step += 1;
        Course::Up { turned }
    }

    /// One step down, or rest at the end.
    fn down(&mut self, turned: bool) -> Course {
        if self.step == 0 {
            return Course::Parked { quiet: 0 };
        }
        self.step -= 1;
        Course::Down { turned }
    }
}

impl Default for Dim {
    fn default() -> Self {
        Self::new()
    }
}

/// Traffic counts more than interrupts.
fn compare(before: Rates, now: Rates) -> Change {
    let order = [
        (before.bytes, now.bytes),
        (before.packets, now.packets),
        (now.events, before.events),
    ];
    let differing = order.into_iter().find(|&(a, b)| is_different(a, b));
    match differing {
        None => Change::Same,
        Some((a, b)) if b > a => Change::Better,
        Some(_) => Change::Worse,
    }
}

/// By more than a tenth.
fn is_different(a: u64, b: u64) -> bool {
    a.abs_diff(b).saturating_mul(10) > a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender of so many packets of 100 bytes a second, for a second; a queue
    /// whose interrupts keep the interval, and what it came to.
    struct Load {
        dim: Dim,
        now_ns: u64,
        interrupts: u64,
    }

    impl Load {
        fn new() -> Self {
            Self {
                dim: Dim::new(),
                now_ns: 0,
                interrupts: 0,
            }
        }

        fn run(&mut self, packets_per_s: u64) -> u32 {
            let gap = 1_000_000_000 / packets_per_s;
            let end = self.now_ns + 1_000_000_000;
            self.interrupts = 0;
            while self.now_ns < end {
                let interval = u64::from(self.dim.interval_us()) * 1_000;
                let passed = gap.max(interval);
                self.now_ns += passed;
                let packets = (passed / gap).max(1);
                self.interrupts += 1;
                self.dim
                    .sample(self.now_ns, packets as usize, packets * 100);
            }
            self.dim.interval_us()
        }
    }

    #[test]
    fn a_dense_stream_is_given_an_interval_that_makes_interrupts_cheap() {
        let mut load = Load::new();
        assert_eq!(load.run(1_000_000), 50);
        load.run(1_000_000);
        assert!(load.interrupts < 21_000, "{} interrupts", load.interrupts);
    }

    #[test]
    fn a_packet_now_and_then_is_not_delayed() {
        let mut load = Load::new();
        assert_eq!(load.run(1_000), 0);
    }

    #[test]
    fn the_delay_goes_when_the_load_goes() {
        let mut load = Load::new();
        load.run(1_000_000);
        assert_eq!(load.run(2_000), 0);
    }

    #[test]
    fn the_delay_comes_back_with_the_load() {
        let mut load = Load::new();
        load.run(1_000);
        assert_eq!(load.run(1_000_000), 50);
    }

    #[test]
    fn no_interrupt_has_more_packets_than_a_ring_can_bear() {
        let mut load = Load::new();
        let interval = u64::from(load.run(10_000_000));
        assert!(
            interval * 10 <= 2 * ENOUGH,
            "{interval} us at ten packets a us"
        );
    }

    #[test]
    fn a_steady_load_is_left_alone() {
        let mut load = Load::new();
        let rest = load.run(200_000);
        for _ in 0..5 {
            assert_eq!(load.run(200_000), rest);
        }
    }

    #[test]
    fn a_clock_that_stands_still_decides_nothing() {
        let mut dim = Dim::new();
        assert!((0..1000).all(|_| dim.sample(5, 64, 6400).is_none()));
        // What it has gathered meanwhile is a rate beyond all measure.
        for _ in 0..3 {
            dim.sample(5, usize::MAX, u64::MAX);
        }
        dim.sample(6, usize::MAX, u64::MAX);
        assert_eq!(dim.interval_us(), 0);
    }
}
