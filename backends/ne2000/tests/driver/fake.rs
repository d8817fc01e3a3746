//! A scripted card: registers that remember what was written, memory behind a data
//! port, and just enough life that the driver gets on. It is no model of the chip:
//! packets are put into its ring, and sent, by the test.

use softnet_dma_ring::{DmaRegion, FramePool, PoolConfig};
use softnet_ne2000::{Ne2000, RxRing, TxRing};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, IrqMode, IrqReturn, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use softnet_nic_hal::{IrqHandler, NicHal, NicStats, OpenConfig, QueueId, QueuePair};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const PRX: u8 = 1;
pub(crate) const PTX: u8 = 1 << 1;
pub(crate) const TXE: u8 = 1 << 3;
pub(crate) const OVW: u8 = 1 << 4;
pub(crate) const CNT: u8 = 1 << 5;
const RDC: u8 = 1 << 6;
const RST: u8 = 1 << 7;

pub(crate) const STP: u8 = 1;
pub(crate) const STA: u8 = 1 << 1;
pub(crate) const TXP: u8 = 1 << 2;
pub(crate) const NODMA: u8 = 1 << 5;

/// How the fake misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing is a DP8390.
    pub(crate) no_core: bool,
    pub(crate) reset_sticks: bool,
    pub(crate) no_irq: bool,
    /// A remote write never ends.
    pub(crate) write_hangs: bool,
    /// The packet memory reads as zeros.
    pub(crate) no_memory: bool,
    /// All registers and all memory read as noise, from this seed.
    pub(crate) noise: Option<u64>,
}

/// How much memory a card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 16 KiB, seen twice.
    Small,
    /// 32 KiB.
    Large,
}

struct State {
    /// The pages of registers, as they were written.
    written: [[u8; 16]; 4],
    command: u8,
    causes: u8,
    tallies: [u8; 3],
    status: u8,
    collisions: u8,
    memory: Vec<u8>,
    prom: [u8; 32],
    address: u16,
    count: u16,
    log: Vec<(u8, u8, u8)>,
    faults: Faults,
    gone: bool,
    handler: Option<Arc<dyn VectorHandler>>,
    vectors: u16,
    bus_master: bool,
    delayed_us: u64,
    wide: usize,
    /// At this many accesses of the data port from now, the pin is asserted.
    interrupt_after: Option<usize>,
}

pub(crate) struct Fake {
    state: Mutex<State>,
    ids: PciIds,
    size: Size,
    bar: BarInfo,
}

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// Each byte twice, as a 16-bit card's PROM answers.
fn prom() -> [u8; 32] {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&MAC);
    bytes[14..].fill(0x57);
    std::array::from_fn(|at| bytes[at / 2])
}

impl State {
    fn new() -> Self {
        Self {
            written: [[0; 16]; 4],
            command: STP | NODMA,
            causes: RST,
            tallies: [0; 3],
            status: 0,
            collisions: 0,
            memory: vec![0; 0x1_0000],
            prom: prom(),
            address: 0,
            count: 0,
            log: Vec::new(),
            faults: Faults::default(),
            gone: false,
            handler: None,
            vectors: 0,
            bus_master: true,
            delayed_us: 0,
            wide: 0,
            interrupt_after: None,
        }
    }

    fn page(&self) -> usize {
        usize::from(self.command >> 6)
    }

    fn noise(&mut self) -> Option<u8> {
        let seed = self.faults.noise.as_mut()?;
        // Knuth's generator; its upper bits are the good ones.
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some((*seed >> 56) as u8)
    }

    fn read(&mut self, at: usize) -> u8 {
        if let Some(noise) = self.noise() {
            return noise;
        }
        match (self.page(), at) {
            (_, 0x0) => self.command,
            (0, 0x4) => self.status,
            (0, 0x5) => self.collisions,
            (0, 0x7) => self.causes,
            (0, 0xa) => b'P',
            (0, 0xb) => b'C',
            (0, 0xd) if self.faults.no_core => self.written[1][0xd],
            (0, 0xd..=0xf) => std::mem::take(&mut self.tallies[at - 0xd]),
            (0, 0x1f) => 0,
            (3, 0x6) => 0x40,
            (page, _) => self.written[page][at & 0xf],
        }
    }

    fn write(&mut self, at: usize, value: u8) {
        let page = self.page();
        self.log.push((page as u8, at as u8, value));
        match (page, at) {
            (_, 0x0) => self.command(value),
            (0, 0x7) => self.causes &= !value | RST,
            (0, 0x8) => self.address = self.address & 0xff00 | u16::from(value),
            (0, 0x9) => self.address = self.address & 0xff | u16::from(value) << 8,
            (0, 0xa) => self.count = self.count & 0xff00 | u16::from(value),
            (0, 0xb) => self.count = self.count & 0xff | u16::from(value) << 8,
            _ => self.written[page][at & 0xf] = value,
        }
    }

    fn command(&mut self, value: u8) {
        self.command = value | self.command & TXP;
        if value & STP != 0 {
            self.command &= !TXP;
            self.causes |= RST;
            if self.faults.reset_sticks {
                self.causes &= !RST;
            }
        } else if value & STA != 0 {
            self.causes &= !RST;
        }
    }

    fn data(&mut self, size: Size) -> Option<&mut u8> {
        assert_ne!(self.command & 0x18, 0, "the data port without a transfer");
        assert_ne!(self.count, 0, "a transfer beyond its count");
        let at = match (size, self.address) {
            (_, address @ 0..0x20) => return self.prom.get_mut(usize::from(address)),
            (Size::Small, address) => 0x4000 | address & 0x3fff,
            (Size::Large, address) => address,
        };
        self.memory.get_mut(usize::from(at))
    }

    fn advance(&mut self) {
        self.address = self.address.wrapping_add(1);
        self.count -= 1;
        if self.count == 0 && !(self.faults.write_hangs && self.command & 0x10 != 0) {
            self.causes |= RDC;
        }
    }

    fn read_data(&mut self, size: Size) -> u8 {
        if let Some(noise) = self.noise() {
            return noise;
        }
        let byte = self.data(size).copied().unwrap_or(0xff);
        let hidden = self.faults.no_memory && self.address >= 0x4000;
        self.advance();
        if hidden { 0 } else { byte }
    }

    fn write_data(&mut self, size: Size, value: u8) {
        if self.faults.noise.is_some() {
            return;
        }
        if let Some(byte) = self.data(size) {
            *byte = value;
        }
        self.advance();
    }

    fn is_pin_asserted(&self) -> bool {
        self.causes & self.written[0][0xf] & !RST != 0 && !self.gone
    }
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(0x10ec, 0x8029, Size::Large)
    }

    pub(crate) fn with(vendor: u16, device: u16, size: Size) -> Arc<Self> {
        let (kind, len) = (BarKind::Io, 32);
        Self::with_bar(vendor, device, size, BarInfo { kind, len })
    }

    pub(crate) fn with_bar(vendor: u16, device: u16, size: Size, bar: BarInfo) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new()),
            ids: PciIds {
                vendor,
                device,
                subsystem_vendor: vendor,
                subsystem: device,
                class: 0x02_0000,
                revision: 0,
            },
            size,
            bar,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn set_prom(&self, bytes: [u8; 32]) {
        self.state().prom = bytes;
    }

    pub(crate) fn unplug(&self) {
        self.state().gone = true;
    }

    /// What was written to a register of a page.
    pub(crate) fn written(&self, page: usize, at: usize) -> u8 {
        self.state().written[page][at]
    }

    pub(crate) fn command_register(&self) -> u8 {
        self.state().command
    }

    pub(crate) fn mask(&self) -> u8 {
        self.written(0, 0xf)
    }

    /// Writes since the last call: page, register, value.
    pub(crate) fn take_log(&self) -> Vec<(u8, u8, u8)> {
        std::mem::take(&mut self.state().log)
    }

    pub(crate) fn memory(&self, at: usize, len: usize) -> Vec<u8> {
        self.state().memory[at..at + len].to_vec()
    }

    pub(crate) fn set_memory(&self, at: usize, bytes: &[u8]) {
        self.state().memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bus_master(&self) -> bool {
        self.state().bus_master
    }

    pub(crate) fn has_handler(&self) -> bool {
        self.state().handler.is_some()
    }

    pub(crate) fn vectors(&self) -> u16 {
        self.state().vectors
    }

    pub(crate) fn delayed_us(&self) -> u64 {
        self.state().delayed_us
    }

    /// Accesses of 32 bits so far.
    pub(crate) fn wide_accesses(&self) -> usize {
        self.state().wide
    }

    pub(crate) fn set_collisions(&self, collisions: u8) {
        self.state().collisions = collisions;
    }

    pub(crate) fn set_tallies(&self, tallies: [u8; 3]) {
        self.state().tallies = tallies;
    }

    pub(crate) fn set_curr(&self, page: u8) {
        self.state().written[1][7] = page;
    }

    pub(crate) fn curr(&self) -> u8 {
        self.written(1, 7)
    }

    /// Puts causes into ISR, and interrupts if one is not masked.
    pub(crate) fn raise(&self, causes: u8) {
        self.state().causes |= causes;
        self.deliver();
    }

    pub(crate) fn set_causes(&self, causes: u8) {
        self.state().causes |= causes;
    }

    /// Interrupts as often as the pin is asserted.
    pub(crate) fn deliver(&self) {
        for _ in 0..100 {
            let state = self.state();
            let Some(handler) = state.handler.clone().filter(|_| state.is_pin_asserted()) else {
                return;
            };
            drop(state);
            handler.interrupt(0);
        }
        panic!("an interrupt storm");
    }

    pub(crate) fn deliver_spurious(&self) -> IrqReturn {
        let handler = self.state().handler.clone().unwrap();
        handler.interrupt(0)
    }

    /// Asserts the pin, with these causes, in the middle of a transfer.
    pub(crate) fn interrupt_after(&self, accesses: usize, causes: u8) {
        let mut state = self.state();
        state.interrupt_after = Some(accesses);
        state.causes |= causes;
    }

    /// The packet that TPSR and TBCR name is through.
    pub(crate) fn finish(&self, cause: u8, status: u8) {
        let mut state = self.state();
        assert_ne!(state.command & TXP, 0, "nothing is sent");
        state.command &= !TXP;
        state.status = status;
        drop(state);
        self.raise(cause);
    }

    /// What is being sent.
    pub(crate) fn sending(&self) -> Option<Vec<u8>> {
        let state = self.state();
        let [_, _, _, _, page, low, high, ..] = state.written[0];
        let (at, len) = (usize::from(page) << 8, u16::from_le_bytes([low, high]));
        (state.command & TXP != 0).then(|| state.memory[at..at + usize::from(len)].to_vec())
    }

    /// Puts a packet with its header into the ring at CURR, and moves CURR behind it.
    pub(crate) fn store(&self, packet: &[u8]) {
        let (start, stop) = (self.written(0, 1), self.written(0, 2));
        let page = self.curr();
        let pages = (packet.len() + 8).div_ceil(256) as u8;
        let next = match page + pages {
            next if next >= stop => next - stop + start,
            next => next,
        };
        self.store_as(packet, [1, next], packet.len() + 4);
        self.set_curr(next);
    }

    /// The same with a header of its own, and without moving CURR.
    pub(crate) fn store_as(&self, packet: &[u8], [status, next]: [u8; 2], count: usize) {
        let page = self.curr();
        let mut state = self.state();
        let [low, high] = (count as u16).to_le_bytes();
        let (start, stop) = (state.written[0][1], state.written[0][2]);
        let mut at = usize::from(page) << 8;
        for &byte in [status, next, low, high].iter().chain(packet) {
            state.memory[at] = byte;
            at += 1;
            if at == usize::from(stop) << 8 {
                at = usize::from(start) << 8;
            }
        }
    }

    /// The middle of a transfer.
    fn during_transfer(&self) {
        let mut state = self.state();
        let Some(left) = state.interrupt_after.take() else {
            return;
        };
        if left > 0 {
            state.interrupt_after = Some(left - 1);
            return;
        }
        let handler = state.handler.clone();
        drop(state);
        assert_eq!(handler.unwrap().interrupt(0), IrqReturn::Masked);
    }
}

impl PciDevice for Fake {
    type Coherent = DmaRegion;

    fn ids(&self) -> PciIds {
        self.ids
    }

    fn name(&self) -> &str {
        "0000:00:03.0"
    }

    fn config_read32(&self, _offset: u16) -> u32 {
        if self.state().gone { u32::MAX } else { 0 }
    }

    fn config_write32(&self, _offset: u16, _value: u32) {}

    fn bar(&self, index: u8) -> Option<BarInfo> {
        (index == 0).then_some(self.bar)
    }

    fn read8(&self, _bar: u8, offset: u32) -> u8 {
        assert_ne!(offset, 0x10, "the data port is not 8 bits wide");
        let mut state = self.state();
        if state.gone {
            0xff
        } else {
            state.read(offset as usize)
        }
    }

    fn read16(&self, _bar: u8, offset: u32) -> u16 {
        assert_eq!(offset, 0x10);
        self.during_transfer();
        let mut state = self.state();
        if state.gone {
            return 0xffff;
        }
        u16::from_le_bytes([0; 2].map(|_: u8| state.read_data(self.size)))
    }

    fn read32(&self, _bar: u8, offset: u32) -> u32 {
        assert_eq!(offset, 0x10);
        self.during_transfer();
        let mut state = self.state();
        state.wide += 1;
        if state.gone {
            return u32::MAX;
        }
        u32::from_le_bytes([0; 4].map(|_: u8| state.read_data(self.size)))
    }

    fn write8(&self, _bar: u8, offset: u32, value: u8) {
        assert_ne!(offset, 0x10, "the data port is not 8 bits wide");
        let mut state = self.state();
        if !state.gone {
            state.write(offset as usize, value);
        }
    }

    fn write16(&self, _bar: u8, offset: u32, value: u16) {
        assert_eq!(offset, 0x10);
        self.during_transfer();
        let mut state = self.state();
        if !state.gone {
            for byte in value.to_le_bytes() {
                state.write_data(self.size, byte);
            }
        }
    }

    fn write32(&self, _bar: u8, offset: u32, value: u32) {
        assert_eq!(offset, 0x10);
        self.during_transfer();
        let mut state = self.state();
        state.wide += 1;
        if !state.gone {
            for byte in value.to_le_bytes() {
                state.write_data(self.size, byte);
            }
        }
    }

    fn set_bus_master(&self, enable: bool) {
        self.state().bus_master = enable;
    }

    fn alloc_coherent(&self, len: usize) -> Result<DmaRegion, BusError> {
        panic!("{len} bytes of DMA memory for a card that does no DMA")
    }

    fn map(&self, _region: &DmaRegion) -> Result<(), BusError> {
        panic!("memory mapped for a card that does no DMA")
    }

    fn unmap(&self, _region: &DmaRegion) {
        panic!("nothing was mapped")
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        let mut state = self.state();
        assert!(modes.contains(&IrqMode::Intx) && max > 0);
        if state.faults.no_irq {
            return Err(BusError::NoIrq);
        }
        state.vectors = 1;
        let (mode, count) = (IrqMode::Intx, 1);
        Ok(IrqVectors { mode, count })
    }

    fn free_irq_vectors(&self) {
        let mut state = self.state();
        assert!(state.handler.is_none(), "the handler is still installed");
        state.vectors = 0;
    }

    fn request_irq(
        &self,
        vector: u16,
        _name: &str,
        _affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let mut state = self.state();
        if vector >= state.vectors {
            return Err(BusError::NoVector(vector));
        }
        state.handler = Some(handler);
        Ok(())
    }

    fn free_irq(&self, _vector: u16) {
        let handler = self.state().handler.take();
        assert!(handler.is_some(), "no handler is installed");
    }

    fn delay_us(&self, us: u32) {
        self.state().delayed_us += u64::from(us);
    }
}

/// Counts the driver's calls.
#[derive(Default)]
pub(crate) struct Stack {
    irqs: AtomicUsize,
}

impl Stack {
    pub(crate) fn irqs(&self) -> usize {
        self.irqs.load(Ordering::SeqCst)
    }
}

impl IrqHandler for Stack {
    fn irq(&self, queue: QueueId) {
        assert_eq!(queue, QueueId(0));
        self.irqs.fetch_add(1, Ordering::SeqCst);
    }
}

/// A NIC on the fake, open with rings of 16.
pub(crate) struct Open {
    pub(crate) fake: Arc<Fake>,
    pub(crate) nic: Arc<Ne2000<Fake>>,
    pub(crate) stack: Arc<Stack>,
    pub(crate) pool: FramePool,
    pub(crate) pair: QueuePair<RxRing<Fake>, TxRing<Fake>>,
}

pub(crate) const QUEUE: QueueId = QueueId(0);
pub(crate) const FRAMES: usize = 64;

pub(crate) fn pool() -> FramePool {
    let frames = FRAMES as u32;
    FramePool::new(PoolConfig {
        frames,
        ..PoolConfig::default()
    })
    .unwrap()
}

pub(crate) fn config(pool: &FramePool) -> OpenConfig {
    let mut config = OpenConfig::new(pool.clone());
    (config.rx_ring, config.tx_ring) = (16, 16);
    config
}

pub(crate) fn open_on(fake: Arc<Fake>) -> Open {
    let (pool, stack) = (pool(), Arc::new(Stack::default()));
    let nic = Ne2000::probe(fake.clone()).unwrap();
    fake.take_log();
    let mut pairs = nic.open(&config(&pool), stack.clone()).unwrap();
    Open {
        fake,
        nic,
        stack,
        pool,
        pair: pairs.pop().unwrap(),
    }
}

pub(crate) fn open() -> Open {
    open_on(Fake::new())
}

impl Open {
    pub(crate) fn post(&mut self, count: usize) {
        use softnet_dma_ring::DmaRing;
        for _ in 0..count {
            let frame = self.pool.alloc().unwrap();
            self.pair.rx.post(frame).unwrap();
        }
        self.pair.rx.kick();
    }

    /// Posts packets of such a length, whose bytes are their numbers, and kicks.
    pub(crate) fn send(&mut self, len: usize, numbers: std::ops::Range<u8>) {
        use softnet_dma_ring::DmaRing;
        for number in numbers {
            let mut frame = self.pool.alloc().unwrap();
            frame.put(len).unwrap().fill(number);
            self.pair.tx.post(frame).unwrap();
        }
        self.pair.tx.kick();
    }

    pub(crate) fn unmask(&self) {
        self.nic.unmask_irq(QUEUE);
        self.fake.deliver();
    }

    pub(crate) fn stats(&self) -> NicStats {
        let mut stats = NicStats::default();
        self.nic.stats(&mut stats);
        stats
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let mut found = None;
        self.nic.ethtool_stats(&mut |have, value| {
            if have == name {
                found = Some(value);
            }
        });
        found.unwrap()
    }
}
