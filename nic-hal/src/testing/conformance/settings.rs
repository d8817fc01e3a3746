//! What is set stays set, and interrupts that are kept apart still come.

use super::rig::{QUEUE, Rig};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::ethtool::{Coalesce, EthtoolOps, Features};
use crate::nic::{NicError, NicHal};
use alloc::vec::Vec;
use core::fmt::Debug;

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        ("what is set by ethtool can be read back", read_back),
        (
            "offloads that the NIC does not have cannot be switched on",
            no_such_feature
        ),
        ("interrupts that are kept apart still come", moderated),
    ]
}

fn ethtool<N: NicHal>(nic: &N) -> Result<&dyn EthtoolOps, End> {
    let ops = nic.ethtool();
    ops.ok_or(End::NotApplicable("the NIC has no such control plane"))
}

/// A value, unless the NIC has no such setting.
fn supported<T>(result: Result<T, NicError>) -> Result<Option<T>, End> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(NicError::Unsupported(_)) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

/// Sets `value`, and reads it back; a NIC may not have the setting, or not take the
/// value, and then it keeps what it had.
fn set_and_read<T: PartialEq + Debug>(
    what: &str,
    value: T,
    set: impl Fn(&T) -> Result<(), NicError>,
    read: impl Fn() -> Result<T, NicError>,
) -> Check {
    let Some(before) = supported(read())? else {
        return Ok(());
    };
    let taken = supported(set(&value))?.is_some();
    let want = if taken { value } else { before };
    ensure_eq(what, read().map_err(broken)?, want)
}

fn read_back<H: Harness>(harness: &mut H) -> Check {
    let rig = Rig::new(harness)?;
    let ops = ethtool(&*rig.nic)?;
    for usecs in [0, 64, 128] {
        let value = Coalesce {
            rx_usecs: usecs,
            tx_usecs: usecs,
        };
        set_and_read(
            "coalescing",
            value,
            |v| ops.set_coalesce(v),
            || ops.coalesce(),
        )?;
    }
    if let Some(mut rss) = supported(ops.rss())? {
        rss.key.rotate_left(3);
        rss.table.fill(0);
        set_and_read(
            "receive-side scaling",
            rss,
            |v| ops.set_rss(v),
            || ops.rss(),
        )?;
    }
    if let Some(mut pause) = supported(ops.pause())? {
        pause.rx = !pause.rx;
        set_and_read("pause frames", pause, |v| ops.set_pause(*v), || ops.pause())?;
    }
    let features = ops.features();
    ensure(
        features.available.contains(features.on),
        "an offload is on that the NIC has not",
    )?;
    for on in features.available.iter().map(|one| features.on ^ one) {
        ensure_settled(ops, on)?;
    }
    ensure_settled(ops, features.on)?;
    ensure_eq("the offloads of before", ops.features().on, features.on)
}

/// Switches offloads. A chip may have one switch for two of them; but what comes of
/// it must be something that the NIC has, and that it keeps.
fn ensure_settled(ops: &dyn EthtoolOps, on: Features) -> Check {
    if supported(ops.set_features(on))?.is_none() {
        return Ok(());
    }
    let now = ops.features();
    let has = now.available.contains(now.on);
    ensure(has, "an offload is on that the NIC has not")?;
    supported(ops.set_features(now.on))?;
    ensure_eq("offloads", ops.features().on, now.on)
}

fn no_such_feature<H: Harness>(harness: &mut H) -> Check {
    let nic = harness.nic();
    let ops = ethtool(&*nic)?;
    let features = ops.features();
    for missing in features.available.complement().iter() {
        let result = ops.set_features(features.on | missing);
        let refused = matches!(result, Err(NicError::Unsupported(_)));
        ensure(refused, format_args!("{missing:?} gives {result:?}"))?;
        ensure_eq("what is on", ops.features().on, features.on)?;
    }
    Ok(())
}

fn moderated<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 8)?;
    if !rig.nic.capabilities().moderation {
        return Err(End::NotApplicable("the NIC does not keep interrupts apart"));
    }
    for (round, interval) in [(0, 100), (1, 1000), (2, 0)] {
        rig.nic.moderate(QUEUE, interval);
        for turn in 0..2 {
            let before = rig.calls.irqs();
            rig.unmask();
            rig.inject(60, round..round + 1);
            rig.harness.advance(10_000_000);
            rig.harness.step();
            let fired = rig.calls.irqs() - before;
            ensure(
                fired == 1,
                format_args!("{fired} interrupts at {interval} us, turn {turn}"),
            )?;
            ensure_eq("frames received", rig.reap_rx().len(), 1)?;
            rig.post_rx(1)?;
        }
    }
    Ok(())
}
