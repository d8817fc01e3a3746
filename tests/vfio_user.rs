//! The front end for virtual machines, as a client of its protocol finds it: an 82540EM
//! behind a socket.

#![expect(clippy::unwrap_used, reason = "this is a test")]

#[path = "support/mod.rs"]
mod support;

use softnet::emulated::{E1000, E1000Config, PciBus};
use softnet::nic_hal::MacAddress;
use softnet::nic_hal::irq::IrqTable;
use softnet::vfio_user::{BindError, ServeError, Stop, VfioUser};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use vfio_user::Client;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Indices of regions and interrupts, and flags, of VFIO.
const BAR0: u32 = 0;
const CONFIG: u32 = 7;
const PIN: u32 = 0;
const NONE: u32 = 1;
const EVENTFD: u32 = 1 << 2;
const UNMASK: u32 = 1 << 4;
const TRIGGER: u32 = 1 << 5;

/// Registers of the 82540EM, and a cause.
const ICR: u64 = 0xc0;
const ICS: u64 = 0xc8;
const IMS: u64 = 0xd0;
const LSC: u32 = 4;

/// A card that is served, one client after the other.
struct Served {
    function: softnet::emulated::PciFunction,
    folder: support::Folder,
    stop: Stop,
    /// How each client's service ended.
    ends: Receiver<Result<(), ServeError>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(test: &str) -> Self {
        let folder = support::Folder::new(test);
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let config = E1000Config::new(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        let (function, _model) = E1000::attach(&bus, &config).unwrap();
        let offered = VfioUser::bind(&folder.file("nic"), Arc::new(function.clone())).unwrap();
        let stop = offered.stop();
        let (end, ends) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            loop {
                let served = offered.serve();
                let stopped = matches!(served, Err(ServeError::Stopped));
                if stopped || end.send(served).is_err() {
                    return;
                }
            }
        });
        Self {
            function,
            folder,
            stop,
            ends,
            thread: Some(thread),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.file("nic")
    }

    /// A client with the device's memory decoding, and its mastering of the bus, on.
    fn client(&self) -> Card {
        let mut card = Card(Client::new(&self.socket()).unwrap());
        card.0.region_write(CONFIG, 4, &6u16.to_le_bytes()).unwrap();
        card
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.thread.take().unwrap().join();
    }
}

struct Card(Client);

impl Card {
    fn read(&mut self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.0.region_read(BAR0, register, &mut word).unwrap();
        u32::from_le_bytes(word)
    }

    fn write(&mut self, register: u64, value: u32) {
        let word = value.to_le_bytes();
        self.0.region_write(BAR0, register, &word).unwrap();
    }

    /// Has the pin written to an eventfd.
    fn pin(&mut self) -> EventFd {
        let eventfd = EventFd::new(EFD_NONBLOCK).unwrap();
        let fds = [eventfd.as_raw_fd()];
        self.0.set_irqs(PIN, EVENTFD | TRIGGER, 0, 1, &fds).unwrap();
        eventfd
    }

    fn unmask(&mut self) {
        self.0.set_irqs(PIN, NONE | UNMASK, 0, 1, &[]).unwrap();
    }
}

/// How often the eventfd was written since it was looked at.
fn count(eventfd: &EventFd) -> u64 {
    eventfd.read().unwrap_or(0)
}

#[test]
fn configuration_space_is_read_and_written_by_bytes() {
    let served = Served::start("vfio-user-config");
    let mut card = served.client();
    let mut all = [0; 256];
    card.0.region_read(CONFIG, 0, &mut all).unwrap();
    assert_eq!(all[..4], [0x86, 0x80, 0x0e, 0x10]);
    let mut byte = [0];
    card.0.region_read(CONFIG, 3, &mut byte).unwrap();
    assert_eq!(byte, [0x10]);
    // The interrupt line is one byte of a word whose others are not to be written.
    card.0.region_write(CONFIG, 0x3c, &[9]).unwrap();
    let mut word = [0; 4];
    card.0.region_read(CONFIG, 0x3c, &mut word).unwrap();
    assert_eq!(word, [9, 1, all[0x3e], all[0x3f]]);
}

#[test]
fn the_pin_is_told_once_until_it_is_unmasked_and_then_again_while_it_is_asserted() {
    let served = Served::start("vfio-user-pin");
    let mut card = served.client();
    let eventfd = card.pin();
    card.write(IMS, LSC);
    card.write(ICS, LSC);
    card.write(ICS, LSC);
    assert_eq!(card.read(IMS), LSC);
    assert_eq!(count(&eventfd), 1);
    card.unmask();
    assert_eq!(count(&eventfd), 1, "nobody has read ICR");
    assert_eq!(card.read(ICR) & LSC, LSC);
    card.unmask();
    assert_eq!(count(&eventfd), 0);
    card.write(ICS, LSC);
    assert_eq!(card.read(IMS), LSC);
    assert_eq!(count(&eventfd), 1);
}

#[test]
fn a_reset_gives_registers_their_first_values_and_leaves_the_eventfd() {
    let served = Served::start("vfio-user-reset");
    let mut card = served.client();
    let eventfd = card.pin();
    card.write(IMS, LSC);
    card.0.reset().unwrap();
    assert_eq!(card.read(IMS), 0);
    card.write(IMS, LSC);
    card.write(ICS, LSC);
    assert_eq!(card.read(IMS), LSC);
    assert_eq!(count(&eventfd), 1);
}

#[test]
fn the_next_client_finds_nothing_of_the_last_one() {
    let served = Served::start("vfio-user-next");
    let mut card = served.client();
    let eventfd = card.pin();
    card.write(IMS, LSC);
    let memory = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(served.folder.file("memory"))
        .unwrap();
    memory.set_len(0x4000).unwrap();
    let map = |card: &mut Card| card.0.dma_map(0, 0x10_0000, 0x4000, memory.as_raw_fd());
    map(&mut card).unwrap();
    drop(card);
    served.ends.recv().unwrap().unwrap();
    let mut card = served.client();
    assert_eq!(card.read(IMS), 0);
    map(&mut card).unwrap();
    card.write(IMS, LSC);
    card.write(ICS, LSC);
    assert_eq!(card.read(IMS), LSC);
    assert_eq!(count(&eventfd), 0);
    assert_eq!(served.function.dma_faults(), 0);
}

#[test]
fn what_is_no_message_ends_one_clients_service_only() {
    let served = Served::start("vfio-user-nonsense");
    // A request for the version, of all ones, and one shorter than its own header.
    for message in [vec![0xff; 64], {
        let mut short = vec![0; 64];
        short[2] = 1;
        short
    }] {
        let mut stream = UnixStream::connect(served.socket()).unwrap();
        stream.write_all(&message).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Whatever is answered.
        let _ = stream.read_to_end(&mut Vec::new());
        drop(stream);
        let _ = served.ends.recv().unwrap();
    }
    let mut card = served.client();
    assert_eq!(card.read(IMS), 0);
}

#[test]
fn a_path_is_taken_over_from_the_dead_only() {
    let folder = support::Folder::new("vfio-user-path");
    let bind = |name| {
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let config = E1000Config::new(MacAddress([2, 0, 0, 0, 0, 1]));
        let (function, _model) = E1000::attach(&bus, &config).unwrap();
        VfioUser::bind(&folder.file(name), Arc::new(function))
    };
    drop(UnixListener::bind(folder.file("left")).unwrap());
    let offered = bind("left").unwrap();
    assert!(matches!(bind("left"), Err(BindError::InUse(_))));
    drop(offered);
    assert!(!folder.file("left").exists());
    std::fs::write(folder.file("file"), "").unwrap();
    assert!(matches!(bind("file"), Err(BindError::NotASocket(_))));
    assert!(folder.file("file").exists());
}
