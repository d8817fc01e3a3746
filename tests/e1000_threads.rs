//! The e1000 driver and the emulated chip, each on a thread of its own, while
//! the cable is pulled, the NIC is stopped and opened, and at last the card is
//! unplugged.
//!
//! Nothing here is timed. The peer at the other end of the wire sends a window of
//! packets and waits until all are accounted for; the stack waits for interrupts
//! alone. So a wake-up that is lost leaves everybody waiting, which the one who
//! goes to wait last notices.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use softnet_dma_ring::{DmaRing, Frame, FrameBatch, FramePool, PoolConfig};
use softnet_emulated::{
    DeviceThread, E1000 as Chip, E1000Config, Monitor, NowNs, PciBus, PciFunction,
};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use softnet_nic_hal::{
    IrqHandler, MacAddress, NicHal, NicStats, OpenConfig, QueueId, QueuePair, Queues,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Nic = softnet_e1000::E1000<PciFunction>;
type Pair = QueuePair<<Nic as NicHal>::Rx, <Nic as NicHal>::Tx>;

/// Packets that go each way at least.
const PACKETS: u64 = 100_000;
/// Packets of the peer that are under way at most. They fit into the chip's
/// FIFO, so that it has no reason to lose one while it hears them, but not into
/// the ring.
const WINDOW: u64 = 160;
/// Packets that the stack is asked for at a time.
const RETURN: u64 = 160;
/// Polls in a row that find nothing: interrupts for nothing must come to an end.
const IDLE_POLLS: u32 = 10_000;
const RING: u16 = 64;
const FRAMES: u32 = 256;
/// Received packets between two pulls of the cable, and between two openings.
const FLAP_EVERY: u64 = 4_000;
const OPEN_EVERY: u64 = 9_000;

const QUEUE: QueueId = QueueId(0);
const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const HEADER: [u8; 14] = [
    0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
];

/// Marsaglia's xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn packet(number: u64) -> [u8; 60] {
    let mut packet = [0; 60];
    packet[..14].copy_from_slice(&HEADER);
    packet[14..22].copy_from_slice(&number.to_be_bytes());
    packet[52..].copy_from_slice(&(!number).to_be_bytes());
    packet
}

/// The number in a packet, which must be whole.
fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_be_bytes(bytes[14..22].try_into().unwrap());
    assert_eq!(bytes, packet(number), "a packet arrives as it was sent");
    number
}

/// Who can wait.
#[derive(Clone, Copy)]
enum Party {
    Device,
    Stack,
    Hand,
}

#[derive(Default)]
struct State {
    /// Packets that the stack has received, and how many it will have when all
    /// that the peer has sent are accounted for.
    received: u64,
    expected: u64,
    /// How many it will have when the hand acts next.
    hand_at: u64,
    /// The NIC was stopped: what was under way is lost.
    stopped: bool,
    /// Packets that came out of the chip, the number after the last one's, those
    /// that were lost when the NIC was stopped, and how many the stack may post.
    sent: u64,
    next_sent: u64,
    tx_lost: u64,
    quota: u64,
    pulled: bool,
    /// What each party would be woken by has happened.
    signal: [bool; 3],
    waiting: [bool; 3],
    stuck: bool,
    over: bool,
}

/// Everything that the threads tell each other.
#[derive(Default)]
struct World {
    state: Mutex<State>,
    changed: Condvar,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, state: &mut State, party: Party) {
        state.signal[party as usize] = true;
        state.waiting[party as usize] = false;
        self.changed.notify_all();
    }

    /// Waits for the party's signal, and takes it. If all others wait already,
    /// then nobody is left to give it.
    fn wait(&self, party: Party) {
        let at = party as usize;
        let mut state = self.state();
        while !state.signal[at] && !state.over && !state.stuck {
            state.waiting[at] = true;
            if state.waiting == [true; 3] {
                state.stuck = true;
                self.changed.notify_all();
                break;
            }
            state = self.changed.wait(state).unwrap();
        }
        state.signal[at] = false;
        state.waiting[at] = false;
    }

    fn assert_moving(&self) {
        let state = self.state();
        assert!(
            !state.stuck,
            "everybody waits: {} of {} packets received, {} sent",
            state.received, state.expected, state.sent
        );
    }
}

/// Sets the others free when the thread that holds it panics.
struct Alarm(Arc<World>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().stuck = true;
            self.0.changed.notify_all();
        }
    }
}

impl IrqHandler for World {
    fn irq(&self, queue: QueueId) {
        assert_eq!(queue, QUEUE);
        self.signal(&mut self.state(), Party::Stack);
    }
}

impl WireWaker for World {
    fn wake(&self) {
        self.signal(&mut self.state(), Party::Device);
    }
}

/// The peer. In turn it sends a window of packets, asks the stack for some, or
/// does both, and waits until all are accounted for: so at times only one
/// direction can wake anybody.
struct Peer {
    _alarm: Alarm,
    world: Arc<World>,
    monitor: Monitor,
    /// The number of the next packet, and of the first one after the window.
    next: u64,
    end: u64,
    /// Packets that were lost when the NIC was stopped.
    lost: u64,
    turn: u64,
}

impl Peer {
    /// Called between two bursts of the chip, whose counters stand still then.
    fn account(&mut self) {
        let unheard = self.monitor.counters().rx_unheard;
        let world = self.world.clone();
        let mut state = world.state();
        if std::mem::take(&mut state.stopped) {
            self.lost = self.next - unheard - state.received;
        }
        state.expected = self.end - unheard - self.lost;
        let received = self.next == self.end && state.expected == state.received;
        let sent = state.sent + state.tx_lost >= state.quota;
        if received && sent && !state.pulled {
            self.next_turn(&mut state);
        }
    }

    fn next_turn(&mut self, state: &mut State) {
        self.turn += 1;
        let turn = self.turn % 3;
        if turn != 0 {
            self.end += WINDOW;
            state.expected += WINDOW;
        }
        if turn != 1 {
            state.quota += RETURN;
            self.world.signal(state, Party::Stack);
        }
    }
}

impl Wire for Peer {
    fn transmit(&mut self, frame: &[u8], _: u64) -> Result<(), WireError> {
        let number = number(frame);
        let mut state = self.world.state();
        assert!(number >= state.next_sent, "in the order of posting");
        state.next_sent = number + 1;
        state.sent += 1;
        Ok(())
    }

    fn receive(&mut self, _: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.account();
        let take = (self.end - self.next).min(budget as u64);
        for _ in 0..take {
            sink(&packet(self.next));
            self.next += 1;
        }
        take as usize
    }

    fn carrier(&self) -> bool {
        !self.world.state().pulled
    }

    /// A wait that has a limit ends at once: the clock runs when it is read.
    fn wait(&mut self, timeout_ns: Option<u64>) {
        if timeout_ns.is_none() {
            self.world.wait(Party::Device);
        }
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        self.world.clone()
    }
}

/// The stack's side: it owns the rings, and waits for interrupts alone.
struct Stack {
    world: Arc<World>,
    nic: Arc<Nic>,
    pool: FramePool,
    pair: Pair,
    random: Random,
    received: u64,
    next_received: u64,
    posted: u64,
    reaped: u64,
    opened: u64,
    /// Polls in a row that found nothing.
    idle: u32,
}

fn open(nic: &Nic, pool: &FramePool, world: &Arc<World>) -> Pair {
    let config = OpenConfig {
        queues: 1,
        rx_ring: RING,
        tx_ring: RING,
        mtu: 1500,
        ..OpenConfig::new(pool.clone())
    };
    let mut queues: Queues<Nic> = nic.open(&config, world.clone()).unwrap();
    queues.remove(0)
}

impl Stack {
    fn run(mut self) -> Self {
        let _alarm = Alarm(self.world.clone());
        self.refill();
        while !self.world.state().over {
            self.nic.unmask_irq(QUEUE);
            self.world.wait(Party::Stack);
            self.world.assert_moving();
            self.poll();
            if self.received / OPEN_EVERY > self.opened {
                self.opened += 1;
                self.reopen();
            }
        }
        self
    }

    /// What a poll does: until nothing is left, or its budget is.
    fn poll(&mut self) {
        let rounds = 1 + self.random.below(3);
        for _ in 0..rounds {
            let mut batch = FrameBatch::new();
            let budget = 1 + self.random.below(64) as usize;
            let came = self.pair.rx.reap_into(&mut batch, budget);
            for frame in batch.drain(..) {
                let number = number(frame.data());
                assert!(number >= self.next_received, "in the order of arrival");
                self.next_received = number + 1;
            }
            self.refill();
            let sent = self.pair.tx.reap_into(&mut batch, 64);
            drop(batch);
            self.reaped += sent as u64;
            self.idle = if came + sent == 0 { self.idle + 1 } else { 0 };
            assert!(self.idle < IDLE_POLLS, "interrupts for nothing");
            self.post();
            self.publish(came as u64);
        }
    }

    fn refill(&mut self) {
        while self.pair.rx.free_slots() > 0 {
            let Some(frame) = self.pool.alloc() else {
                break;
            };
            self.pair.rx.post(frame).unwrap();
        }
        self.pair.rx.kick();
    }

    fn post(&mut self) {
        let asked = self.world.state().quota - self.posted;
        let want = asked.min(1 + self.random.below(u64::from(RING)));
        for _ in 0..want.min(self.pair.tx.free_slots() as u64) {
            let Some(mut frame) = self.pool.alloc() else {
                break;
            };
            fill(&mut frame, self.posted);
            self.pair.tx.post(frame).unwrap();
            self.posted += 1;
        }
        self.pair.tx.kick();
    }

    fn publish(&mut self, came: u64) {
        self.received += came;
        let mut state = self.world.state();
        state.received += came;
        if came > 0 && state.received >= state.expected {
            self.world.signal(&mut state, Party::Device);
        }
        if state.received >= state.hand_at {
            self.world.signal(&mut state, Party::Hand);
        }
    }

    /// Takes the NIC down and up again; what was under way is lost.
    fn reopen(&mut self) {
        self.nic.mask_irq(QUEUE);
        self.nic.stop().unwrap();
        let left = (self.pair.rx.reap(), self.pair.tx.reap());
        assert!(matches!(left, (None, None)), "a stopped NIC gives nothing");
        let mut state = self.world.state();
        state.stopped = true;
        state.tx_lost = self.posted - state.sent;
        drop(state);
        if !self.world.state().over {
            self.pair = open(&self.nic, &self.pool, &self.world);
            self.refill();
            self.post();
        }
    }
}

fn fill(frame: &mut Frame, number: u64) {
    let bytes = packet(number);
    frame.put(bytes.len()).unwrap().copy_from_slice(&bytes);
}

/// The hand at the cable and at the card.
struct Hand {
    world: Arc<World>,
    nic: Arc<Nic>,
    function: PciFunction,
}

impl Hand {
    fn run(self) {
        let _alarm = Alarm(self.world.clone());
        for flap in 1.. {
            if !self.wait_for(flap * FLAP_EVERY) {
                break;
            }
            self.pull_and_plug();
            let mut stats = NicStats::default();
            self.nic.stats(&mut stats);
            assert_eq!(stats.rx_missed_errors, 0, "the FIFO was long enough");
            assert_eq!(stats.rx_errors, 0);
            let state = self.world.state();
            if state.received >= PACKETS && state.sent >= PACKETS {
                break;
            }
        }
        self.function.unplug();
        self.world.state().over = true;
        self.world.changed.notify_all();
    }

    /// Returns whether the stack has received so many.
    fn wait_for(&self, received: u64) -> bool {
        self.world.state().hand_at = received;
        loop {
            let state = self.world.state();
            if state.received >= received || state.stuck {
                return !state.stuck;
            }
            drop(state);
            self.world.wait(Party::Hand);
        }
    }

    fn pull_and_plug(&self) {
        self.set_pulled(true);
        while self.nic.watchdog(0).link.up {
            std::thread::yield_now();
        }
        self.set_pulled(false);
    }

    fn set_pulled(&self, pulled: bool) {
        let mut state = self.world.state();
        state.pulled = pulled;
        state.hand_at = u64::MAX;
        self.world.signal(&mut state, Party::Device);
    }
}

/// A clock that advances by a microsecond each time it is read.
fn clock() -> NowNs {
    let now = AtomicU64::new(0);
    Arc::new(move || now.fetch_add(1000, Ordering::Relaxed))
}

#[test]
fn traffic_goes_on_over_pulls_and_openings_until_the_card_is_unplugged() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let (function, chip) = Chip::attach(&bus, &E1000Config::new(MAC)).unwrap();
    let nic = Nic::probe(Arc::new(function.clone())).unwrap();
    let pool = FramePool::new(PoolConfig {
        frames: FRAMES,
        ..PoolConfig::default()
    })
    .unwrap();
    let world = Arc::new(World::default());
    let peer = Peer {
        _alarm: Alarm(world.clone()),
        world: world.clone(),
        monitor: chip.monitor(),
        next: 0,
        end: 0,
        lost: 0,
        turn: 0,
    };
    let stack = Stack {
        world: world.clone(),
        pair: open(&nic, &pool, &world),
        nic: nic.clone(),
        pool: pool.clone(),
        random: Random(0x82540),
        received: 0,
        next_received: 0,
        posted: 0,
        reaped: 0,
        opened: 0,
        idle: 0,
    };
    let hand = Hand {
        world: world.clone(),
        nic: nic.clone(),
        function: function.clone(),
    };
    let device = DeviceThread::spawn(Box::new(chip), Box::new(peer), clock()).unwrap();
    let stack = std::thread::scope(|scope| {
        scope.spawn(move || hand.run());
        scope.spawn(move || stack.run()).join()
    });
    let Ok(stack) = stack else {
        panic!("the stack's thread has said why");
    };
    assert!(device.stop().is_some(), "no handler and no wire panicked");
    assert!(nic.watchdog(0).gone);
    assert!(stack.opened >= PACKETS / OPEN_EVERY);
    assert!(stack.reaped <= world.state().sent);
    assert!(world.state().sent <= stack.posted);
    nic.stop().unwrap();
    drop(stack);
    assert_eq!(pool.count_free(), pool.frames(), "all frames are home");
    assert_eq!(function.dma_faults(), 0, "the chip was not sent astray");
}
