//! The CPUs of a stack: on the caller's thread, or on threads of their own.

use super::{Stack, StackError};
use crate::shard::Shard;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_napi::busy_poll;
use softnet_softirq::{Cpu, Idle, NoWake, Processor, Wake};

/// What a pass over all CPUs found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether a softirq ran.
    pub ran: bool,
    /// Whether something is left to do at once.
    pub work_left: bool,
    /// When the next timer is due, in nanoseconds of the clock.
    pub next_timer_ns: Option<u64>,
}

impl From<softnet_softirq::Progress> for Progress {
    #[inline]
    fn from(one: softnet_softirq::Progress) -> Self {
        Self {
            ran: one.ran,
            work_left: one.work_left,
            next_timer_ns: one.next_timer_ns,
        }
    }
}

/// Where a CPU gets its interrupts and sleeps. Its waker exists before its
/// thread does.
///
/// The place that only sleeps is a variant of its own, so that a CPU without
/// interrupts of its own pays no dynamic call for them in each pass.
pub(crate) enum CpuIdle {
    /// Interrupts come from other threads.
    #[cfg(feature = "std")]
    Park(crossbeam_utils::sync::Parker),
    /// Without threads nobody sleeps.
    #[cfg(not(feature = "std"))]
    Never,
    /// Whatever the embedder brings.
    Own(Box<dyn Idle + Send>),
}

#[cfg(feature = "std")]
struct Unpark(crossbeam_utils::sync::Unparker);

#[cfg(feature = "std")]
impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

impl CpuIdle {
    #[cfg(feature = "std")]
    pub(crate) fn new() -> Self {
        Self::Park(crossbeam_utils::sync::Parker::new())
    }

    #[cfg(not(feature = "std"))]
    pub(crate) fn new() -> Self {
        Self::Never
    }
}

impl Idle for CpuIdle {
    fn waker(&self) -> Arc<dyn Wake> {
        match self {
            #[cfg(feature = "std")]
            Self::Park(parker) => Arc::new(Unpark(parker.unparker().clone())),
            #[cfg(not(feature = "std"))]
            Self::Never => Arc::new(NoWake),
            Self::Own(idle) => idle.waker(),
        }
    }

    #[inline]
    fn poll(&mut self) {
        if let Self::Own(idle) = self {
            idle.poll();
        }
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        match self {
            #[cfg(feature = "std")]
            Self::Park(parker) => match timeout_ns {
                None => parker.park(),
                Some(ns) => parker.park_timeout(core::time::Duration::from_nanos(ns)),
            },
            #[cfg(not(feature = "std"))]
            Self::Never => {}
            Self::Own(idle) => idle.wait(timeout_ns),
        }
    }
}

pub(super) type StackProcessor = Processor<Shard, CpuIdle>;

pub(super) enum Cpus {
    Inline(Vec<StackProcessor>),
    #[cfg(feature = "std")]
    Threads(threads::Threads),
}

/// Who can have work done on any CPU, and waits for it.
pub(super) trait Executor {
    /// Does `work` on a CPU, between two of its softirqs.
    ///
    /// # Errors
    /// [`StackError::Stopped`] when the CPU's thread has ended.
    fn exec<R: Send + 'static>(
        &mut self,
        cpu: usize,
        work: impl FnOnce(&mut Shard, &mut Cpu) -> R + Send + 'static,
    ) -> Result<R, StackError>;
}

impl Cpus {
    pub(super) fn inline(processors: Vec<StackProcessor>) -> Self {
        Self::Inline(processors)
    }

    pub(super) fn run_once(&mut self) -> Progress {
        let mut all = Progress::default();
        #[cfg_attr(
            not(feature = "std"),
            expect(irrefutable_let_patterns, reason = "no threads")
        )]
        let Self::Inline(processors) = self else {
            return all;
        };
        if let [only] = processors.as_mut_slice() {
            return run_once(only);
        }
        for processor in processors {
            let one = run_once(processor);
            all.ran |= one.ran;
            all.work_left |= one.work_left;
            all.next_timer_ns = earlier(all.next_timer_ns, one.next_timer_ns);
        }
        all
    }

    /// Puts CPUs that are not threads to sleep; see [`Stack::sleep`].
    pub(super) fn sleep(&mut self, limit_ns: Option<u64>, wait: &mut dyn FnMut(Option<u64>)) {
        #[cfg_attr(
            not(feature = "std"),
            expect(irrefutable_let_patterns, reason = "no threads")
        )]
        let Self::Inline(processors) = self else {
            return;
        };
        for processor in processors.iter_mut() {
            processor.context.softnet.rest();
        }
        if let [only] = processors.as_mut_slice()
            && let CpuIdle::Own(idle) = &mut only.idle
        {
            let mut own = Then(|timer_ns| idle.wait(earlier(limit_ns, timer_ns)));
            return only.softirqs.cpu_mut().sleep(&mut own);
        }
        sleep_all(processors, limit_ns, wait);
    }
}

/// The earlier of two times, either of which may never come.
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Announces one CPU's sleep after the other, and waits when all have been
/// announced. A CPU with something to do ends it.
fn sleep_all(
    processors: &mut [StackProcessor],
    limit_ns: Option<u64>,
    wait: &mut dyn FnMut(Option<u64>),
) {
    let Some((first, rest)) = processors.split_first_mut() else {
        return wait(limit_ns);
    };
    let mut others = Then(|timer_ns: Option<u64>| {
        sleep_all(rest, earlier(limit_ns, timer_ns), wait);
    });
    first.softirqs.cpu_mut().sleep(&mut others);
}

/// Sleeps by a call.
struct Then<F>(F);

impl<F: FnMut(Option<u64>)> Idle for Then<F> {
    /// The CPU has its own waker; this place is lent to it for one sleep.
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWake)
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        (self.0)(timeout_ns);
    }
}

/// Runs a CPU's softirqs, and polls what is busy-polled.
#[inline]
fn run_once(processor: &mut StackProcessor) -> Progress {
    if processor.context.softnet.is_busy_polled() {
        run_busy(processor)
    } else {
        processor.run_once().into()
    }
}

/// One round of a busy-polling CPU: its softirqs, if there are any, or its NICs. Who
/// only answers what it receives so pays for one of the two at a time; NICs are polled
/// in every second round at least.
fn run_busy(processor: &mut StackProcessor) -> Progress {
    processor.idle.poll();
    let mut progress = Progress::default();
    if processor.softirqs.is_due() {
        progress = processor.softirqs.run_once(&mut processor.context).into();
        if !core::mem::replace(&mut processor.context.poll_is_due, true) {
            return progress;
        }
    }
    processor.context.poll_is_due = false;
    let cpu = processor.softirqs.cpu_mut();
    progress.ran |= busy_poll(cpu, &mut processor.context) != 0;
    progress.next_timer_ns = cpu.next_timer_ns();
    progress
}

impl Executor for Stack {
    fn exec<R: Send + 'static>(
        &mut self,
        cpu: usize,
        work: impl FnOnce(&mut Shard, &mut Cpu) -> R + Send + 'static,
    ) -> Result<R, StackError> {
        match &mut self.cpus {
            Cpus::Inline(processors) => {
                let processor = processors.get_mut(cpu).ok_or(StackError::Stopped)?;
                Ok(exec_inline(processor, work))
            }
            #[cfg(feature = "std")]
            Cpus::Threads(threads) => threads.exec(cpu, work),
        }
    }
}

fn exec_inline<R>(
    processor: &mut StackProcessor,
    work: impl FnOnce(&mut Shard, &mut Cpu) -> R,
) -> R {
    let cpu = processor.softirqs.cpu_mut();
    cpu.refresh_now();
    processor.context.begin(cpu);
    let result = work(&mut processor.context, cpu);
    processor.context.end(cpu);
    result
}

#[cfg(feature = "std")]
pub(super) use threads::{Remote, Threads};

#[cfg(feature = "std")]
mod threads {
    use super::{Arc, Cpu, Executor, Shard, StackError, StackProcessor, Vec};
    use crate::message::Control;
    use crate::peer::Peer;
    use alloc::boxed::Box;
    use core::time::Duration;
    use softnet_softirq::{Ksoftirqd, KsoftirqdConfig};
    use std::string::ToString;
    use std::sync::mpsc;

    /// How often a caller that waits for a CPU looks whether its thread lives.
    const LOOK: Duration = Duration::from_millis(100);

    /// CPUs on threads of their own.
    pub(in super::super) struct Threads {
        threads: Vec<Ksoftirqd<StackProcessor>>,
        remote: Remote,
    }

    /// Who reaches CPUs that are threads.
    #[derive(Clone)]
    pub(in super::super) struct Remote {
        pub(in super::super) peers: Arc<[Peer]>,
    }

    impl Threads {
        pub(in super::super) fn spawn(
            processors: Vec<StackProcessor>,
            peers: Arc<[Peer]>,
            pin_to: &[usize],
            spin_ns: u64,
        ) -> Result<Self, StackError> {
            let mut threads = Vec::new();
            for (cpu, processor) in processors.into_iter().enumerate() {
                let id = processor.softirqs.cpu().id();
                let pin_to = pin_to.get(cpu).copied();
                let config = KsoftirqdConfig {
                    cpu: id,
                    pin_to,
                    spin_ns,
                };
                let setup = move || Ok::<_, core::convert::Infallible>(processor);
                let thread =
                    Ksoftirqd::spawn(config, setup, |processor| processor).map_err(|error| {
                        StackError::Thread {
                            cpu,
                            why: error.to_string(),
                        }
                    })?;
                threads.push(thread);
            }
            Ok(Self {
                threads,
                remote: Remote { peers },
            })
        }

        pub(in super::super) fn remote(&self) -> Remote {
            self.remote.clone()
        }

        /// Why CPUs could not be pinned, for reports.
        pub(in super::super) fn pin_errors(
            &self,
        ) -> impl Iterator<Item = (usize, alloc::string::String)> {
            let errors = self.threads.iter().enumerate();
            errors.filter_map(|(cpu, thread)| Some((cpu, thread.pin_error()?.to_string())))
        }

        /// Stops all threads and takes the CPUs back.
        pub(in super::super) fn join(self) -> Result<Vec<StackProcessor>, StackError> {
            for thread in &self.threads {
                thread.stop();
            }
            let joined = self
                .threads
                .into_iter()
                .map(|t| t.join().map_err(|_| StackError::Stopped));
            joined.collect()
        }
    }

    impl Executor for Threads {
        fn exec<R: Send + 'static>(
            &mut self,
            cpu: usize,
            work: impl FnOnce(&mut Shard, &mut Cpu) -> R + Send + 'static,
        ) -> Result<R, StackError> {
            self.remote.exec(cpu, work)
        }
    }

    impl Remote {
        fn post<R: Send + 'static>(
            &self,
            cpu: usize,
            work: impl FnOnce(&mut Shard, &mut Cpu) -> R + Send + 'static,
        ) -> Result<mpsc::Receiver<R>, StackError> {
            let peer = self.peers.get(cpu).ok_or(StackError::Stopped)?;
            let (result, done) = mpsc::sync_channel(1);
            let mut message = Control::Exec(Box::new(move |shard, cpu| {
                // Nobody waits any more if the caller has given up.
                let _ = result.send(work(shard, cpu));
            }));
            while let Err(refused) = peer.control(message) {
                if peer.is_stopped() {
                    return Err(StackError::Stopped);
                }
                message = refused;
                std::thread::yield_now();
            }
            Ok(done)
        }
    }

    impl Executor for Remote {
        fn exec<R: Send + 'static>(
            &mut self,
            cpu: usize,
            work: impl FnOnce(&mut Shard, &mut Cpu) -> R + Send + 'static,
        ) -> Result<R, StackError> {
            let done = self.post(cpu, work)?;
            loop {
                match done.recv_timeout(LOOK) {
                    Ok(result) => return Ok(result),
                    Err(mpsc::RecvTimeoutError::Timeout)
                        if self.peers.get(cpu).is_some_and(|peer| !peer.is_stopped()) => {}
                    Err(_) => return Err(StackError::Stopped),
                }
            }
        }
    }
}
