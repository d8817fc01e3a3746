//! The cable, the hang and the empty slot.

use super::rig::{QUEUE, Rig, ensure_all_home, open};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::{NicError, NicHal};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Nanoseconds between two watchdogs.
const INTERVAL: u64 = 2_000_000_000;

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        ("the watchdog of an idle NIC finds nothing", idle_watchdog),
        ("a pulled cable is reported, and a plugged one", link_flaps),
        (
            "packets wait while the cable is out, and that is no hang",
            no_hang_without_link
        ),
        (
            "a transmitter that stands is reported, and a reopen heals it",
            hang
        ),
        (
            "a NIC that is gone is reported and can be stopped",
            unplugged
        ),
        ("a NIC that is gone cannot be opened", gone_before_open),
    ]
}

fn idle_watchdog<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    for tick in 0..5 {
        let report = rig.nic.watchdog(tick * INTERVAL);
        rig.harness.advance(INTERVAL);
        ensure(report.link.up, "the link is down")?;
        ensure_eq("a hang", report.tx_hang, None)?;
        ensure(!report.gone, "the NIC is gone")?;
    }
    rig.both_ways_work()
}

fn set_link<H: Harness>(harness: &mut H, up: bool) -> Check {
    if !harness.set_link_up(up) {
        return Err(End::NotApplicable("the cable cannot be pulled"));
    }
    // Autonegotiation takes its time.
    harness.step();
    harness.advance(5 * INTERVAL);
    harness.step();
    Ok(())
}

fn link_flaps<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    for up in [false, true, false, true] {
        let before = rig.calls.links();
        set_link(rig.harness, up)?;
        ensure(rig.calls.links() > before, "link_changed was not called")?;
        ensure_eq("the link", rig.nic.watchdog(0).link.up, up)?;
    }
    ensure(
        rig.nic.watchdog(0).link.speed_mbps > 0,
        "the speed is unknown",
    )?;
    ensure_eq("queue interrupts", rig.calls.irqs(), 0)?;
    rig.both_ways_work()
}

fn no_hang_without_link<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    set_link(rig.harness, false)?;
    rig.send(60, 0..2)?;
    for tick in 0..5 {
        let report = rig.nic.watchdog(tick * INTERVAL);
        ensure_eq("a hang", report.tx_hang, None)?;
    }
    Ok(())
}

fn hang<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    if !rig.harness.set_tx_stalled(true) {
        return Err(End::NotApplicable("the transmitter cannot be held"));
    }
    rig.send(60, 0..2)?;
    let hung = (0..4).any(|tick| {
        rig.harness.advance(INTERVAL);
        rig.nic.watchdog(tick * INTERVAL).tx_hang == Some(QUEUE)
    });
    ensure(hung, "no hang was reported")?;
    ensure(rig.stats().tx_timeouts > 0, "the hang was not counted")?;
    rig.nic.stop().map_err(broken)?;
    rig.harness.set_tx_stalled(false);
    rig.pair = open(&*rig.nic, &rig.pool, &rig.calls)?;
    rig.both_ways_work()
}

fn unplugged<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.unmask();
    rig.inject(60, 0..1);
    rig.send(60, 0..2)?;
    if !rig.harness.unplug() {
        return Err(End::NotApplicable("the NIC cannot be pulled out"));
    }
    rig.harness.step();
    ensure(rig.nic.watchdog(0).gone, "the watchdog did not notice")?;
    let before = rig.calls.irqs();
    rig.nic.mask_irq(QUEUE);
    rig.unmask();
    rig.inject(60, 1..2);
    ensure_eq("interrupts of a NIC that is gone", rig.calls.irqs(), before)?;
    rig.reap_rx();
    rig.reap_tx();
    rig.nic.stop().map_err(broken)?;
    let Rig { pair, pool, .. } = rig;
    drop(pair);
    ensure_all_home(&pool)
}

fn gone_before_open<H: Harness>(harness: &mut H) -> Check {
    let rig = Rig::new(harness)?;
    rig.nic.stop().map_err(broken)?;
    if !rig.harness.unplug() {
        return Err(End::NotApplicable("the NIC cannot be pulled out"));
    }
    let config = super::rig::config(&rig.nic.capabilities(), &rig.pool);
    let result = rig.nic.open(&config, Arc::clone(&rig.calls) as _);
    let refused = matches!(result, Err(NicError::Gone));
    ensure(refused, "a NIC that is gone was opened")
}
