//! The command line.

use crate::bench::Bench;
use crate::device::Device;
use crate::fault::Faults;
use crate::lab::Lab;
use crate::values::{self, Cidr, Nic, Steer, WireSpec, XdpMode};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use softnet::NicKind;
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
    Device(Box<Device>),
    Doctor(Doctor),
    AfXdpHelper(AfXdpHelper),
    Bench(Bench),
    Lab(Lab),
}

/// Let the kernel's ping and a UDP client talk to the stack, and show what
/// happened in each layer.
///
/// Makes a network namespace and a TAP interface of its own; the kernel is
/// 10.0.0.1, the stack is 10.0.0.2 behind an emulated NIC. Needs no root where
/// the system allows user namespaces and everybody may open /dev/net/tun.
///
/// With --nic af-xdp the stack is at one end of a veth pair, whose other end is the
/// kernel's in another namespace. That needs root, and a build with the feature
/// af-xdp.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet demo
  softnet demo --nic ne2000
  softnet demo --json | jq .ping
  softnet demo --nic af-xdp")]
pub(crate) struct Demo {
    /// What the stack stands behind.
    #[arg(long, value_name = "NIC", default_value = "e1000")]
    pub(crate) nic: DemoNic,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// CPUs of the stack.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::cpus)]
    pub(crate) cpus: usize,
}

/// What the demonstration's stack stands behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DemoNic {
    /// The emulated 82540EM, on a TAP.
    E1000,
    /// The emulated 82576, on a TAP.
    Igb,
    /// The emulated NE2000, on a TAP.
    Ne2000,
    /// An interface of the kernel, through AF_XDP.
    AfXdp,
}

/// Run the stack on a wire or on an interface of the kernel, with the services echo (UDP port 7), discard (9)
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
  softnet run --wire pcap:trace.pcapng --address 10.0.0.2/24 --duration 10s

  # A real NIC, whose other traffic goes on as before (as root; feature af-xdp):
  softnet run --nic af-xdp:eth1 --address 10.0.0.2/24 --cpus 2 --spin 50us")]
pub(crate) struct Run {
    /// The NIC: e1000, igb or ne2000, emulated; af-xdp:IFACE, an interface of the kernel;
    /// or vfio:0000:01:00.0, a PCI function that is bound to vfio-pci.
    #[arg(long, value_name = "NIC", default_value = "e1000")]
    pub(crate) nic: Nic,
    /// What an emulated NIC is plugged into: tap:NAME, an interface of the kernel,
    /// made if it is not there; or pcap:FILE, replayed in recorded time.
    #[arg(long, value_name = "WIRE")]
    pub(crate) wire: Option<WireSpec>,
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
    /// How long an idle CPU looks for packets before it sleeps, as 50us.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) spin: Option<Duration>,
    #[command(flatten)]
    pub(crate) af_xdp: AfXdp,
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

/// What is for `--nic af-xdp:IFACE` only.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "AF_XDP")]
pub(crate) struct AfXdp {
    /// How the kernel hands frames over; the fastest that works if it is not given.
    #[arg(long, value_name = "MODE")]
    pub(crate) xdp_mode: Option<XdpMode>,
    /// Which frames are ours: ip (to the stack's addresses, with their ARP), mac (to
    /// the interface's station address), all, or udp:FIRST-LAST; may be repeated.
    /// Other frames go to the kernel as before. [default: ip]
    #[arg(long, value_name = "WHAT")]
    pub(crate) steer: Vec<Steer>,
    /// Take the place of an XDP program that is attached already.
    #[arg(long)]
    pub(crate) replace_program: bool,
    /// Set the interface's number of queues, for as long as this runs.
    #[arg(long, value_name = "N")]
    pub(crate) set_queues: Option<u16>,
    /// Have the kernel poll the device for so many microseconds. The device's
    /// interrupts are put off while it does.
    #[arg(long, value_name = "US")]
    pub(crate) busy_poll: Option<u32>,
    /// Leave checksums to the kernel or the NIC, where the kernel makes room for the
    /// metadata that says so, and either of the two computes them.
    #[arg(long)]
    pub(crate) tx_metadata: bool,
    /// Have memory, sockets and the program made by a `softnet af-xdp-helper` that
    /// listens here. This needs no privilege then.
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["replace_program", "set_queues", "busy_poll", "tx_metadata"])]
    pub(crate) helper: Option<PathBuf>,
}

impl Run {
    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let misplaced = match self.nic {
            Nic::Emulated(_) => self.af_xdp.first_given(),
            Nic::AfXdp(_) => self.first_of_a_wire(),
            Nic::Vfio(_) => self.first_of_a_wire().or(self.af_xdp.first_given()),
        };
        let (kind, message) = match (&self.nic, misplaced) {
            (Nic::Emulated(_), Some(option)) => (
                ErrorKind::ArgumentConflict,
                format!("{option} is for --nic af-xdp:IFACE"),
            ),
            (Nic::AfXdp(_), Some(option)) => (
                ErrorKind::ArgumentConflict,
                format!("{option} is for an emulated NIC on a --wire, not for --nic af-xdp:IFACE"),
            ),
            (Nic::Vfio(_), Some(option)) => (
                ErrorKind::ArgumentConflict,
                format!("{option} is for other NICs than vfio:NAME"),
            ),
            (Nic::Emulated(_), None) if self.wire.is_none() => (
                ErrorKind::MissingRequiredArgument,
                "--wire <WIRE> is required with an emulated NIC".to_owned(),
            ),
            _ => return Ok(()),
        };
        Err(Args::command().error(kind, message))
    }

    /// What is given and needs a wire.
    fn first_of_a_wire(&self) -> Option<&'static str> {
        let given = [
            ("--wire", self.wire.is_some()),
            ("--mac", self.mac.is_some()),
            ("--kernel-address", self.kernel_address.is_some()),
            ("--own-namespace", self.own_namespace),
            ("--fault", self.fault.is_some()),
            ("--capture", self.capture.is_some()),
        ];
        first(given)
    }
}

impl AfXdp {
    fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--xdp-mode", self.xdp_mode.is_some()),
            ("--steer", !self.steer.is_empty()),
            ("--replace-program", self.replace_program),
            ("--set-queues", self.set_queues.is_some()),
            ("--busy-poll", self.busy_poll.is_some()),
            ("--tx-metadata", self.tx_metadata),
            ("--helper", self.helper.is_some()),
        ];
        first(given)
    }
}

fn first<const N: usize>(given: [(&'static str, bool); N]) -> Option<&'static str> {
    let found = given.into_iter().find(|&(_, given)| given);
    found.map(|(option, _)| option)
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
    /// The NIC: e1000, igb or ne2000.
    #[arg(long, value_name = "NIC", default_value = "e1000")]
    pub(crate) nic: NicKind,
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

/// Say whether an interface of the kernel can be the NIC (run --nic af-xdp:IFACE),
/// in which mode, why not in a better one, and what to run against it.
///
/// Looks at the kernel, the privileges of this process, the driver, queues, MTU,
/// offloads and attached programs. Then it opens queue 0 in each mode for a
/// moment, with a program that takes no packet. Nothing stays changed.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit status: 0 it works, 1 it does not, 2 wrong arguments.

Examples:
  softnet doctor eth1
  softnet doctor eth1 --json | jq '.mode, .findings[] | select(.state? == \"bad\")'"
)]
pub(crate) struct Doctor {
    /// The interface.
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,
    /// Only look: some drivers reset the link for a moment when a program is
    /// attached. The exit status is 0 then if nothing speaks against it.
    #[arg(long)]
    pub(crate) look: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Hand an interface out to a process without privilege.
///
/// Makes memory, XDP sockets and the XDP program for a `softnet run --nic
/// af-xdp:IFACE --helper SOCKET`, one at a time, and hands them over. Needs
/// CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  softnet af-xdp-helper eth1 --socket /run/softnet-eth1 --user nobody &
  setpriv --reuid nobody --clear-groups softnet run --nic af-xdp:eth1 --helper /run/softnet-eth1 --address 10.0.0.2/24")]
pub(crate) struct AfXdpHelper {
    /// The interface.
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,
    /// Where to listen. A socket that a helper left there is replaced.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) socket: PathBuf,
    /// Who may connect, by name or number; the user who runs this if it is not given.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Take the place of an XDP program that is attached already.
    #[arg(long)]
    pub(crate) replace_program: bool,
    /// The most memory of a process, in MiB. It is locked.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) max_memory: u64,
}
