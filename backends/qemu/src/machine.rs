//! A virtual machine without a guest: a PCI bus with network cards, memory, and a clock
//! that moves when it is told to.

use crate::QemuError;
use crate::bars::Space;
use crate::config::{Command, Slot};
use crate::delivery;
use crate::function::QemuFunction;
use crate::memory::{self, Allocator};
use crate::process::Process;
use crate::qmp::Qmp;
use crate::qtest::{Qtest, Traffic};
use crate::wire::{Ends, QemuWire};
use serde_json::json;
use softnet_dma_ring::DmaAddr;
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::irq::IrqTable;
use std::fmt::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command as Program;
use std::sync::{Arc, Mutex, PoisonError};

/// A machine to be.
#[derive(Clone, Debug)]
pub struct QemuConfig {
    /// QEMU for x86 machines.
    pub program: PathBuf,
    /// Its network cards; they take the slots from 4 on.
    pub nics: Vec<QemuNic>,
}

/// A network card.
#[derive(Clone, Debug)]
pub struct QemuNic {
    /// QEMU's name of the model, like `e1000`.
    pub model: String,
    /// Its station address.
    pub mac: MacAddress,
}

/// The slots before this one are those of the chipset.
const FIRST_SLOT: u8 = 4;

/// What the parts of a machine have in common.
pub(crate) struct Shared {
    pub(crate) qtest: Qtest,
    pub(crate) memory: Allocator,
    pub(crate) irqs: Arc<IrqTable>,
}

/// A running machine. When it is dropped its functions are gone, as after an unplug.
///
/// Nothing happens by itself: time passes by [`advance`](Self::advance) and by the drivers'
/// delays, and interrupts are delivered by
/// [`deliver_interrupts`](Self::deliver_interrupts).
pub struct QemuMachine {
    shared: Arc<Shared>,
    functions: Vec<QemuFunction>,
    ends: Vec<Arc<Ends>>,
    monitor: Mutex<Qmp>,
    process: Process,
}

impl QemuMachine {
    /// Starts QEMU and does what firmware does: sizes and places the cards' base
    /// address registers, and turns decoding on. Interrupts are raised in `irqs`.
    ///
    /// # Errors
    /// [`QemuError`]; QEMU is then not running.
    pub fn start(config: &QemuConfig, irqs: Arc<IrqTable>) -> Result<Self, QemuError> {
        let mut program = Program::new(&config.program);
        let mut theirs = Vec::new();
        program.args(machine_arguments());
        let (qtest, end) = UnixStream::pair()?;
        let name = chardev(&mut program, "qtest", end.into(), &mut theirs);
        program.args(["-qtest", &name, "-qtest-log", "/dev/null"]);
        let (monitor, end) = UnixStream::pair()?;
        let name = chardev(&mut program, "monitor", end.into(), &mut theirs);
        program.args(["-qmp", &name]);
        let mut ends = Vec::new();
        for (number, nic) in config.nics.iter().enumerate() {
            let (ours, end) = UnixDatagram::pair()?;
            program.args(nic_arguments(number, nic, &end));
            theirs.push(end.into());
            ends.push(Arc::new(Ends::new(ours)?));
        }
        let process = Process::start(program, theirs)?;
        let shared = Arc::new(Shared {
            qtest: Qtest::new(qtest)?,
            memory: Allocator::default(),
            irqs,
        });
        let functions = functions(&shared, config.nics.len());
        let monitor = Qmp::new(monitor);
        let (Ok(functions), Ok(monitor)) = (functions, monitor) else {
            process.kill();
            return Err(QemuError::Ended(process.said()));
        };
        Ok(Self {
            shared,
            functions,
            ends,
            monitor: Mutex::new(monitor),
            process,
        })
    }

    /// The network cards, in the order in which they were asked for.
    #[must_use]
    pub fn functions(&self) -> &[QemuFunction] {
        &self.functions
    }

    /// The other end of a card's cable.
    ///
    /// # Errors
    /// [`QemuError::NoNic`], or the system has no further file descriptor.
    pub fn wire(&self, nic: usize) -> Result<QemuWire, QemuError> {
        let ends = self.ends.get(nic).ok_or(QemuError::NoNic(nic))?;
        Ok(QemuWire::new(Arc::clone(&self.shared), Arc::clone(ends)))
    }

    /// Plugs a card's cable in, or pulls it.
    ///
    /// # Errors
    /// [`QemuError`].
    pub fn set_link(&self, nic: usize, up: bool) -> Result<(), QemuError> {
        let arguments = json!({ "name": nic_name(nic), "up": up });
        let monitor = self.monitor.lock();
        let mut monitor = monitor.unwrap_or_else(PoisonError::into_inner);
        monitor.execute("set_link", &arguments)
    }

    /// Lets time pass for the machine, in nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.shared.qtest.lock().clock_step(ns);
    }

    /// Returns when the cards have had the opportunity to take all that was sent to them
    /// before the call.
    pub fn settle(&self) {
        for ends in &self.ends {
            ends.settle(&self.shared.qtest);
        }
    }

    /// Calls the handlers of all interrupts that are asserted, until none is or no handler
    /// has anything more to do. Returns how many calls there were.
    pub fn deliver_interrupts(&self) -> usize {
        delivery::deliver(&self.shared, &self.functions)
    }

    /// Copies the guest's memory out, from that address on. `false` when the machine is
    /// gone; `out` is then undefined.
    pub fn read_memory(&self, addr: DmaAddr, out: &mut [u8]) -> bool {
        self.shared.qtest.lock().read_bytes(addr.0, out).is_some()
    }

    /// Copies bytes into the guest's memory.
    pub fn write_memory(&self, addr: DmaAddr, bytes: &[u8]) {
        self.shared.qtest.lock().write_bytes(addr.0, bytes);
    }

    /// What went to QEMU so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.qtest.lock().traffic()
    }

    /// Ends QEMU: the cards are gone.
    pub fn kill(&self) {
        self.process.kill();
    }
}

impl std::fmt::Debug for QemuMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.functions).finish()
    }
}

/// A q35 machine that has nothing but its bus and its memory.
fn machine_arguments() -> [String; 10] {
    let gib = memory::GIB;
    [
        "-nodefaults".into(),
        "-no-user-config".into(),
        "-display".into(),
        "none".into(),
        "-machine".into(),
        "q35,accel=qtest,sata=off,smbus=off,usb=off,memory-backend=ram".into(),
        "-m".into(),
        format!("{gib}G"),
        "-object".into(),
        format!("memory-backend-ram,id=ram,size={gib}G,reserve=off"),
    ]
}

/// A character device on a descriptor that QEMU inherits. Returns what options call it.
fn chardev(program: &mut Program, id: &str, end: OwnedFd, theirs: &mut Vec<OwnedFd>) -> String {
    let fd = end.as_raw_fd();
    theirs.push(end);
    program.args(["-chardev", &format!("socket,id={id},fd={fd}")]);
    format!("chardev:{id}")
}

fn nic_name(number: usize) -> String {
    format!("net{number}")
}

fn nic_arguments(number: usize, nic: &QemuNic, end: &UnixDatagram) -> [String; 4] {
    let (name, fd) = (nic_name(number), end.as_raw_fd());
    let netdev = format!("dgram,id={name},local.type=fd,local.str={fd}");
    let mut device = format!("{},netdev={name},mac={},romfile=", nic.model, nic.mac);
    // A string takes all that is written to it.
    let _ = write!(device, ",addr={:#x}", usize::from(FIRST_SLOT) + number);
    ["-netdev".into(), netdev, "-device".into(), device]
}

fn functions(shared: &Arc<Shared>, nics: usize) -> Result<Vec<QemuFunction>, QemuError> {
    let mut space = Space::default();
    let mut line = shared.qtest.lock();
    line.ask(format_args!("irq_intercept_in ioapic"));
    let mut functions = Vec::new();
    for slot in (FIRST_SLOT..).take(nics).map(Slot) {
        let name = format!("0000:00:{:02x}.0", slot.0);
        let Some(ids) = slot.ids(&mut line) else {
            return Err(QemuError::NoFunction(name));
        };
        let bars = space.place(&mut line, slot)?;
        slot.command(&mut line, Command::MEMORY | Command::IO, Command::empty());
        functions.push(QemuFunction::new(Arc::clone(shared), slot, name, ids, bars));
    }
    Ok(functions)
}
