//! What is done below the stack: rx-drop, tx-only and l2fwd.

use super::args::{AfXdp, Task};
use super::outcome::{Bound, Outcome};
use anyhow::{Context, Result};
use softnet::af_xdp::bare::{self, BareConfig, BareLoop, Work};
use softnet::af_xdp::bpf::{Existing, Steering};
use softnet::af_xdp::events::BusyPoll;
use softnet::af_xdp::netlink::Interface;
use softnet::af_xdp::{AfXdpConfig, AfXdpNic, Mode, ModeChoice, Umem, UmemConfig};
use softnet::measure::{LoopConfig, NapiLoop};

/// Turns between two looks at the clock.
const TURNS: usize = 32;
/// How long a CPU that may sleep does so at the most, in nanoseconds.
const NAP_NS: u64 = 10_000_000;

/// By the NIC's rings, interrupts and NAPI.
pub(super) fn napi(args: &AfXdp) -> Result<Outcome> {
    let queues = queues(args)?;
    let umem = Umem::new(UmemConfig {
        chunks: u32::from(args.ring) * 4 * u32::from(queues),
        ring: args.ring,
        ..UmemConfig::default()
    })?;
    let options = LoopConfig {
        queues,
        ring: args.ring,
        weight: args.batch,
        mtu: 1500,
    };
    let mut running = NapiLoop::on_interface(config(args), &umem, &work(args)?, options)
        .with_context(|| args.interface.clone())?;
    let (bound, mut packets) = (Bound::new(args), 0);
    while !bound.is_over(packets) {
        let before = packets;
        packets += (0..TURNS).map(|_| running.turn()).sum::<u64>();
        if args.sleep && packets == before {
            running.wait(NAP_NS);
        }
    }
    let nic = running.nic();
    let mode = nic.mode().map_or_else(String::new, |mode| mode.to_string());
    let outcome = Outcome::new(args, "napi", mode).moved(packets, bound.elapsed());
    let mut outcome = outcome.refused(refused(nic));
    let counts = running.counts();
    outcome.drop("no slot in the transmit ring", counts.tx_ring_full);
    outcome.count("napi_polls", counts.polls);
    outcome.count("alloc_failed", counts.alloc_failed);
    outcome.count_nic(&**nic);
    Ok(outcome)
}

/// The modes that the NIC fell back from.
pub(super) fn refused(nic: &AfXdpNic) -> Vec<String> {
    nic.kernel()
        .with_refusals(|all| all.iter().map(ToString::to_string).collect())
}

/// By a bare loop over the rings of queue 0.
pub(super) fn bare(args: &AfXdp) -> Result<Outcome> {
    let (mut running, mode) = open_bare(args).with_context(|| args.interface.clone())?;
    let (bound, mut packets) = (Bound::new(args), 0);
    while !bound.is_over(packets) {
        packets += (0..TURNS).map(|_| running.turn() as u64).sum::<u64>();
    }
    let mut outcome = Outcome::new(args, "bare", mode.to_string()).moved(packets, bound.elapsed());
    outcome.drop("no slot in the transmit ring", running.dropped());
    let counters = running.kernel_counters();
    outcome.drop("missed by the receive ring", counters.rx_dropped);
    for (name, value) in counters.named() {
        outcome.count(name, value);
    }
    Ok(outcome)
}

/// In the first mode that works.
fn open_bare(args: &AfXdp) -> Result<(BareLoop, Mode)> {
    let work = work(args)?;
    let mut refused = None;
    for mode in choice(args).candidates() {
        let config = BareConfig {
            interface: args.interface.clone(),
            queue: 0,
            mode,
            steering: Steering::all(),
            existing: existing(args),
            batch: usize::from(args.batch),
            ring: args.ring,
        };
        match BareLoop::open(&config, work.clone()) {
            Ok(running) => return Ok((running, mode)),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("there is no such mode")?.into())
}

fn work(args: &AfXdp) -> Result<Work> {
    Ok(match args.task {
        Task::L2fwd => Work::L2Forward,
        Task::TxOnly => {
            let link = Interface::open(&args.interface)?.link()?;
            let from = link.mac.context("the interface has no station address")?;
            let to = args
                .destination
                .context("tx-only needs --destination MAC")?;
            Work::TxOnly(bare::template(from, to))
        }
        _ => Work::RxDrop,
    })
}

fn queues(args: &AfXdp) -> Result<u16> {
    let has = Interface::open(&args.interface)?.rx_queues()?;
    let has = u16::try_from(has).unwrap_or(u16::MAX).max(1);
    Ok(args.queues.unwrap_or(has))
}

fn choice(args: &AfXdp) -> ModeChoice {
    args.mode
        .map_or(ModeChoice::Best, |mode| ModeChoice::Only(mode.into()))
}

fn existing(args: &AfXdp) -> Existing {
    match args.replace_program {
        true => Existing::Replace,
        false => Existing::LeaveAlone,
    }
}

/// How the interface is opened: all frames of its queues are ours.
pub(super) fn config(args: &AfXdp) -> AfXdpConfig {
    AfXdpConfig {
        mode: choice(args),
        existing: existing(args),
        busy_poll: args.busy_poll.map(|usecs| BusyPoll {
            usecs,
            budget: args.batch,
        }),
        ..AfXdpConfig::new(&args.interface)
    }
}
