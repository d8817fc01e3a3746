//! The thread of a CPU.

use crate::affinity::{PinError, pin_current_thread};
use crate::cpu::{CpuHandle, CpuId};
use crate::idle::Idle;
use crate::processor::Processor;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::boxed::Box;
use std::io;
use std::string::ToString;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

/// How a CPU's thread is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KsoftirqdConfig {
    /// The CPU's number, for the thread's name: `ksoftirqd/0`.
    pub cpu: CpuId,
    /// The machine's core that the thread is pinned to, if any.
    pub pin_to: Option<usize>,
    /// How long the thread looks for work before it sleeps, in nanoseconds.
    pub spin_ns: u64,
}

/// Why a CPU's thread did not come up.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError<E> {
    /// The machine gave no thread.
    #[error("no thread for the CPU: {0}")]
    Thread(io::Error),
    /// The set-up on the thread failed.
    #[error("the CPU's set-up failed: {0}")]
    Setup(E),
    /// The set-up on the thread panicked.
    #[error(transparent)]
    Panicked(Panicked),
}

/// A handler, or the set-up, panicked on the CPU's thread and ended it.
#[derive(Debug, thiserror::Error)]
#[error("the CPU's thread panicked: {message}")]
pub struct Panicked {
    /// The panic's message, if it was text.
    pub message: String,
    /// What the panic carried, for [`std::panic::resume_unwind`].
    pub payload: Box<dyn Any + Send>,
}

impl Panicked {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            message: text.unwrap_or_else(|| String::from("(no text)")),
            payload,
        }
    }
}

/// The thread of one CPU. It runs the CPU's vectors on the way out of interrupts
/// and, when those get too many, as ksoftirqd; otherwise it sleeps.
///
/// `R` is what the thread leaves behind. Dropping it stops the thread and waits
/// for it; [`join`](Self::join) also tells how it ended.
pub struct Ksoftirqd<R> {
    cpu: CpuHandle,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<R>>>,
    pinned: Result<(), PinError>,
}

/// What the thread reports when it has been set up.
type Ready<E> = Result<(CpuHandle, Result<(), PinError>), E>;

impl<R: Send + 'static> Ksoftirqd<R> {
    /// Starts the thread of a CPU, and waits until it has been set up.
    ///
    /// `setup` runs on the new thread, so that neither the CPU's state nor its
    /// idle place needs to be `Send`. `finish` runs there when the thread stops
    /// and decides what it leaves: `|processor| processor.context` hands the
    /// state back, `drop` drops it on its thread.
    ///
    /// A thread that cannot be pinned runs unpinned: see
    /// [`pin_error`](Self::pin_error).
    ///
    /// # Errors
    /// [`SpawnError`]; nothing runs then.
    pub fn spawn<C, I, E, S, F>(
        config: KsoftirqdConfig,
        setup: S,
        finish: F,
    ) -> Result<Self, SpawnError<E>>
    where
        C: 'static,
        I: Idle + 'static,
        E: Send + 'static,
        S: FnOnce() -> Result<Processor<C, I>, E> + Send + 'static,
        F: FnOnce(Processor<C, I>) -> R + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::sync_channel::<Ready<E>>(1);
        let thread = Builder::new()
            .name(format!("ksoftirqd/{}", config.cpu))
            .spawn({
                let stop = Arc::clone(&stop);
                move || thread_main(config, &stop, &ready, setup).map(finish)
            })
            .map_err(SpawnError::Thread)?;
        match is_ready.recv() {
            Ok(Ok((cpu, pinned))) => Ok(Self {
                cpu,
                stop,
                thread: Some(thread),
                pinned,
            }),
            Ok(Err(error)) => Err(SpawnError::Setup(error)),
            // The thread is gone without a word.
            Err(mpsc::RecvError) => Err(SpawnError::Panicked(end_of(thread))),
        }
    }

    /// What vectors of the CPU are raised with.
    #[must_use]
    pub fn cpu(&self) -> &CpuHandle {
        &self.cpu
    }

    /// Why the thread is not pinned although it was asked for.
    #[must_use]
    pub fn pin_error(&self) -> Option<&PinError> {
        self.pinned.as_ref().err()
    }

    /// Whether the thread has ended: it was stopped, or a handler panicked.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the thread to leave after the pass that it is in. Vectors that are
    /// pending then stay so. It does not wait.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.cpu.kick();
    }

    /// Stops the thread, waits for its end, and gives what it left.
    ///
    /// # Errors
    /// [`Panicked`] when a handler, or the thread's `finish`, panicked.
    pub fn join(mut self) -> Result<R, Panicked> {
        self.stop();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Some(left))) => Ok(left),
            Some(Err(payload)) => Err(Panicked::new(payload)),
            // A thread that was handed out has been set up, and joins once.
            Some(Ok(None)) | None => Err(Panicked::new(Box::new("the CPU has no thread"))),
        }
    }
}

impl<R> Drop for Ksoftirqd<R> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.cpu.kick();
        if let Some(thread) = self.thread.take() {
            // The panic's message has been printed by the thread itself; a drop
            // has nobody to tell.
            let _ = thread.join();
        }
    }
}

impl<R> fmt::Debug for Ksoftirqd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ksoftirqd")
            .field("cpu", &self.cpu)
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}

/// Sets the CPU up, says so, and runs it until it is stopped. Nothing comes back
/// when the set-up failed.
fn thread_main<C, I: Idle, E>(
    config: KsoftirqdConfig,
    stop: &AtomicBool,
    ready: &mpsc::SyncSender<Ready<E>>,
    setup: impl FnOnce() -> Result<Processor<C, I>, E>,
) -> Option<Processor<C, I>> {
    let pinned = config.pin_to.map_or(Ok(()), pin_current_thread);
    let (report, processor) = match setup() {
        Ok(processor) => (Ok((processor.softirqs.handle(), pinned)), Some(processor)),
        Err(error) => (Err(error), None),
    };
    // The spawner waits for this; it cannot have gone.
    let _ = ready.send(report);
    let mut processor = processor?;
    processor.run(config.spin_ns, || stop.load(Ordering::Acquire));
    Some(processor)
}

/// How a thread ended that never became ready.
fn end_of<R>(thread: JoinHandle<R>) -> Panicked {
    match thread.join() {
        Err(payload) => Panicked::new(payload),
        Ok(_) => Panicked::new(Box::new("the thread ended before it was set up")),
    }
}
