//! A card on a bus, a wire that remembers, and the steps that every driver takes.

use softnet_emulated::pci::PciBus;
use softnet_emulated::{DeviceModel, Ne2000, Ne2000Config, PciFunction, Step};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{IrqMode, IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

pub(crate) const CR: u32 = 0x0;
pub(crate) const PSTART: u32 = 0x1;
pub(crate) const PSTOP: u32 = 0x2;
pub(crate) const BNRY: u32 = 0x3;
pub(crate) const TSR: u32 = 0x4;
pub(crate) const TPSR: u32 = 0x4;
pub(crate) const NCR: u32 = 0x5;
pub(crate) const TBCR0: u32 = 0x5;
pub(crate) const FIFO: u32 = 0x6;
pub(crate) const ISR: u32 = 0x7;
pub(crate) const CURR: u32 = 0x7;
pub(crate) const RSAR0: u32 = 0x8;
pub(crate) const RBCR0: u32 = 0xa;
pub(crate) const RSR: u32 = 0xc;
pub(crate) const RCR: u32 = 0xc;
pub(crate) const TCR: u32 = 0xd;
pub(crate) const DCR: u32 = 0xe;
pub(crate) const IMR: u32 = 0xf;
pub(crate) const CNTR2: u32 = 0xf;
pub(crate) const DATA: u32 = 0x10;
pub(crate) const RESET: u32 = 0x1f;

pub(crate) const STOP: u8 = 0x21;
pub(crate) const START: u8 = 0x22;
pub(crate) const TXP: u8 = 0x04;
pub(crate) const RREAD: u8 = 0x08;
pub(crate) const RWRITE: u8 = 0x10;
pub(crate) const SEND_PACKET: u8 = 0x18;

pub(crate) const PRX: u8 = 1;
pub(crate) const PTX: u8 = 1 << 1;
pub(crate) const TXE: u8 = 1 << 3;
pub(crate) const OVW: u8 = 1 << 4;
pub(crate) const CNT: u8 = 1 << 5;
pub(crate) const RDC: u8 = 1 << 6;
pub(crate) const RST: u8 = 1 << 7;

/// The ring that the tests use: 16 pages.
pub(crate) const FIRST: u8 = 0x50;
pub(crate) const LAST: u8 = 0x60;

#[derive(Default)]
pub(crate) struct Line {
    pub(crate) to_nic: VecDeque<Vec<u8>>,
    pub(crate) from_nic: Vec<Vec<u8>>,
    pub(crate) refuses: Option<WireError>,
    pub(crate) pulled: bool,
}

impl Wire for Line {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        if let Some(error) = self.refuses {
            return Err(error);
        }
        self.from_nic.push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let take = budget.min(self.to_nic.len());
        for frame in self.to_nic.drain(..take) {
            sink(&frame);
        }
        take
    }

    fn carrier(&self) -> bool {
        !self.pulled
    }
}

/// Acknowledges nothing but what it is told to.
pub(crate) struct Handler {
    pub(crate) calls: AtomicUsize,
    function: PciFunction,
    acknowledges: u8,
}

impl VectorHandler for Handler {
    fn interrupt(&self, _vector: u16) -> IrqReturn {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.function.write8(0, ISR, self.acknowledges);
        IrqReturn::Handled
    }
}

pub(crate) struct Rig {
    pub(crate) nic: PciFunction,
    pub(crate) chip: Ne2000,
    pub(crate) line: Line,
    pub(crate) now_ns: u64,
    _bus: PciBus,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(&Ne2000Config::new(MacAddress(MAC)))
    }

    pub(crate) fn with(config: &Ne2000Config) -> Self {
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let (nic, chip) = Ne2000::attach(&bus, config).unwrap();
        Self {
            nic,
            chip,
            line: Line::default(),
            now_ns: 0,
            _bus: bus,
        }
    }

    /// Started as chapter 11 says: words, the ring, broadcasts and our address.
    pub(crate) fn started() -> Self {
        let rig = Self::new();
        rig.start();
        rig
    }

    pub(crate) fn start(&self) {
        self.write(CR, STOP);
        self.write(DCR, 0x49);
        self.write(RCR, 0x04);
        self.write(TCR, 0x02);
        self.write(PSTART, FIRST);
        self.write(PSTOP, LAST);
        self.write(BNRY, FIRST);
        self.write(ISR, 0xff);
        self.on_page(1, || {
            for (register, byte) in (1..).zip(MAC) {
                self.write(register, byte);
            }
            self.write(CURR, FIRST + 1);
        });
        self.write(CR, START);
        self.write(TCR, 0);
    }

    pub(crate) fn read(&self, register: u32) -> u8 {
        self.nic.read8(0, register)
    }

    pub(crate) fn write(&self, register: u32, value: u8) {
        self.nic.write8(0, register, value);
    }

    pub(crate) fn write_pair(&self, low: u32, value: u16) {
        let [first, second] = value.to_le_bytes();
        self.write(low, first);
        self.write(low + 1, second);
    }

    /// With another page of registers, and with the chip in the same state.
    pub(crate) fn on_page<R>(&self, page: u8, access: impl FnOnce() -> R) -> R {
        let state = self.read(CR) & 0x3b;
        self.write(CR, state & 3 | 0x20 | page << 6);
        let result = access();
        self.write(CR, state & 3 | 0x20);
        result
    }

    pub(crate) fn curr(&self) -> u8 {
        self.on_page(1, || self.read(CURR))
    }

    pub(crate) fn begin(&self, address: u16, count: u16, command: u8) {
        self.write_pair(RSAR0, address);
        self.write_pair(RBCR0, count);
        self.write(CR, self.read(CR) & 3 | command);
    }

    /// Reads the card's memory, word by word.
    pub(crate) fn memory(&self, address: u16, len: usize) -> Vec<u8> {
        self.begin(address, len.next_multiple_of(2) as u16, RREAD);
        let words = (0..len.div_ceil(2)).flat_map(|_| self.nic.read16(0, DATA).to_le_bytes());
        let bytes = words.take(len).collect();
        self.write(ISR, RDC);
        bytes
    }

    pub(crate) fn set_memory(&self, address: u16, bytes: &[u8]) {
        self.begin(address, bytes.len().next_multiple_of(2) as u16, RWRITE);
        for pair in bytes.chunks(2) {
            let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            self.nic.write16(0, DATA, word);
        }
        self.write(ISR, RDC);
    }

    pub(crate) fn step(&mut self) -> Step {
        self.chip.step(self.now_ns, &mut self.line)
    }

    pub(crate) fn receive(&mut self, frame: &[u8]) {
        self.line.to_nic.push_back(frame.to_vec());
        self.step();
    }

    /// Asks for the transmission of a packet that is put at page 40h.
    pub(crate) fn ask(&self, packet: &[u8]) {
        self.set_memory(0x4000, packet);
        self.write(TPSR, 0x40);
        self.write_pair(TBCR0, packet.len() as u16);
        self.write(CR, START | TXP);
    }

    /// The packet that lies at a page: its header, and its bytes without FCS.
    pub(crate) fn stored(&self, page: u8) -> ([u8; 4], Vec<u8>) {
        let address = u16::from(page) << 8;
        let header: [u8; 4] = self.memory(address, 4).try_into().unwrap();
        let count = usize::from(u16::from_le_bytes([header[2], header[3]]));
        (header, self.memory(address + 4, count - 4))
    }

    /// Takes packets out of the ring: the next one is at this page.
    pub(crate) fn set_boundary_before(&self, page: u8) {
        self.write(BNRY, if page == FIRST { LAST - 1 } else { page - 1 });
    }

    pub(crate) fn handler(&self, acknowledges: u8) -> Arc<Handler> {
        let handler = Arc::new(Handler {
            calls: AtomicUsize::new(0),
            function: self.nic.clone(),
            acknowledges,
        });
        self.nic.alloc_irq_vectors(1, &[IrqMode::Intx]).unwrap();
        self.nic
            .request_irq(0, "test", 0, Arc::clone(&handler) as _)
            .unwrap();
        handler
    }
}

impl Handler {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A frame to a station, whose bytes depend on a seed.
pub(crate) fn frame(to: [u8; 6], len: usize, seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len)
        .map(|at| (at as u8).wrapping_mul(5) ^ seed)
        .collect();
    for (byte, octet) in bytes.iter_mut().zip(to) {
        *byte = octet;
    }
    bytes
}
