//! A card on a bus with a wire in memory, and short names for its registers.

use softnet_dma_ring::DmaAddr;
use softnet_emulated::pci::CoherentRegion;
use softnet_emulated::{E1000, E1000Config, PciBus, PciFunction, Step};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::{CoherentMemory, IrqMode, IrqReturn, PciDevice, VectorHandler};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub(crate) const CTRL: u32 = 0x0000;
pub(crate) const STATUS: u32 = 0x0008;
pub(crate) const EECD: u32 = 0x0010;
pub(crate) const EERD: u32 = 0x0014;
pub(crate) const CTRL_EXT: u32 = 0x0018;
pub(crate) const MDIC: u32 = 0x0020;
pub(crate) const FCAL: u32 = 0x0028;
pub(crate) const FCAH: u32 = 0x002c;
pub(crate) const FCT: u32 = 0x0030;
pub(crate) const VET: u32 = 0x0038;
pub(crate) const ICR: u32 = 0x00c0;
pub(crate) const ITR: u32 = 0x00c4;
pub(crate) const ICS: u32 = 0x00c8;
pub(crate) const IMS: u32 = 0x00d0;
pub(crate) const IMC: u32 = 0x00d8;
pub(crate) const RCTL: u32 = 0x0100;
pub(crate) const FCTTV: u32 = 0x0170;
pub(crate) const TCTL: u32 = 0x0400;
pub(crate) const PBA: u32 = 0x1000;
pub(crate) const FCRTL: u32 = 0x2160;
pub(crate) const FCRTH: u32 = 0x2168;
pub(crate) const RDBAL: u32 = 0x2800;
pub(crate) const RDBAH: u32 = 0x2804;
pub(crate) const RDLEN: u32 = 0x2808;
pub(crate) const RDH: u32 = 0x2810;
pub(crate) const RDT: u32 = 0x2818;
pub(crate) const RDTR: u32 = 0x2820;
pub(crate) const RADV: u32 = 0x282c;
pub(crate) const RSRPD: u32 = 0x2c00;
pub(crate) const TDBAL: u32 = 0x3800;
pub(crate) const TDBAH: u32 = 0x3804;
pub(crate) const TDLEN: u32 = 0x3808;
pub(crate) const TDH: u32 = 0x3810;
pub(crate) const TDT: u32 = 0x3818;
pub(crate) const TIDV: u32 = 0x3820;
pub(crate) const TXDCTL: u32 = 0x3828;
pub(crate) const TADV: u32 = 0x382c;
pub(crate) const RXCSUM: u32 = 0x5000;
pub(crate) const MTA: u32 = 0x5200;
pub(crate) const RAL: u32 = 0x5400;
pub(crate) const RAH: u32 = 0x5404;
pub(crate) const VFTA: u32 = 0x5600;

pub(crate) const MPC: u32 = 0x4010;
pub(crate) const DC: u32 = 0x4030;
pub(crate) const RLEC: u32 = 0x4040;
pub(crate) const XONRXC: u32 = 0x4048;
pub(crate) const XONTXC: u32 = 0x404c;
pub(crate) const XOFFRXC: u32 = 0x4050;
pub(crate) const XOFFTXC: u32 = 0x4054;
pub(crate) const FCRUC: u32 = 0x4058;
pub(crate) const PRC64: u32 = 0x405c;
pub(crate) const GPRC: u32 = 0x4074;
pub(crate) const BPRC: u32 = 0x4078;
pub(crate) const MPRC: u32 = 0x407c;
pub(crate) const GPTC: u32 = 0x4080;
pub(crate) const GORCL: u32 = 0x4088;
pub(crate) const GORCH: u32 = 0x408c;
pub(crate) const GOTCL: u32 = 0x4090;
pub(crate) const GOTCH: u32 = 0x4094;
pub(crate) const RNBC: u32 = 0x40a0;
pub(crate) const RUC: u32 = 0x40a4;
pub(crate) const ROC: u32 = 0x40ac;
pub(crate) const TORL: u32 = 0x40c0;
pub(crate) const TPR: u32 = 0x40d0;
pub(crate) const TPT: u32 = 0x40d4;
pub(crate) const PTC64: u32 = 0x40d8;
pub(crate) const MPTC: u32 = 0x40f0;
pub(crate) const BPTC: u32 = 0x40f4;
pub(crate) const TSCTC: u32 = 0x40f8;
pub(crate) const TSCTFC: u32 = 0x40fc;

pub(crate) const SLU: u32 = 1 << 6;
pub(crate) const RST: u32 = 1 << 26;
pub(crate) const RFCE: u32 = 1 << 27;
pub(crate) const TFCE: u32 = 1 << 28;
pub(crate) const VME: u32 = 1 << 30;

pub(crate) const EN: u32 = 1 << 1;
pub(crate) const UPE: u32 = 1 << 3;
pub(crate) const MPE: u32 = 1 << 4;
pub(crate) const LPE: u32 = 1 << 5;
pub(crate) const BAM: u32 = 1 << 15;
pub(crate) const BSIZE_256: u32 = 3 << 16;
pub(crate) const SECRC: u32 = 1 << 26;
pub(crate) const VFE: u32 = 1 << 18;
pub(crate) const CFIEN: u32 = 1 << 19;
pub(crate) const CFI: u32 = 1 << 20;
pub(crate) const DPF: u32 = 1 << 22;
pub(crate) const PMCF: u32 = 1 << 23;
pub(crate) const PSP: u32 = 1 << 3;
pub(crate) const SWXOFF: u32 = 1 << 22;

pub(crate) const TXDW: u32 = 1;
pub(crate) const TXQE: u32 = 1 << 1;
pub(crate) const LSC: u32 = 1 << 2;
pub(crate) const RXDMT0: u32 = 1 << 4;
pub(crate) const RXO: u32 = 1 << 6;
pub(crate) const PHYINT: u32 = 1 << 12;
pub(crate) const SRPD: u32 = 1 << 16;
pub(crate) const RXT0: u32 = 1 << 7;

pub(crate) const MAC: MacAddress = MacAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);

/// Both ends of a wire in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryWire {
    ends: Arc<Ends>,
}

#[derive(Default)]
pub(crate) struct Ends {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) cut: AtomicBool,
}

#[derive(Default)]
struct State {
    to_nic: VecDeque<Vec<u8>>,
    from_nic: Vec<Vec<u8>>,
    woken: bool,
    endless: Option<Vec<u8>>,
}

impl MemoryWire {
    pub(crate) fn push(&self, frame: &[u8]) {
        self.ends
            .state
            .lock()
            .unwrap()
            .to_nic
            .push_back(frame.to_vec());
        self.ends.changed.notify_all();
    }

    /// From now on, this frame comes again and again.
    pub(crate) fn flood(&self, frame: &[u8]) {
        self.ends.state.lock().unwrap().endless = Some(frame.to_vec());
        self.ends.changed.notify_all();
    }

    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.ends.state.lock().unwrap().from_nic)
    }

    pub(crate) fn set_carrier(&self, carrier: bool) {
        self.ends.cut.store(!carrier, Ordering::SeqCst);
    }
}

impl Wire for MemoryWire {
    fn transmit(&mut self, frame: &[u8], _: u64) -> Result<(), WireError> {
        self.ends
            .state
            .lock()
            .unwrap()
            .from_nic
            .push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut state = self.ends.state.lock().unwrap();
        for done in 0..budget {
            match (state.to_nic.pop_front(), &state.endless) {
                (Some(frame), _) => sink(&frame),
                (None, Some(frame)) => sink(frame),
                (None, None) => return done,
            }
        }
        budget
    }

    fn carrier(&self) -> bool {
        !self.ends.cut.load(Ordering::SeqCst)
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        let state = self.ends.state.lock().unwrap();
        let idle = |s: &mut State| !s.woken && s.to_nic.is_empty() && s.endless.is_none();
        let mut state = match timeout_ns {
            None => self.ends.changed.wait_while(state, idle).unwrap(),
            Some(ns) => {
                let limit = std::time::Duration::from_nanos(ns);
                let waited = self.ends.changed.wait_timeout_while(state, limit, idle);
                waited.unwrap().0
            }
        };
        state.woken = false;
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        Arc::clone(&self.ends) as _
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
    pub(crate) irqs: Arc<IrqTable>,
    pub(crate) dev: PciFunction,
    pub(crate) nic: E1000,
    pub(crate) wire: MemoryWire,
    pub(crate) now_ns: u64,
}

impl Rig {
    /// A card as it comes out of its slot.
    pub(crate) fn cold(config: &E1000Config) -> Self {
        let irqs = Arc::new(IrqTable::new(2));
        let bus = PciBus::new(Arc::clone(&irqs));
        let (dev, nic) = E1000::attach(&bus, config).unwrap();
        Self {
            irqs,
            dev,
            nic,
            wire: MemoryWire::default(),
            now_ns: 0,
        }
    }

    /// A card with its link up, bus mastering on and no cause pending.
    pub(crate) fn new() -> Self {
        Self::with(&E1000Config::new(MAC))
    }

    pub(crate) fn with(config: &E1000Config) -> Self {
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

    /// Programs a receive ring, each descriptor with a buffer of its own, and
    /// gives all descriptors but one to the device.
    pub(crate) fn rx_ring(&self, descriptors: u32, rctl: u32) -> RxRing {
        let ring = RxRing {
            ring: self.dev.alloc_coherent(descriptors as usize * 16).unwrap(),
            buffers: self
                .dev
                .alloc_coherent(descriptors as usize * 2048)
                .unwrap(),
        };
        for index in 0..descriptors as usize {
            ring.rearm(index);
        }
        self.w(RDBAL, ring.ring.dma_addr().0 as u32);
        self.w(RDBAH, (ring.ring.dma_addr().0 >> 32) as u32);
        self.w(RDLEN, descriptors * 16);
        self.w(RDH, 0);
        self.w(RDT, 0);
        self.w(RCTL, rctl | EN);
        self.w(RDT, descriptors - 1);
        ring
    }

    /// Programs an empty transmit ring.
    pub(crate) fn tx_ring(&self, descriptors: u32, tctl: u32) -> TxRing {
        let ring = self.dev.alloc_coherent(descriptors as usize * 16).unwrap();
        self.w(TDBAL, ring.dma_addr().0 as u32);
        self.w(TDBAH, (ring.dma_addr().0 >> 32) as u32);
        self.w(TDLEN, descriptors * 16);
        self.w(TDH, 0);
        self.w(TDT, 0);
        self.w(TCTL, tctl | EN);
        TxRing {
            ring,
            buffers: self
                .dev
                .alloc_coherent(descriptors as usize * 2048)
                .unwrap(),
            descriptors,
            tail: 0,
        }
    }

    pub(crate) fn request_irq(&self, handler: Arc<dyn VectorHandler>) {
        self.dev.alloc_irq_vectors(1, &[IrqMode::Intx]).unwrap();
        self.dev.request_irq(0, "test", 0, handler).unwrap();
    }
}

pub(crate) struct RxRing {
    pub(crate) ring: CoherentRegion,
    pub(crate) buffers: CoherentRegion,
}

impl RxRing {
    pub(crate) fn buffer_addr(&self, index: usize) -> DmaAddr {
        self.buffers.dma_addr().offset(index as u64 * 2048)
    }

    pub(crate) fn rearm(&self, index: usize) {
        self.ring.write_u64(index * 16, self.buffer_addr(index).0);
        self.ring.write_u64(index * 16 + 8, 0);
    }

    pub(crate) fn status(&self, index: usize) -> RxStatus {
        let word = self.ring.read_u64(index * 16 + 8);
        RxStatus {
            len: (word & 0xffff) as usize,
            status: (word >> 32) as u8,
            errors: (word >> 40) as u8,
        }
    }

    pub(crate) fn checksum(&self, index: usize) -> u16 {
        (self.ring.read_u64(index * 16 + 8) >> 16) as u16
    }

    pub(crate) fn special(&self, index: usize) -> u16 {
        (self.ring.read_u64(index * 16 + 8) >> 48) as u16
    }

    pub(crate) fn done(&self, index: usize) -> bool {
        self.status(index).status & 1 != 0
    }

    pub(crate) fn bytes(&self, index: usize) -> Vec<u8> {
        bytes(&self.buffers, index * 2048, self.status(index).len)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RxStatus {
    pub(crate) len: usize,
    pub(crate) status: u8,
    pub(crate) errors: u8,
}

pub(crate) struct TxRing {
    pub(crate) ring: CoherentRegion,
    pub(crate) buffers: CoherentRegion,
    pub(crate) descriptors: u32,
    pub(crate) tail: u32,
}

pub(crate) const EOP: u64 = 1;
pub(crate) const IFCS: u64 = 1 << 1;
pub(crate) const IC: u64 = 1 << 2;
pub(crate) const RS: u64 = 1 << 3;
pub(crate) const TSE: u64 = 1 << 2;
pub(crate) const DEXT: u64 = 1 << 5;
pub(crate) const VLE: u64 = 1 << 6;
pub(crate) const IDE: u64 = 1 << 7;

impl TxRing {
    /// Writes a descriptor and its data; the device sees it at the next
    /// [`ring_doorbell`](Self::ring_doorbell).
    pub(crate) fn put(&mut self, data: &[u8], command: u64) {
        let at = self.tail as usize * 2048;
        fill(&self.buffers, at, data);
        let addr = self.buffers.dma_addr().offset(at as u64);
        self.raw(addr.0, data.len() as u64 | command << 24);
    }

    /// Writes a data descriptor of the extended kind and its data. `more` are the
    /// options and the tag, where the second word has them.
    pub(crate) fn put_data(&mut self, data: &[u8], command: u64, more: u64) {
        let at = self.tail as usize * 2048;
        fill(&self.buffers, at, data);
        let addr = self.buffers.dma_addr().offset(at as u64);
        let control = data.len() as u64 | 1 << 20 | (command | DEXT) << 24 | more;
        self.raw(addr.0, control);
    }

    pub(crate) fn raw(&mut self, address: u64, control: u64) {
        let index = self.tail as usize;
        self.ring.write_u64(index * 16, address);
        self.ring.write_u64(index * 16 + 8, control);
        self.tail = (self.tail + 1) % self.descriptors;
    }

    pub(crate) fn ring_doorbell(&self, rig: &Rig) {
        rig.w(TDT, self.tail);
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

/// Counts its calls, reads ICR each time, and keeps what it read.
pub(crate) struct Counting {
    pub(crate) dev: PciFunction,
    pub(crate) calls: AtomicU64,
    pub(crate) causes: AtomicU32,
}

impl Counting {
    pub(crate) fn new(rig: &Rig) -> Arc<Self> {
        let handler = Arc::new(Self {
            dev: rig.dev.clone(),
            calls: AtomicU64::new(0),
            causes: AtomicU32::new(0),
        });
        rig.request_irq(Arc::clone(&handler) as _);
        handler
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl VectorHandler for Counting {
    fn interrupt(&self, _: u16) -> IrqReturn {
        let causes = self.dev.read32(0, ICR);
        self.causes.fetch_or(causes, Ordering::SeqCst);
        // Last, so that who waits for it cannot have its next cause read here.
        self.calls.fetch_add(1, Ordering::SeqCst);
        if causes == 0 {
            IrqReturn::None
        } else {
            IrqReturn::Handled
        }
    }
}
