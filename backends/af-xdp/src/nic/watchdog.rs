//! What is looked at every two seconds: link, progress, and whether the interface is
//! there at all.

use super::{Kernel, Nic};
use softnet_nic_hal::{QueueId, WatchdogReport};

/// How long a transmitter may stand still with work, in nanoseconds.
const HANG_NS: u64 = 4_000_000_000;

/// One queue's transmitter, as it was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Packets that it had finished.
    done: u64,
    /// Since when it has stood still with work to do, in nanoseconds.
    since_ns: Option<u64>,
}

/// The transmitters of a NIC.
#[derive(Debug)]
pub(super) struct Watch(Vec<Seen>);

impl Watch {
    pub(super) fn new(queues: usize) -> Self {
        Self(vec![Seen::default(); queues])
    }

    /// Whether the transmitter hangs, which has finished `done` packets and has work or
    /// not.
    fn look(&mut self, queue: usize, done: u64, has_work: bool, now_ns: u64) -> bool {
        let Some(seen) = self.0.get_mut(queue) else {
            return false;
        };
        if !has_work || done != seen.done {
            *seen = Seen {
                done,
                since_ns: has_work.then_some(now_ns),
            };
            return false;
        }
        let since = *seen.since_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(since) >= HANG_NS
    }

    /// Nothing can be sent, so nothing hangs.
    fn forgive(&mut self) {
        self.0.fill(Seen::default());
    }
}

impl<K: Kernel> Nic<K> {
    pub(super) fn watch(&self, now_ns: u64) -> WatchdogReport {
        let Some(facts) = self.kernel.facts() else {
            self.abandon();
            return WatchdogReport {
                gone: true,
                ..WatchdogReport::default()
            };
        };
        WatchdogReport {
            link: facts.link,
            tx_hang: self.hung(facts.link.up, now_ns),
            gone: false,
        }
    }

    fn abandon(&self) {
        let queues = self.queues.load();
        for cell in queues.iter().flat_map(|queues| queues.iter()) {
            cell.abandon();
        }
    }

    fn hung(&self, link: bool, now_ns: u64) -> Option<QueueId> {
        let mut state = self.state();
        let watch = &mut state.session.as_mut()?.watch;
        if !link {
            watch.forgive();
            return None;
        }
        let queues = self.queues.load();
        let mut hung = None;
        for (at, cell) in queues.iter().flat_map(|queues| queues.iter()).enumerate() {
            let (done, has_work) = cell.progress();
            if has_work {
                // The kernel may have refused a wake-up while the link was down.
                cell.nudge();
            }
            if watch.look(at, done, has_work, now_ns) {
                hung = hung.or(Some(cell.id));
            }
        }
        state.totals.timeouts += u64::from(hung.is_some());
        hung
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const INTERVAL: u64 = 2_000_000_000;

    fn looks(looks: &[(u64, bool)]) -> Vec<bool> {
        let mut watch = Watch::new(1);
        let times = (0..).map(|tick| tick * INTERVAL);
        looks
            .iter()
            .zip(times)
            .map(|(&(done, has_work), now)| watch.look(0, done, has_work, now))
            .collect()
    }

    #[test]
    fn a_transmitter_that_stands_for_four_seconds_with_work_hangs() {
        assert_eq!(
            looks(&[(0, true), (0, true), (0, true)]),
            [false, false, true]
        );
    }

    #[test]
    fn progress_and_idleness_start_the_time_anew() {
        let progress = [(0, true), (0, true), (1, true), (1, true), (1, true)];
        assert_eq!(looks(&progress), [false, false, false, false, true]);
        let idle = [(0, true), (0, true), (0, false), (0, true), (0, true)];
        assert_eq!(looks(&idle), [false; 5]);
    }
}
