//! Several machines on one thread.

use super::{Machine, MachineError, NAP, Progress, Time};
use std::time::Duration;

/// Runs machines that talk to each other, on the caller's thread, for so many
/// nanoseconds. With virtual clocks (one for all, or each its own that shows
/// the same) it is deterministic.
///
/// # Errors
/// [`MachineError::Running`] when one of them runs by itself.
pub fn run_together(machines: &mut [Machine], ns: u64) -> Result<(), MachineError> {
    if machines.iter().any(Machine::is_running) {
        return Err(MachineError::Running);
    }
    let Some(until) = machines.first().map(|m| m.now_ns().saturating_add(ns)) else {
        return Ok(());
    };
    loop {
        let progress = turn(machines);
        if progress.worked {
            continue;
        }
        let now_ns = machines.first().map_or(until, Machine::now_ns);
        if now_ns >= until {
            return Ok(());
        }
        let next = progress.next_event_ns.unwrap_or(until);
        pass_time(machines, now_ns, next.min(until));
    }
}

fn turn(machines: &mut [Machine]) -> Progress {
    let mut progress = Progress::default();
    for machine in machines {
        progress.add(machine.run_once());
    }
    progress
}

fn pass_time(machines: &[Machine], now_ns: u64, to_ns: u64) {
    let mut sleep = false;
    for machine in machines {
        match &machine.time {
            Time::Virtual(clock) => clock.set(to_ns),
            Time::Real => sleep = true,
        }
    }
    if sleep {
        std::thread::sleep(NAP.min(Duration::from_nanos(to_ns.saturating_sub(now_ns))));
    }
}
