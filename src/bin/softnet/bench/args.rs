//! The command line of `softnet bench`.

use crate::values::{self, Cidr, XdpMode};
use clap::{Parser, Subcommand, ValueEnum};
use softnet::nic_hal::MacAddress;
use std::net::SocketAddr;
use std::time::Duration;

/// Measure what an interface of the kernel gives.
#[derive(Debug, Parser)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    AfXdp(AfXdp),
}

/// Measure an interface through AF_XDP, on one thread. Something else has to send
/// what is to be received. Needs a build with the feature af-xdp, and rights.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet bench af-xdp rx-drop eth1 --duration 10s
  softnet bench af-xdp l2fwd eth1 --bare
  softnet bench af-xdp tx-only eth1 --destination 52:54:00:12:34:56 --packets 1000000
  softnet bench af-xdp udp-echo eth1 --address 10.0.0.2/24
  softnet bench af-xdp latency eth1 --address 10.0.0.2/24 --server 10.0.0.1:7 --json")]
pub(crate) struct AfXdp {
    /// What is done.
    #[arg(value_name = "TASK")]
    pub(crate) task: Task,
    /// The interface.
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,
    /// End after this time, as 500ms, 10s or 2m.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    pub(crate) duration: Duration,
    /// End after so many packets, or round trips, if that is earlier.
    #[arg(long, value_name = "N")]
    pub(crate) packets: Option<u64>,
    /// How the kernel hands frames over; the fastest that works if it is not given.
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<XdpMode>,
    /// Queues that are polled, from queue 0 on; all of the interface's if it is not
    /// given. What comes in on others is left to the kernel.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) queues: Option<u16>,
    /// Packets that are moved at a time.
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) batch: u16,
    /// Slots of each ring: a power of two.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = ring)]
    pub(crate) ring: u16,
    /// Have the kernel poll the device for so many microseconds, in place of the
    /// device's interrupts.
    #[arg(long, value_name = "US")]
    pub(crate) busy_poll: Option<u32>,
    /// Sleep until something comes, in place of looking again and again.
    #[arg(long)]
    pub(crate) sleep: bool,
    /// Run a bare loop over one queue's rings, without interrupts and NAPI, for
    /// comparison: rx-drop, tx-only and l2fwd only.
    #[arg(long)]
    pub(crate) bare: bool,
    /// Take the place of an XDP program that is attached already.
    #[arg(long)]
    pub(crate) replace_program: bool,
    /// Where tx-only sends to.
    #[arg(long, value_name = "MAC", value_parser = values::mac)]
    pub(crate) destination: Option<MacAddress>,
    /// The stack's address with its prefix length, for udp-echo and latency.
    #[arg(long, value_name = "A/LEN")]
    pub(crate) address: Option<Cidr>,
    /// The service that latency asks, which answers with what it was sent.
    #[arg(long, value_name = "A:PORT")]
    pub(crate) server: Option<SocketAddr>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Receive frames and drop them. All frames of the queues are taken from the kernel.
    RxDrop,
    /// Send copies of a frame of 64 bytes.
    TxOnly,
    /// Send received frames back with their addresses swapped; as rx-drop, it takes all.
    L2fwd,
    /// Answer datagrams to UDP port 7 by the whole stack.
    UdpEcho,
    /// Ask a UDP service through the whole stack, and time its answers.
    Latency,
}

impl Task {
    #[cfg(feature = "af-xdp")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RxDrop => "rx-drop",
            Self::TxOnly => "tx-only",
            Self::L2fwd => "l2fwd",
            Self::UdpEcho => "udp-echo",
            Self::Latency => "latency",
        }
    }

    /// Whether the stack takes part.
    pub(crate) const fn is_of_the_stack(self) -> bool {
        matches!(self, Self::UdpEcho | Self::Latency)
    }
}

impl AfXdp {
    /// What is missing, or does not go together.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let stack = self.task.is_of_the_stack();
        let faults = [
            (
                stack && self.address.is_none(),
                "udp-echo and latency need --address A/LEN",
            ),
            (
                self.task == Task::Latency && self.server.is_none(),
                "latency needs --server A:PORT",
            ),
            (
                self.task == Task::TxOnly && self.destination.is_none(),
                "tx-only needs --destination MAC",
            ),
            (
                stack && self.bare,
                "--bare is for rx-drop, tx-only and l2fwd",
            ),
            (
                self.bare && self.queues.is_some_and(|queues| queues > 1),
                "--bare has one queue",
            ),
            (
                self.bare && (self.sleep || self.busy_poll.is_some()),
                "--bare neither sleeps nor has the kernel poll",
            ),
        ];
        faults.into_iter().find_map(|(is, what)| is.then_some(what))
    }
}

fn ring(text: &str) -> Result<u16, String> {
    let slots = text.parse().ok();
    let fits = |slots: &u16| slots.is_power_of_two() && (64..=4096).contains(slots);
    slots
        .filter(fits)
        .ok_or_else(|| "a ring has a power of two of slots, 64 to 4096".to_owned())
}
