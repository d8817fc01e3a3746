//! Open, stop and what they refuse.

use super::rig::{Calls, Rig, config, ensure_all_home, open, packet, pool, reap_all};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::{MacAddress, NicError, NicHal, OpenConfig, QueueId, RingLimits, RxMode};
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        ("a NIC that is not open cannot be stopped", stop_when_closed),
        ("a NIC that is open cannot be opened", open_twice),
        ("wrong numbers of queues are refused", wrong_queues),
        ("wrong ring lengths are refused", wrong_rings),
        ("wrong MTUs are refused", wrong_mtus),
        ("a pool of short frames is refused", short_pool),
        ("a NIC can be opened again after a stop", reopen),
        ("stop sends every posted frame home", stop_with_frames),
        (
            "a stopped ring refuses posts and reaps nothing",
            stopped_rings
        ),
        ("no interrupt comes after a stop", silent_after_stop),
        ("rings can be dropped before the stop", drop_before_stop),
        ("rings of an earlier session cannot disturb", old_rings),
        ("masking what does not exist does nothing", no_such_queue),
        (
            "the station address can be changed, or says it cannot",
            new_mac
        ),
        ("only a station's address is accepted", bad_mac),
        ("promiscuous mode accepts what is for others", promiscuous),
    ]
}

fn stop_when_closed<H: Harness>(harness: &mut H) -> Check {
    let nic = harness.nic();
    ensure_not_open(nic.stop())?;
    let rig = Rig::new(harness)?;
    rig.nic.stop().map_err(broken)?;
    ensure_not_open(nic.stop())
}

fn ensure_not_open(result: Result<(), NicError>) -> Check {
    let refused = matches!(result, Err(NicError::NotOpen));
    ensure(refused, format_args!("stop gives {result:?}"))
}

fn open_twice<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let error = refusal(&*rig.nic, &config(&rig.nic.capabilities(), &rig.pool))?;
    let refused = matches!(error, NicError::AlreadyOpen);
    ensure(refused, format_args!("the second open gives {error:?}"))?;
    rig.both_ways_work()
}

/// The error that an open gives.
fn refusal<N: NicHal>(nic: &N, config: &OpenConfig) -> Result<NicError, End> {
    match nic.open(config, Arc::new(Calls::default())) {
        Ok(_) => Err(broken(format_args!("it was opened with {config:?}"))),
        Err(error) => Ok(error),
    }
}

/// Opens with each of these, and looks at the errors; then the NIC must still
/// be usable.
fn all_refused<H: Harness>(
    harness: &mut H,
    change: impl Fn(&OpenConfig) -> Vec<OpenConfig>,
    expected: fn(&NicError) -> bool,
) -> Check {
    let (nic, pool) = (harness.nic(), pool(harness)?);
    for wrong in change(&config(&nic.capabilities(), &pool)) {
        let error = refusal(&*nic, &wrong)?;
        ensure(expected(&error), format_args!("{wrong:?} gives {error:?}"))?;
    }
    Rig::new(harness)?.both_ways_work()
}

fn wrong_queues<H: Harness>(harness: &mut H) -> Check {
    let max = harness.nic().capabilities().max_queues;
    let change = |good: &OpenConfig| {
        let wrong = [0, max + 1].map(|queues| OpenConfig {
            queues,
            ..good.clone()
        });
        wrong.to_vec()
    };
    all_refused(harness, change, |error| {
        matches!(error, NicError::Queues { .. })
    })
}

fn outside(limits: RingLimits) -> Vec<u16> {
    let mut wrong = alloc::vec![0];
    wrong.extend(limits.max.checked_add(limits.step.max(1)));
    if limits.step > 1 {
        wrong.push(limits.min + 1);
    }
    if limits.min > limits.step {
        wrong.push(limits.min - limits.step);
    }
    wrong
}

fn wrong_rings<H: Harness>(harness: &mut H) -> Check {
    let capabilities = harness.nic().capabilities();
    let change = |good: &OpenConfig| {
        let rx = outside(capabilities.rx_ring).into_iter();
        let rx = rx.map(|rx_ring| OpenConfig {
            rx_ring,
            ..good.clone()
        });
        let tx = outside(capabilities.tx_ring).into_iter();
        let tx = tx.map(|tx_ring| OpenConfig {
            tx_ring,
            ..good.clone()
        });
        rx.chain(tx).collect()
    };
    all_refused(harness, change, |error| {
        matches!(error, NicError::RingLength { .. })
    })
}

fn wrong_mtus<H: Harness>(harness: &mut H) -> Check {
    let max = harness.nic().capabilities().max_mtu;
    let change = |good: &OpenConfig| {
        let wrong = [0, 67, max + 1].map(|mtu| OpenConfig {
            mtu,
            ..good.clone()
        });
        wrong.to_vec()
    };
    all_refused(harness, change, |error| {
        matches!(error, NicError::Mtu { .. })
    })
}

fn short_pool<H: Harness>(harness: &mut H) -> Check {
    let short = FramePool::new(PoolConfig {
        frames: 8,
        buffer_size: 256,
        headroom: 128,
    });
    let pool = short.map_err(broken)?;
    let change = |good: &OpenConfig| {
        alloc::vec![OpenConfig {
            pool: pool.clone(),
            ..good.clone()
        }]
    };
    all_refused(harness, change, |error| {
        matches!(error, NicError::FrameTooShort { .. })
    })
}

fn reopen<H: Harness>(harness: &mut H) -> Check {
    for _ in 0..3 {
        let mut rig = Rig::new(harness)?;
        rig.both_ways_work()?;
        rig.nic.stop().map_err(broken)?;
    }
    Ok(())
}

fn stop_with_frames<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 8)?;
    rig.inject(60, 0..3);
    rig.send(60, 0..4)?;
    rig.nic.stop().map_err(broken)?;
    let Rig { pair, pool, .. } = rig;
    drop(pair);
    ensure_all_home(&pool)
}

fn stopped_rings<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.inject(60, 0..2);
    rig.send(60, 0..2)?;
    rig.nic.stop().map_err(broken)?;
    let frame = rig.alloc()?;
    let Rig { pair, harness, .. } = &mut rig;
    let back = ensure_refuses(&mut pair.rx, frame)?;
    ensure_refuses(&mut pair.tx, back)?;
    pair.rx.kick();
    pair.tx.kick();
    harness.step();
    ensure_eq("reaped receive frames", reap_all(&mut pair.rx).len(), 0)?;
    ensure_eq("reaped transmit frames", reap_all(&mut pair.tx).len(), 0)
}

fn ensure_refuses(
    ring: &mut dyn DmaRing,
    frame: softnet_dma_ring::Frame,
) -> Result<softnet_dma_ring::Frame, End> {
    ensure_eq("free slots of a stopped ring", ring.free_slots(), 0)?;
    match ring.post(frame) {
        Ok(()) => Err(broken("a stopped ring accepted a frame")),
        Err(full) => Ok(full.0),
    }
}

fn silent_after_stop<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.inject(60, 0..1);
    rig.nic.stop().map_err(broken)?;
    let before = (rig.calls.irqs(), rig.calls.links());
    rig.unmask();
    rig.inject(60, 1..2);
    rig.harness.set_link_up(false);
    rig.harness.set_link_up(true);
    rig.harness.step();
    let after = (rig.calls.irqs(), rig.calls.links());
    ensure_eq("calls after the stop", after, before)
}

fn drop_before_stop<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.send(60, 0..2)?;
    let Rig {
        harness,
        nic,
        pool,
        pair,
        ..
    } = rig;
    drop(pair);
    ensure_all_home(&pool)?;
    let mac = nic.capabilities().mac;
    harness.inject(QueueId(0), &packet(mac, 60, 0));
    harness.step();
    nic.unmask_irq(QueueId(0));
    nic.stop().map_err(broken)?;
    Rig::new(harness)?.both_ways_work()
}

fn old_rings<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    rig.nic.stop().map_err(broken)?;
    let new = open(&*rig.nic, &rig.pool, &rig.calls)?;
    let mut old = core::mem::replace(&mut rig.pair, new);
    ensure_refuses(&mut old.rx, rig.alloc()?)?;
    old.tx.kick();
    old.rx.kick();
    rig.both_ways_work()?;
    drop(old);
    rig.both_ways_work()
}

fn no_such_queue<H: Harness>(harness: &mut H) -> Check {
    let nic = harness.nic();
    // Not open yet.
    nic.unmask_irq(QueueId(0));
    nic.mask_irq(QueueId(0));
    let mut rig = Rig::new(harness)?;
    for queue in [rig.nic.capabilities().max_queues, u16::MAX] {
        rig.nic.unmask_irq(QueueId(queue));
        rig.nic.mask_irq(QueueId(queue));
    }
    rig.harness.step();
    ensure_eq("interrupts", rig.calls.irqs(), 0)?;
    rig.both_ways_work()
}

fn new_mac<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let mac = MacAddress([0x02, 0x5e, 0x10, 0x20, 0x30, 0x40]);
    match rig.nic.set_mac_address(mac) {
        Err(NicError::Unsupported(why)) => return Err(End::NotApplicable(why)),
        result => result.map_err(broken)?,
    }
    ensure_eq("the station address", rig.mac(), mac)?;
    rig.both_ways_work()?;
    rig.nic.stop().map_err(broken)?;
    rig.pair = open(&*rig.nic, &rig.pool, &rig.calls)?;
    ensure_eq("the station address after a reopen", rig.mac(), mac)?;
    rig.both_ways_work()
}

fn bad_mac<H: Harness>(harness: &mut H) -> Check {
    let nic = harness.nic();
    let group = MacAddress([0x01, 0, 0x5e, 0, 0, 1]);
    for mac in [MacAddress::BROADCAST, MacAddress([0; 6]), group] {
        match nic.set_mac_address(mac) {
            Err(NicError::Unsupported(why)) => return Err(End::NotApplicable(why)),
            Err(NicError::BadAddress(_)) => {}
            result => return Err(broken(format_args!("{mac} gives {result:?}"))),
        }
    }
    Ok(())
}

fn promiscuous<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    let mode = RxMode {
        promiscuous: true,
        ..RxMode::default()
    };
    match rig.nic.set_rx_mode(&mode) {
        Err(NicError::Unsupported(why)) => return Err(End::NotApplicable(why)),
        result => result.map_err(broken)?,
    }
    let other = MacAddress([2, 1, 2, 3, 4, 5]);
    rig.harness.inject(QueueId(0), &packet(other, 60, 1));
    rig.harness.step();
    ensure_eq("frames for others", rig.reap_rx().len(), 1)?;
    rig.nic.set_rx_mode(&RxMode::default()).map_err(broken)?;
    rig.harness.inject(QueueId(0), &packet(other, 60, 1));
    rig.harness.step();
    ensure_eq("frames for others, filtered", rig.reap_rx().len(), 0)?;
    rig.harness
        .inject(QueueId(0), &packet(MacAddress::BROADCAST, 60, 1));
    rig.harness.step();
    ensure_eq("broadcast frames", rig.reap_rx().len(), 1)
}
