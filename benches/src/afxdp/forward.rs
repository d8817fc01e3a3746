//! Frames dropped and reflected below any stack.

use super::flood::Flood;
use super::lab::{Lab, NEAR, NEAR_STACK};
use anyhow::Result;
use clap::ValueEnum;
use softnet::af_xdp::bare::{BareConfig, BareLoop, Work};
use softnet::af_xdp::bpf::{Existing, Steering};
use softnet::af_xdp::{AfXdpConfig, AfXdpNic, Mode, ModeChoice, Umem, UmemConfig};
use softnet::measure::{LoopConfig, NapiLoop};
use std::time::{Duration, Instant};

/// Slots of each ring of each contender.
const RING: u16 = 1024;
/// Frames that are moved at a time by each contender.
pub const BATCH: u16 = 64;

/// Who moves the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// The NIC of `backends/af-xdp` behind NAPI.
    Softnet,
    /// A loop over xsk-rs and nothing else.
    Bare,
}

impl Contender {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Softnet, Self::Bare];

    /// The name in the rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Softnet => "softnet",
            Self::Bare => "xsk-rs, bare",
        }
    }
}

/// What is done with the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// They are dropped.
    RxDrop,
    /// They go back with their addresses swapped.
    L2fwd,
}

impl Task {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RxDrop, Self::L2fwd];

    /// The name in the rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RxDrop => "rx-drop",
            Self::L2fwd => "l2fwd",
        }
    }

    fn work(self) -> Work {
        match self {
            Self::RxDrop => Work::RxDrop,
            Self::L2fwd => Work::L2Forward,
        }
    }
}

/// A contender at its work.
pub enum Running {
    /// Behind NAPI.
    Softnet(Box<NapiLoop<AfXdpNic>>),
    /// The bare loop.
    Bare(Box<BareLoop>),
}

impl Running {
    /// Opens the near end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(contender: Contender, task: Task) -> Result<Self> {
        Ok(match contender {
            Contender::Softnet => Self::Softnet(Box::new(softnet(&task.work())?)),
            Contender::Bare => Self::Bare(Box::new(bare(task.work())?)),
        })
    }

    /// Moves at most a batch, and returns how many frames there were.
    #[inline]
    pub fn turn(&mut self) -> u64 {
        match self {
            Self::Softnet(running) => running.turn(),
            Self::Bare(running) => running.turn() as u64,
        }
    }
}

fn softnet(work: &Work) -> Result<NapiLoop<AfXdpNic>> {
    let umem = Umem::new(UmemConfig {
        chunks: u32::from(RING) * 4,
        ring: RING,
        ..UmemConfig::default()
    })?;
    let config = AfXdpConfig {
        mode: ModeChoice::Only(Mode::Copy),
        ..AfXdpConfig::new(NEAR)
    };
    let options = LoopConfig {
        queues: 1,
        ring: RING,
        weight: BATCH,
        mtu: 1500,
    };
    Ok(NapiLoop::on_interface(config, &umem, work, options)?)
}

fn bare(work: Work) -> Result<BareLoop> {
    let config = BareConfig {
        interface: NEAR.to_owned(),
        queue: 0,
        mode: Mode::Copy,
        steering: Steering::all(),
        existing: Existing::LeaveAlone,
        batch: usize::from(BATCH),
        ring: RING,
    };
    Ok(BareLoop::open(&config, work)?)
}

/// How long a run lasts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Before the measurement begins.
    pub warm_up: Duration,
    /// The measurement.
    pub measured: Duration,
}

/// What a run came to, in thousands a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Frames that were offered.
    pub offered: f64,
    /// Frames that were dropped by the contender, or have arrived at the far end.
    pub done: f64,
}

/// One run: a flood, and a contender who moves what comes.
///
/// # Errors
/// The kernel refuses.
pub fn run(lab: &Lab, contender: Contender, task: Task, span: Span) -> Result<Rates> {
    let mut running = Running::open(contender, task)?;
    let flood = Flood::start(lab, NEAR_STACK)?;
    work(&mut running, span.warm_up);
    let (sent, arrived, start) = (flood.sent(), lab.arrived()?, Instant::now());
    let received = work(&mut running, span.measured);
    let seconds = start.elapsed().as_secs_f64();
    let (sent, arrived) = (flood.sent() - sent, lab.arrived()? - arrived);
    flood.stop()?;
    let done = match task {
        Task::RxDrop => received,
        Task::L2fwd => arrived,
    };
    let rate = |count: u64| count as f64 / seconds / 1e3;
    Ok(Rates {
        offered: rate(sent),
        done: rate(done),
    })
}

fn work(running: &mut Running, time: Duration) -> u64 {
    const TURNS: usize = 32;
    let start = Instant::now();
    let mut packets = 0;
    while start.elapsed() < time {
        packets += (0..TURNS).map(|_| running.turn()).sum::<u64>();
    }
    packets
}

/// Moves so many frames, for callgrind, by full batches: it lets the ring
/// run full before it empties it, since polls that find nothing would be counted too.
///
/// # Errors
/// The kernel refuses.
pub fn count(contender: Contender, task: Task, packets: u64) -> Result<()> {
    let mut running = Running::open(contender, task)?;
    let mut moved = 0;
    while moved < packets {
        std::thread::sleep(Duration::from_millis(5));
        let mut burst = 0;
        loop {
            let taken = running.turn();
            burst += taken;
            if taken < u64::from(BATCH) || burst + 2 * u64::from(BATCH) > u64::from(RING) {
                break;
            }
        }
        moved += burst;
    }
    Ok(())
}
