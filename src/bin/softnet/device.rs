//! `softnet device`: an emulated NIC for somebody else's virtual machine.

use crate::fault::Faults;
use crate::values::{self, Cidr, WireSpec};
use crate::{output, seed, wires};
use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use softnet::emulated::{
    DeviceModel, DeviceThread, E1000, E1000Config, Igb, IgbConfig, Monitor, Ne2000, Ne2000Config,
    NowNs, PciBus, PciFunction,
};
use softnet::nic_hal::MacAddress;
use softnet::nic_hal::irq::IrqTable;
use softnet::nic_hal::wire::Wire;
use softnet::vfio_user::{ServeError, VfioUser};
use softnet::wire::Recorder;
use softnet::wire::fault::Fault;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::Builder;
use std::time::Instant;
use std::{fmt, fs};

/// Offer an emulated NIC to a virtual machine, as a device that its own drivers
/// drive, until Ctrl-C or SIGTERM.
///
/// The NIC is served by the protocol vfio-user on a Unix socket. QEMU 10.1 and newer
/// are clients; the arguments that it needs are printed. When a machine goes, the
/// next one may come.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  # A NIC whose other end is the kernel's, as 10.0.0.1:
  softnet device e1000 --socket /tmp/nic.sock --wire tap:tap0 --kernel-address 10.0.0.1/24

  # The same over a bad line, recorded:
  softnet device e1000 --socket /tmp/nic.sock --wire tap:tap0 --fault loss=1% --capture trace.pcapng")]
pub(crate) struct Device {
    /// The NIC.
    chip: Chip,
    /// Where the virtual machine finds it.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// What it is plugged into: tap:NAME, an interface of the kernel, made if it is
    /// not there; or pcap:FILE, replayed in recorded time.
    #[arg(long, value_name = "WIRE")]
    wire: WireSpec,
    /// Give the kernel's side of a TAP this address.
    #[arg(long, value_name = "A/LEN")]
    kernel_address: Option<Cidr>,
    /// The NIC's station address.
    #[arg(long, value_name = "MAC", value_parser = values::mac, default_value = "52:54:00:12:34:56")]
    mac: MacAddress,
    /// Faults of the wire in both directions: a list of loss=1%, duplicate=1%,
    /// corrupt=1%, reorder=1%, delay=5ms, jitter=1ms, rate=10mbit.
    #[arg(long, value_name = "LIST")]
    fault: Option<Faults>,
    /// What the faults' randomness starts from. Drawn from the system if it is not given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Record what passes the NIC to a pcapng file.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Print what was counted as JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// The chips that there are models of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Chip {
    /// Intel 82540EM, for Linux's driver e1000.
    E1000,
    /// Intel 82576, for Linux's driver igb.
    Igb,
    /// Realtek RTL8029, for Linux's driver ne2k-pci.
    Ne2000,
}

/// What was counted while the device was served.
#[derive(Serialize)]
struct Counted {
    machines: u64,
    wire_rx: u64,
    rx_unheard: u64,
    rx_filtered: u64,
    wire_tx: u64,
    wire_tx_lost: u64,
    tx_unsupported: u64,
    tx_discarded: u64,
    dma_faults: u64,
}

pub(crate) fn run(args: &Device) -> Result<ExitCode> {
    let wire = open_wire(args)?;
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let (function, model) = attach(&bus, args)?;
    let monitor = model.monitor();
    let _thread = DeviceThread::spawn(model, wire, clock()).context("the device has no thread")?;
    let offered = VfioUser::bind(&args.socket, Arc::new(function.clone()))?;
    let stop = offered.stop();
    let machines = Arc::new(AtomicU64::new(0));
    let events = events_of(offered, Arc::clone(&machines))?;
    announce(&args.socket);
    let ended = events.recv().context("the device is served by nobody")?;
    // A machine that has the device loses it with this process.
    stop.stop();
    let _ = fs::remove_file(&args.socket);
    ended?;
    print(args.json, &Counted::now(&machines, &function, &monitor))?;
    Ok(ExitCode::SUCCESS)
}

/// Real time, from now on.
fn clock() -> NowNs {
    let start = Instant::now();
    Arc::new(move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Serves on a thread of its own. What comes out of the channel ends the program: a
/// signal, or that there can be no service.
fn events_of(
    offered: VfioUser<PciFunction>,
    machines: Arc<AtomicU64>,
) -> Result<Receiver<Result<()>>> {
    let (event, events) = mpsc::channel();
    let interrupted = event.clone();
    ctrlc::set_handler(move || {
        // When nobody listens any more, the end is near anyway.
        let _ = interrupted.send(Ok(()));
    })
    .context("signals cannot be caught")?;
    let serving = Builder::new().name("serve".to_owned());
    serving
        .spawn(move || {
            let _ = event.send(serve(&offered, &machines));
        })
        .context("there is no thread to serve on")?;
    Ok(events)
}

/// Serves one machine after the other.
fn serve(offered: &VfioUser<PciFunction>, machines: &AtomicU64) -> Result<()> {
    loop {
        match offered.serve() {
            Err(ServeError::Stopped) => return Ok(()),
            Err(error @ ServeError::Thread(_)) => return Err(error.into()),
            Err(error) => eprintln!("softnet: {error}"),
            Ok(()) => eprintln!("softnet: the machine has left"),
        }
        machines.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says on standard error, which is not for programs, how a machine gets the device.
fn announce(socket: &Path) {
    let driver = serde_json::json!({
        "driver": "vfio-user-pci",
        "socket": { "type": "unix", "path": socket },
    });
    eprintln!(
        "softnet: the device is served at {}; for QEMU:\n  \
         -machine q35,memory-backend=ram -m 1G \\\n  \
         -object memory-backend-memfd,id=ram,size=1G,share=on \\\n  \
         -device '{driver}'",
        socket.display()
    );
}

impl Counted {
    fn now(machines: &AtomicU64, function: &PciFunction, monitor: &Monitor) -> Self {
        let model = monitor.counters();
        Self {
            machines: machines.load(Ordering::Relaxed),
            wire_rx: model.wire_rx,
            rx_unheard: model.rx_unheard,
            rx_filtered: model.rx_filtered,
            wire_tx: model.wire_tx,
            wire_tx_lost: model.wire_tx_lost,
            tx_unsupported: model.tx_unsupported,
            tx_discarded: model.tx_discarded,
            dma_faults: function.dma_faults(),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machines that left:   {}", self.machines)?;
        writeln!(f, "frames from the wire: {}", self.wire_rx)?;
        writeln!(f, "  while it was off:   {}", self.rx_unheard)?;
        writeln!(f, "  for others:         {}", self.rx_filtered)?;
        writeln!(f, "frames to the wire:   {}", self.wire_tx)?;
        writeln!(f, "  that it refused:    {}", self.wire_tx_lost)?;
        writeln!(f, "unknown descriptors:  {}", self.tx_unsupported)?;
        writeln!(f, "packets given up:     {}", self.tx_discarded)?;
        write!(f, "DMA faults:           {}", self.dma_faults)
    }
}

fn print(json: bool, counted: &Counted) -> Result<()> {
    if json {
        output::json(counted)
    } else {
        output::text(counted)
    }
}

fn open_wire(args: &Device) -> Result<Box<dyn Wire>> {
    let mut wire = wires::open(&args.wire, args.kernel_address)?;
    if let Some(faults) = &args.fault {
        let seed = args.seed.unwrap_or_else(seed::draw);
        wire = Box::new(Fault::new(wire, &faults.config(seed)));
    }
    if let Some(path) = &args.capture {
        wire = Box::new(Recorder::new(wire, wires::create_capture(path, 0)?));
    }
    Ok(wire)
}

fn attach(bus: &PciBus, args: &Device) -> Result<(PciFunction, Box<dyn DeviceModel>)> {
    match args.chip {
        Chip::E1000 => {
            let (function, model) = E1000::attach(bus, &E1000Config::new(args.mac))?;
            Ok((function, Box::new(model)))
        }
        Chip::Igb => {
            let (function, model) = Igb::attach(bus, &IgbConfig::new(args.mac))?;
            Ok((function, Box::new(model)))
        }
        Chip::Ne2000 => {
            let (function, model) = Ne2000::attach(bus, &Ne2000Config::new(args.mac))?;
            Ok((function, Box::new(model)))
        }
    }
}
