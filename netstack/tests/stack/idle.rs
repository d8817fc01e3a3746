//! CPUs that get their interrupts and sleep at a place of the embedder's.

use super::host::{Host, QUEUE, SECOND, datagram, peer};
use core::net::IpAddr;
use softnet_dma_ring::{FramePool, PoolConfig};
use softnet_netstack::{NicOptions, Stack, StackConfig, StackParts, ThreadOptions, UdpOptions};
use softnet_nic_hal::testing::{LoopConfig, LoopNic, LoopPort};
use softnet_softirq::{Clock, Idle, MonotonicClock, VirtualClock, Wake};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a place has been asked for, and the wake-up that it waits for.
#[derive(Default)]
struct Seen {
    polls: AtomicUsize,
    waits: AtomicUsize,
    woken: Mutex<bool>,
    changed: Condvar,
}

struct Place(Arc<Seen>);

struct Waker(Arc<Seen>);

impl Wake for Waker {
    fn wake(&self) {
        *self.0.woken.lock().unwrap() = true;
        self.0.changed.notify_all();
    }
}

impl Idle for Place {
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Waker(self.0.clone()))
    }

    fn poll(&mut self) {
        self.0.polls.fetch_add(1, Ordering::SeqCst);
    }

    /// Nothing ends it but a wake-up.
    fn wait(&mut self, _timeout_ns: Option<u64>) {
        self.0.waits.fetch_add(1, Ordering::SeqCst);
        let woken = self.0.woken.lock().unwrap();
        *self.0.changed.wait_while(woken, |woken| !*woken).unwrap() = false;
    }
}

fn stack(cpus: usize, clock: &Arc<dyn Clock>) -> (Stack, LoopPort, Vec<Arc<Seen>>) {
    let config = StackConfig {
        cpus,
        ..StackConfig::default()
    };
    let mut seen: Vec<Arc<Seen>> = Vec::new();
    let mut idle = |cpu: usize| -> Box<dyn Idle + Send> {
        assert_eq!(cpu, seen.len());
        seen.push(Arc::default());
        Box::new(Place(seen[cpu].clone()))
    };
    let parts = StackParts {
        idle: Some(&mut idle),
        ..StackParts::default()
    };
    let mut stack = Stack::with_parts(&config, clock, parts).unwrap();
    let (nic, port) = LoopNic::new(LoopConfig::default());
    let dev = stack.add_nic(nic, &NicOptions::default()).unwrap();
    let ours = IpAddr::V4(super::host::OURS);
    stack.add_address(dev, ours, 24).unwrap();
    (stack, port, seen)
}

#[test]
fn each_pass_asks_each_cpus_place_for_interrupts_once() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(SECOND));
    let (mut stack, _port, seen) = stack(2, &clock);
    for _ in 0..3 {
        stack.run_once();
    }
    for place in seen {
        assert_eq!(place.polls.load(Ordering::SeqCst), 3);
        assert_eq!(place.waits.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_cpus_thread_sleeps_at_its_place_and_is_woken_there() {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let (mut stack, mut port, seen) = stack(2, &clock);
    let options = UdpOptions::default();
    let ours = (super::host::OURS, 7).into();
    let mut socket = stack.udp_bind(ours, &options).unwrap();
    stack.start(&ThreadOptions::default()).unwrap();
    for place in &seen {
        // With nothing to do, a CPU gets there.
        while place.waits.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
    for round in 0..50 {
        port.inject(QUEUE, &datagram(4000 + round, 7, b"x"));
        let got = socket.recv(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(got.from(), peer(4000 + round));
    }
    stack.stop().unwrap();
    // The places have come back with the CPUs.
    let before = seen[1].polls.load(Ordering::SeqCst);
    stack.run_once();
    assert_eq!(seen[1].polls.load(Ordering::SeqCst), before + 1);
}

#[test]
fn an_inline_stack_sleeps_until_the_first_timer_of_all_cpus() {
    for cpus in [1, 3] {
        let mut host = Host::new(cpus);
        let due_ns = host.stack.run_until_idle().unwrap() - SECOND;
        let mut asked = Vec::new();
        host.stack.sleep(None, |ns| asked.push(ns));
        host.stack.sleep(Some(due_ns - 1), |ns| asked.push(ns));
        host.stack.sleep(Some(due_ns + 1), |ns| asked.push(ns));
        let expected = [due_ns, due_ns - 1, due_ns].map(Some);
        assert_eq!(asked, expected, "{cpus} CPUs");
    }
}

#[test]
fn an_inline_stack_with_something_to_do_does_not_sleep() {
    let mut host = Host::new(2);
    let mut socket = host.bind(7);
    host.port.inject(QUEUE, &datagram(4000, 7, b"x"));
    host.stack.sleep(None, |_| panic!("a packet waits"));
    host.stack.run_until_idle();
    assert_eq!(socket.try_recv().unwrap().from(), peer(4000));
    let mut slept = 0;
    host.stack.sleep(None, |_| slept += 1);
    assert_eq!(slept, 1);
}

#[test]
fn an_inline_stack_of_one_cpu_sleeps_at_the_cpus_own_place() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(SECOND));
    let (mut stack, mut port, seen) = stack(1, &clock);
    stack.run_until_idle();
    let waker = Waker(seen[0].clone());
    waker.wake();
    stack.sleep(Some(1), |_| panic!("it has a place of its own"));
    assert_eq!(seen[0].waits.load(Ordering::SeqCst), 1);
    // With a packet there it does not go to sleep.
    port.inject(QUEUE, &datagram(4000, 7, b"x"));
    stack.sleep(Some(1), |_| panic!("a packet waits"));
    assert_eq!(seen[0].waits.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stack_on_a_pool_of_the_embedders_takes_its_frames_from_there() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(SECOND));
    let shape = PoolConfig {
        frames: 64,
        headroom: 256,
        ..PoolConfig::default()
    };
    let pool = FramePool::new(shape).unwrap();
    let config = StackConfig {
        frame_cache: 8,
        ..StackConfig::default()
    };
    let parts = StackParts {
        pool: Some(pool.clone()),
        ..StackParts::default()
    };
    let mut stack = Stack::with_parts(&config, &clock, parts).unwrap();
    let (nic, _port) = LoopNic::new(LoopConfig::default());
    stack.add_nic(nic, &NicOptions::default()).unwrap();
    assert!(pool.count_free() < 64);
    assert_eq!((stack.pool().frames(), stack.pool().headroom()), (64, 256));
    drop(stack);
    assert_eq!(pool.count_free(), 64);
}
