#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]
//! What runs when, within which bounds: inline, with the virtual clock.

use softnet_softirq::{
    Cpu, CpuId, MAX_SOFTIRQ_RESTART, MAX_SOFTIRQ_TIME_NS, NoWake, Pass, ProcSoftirqs, SoftIrq,
    Softirqs, Vector, VectorTaken, VirtualClock,
};
use std::sync::Arc;

type Log = Vec<(Vector, u64)>;

/// Notes when it ran, then does what the test says.
struct Handler<F>(Vector, F);

impl<F: FnMut(&mut Cpu) + Send> SoftIrq<Log> for Handler<F> {
    fn vector(&self) -> Vector {
        self.0
    }

    fn run(&mut self, cpu: &mut Cpu, log: &mut Log) {
        log.push((self.0, cpu.now_ns()));
        (self.1)(cpu);
    }
}

struct Bench {
    clock: Arc<VirtualClock>,
    softirqs: Softirqs<Log>,
    log: Log,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        let softirqs = Softirqs::new(CpuId(0), clock.clone(), Arc::new(NoWake));
        let log = Log::new();
        Self {
            clock,
            softirqs,
            log,
        }
    }

    fn open(&mut self, vector: Vector, run: impl FnMut(&mut Cpu) + Send + 'static) {
        let handler = Box::new(Handler(vector, run));
        self.softirqs.open(handler).unwrap();
    }

    fn irq_exit(&mut self) -> Pass {
        self.softirqs.irq_exit(&mut self.log)
    }

    fn ran(&self, vector: Vector) -> usize {
        self.log.iter().filter(|(ran, _)| *ran == vector).count()
    }
}

#[test]
fn vectors_run_in_linux_order_whatever_the_order_of_their_raises() {
    let mut bench = Bench::new();
    for vector in Vector::ALL {
        bench.open(vector, |_| ());
    }
    let handle = bench.softirqs.handle();
    for vector in Vector::ALL.into_iter().rev() {
        handle.raise(vector);
    }
    assert_eq!(bench.irq_exit(), Pass::Drained);
    let order: Vec<_> = bench.log.iter().map(|(vector, _)| *vector).collect();
    assert_eq!(order, Vector::ALL);
    assert_eq!(bench.irq_exit(), Pass::Idle);
}

#[test]
fn raises_of_one_vector_before_it_runs_are_one() {
    let mut bench = Bench::new();
    bench.open(Vector::NetRx, |_| ());
    bench.softirqs.handle().raise(Vector::NetRx);
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    assert!(bench.softirqs.handle().pending().contains(Vector::NetRx));
    let _ = bench.irq_exit();
    assert_eq!(bench.ran(Vector::NetRx), 1);
}

#[test]
fn a_vector_raised_by_a_later_one_runs_in_the_same_pass_from_the_lowest_on() {
    let mut bench = Bench::new();
    let mut first = true;
    bench.open(Vector::NetRx, move |cpu| {
        if std::mem::take(&mut first) {
            cpu.raise(Vector::Rcu);
            cpu.handle().raise(Vector::NetTx);
        }
    });
    bench.open(Vector::NetTx, |_| ());
    bench.open(Vector::Rcu, |_| ());
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    assert_eq!(bench.irq_exit(), Pass::Drained);
    let order: Vec<_> = bench.log.iter().map(|(vector, _)| *vector).collect();
    assert_eq!(order, [Vector::NetRx, Vector::NetTx, Vector::Rcu]);
    assert_eq!(bench.softirqs.handle().stats().restarts, 1);
}

#[test]
fn a_vector_that_raises_itself_runs_ten_times_and_is_handed_over() {
    let mut bench = Bench::new();
    bench.open(Vector::Tasklet, |cpu| cpu.raise(Vector::Tasklet));
    bench.softirqs.cpu_mut().raise(Vector::Tasklet);
    assert_eq!(bench.irq_exit(), Pass::HandedOver);
    assert_eq!(bench.ran(Vector::Tasklet), MAX_SOFTIRQ_RESTART as usize);
    let stats = bench.softirqs.handle().stats();
    assert_eq!(stats.vector(Vector::Tasklet), 10);
    assert_eq!((stats.restarts, stats.hand_overs), (9, 1));
}

#[test]
fn a_pass_does_not_begin_again_after_two_milliseconds() {
    let mut bench = Bench::new();
    let clock = bench.clock.clone();
    bench.open(Vector::Block, move |cpu| {
        clock.advance(MAX_SOFTIRQ_TIME_NS / 2);
        cpu.raise(Vector::Block);
    });
    bench.softirqs.cpu_mut().raise(Vector::Block);
    assert_eq!(bench.irq_exit(), Pass::HandedOver);
    assert_eq!(bench.ran(Vector::Block), 2);
}

#[test]
fn nothing_runs_inline_while_ksoftirqd_has_the_work() {
    let mut bench = Bench::new();
    let mut rounds = 0;
    bench.open(Vector::NetRx, move |cpu| {
        rounds += 1;
        if rounds < 25 {
            cpu.raise(Vector::NetRx);
        }
    });
    bench.open(Vector::Hi, |_| ());
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    assert_eq!(bench.irq_exit(), Pass::HandedOver);
    bench.softirqs.handle().raise(Vector::Hi);
    assert_eq!(bench.irq_exit(), Pass::HandedOver);
    assert_eq!(bench.ran(Vector::Hi), 0);
    assert_eq!(
        bench.softirqs.run_ksoftirqd(&mut bench.log),
        Pass::HandedOver
    );
    assert_eq!(bench.softirqs.run_ksoftirqd(&mut bench.log), Pass::Drained);
    assert_eq!((bench.ran(Vector::NetRx), bench.ran(Vector::Hi)), (25, 1));
    bench.softirqs.handle().raise(Vector::Hi);
    assert_eq!(bench.irq_exit(), Pass::Drained);
    let stats = bench.softirqs.handle().stats();
    assert_eq!((stats.inline_passes, stats.ksoftirqd_passes), (2, 2));
}

#[test]
fn run_once_says_what_is_left_and_when_the_timer_is_due() {
    let mut bench = Bench::new();
    bench.open(Vector::Timer, |_| ());
    bench.open(Vector::NetRx, |cpu| cpu.raise(Vector::NetRx));
    bench.softirqs.cpu_mut().program_timer(900);
    let progress = bench.softirqs.run_once(&mut bench.log);
    assert!(!progress.ran && !progress.work_left);
    assert_eq!(progress.next_timer_ns, Some(900));
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    let progress = bench.softirqs.run_once(&mut bench.log);
    assert!(progress.ran && progress.work_left);
}

#[test]
fn the_timer_fires_once_at_the_earliest_of_its_deadlines() {
    let mut bench = Bench::new();
    bench.open(Vector::Timer, |_| ());
    bench.softirqs.cpu_mut().program_timer(700);
    bench.softirqs.cpu_mut().program_timer(500);
    bench.softirqs.cpu_mut().program_timer(600);
    bench.clock.set(499);
    assert_eq!(bench.irq_exit(), Pass::Idle);
    bench.clock.set(500);
    assert_eq!(bench.irq_exit(), Pass::Drained);
    assert_eq!(bench.log, [(Vector::Timer, 500)]);
    bench.clock.set(1000);
    assert_eq!(bench.irq_exit(), Pass::Idle);
}

#[test]
fn a_timer_that_falls_due_during_a_pass_fires_in_it() {
    let mut bench = Bench::new();
    let clock = bench.clock.clone();
    bench.open(Vector::Timer, |_| ());
    bench.open(Vector::NetRx, move |cpu| {
        if cpu.now_ns() == 0 {
            cpu.program_timer(300);
            clock.advance(400);
            cpu.raise(Vector::NetRx);
        }
    });
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    assert_eq!(bench.irq_exit(), Pass::Drained);
    let expected = [
        (Vector::NetRx, 0),
        (Vector::Timer, 400),
        (Vector::NetRx, 400),
    ];
    assert_eq!(bench.log, expected);
}

#[test]
fn a_pass_has_one_time_until_a_handler_reads_the_clock() {
    let mut bench = Bench::new();
    let clock = bench.clock.clone();
    bench.open(Vector::Hi, move |cpu| {
        clock.advance(50);
        assert_eq!(cpu.now_ns(), 0);
    });
    bench.open(Vector::Timer, |cpu| assert_eq!(cpu.refresh_now(), 50));
    bench.open(Vector::Rcu, |_| ());
    for vector in [Vector::Hi, Vector::Timer, Vector::Rcu] {
        bench.softirqs.cpu_mut().raise(vector);
    }
    let _ = bench.irq_exit();
    assert_eq!(bench.log[2], (Vector::Rcu, 50));
}

#[test]
fn a_vector_has_one_handler() {
    let mut bench = Bench::new();
    bench.open(Vector::NetRx, |_| ());
    let second = Box::new(Handler(Vector::NetRx, |_: &mut Cpu| ()));
    assert_eq!(bench.softirqs.open(second), Err(VectorTaken(Vector::NetRx)));
}

#[test]
fn a_raise_that_nobody_handles_is_counted_and_harmless() {
    let mut bench = Bench::new();
    bench.softirqs.handle().raise(Vector::Sched);
    assert_eq!(bench.irq_exit(), Pass::Drained);
    assert_eq!(bench.softirqs.handle().stats().not_open, 1);
}

#[test]
fn the_virtual_clock_never_goes_back() {
    use softnet_softirq::Clock;
    let clock = VirtualClock::new(10);
    clock.set(5);
    assert_eq!(clock.now_ns(), 10);
    clock.advance(u64::MAX);
    assert_eq!(clock.now_ns(), u64::MAX);
}

#[test]
fn counters_read_as_proc_softirqs_shows_them() {
    let mut bench = Bench::new();
    bench.open(Vector::NetRx, |_| ());
    bench.softirqs.cpu_mut().raise(Vector::NetRx);
    let _ = bench.irq_exit();
    let stats = bench.softirqs.handle().stats();
    let mut other = stats;
    other.cpu = CpuId(1);
    let table = ProcSoftirqs(&[stats, other]).to_string();
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some("                    CPU0       CPU1       ")
    );
    assert_eq!(lines.next(), Some("          HI:          0          0"));
    assert_eq!(lines.nth(2), Some("      NET_RX:          1          1"));
    assert_eq!(lines.last(), Some("         RCU:          0          0"));
}
