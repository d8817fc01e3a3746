//! When a NIC should interrupt: interrupts per packet and delay against the rate of
//! packets, for each way of moderating them.
//!
//! A stack behind an emulated e1000 receives datagrams at a rate; a socket takes each
//! one and sees how long it took. On a *virtual clock* the CPU's work costs what the
//! [`Cost`] says, so that packets gather while it is busy; two runs come to the same.
//! In *real time* it costs what it costs.

use super::Arrivals;
use super::traffic::{Destination, Traffic, stamp};
use crate::{Machine, MachineError, NicConfig, Time};
use hdrhistogram::Histogram;
use serde::Serialize;
use softnet_napi::Deferral;
use softnet_netstack::{
    BindError, IfIndex, Interrupts, Moderation, RMEM_MAX, StackConfig, StackError, UdpOptions,
    UdpSocket,
};
use softnet_nic_hal::MacAddress;
use softnet_softirq::VirtualClock;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A way of telling the CPU that packets have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// An interrupt as soon as there is a packet, masked while NAPI polls.
    PerPacket,
    /// Interrupts at least so many microseconds apart, by the NIC.
    Fixed(u32),
    /// Intervals that follow the load.
    Adaptive,
    /// NAPI polls again by a timer instead of letting the interrupt in
    /// (`napi_defer_hard_irqs`, `gro_flush_timeout`).
    Deferred(Deferral),
    /// No interrupts: the CPU polls all the time.
    BusyPoll,
}

impl Scheme {
    /// The five kinds, with usual settings.
    pub const ALL: [Self; 5] = [
        Self::PerPacket,
        Self::Fixed(50),
        Self::Adaptive,
        Self::Deferred(Deferral {
            hard_irqs: 2,
            timeout_ns: 20_000,
        }),
        Self::BusyPoll,
    ];

    /// Its name in tables and plots.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::PerPacket => "per packet".into(),
            Self::Fixed(usecs) => format!("fixed {usecs} us"),
            Self::Adaptive => "adaptive".into(),
            Self::Deferred(how) => {
                format!("deferred {} x {} us", how.hard_irqs, how.timeout_ns / 1000)
            }
            Self::BusyPoll => "busy poll".into(),
        }
    }

    fn interrupts(self) -> Interrupts {
        let mut how = Interrupts::default();
        match self {
            Self::PerPacket | Self::BusyPoll => {}
            Self::Fixed(usecs) => how.moderation = Moderation::Fixed(usecs),
            Self::Adaptive => how.moderation = Moderation::Adaptive,
            Self::Deferred(deferral) => how.deferral = deferral,
        }
        how
    }
}

/// What the CPU's work costs on a virtual clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// An interrupt: entry, the read of its cause, the softirq that it raises, exit.
    pub irq_ns: u64,
    /// A poll of the queue.
    pub poll_ns: u64,
    /// A packet, up to the socket's owner.
    pub packet_ns: u64,
}

impl Default for Cost {
    /// A kernel's figures, roughly: 1000, 200 and 300.
    fn default() -> Self {
        Self {
            irq_ns: 1_000,
            poll_ns: 200,
            packet_ns: 300,
        }
    }
}

/// Whose time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A virtual clock's.
    Virtual(Cost),
    /// Everybody's.
    Real,
}

/// Why an experiment could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The machine could not be built.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The stack refused.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The socket could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no room for what is measured.
    #[error("no histogram of delays: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A rate, or a number of packets, of 0.
    #[error("an experiment needs packets, at a rate")]
    NoTraffic,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// How the CPU is told.
    pub scheme: Scheme,
    /// Packets in a second.
    pub rate: u64,
    /// Packets in all.
    pub packets: u64,
    /// How they follow each other.
    pub arrivals: Arrivals,
    /// Whose time passes.
    pub pace: Pace,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The scheme's name.
    pub scheme: String,
    /// Packets sent in a second.
    pub rate: u64,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that the socket's owner took.
    pub received: u64,
    /// Hard interrupts.
    pub interrupts: u64,
    /// Interrupts for each packet received.
    pub interrupts_per_packet: f64,
    /// Half of the packets took at most so long, in nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// Of the time, the part in which the CPU worked, or polled: 0 to 1.
    pub cpu: f64,
}

/// The device's address and port.
const STATION: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 9;

/// The traffic starts so long after the machine: its link is up by then.
const START_NS: u64 = 20_000_000;

impl Experiment {
    /// Runs it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn run(&self) -> Result<Outcome, LabError> {
        if self.rate == 0 || self.packets == 0 {
            return Err(LabError::NoTraffic);
        }
        let mut bench = Bench::new(self)?;
        bench.settle()?;
        bench.run(self.rate);
        Ok(bench.outcome(self))
    }
}

/// A machine under traffic.
struct Bench {
    machine: Machine,
    clock: Option<(Arc<VirtualClock>, Cost)>,
    socket: UdpSocket,
    dev: IfIndex,
    left: u64,
    is_polling: bool,
    /// Nanoseconds.
    delays: Histogram<u64>,
    seen: Seen,
    /// The interrupts before the traffic.
    irqs_before: u64,
    began_ns: u64,
    ended_ns: u64,
    busy_ns: u64,
}

/// Counters that cost time when they grow.
#[derive(Clone, Copy, Default)]
struct Seen {
    irqs: u64,
    polls: u64,
    packets: u64,
}

impl Bench {
    fn new(experiment: &Experiment) -> Result<Self, LabError> {
        // Three significant digits up to a second.
        let delays = Histogram::new_with_bounds(1, 1_000_000_000, 3)?;
        let (time, clock) = match experiment.pace {
            Pace::Real => (Time::Real, None),
            Pace::Virtual(cost) => {
                let clock = Arc::new(VirtualClock::new(0));
                (Time::Virtual(clock.clone()), Some((clock, cost)))
            }
        };
        let mut machine = Machine::new(&StackConfig::default(), time)?;
        let (rate, count) = (experiment.rate, experiment.packets);
        let to = Destination {
            mac: STATION,
            ip: ADDRESS,
            port: PORT,
        };
        let start_ns = machine.now_ns() + START_NS;
        let traffic = Traffic::new(&to, rate, count, experiment.arrivals, start_ns);
        let nic = NicConfig {
            mac: Some(STATION),
            ..NicConfig::default()
        };
        let dev = machine.add_e1000(Box::new(traffic), &nic)?;
        let stack = machine.stack_mut();
        stack.add_address(dev, ADDRESS.into(), 24)?;
        stack.set_interrupts(dev, experiment.scheme.interrupts())?;
        let is_polling = experiment.scheme == Scheme::BusyPoll;
        stack.set_busy_poll(is_polling)?;
        let local = SocketAddr::from((ADDRESS, PORT));
        // The ring is what is to overflow first.
        let options = UdpOptions {
            receive_buffer: RMEM_MAX,
            ..UdpOptions::default()
        };
        let socket = stack.udp_bind(local, &options)?;
        Ok(Self {
            machine,
            clock,
            socket,
            dev,
            left: count,
            is_polling,
            delays,
            seen: Seen::default(),
            irqs_before: 0,
            began_ns: start_ns,
            ended_ns: start_ns,
            busy_ns: 0,
        })
    }

    /// Waits until the link is up and everything rests.
    fn settle(&mut self) -> Result<(), LabError> {
        self.machine
            .wait_for_link(self.dev, Duration::from_millis(15))?;
        self.seen = self.look();
        self.irqs_before = self.seen.irqs;
        Ok(())
    }

    /// Until every packet has been received, or none comes any more: the rest was lost.
    fn run(&mut self, rate: u64) {
        let patience_ns = 100_000_000 + 50 * 1_000_000_000 / rate;
        let mut last_ns = self.began_ns;
        while self.left > 0 && self.machine.now_ns() < last_ns + patience_ns {
            let before = self.machine.now_ns();
            let progress = self.machine.run_once();
            let worked = match self.clock {
                Some(_) => self.charge() || progress.worked,
                None => progress.worked,
            };
            if self.take() {
                last_ns = self.machine.now_ns();
            }
            if worked {
                self.busy_ns += self.machine.now_ns() - before;
            } else {
                self.pass(progress.next_event_ns);
            }
        }
        self.ended_ns = last_ns;
        self.seen = self.look();
    }

    /// Lets the time pass that the work costs. Returns whether there was any.
    fn charge(&mut self) -> bool {
        let now = self.look();
        let was = std::mem::replace(&mut self.seen, now);
        if let Some((clock, cost)) = &self.clock {
            let spent = (now.irqs - was.irqs) * cost.irq_ns
                + (now.polls - was.polls) * cost.poll_ns
                + (now.packets - was.packets) * cost.packet_ns;
            clock.advance(spent);
        }
        // A poll that found nothing is no reason to look again at this time.
        now.irqs > was.irqs || now.packets > was.packets
    }

    /// Takes what has come, and notes how long it took.
    fn take(&mut self) -> bool {
        let before = self.left;
        while let Ok(datagram) = self.socket.try_recv() {
            let now_ns = self.machine.now_ns();
            let came_ns = stamp(&datagram).unwrap_or(now_ns);
            self.delays
                .saturating_record(now_ns.saturating_sub(came_ns));
            self.left = self.left.saturating_sub(1);
        }
        self.left != before
    }

    /// Nothing to do now: on a virtual clock the next event comes at once. A CPU that
    /// polls goes on polling.
    fn pass(&mut self, next_ns: Option<u64>) {
        let Some((clock, cost)) = &self.clock else {
            return std::hint::spin_loop();
        };
        let now_ns = self.machine.now_ns();
        let Some(next_ns) = next_ns.filter(|&next| next > now_ns) else {
            return clock.advance(1);
        };
        let mut wait = next_ns - now_ns;
        if self.is_polling {
            // It looks again each time a poll has ended: at the first such time.
            wait = wait.next_multiple_of(cost.poll_ns.max(1));
        }
        clock.advance(wait);
    }

    fn look(&self) -> Seen {
        let mut seen = Seen {
            irqs: self.machine.bus().irqs().snapshot().total(),
            ..Seen::default()
        };
        if let Ok(interface) = self.machine.interface(self.dev) {
            interface.queues(&mut |_, rx, _| {
                seen.polls += rx.polls.count();
                seen.packets += rx.packets.count();
            });
        }
        seen
    }

    fn outcome(&self, experiment: &Experiment) -> Outcome {
        let received = experiment.packets - self.left;
        let interrupts = self.seen.irqs - self.irqs_before;
        let lasted = self.ended_ns.saturating_sub(self.began_ns).max(1);
        let busy = self.busy_ns as f64 / lasted as f64;
        Outcome {
            scheme: experiment.scheme.name(),
            rate: experiment.rate,
            sent: experiment.packets,
            received,
            interrupts,
            interrupts_per_packet: interrupts as f64 / received.max(1) as f64,
            p50_ns: self.delays.value_at_quantile(0.5),
            p99_ns: self.delays.value_at_quantile(0.99),
            cpu: if self.is_polling { 1.0 } else { busy.min(1.0) },
        }
    }
}
