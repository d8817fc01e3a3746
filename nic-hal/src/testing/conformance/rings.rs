//! What goes through the rings.

use super::rig::{Rig, packet, sizes};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::NicHal;
use alloc::vec::Vec;
use softnet_dma_ring::{DmaRing, FrameBatch, TxChecksum};

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        (
            "received frames of all sizes are what was on the wire",
            rx_sizes
        ),
        (
            "sent packets of all sizes are what is on the wire",
            tx_sizes
        ),
        ("received frames keep their order over many laps", rx_order),
        ("sent packets keep their order over many laps", tx_order),
        ("batches go through as single frames do", batches),
        ("a full ring gives the frame back", ring_full),
        (
            "a full transmit ring gives the packet back, and goes on",
            tx_full
        ),
        ("what does not fit stays in the batch", batch_full),
        ("who reaps none gets none and loses none", budget_zero),
        (
            "a NIC without buffers receives once it has some",
            no_buffers
        ),
        ("frames of bad lengths are not received", bad_lengths),
        ("reaping and kicking an idle ring does nothing", idle),
        ("a frame is not sent before the kick", unkicked),
        (
            "frames without a buffer are counted and nothing else is lost",
            missed
        ),
        ("the counters add up", counters),
        (
            "a packet that cannot be sent is dropped and counted",
            unsendable
        ),
    ]
}

fn rx_sizes<H: Harness>(harness: &mut H) -> Check {
    let min = harness.min_frame();
    let mut rig = Rig::with_posted(harness, 1)?;
    for (seed, len) in sizes(min, rig.nic.capabilities().max_mtu).enumerate() {
        rig.inject(len, seed..seed + 1);
        let frames = rig.reap_rx();
        ensure_eq("frames received", frames.len(), 1)?;
        let want = packet(rig.mac(), len, seed);
        let same = frames.iter().all(|frame| frame.data() == want);
        ensure(same, format_args!("a frame of {len} bytes was changed"))?;
        rig.post_rx(1)?;
    }
    Ok(())
}

fn tx_sizes<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for (seed, len) in sizes(14, rig.nic.capabilities().max_mtu).enumerate() {
        let want = rig.filled(len, seed)?.data().to_vec();
        rig.send(len, seed..seed + 1)?;
        let seen = rig.drain();
        ensure_eq("packets on the wire", seen.len(), 1)?;
        let same = seen.iter().all(|seen| is_padded(seen, &want));
        ensure(same, format_args!("a packet of {len} bytes was changed"))?;
        ensure_eq("packets reaped", rig.reap_tx().len(), 1)?;
    }
    Ok(())
}

/// Short packets may be padded with zeros to Ethernet's minimum.
fn is_padded(seen: &[u8], want: &[u8]) -> bool {
    let Some(padding) = seen.strip_prefix(want) else {
        return false;
    };
    padding.is_empty() || seen.len() == 60 && padding.iter().all(|&byte| byte == 0)
}

fn rx_order<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 7)?;
    for lap in 0..40 {
        let seeds = lap * 5..lap * 5 + 5;
        rig.inject(100, seeds.clone());
        let got: Vec<Vec<u8>> = rig.reap_rx().iter().map(|f| f.data().to_vec()).collect();
        let want: Vec<Vec<u8>> = seeds.map(|seed| packet(rig.mac(), 100, seed)).collect();
        ensure(got == want, format_args!("lap {lap} is out of order"))?;
        rig.post_rx(5)?;
    }
    Ok(())
}

fn tx_order<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for lap in 0..40 {
        let seeds = lap * 5..lap * 5 + 5;
        let want: Result<Vec<_>, _> = seeds
            .clone()
            .map(|seed| Ok(rig.filled(100, seed)?.data().to_vec()))
            .collect();
        rig.send(100, seeds)?;
        let seen = rig.drain();
        ensure(seen == want?, format_args!("lap {lap} is out of order"))?;
        ensure_eq("packets reaped", rig.reap_tx().len(), 5)?;
    }
    Ok(())
}

fn batches<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for lap in 0..10 {
        let mut batch = FrameBatch::new();
        for _ in 0..6 {
            batch.push(rig.alloc()?);
        }
        ensure_eq("posted", rig.pair.rx.post_from(&mut batch), 6)?;
        rig.pair.rx.kick();
        rig.harness.step();
        rig.inject(80, lap * 6..lap * 6 + 6);
        ensure_eq("reaped", rig.pair.rx.reap_into(&mut batch, 4), 4)?;
        ensure_eq("reaped", rig.pair.rx.reap_into(&mut batch, 64), 2)?;
        ensure_eq("sent", rig.pair.tx.post_from(&mut batch), 6)?;
        ensure(batch.is_empty(), "a posted frame stayed in the batch")?;
        rig.pair.tx.kick();
        rig.harness.step();
        let want: Vec<_> = (lap * 6..lap * 6 + 6)
            .map(|seed| packet(rig.mac(), 80, seed))
            .collect();
        ensure(rig.drain() == want, "the batch was changed on its way")?;
        ensure_eq("reaped", rig.pair.tx.reap_into(&mut batch, 64), 6)?;
    }
    Ok(())
}

fn ring_full<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for round in 0..2 {
        let free = rig.pair.rx.free_slots();
        ensure(free > 0, format_args!("no free slot in round {round}"))?;
        for left in (0..free).rev() {
            let frame = rig.alloc()?;
            rig.pair.rx.post(frame).map_err(broken)?;
            ensure_eq("free slots", rig.pair.rx.free_slots(), left)?;
        }
        let frame = rig.alloc()?;
        let index = frame.index();
        let Err(full) = rig.pair.rx.post(frame) else {
            return Err(broken("a full ring accepted a frame"));
        };
        ensure_eq("the frame that came back", full.0.index(), index)?;
        rig.pair.rx.kick();
        rig.harness.step();
        rig.inject(60, 0..free);
        ensure_eq("frames received", rig.reap_rx().len(), free)?;
    }
    Ok(())
}

fn tx_full<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for round in 0..3 {
        let free = rig.pair.tx.free_slots();
        ensure(free > 0, format_args!("no free slot in round {round}"))?;
        for seed in 0..free {
            let frame = rig.filled(60, seed)?;
            rig.pair.tx.post(frame).map_err(broken)?;
        }
        let frame = rig.filled(60, free)?;
        let index = frame.index();
        let Err(full) = rig.pair.tx.post(frame) else {
            return Err(broken("a full ring accepted a packet"));
        };
        ensure_eq("the packet that came back", full.0.index(), index)?;
        drop(full);
        rig.pair.tx.kick();
        let (seen, reaped) = run_dry(&mut rig);
        ensure_eq("packets on the wire", seen, free)?;
        ensure_eq("packets reaped", reaped, free)?;
    }
    Ok(())
}

/// Sends all that was kicked, as polls do: a chip with little memory of its own goes
/// on when its driver reaps. What was on the wire, and what was reaped.
fn run_dry<H: Harness>(rig: &mut Rig<'_, H>) -> (usize, usize) {
    let mut so_far = (0, 0);
    loop {
        rig.harness.step();
        let (seen, reaped) = (rig.drain().len(), rig.reap_tx().len());
        if seen + reaped == 0 {
            return so_far;
        }
        so_far = (so_far.0 + seen, so_far.1 + reaped);
        rig.unmask();
    }
}

/// As a poll with a budget of 0 does, of which netpoll is one.
fn budget_zero<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.inject(60, 0..3);
    rig.send(60, 0..2)?;
    rig.drain();
    let mut batch = FrameBatch::new();
    for _ in 0..2 {
        ensure_eq("received", rig.pair.rx.reap_into(&mut batch, 0), 0)?;
        ensure_eq("received", rig.pair.rx.reap_each(0, drop), 0)?;
        ensure_eq("sent", rig.pair.tx.reap_into(&mut batch, 0), 0)?;
        ensure_eq("sent", rig.pair.tx.reap_each(0, drop), 0)?;
    }
    ensure(batch.is_empty(), "a frame came nevertheless")?;
    rig.unmask();
    ensure_eq("interrupts", rig.calls.irqs(), 1)?;
    ensure_eq("frames received", rig.reap_rx().len(), 3)?;
    ensure_eq("packets reaped", rig.reap_tx().len(), 2)
}

fn no_buffers<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    rig.unmask();
    rig.inject(60, 0..3);
    ensure_eq("received without a buffer", rig.reap_rx().len(), 0)?;
    rig.post_rx(8)?;
    let mut received = rig.reap_rx().len();
    rig.unmask();
    let before = rig.calls.irqs();
    rig.inject(60, 3..4);
    ensure(rig.calls.irqs() > before, "no interrupt came for it")?;
    let last = rig.reap_rx();
    received += last.len();
    let newest = packet(rig.mac(), 60, 3);
    let arrived = last.last().is_some_and(|frame| frame.data() == newest);
    ensure(arrived, "the frame with a buffer was lost")?;
    let missed = rig.stats().rx_missed_errors as usize;
    ensure_eq("received and missed", received + missed, 4)
}

/// Neither is handed up; each may be counted in one of several ways.
fn bad_lengths<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 8)?;
    let mtu = usize::from(rig.nic.capabilities().max_mtu.min(1500));
    let mut tried = 0;
    // A tag more than the MTU may pass.
    for len in [1, 13, mtu + 19, mtu + 500, 9100] {
        let before = rig.stats();
        let bytes = packet(rig.mac(), len, 1);
        if !rig.harness.inject_bad_length(super::rig::QUEUE, &bytes) {
            continue;
        }
        tried += 1;
        rig.harness.step();
        let received = rig.reap_rx().len();
        ensure(received == 0, format_args!("{len} bytes were received"))?;
        let after = rig.stats();
        let counted = after.rx_errors + after.rx_dropped + after.rx_missed_errors
            > before.rx_errors + before.rx_dropped + before.rx_missed_errors;
        ensure(counted, format_args!("{len} bytes were not counted"))?;
        ensure_eq("packets received", after.rx_packets, before.rx_packets)?;
    }
    if tried == 0 {
        return Err(End::NotApplicable("the wire carries no such frames"));
    }
    rig.both_ways_work()
}

fn batch_full<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let free = rig.pair.tx.free_slots();
    for seed in 0..free - 2 {
        let frame = rig.filled(60, seed)?;
        rig.pair.tx.post(frame).map_err(broken)?;
    }
    let mut batch = FrameBatch::new();
    for seed in 0..5 {
        batch.push(rig.filled(60, seed)?);
    }
    let third = batch.get(2).map(|frame| frame.index());
    ensure_eq("posted", rig.pair.tx.post_from(&mut batch), 2)?;
    ensure_eq("left", batch.len(), 3)?;
    ensure_eq(
        "the first left",
        batch.first().map(|frame| frame.index()),
        third,
    )
}

fn idle<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for _ in 0..2 {
        rig.pair.rx.kick();
        rig.pair.tx.kick();
        rig.harness.step();
        ensure_eq("received", rig.reap_rx().len(), 0)?;
        ensure_eq("sent", rig.reap_tx().len(), 0)?;
        ensure_eq("on the wire", rig.drain().len(), 0)?;
        rig.post_rx(2)?;
    }
    rig.both_ways_work()
}

fn unkicked<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let frame = rig.filled(60, 1)?;
    rig.pair.tx.post(frame).map_err(broken)?;
    rig.harness.step();
    ensure_eq("reaped before the kick", rig.reap_tx().len(), 0)?;
    rig.pair.tx.kick();
    rig.harness.step();
    ensure_eq("on the wire", rig.drain().len(), 1)?;
    ensure_eq("reaped", rig.reap_tx().len(), 1)
}

fn missed<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 3)?;
    rig.inject(60, 0..5);
    let mut received = rig.reap_rx().len();
    ensure_eq("received with three buffers", received, 3)?;
    // Frames may have waited inside of the NIC for these buffers.
    rig.post_rx(6)?;
    rig.inject(60, 5..7);
    let last = rig.reap_rx();
    received += last.len();
    let newest = packet(rig.mac(), 60, 6);
    let arrived = last.last().is_some_and(|frame| frame.data() == newest);
    ensure(
        arrived,
        "the newest frame was lost although it had a buffer",
    )?;
    let missed = rig.stats().rx_missed_errors as usize;
    ensure_eq("received and missed", received + missed, 7)
}

fn counters<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    let before = rig.stats();
    rig.inject(100, 0..3);
    rig.reap_rx();
    rig.send(200, 0..2)?;
    rig.drain();
    rig.reap_tx();
    let after = rig.stats();
    ensure_eq("packets received", after.rx_packets - before.rx_packets, 3)?;
    ensure_eq("bytes received", after.rx_bytes - before.rx_bytes, 300)?;
    ensure_eq("packets sent", after.tx_packets - before.tx_packets, 2)?;
    ensure_eq("bytes sent", after.tx_bytes - before.tx_bytes, 400)?;
    ensure_eq("errors", after.rx_errors + after.tx_errors, 0)?;
    rig.nic.stop().map_err(broken)?;
    let stopped = rig.stats();
    ensure_eq(
        "packets after the stop",
        stopped.rx_packets,
        after.rx_packets,
    )
}

fn unsendable<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let long = usize::from(rig.nic.capabilities().max_mtu.min(1500)) + 19;
    let lengths = [0, 13, long];
    for len in lengths {
        let frame = rig.filled(len, 0)?;
        rig.pair.tx.post(frame).map_err(broken)?;
    }
    let mut unsummed = rig.filled(100, 0)?;
    let (start, offset) = (34, 6);
    unsummed.set_tx_checksum(Some(TxChecksum { start, offset }));
    let mut refused = lengths.len();
    let half_made = unsummed.data().to_vec();
    if !rig.nic.capabilities().tx_checksum {
        rig.pair.tx.post(unsummed).map_err(broken)?;
        refused += 1;
    }
    rig.send(60, 1..2)?;
    let sent = rig.drain();
    // A NIC without the offload refuses such a packet, or computes the checksum itself.
    let computed = |packet: &&Vec<u8>| packet.len() == half_made.len() && **packet != half_made;
    let computed = sent.iter().filter(computed).count();
    ensure_eq("packets on the wire", sent.len(), 1 + computed)?;
    rig.reap_tx();
    let dropped = (refused - computed) as u64;
    ensure_eq("packets dropped", rig.stats().tx_dropped, dropped)?;
    ensure_eq("packets sent", rig.stats().tx_packets, 1 + computed as u64)
}
