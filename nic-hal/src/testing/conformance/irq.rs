//! When the NIC interrupts, and when it must not.

use super::rig::{QUEUE, Rig};
use super::{Check, Harness, Line, ensure_eq};
use crate::nic::NicHal;
use alloc::vec::Vec;

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        ("a NIC opens masked", opens_masked),
        ("a masked queue never interrupts", masked),
        (
            "an unmask with nothing pending does not interrupt",
            quiet_unmask
        ),
        ("a received frame interrupts", rx_fires),
        ("a sent packet interrupts", tx_fires),
        ("a queue interrupts once for each unmask", once),
        (
            "an unmask fires for a frame that came while masked",
            rx_while_masked
        ),
        (
            "an unmask fires for a packet that was sent while masked",
            tx_while_masked
        ),
        (
            "an unmask fires again until received frames are reaped",
            rx_again
        ),
        (
            "an unmask fires again until sent packets are reaped",
            tx_again
        ),
        (
            "an unmask fires for frames that a poll left behind",
            rx_left_behind
        ),
        (
            "an unmask fires for packets that a poll left behind",
            tx_left_behind
        ),
        (
            "an unmask after everything was reaped is quiet",
            quiet_after_reap
        ),
        ("a mask takes an unmask back", mask_after_unmask),
    ]
}

fn opens_masked<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    rig.inject(60, 0..2);
    ensure_eq("interrupts", rig.calls.irqs(), 0)
}

fn masked<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.unmask();
    rig.nic.mask_irq(QUEUE);
    rig.inject(60, 0..4);
    rig.send(60, 0..4)?;
    rig.drain();
    rig.harness.advance(1_000_000_000);
    rig.harness.step();
    ensure_eq("interrupts", rig.calls.irqs(), 0)
}

fn quiet_unmask<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    for _ in 0..3 {
        rig.unmask();
    }
    ensure_eq("interrupts", rig.calls.irqs(), 0)
}

fn rx_fires<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.unmask();
    rig.inject(60, 0..1);
    ensure_eq("interrupts", rig.calls.irqs(), 1)
}

fn tx_fires<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    rig.unmask();
    rig.send(60, 0..1)?;
    rig.drain();
    ensure_eq("interrupts", rig.calls.irqs(), 1)
}

fn once<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 8)?;
    rig.unmask();
    rig.inject(60, 0..5);
    rig.send(60, 0..3)?;
    rig.drain();
    ensure_eq("interrupts", rig.calls.irqs(), 1)
}

fn rx_while_masked<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    for round in 0..4 {
        rig.inject(60, round..round + 1);
        ensure_eq("interrupts while masked", rig.calls.irqs(), round)?;
        rig.unmask();
        ensure_eq("interrupts after the unmask", rig.calls.irqs(), round + 1)?;
        ensure_eq("frames received", rig.reap_rx().len(), 1)?;
    }
    Ok(())
}

fn tx_while_masked<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    for round in 0..4 {
        rig.send(60, round..round + 1)?;
        rig.drain();
        ensure_eq("interrupts while masked", rig.calls.irqs(), round)?;
        rig.unmask();
        ensure_eq("interrupts after the unmask", rig.calls.irqs(), round + 1)?;
        ensure_eq("packets reaped", rig.reap_tx().len(), 1)?;
    }
    Ok(())
}

fn rx_again<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.unmask();
    rig.inject(60, 0..1);
    for round in 1..5 {
        ensure_eq("interrupts", rig.calls.irqs(), round)?;
        rig.unmask();
    }
    ensure_eq("frames received", rig.reap_rx().len(), 1)
}

fn tx_again<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    rig.unmask();
    rig.send(60, 0..1)?;
    rig.drain();
    for round in 1..5 {
        ensure_eq("interrupts", rig.calls.irqs(), round)?;
        rig.unmask();
    }
    ensure_eq("packets reaped", rig.reap_tx().len(), 1)
}

fn rx_left_behind<H: Harness>(harness: &mut H) -> Check {
    use softnet_dma_ring::DmaRing;
    let mut rig = Rig::with_posted(harness, 8)?;
    rig.unmask();
    rig.inject(60, 0..5);
    drop((rig.pair.rx.reap(), rig.pair.rx.reap()));
    rig.unmask();
    ensure_eq("interrupts", rig.calls.irqs(), 2)?;
    ensure_eq("frames received", rig.reap_rx().len(), 3)
}

fn tx_left_behind<H: Harness>(harness: &mut H) -> Check {
    use softnet_dma_ring::DmaRing;
    let mut rig = Rig::new(harness)?;
    rig.unmask();
    rig.send(60, 0..5)?;
    rig.drain();
    drop((rig.pair.tx.reap(), rig.pair.tx.reap()));
    rig.unmask();
    ensure_eq("interrupts", rig.calls.irqs(), 2)?;
    ensure_eq("packets reaped", rig.reap_tx().len(), 3)
}

fn quiet_after_reap<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    for round in 1..4 {
        rig.unmask();
        rig.inject(60, 0..2);
        rig.send(60, 0..2)?;
        rig.drain();
        ensure_eq("interrupts", rig.calls.irqs(), round)?;
        ensure_eq("frames received", rig.reap_rx().len(), 2)?;
        ensure_eq("packets reaped", rig.reap_tx().len(), 2)?;
        rig.post_rx(2)?;
    }
    // Causes that piled up behind the mask may fire once more; what they lead
    // to finds nothing, and then there is silence.
    rig.unmask();
    let settled = rig.calls.irqs();
    for _ in 0..3 {
        rig.unmask();
    }
    ensure_eq("interrupts without work", rig.calls.irqs(), settled)
}

fn mask_after_unmask<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 4)?;
    rig.unmask();
    rig.nic.mask_irq(QUEUE);
    rig.inject(60, 0..1);
    ensure_eq("interrupts", rig.calls.irqs(), 0)?;
    rig.unmask();
    ensure_eq("interrupts", rig.calls.irqs(), 1)
}
