//! Queues whose socket is an eventfd and whose ring is a number.

use super::*;
use rustix::event::{EventfdFlags, eventfd};
use softnet_nic_hal::{IrqHandler, QueueId};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a wait that lasts as long has failed.
const LONG_NS: u64 = 20_000_000_000;
const LONG: Duration = Duration::from_nanos(LONG_NS / 2);

#[derive(Default)]
struct Ring {
    filled: AtomicUsize,
    sending: AtomicBool,
}

impl Completions for Ring {
    fn pending(&self) -> bool {
        self.filled.load(Ordering::SeqCst) > 0
    }

    fn in_flight(&self) -> bool {
        self.sending.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Calls {
    irqs: AtomicUsize,
    links: AtomicUsize,
}

impl IrqHandler for Calls {
    fn irq(&self, _queue: QueueId) {
        self.irqs.fetch_add(1, Ordering::SeqCst);
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

/// The kernel's end of a queue, and the stack's.
struct Queue {
    socket: OwnedFd,
    ring: Arc<Ring>,
    calls: Arc<Calls>,
    irq: Arc<QueueIrq>,
}

impl Queue {
    fn attach(events: &Events, queue: u16) -> Self {
        Self::attach_socket(events, queue, eventfd(0, EventfdFlags::NONBLOCK).unwrap())
    }

    fn attach_socket(events: &Events, queue: u16, socket: OwnedFd) -> Self {
        let (ring, calls) = (Arc::<Ring>::default(), Arc::<Calls>::default());
        let irq = events
            .attach(QueueSource {
                queue: QueueId(queue),
                name: "test0-0",
                socket: socket.as_fd(),
                completions: ring.clone(),
                handler: calls.clone(),
                busy_poll: None,
            })
            .unwrap();
        Self {
            socket,
            ring,
            calls,
            irq,
        }
    }

    /// A frame comes in: into the ring first, then the socket gets ready.
    fn receive(&self) {
        self.ring.filled.fetch_add(1, Ordering::SeqCst);
        rustix::io::write(&self.socket, &1_u64.to_ne_bytes()).unwrap();
    }

    /// The stack takes all frames: the socket is not ready any more.
    fn reap(&self) -> usize {
        let _ = rustix::io::read(&self.socket, &mut [0; 8]);
        self.ring.filled.swap(0, Ordering::SeqCst)
    }

    fn interrupts(&self) -> usize {
        self.calls.irqs.load(Ordering::SeqCst)
    }
}

/// Whether the kernel has something that would end a sleep at once.
fn would_end(cpu: &EventLoop) -> bool {
    let mut fds = [PollFd::new(cpu, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&timespec(0))).unwrap() > 0
}

fn events(cpus: usize) -> Arc<Events> {
    Events::new(Arc::new(IrqTable::new(cpus))).unwrap()
}

#[test]
fn a_frame_interrupts_an_unmasked_queue_once() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.receive();
    cpu.poll();
    assert_eq!(queue.interrupts(), 0, "it was attached masked");
    queue.irq.unmask();
    assert_eq!(queue.interrupts(), 1, "an unmask fires for what is pending");
    cpu.poll();
    assert_eq!(queue.interrupts(), 1);
    queue.reap();
    queue.irq.unmask();
    assert_eq!(queue.interrupts(), 1);
    queue.receive();
    cpu.poll();
    cpu.poll();
    assert_eq!(queue.interrupts(), 2);
    let counted = events.irqs().snapshot();
    assert_eq!((counted.total(), counted.lines.len()), (2, 1));
    assert_eq!(counted.lines[0].source, "AF_XDP test0-0");
}

#[test]
fn a_sleep_ends_when_an_unmasked_queue_gets_ready() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    for round in 1..20 {
        queue.irq.unmask();
        std::thread::scope(|scope| {
            scope.spawn(|| queue.receive());
            let start = Instant::now();
            while !queue.irq.has_work() {
                cpu.wait(Some(LONG_NS));
            }
            assert!(start.elapsed() < LONG);
        });
        cpu.poll();
        assert_eq!((queue.interrupts(), queue.reap()), (round, 1));
    }
}

#[test]
fn a_masked_queue_that_is_ready_does_not_end_sleeps() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    // The kernel watches the socket, and the queue is masked then.
    queue.irq.unmask();
    cpu.wait(Some(1));
    queue.irq.mask();
    queue.receive();
    // One sleep finds it ready, and has it left alone.
    cpu.wait(Some(LONG_NS));
    assert!(!would_end(&cpu));
    assert_eq!(queue.interrupts(), 0);
    // It is watched again as soon as it is unmasked.
    queue.reap();
    queue.irq.unmask();
    cpu.wait(Some(1));
    queue.receive();
    assert!(would_end(&cpu));
}

#[test]
fn a_sleep_is_refused_while_an_unmasked_queue_has_something() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    // The ring alone: no socket gets ready.
    queue.ring.filled.store(1, Ordering::SeqCst);
    let start = Instant::now();
    cpu.wait(Some(LONG_NS));
    events.wait(Some(LONG_NS));
    assert!(start.elapsed() < LONG);
}

#[test]
fn an_unmask_by_another_thread_reaches_a_cpu_that_sleeps() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !events.cpus[0].is_sleeping() {
                std::thread::yield_now();
            }
            queue.irq.unmask();
            queue.receive();
        });
        while !queue.irq.has_work() {
            cpu.wait(Some(LONG_NS));
        }
    });
    assert!(start.elapsed() < LONG);
    cpu.poll();
    assert_eq!(queue.interrupts(), 1);
}

#[test]
fn a_wake_up_ends_the_sleep_under_way_or_the_next_one() {
    let events = events(1);
    let mut cpu = events.event_loop(0);
    let waker = cpu.waker();
    let start = Instant::now();
    waker.wake();
    cpu.wait(Some(LONG_NS));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !events.cpus[0].is_sleeping() {
                std::thread::yield_now();
            }
            waker.wake();
        });
        cpu.wait(None);
    });
    waker.wake();
    events.wait(None);
    assert!(start.elapsed() < LONG);
    // Each wake-up was for one sleep.
    assert!(!would_end(&cpu));
}

#[test]
fn a_sleep_ends_by_itself_when_its_time_is_up() {
    let events = events(2);
    for ns in [0, 1, 70_000, 1_500_000] {
        events.event_loop(0).wait(Some(ns));
        events.wait(Some(ns));
    }
}

#[test]
fn packets_on_their_way_out_are_looked_for_while_the_cpu_sleeps() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    queue.ring.sending.store(true, Ordering::SeqCst);
    let start = Instant::now();
    cpu.wait(None);
    cpu.wait(Some(LONG_NS));
    assert!(start.elapsed() < LONG);
    // The kernel has sent them: nothing made the socket ready.
    queue.ring.filled.store(1, Ordering::SeqCst);
    cpu.poll();
    assert_eq!(queue.interrupts(), 1);
}

#[test]
fn a_socket_of_a_cpu_that_sends_much_is_listed_by_its_next_sleep_and_not_before() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    for (packets, stays) in [(1, true), (33, false), (64, false), (32, true)] {
        cpu.wait(Some(1));
        queue.irq.sends(packets);
        queue.receive();
        assert_eq!(would_end(&cpu), stays, "after {packets} packets");
        queue.reap();
    }
    cpu.wait(Some(1));
    (0..33).for_each(|_| queue.irq.sends(1));
    queue.receive();
    assert!(!would_end(&cpu), "one by one they are as many");
}

#[test]
fn a_queue_that_was_never_slept_on_is_not_listed() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    queue.receive();
    assert!(!would_end(&cpu));
    cpu.poll();
    assert_eq!(queue.interrupts(), 1);
}

#[test]
fn sending_from_elsewhere_does_not_take_a_sleeping_cpu_its_watch() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                queue.irq.sends(1000);
                std::thread::yield_now();
            }
            while !events.cpus[0].is_sleeping() {
                std::thread::yield_now();
            }
            queue.irq.sends(1000);
            queue.receive();
        });
        while !queue.irq.has_work() {
            cpu.wait(Some(LONG_NS));
        }
    });
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_socket_that_fails_has_the_link_looked_at_and_is_left_alone() {
    let events = events(1);
    let mut cpu = events.event_loop(0);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let queue = Queue::attach_socket(&events, 0, near.into());
    queue.irq.unmask();
    drop(far);
    cpu.wait(None);
    assert_eq!(queue.calls.links.load(Ordering::SeqCst), 0);
    cpu.poll();
    cpu.poll();
    assert_eq!(queue.calls.links.load(Ordering::SeqCst), 1);
    assert_eq!(queue.interrupts(), 0);
    assert!(!would_end(&cpu));
    events.detach(&queue.irq);
}

#[test]
fn one_thread_that_waits_for_all_is_woken_once_by_a_socket_that_fails() {
    let events = events(2);
    let mut cpu = events.event_loop(1);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let queue = Queue::attach_socket(&events, 1, near.into());
    queue.irq.unmask();
    drop(far);
    events.wait(None);
    assert!(!would_end(&cpu));
    cpu.poll();
    assert_eq!(queue.calls.links.load(Ordering::SeqCst), 1);
}

#[test]
fn one_thread_that_waits_for_all_is_woken_once_by_a_masked_queue() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    events.wait(Some(1));
    queue.irq.mask();
    queue.receive();
    events.wait(None);
    assert!(!would_end(&cpu));
    queue.reap();
    // The CPU's own loop knows that the socket is to be watched anew.
    queue.irq.unmask();
    cpu.wait(Some(1));
    queue.receive();
    assert!(would_end(&cpu));
}

#[test]
fn queues_go_to_the_cpus_in_turn_and_one_thread_can_wait_for_all() {
    let events = events(2);
    let mut cpus = [events.event_loop(0), events.event_loop(1)];
    let queues = [0, 1, 2, 3].map(|queue| Queue::attach(&events, queue));
    for (at, queue) in queues.iter().enumerate() {
        queue.irq.unmask();
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| queue.receive());
            while !queue.irq.has_work() {
                events.wait(Some(LONG_NS));
            }
        });
        assert!(start.elapsed() < LONG);
        cpus[(at + 1) % 2].poll();
        assert_eq!(queue.interrupts(), 0);
        cpus[at % 2].poll();
        assert_eq!(queue.interrupts(), 1);
    }
}

#[test]
fn a_detached_queue_is_quiet_and_holds_nothing() {
    let events = events(1);
    let (mut cpu, queue) = (events.event_loop(0), Queue::attach(&events, 0));
    queue.irq.unmask();
    cpu.wait(Some(1));
    events.detach(&queue.irq);
    assert_eq!(Arc::strong_count(&queue.ring), 1);
    assert_eq!(Arc::strong_count(&queue.calls), 1);
    queue.receive();
    queue.irq.unmask();
    cpu.poll();
    assert_eq!(queue.interrupts(), 0);
    assert!(events.irqs().snapshot().lines.is_empty());
    // Its place is free for the next one.
    let next = Queue::attach(&events, 0);
    next.receive();
    next.irq.unmask();
    assert_eq!(next.interrupts(), 1);
}

#[test]
fn queues_come_and_go_while_their_cpu_sleeps_and_polls() {
    let events = events(1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut cpu = events.event_loop(0);
            while !stop.load(Ordering::SeqCst) {
                cpu.poll();
                cpu.wait(Some(LONG_NS));
            }
        });
        for _ in 0..200 {
            let queue = Queue::attach(&events, 0);
            queue.irq.unmask();
            queue.receive();
            let deadline = Instant::now() + LONG;
            while queue.interrupts() == 0 && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(queue.interrupts(), 1);
            events.detach(&queue.irq);
            assert_eq!(Arc::strong_count(&queue.ring), 1);
        }
        stop.store(true, Ordering::SeqCst);
        events.event_loop(0).waker().wake();
    });
}
