//! The command line.

use crate::fault::Faults;
use crate::values::{self, Cidr, Nic, WireSpec};
use clap::{Parser, Subcommand};
use softnet::nic_hal::MacAddress;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Linux's packet path in user space: an emulated NIC, its driver, interrupts,
/// softirqs, NAPI, IP, UDP and sockets, with counters at each layer.
#[derive(Debug, Parser)]
#[command(name = "softnet", version, propagate_version = true)]
#[command(after_help = "Exit status: 0 success, 1 failure, 2 wrong arguments.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Run(Box<Run>),
    Replay(Replay),
}

/// Let the kernel's ping and a UDP client talk to the stack, and show what
/// happened in each layer.
///
/// Makes a network namespace and a TAP interface of its own; the kernel is
/// 10.0.0.1, the stack is 10.0.0.2 behind an emulated e1000. Needs no root where
/// the system allows user namespaces and everybody may open /dev/net/tun.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet demo
  softnet demo --json | jq .ping")]
pub(crate) struct Demo {
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// CPUs of the stack.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::cpus)]
    pub(crate) cpus: usize,
}

/// Run the stack on a wire, with the services echo (UDP port 7), discard (9)
/// and chargen (19), until Ctrl-C, SIGTERM or the end of --duration.
///
/// The report of all counters comes at the end.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  # The kernel's side gets 10.0.0.1, and `ping 10.0.0.2` is answered:
  softnet run --wire tap:tap0 --kernel-address 10.0.0.1/24 --address 10.0.0.2/24

  # Without root, in a namespace of its own, over a bad line:
  softnet run --own-namespace --wire tap:tap0 --kernel-address 10.0.0.1/24 \\
      --address 10.0.0.2/24 --fault loss=1%,delay=5ms --capture trace.pcapng

  # A capture as the wire, in recorded time:
  softnet run --wire pcap:trace.pcapng --address 10.0.0.2/24 --duration 10s")]
pub(crate) struct Run {
    /// The NIC: e1000.
    #[arg(long, value_name = "NIC", default_value = "e1000")]
    pub(crate) nic: Nic,
    /// What the NIC is plugged into: tap:NAME, an interface of the kernel, made if
    /// it is not there; or pcap:FILE, replayed in recorded time.
    #[arg(long, value_name = "WIRE")]
    pub(crate) wire: WireSpec,
    /// An address of the stack with its prefix length, as 10.0.0.2/24; may be
    /// repeated.
    #[arg(long, value_name = "A/LEN", required = true)]
    pub(crate) address: Vec<Cidr>,
    /// The router for all other networks.
    #[arg(long, value_name = "A")]
    pub(crate) gateway: Option<IpAddr>,
    /// CPUs of the stack, each one thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::cpus)]
    pub(crate) cpus: usize,
    /// The NIC's station address, as 52:54:00:12:34:56.
    #[arg(long, value_name = "MAC", value_parser = values::mac)]
    pub(crate) mac: Option<MacAddress>,
    /// Give the kernel's side of a TAP this address.
    #[arg(long, value_name = "A/LEN")]
    pub(crate) kernel_address: Option<Cidr>,
    /// Enter a network namespace of its own first, as any user.
    #[arg(long)]
    pub(crate) own_namespace: bool,
    /// Faults of the wire in both directions: a list of loss=1%, duplicate=1%,
    /// corrupt=1%, reorder=1%, delay=5ms, jitter=1ms, rate=10mbit.
    #[arg(long, value_name = "LIST")]
    pub(crate) fault: Option<Faults>,
    /// What randomness starts from: of the stack, and of the faults. Drawn from
    /// the system if it is not given.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Record what passes the NIC to a pcapng file.
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,
    /// End after this time, as 500ms, 10s or 2m.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) duration: Option<Duration>,
    /// Print a line of counters at this interval.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) stats_interval: Option<Duration>,
    /// Print JSON, one object a line, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Push a capture file through the whole path at full speed: chip, DMA,
/// interrupt, driver, NAPI, protocols. Account for each packet.
///
/// Everything runs on one thread and on a virtual clock, so two runs do the
/// same. The addresses in a capture are mostly foreign to the stack. So the NIC
/// is promiscuous, and packets to other stations are dropped by the protocols
/// with a reason. Give the stack the addresses of the host that the capture
/// is about with --mac and --address, and it takes what that host took; --filter
/// then lets the NIC sort out the rest, as on a real wire.
///
/// A truncated or corrupted file is replayed up to the damage; the account is
/// printed all the same, and the exit status is 1.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet replay trace.pcapng
  softnet replay trace.pcap --mac 52:54:00:12:34:56 --address 10.0.0.2/24 --listen 53
  softnet replay trace.pcap --cpus 4 --json | jq .account")]
pub(crate) struct Replay {
    /// A pcap or pcapng file of Ethernet frames.
    pub(crate) file: PathBuf,
    /// An address of the stack with its prefix length; may be repeated.
    #[arg(long, value_name = "A/LEN")]
    pub(crate) address: Vec<Cidr>,
    /// The NIC's station address.
    #[arg(long, value_name = "MAC", value_parser = values::mac)]
    pub(crate) mac: Option<MacAddress>,
    /// Let the NIC drop frames to other stations, which is not promiscuous.
    #[arg(long)]
    pub(crate) filter: bool,
    /// A UDP port with a socket that takes what comes; may be repeated.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) listen: Vec<u16>,
    /// CPUs of the stack; flows are spread over them by their hash.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::cpus)]
    pub(crate) cpus: usize,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}
