//! The NIC on a kernel that is made of memory.

use super::*;
use crate::events::Completions;
use crate::fake::{FakeRx, FakeSocket, FakeTx, HEADROOM};
use crate::ring::{Layout, METADATA_LEN, RxChecksum, TxOffload};
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig, PoolError, TxChecksum};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::testing::conformance::{self, Harness};
use softnet_nic_hal::{LinkState, MacAddress};
use std::sync::atomic::{AtomicBool, AtomicUsize};

const CHUNKS: u32 = 256;
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

type Changed = Box<dyn Fn() + Send + Sync>;

/// What the kernel and the test share.
#[derive(Default)]
struct World {
    sockets: Mutex<Vec<Arc<FakeSocket>>>,
    changed: Mutex<Option<Changed>>,
    gone: AtomicBool,
    down: AtomicBool,
    stalled: AtomicBool,
    /// The kernel polls: it asks for a wake-up only when it has gone to sleep.
    polls: AtomicBool,
}

impl World {
    fn socket(&self, queue: QueueId) -> Option<Arc<FakeSocket>> {
        let sockets = self.sockets.lock().unwrap();
        let socket = sockets.get(usize::from(queue.0))?.clone();
        (socket.is_open() && !self.gone.load(Ordering::SeqCst)).then_some(socket)
    }

    fn inject(&self, queue: QueueId, packet: &[u8]) {
        if let Some(socket) = self.socket(queue)
            && socket.fed.load(Ordering::SeqCst)
        {
            socket.deliver(packet);
        }
    }

    /// What the device sends, if it may.
    fn send(&self, queue: QueueId, sink: &mut dyn FnMut(Vec<u8>)) {
        let idle = [&self.down, &self.stalled];
        if idle.iter().any(|idle| idle.load(Ordering::SeqCst)) {
            return;
        }
        let Some(socket) = self.socket(queue) else {
            return;
        };
        let polls = self.polls.load(Ordering::SeqCst);
        if socket.woken.swap(0, crate::sync::Ordering::SeqCst) > 0 || polls {
            socket.tx.awake_on();
            while let Some(packet) = socket.transmit() {
                sink(packet);
            }
            socket.tx.sleep_on();
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

#[derive(Debug)]
struct FakeKernel {
    world: Arc<World>,
    memory: Memory,
    offload: TxOffload,
}

impl FakeKernel {
    fn new(world: Arc<World>, offload: TxOffload) -> Self {
        let pool = FramePool::new(PoolConfig {
            frames: CHUNKS,
            buffer_size: 2048,
            headroom: HEADROOM as u32,
        });
        let pool = pool.unwrap();
        let side = FramePool::new(PoolConfig {
            frames: 8,
            buffer_size: 10240,
            headroom: HEADROOM as u32,
        });
        let memory = Memory {
            layout: Layout::new(pool.region().dma_addr().0, CHUNKS, 11),
            pool,
            side: Some(side.unwrap()),
            ring: 256,
            chunk_room: 2048 - HEADROOM as usize,
            long_packet: None,
        };
        Self {
            world,
            memory,
            offload,
        }
    }
}

impl Kernel for FakeKernel {
    type Rx = FakeRx;
    type Tx = FakeTx;

    fn name(&self) -> &str {
        "fake0"
    }

    fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn facts(&self) -> Option<Facts> {
        if self.world.gone.load(Ordering::SeqCst) {
            return None;
        }
        Some(Facts {
            mac: MAC,
            mtu: 1500,
            queues: 2,
            link: LinkState {
                up: !self.world.down.load(Ordering::SeqCst),
                speed_mbps: 10_000,
                full_duplex: true,
            },
        })
    }

    fn tx_offload(&self, _: Option<Mode>) -> TxOffload {
        self.offload
    }

    fn open(&self, queues: u16) -> Result<OpenedOf<Self>, NicError> {
        let mut open = self.world.sockets.lock().unwrap();
        assert!(open.iter().all(|socket| !socket.is_open()), "a busy queue");
        open.clear();
        let sockets = (0..queues).map(|_| {
            let region = self.memory.pool.region().clone();
            let (socket, rx, tx) = FakeSocket::open(256, region, 2048);
            socket.tx.sleep_on();
            socket.room.store(self.offload.room, Ordering::SeqCst);
            open.push(socket.clone());
            let unfeed = Box::new(move || socket.fed.store(false, Ordering::SeqCst));
            Socket { rx, tx, unfeed }
        });
        Ok(Opened {
            sockets: sockets.collect(),
            mode: Mode::Copy,
            rx_checksum: RxChecksum::Verify,
        })
    }

    fn close(&self) {
        let sockets = self.world.sockets.lock().unwrap();
        assert!(sockets.iter().all(|socket| !socket.is_open()));
    }

    fn watch_link(&self, changed: Changed) -> Box<dyn Send + Sync> {
        struct Watching(Arc<World>);
        impl Drop for Watching {
            fn drop(&mut self) {
                *self.0.changed.lock().unwrap() = None;
            }
        }
        *self.world.changed.lock().unwrap() = Some(changed);
        Box::new(Watching(self.world.clone()))
    }
}

struct Fake {
    world: Arc<World>,
    nic: Arc<Nic<FakeKernel>>,
    events: crate::events::EventLoop,
    sent: Vec<Vec<u8>>,
}

impl Fake {
    fn new() -> Self {
        Self::with(TxOffload::default())
    }

    /// On a kernel that does all that metadata can ask for.
    fn with_metadata() -> Self {
        Self::with(TxOffload {
            room: true,
            checksum: true,
            timestamp: true,
        })
    }

    fn with(offload: TxOffload) -> Self {
        let world = Arc::new(World::default());
        let events = Events::new(Arc::new(IrqTable::new(1))).unwrap();
        let kernel = FakeKernel::new(world.clone(), offload);
        Self {
            world,
            nic: Nic::with_kernel(kernel, events.clone(), None).unwrap(),
            events: events.event_loop(0),
            sent: Vec::new(),
        }
    }

    fn polling() -> Self {
        let new = Self::new();
        new.world.polls.store(true, Ordering::SeqCst);
        new
    }

    fn open(&self, ring: u16) -> PairOf<FakeKernel> {
        let config = OpenConfig {
            queues: 1,
            rx_ring: ring,
            tx_ring: ring,
            mtu: 1500,
            ..OpenConfig::new(self.nic.memory.pool.clone())
        };
        let calls = Arc::new(Calls::default());
        self.nic.open(&config, calls).unwrap().pop().unwrap()
    }

    fn counters(&self) -> crate::ring::RingCounters {
        self.nic.totals().rings
    }

    fn pool(&self) -> &FramePool {
        &self.nic.memory.pool
    }

    /// Whether the CPU's sleep would end at once.
    fn is_ready(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
    }

    /// Whether queue 0 has something for its CPU.
    fn pending(&self) -> bool {
        let queues = self.nic.queues.load_full().unwrap();
        queues[0].watch().unwrap().pending()
    }
}

#[derive(Debug, Default)]
struct Calls(AtomicUsize);

impl IrqHandler for Calls {
    fn irq(&self, _: QueueId) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Harness for Fake {
    type Nic = Nic<FakeKernel>;

    fn nic(&self) -> Arc<Nic<FakeKernel>> {
        self.nic.clone()
    }

    fn pool(&self, _: PoolConfig) -> Result<FramePool, PoolError> {
        Ok(self.nic.memory.pool.clone())
    }

    fn inject(&mut self, queue: QueueId, frame: &[u8]) {
        self.world.inject(queue, frame);
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        for packet in self.sent.drain(..) {
            sink(&packet);
        }
    }

    fn step(&mut self) {
        let sent = &mut self.sent;
        self.world.send(QueueId(0), &mut |packet| sent.push(packet));
        self.events.poll();
    }

    fn set_link_up(&mut self, up: bool) -> bool {
        self.world.down.store(!up, Ordering::SeqCst);
        if let Some(changed) = &*self.world.changed.lock().unwrap() {
            changed();
        }
        true
    }

    fn set_tx_stalled(&mut self, stalled: bool) -> bool {
        self.world.stalled.store(stalled, Ordering::SeqCst);
        true
    }

    fn unplug(&mut self) -> bool {
        self.world.gone.store(true, Ordering::SeqCst);
        true
    }
}

/// What AF_XDP gives no NIC, and what there is not to do with one queue.
const LACKS: [&str; 12] = [
    "a change of the station address",
    "receive filters",
    "the wire carries no such frames",
    "the NIC cuts no segments",
    "the NIC handles no VLAN tags",
    "the NIC verifies no checksums",
    "a packet is one frame",
    "the NIC does not tell",
    "there is one queue",
    "the NIC chooses queues itself",
    "the NIC has no such control plane",
    "the NIC does not keep interrupts apart",
];

/// A NIC without room for metadata.
#[track_caller]
fn keeps_the_contract(make: fn() -> Fake) {
    let lacks = [&LACKS[..], &["the NIC fills in no checksums"]].concat();
    conformance::assert_holds(&lacks, make);
}

#[test]
fn a_nic_whose_kernel_waits_to_be_woken_keeps_the_contract() {
    keeps_the_contract(Fake::new);
}

#[test]
fn a_nic_whose_kernel_polls_keeps_the_contract() {
    // "A frame is not sent before the kick" holds as well: frames are gathered.
    keeps_the_contract(Fake::polling);
}

#[test]
fn a_nic_with_room_for_metadata_keeps_the_contract() {
    conformance::assert_holds(&LACKS, Fake::with_metadata);
}

#[test]
fn the_kernel_is_woken_when_it_asks_for_it_and_only_then() {
    let mut fake = Fake::new();
    let mut pair = fake.open(16);
    let post = |pair: &mut PairOf<FakeKernel>, fake: &Fake| {
        let mut frame = fake.pool().alloc().unwrap();
        frame.put(60).unwrap();
        pair.tx.post(frame).unwrap();
        pair.tx.kick();
    };
    post(&mut pair, &fake);
    assert_eq!(fake.counters().tx_wakeups, 1);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    socket.tx.awake_on();
    post(&mut pair, &fake);
    assert_eq!(fake.counters().tx_wakeups, 1, "it is awake");
    fake.step();
    assert_eq!(fake.sent.len(), 2);
    pair.tx.kick();
    assert_eq!(fake.counters().tx_wakeups, 1, "nothing was posted");
}

#[test]
fn a_kernel_that_is_too_busy_is_woken_again_by_the_next_reap() {
    let mut fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    socket.busy.store(true, Ordering::SeqCst);
    let mut frame = fake.pool().alloc().unwrap();
    frame.put(60).unwrap();
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    assert_eq!(fake.counters().tx_busy, 1);
    // The queue asks to be polled, since nothing else would come.
    fake.nic.unmask_irq(QueueId(0));
    assert!(fake.pending());
    socket.busy.store(false, Ordering::SeqCst);
    assert!(pair.tx.reap().is_none());
    fake.step();
    assert_eq!(fake.sent.len(), 1);
    assert!(pair.tx.reap().is_some());
    assert!(!fake.pending());
}

#[test]
fn an_address_that_was_not_posted_is_counted_and_goes_nowhere() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    pair.rx.post(fake.pool().alloc().unwrap()).unwrap();
    pair.rx.kick();
    let wrong = [3 * 2048, 1 << 40, u64::MAX].map(|addr| crate::ring::Descriptor {
        addr,
        len: 60,
        options: 0,
    });
    socket.rx.produce(wrong.into_iter());
    socket.completion.produce(wrong.into_iter());
    assert!(pair.rx.reap().is_none());
    assert!(pair.tx.reap().is_none());
    let counters = fake.counters();
    assert_eq!(counters.rx_bad_descriptors + counters.tx_bad_completions, 6);
    assert_eq!(pair.rx.free_slots(), 15, "the posted one is still out");
    fake.world.inject(QueueId(0), &[7; 60]);
    assert_eq!(pair.rx.reap().unwrap().data(), [7; 60]);
}

#[test]
fn a_length_that_the_chunk_does_not_have_is_counted_and_the_slot_is_free_again() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    let frame = fake.pool().alloc().unwrap();
    let addr = u64::from(frame.index()) * 2048 + HEADROOM;
    pair.rx.post(frame).unwrap();
    pair.rx.kick();
    let long = crate::ring::Descriptor {
        addr,
        len: 1793,
        options: 0,
    };
    socket.rx.produce([long].into_iter());
    assert!(pair.rx.reap().is_none());
    assert_eq!(fake.counters().rx_bad_descriptors, 1);
    assert_eq!(pair.rx.free_slots(), 16);
    assert_eq!(fake.pool().count_free(), CHUNKS as usize);
}

#[test]
fn a_packet_may_start_anywhere_in_its_chunk() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    for headroom in [0, 1, 214, 2048 - 60] {
        let mut frame = fake.pool().alloc().unwrap();
        frame.reset(headroom);
        frame.put(60).unwrap().fill(headroom as u8);
        pair.tx.post(frame).unwrap();
        pair.tx.kick();
        assert_eq!(socket.transmit().unwrap(), [headroom as u8; 60]);
        assert!(pair.tx.reap().is_some());
    }
}

#[test]
fn a_frame_of_another_pool_is_copied_in_and_goes_home_at_once() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    let other = FramePool::new(PoolConfig::default()).unwrap();
    let mut frame = other.alloc().unwrap();
    frame.put(1000).unwrap().fill(9);
    frame.set_cookie(77);
    pair.tx.post(frame).unwrap();
    assert_eq!(other.count_free(), other.frames());
    pair.tx.kick();
    assert_eq!(socket.transmit().unwrap(), [9; 1000]);
    assert_eq!(
        pair.tx.reap().unwrap().cookie(),
        77,
        "what the stack waits for"
    );
    let full = pair.rx.post(other.alloc().unwrap());
    assert!(full.is_err(), "the kernel cannot fill it");
}

#[test]
fn a_checksum_that_is_left_to_the_nic_is_on_the_wire() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    let mut frame = fake.pool().alloc().unwrap();
    frame.put(60).unwrap().fill(0);
    frame.data_mut()[50] = 0x12;
    let (start, offset) = (34, 6);
    frame.set_tx_checksum(Some(TxChecksum { start, offset }));
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    assert_eq!(socket.transmit().unwrap()[40..42], [0xed, 0xff]);
}

/// A frame of zeros whose UDP checksum is left to the NIC.
fn unsummed(pool: &FramePool, headroom: usize) -> Frame {
    let mut frame = pool.alloc().unwrap();
    frame.reset(headroom);
    frame.put(60).unwrap().fill(0);
    frame.data_mut()[50] = 0x12;
    let (start, offset) = (34, 6);
    frame.set_tx_checksum(Some(TxChecksum { start, offset }));
    frame
}

#[test]
fn a_checksum_is_left_to_a_kernel_that_does_it_and_computed_where_it_does_not() {
    for (fake, left) in [(Fake::with_metadata(), 1), (Fake::new(), 0)] {
        assert_eq!(fake.nic.capabilities().tx_checksum, left == 1);
        let mut pair = fake.open(16);
        let socket = fake.world.socket(QueueId(0)).unwrap();
        pair.tx.post(unsummed(fake.pool(), 256)).unwrap();
        pair.tx.kick();
        assert_eq!(socket.transmit().unwrap()[40..42], [0xed, 0xff]);
        let counters = fake.counters();
        let counts = (counters.tx_checksums_left, counters.tx_checksums);
        assert_eq!(counts, (left, 1 - left));
    }
}

#[test]
fn a_packet_that_asks_when_it_left_is_told() {
    let fake = Fake::with_metadata();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    let other = FramePool::new(PoolConfig::default()).unwrap();
    for (now, pool) in [(5_000, fake.pool()), (6_000, &other)] {
        socket.now.store(now, Ordering::SeqCst);
        let mut asks = unsummed(pool, 200);
        asks.set_wants_tx_timestamp(true);
        pair.tx.post(asks).unwrap();
        pair.tx.post(unsummed(fake.pool(), 200)).unwrap();
        pair.tx.kick();
        while socket.transmit().is_some() {}
        assert_eq!(pair.tx.reap().unwrap().timestamp_ns(), Some(now));
        assert_eq!(pair.tx.reap().unwrap().timestamp_ns(), None);
    }
}

#[test]
fn a_kernel_that_stamps_nothing_is_not_asked() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    let mut asks = unsummed(fake.pool(), 256);
    asks.set_wants_tx_timestamp(true);
    pair.tx.post(asks).unwrap();
    pair.tx.kick();
    assert!(socket.transmit().is_some());
    assert_eq!(pair.tx.reap().unwrap().timestamp_ns(), None);
}

/// The fake kernel panics at a packet without room, as Linux refuses it.
#[test]
fn a_packet_without_room_for_metadata_is_copied_to_where_there_is() {
    let fake = Fake::with_metadata();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    for (headroom, copies) in [(METADATA_LEN, 0), (METADATA_LEN - 1, 1), (0, 2)] {
        pair.tx.post(unsummed(fake.pool(), headroom)).unwrap();
        pair.tx.kick();
        assert_eq!(socket.transmit().unwrap()[40..42], [0xed, 0xff]);
        drop(pair.tx.reap().unwrap());
        assert_eq!(fake.counters().tx_copied_in, copies);
    }
}

/// Linux would refuse it again and again, and send nothing after it.
#[test]
fn a_checksum_behind_the_end_of_its_packet_is_refused() {
    for fake in [Fake::with_metadata(), Fake::new()] {
        let mut pair = fake.open(16);
        let mut wild = unsummed(fake.pool(), 256);
        let (start, offset) = (34, 25);
        wild.set_tx_checksum(Some(TxChecksum { start, offset }));
        pair.tx.post(wild).unwrap();
        pair.tx.kick();
        let socket = fake.world.socket(QueueId(0)).unwrap();
        assert!(socket.transmit().is_none());
        assert_eq!(fake.counters().tx_refused, 1);
    }
}

#[test]
fn a_tag_that_is_left_to_the_nic_is_refused() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let mut frame = fake.pool().alloc().unwrap();
    frame.put(60).unwrap();
    frame.set_vlan_tci(Some(7));
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    let socket = fake.world.socket(QueueId(0)).unwrap();
    assert!(socket.transmit().is_none());
    assert_eq!(fake.counters().tx_refused, 1);
    assert_eq!(fake.pool().count_free(), CHUNKS as usize);
}

#[test]
fn a_half_that_is_dropped_keeps_its_frames_until_the_socket_is_closed() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    for _ in 0..4 {
        pair.rx.post(fake.pool().alloc().unwrap()).unwrap();
    }
    pair.rx.kick();
    drop(pair.rx);
    assert!(!socket.fed.load(Ordering::SeqCst));
    assert!(socket.is_open());
    assert_eq!(fake.pool().count_free(), CHUNKS as usize - 4);
    drop(pair.tx);
    assert!(!socket.is_open());
    assert_eq!(fake.pool().count_free(), CHUNKS as usize);
}

#[test]
fn a_socket_that_stays_ready_after_its_interface_is_gone_keeps_no_cpu_awake() {
    let mut fake = Fake::new();
    let _pair = fake.open(16);
    let socket = fake.world.socket(QueueId(0)).unwrap();
    fake.nic.unmask_irq(QueueId(0));
    fake.events.wait(Some(1));
    socket.make_ready();
    assert!(fake.is_ready());
    assert!(fake.unplug() && fake.nic.watchdog(0).gone);
    fake.nic.unmask_irq(QueueId(0));
    fake.events.wait(Some(1));
    assert!(!fake.is_ready());
    fake.nic.unmask_irq(QueueId(0));
    fake.events.wait(Some(1));
    assert!(!fake.is_ready());
}

#[test]
fn packets_that_slow_applications_keep_do_not_starve_the_fill_ring() {
    let fake = Fake::new();
    let mut pair = fake.open(16);
    for _ in 0..16 {
        pair.rx.post(fake.pool().alloc().unwrap()).unwrap();
    }
    pair.rx.kick();
    let _hoard: Vec<_> = std::iter::from_fn(|| fake.pool().alloc()).collect();
    let mut kept = Vec::new();
    for _ in 0..30 {
        fake.world.inject(QueueId(0), &[1; 60]);
        kept.extend(pair.rx.reap());
    }
    let counters = fake.counters();
    // Down to a quarter of the ring as they are, then copied while the side pool has
    // frames, then as they are again.
    assert_eq!(counters.rx_packets, 16 + 8);
    assert_eq!(counters.rx_copied_out, 8);
    assert_eq!(kept.len(), 16 + 8);
}

#[test]
fn operations_in_random_order_lose_and_invent_nothing() {
    let mut fake = Fake::new();
    let mut pair = fake.open(32);
    let (mut random, mut next, mut expected) = (7_u64, 0_u32, std::collections::VecDeque::new());
    let mut posted = std::collections::VecDeque::new();
    for _ in 0..20_000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
        next = next.wrapping_add(1);
        let bytes = [next.to_le_bytes(); 15].concat();
        match (random >> 33) % 6 {
            0 => {
                if let Some(frame) = fake.pool().alloc() {
                    drop(pair.rx.post(frame));
                }
            }
            1 => {
                let socket = fake.world.socket(QueueId(0)).unwrap();
                if socket.deliver(&bytes) {
                    expected.push_back(bytes);
                }
            }
            2 => {
                let got = pair.rx.reap();
                let want = expected.pop_front();
                assert_eq!(got.as_ref().map(|frame| frame.data().to_vec()), want);
            }
            3 => {
                let mut frame = fake.pool().alloc().unwrap();
                frame.put(60).unwrap().copy_from_slice(&bytes);
                if pair.tx.post(frame).is_ok() {
                    posted.push_back(bytes);
                }
            }
            4 => {
                pair.rx.kick();
                pair.tx.kick();
                fake.step();
                for sent in fake.sent.drain(..) {
                    assert_eq!(Some(sent), posted.pop_front());
                }
            }
            _ => drop(pair.tx.reap()),
        }
    }
    assert!(next > 0 && fake.counters().rx_packets > 1000);
    fake.nic.stop().unwrap();
    drop(pair);
    assert_eq!(fake.pool().count_free(), CHUNKS as usize);
}
