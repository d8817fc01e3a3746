//! The emulated NICs: their models, their drivers, and the stack above.
//!
//! Two jobs, both of which fill each direction of the line at once:
//!
//! - *forward*: each frame that comes in by the receive ring is posted to the transmit
//!   ring, in batches of 32, without interrupts and without a stack: what model and driver
//!   cost.
//! - *echo*: each frame is a UDP datagram to a socket, whose owner sends it back in the
//!   frame that it came in: model, interrupts, softirqs, NAPI, driver, stack and socket. In a
//!   *flood* the next batch is there before the CPU is done with the last.
//!
//! Time stands still, and everything runs on one thread.

use crate::callgrind::{self, Operations};
use crate::netpath::traffic::{FIRST_PORT, OURS, PEER, PEER_MAC, Traffic};
use crate::netpath::{BATCH, Scenario, Service, Spread};
use crate::pair::switches;
use crate::row::{Better, Row, fill_ratios, median};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use core::net::{IpAddr, SocketAddr};
use softnet::netstack::{NicOptions, RMEM_MAX, Stack, StackConfig, UdpOptions, UdpSocket};
use softnet::nic_hal::irq::IrqTable;
use softnet::nic_hal::wire::{Wire, WireError};
use softnet::nic_hal::{IrqHandler, MacAddress, NicHal, OpenConfig, QueueId, QueuePair};
use softnet::softirq::{Clock, VirtualClock};
use softnet_dma_ring::{DmaRing, FrameBatch, FramePool, PoolConfig};
use softnet_emulated::{DeviceModel, E1000, E1000Config, Igb, IgbConfig, PciBus, PciFunction};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Which chip, with its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chip {
    /// The 82540EM.
    E1000,
    /// The 82576, by one queue.
    Igb,
}

/// What is done with each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Job {
    /// It is sent on by the driver's rings.
    Forward,
    /// A socket sends it back; the wire rests between two batches.
    Echo,
    /// The same, and the wire does not rest.
    Flood,
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::E1000 => "e1000",
            Self::Igb => "igb",
        })
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Echo => "udp echo",
            Self::Flood => "udp echo, flooded",
        })
    }
}

/// The parts of the program that share a packet's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Driver,
    /// Frames, rings, DMA memory: what drivers and the stack stand on.
    Frames,
    Model,
    Stack,
    Bench,
}

impl Part {
    /// By a source file's path.
    fn of(file: &str) -> Option<Self> {
        const FOLDERS: [(&str, Part); 11] = [
            ("/backends/e1000/", Part::Driver),
            ("/backends/igb/", Part::Driver),
            ("/backends/emulated/", Part::Model),
            ("/dma-ring/", Part::Frames),
            ("/nic-hal/", Part::Frames),
            ("/netstack/", Part::Stack),
            ("/napi/", Part::Stack),
            ("/softirq/", Part::Stack),
            ("/benches/", Part::Bench),
            ("/foldhash", Part::Stack),
            ("/hashbrown", Part::Stack),
        ];
        let found = FOLDERS
            .iter()
            .find(|(folder, _)| file.contains(folder) || file.starts_with(&folder[1..]));
        found.map(|&(_, part)| part)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Frames => "frames and rings",
            Self::Model => "model",
            Self::Stack => "stack",
            Self::Bench => "wire and application",
        }
    }
}

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const RING: u16 = 256;
/// Frames of a turn of a flood.
const TURN: usize = RING as usize * 3 / 4;
/// Turns of a flood after which the wire rests all the same, so that frames are counted.
const FLOOD: usize = 16;

const SCENARIO: Scenario = Scenario {
    service: Service::Echo,
    sockets: 1,
    spread: Spread::All,
    batch: BATCH,
    // A frame of 64 bytes with its FCS, the shortest that Ethernet has.
    payload: 18,
};

/// What chips are plugged into: it always has a frame, and counts what is sent.
struct Feed {
    traffic: Traffic,
    due: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Wire for Feed {
    fn transmit(&mut self, _: &[u8], _: u64) -> Result<(), WireError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let due = self.due.load(Ordering::Relaxed);
        let now = due.min(budget);
        self.due.store(due - now, Ordering::Relaxed);
        (0..now).for_each(|_| sink(self.traffic.next()));
        now
    }
}

/// A chip in its slot, with its wire.
struct Slot {
    model: Box<dyn DeviceModel>,
    feed: Feed,
    due: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    irqs: Arc<IrqTable>,
    now_ns: u64,
}

impl Slot {
    fn new(chip: Chip) -> Result<(Self, PciFunction)> {
        let irqs = Arc::new(IrqTable::new(1));
        let bus = PciBus::new(irqs.clone());
        let (function, model): (_, Box<dyn DeviceModel>) = match chip {
            Chip::E1000 => {
                let (function, model) = E1000::attach(&bus, &E1000Config::new(MAC))?;
                (function, Box::new(model))
            }
            Chip::Igb => {
                let (function, model) = Igb::attach(&bus, &IgbConfig::new(MAC))?;
                (function, Box::new(model))
            }
        };
        let (due, sent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let feed = Feed {
            traffic: Traffic::new(&SCENARIO, MAC.0),
            due: due.clone(),
            sent: sent.clone(),
        };
        let slot = Self {
            model,
            feed,
            due,
            sent,
            irqs,
            now_ns: 1_000_000_000,
        };
        Ok((slot, function))
    }

    fn step(&mut self) -> bool {
        let step = self.model.step(self.now_ns, &mut self.feed);
        step.worked() || step.again
    }

    /// Lets the chip autonegotiate.
    fn negotiate(&mut self, mut watch: impl FnMut(u64)) {
        for _ in 0..100 {
            self.now_ns += 1_000_000;
            self.step();
            watch(self.now_ns);
        }
    }
}

/// A chip at work.
pub trait Work {
    /// Lets a batch of frames come and go. Returns how many were sent.
    fn pass(&mut self) -> usize;
    /// Interrupts since the chip was plugged in.
    fn interrupts(&self) -> u64;
}

struct Nobody;

impl IrqHandler for Nobody {
    fn irq(&self, _: QueueId) {}
}

/// The driver's rings, one plugged into the other.
struct Forward<N: NicHal> {
    slot: Slot,
    // Kept, since it is stopped when it is dropped.
    _nic: Arc<N>,
    pair: QueuePair<N::Rx, N::Tx>,
    batch: FrameBatch,
}

impl<N: NicHal> Forward<N> {
    fn new(mut slot: Slot, nic: Arc<N>) -> Result<Self> {
        let pool = FramePool::new(PoolConfig::default())?;
        let config = OpenConfig {
            rx_ring: RING,
            tx_ring: RING,
            ..OpenConfig::new(pool.clone())
        };
        let opened = nic.open(&config, Arc::new(Nobody))?.pop();
        let mut pair = opened.context("the driver has opened no queue")?;
        while pair.rx.free_slots() > 0 {
            let frame = pool.alloc().context("the pool is empty")?;
            pair.rx.post(frame)?;
        }
        pair.rx.kick();
        let looked = nic.clone();
        slot.negotiate(|now| {
            looked.watchdog(now);
        });
        Ok(Self {
            slot,
            _nic: nic,
            pair,
            batch: FrameBatch::new(),
        })
    }
}

impl<N: NicHal> Work for Forward<N> {
    fn pass(&mut self) -> usize {
        self.slot.due.store(BATCH, Ordering::Relaxed);
        while self.slot.step() {}
        let QueuePair { rx, tx, .. } = &mut self.pair;
        rx.reap_into(&mut self.batch, BATCH);
        tx.post_from(&mut self.batch);
        tx.kick();
        while self.slot.step() {}
        // What was sent is posted again.
        tx.reap_into(&mut self.batch, BATCH);
        for frame in self.batch.iter_mut() {
            frame.reset(64);
        }
        rx.post_from(&mut self.batch);
        rx.kick();
        self.slot.sent.swap(0, Ordering::Relaxed)
    }

    fn interrupts(&self) -> u64 {
        self.slot.irqs.snapshot().total()
    }
}

/// The whole stack, inline.
struct Echo {
    slot: Slot,
    stack: Stack,
    socket: UdpSocket,
    /// Whether the wire has frames all the time, and not a batch at a time.
    is_flooded: bool,
}

impl Echo {
    fn new<N: NicHal + 'static>(mut slot: Slot, nic: Arc<N>, job: Job) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(slot.now_ns));
        let mut stack = Stack::new(&StackConfig::default(), &clock)?;
        let options = NicOptions {
            ring: Some(RING),
            ..NicOptions::default()
        };
        let looked = nic.clone();
        let dev = stack.add_nic(nic, &options)?;
        stack.add_address(dev, IpAddr::V4(OURS), 24)?;
        stack.add_neighbour(dev, PEER, MacAddress(PEER_MAC))?;
        let options = UdpOptions {
            receive_buffer: RMEM_MAX,
            ..UdpOptions::default()
        };
        let local = SocketAddr::from((OURS, FIRST_PORT));
        let socket = stack.udp_bind(local, &options)?;
        slot.negotiate(|now| {
            looked.watchdog(now);
            stack.run_until_idle();
        });
        Ok(Self {
            slot,
            stack,
            socket,
            is_flooded: job == Job::Flood,
        })
    }

    fn answer(&mut self) {
        while let Ok(datagram) = self.socket.try_recv() {
            let from = datagram.from();
            // What cannot be sent does not come out on the wire, and is missed there.
            let _ = self.socket.try_send_datagram(datagram, from);
        }
    }

    /// Chip and CPU take turns, and the ring is nearly full at the CPU's: an interrupt comes
    /// only when it has caught up.
    fn flood(&mut self) {
        self.slot.due.store(TURN, Ordering::Relaxed);
        while self.slot.due.load(Ordering::Relaxed) > 0 && self.slot.step() {}
        self.stack.run_once();
        self.answer();
    }

    fn settle(&mut self) {
        while self.slot.step() || self.stack.run_once().ran {
            self.answer();
        }
    }
}

impl Work for Echo {
    fn pass(&mut self) -> usize {
        if self.is_flooded {
            (0..FLOOD).for_each(|_| self.flood());
            self.settle();
            return self.slot.sent.swap(0, Ordering::Relaxed);
        }
        self.slot.due.store(BATCH, Ordering::Relaxed);
        while self.slot.step() {}
        self.stack.run_once();
        self.answer();
        self.stack.run_once();
        while self.slot.step() {}
        self.slot.sent.swap(0, Ordering::Relaxed)
    }

    fn interrupts(&self) -> u64 {
        self.slot.irqs.snapshot().total()
    }
}

fn work(chip: Chip, job: Job) -> Result<Box<dyn Work>> {
    let (slot, function) = Slot::new(chip)?;
    let function = Arc::new(function);
    Ok(match chip {
        Chip::E1000 => at_work(slot, softnet_e1000::E1000::probe(function)?, job)?,
        Chip::Igb => at_work(slot, softnet_igb::Igb::probe(function)?, job)?,
    })
}

fn at_work<N: NicHal + 'static>(slot: Slot, nic: Arc<N>, job: Job) -> Result<Box<dyn Work>> {
    Ok(match job {
        Job::Forward => Box::new(Forward::new(slot, nic)?),
        Job::Echo | Job::Flood => Box::new(Echo::new(slot, nic, job)?),
    })
}

/// Lets `packets` frames come and go, or a few more. Returns how many were sent. A flood
/// may lose some where the transmit ring is full.
fn run(work: &mut dyn Work, packets: usize) -> Result<usize> {
    let mut sent = 0;
    while sent < packets {
        let now = work.pass();
        ensure!(now > 0, "nothing comes through any more");
        sent += now;
    }
    Ok(sent)
}

/// The work that callgrind counts.
///
/// # Errors
/// When a packet does not come through.
pub fn count(chip: Chip, job: Job, packets: usize) -> Result<()> {
    let sent = run(&mut *work(chip, job)?, packets)?;
    ensure!(sent == packets, "{sent} of {packets} were sent");
    Ok(())
}

/// How many instructions forwarding a packet takes in batches of 32, as published for
/// ixy and ixy.rs on an Intel 82599 (Emmerich et al., "The Case for Writing Network
/// Drivers in High-Level Programming Languages", ANCS 2019): the driver and the program.
const IXY: [(&str, f64); 2] = [
    ("ixy, as published", 127.0),
    ("ixy.rs, as published", 209.0),
];

/// Instructions for a packet that comes and goes, by part.
///
/// # Errors
/// When callgrind fails, or the work under it.
pub fn instructions(chip: Chip, job: Job) -> Result<Vec<Row>> {
    let names = [chip, chip].map(|chip| chip.to_string());
    let job_name = job.to_possible_value().context("a job has a name")?;
    let arguments = ["count", names[0].as_str(), job_name.get_name()];
    let operations = Operations {
        low: 4096,
        high: 12_288,
    };
    let parts = callgrind::instructions_by_part(&arguments, operations, Part::of)?;
    let mut rows = vec![row(chip, job, "instructions", parts.values().sum())];
    for (part, &value) in &parts {
        let name = part.map_or("libraries", Part::name);
        rows.push(row(chip, job, &format!("instructions: {name}"), value));
    }
    if job == Job::Forward {
        let own = [Some(Part::Driver), Some(Part::Frames)];
        let driver = own.iter().filter_map(|part| parts.get(part)).sum();
        rows.extend(beside_ixy(chip, driver));
    }
    Ok(rows)
}

fn beside_ixy(chip: Chip, ours: f64) -> Vec<Row> {
    let name = format!("softnet, {chip}");
    let all = [(name.as_str(), ours)].into_iter().chain(IXY);
    let mut rows: Vec<Row> = all
        .map(|(contender, value)| Row {
            contender: contender.to_owned(),
            ..row(
                chip,
                Job::Forward,
                "instructions: driver, frames and rings",
                value,
            )
        })
        .collect();
    fill_ratios(&mut rows, Better::Lower);
    rows
}

/// Packets a second in each direction at once, and interrupts for each.
///
/// # Errors
/// When a packet does not come through.
pub fn rate(chip: Chip, job: Job, limit: Duration) -> Result<Vec<Row>> {
    const PACKETS: usize = 16 * 1024;
    let mut work = work(chip, job)?;
    run(&mut *work, PACKETS)?;
    let (mut samples, mut packets) = (Vec::new(), 0);
    let (start, before) = (Instant::now(), work.interrupts());
    while start.elapsed() < limit || packets == 0 {
        let (began, switched) = (Instant::now(), switches());
        let sent = run(&mut *work, PACKETS)?;
        packets += sent;
        if switches() == switched {
            samples.push(sent as f64 / began.elapsed().as_secs_f64() / 1e6);
        }
    }
    let interrupts = (work.interrupts() - before) as f64 / packets as f64;
    let mut rows = vec![row(
        chip,
        job,
        "interrupts for 1000 packets",
        interrupts * 1e3,
    )];
    if let Some(rate) = median(samples) {
        rows.push(row(chip, job, "M frames/s each way", rate));
        rows.push(row(chip, job, "of 1 Gbit/s at line rate", rate / LINE_RATE));
    }
    Ok(rows)
}

/// Million frames of 64 bytes in a second on 1 Gbit/s: 84 bytes each with preamble and gap.
const LINE_RATE: f64 = 1e3 / (84.0 * 8.0);

fn row(chip: Chip, job: Job, metric: &str, value: f64) -> Row {
    Row {
        group: chip.to_string(),
        row: match job {
            Job::Flood => format!("{job}, 64 B"),
            _ => format!("{job}, 64 B, by {BATCH}"),
        },
        contender: crate::row::OURS.to_owned(),
        metric: metric.to_owned(),
        value,
        ratio_to_best_peer: None,
        mode: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_and_goes() {
        for chip in [Chip::E1000, Chip::Igb] {
            for job in [Job::Forward, Job::Echo] {
                let mut work = work(chip, job).unwrap();
                let sent = if job == Job::Flood {
                    FLOOD * BATCH
                } else {
                    BATCH
                };
                for pass in 0..32 {
                    assert_eq!(work.pass(), sent, "{chip}, {job}, pass {pass}");
                }
            }
        }
    }

    #[test]
    fn files_belong_to_their_parts() {
        let parts = [
            "/x/backends/igb/src/ring/rx.rs",
            "backends/emulated/src/igb/rx.rs",
        ];
        assert_eq!(parts.map(Part::of), [Some(Part::Driver), Some(Part::Model)]);
        assert_eq!(Part::of("/rustc/0/library/core/src/slice.rs"), None);
    }
}
