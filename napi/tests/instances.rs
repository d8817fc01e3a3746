//! Instances come, go, are disabled, and are let in again: inline.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use softnet_napi::{
    Budget, HasSoftnet, NapiFlags, NapiHandle, NapiPoll, NetRxAction, NetRxConfig, PollOutcome,
    RemoveError, SoftnetCounters, SoftnetData, SoftnetFull, busy_poll,
};
use softnet_softirq::{
    Cpu, CpuId, Idle, Ksoftirqd, KsoftirqdConfig, MonotonicClock, NoWake, ParkIdle, Processor,
    Softirqs, Vector, VirtualClock,
};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Event {
    Poll(&'static str, usize),
    Unmask(&'static str),
    Mask(&'static str),
}

type Log = Arc<std::sync::Mutex<Vec<Event>>>;

type Script = Box<dyn FnMut(&mut Shard, &mut Cpu) + Send>;

/// An instance that tells what happens to it, gives prepared answers (and `Done`
/// after the last), and does what the test says while it is polled.
struct Told {
    name: &'static str,
    log: Log,
    answers: VecDeque<PollOutcome>,
    script: Script,
}

impl NapiPoll<Shard> for Told {
    fn poll(&mut self, cx: &mut Shard, cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        self.log
            .lock()
            .unwrap()
            .push(Event::Poll(self.name, budget.0));
        (self.script)(cx, cpu);
        let done = PollOutcome::Done { packets: 0 };
        self.answers.pop_front().unwrap_or(done)
    }

    fn mask_irq(&self) {
        self.log.lock().unwrap().push(Event::Mask(self.name));
    }

    fn unmask_irq(&self) {
        self.log.lock().unwrap().push(Event::Unmask(self.name));
    }
}

struct Shard {
    softnet: SoftnetData<Self>,
    handles: Vec<NapiHandle>,
}

impl HasSoftnet for Shard {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

struct Bench {
    softirqs: Softirqs<Shard>,
    shard: Shard,
    log: Log,
}

impl Bench {
    fn new(max_instances: u16) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let mut softirqs = Softirqs::new(CpuId(0), clock, Arc::new(NoWake));
        softirqs.open(Box::new(NetRxAction)).unwrap();
        let config = NetRxConfig {
            max_instances,
            ..NetRxConfig::default()
        };
        let softnet = SoftnetData::new(softirqs.handle(), config);
        Self {
            softirqs,
            shard: Shard {
                softnet,
                handles: Vec::new(),
            },
            log: Log::default(),
        }
    }

    fn told(&self, name: &'static str, answers: &[PollOutcome]) -> Told {
        Told {
            name,
            log: self.log.clone(),
            answers: answers.iter().copied().collect(),
            script: Box::new(|_, _| ()),
        }
    }

    fn add(&mut self, name: &'static str, answers: &[PollOutcome]) -> NapiHandle {
        let poller = self.told(name, answers);
        self.add_told(poller)
    }

    fn add_told(&mut self, poller: Told) -> NapiHandle {
        let poller = Box::new(poller);
        self.shard.softnet.add(poller, Budget::WEIGHT).unwrap()
    }

    fn run(&mut self) -> Vec<Event> {
        while self.softirqs.run_once(&mut self.shard).work_left {}
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

#[test]
fn a_scheduled_instance_is_polled_with_its_weight_and_let_in_again_when_done() {
    let mut bench = Bench::new(4);
    let napi = bench.add("a", &[PollOutcome::Done { packets: 3 }]);
    assert_eq!(bench.run(), []);
    napi.schedule();
    assert_eq!(napi.flags(), NapiFlags::LISTED | NapiFlags::SCHED);
    assert_eq!(bench.run(), [Event::Poll("a", 64), Event::Unmask("a")]);
    assert_eq!(napi.flags(), NapiFlags::LISTED);
    assert_eq!(bench.shard.softnet.stat().processed, 3);
}

#[test]
fn an_exhausted_instance_stays_masked_and_is_polled_after_the_others() {
    let mut bench = Bench::new(4);
    let more = PollOutcome::Exhausted { packets: 64 };
    let (a, b) = (bench.add("a", &[more]), bench.add("b", &[]));
    a.schedule();
    b.schedule();
    let expected = [
        Event::Poll("a", 64),
        Event::Poll("b", 64),
        Event::Unmask("b"),
        Event::Poll("a", 64),
        Event::Unmask("a"),
    ];
    assert_eq!(bench.run(), expected);
}

#[test]
fn an_instance_may_be_exhausted_with_fewer_packets_than_its_budget() {
    let mut bench = Bench::new(4);
    let napi = bench.add("a", &[PollOutcome::Exhausted { packets: 1 }]);
    napi.schedule();
    let polls = [
        Event::Poll("a", 64),
        Event::Poll("a", 64),
        Event::Unmask("a"),
    ];
    assert_eq!(bench.run(), polls);
    assert_eq!(bench.shard.softnet.stat().processed, 1);
}

#[test]
fn a_weight_of_zero_is_a_poll_like_any_other() {
    let mut bench = Bench::new(1);
    let poller = bench.told("tx", &[PollOutcome::Done { packets: 0 }]);
    let napi = bench
        .shard
        .softnet
        .add(Box::new(poller), Budget(0))
        .unwrap();
    napi.schedule();
    assert_eq!(bench.run(), [Event::Poll("tx", 0), Event::Unmask("tx")]);
}

#[test]
fn an_interrupt_during_the_poll_leads_to_another_poll_before_the_unmask() {
    let mut bench = Bench::new(4);
    let mut poller = bench.told("a", &[]);
    let mut first = true;
    poller.script = Box::new(move |shard, _| {
        if std::mem::take(&mut first) {
            shard.handles[0].schedule();
        }
    });
    let napi = bench.add_told(poller);
    bench.shard.handles.push(napi.clone());
    napi.schedule();
    let polls = [
        Event::Poll("a", 64),
        Event::Poll("a", 64),
        Event::Unmask("a"),
    ];
    assert_eq!(bench.run(), polls);
}

impl Bench {
    /// A bench that prefers busy polling, with an instance that is busy-polled.
    fn busy() -> (Self, NapiHandle) {
        let mut bench = Self::new(4);
        bench.shard.softnet.set_busy_poll(true);
        let napi = bench.add("a", &[]);
        napi.schedule();
        assert_eq!(bench.run(), [Event::Poll("a", 64)]);
        (bench, napi)
    }

    fn busy_poll(&mut self) -> Vec<Event> {
        let cpu = self.softirqs.cpu_mut();
        assert_eq!(busy_poll(cpu, &mut self.shard), 0);
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

#[test]
fn a_busy_polled_instance_stays_masked_and_is_polled_without_being_scheduled() {
    let (mut bench, napi) = Bench::busy();
    let busy = NapiFlags::LISTED | NapiFlags::SCHED | NapiFlags::IN_BUSY_POLL;
    assert_eq!(napi.flags(), busy);
    assert_eq!(bench.busy_poll(), [Event::Poll("a", 64)]);
    assert_eq!(bench.busy_poll(), [Event::Poll("a", 64)]);
    assert_eq!(bench.run(), []);
    bench.shard.softnet.set_busy_poll(false);
    assert_eq!(bench.run(), [Event::Unmask("a")]);
    assert_eq!(napi.flags(), NapiFlags::LISTED);
    assert_eq!(bench.busy_poll(), []);
}

#[test]
fn an_interrupt_during_busy_polling_is_polled_for_before_the_unmask() {
    let (mut bench, napi) = Bench::busy();
    napi.schedule();
    bench.shard.softnet.rest();
    assert_eq!(bench.run(), [Event::Poll("a", 64)]);
    // It came back, since busy polling is still preferred.
    assert!(napi.flags().contains(NapiFlags::IN_BUSY_POLL));
    bench.shard.softnet.set_busy_poll(false);
    assert_eq!(bench.run(), [Event::Unmask("a")]);
}

#[test]
fn a_busy_polled_instance_that_is_disabled_leaves_and_comes_back_when_enabled() {
    let (mut bench, napi) = Bench::busy();
    napi.disable(|| {
        let cpu = bench.softirqs.cpu_mut();
        assert_eq!(busy_poll(cpu, &mut bench.shard), 0);
    });
    assert_eq!(
        napi.flags(),
        NapiFlags::LISTED | NapiFlags::DISABLE | NapiFlags::MISSED
    );
    assert_eq!(bench.busy_poll(), []);
    napi.enable();
    assert_eq!(bench.run(), [Event::Poll("a", 64)]);
    assert_eq!(bench.busy_poll(), [Event::Poll("a", 64)]);
}

#[test]
fn a_busy_polled_instance_is_removed_masked() {
    let (mut bench, napi) = Bench::busy();
    assert!(bench.shard.softnet.remove(&napi).unwrap().is_some());
    assert_eq!(bench.busy_poll(), [Event::Mask("a")]);
    bench.shard.softnet.set_busy_poll(false);
    assert_eq!(bench.run(), []);
}

#[test]
fn an_instance_that_removes_itself_while_busy_polled_is_told_to_wait() {
    let (mut bench, napi) = Bench::busy();
    bench.shard.handles.push(napi.clone());
    let mut poller = bench.told("b", &[]);
    let mut calls = 0;
    poller.script = Box::new(move |shard, _| {
        calls += 1;
        if calls == 2 {
            let own = shard.handles[1].clone();
            assert_eq!(shard.softnet.remove(&own).err(), Some(RemoveError::Busy));
        }
    });
    let other = bench.add_told(poller);
    bench.shard.handles.push(other.clone());
    other.schedule();
    assert_eq!(bench.run(), [Event::Poll("b", 64)]);
    assert_eq!(
        bench.busy_poll(),
        [Event::Poll("a", 64), Event::Poll("b", 64)]
    );
    assert_eq!(bench.busy_poll(), [Event::Poll("a", 64)]);
    assert!(other.is_disabled());
    assert!(bench.shard.softnet.remove(&other).is_ok());
}

#[test]
fn an_interrupt_while_disabled_is_polled_for_when_enabled() {
    let mut bench = Bench::new(4);
    let napi = bench.add("a", &[]);
    napi.disable(|| unreachable!("it is at rest"));
    napi.schedule();
    assert_eq!(bench.run(), []);
    napi.enable();
    assert_eq!(napi.flags(), NapiFlags::LISTED | NapiFlags::SCHED);
    assert_eq!(bench.run(), [Event::Poll("a", 64), Event::Unmask("a")]);
    napi.disable(|| unreachable!("it is at rest"));
    napi.enable();
    assert_eq!(bench.run(), []);
}

#[test]
fn an_instance_disabled_on_the_list_is_not_polled_until_enabled() {
    let mut bench = Bench::new(4);
    let napi = bench.add("a", &[]);
    napi.schedule();
    napi.disable(|| assert!(!bench.softirqs.run_once(&mut bench.shard).work_left));
    assert_eq!(bench.run(), []);
    napi.enable();
    assert_eq!(bench.run(), [Event::Poll("a", 64), Event::Unmask("a")]);
}

#[test]
fn an_instance_disabled_by_its_own_poll_stays_masked_until_enabled() {
    let mut bench = Bench::new(4);
    let mut poller = bench.told("a", &[]);
    let mut first = true;
    poller.script = Box::new(move |shard, _| {
        if std::mem::take(&mut first) {
            shard.handles[0].begin_disable();
            assert!(!shard.handles[0].is_disabled());
        }
    });
    let napi = bench.add_told(poller);
    bench.shard.handles.push(napi.clone());
    napi.schedule();
    assert_eq!(bench.run(), [Event::Poll("a", 64)]);
    assert!(napi.is_disabled());
    napi.enable();
    assert_eq!(bench.run(), [Event::Poll("a", 64), Event::Unmask("a")]);
}

#[test]
fn a_removed_instance_comes_back_masked_and_its_handles_are_dead() {
    let mut bench = Bench::new(1);
    let old = bench.add("old", &[]);
    old.schedule();
    assert!(bench.shard.softnet.remove(&old).unwrap().is_some());
    assert_eq!(bench.run(), [Event::Mask("old")]);
    let new = bench.add("new", &[]);
    assert_eq!(old.id(), new.id());
    old.schedule();
    old.enable();
    old.schedule();
    assert_eq!(bench.run(), []);
    assert_eq!(
        bench.shard.softnet.remove(&old).err(),
        Some(RemoveError::Unknown)
    );
    new.schedule();
    assert_eq!(bench.run(), [Event::Poll("new", 64), Event::Unmask("new")]);
}

#[test]
fn an_exhausted_instance_can_be_removed_between_its_polls() {
    let mut bench = Bench::new(2);
    let more = [PollOutcome::Exhausted { packets: 64 }; 3];
    let greedy = bench.add("greedy", &more);
    let mut poller = bench.told("other", &[]);
    poller.script = Box::new(|shard, _| {
        let greedy = shard.handles[0].clone();
        assert!(shard.softnet.remove(&greedy).unwrap().is_some());
    });
    let other = bench.add_told(poller);
    bench.shard.handles.push(greedy.clone());
    greedy.schedule();
    other.schedule();
    let expected = [
        Event::Poll("greedy", 64),
        Event::Poll("other", 64),
        Event::Mask("greedy"),
        Event::Unmask("other"),
    ];
    assert_eq!(bench.run(), expected);
}

#[test]
fn a_poller_cannot_remove_itself_while_it_is_polled_but_is_disabled_by_it() {
    let mut bench = Bench::new(1);
    let mut poller = bench.told("a", &[]);
    poller.script = Box::new(|shard, _| {
        let own = shard.handles[0].clone();
        let busy = shard.softnet.remove(&own).err();
        assert_eq!(busy, Some(RemoveError::Busy));
    });
    let napi = bench.add_told(poller);
    bench.shard.handles.push(napi.clone());
    napi.schedule();
    assert_eq!(bench.run(), [Event::Poll("a", 64)]);
    assert!(bench.shard.softnet.remove(&napi).unwrap().is_some());
    assert_eq!(bench.shard.softnet.instances(), 0);
}

#[test]
fn a_poller_can_add_instances_which_are_polled_in_the_same_pass() {
    let mut bench = Bench::new(2);
    let mut poller = bench.told("a", &[]);
    let mut second = Some(bench.told("b", &[]));
    poller.script = Box::new(move |shard, _| {
        if let Some(poller) = second.take() {
            let added = shard.softnet.add(Box::new(poller), Budget(8)).unwrap();
            added.schedule();
        }
    });
    bench.add_told(poller).schedule();
    let expected = [
        Event::Poll("a", 64),
        Event::Unmask("a"),
        Event::Poll("b", 8),
        Event::Unmask("b"),
    ];
    assert_eq!(bench.run(), expected);
}

#[test]
fn an_interrupt_before_the_poller_is_installed_is_polled_for_afterwards() {
    let mut bench = Bench::new(1);
    let napi = bench.shard.softnet.reserve(Budget(16)).unwrap();
    napi.schedule();
    assert_eq!(bench.run(), []);
    // Enabling it too early does no harm.
    napi.enable();
    assert_eq!(bench.run(), []);
    let poller = Box::new(bench.told("late", &[]));
    assert!(bench.shard.softnet.install(&napi, poller).is_ok());
    assert_eq!(
        bench.run(),
        [Event::Poll("late", 16), Event::Unmask("late")]
    );
    let second = Box::new(bench.told("second", &[]));
    assert!(bench.shard.softnet.install(&napi, second).is_err());
}

#[test]
fn a_cpu_that_is_full_refuses_a_further_instance() {
    let mut bench = Bench::new(1);
    let _first = bench.add("a", &[]);
    let second = Box::new(bench.told("b", &[]));
    let refused = bench.shard.softnet.add(second, Budget::WEIGHT);
    assert_eq!(refused.err(), Some(SoftnetFull { max_instances: 1 }));
}

#[test]
fn a_run_that_stops_at_its_budget_counts_a_squeeze_and_goes_on_in_the_next() {
    let mut bench = Bench::new(16);
    let more = PollOutcome::Exhausted { packets: 64 };
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.add(name, &[more]).schedule();
    }
    // Five times 64 is above 300; the sixth waits for the next run.
    let events = bench.run();
    let polls = events.iter().filter_map(|event| match event {
        Event::Poll(name, _) => Some(*name),
        _ => None,
    });
    assert_eq!(polls.collect::<String>(), "abcdefabcdef");
    assert_eq!(bench.shard.softnet.stat().time_squeeze, 1);
}

#[test]
fn counters_read_as_softnet_stat_shows_them() {
    let counters = SoftnetCounters::default();
    counters.processed.add(0x1_0000_0016);
    counters.time_squeeze.add(2);
    counters.received_rps.add(0xab);
    let mut stat = counters.snapshot(CpuId(1));
    stat.input_qlen = 3;
    stat.process_qlen = 4;
    assert_eq!(
        stat.to_string(),
        "00000016 00000000 00000002 00000000 00000000 00000000 00000000 00000000 \
         00000000 000000ab 00000000 00000007 00000001 00000003 00000004"
    );
}

/// A queue that other threads fill, on a CPU with a thread.
struct Shared(Arc<AtomicU64>, std::sync::mpsc::Sender<u64>);

struct Threaded {
    softnet: SoftnetData<Self>,
    taken: u64,
}

impl HasSoftnet for Threaded {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

impl NapiPoll<Threaded> for Shared {
    fn poll(&mut self, cx: &mut Threaded, _cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        let limit = budget.0 as u64;
        let take = |there: u64| Some(there.saturating_sub(limit));
        let there = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let packets = there.unwrap().min(limit);
        cx.taken += packets;
        self.1.send(cx.taken).unwrap();
        PollOutcome::from_packets(packets as usize, budget)
    }

    fn mask_irq(&self) {}

    fn unmask_irq(&self) {}
}

/// A CPU thread with one such queue.
fn threaded() -> (
    Ksoftirqd<u64>,
    NapiHandle,
    Arc<AtomicU64>,
    std::sync::mpsc::Receiver<u64>,
) {
    let queue = Arc::new(AtomicU64::new(0));
    let (report, reports) = channel();
    let (give, given) = channel();
    let shared = Shared(Arc::clone(&queue), report);
    let setup = move || {
        let idle = ParkIdle::new();
        let clock = Arc::new(MonotonicClock::new());
        let mut softirqs = Softirqs::new(CpuId(0), clock, idle.waker());
        softirqs.open(Box::new(NetRxAction)).unwrap();
        let mut softnet = SoftnetData::new(softirqs.handle(), NetRxConfig::default());
        let napi = softnet.add(Box::new(shared), Budget::WEIGHT).unwrap();
        give.send(napi).unwrap();
        let context = Threaded { softnet, taken: 0 };
        Ok::<_, Infallible>(Processor {
            softirqs,
            context,
            idle,
        })
    };
    let config = KsoftirqdConfig::default();
    let thread = Ksoftirqd::spawn(config, setup, |processor| processor.context.taken).unwrap();
    (thread, given.recv().unwrap(), queue, reports)
}

#[test]
fn interrupts_from_four_threads_lose_no_packet() {
    let (thread, napi, queue, reports) = threaded();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    queue.fetch_add(1, Ordering::Relaxed);
                    napi.schedule();
                }
            });
        }
    });
    assert!(reports.iter().any(|taken| taken == 40_000));
    assert_eq!(thread.join().unwrap(), 40_000);
}

#[test]
fn disabling_from_another_thread_while_interrupts_pour_in_stops_the_polls() {
    let (thread, napi, queue, reports) = threaded();
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while rounds.load(Ordering::Relaxed) < 100 {
                queue.fetch_add(1, Ordering::Relaxed);
                napi.schedule();
            }
        });
        for _ in 0..100 {
            napi.disable(std::thread::yield_now);
            while reports.try_recv().is_ok() {}
            std::thread::yield_now();
            assert!(reports.try_recv().is_err(), "polled while disabled");
            napi.enable();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    queue.fetch_add(1, Ordering::Relaxed);
    napi.schedule();
    let rest = thread.cpu().clone();
    while queue.load(Ordering::Relaxed) > 0 {
        std::thread::yield_now();
    }
    assert!(rest.stats().vector(Vector::NetRx) > 0);
    thread.join().unwrap();
}
