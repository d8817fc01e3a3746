//! A scripted function: a file of registers that remembers what was written,
//! with just enough life in it that the driver gets on, and that misbehaves on
//! demand. It is no model of the chip: descriptors are completed by the test.

use softnet_dma_ring::{DmaAddr, DmaDomain, DmaRegion, FramePool, PoolConfig};
use softnet_e1000::{E1000, RxRing, TxRing};
use softnet_nic_hal::bus::{
    BarInfo, BarKind, BusError, IrqMode, IrqVectors, PciDevice, PciIds, VectorHandler,
};
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId, QueuePair};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const CTRL: u32 = 0x0;
pub(crate) const STATUS: u32 = 0x8;
pub(crate) const EECD: u32 = 0x10;
pub(crate) const EERD: u32 = 0x14;
pub(crate) const MDIC: u32 = 0x20;
pub(crate) const ICR: u32 = 0xc0;
pub(crate) const ICS: u32 = 0xc8;
pub(crate) const IMS: u32 = 0xd0;
pub(crate) const IMC: u32 = 0xd8;
pub(crate) const RDBAL: u32 = 0x2800;
pub(crate) const RDT: u32 = 0x2818;
pub(crate) const TDBAL: u32 = 0x3800;
pub(crate) const TDH: u32 = 0x3810;
pub(crate) const TDT: u32 = 0x3818;

pub(crate) const RXT0: u32 = 1 << 7;
pub(crate) const TXDW: u32 = 1;
pub(crate) const LSC: u32 = 1 << 2;

pub(crate) const DD: u64 = 1 << 32;
pub(crate) const EOP: u64 = 1 << 33;

/// How the fake misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) eerd_never_done: bool,
    pub(crate) eecd_never_granted: bool,
    pub(crate) phy_silent: bool,
    pub(crate) reset_sticks: bool,
    pub(crate) no_memory: bool,
    pub(crate) no_irq: bool,
    pub(crate) map_refused: bool,
}

#[derive(Default)]
struct State {
    registers: BTreeMap<u32, u32>,
    log: Vec<(u32, u32)>,
    faults: Faults,
    gone: bool,
    cause: u32,
    mask: u32,
    microwire: Microwire,
    domain: DmaDomain,
    handler: Option<Arc<dyn VectorHandler>>,
    vectors: u16,
    bus_master: bool,
    delayed_us: u64,
    garbage: bool,
    phy: BTreeMap<u32, u16>,
}

/// The EEPROM's serial side: it shifts bits in at each rising clock.
#[derive(Default)]
struct Microwire {
    clock: bool,
    shifted: u32,
    bits: u32,
    out: u32,
    out_bits: u32,
}

pub(crate) struct Fake {
    state: Mutex<State>,
    eeprom: Mutex<[u16; 64]>,
    ids: PciIds,
    /// What another thread does right before the next write of IMC.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
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
        Self::with_device(0x100e)
    }

    pub(crate) fn with_device(device: u16) -> Arc<Self> {
        let state = State {
            // Link up, 1000 Mbit/s, full duplex.
            registers: BTreeMap::from([(STATUS, 0x83)]),
            phy: BTreeMap::from([(2, 0x0141), (3, 0x0c20)]),
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            eeprom: Mutex::new(eeprom()),
            meanwhile: Mutex::new(None),
            ids: PciIds {
                vendor: 0x8086,
                device,
                subsystem_vendor: 0x8086,
                subsystem: 0x1e,
                class: 0x02_0000,
                revision: 3,
            },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn before_imc(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(meanwhile));
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn set_eeprom_word(&self, address: usize, word: u16) {
        self.eeprom.lock().unwrap()[address] = word;
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

    pub(crate) fn set_phy(&self, register: u32, value: u16) {
        self.state().phy.insert(register, value);
    }

    pub(crate) fn phy(&self, register: u32) -> u16 {
        self.state().phy.get(&register).copied().unwrap_or(0)
    }

    /// What was written since the last call, in order.
    pub(crate) fn take_log(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.state().log)
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

    pub(crate) fn mask(&self) -> u32 {
        self.state().mask
    }

    pub(crate) fn set_mask(&self, mask: u32) {
        self.state().mask = mask;
    }

    /// The device raises causes, and interrupts if one is not masked.
    pub(crate) fn raise(&self, causes: u32) {
        self.state().cause |= causes;
        self.deliver();
    }

    /// Interrupts if an unmasked cause is set, as often as one is.
    pub(crate) fn deliver(&self) {
        for _ in 0..100 {
            let state = self.state();
            let line = state.cause & state.mask != 0 && !state.gone;
            let Some(handler) = state.handler.clone().filter(|_| line) else {
                return;
            };
            drop(state);
            handler.interrupt(0);
        }
        panic!("an interrupt storm");
    }

    /// The handler is called although the device has raised nothing.
    pub(crate) fn deliver_spurious(&self) -> softnet_nic_hal::bus::IrqReturn {
        let handler = self.state().handler.clone().unwrap();
        handler.interrupt(0)
    }

    /// From now on each write of the receive tail completes the whole ring, with
    /// nothing in it.
    pub(crate) fn complete_every_receive_tail(&self) {
        self.state().garbage = true;
    }

    fn ring_base(&self, base: u32) -> u64 {
        u64::from(self.value(base)) | u64::from(self.value(base + 4)) << 32
    }

    /// Both words of a descriptor, as the device reads them.
    pub(crate) fn descriptor(&self, base: u32, at: u64) -> (u64, u64) {
        let address = DmaAddr(self.ring_base(base) + at * 16);
        let domain = self.state().domain.clone();
        let order = Ordering::Acquire;
        (
            domain.read_u64(address, order).unwrap(),
            domain.read_u64(address.offset(8), order).unwrap(),
        )
    }

    /// The device writes back the second word of a descriptor.
    pub(crate) fn write_back(&self, base: u32, at: u64, word: u64) {
        let address = DmaAddr(self.ring_base(base) + at * 16 + 8);
        let domain = self.state().domain.clone();
        domain.write_u64(address, word, Ordering::Release).unwrap();
    }

    /// The device receives a good packet.
    pub(crate) fn receive(&self, at: u64, bytes: &[u8]) {
        let (buffer, _) = self.descriptor(RDBAL, at);
        let domain = self.state().domain.clone();
        domain.write(DmaAddr(buffer), bytes).unwrap();
        self.write_back(RDBAL, at, bytes.len() as u64 | DD | EOP);
    }

    /// What the device would send.
    pub(crate) fn packet(&self, at: u64) -> Vec<u8> {
        let (buffer, word) = self.descriptor(TDBAL, at);
        let mut bytes = vec![0; (word & 0xffff) as usize];
        let domain = self.state().domain.clone();
        domain.read(DmaAddr(buffer), &mut bytes).unwrap();
        bytes
    }

    /// The device reports a descriptor as sent.
    pub(crate) fn sent(&self, at: u64) {
        let (_, word) = self.descriptor(TDBAL, at);
        self.write_back(TDBAL, at, word | DD);
    }
}

impl State {
    fn access_phy(&mut self, command: u32) -> u16 {
        let register = command >> 16 & 31;
        if command >> 26 & 3 == 1 {
            self.phy.insert(register, command as u16);
        }
        self.phy.get(&register).copied().unwrap_or(0)
    }

    fn write_eecd(&mut self, value: u32, eeprom: &[u16; 64]) {
        let (clock, select, data) = (value & 1 != 0, value & 2 != 0, value & 4 != 0);
        let wire = &mut self.microwire;
        if !select {
            *wire = Microwire::default();
        } else if clock && !wire.clock {
            wire.rise(data, eeprom);
        }
        wire.clock = clock;
        let mut reads = value & !(1 << 7 | 1 << 3);
        if value & 1 << 6 != 0 && !self.faults.eecd_never_granted {
            reads |= 1 << 7;
        }
        reads |= (self.microwire.out & 1) << 3;
        self.registers.insert(EECD, reads);
    }

    fn read(&mut self, register: u32) -> u32 {
        match register {
            ICR => std::mem::take(&mut self.cause),
            IMS => self.mask,
            // The statistics clear when they are read.
            0x4000..0x4100 => self.registers.remove(&register).unwrap_or(0),
            _ => self.registers.get(&register).copied().unwrap_or(0),
        }
    }

    fn write(&mut self, register: u32, value: u32, eeprom: &[u16; 64]) {
        match register {
            ICS => self.cause |= value,
            IMS => self.mask |= value,
            IMC => self.mask &= !value,
            EECD => self.write_eecd(value, eeprom),
            EERD if !self.faults.eerd_never_done => {
                let word = eeprom[(value >> 8 & 63) as usize];
                self.registers
                    .insert(EERD, u32::from(word) << 16 | value & 0xff00 | 1 << 4);
            }
            MDIC => {
                let answer = if self.faults.phy_silent {
                    0
                } else {
                    1 << 28 | u32::from(self.access_phy(value))
                };
                self.registers.insert(MDIC, value & 0x0fff_0000 | answer);
            }
            CTRL if value & 1 << 26 != 0 && !self.faults.reset_sticks => {
                self.registers.retain(|&register, _| register == STATUS);
            }
            _ => {
                self.registers.insert(register, value);
            }
        }
    }
}

impl Microwire {
    fn rise(&mut self, data: bool, eeprom: &[u16; 64]) {
        if self.bits < 9 {
            self.shifted = self.shifted << 1 | u32::from(data);
            self.bits += 1;
            // The bit that comes with the last address bit is always 0.
            self.out = 0;
        } else {
            assert_eq!(self.shifted >> 6, 0b110, "the opcode of a read");
            let word = u32::from(eeprom[(self.shifted & 63) as usize]);
            self.out = word >> (15 - self.out_bits) & 1;
            self.out_bits += 1;
        }
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
        let meanwhile = match offset {
            IMC => self.meanwhile.lock().unwrap().take(),
            _ => None,
        };
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        let mut state = self.state();
        if !state.gone {
            state.log.push((offset, value));
            let eeprom = self.eeprom.lock().unwrap();
            state.write(offset, value, &eeprom);
            let garbage = state.garbage && offset == RDT;
            drop((eeprom, state));
            if garbage {
                (0..8).for_each(|at| self.write_back(RDBAL, at, DD | EOP));
            }
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
    links: AtomicUsize,
}

impl Stack {
    pub(crate) fn irqs(&self) -> usize {
        self.irqs.load(Ordering::SeqCst)
    }

    pub(crate) fn links(&self) -> usize {
        self.links.load(Ordering::SeqCst)
    }
}

impl IrqHandler for Stack {
    fn irq(&self, queue: QueueId) {
        assert_eq!(queue, QueueId(0));
        self.irqs.fetch_add(1, Ordering::SeqCst);
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

/// A NIC on the fake, open with rings of 8.
pub(crate) struct Open {
    pub(crate) fake: Arc<Fake>,
    pub(crate) nic: Arc<E1000<Fake>>,
    pub(crate) stack: Arc<Stack>,
    pub(crate) pool: FramePool,
    pub(crate) pair: QueuePair<RxRing<Fake>, TxRing<Fake>>,
}

pub(crate) const FRAMES: usize = 64;

pub(crate) fn pool() -> FramePool {
    let frames = FRAMES as u32;
    FramePool::new(PoolConfig {
        frames,
        ..PoolConfig::default()
    })
    .unwrap()
}

pub(crate) fn config(pool: &FramePool, ring: u16) -> OpenConfig {
    OpenConfig {
        queues: 1,
        rx_ring: ring,
        tx_ring: ring,
        mtu: 1500,
        ..OpenConfig::new(pool.clone())
    }
}

pub(crate) fn open_with(ring: u16) -> Open {
    let (fake, pool, stack) = (Fake::new(), pool(), Arc::new(Stack::default()));
    let nic = E1000::probe(fake.clone()).unwrap();
    fake.take_log();
    let mut pairs = nic.open(&config(&pool, ring), stack.clone()).unwrap();
    Open {
        fake,
        nic,
        stack,
        pool,
        pair: pairs.pop().unwrap(),
    }
}

/// A NIC on the fake, open as `change` says, with buffers of so many bytes.
pub(crate) fn open_as(buffer_size: u32, change: impl FnOnce(&mut OpenConfig)) -> Open {
    let (fake, stack) = (Fake::new(), Arc::new(Stack::default()));
    let nic = E1000::probe(fake.clone()).unwrap();
    let pool = FramePool::new(PoolConfig {
        frames: FRAMES as u32,
        buffer_size,
        ..PoolConfig::default()
    })
    .unwrap();
    let mut config = config(&pool, 16);
    change(&mut config);
    fake.take_log();
    let mut pairs = nic.open(&config, stack.clone()).unwrap();
    let pair = pairs.pop().unwrap();
    Open {
        fake,
        nic,
        stack,
        pool,
        pair,
    }
}

pub(crate) fn open() -> Open {
    open_with(8)
}
