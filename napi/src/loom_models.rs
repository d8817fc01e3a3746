//! Races of the whole way from an interrupt to the poll, and of the state word
//! alone. Each was seen to fail by a mutation:
//!
//! - *an interrupt during complete*: `schedule` does not set `MISSED`.
//! - *a poll sees what was written before its request*: `schedule` or `complete`
//!   is Relaxed.
//! - *two interrupts claim once*: `schedule` is a load and a store.
//! - *disable against a poll*: `is_disabled` asks for `DISABLE` alone, or loads
//!   Relaxed, or `complete` is Acquire only or clears `SCHED` also when `MISSED`
//!   is set; `begin_poll` does not ask for `DISABLE`.
//! - *two pushes and a take*: `push` of the poll list is a load and a store, or
//!   Relaxed, or `take` is Relaxed; `take` is a load and a store of 0.
//! - *an interrupt while disabled*: `schedule` does not set `MISSED` on a disabled
//!   instance, or `enable` only clears `DISABLE`.
//! - *retire against enable*: `enable` does not ask for `LISTED`.

use crate::sync::{AtomicU32, Ordering};
use crate::{
    Budget, Completion, HasSoftnet, NapiHandle, NapiPoll, NapiState, NetRxAction, NetRxConfig,
    PollOutcome, Schedule, SoftnetData,
};
use alloc::boxed::Box;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use softnet_softirq::{Cpu, CpuId, Idle, Softirqs, VirtualClock, Wake};

/// A CPU that parks on loom's threads.
struct Park(thread::Thread);

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

impl Idle for Park {
    fn waker(&self) -> alloc::sync::Arc<dyn Wake> {
        alloc::sync::Arc::new(Unpark(self.0.clone()))
    }

    fn wait(&mut self, _timeout_ns: Option<u64>) {
        thread::park();
    }
}

/// A device with as many completions as its word says.
type Device = Arc<AtomicU32>;

struct Queue(Device);

impl NapiPoll<Shard> for Queue {
    fn poll(&mut self, cx: &mut Shard, _cpu: &mut Cpu, _budget: Budget) -> PollOutcome {
        // Relaxed: it is the state word's business that this sees the interrupt's
        // writes.
        let packets = self.0.load(Ordering::Relaxed);
        self.0.fetch_sub(packets, Ordering::Relaxed);
        cx.taken += packets;
        PollOutcome::Done {
            packets: packets as usize,
        }
    }

    fn mask_irq(&self) {}

    fn unmask_irq(&self) {}
}

struct Shard {
    softnet: SoftnetData<Self>,
    taken: u32,
}

impl HasSoftnet for Shard {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

/// One CPU with two instances; the calling thread is the CPU.
struct Bench {
    softirqs: Softirqs<Shard>,
    shard: Shard,
    idle: Park,
    queues: [(Device, NapiHandle); 2],
}

impl Bench {
    fn new() -> Self {
        let idle = Park(thread::current());
        let clock = alloc::sync::Arc::new(VirtualClock::default());
        let mut softirqs = Softirqs::new(CpuId(0), clock, idle.waker());
        softirqs.open(Box::new(NetRxAction)).unwrap();
        let config = NetRxConfig {
            max_instances: 2,
            ..NetRxConfig::default()
        };
        let mut softnet = SoftnetData::new(softirqs.handle(), config);
        let queues = core::array::from_fn(|_| {
            let device = Device::new(AtomicU32::new(0));
            let queue = Box::new(Queue(Arc::clone(&device)));
            let napi = softnet.add(queue, Budget::WEIGHT).unwrap();
            (device, napi)
        });
        Self {
            softirqs,
            shard: Shard { softnet, taken: 0 },
            idle,
            queues,
        }
    }

    /// A thread that delivers interrupts of a queue, each with one completion.
    fn interrupts(&self, queue: usize, count: u32) -> thread::JoinHandle<()> {
        let (device, napi) = self.queues[queue].clone();
        thread::spawn(move || {
            for _ in 0..count {
                device.fetch_add(1, Ordering::Relaxed);
                napi.schedule();
            }
        })
    }

    /// The CPU's loop. An interrupt that is lost leaves it asleep for ever, which
    /// loom reports.
    fn run_until_taken(&mut self, packets: u32) {
        loop {
            let progress = self.softirqs.run_once(&mut self.shard);
            if self.shard.taken == packets {
                return;
            }
            if !progress.ran {
                self.softirqs.cpu_mut().sleep(&mut self.idle);
            }
        }
    }
}

#[test]
fn an_interrupt_during_complete_is_polled_for() {
    loom::model(|| {
        let mut bench = Bench::new();
        let interrupts = bench.interrupts(0, 2);
        bench.run_until_taken(2);
        interrupts.join().unwrap();
    });
}

#[test]
fn interrupts_on_two_threads_are_both_polled_for() {
    loom::model(|| {
        let mut bench = Bench::new();
        let threads = [bench.interrupts(0, 1), bench.interrupts(0, 1)];
        bench.run_until_taken(2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn two_instances_that_are_pushed_at_once_are_both_polled() {
    loom::model(|| {
        let mut bench = Bench::new();
        let threads = [bench.interrupts(0, 2), bench.interrupts(1, 1)];
        bench.run_until_taken(3);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn an_interrupt_while_disabled_is_polled_for_after_enable() {
    loom::model(|| {
        let mut bench = Bench::new();
        let interrupts = bench.interrupts(0, 1);
        bench.queues[0].1.begin_disable();
        let before = bench.shard.taken;
        let _ = bench.softirqs.run_once(&mut bench.shard);
        assert_eq!(bench.shard.taken, before);
        bench.queues[0].1.enable();
        bench.run_until_taken(1);
        interrupts.join().unwrap();
    });
}

fn enabled() -> NapiState {
    let state = NapiState::new();
    assert_eq!(state.enable(), Schedule::Noted);
    state
}

#[test]
fn of_two_interrupts_one_claims_and_the_other_is_noted() {
    loom::model(|| {
        let state = Arc::new(enabled());
        let other = thread::spawn({
            let state = Arc::clone(&state);
            move || state.schedule()
        });
        let one = state.schedule();
        assert_ne!(one, other.join().unwrap());
        assert_eq!(state.complete(), Completion::Missed);
        assert_eq!(state.complete(), Completion::Complete);
    });
}

#[test]
fn disable_waits_for_the_poll_and_no_poll_begins_after_it() {
    loom::model(|| {
        let state = Arc::new(enabled());
        // What the poll uses; loom fails when two use it at once.
        let rings = Arc::new(UnsafeCell::new(()));
        assert_eq!(state.schedule(), Schedule::Claimed);
        let cpu = thread::spawn({
            let (state, rings) = (Arc::clone(&state), Arc::clone(&rings));
            move || {
                let mut interrupts = 1;
                while state.begin_poll() {
                    rings.with_mut(|_| ());
                    if interrupts > 0 {
                        assert_eq!(state.schedule(), Schedule::Noted);
                        interrupts -= 1;
                    }
                    if state.complete() != Completion::Missed {
                        break;
                    }
                }
                // An interrupt afterwards, and its poll.
                if state.schedule() == Schedule::Claimed && state.begin_poll() {
                    rings.with_mut(|_| ());
                    let _ = state.complete();
                }
            }
        });
        state.disable();
        while !state.is_disabled() {
            thread::yield_now();
        }
        rings.with_mut(|_| ());
        cpu.join().unwrap();
    });
}

#[test]
fn a_retired_instance_is_not_scheduled_nor_enabled_by_anybody() {
    loom::model(|| {
        let state = Arc::new(enabled());
        state.disable();
        let late = thread::spawn({
            let state = Arc::clone(&state);
            move || (state.schedule(), state.enable())
        });
        let retired = state.retire();
        let (scheduled, enabled) = late.join().unwrap();
        if retired {
            assert_eq!(scheduled, Schedule::Noted);
            assert_eq!(enabled, Schedule::Noted);
            assert_eq!(state.schedule(), Schedule::Noted);
        }
    });
}
