//! Interrupts that are deferred: on a virtual clock, inline.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use softnet_napi::{
    Budget, Deferral, HasSoftnet, NapiHandle, NapiPoll, NetRxAction, NetRxConfig, PollOutcome,
    SoftnetData,
};
use softnet_softirq::{Cpu, CpuId, NoWake, SoftIrq, Softirqs, Vector, VirtualClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TIMEOUT_NS: u64 = 20_000;

/// What an instance has seen, and what it finds when it is polled.
#[derive(Default)]
struct Queue {
    waiting: AtomicUsize,
    polls: AtomicUsize,
    unmasks: AtomicUsize,
}

struct Poller(Arc<Queue>);

impl NapiPoll<Shard> for Poller {
    fn poll(&mut self, _: &mut Shard, _: &mut Cpu, budget: Budget) -> PollOutcome {
        self.0.polls.fetch_add(1, Ordering::Relaxed);
        let packets = self.0.waiting.swap(0, Ordering::Relaxed);
        PollOutcome::from_packets(packets, budget)
    }

    fn mask_irq(&self) {}

    fn unmask_irq(&self) {
        self.0.unmasks.fetch_add(1, Ordering::Relaxed);
    }
}

struct Shard {
    softnet: SoftnetData<Self>,
}

impl HasSoftnet for Shard {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

/// The TIMER softirq, as a stack has it.
struct Timer;

impl SoftIrq<Shard> for Timer {
    fn vector(&self) -> Vector {
        Vector::Timer
    }

    fn run(&mut self, cpu: &mut Cpu, shard: &mut Shard) {
        if let Some(due_ns) = shard.softnet.poll_deferred(cpu.now_ns()) {
            cpu.program_timer(due_ns);
        }
    }
}

struct Bench {
    clock: Arc<VirtualClock>,
    softirqs: Softirqs<Shard>,
    shard: Shard,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        let mut softirqs = Softirqs::new(CpuId(0), clock.clone(), Arc::new(NoWake));
        softirqs.open(Box::new(NetRxAction)).unwrap();
        softirqs.open(Box::new(Timer)).unwrap();
        let softnet = SoftnetData::new(softirqs.handle(), NetRxConfig::default());
        Self {
            clock,
            softirqs,
            shard: Shard { softnet },
        }
    }

    fn add(&mut self, hard_irqs: u32) -> (Arc<Queue>, NapiHandle) {
        let queue = Arc::new(Queue::default());
        let poller = Box::new(Poller(queue.clone()));
        let napi = self.shard.softnet.add(poller, Budget::WEIGHT).unwrap();
        let how = Deferral {
            hard_irqs,
            timeout_ns: TIMEOUT_NS,
        };
        assert!(self.shard.softnet.set_deferral(&napi, how));
        (queue, napi)
    }

    fn run(&mut self) {
        while self.softirqs.run_once(&mut self.shard).work_left {}
    }

    /// Lets one timeout pass.
    fn wait(&mut self) {
        self.clock.advance(TIMEOUT_NS);
        self.run();
    }
}

/// An interrupt for so many packets.
fn interrupt(queue: &Queue, napi: &NapiHandle, packets: usize) {
    queue.waiting.store(packets, Ordering::Relaxed);
    napi.schedule();
}

fn seen(queue: &Queue) -> (usize, usize) {
    let polls = queue.polls.load(Ordering::Relaxed);
    (polls, queue.unmasks.load(Ordering::Relaxed))
}

#[test]
fn a_poll_that_found_packets_is_followed_by_another_after_the_timeout() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(1);
    interrupt(&queue, &napi, 3);
    bench.run();
    assert_eq!(seen(&queue), (1, 0));
    bench.clock.advance(TIMEOUT_NS - 1);
    bench.run();
    assert_eq!(seen(&queue), (1, 0), "polled before the timeout");
    bench.clock.advance(1);
    bench.run();
    assert_eq!(seen(&queue), (2, 1));
}

#[test]
fn the_interrupt_is_let_in_after_as_many_empty_polls_as_were_asked_for() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(3);
    interrupt(&queue, &napi, 1);
    bench.run();
    for polls in 2..4 {
        bench.wait();
        assert_eq!(seen(&queue), (polls, 0));
    }
    bench.wait();
    assert_eq!(seen(&queue), (4, 1));
    bench.wait();
    assert_eq!(seen(&queue), (4, 1), "a timer is left over");
}

#[test]
fn packets_that_keep_coming_keep_the_interrupt_out() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(2);
    interrupt(&queue, &napi, 1);
    bench.run();
    for _ in 0..10 {
        queue.waiting.store(5, Ordering::Relaxed);
        bench.wait();
    }
    assert_eq!(seen(&queue), (11, 0));
    assert_eq!(bench.shard.softnet.stat().processed, 51);
}

#[test]
fn a_poll_that_found_nothing_lets_the_interrupt_in_at_once() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(2);
    interrupt(&queue, &napi, 0);
    bench.run();
    assert_eq!(seen(&queue), (1, 1));
}

#[test]
fn an_instance_that_is_disabled_meanwhile_is_polled_when_it_is_enabled() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(1);
    interrupt(&queue, &napi, 1);
    bench.run();
    napi.begin_disable();
    bench.wait();
    assert_eq!(seen(&queue), (1, 0));
    napi.enable();
    bench.run();
    assert_eq!(seen(&queue), (2, 1));
}

#[test]
fn an_instance_that_is_removed_leaves_no_timer_to_its_place() {
    let mut bench = Bench::new();
    let (queue, napi) = bench.add(1);
    interrupt(&queue, &napi, 1);
    bench.run();
    bench.shard.softnet.remove(&napi).unwrap();
    let (next, _) = bench.add(1);
    bench.wait();
    assert_eq!(seen(&queue), (1, 0));
    assert_eq!(seen(&next), (0, 0));
}

#[test]
fn each_of_several_is_polled_at_its_own_time() {
    let mut bench = Bench::new();
    let (first, early) = bench.add(1);
    let (second, late) = bench.add(1);
    interrupt(&first, &early, 1);
    bench.run();
    bench.clock.advance(TIMEOUT_NS / 2);
    interrupt(&second, &late, 1);
    bench.run();
    bench.clock.advance(TIMEOUT_NS / 2);
    bench.run();
    assert_eq!((seen(&first), seen(&second)), ((2, 1), (1, 0)));
    bench.clock.advance(TIMEOUT_NS / 2);
    bench.run();
    assert_eq!(seen(&second), (2, 1));
}
