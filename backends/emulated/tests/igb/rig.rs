//! A card on a bus with a wire in memory, and short names for its registers.

use softnet_dma_ring::DmaAddr;
use softnet_emulated::pci::CoherentRegion;
use softnet_emulated::{Igb, IgbConfig, PciBus, PciFunction, Step};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub(crate) const CTRL: u32 = 0x0000;
pub(crate) const STATUS: u32 = 0x0008;
pub(crate) const EECD: u32 = 0x0010;
pub(crate) const EERD: u32 = 0x0014;
pub(crate) const MDIC: u32 = 0x0020;
pub(crate) const VET: u32 = 0x0038;
pub(crate) const ICR: u32 = 0x00c0;
pub(crate) const ICS: u32 = 0x00c8;
pub(crate) const IMS: u32 = 0x00d0;
pub(crate) const IMC: u32 = 0x00d8;
pub(crate) const IAM: u32 = 0x00e0;
pub(crate) const RCTL: u32 = 0x0100;
pub(crate) const TCTL: u32 = 0x0400;
pub(crate) const EEWR: u32 = 0x102c;
pub(crate) const GPIE: u32 = 0x1514;
pub(crate) const EICS: u32 = 0x1520;
pub(crate) const EIMS: u32 = 0x1524;
pub(crate) const EIMC: u32 = 0x1528;
pub(crate) const EIAC: u32 = 0x152c;
pub(crate) const EIAM: u32 = 0x1530;
pub(crate) const EICR: u32 = 0x1580;
pub(crate) const EITR: u32 = 0x1680;
pub(crate) const IVAR: u32 = 0x1700;
pub(crate) const IVAR_MISC: u32 = 0x1740;
pub(crate) const DTXTCPFLGL: u32 = 0x359c;
pub(crate) const MPC: u32 = 0x4010;
pub(crate) const RLEC: u32 = 0x4040;
pub(crate) const GPRC: u32 = 0x4074;
pub(crate) const BPRC: u32 = 0x4078;
pub(crate) const MPRC: u32 = 0x407c;
pub(crate) const GPTC: u32 = 0x4080;
pub(crate) const GORCL: u32 = 0x4088;
pub(crate) const GORCH: u32 = 0x408c;
pub(crate) const ROC: u32 = 0x40ac;
pub(crate) const TSCTC: u32 = 0x40f8;
pub(crate) const RPTHC: u32 = 0x4104;
pub(crate) const RXCSUM: u32 = 0x5000;
pub(crate) const RLPML: u32 = 0x5004;
pub(crate) const MTA: u32 = 0x5200;
pub(crate) const RAL: u32 = 0x5400;
pub(crate) const PSRTYPE: u32 = 0x5480;
pub(crate) const RAL16: u32 = 0x54e0;
pub(crate) const VFTA: u32 = 0x5600;
pub(crate) const MRQC: u32 = 0x5818;
pub(crate) const SWSM: u32 = 0x5b50;
pub(crate) const RETA: u32 = 0x5c00;
pub(crate) const RSSRK: u32 = 0x5c80;
pub(crate) const ETQF: u32 = 0x5cb0;

pub(crate) const RX: u32 = 0xc000;
pub(crate) const TX: u32 = 0xe000;
pub(crate) const BAL: u32 = 0x00;
pub(crate) const BAH: u32 = 0x04;
pub(crate) const LEN: u32 = 0x08;
pub(crate) const SRRCTL: u32 = 0x0c;
pub(crate) const HEAD: u32 = 0x10;
pub(crate) const TAIL: u32 = 0x18;
pub(crate) const DCTL: u32 = 0x28;
pub(crate) const RQDPC: u32 = 0x30;
pub(crate) const TDWBAL: u32 = 0x38;
pub(crate) const TDWBAH: u32 = 0x3c;

pub(crate) const SLU: u32 = 1 << 6;
pub(crate) const RST: u32 = 1 << 26;
pub(crate) const VME: u32 = 1 << 30;
pub(crate) const EN: u32 = 1 << 1;
pub(crate) const UPE: u32 = 1 << 3;
pub(crate) const MPE: u32 = 1 << 4;
pub(crate) const LPE: u32 = 1 << 5;
pub(crate) const BAM: u32 = 1 << 15;
pub(crate) const VFE: u32 = 1 << 18;
pub(crate) const SECRC: u32 = 1 << 26;
pub(crate) const PSP: u32 = 1 << 3;
pub(crate) const ENABLE: u32 = 1 << 25;

pub(crate) const TXDW: u32 = 1;
pub(crate) const LSC: u32 = 1 << 2;
pub(crate) const RXDMT0: u32 = 1 << 4;
pub(crate) const RXO: u32 = 1 << 6;
pub(crate) const RXDW: u32 = 1 << 7;
pub(crate) const INTA: u32 = 1 << 31;

/// SRRCTL: packet buffers of 2 KiB, and a layout.
pub(crate) const LEGACY: u32 = 2;
pub(crate) const ONE_BUFFER: u32 = 1 << 25 | 2;
pub(crate) const DROP: u32 = 1 << 31;

pub(crate) const MAC: MacAddress = MacAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
pub(crate) const BROADCAST: MacAddress = MacAddress([0xff; 6]);

/// Bytes from one buffer to the next.
const BUFFER: usize = 16384;

/// Both ends of a wire in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryWire(Arc<Ends>);

#[derive(Default)]
pub(crate) struct Ends {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    to_nic: VecDeque<Vec<u8>>,
    from_nic: Vec<Vec<u8>>,
    cut: bool,
    woken: bool,
}

impl MemoryWire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn push(&self, frame: &[u8]) {
        self.state().to_nic.push_back(frame.to_vec());
        self.0.changed.notify_all();
    }

    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state().from_nic)
    }

    pub(crate) fn set_carrier(&self, carrier: bool) {
        self.state().cut = !carrier;
    }
}

impl Wire for MemoryWire {
    fn transmit(&mut self, frame: &[u8], _: u64) -> Result<(), WireError> {
        self.state().from_nic.push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut state = self.state();
        for done in 0..budget {
            match state.to_nic.pop_front() {
                Some(frame) => sink(&frame),
                None => return done,
            }
        }
        budget
    }

    fn carrier(&self) -> bool {
        !self.state().cut
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        let idle = |state: &mut State| !state.woken && state.to_nic.is_empty();
        let changed = &self.0.changed;
        let state = self.state();
        let mut state = match timeout_ns {
            None => changed.wait_while(state, idle).unwrap(),
            Some(ns) => {
                let limit = std::time::Duration::from_nanos(ns);
                changed.wait_timeout_while(state, limit, idle).unwrap().0
            }
        };
        state.woken = false;
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        Arc::clone(&self.0) as _
    }
}

impl WireWaker for Ends {
    fn wake(&self) {
        self.state.lock().unwrap().woken = true;
        self.changed.notify_all();
    }
}

/// A card whose link is up, and time to step it by.
pub(crate) struct Rig {
    pub(crate) dev: PciFunction,
    pub(crate) nic: Igb,
    pub(crate) wire: MemoryWire,
    pub(crate) now_ns: u64,
}

impl Rig {
    /// A card as it comes out of its slot.
    pub(crate) fn cold(config: &IgbConfig) -> Self {
        let bus = PciBus::new(Arc::new(IrqTable::new(2)));
        let (dev, nic) = Igb::attach(&bus, config).unwrap();
        Self {
            dev,
            nic,
            wire: MemoryWire::default(),
            now_ns: 0,
        }
    }

    /// A card with its link up, bus mastering on and no cause pending.
    pub(crate) fn new() -> Self {
        Self::with(&IgbConfig::new(MAC))
    }

    pub(crate) fn with(config: &IgbConfig) -> Self {
        let mut rig = Self::cold(config);
        rig.dev.set_bus_master(true);
        rig.link_up();
        rig.r(ICR);
        rig
    }

    pub(crate) fn link_up(&mut self) {
        self.w(CTRL, SLU | 1);
        self.step();
        self.now_ns += 10_000_000;
        self.step();
        assert_ne!(self.r(STATUS) & 2, 0, "the link is up");
    }

    pub(crate) fn r(&self, register: u32) -> u32 {
        self.dev.read32(0, register)
    }

    pub(crate) fn w(&self, register: u32, value: u32) {
        self.dev.write32(0, register, value);
    }

    /// One step, a nanosecond after the last one.
    pub(crate) fn step(&mut self) -> Step {
        self.now_ns += 1;
        self.nic.step(self.now_ns, &mut self.wire)
    }

    /// Steps until nothing moves.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let step = self.step();
            if !step.worked() && !step.again {
                return;
            }
        }
        panic!("the model does not come to rest");
    }

    /// Brings a frame in and steps.
    pub(crate) fn deliver(&mut self, frame: &[u8]) {
        self.wire.push(frame);
        self.step();
    }

    pub(crate) fn phy_read(&self, number: u32) -> u32 {
        self.w(MDIC, 2 << 26 | 1 << 21 | number << 16);
        let value = self.r(MDIC);
        assert_ne!(value & 1 << 28, 0, "ready");
        value & 0xffff
    }

    pub(crate) fn phy_write(&self, number: u32, value: u32) {
        self.w(MDIC, 1 << 26 | 1 << 21 | number << 16 | value);
    }

    /// Programs the ring of a receive queue, each descriptor with buffers of its
    /// own, switches it on, and gives all descriptors but one to the device.
    pub(crate) fn rx_ring(&self, queue: u32, descriptors: u32, srrctl: u32) -> RxRing {
        let memory = |len| self.dev.alloc_coherent(descriptors as usize * len).unwrap();
        let ring = RxRing {
            ring: memory(16),
            buffers: memory(BUFFER),
            headers: memory(1024),
        };
        for index in 0..descriptors as usize {
            ring.rearm(index);
        }
        let at = RX + queue * 0x40;
        self.place_ring(at, &ring.ring, descriptors);
        self.w(at + SRRCTL, srrctl);
        self.w(at + DCTL, ENABLE | 1 << 16);
        assert_ne!(self.r(at + DCTL) & ENABLE, 0, "the queue is on");
        self.w(at + TAIL, descriptors - 1);
        ring
    }

    fn place_ring(&self, at: u32, ring: &CoherentRegion, descriptors: u32) {
        self.w(at + DCTL, 0);
        self.w(at + BAL, ring.dma_addr().0 as u32);
        self.w(at + BAH, (ring.dma_addr().0 >> 32) as u32);
        self.w(at + LEN, descriptors * 16);
        self.w(at + HEAD, 0);
        self.w(at + TAIL, 0);
    }

    /// The receiver on, with one queue.
    pub(crate) fn receive(&self, rctl: u32) -> RxRing {
        let ring = self.rx_ring(0, 8, ONE_BUFFER);
        self.w(RCTL, rctl | EN);
        ring
    }

    /// Programs an empty ring of a transmit queue, and switches it on.
    pub(crate) fn tx_ring(&self, queue: u32, descriptors: u32) -> TxRing {
        let ring = self.dev.alloc_coherent(descriptors as usize * 16).unwrap();
        let at = TX + queue * 0x40;
        self.place_ring(at, &ring, descriptors);
        self.w(at + DCTL, ENABLE);
        TxRing {
            ring,
            buffers: self
                .dev
                .alloc_coherent(descriptors as usize * BUFFER)
                .unwrap(),
            at,
            descriptors,
            tail: 0,
        }
    }

    /// The transmitter on, with one queue.
    pub(crate) fn transmit(&self) -> TxRing {
        let ring = self.tx_ring(0, 16);
        self.w(TCTL, EN | PSP);
        ring
    }

    /// Gives each of the first vectors a handler.
    pub(crate) fn handlers(&self, mode: IrqMode, count: u16) -> Vec<Arc<Counting>> {
        let vectors = self.dev.alloc_irq_vectors(count, &[mode]).unwrap();
        assert_eq!((vectors.mode, vectors.count), (mode, count));
        let install = |vector| {
            let handler = Arc::new(Counting::new(&self.dev));
            let shared = Arc::clone(&handler) as _;
            self.dev.request_irq(vector, "test", 0, shared).unwrap();
            handler
        };
        (0..count).map(install).collect()
    }
}

pub(crate) struct RxRing {
    pub(crate) ring: CoherentRegion,
    pub(crate) buffers: CoherentRegion,
    pub(crate) headers: CoherentRegion,
}

impl RxRing {
    pub(crate) fn buffer_addr(&self, index: usize) -> DmaAddr {
        self.buffers.dma_addr().offset((index * BUFFER) as u64)
    }

    pub(crate) fn header_addr(&self, index: usize) -> DmaAddr {
        self.headers.dma_addr().offset(index as u64 * 1024)
    }

    pub(crate) fn rearm(&self, index: usize) {
        let words = [self.buffer_addr(index).0, self.header_addr(index).0];
        self.ring.write_pair(index * 16, words);
    }

    pub(crate) fn words(&self, index: usize) -> [u64; 2] {
        [0, 8].map(|at| self.ring.read_u64(index * 16 + at))
    }

    /// Status and errors of an advanced descriptor.
    pub(crate) fn status(&self, index: usize) -> u32 {
        self.words(index)[1] as u32
    }

    pub(crate) fn done(&self, index: usize) -> bool {
        // A header's address is even, and the buffers are not in the first word.
        self.words(index)[1] != self.header_addr(index).0 && self.status(index) & 1 != 0
    }

    pub(crate) fn len(&self, index: usize) -> usize {
        (self.words(index)[1] >> 32 & 0xffff) as usize
    }

    pub(crate) fn bytes(&self, index: usize) -> Vec<u8> {
        bytes(&self.buffers, index * BUFFER, self.len(index))
    }

    pub(crate) fn header(&self, index: usize, len: usize) -> Vec<u8> {
        bytes(&self.headers, index * 1024, len)
    }
}

pub(crate) struct TxRing {
    pub(crate) ring: CoherentRegion,
    pub(crate) buffers: CoherentRegion,
    pub(crate) at: u32,
    pub(crate) descriptors: u32,
    pub(crate) tail: u32,
}

pub(crate) const EOP: u64 = 1 << 24;
pub(crate) const IFCS: u64 = 1 << 25;
pub(crate) const IC: u64 = 1 << 26;
pub(crate) const RS: u64 = 1 << 27;
pub(crate) const DEXT: u64 = 1 << 29;
pub(crate) const VLE: u64 = 1 << 30;
pub(crate) const TSE: u64 = 1 << 31;
pub(crate) const STAMP: u64 = 1 << 19;
pub(crate) const IXSM: u64 = 1 << 40;
pub(crate) const TXSM: u64 = 1 << 41;
/// An advanced data descriptor.
pub(crate) const DATA: u64 = DEXT | 3 << 20;
/// One that is a packet of its own, and is reported.
pub(crate) const WHOLE: u64 = DATA | EOP | IFCS | RS;

/// A context: header lengths, the tag, TUCMD, and what TSO needs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Context {
    pub(crate) index: u64,
    pub(crate) mac_len: u64,
    pub(crate) ip_len: u64,
    pub(crate) l4_len: u64,
    pub(crate) mss: u64,
    pub(crate) tci: u64,
    pub(crate) tucmd: u64,
}

/// TUCMD.
pub(crate) const IPV4: u64 = 1 << 10;
pub(crate) const TCP: u64 = 1 << 11;
pub(crate) const SCTP: u64 = 2 << 11;

/// A packet of SCTP over IPv4, with a CRC that was computed bit by bit.
pub(crate) const SCTP_IPV4: &str = "0200000000020200000000010800450000300001000040846647\
    0a0000010a00000203e8005001020304728968010b0000040e00000c6162636465666768";

impl TxRing {
    /// Writes a descriptor and its data; the device sees it at the next
    /// [`ring_doorbell`](Self::ring_doorbell). PAYLEN is the data's length.
    pub(crate) fn put(&mut self, data: &[u8], bits: u64) {
        let payload = if bits & DEXT == 0 {
            0
        } else {
            data.len() as u64
        };
        self.put_part(data, bits | payload << 46);
    }

    /// As [`put`](Self::put), with PAYLEN in `bits`.
    pub(crate) fn put_part(&mut self, data: &[u8], bits: u64) {
        let at = self.tail as usize * BUFFER;
        fill(&self.buffers, at, data);
        let addr = self.buffers.dma_addr().offset(at as u64);
        self.raw([addr.0, data.len() as u64 | bits]);
    }

    pub(crate) fn context(&mut self, context: Context) {
        let Context {
            index,
            mac_len,
            ip_len,
            l4_len,
            mss,
            tci,
            tucmd,
        } = context;
        let first = tci << 16 | mac_len << 9 | ip_len;
        let second = mss << 48 | l4_len << 40 | index << 36 | DEXT | 2 << 20 | tucmd;
        self.raw([first, second]);
    }

    pub(crate) fn raw(&mut self, words: [u64; 2]) {
        self.ring.write_pair(self.tail as usize * 16, words);
        self.tail = (self.tail + 1) % self.descriptors;
    }

    pub(crate) fn ring_doorbell(&self, rig: &Rig) {
        rig.w(self.at + TAIL, self.tail);
    }

    pub(crate) fn done(&self, index: usize) -> bool {
        self.ring.read_u64(index * 16 + 8) >> 32 & 1 != 0
    }
}

pub(crate) fn bytes(memory: &CoherentRegion, at: usize, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).flat_map(|i| memory.read_u64(at + i * 8).to_le_bytes());
    words.take(len).collect()
}

pub(crate) fn fill(memory: &CoherentRegion, at: usize, data: &[u8]) {
    for (index, chunk) in data.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        memory.write_u64(at + index * 8, u64::from_le_bytes(word));
    }
}

/// A frame of `len` bytes to `to`, with counting bytes after the header.
pub(crate) fn frame(to: MacAddress, len: usize) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend((frame.len()..len).map(|byte| byte as u8));
    frame
}

/// Counts its calls, and reads ICR each time if it is told to.
pub(crate) struct Counting {
    dev: PciFunction,
    pub(crate) reads_icr: std::sync::atomic::AtomicBool,
    calls: AtomicU64,
    pub(crate) causes: AtomicU32,
}

impl Counting {
    fn new(dev: &PciFunction) -> Self {
        Self {
            dev: dev.clone(),
            reads_icr: true.into(),
            calls: AtomicU64::new(0),
            causes: AtomicU32::new(0),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl VectorHandler for Counting {
    fn interrupt(&self, _: u16) -> IrqReturn {
        if self.reads_icr.load(Ordering::SeqCst) {
            let causes = self.dev.read32(0, ICR);
            self.causes.fetch_or(causes, Ordering::SeqCst);
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        IrqReturn::Handled
    }
}
