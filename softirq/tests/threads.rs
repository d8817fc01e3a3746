#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]
//! CPUs with threads of their own. Nothing here waits for time to pass.

use softnet_softirq::{
    Cpu, CpuId, Idle, Ksoftirqd, KsoftirqdConfig, MonotonicClock, ParkIdle, Processor, SoftIrq,
    Softirqs, SpawnError, Vector, Wake,
};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

struct Handler<F>(Vector, F);

impl<C, F: FnMut(&mut Cpu, &mut C) + Send> SoftIrq<C> for Handler<F> {
    fn vector(&self) -> Vector {
        self.0
    }

    fn run(&mut self, cpu: &mut Cpu, cx: &mut C) {
        (self.1)(cpu, cx);
    }
}

fn processor<C>(context: C, actions: Vec<Box<dyn SoftIrq<C>>>) -> Processor<C, ParkIdle> {
    let idle = ParkIdle::new();
    let clock = Arc::new(MonotonicClock::new());
    let mut softirqs = Softirqs::new(CpuId(0), clock, idle.waker());
    for action in actions {
        softirqs.open(action).unwrap();
    }
    Processor {
        softirqs,
        context,
        idle,
    }
}

/// A CPU whose NET_RX counts and reports.
fn counting(config: KsoftirqdConfig) -> (Ksoftirqd<u64>, Receiver<u64>) {
    let (report, reports) = channel();
    let setup = move || {
        let count = Handler(Vector::NetRx, move |_: &mut Cpu, runs: &mut u64| {
            *runs += 1;
            report.send(*runs).unwrap();
        });
        Ok::<_, Infallible>(processor(0, vec![Box::new(count)]))
    };
    let thread = Ksoftirqd::spawn(config, setup, |processor| processor.context).unwrap();
    (thread, reports)
}

#[test]
fn a_raise_from_another_thread_runs_on_a_sleeping_cpu_each_time() {
    let (thread, reports) = counting(KsoftirqdConfig::default());
    for run in 1..=1000 {
        thread.cpu().raise(Vector::NetRx);
        assert_eq!(reports.recv(), Ok(run));
    }
    assert_eq!(thread.join().unwrap(), 1000);
}

#[test]
fn a_cpu_that_spins_before_it_sleeps_serves_raises_too() {
    let config = KsoftirqdConfig {
        spin_ns: 20_000,
        ..KsoftirqdConfig::default()
    };
    let (thread, reports) = counting(config);
    for run in 1..=1000 {
        thread.cpu().raise(Vector::NetRx);
        assert_eq!(reports.recv(), Ok(run));
    }
    assert_eq!(thread.join().unwrap(), 1000);
}

#[test]
fn what_many_threads_raise_is_never_lost() {
    let sum = Arc::new(AtomicU64::new(0));
    let (all, done) = channel();
    let setup = {
        let sum = Arc::clone(&sum);
        move || {
            let drain = Handler(Vector::NetRx, move |_: &mut Cpu, seen: &mut u64| {
                *seen += sum.swap(0, Ordering::Relaxed);
                if *seen == 40_000 {
                    all.send(()).unwrap();
                }
            });
            Ok::<_, Infallible>(processor(0, vec![Box::new(drain)]))
        }
    };
    let config = KsoftirqdConfig::default();
    let thread = Ksoftirqd::spawn(config, setup, |processor| processor.context).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    sum.fetch_add(1, Ordering::Relaxed);
                    thread.cpu().raise(Vector::NetRx);
                }
            });
        }
    });
    done.recv().unwrap();
    assert_eq!(thread.join().unwrap(), 40_000);
}

#[test]
fn a_flood_is_handed_over_and_its_cpu_can_still_be_stopped() {
    let (report, reports) = channel();
    let setup = move || {
        let flood = Handler(Vector::Tasklet, move |cpu: &mut Cpu, runs: &mut u64| {
            *runs += 1;
            if *runs == 100 {
                report.send(()).unwrap();
            }
            cpu.raise(Vector::Tasklet);
        });
        Ok::<_, Infallible>(processor(0, vec![Box::new(flood)]))
    };
    let thread = Ksoftirqd::spawn(KsoftirqdConfig::default(), setup, drop).unwrap();
    thread.cpu().raise(Vector::Tasklet);
    reports.recv().unwrap();
    let stats = thread.cpu().stats();
    assert_eq!((stats.inline_passes, stats.hand_overs >= 9), (1, true));
    thread.join().unwrap();
}

#[test]
fn the_timer_ends_the_sleep_of_a_cpu() {
    let (report, reports) = channel();
    let setup = move || {
        let fired = Handler(Vector::Timer, move |_: &mut Cpu, _: &mut ()| {
            report.send(()).unwrap();
        });
        let mut processor = processor((), vec![Box::new(fired)]);
        processor.softirqs.cpu_mut().program_timer(1_000_000);
        Ok::<_, Infallible>(processor)
    };
    let thread = Ksoftirqd::spawn(KsoftirqdConfig::default(), setup, drop).unwrap();
    assert_eq!(reports.recv(), Ok(()));
    thread.join().unwrap();
}

#[test]
fn a_state_that_must_not_leave_its_thread_is_made_and_dropped_there() {
    struct Tell(Rc<()>, Sender<std::thread::ThreadId>);
    impl Drop for Tell {
        fn drop(&mut self) {
            assert_eq!(Rc::strong_count(&self.0), 1);
            self.1.send(std::thread::current().id()).unwrap();
        }
    }
    let (dropped, drops) = channel();
    let (made, makes) = channel();
    let setup = move || {
        made.send(std::thread::current().id()).unwrap();
        Ok::<_, Infallible>(processor(Tell(Rc::new(()), dropped), vec![]))
    };
    let thread = Ksoftirqd::spawn(KsoftirqdConfig::default(), setup, drop).unwrap();
    thread.join().unwrap();
    assert_eq!(makes.recv(), drops.recv());
}

#[test]
fn a_panic_of_a_handler_is_told_by_join() {
    let setup = || {
        let fail = Handler(Vector::Hi, |_: &mut Cpu, _: &mut ()| {
            panic!("out of cheese")
        });
        Ok::<_, Infallible>(processor((), vec![Box::new(fail)]))
    };
    let thread = Ksoftirqd::spawn(KsoftirqdConfig::default(), setup, drop).unwrap();
    thread.cpu().raise(Vector::Hi);
    while !thread.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(thread.join().unwrap_err().message, "out of cheese");
}

#[test]
fn a_setup_that_fails_or_panics_is_told_by_spawn() {
    let config = KsoftirqdConfig::default();
    let refuse = || Err::<Processor<(), ParkIdle>, _>("no NIC");
    let refused = Ksoftirqd::spawn(config, refuse, drop);
    assert!(matches!(refused, Err(SpawnError::Setup("no NIC"))));
    let fail = || -> Result<Processor<(), ParkIdle>, Infallible> { panic!("no memory") };
    let failed = Ksoftirqd::spawn(config, fail, drop);
    assert!(matches!(failed, Err(SpawnError::Panicked(p)) if p.message == "no memory"));
}

#[test]
fn a_core_that_the_machine_does_not_have_is_reported_and_the_cpu_runs_unpinned() {
    let config = KsoftirqdConfig {
        pin_to: Some(usize::MAX),
        ..KsoftirqdConfig::default()
    };
    let (thread, reports) = counting(config);
    assert_eq!(thread.pin_error().map(|error| error.core), Some(usize::MAX));
    thread.cpu().raise(Vector::NetRx);
    assert_eq!(reports.recv(), Ok(1));
}

#[test]
fn interrupts_of_the_idle_place_run_before_the_vectors_that_they_raise() {
    /// An event source with three interrupts to deliver, then none.
    struct Source {
        left: u32,
        cpu: Option<softnet_softirq::CpuHandle>,
        park: ParkIdle,
    }
    impl Idle for Source {
        fn waker(&self) -> Arc<dyn Wake> {
            self.park.waker()
        }
        fn poll(&mut self) {
            if let (1.., Some(cpu)) = (self.left, &self.cpu) {
                self.left -= 1;
                cpu.raise(Vector::NetRx);
            }
        }
        fn wait(&mut self, timeout_ns: Option<u64>) {
            self.park.wait(timeout_ns);
        }
    }
    let (report, reports) = channel();
    let setup = move || {
        let mut idle = Source {
            left: 3,
            cpu: None,
            park: ParkIdle::new(),
        };
        let clock = Arc::new(MonotonicClock::new());
        let mut softirqs = Softirqs::new(CpuId(3), clock, idle.waker());
        idle.cpu = Some(softirqs.handle());
        let count = Handler(Vector::NetRx, move |cpu: &mut Cpu, _: &mut ()| {
            report.send(cpu.id()).unwrap();
        });
        softirqs.open(Box::new(count)).unwrap();
        Ok::<_, Infallible>(Processor {
            softirqs,
            context: (),
            idle,
        })
    };
    let thread = Ksoftirqd::spawn(KsoftirqdConfig::default(), setup, drop).unwrap();
    let seen: Vec<_> = reports.iter().take(3).collect();
    assert_eq!(seen, [CpuId(3); 3]);
    thread.join().unwrap();
}
