//! A scripted function: a file of registers that remembers what was written,
//! with just enough life in it that the driver gets on, and that misbehaves on
//! demand. It is no model of the chip: descriptors are completed by the test.

use softnet_dma_ring::{DmaAddr, DmaDomain, DmaRegion, FramePool, PoolConfig};
use softnet_igb::{Igb, RxRing, TxRing};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, IrqMode, IrqReturn, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use softnet_nic_hal::{IrqHandler, NicHal, NicStats, OpenConfig, QueueId, QueuePair};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const CTRL: u32 = 0x0;
pub(crate) const STATUS: u32 = 0x8;
pub(crate) const EEC: u32 = 0x10;
pub(crate) const EERD: u32 = 0x14;
pub(crate) const MDIC: u32 = 0x20;
pub(crate) const ICR: u32 = 0xc0;
pub(crate) const ICS: u32 = 0xc8;
pub(crate) const IMS: u32 = 0xd0;
pub(crate) const IMC: u32 = 0xd8;
pub(crate) const GPIE: u32 = 0x1514;
pub(crate) const EICS: u32 = 0x1520;
pub(crate) const EIMS: u32 = 0x1524;
pub(crate) const EIMC: u32 = 0x1528;
pub(crate) const EIAC: u32 = 0x152c;
pub(crate) const EIAM: u32 = 0x1530;
pub(crate) const EICR: u32 = 0x1580;
pub(crate) const IVAR: u32 = 0x1700;
pub(crate) const RAL: u32 = 0x5400;
pub(crate) const RAH: u32 = 0x5404;
pub(crate) const SWSM: u32 = 0x5b50;
pub(crate) const SW_FW_SYNC: u32 = 0x5b5c;

/// Registers of a receive queue, from its first.
pub(crate) const fn rx(queue: u32) -> u32 {
    0xc000 + 0x40 * queue
}

/// Registers of a transmit queue, from its first.
pub(crate) const fn tx(queue: u32) -> u32 {
    0xe000 + 0x40 * queue
}

pub(crate) const DH: u32 = 0x10;
pub(crate) const DT: u32 = 0x18;
pub(crate) const DCTL: u32 = 0x28;

pub(crate) const RXDW: u32 = 1 << 7;
pub(crate) const TXDW: u32 = 1;
pub(crate) const LSC: u32 = 1 << 2;

/// In a receive descriptor's second word.
pub(crate) const DD: u64 = 1;
pub(crate) const EOP: u64 = 1 << 1;
/// In a transmit descriptor's second word.
const TX_DD: u64 = 1 << 32;

/// How the fake misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) eerd_never_done: bool,
    pub(crate) eeprom_never_loaded: bool,
    pub(crate) station_never_loaded: bool,
    pub(crate) phy_silent: bool,
    /// The firmware holds the PHY.
    pub(crate) phy_taken: bool,
    /// Another driver holds the lock of the lock.
    pub(crate) semaphore_sticks: bool,
    pub(crate) reset_sticks: bool,
    pub(crate) queue_never_on: bool,
    pub(crate) no_memory: bool,
    pub(crate) no_irq: bool,
    /// The handler of this vector is refused.
    pub(crate) vector_refused: Option<u16>,
    pub(crate) map_refused: bool,
    /// Messages do not close masks.
    pub(crate) no_auto_mask: bool,
    pub(crate) register_sticks: Option<u32>,
}

struct State {
    registers: BTreeMap<u32, u32>,
    log: Vec<(u32, u32)>,
    faults: Faults,
    gone: bool,
    cause: u32,
    mask: u32,
    extended_cause: u32,
    extended_mask: u32,
    phy: [u16; 32],
    domain: DmaDomain,
    handlers: BTreeMap<u16, (usize, Arc<dyn VectorHandler>)>,
    /// The kinds of interrupt that can be had, and how many vectors of each.
    kinds: Vec<(IrqMode, u16)>,
    vectors: u16,
    bus_master: bool,
    delayed_us: u64,
    garbage: bool,
    loops: bool,
    /// Registers read as anything, from this seed on.
    noise: Option<u64>,
}

pub(crate) struct Fake {
    state: Mutex<State>,
    eeprom: Mutex<[u16; 64]>,
    ids: PciIds,
}

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

fn eeprom() -> [u16; 64] {
    let mut words = [0_u16; 64];
    for (word, bytes) in words.iter_mut().zip(MAC.chunks(2)) {
        *word = u16::from_le_bytes([bytes[0], bytes[1]]);
    }
    words[10] = 0x1234;
    let sum = words
        .iter()
        .fold(0_u16, |sum, word| sum.wrapping_add(*word));
    words[63] = 0xbaba_u16.wrapping_sub(sum);
    words
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_device(0x10c9)
    }

    pub(crate) fn with_device(device: u16) -> Arc<Self> {
        let mut phy = [0; 32];
        // The 82576's own PHY, and what it advertises.
        (phy[2], phy[3], phy[4]) = (0x02a8, 0x0391, 0x01e1);
        let state = State {
            registers: fresh_registers(),
            log: Vec::new(),
            faults: Faults::default(),
            gone: false,
            cause: 0,
            mask: 0,
            extended_cause: 0,
            extended_mask: 0,
            phy,
            domain: DmaDomain::default(),
            handlers: BTreeMap::new(),
            kinds: vec![(IrqMode::MsiX, 25), (IrqMode::Msi, 1), (IrqMode::Intx, 1)],
            vectors: 0,
            bus_master: false,
            delayed_us: 0,
            garbage: false,
            loops: false,
            noise: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            eeprom: Mutex::new(eeprom()),
            ids: PciIds {
                vendor: 0x8086,
                device,
                subsystem_vendor: 0x8086,
                subsystem: 0xa03c,
                class: 0x02_0000,
                revision: 1,
            },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Which interrupts can be had.
    pub(crate) fn set_kinds(&self, kinds: &[(IrqMode, u16)]) {
        self.state().kinds = kinds.to_vec();
    }

    pub(crate) fn set_eeprom_word(&self, address: usize, word: u16) {
        self.eeprom.lock().unwrap()[address] = word;
    }

    pub(crate) fn phy(&self, register: usize) -> u16 {
        self.state().phy[register]
    }

    pub(crate) fn set_phy(&self, register: usize, value: u16) {
        self.state().phy[register] = value;
    }

    /// Pulls the device out.
    pub(crate) fn unplug(&self) {
        self.state().gone = true;
    }

    pub(crate) fn set(&self, register: u32, value: u32) {
        self.state().registers.insert(register, value);
    }

    pub(crate) fn value(&self, register: u32) -> u32 {
        self.state().registers.get(&register).copied().unwrap_or(0)
    }

    /// What was written since the last call, in order.
    pub(crate) fn take_log(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.state().log)
    }

    pub(crate) fn bus_master(&self) -> bool {
        self.state().bus_master
    }

    /// The CPU of each vector that has a handler.
    pub(crate) fn affinities(&self) -> Vec<usize> {
        self.state()
            .handlers
            .values()
            .map(|entry| entry.0)
            .collect()
    }

    pub(crate) fn vectors(&self) -> u16 {
        self.state().vectors
    }

    /// The mask by causes, and the one by vectors.
    pub(crate) fn masks(&self) -> (u32, u32) {
        let state = self.state();
        (state.mask, state.extended_mask)
    }

    pub(crate) fn set_extended_mask(&self, mask: u32) {
        self.state().extended_mask = mask;
    }

    /// The device raises causes that are no queue's, and interrupts.
    pub(crate) fn raise(&self, causes: u32) {
        self.state().set_cause(causes);
        self.deliver();
    }

    /// The device raises a queue's cause, as its vector allocation says.
    pub(crate) fn raise_queue(&self, queue: u16, cause: u32) {
        self.state().set_queue_cause(queue, cause);
        self.deliver();
    }

    /// Interrupts if an unmasked cause is set, as often as one is.
    pub(crate) fn deliver(&self) {
        for _ in 0..200 {
            let Some((vector, handler)) = self.state().next_interrupt() else {
                return;
            };
            handler.interrupt(vector);
        }
        // A cause that no read clears is not the driver's fault.
        let noisy = self.state().noise.is_some();
        assert!(noisy, "an interrupt storm");
    }

    /// A handler is called although the device has raised nothing.
    pub(crate) fn deliver_spurious(&self, vector: u16) -> IrqReturn {
        let handler = self.state().handlers.get(&vector).unwrap().1.clone();
        handler.interrupt(vector)
    }

    /// From now on each write of receive queue 0's tail completes the whole
    /// ring, with nothing in it.
    pub(crate) fn complete_every_receive_tail(&self) {
        self.state().garbage = true;
    }

    /// From now on a packet of one descriptor that transmit queue 0 is given is
    /// received by queue 0, when the PHY is told to loop.
    pub(crate) fn loop_packets(&self) {
        self.state().loops = true;
    }

    /// From now on every register reads as anything.
    pub(crate) fn read_as_from(&self, seed: u64) {
        self.state().noise = Some(seed);
    }

    fn ring_base(&self, ring: u32) -> u64 {
        u64::from(self.value(ring)) | u64::from(self.value(ring + 4)) << 32
    }

    /// Both words of a descriptor, as the device reads them.
    pub(crate) fn descriptor(&self, ring: u32, at: u64) -> (u64, u64) {
        let address = DmaAddr(self.ring_base(ring) + at * 16);
        let domain = self.state().domain.clone();
        let order = Ordering::Acquire;
        (
            domain.read_u64(address, order).unwrap(),
            domain.read_u64(address.offset(8), order).unwrap(),
        )
    }

    /// The device writes a descriptor back.
    pub(crate) fn write_back(&self, ring: u32, at: u64, words: (u64, u64)) {
        let address = DmaAddr(self.ring_base(ring) + at * 16);
        let domain = self.state().domain.clone();
        let order = Ordering::Release;
        domain.write_u64(address, words.0, order).unwrap();
        domain.write_u64(address.offset(8), words.1, order).unwrap();
    }

    /// The device receives a good packet into one descriptor, and says `first`
    /// and `status` of it.
    pub(crate) fn receive_as(&self, queue: u32, at: u64, bytes: &[u8], first: u64, status: u64) {
        let (buffer, _) = self.descriptor(rx(queue), at);
        let domain = self.state().domain.clone();
        domain.write(DmaAddr(buffer), bytes).unwrap();
        let word = (bytes.len() as u64) << 32 | status;
        self.write_back(rx(queue), at, (first, word));
    }

    /// The device receives a good packet.
    pub(crate) fn receive(&self, queue: u32, at: u64, bytes: &[u8]) {
        self.receive_as(queue, at, bytes, 0, DD | EOP);
    }

    /// What the device would send from one descriptor.
    pub(crate) fn packet(&self, queue: u32, at: u64) -> Vec<u8> {
        let (buffer, word) = self.descriptor(tx(queue), at);
        let mut bytes = vec![0; (word & 0xffff) as usize];
        let domain = self.state().domain.clone();
        domain.read(DmaAddr(buffer), &mut bytes).unwrap();
        bytes
    }

    /// The device reports a descriptor as sent.
    pub(crate) fn sent(&self, queue: u32, at: u64) {
        let (first, _) = self.descriptor(tx(queue), at);
        self.write_back(tx(queue), at, (first, TX_DD));
    }

    fn loop_packet(&self) {
        let bytes = self.packet(0, 0);
        self.sent(0, 0);
        self.receive(0, 0, &bytes);
    }
}

fn fresh_registers() -> BTreeMap<u32, u32> {
    // Link up, 1000 Mbit/s, full duplex; the EEPROM was read; 64 KB to receive.
    let station = u32::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3]]);
    let high = u32::from(u16::from_le_bytes([MAC[4], MAC[5]]));
    BTreeMap::from([
        (STATUS, 0x83),
        (EEC, 1 << 9 | 1 << 8),
        (0x2404, 64),
        (RAL, station),
        (RAH, 1 << 31 | high),
    ])
}

impl State {
    fn register(&self, register: u32) -> u32 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    fn is_multiple(&self) -> bool {
        self.register(GPIE) & 1 << 4 != 0
    }

    fn set_cause(&mut self, causes: u32) {
        self.cause |= causes;
        let other = self.register(0x1740) >> 8 & 0xff;
        if self.is_multiple() && self.cause & self.mask != 0 && other & 0x80 != 0 {
            self.extended_cause |= 1 << (other & 0x1f);
        }
    }

    fn set_queue_cause(&mut self, queue: u16, cause: u32) {
        let queue = u32::from(queue);
        let first = if cause == RXDW { 0 } else { 1 };
        let at = queue % 8 * 4 + queue / 8 * 2 + first;
        let entry = self.register(IVAR + at / 4 * 4) >> (at % 4 * 8) & 0xff;
        assert!(entry & 0x80 != 0, "queue {queue} has no vector");
        if self.is_multiple() {
            self.extended_cause |= 1 << (entry & 0x1f);
        } else {
            self.cause |= cause;
        }
    }

    fn next_interrupt(&mut self) -> Option<(u16, Arc<dyn VectorHandler>)> {
        if self.gone {
            return None;
        }
        let vector = if self.is_multiple() {
            let open = self.extended_cause & self.extended_mask;
            let vector = (open != 0).then(|| open.trailing_zeros())?;
            self.extended_cause &= !(self.register(EIAC) & 1 << vector);
            if self.register(GPIE) & 1 << 30 != 0 && !self.faults.no_auto_mask {
                self.extended_mask &= !(self.register(EIAM) & 1 << vector);
            }
            vector as u16
        } else {
            (self.cause & self.mask != 0).then_some(0)?
        };
        let handler = self.handlers.get(&vector)?.1.clone();
        Some((vector, handler))
    }

    fn read(&mut self, register: u32) -> u32 {
        if let Some(noise) = &mut self.noise {
            *noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            return (*noise >> 32) as u32;
        }
        match register {
            ICR => std::mem::take(&mut self.cause),
            IMS => self.mask,
            EIMS => self.extended_mask,
            EICR => self.extended_cause,
            SWSM => {
                let value = self.register(SWSM) | u32::from(self.faults.semaphore_sticks);
                self.registers.insert(SWSM, value | 1);
                value
            }
            SW_FW_SYNC if self.faults.phy_taken => self.register(SW_FW_SYNC) | 1 << 17,
            // The statistics clear when they are read.
            0x4000..0x4100 => self.registers.remove(&register).unwrap_or(0),
            _ => self.register(register),
        }
    }

    fn write(&mut self, register: u32, value: u32, eeprom: &[u16; 64]) {
        match register {
            ICS => self.set_cause(value),
            IMS => self.mask |= value,
            IMC => self.mask &= !value,
            EICR => self.extended_cause &= !value,
            EICS => self.extended_cause |= value,
            EIMS => self.extended_mask |= value,
            EIMC => self.extended_mask &= !value,
            EERD if !self.faults.eerd_never_done => {
                let word = eeprom[(value >> 2 & 63) as usize];
                let value = u32::from(word) << 16 | value & 0xfffc | 1 << 1;
                self.registers.insert(EERD, value);
            }
            MDIC => self.write_mdic(value),
            CTRL if value & 1 << 26 != 0 && !self.faults.reset_sticks => {
                self.registers = fresh_registers();
                if self.faults.eeprom_never_loaded {
                    self.registers.remove(&EEC);
                }
                if self.faults.station_never_loaded {
                    self.registers.remove(&RAH);
                }
            }
            _ if self.faults.register_sticks == Some(register) => {}
            // A queue switch.
            0xc000..0x1_0000 if register & 0x3f == DCTL && self.faults.queue_never_on => {}
            _ => {
                self.registers.insert(register, value);
            }
        }
    }

    fn write_mdic(&mut self, value: u32) {
        let register = (value >> 16 & 31) as usize;
        assert_eq!(value >> 21 & 31, 1, "the PHY's address");
        let held = self.register(SW_FW_SYNC) & 1 << 1 != 0;
        assert!(held || self.noise.is_some(), "the PHY is not held");
        if value & 1 << 26 != 0 {
            self.phy[register] = value as u16;
        }
        let answer = if self.faults.phy_silent {
            0
        } else {
            1 << 28 | u32::from(self.phy[register])
        };
        self.registers.insert(MDIC, value & 0x0fff_0000 | answer);
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
        let (kind, len) = (BarKind::Memory, 0x2_0000);
        (index == 0).then_some(BarInfo { kind, len })
    }

    fn read8(&self, _bar: u8, _offset: u32) -> u8 {
        panic!("the chip has no 8-bit registers")
    }

    fn read16(&self, _bar: u8, _offset: u32) -> u16 {
        panic!("the chip has no 16-bit registers")
    }

    fn read32(&self, bar: u8, offset: u32) -> u32 {
        assert_eq!(bar, 0);
        let mut state = self.state();
        if state.gone {
            return u32::MAX;
        }
        state.read(offset)
    }

    fn write8(&self, _bar: u8, _offset: u32, _value: u8) {
        panic!("the chip has no 8-bit registers")
    }

    fn write16(&self, _bar: u8, _offset: u32, _value: u16) {
        panic!("the chip has no 16-bit registers")
    }

    fn write32(&self, bar: u8, offset: u32, value: u32) {
        assert_eq!(bar, 0);
        let mut state = self.state();
        if state.gone {
            return;
        }
        state.log.push((offset, value));
        let eeprom = self.eeprom.lock().unwrap();
        state.write(offset, value, &eeprom);
        let garbage = state.garbage && offset == rx(0) + DT;
        let loops = state.loops && offset == tx(0) + DT && value == 1;
        let loops = loops && state.phy[0] & 1 << 14 != 0;
        drop((eeprom, state));
        if garbage {
            (0..8).for_each(|at| self.write_back(rx(0), at, (0, DD | EOP)));
        }
        if loops {
            self.loop_packet();
        }
    }

    fn set_bus_master(&self, enable: bool) {
        self.state().bus_master = enable;
    }

    fn alloc_coherent(&self, len: usize) -> Result<DmaRegion, BusError> {
        let mut state = self.state();
        if state.faults.no_memory {
            return Err(BusError::NoMemory(len));
        }
        let region = DmaRegion::alloc(len).map_err(|_| BusError::NoMemory(len))?;
        state.domain.map(&region)?;
        Ok(region)
    }

    fn map(&self, region: &DmaRegion) -> Result<(), BusError> {
        let mut state = self.state();
        if state.faults.map_refused {
            return Err(BusError::NoMemory(region.len()));
        }
        Ok(state.domain.map(region)?)
    }

    fn unmap(&self, region: &DmaRegion) {
        assert!(self.state().domain.unmap(region), "was not mapped");
    }

    fn alloc_irq_vectors(&self, max: u16, modes: &[IrqMode]) -> Result<IrqVectors, BusError> {
        let mut state = self.state();
        assert!(max > 0 && state.vectors == 0);
        if state.faults.no_irq {
            return Err(BusError::NoIrq);
        }
        let kind = |mode: &IrqMode| state.kinds.iter().find(|kind| kind.0 == *mode).copied();
        let (mode, count) = modes.iter().find_map(kind).ok_or(BusError::NoIrq)?;
        let count = count.min(max);
        state.vectors = count;
        Ok(IrqVectors { mode, count })
    }

    fn free_irq_vectors(&self) {
        let mut state = self.state();
        assert!(state.handlers.is_empty(), "a handler is still installed");
        state.vectors = 0;
    }

    fn request_irq(
        &self,
        vector: u16,
        _name: &str,
        affinity: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let mut state = self.state();
        if vector >= state.vectors {
            return Err(BusError::NoVector(vector));
        }
        if state.faults.vector_refused == Some(vector) {
            return Err(BusError::VectorBusy(vector));
        }
        state.handlers.insert(vector, (affinity, handler));
        Ok(())
    }

    fn free_irq(&self, vector: u16) {
        let handler = self.state().handlers.remove(&vector);
        assert!(handler.is_some(), "no handler is installed");
    }

    fn delay_us(&self, us: u32) {
        self.state().delayed_us += u64::from(us);
        // What is raised in a test of the interrupt comes while it waits.
        self.deliver();
    }
}

/// Counts the driver's calls.
#[derive(Default)]
pub(crate) struct Stack {
    irqs: [AtomicUsize; 16],
    links: AtomicUsize,
}

impl Stack {
    /// Calls for a queue.
    pub(crate) fn irqs_of(&self, queue: u16) -> usize {
        self.irqs[usize::from(queue)].load(Ordering::SeqCst)
    }

    pub(crate) fn irqs(&self) -> usize {
        (0..16).map(|queue| self.irqs_of(queue)).sum()
    }

    pub(crate) fn links(&self) -> usize {
        self.links.load(Ordering::SeqCst)
    }
}

impl IrqHandler for Stack {
    fn irq(&self, queue: QueueId) {
        self.irqs[usize::from(queue.0)].fetch_add(1, Ordering::SeqCst);
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) type Pair = QueuePair<RxRing<Fake>, TxRing<Fake>>;

/// A NIC on the fake, open.
pub(crate) struct Open {
    pub(crate) fake: Arc<Fake>,
    pub(crate) nic: Arc<Igb<Fake>>,
    pub(crate) stack: Arc<Stack>,
    pub(crate) pool: FramePool,
    pub(crate) pairs: Vec<Pair>,
}

pub(crate) const FRAMES: usize = 128;

pub(crate) fn pool() -> FramePool {
    let frames = FRAMES as u32;
    FramePool::new(PoolConfig {
        frames,
        ..PoolConfig::default()
    })
    .unwrap()
}

pub(crate) fn config(pool: &FramePool, queues: u16, ring: u16) -> OpenConfig {
    OpenConfig {
        queues,
        rx_ring: ring,
        tx_ring: ring,
        ..OpenConfig::new(pool.clone())
    }
}

/// Opens a fake with the configuration that `change` makes.
pub(crate) fn open_on(fake: Arc<Fake>, change: impl FnOnce(&mut OpenConfig)) -> Open {
    let (pool, stack) = (pool(), Arc::new(Stack::default()));
    let nic = Igb::probe(fake.clone()).unwrap();
    fake.take_log();
    let mut config = config(&pool, 1, 8);
    change(&mut config);
    let pairs = nic.open(&config, stack.clone()).unwrap();
    Open {
        fake,
        nic,
        stack,
        pool: config.pool,
        pairs,
    }
}

/// One queue, with rings of 8.
pub(crate) fn open() -> Open {
    open_on(Fake::new(), |_| {})
}

impl Open {
    pub(crate) fn pair(&mut self) -> &mut Pair {
        &mut self.pairs[0]
    }

    pub(crate) fn stats(&self) -> NicStats {
        let mut stats = NicStats::default();
        self.nic.stats(&mut stats);
        stats
    }

    pub(crate) fn ethtool_stat(&self, wanted: &str) -> u64 {
        let mut found = None;
        self.nic.ethtool_stats(&mut |name, value| {
            found = found.or((name == wanted).then_some(value));
        });
        found.unwrap()
    }
}
