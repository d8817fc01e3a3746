//! The NET_RX softirq.

use crate::softnet::{HasSoftnet, NetRxConfig};
use softnet_softirq::{Cpu, SoftIrq, Vector};

/// The handler of [`Vector::NetRx`]: Linux's `net_rx_action`.
///
/// A run polls each scheduled instance once, in the order in which they were
/// scheduled, and ends when it has gone round, has taken `netdev_budget` packets
/// or more, or has lasted `netdev_budget_ns`. The budget is looked at between
/// polls, so that the last one may overshoot it by its weight. What is left is
/// polled by the next run, those first that had no turn: an instance that always
/// has work never keeps another one from its turn. The vector is raised for it.
///
/// Instances that are scheduled during a run wait for the next one, unless
/// everything else has been polled to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetRxAction;

impl<C: HasSoftnet> SoftIrq<C> for NetRxAction {
    fn vector(&self) -> Vector {
        Vector::NetRx
    }

    fn run(&mut self, cpu: &mut Cpu, cx: &mut C) {
        // The time runs from the beginning of the softirq pass, when the clock
        // was read.
        let start_ns = cpu.now_ns();
        let mut taken = 0;
        let mut next = cx.softnet().first_poll();
        while let Some(mut polled) = next {
            let outcome = polled.poller.poll(cx, cpu, polled.weight);
            let softnet = cx.softnet();
            if let Some(due_ns) = softnet.end_poll(polled, outcome, cpu.now_ns()) {
                cpu.program_timer(due_ns);
            }
            if softnet.is_drained() {
                return;
            }
            taken += outcome.packets();
            if is_squeezed(softnet.config(), taken, start_ns, cpu) {
                softnet.counters().time_squeeze.add(1);
                break;
            }
            next = softnet.next_poll();
        }
        if cx.softnet().requeue() {
            cpu.raise(Vector::NetRx);
        }
    }
}

/// Whether a run that began at `start_ns` and has taken so many packets is to
/// end. It reads the clock, so it is asked only when something is left to poll.
fn is_squeezed(config: &NetRxConfig, taken: usize, start_ns: u64, cpu: &mut Cpu) -> bool {
    let deadline_ns = start_ns.saturating_add(config.netdev_budget_ns);
    taken >= config.netdev_budget || cpu.refresh_now() >= deadline_ns
}
