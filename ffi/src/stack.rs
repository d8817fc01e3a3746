//! A stack: made, run, and freed.

use crate::config::softnet_config;
use crate::handle::{self, kind};
use crate::memory;
use crate::nic::softnet_nic;
use crate::result::{Code, Error, boundary, softnet_result};
use crate::sock::{SockObject, Wait, softnet_sock};
use softnet::netstack::ThreadOptions;
use softnet::softirq::VirtualClock;
use softnet::{Machine, Time};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network stack with its NICs.
pub struct softnet_stack {
    _opaque: [u8; 0],
}

kind!(softnet_stack, Stack, Arc<StackObject>, "stack");

/// What one turn of an inline stack came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct softnet_progress {
    /// When the next timer is due, in nanoseconds of the stack's clock;
    /// UINT64_MAX: only after something from outside.
    pub next_event_ns: u64,
    /// 1 if a device or a softirq did anything, 0 if nothing is left to do at
    /// this time.
    pub worked: u32,
    /// 0.
    pub reserved: u32,
}

/// How long a call that waits keeps the stack to itself: then others have their
/// turn.
pub(crate) const SLICE_NS: u64 = 10_000_000;

/// The object behind a `softnet_stack`.
///
/// Its lock serialises the control plane and, for an inline stack, the turns.
/// The CPUs of a threaded stack never take it.
pub(crate) struct StackObject {
    machine: Mutex<Option<Machine>>,
    clock: Option<Arc<VirtualClock>>,
    /// Whether the CPUs have threads: how a receive waits.
    running: AtomicBool,
    /// What goes with the stack; `None` when it has gone.
    children: Mutex<Option<Children>>,
}

/// The open handles of a stack's parts.
#[derive(Default)]
struct Children {
    nics: HashSet<usize>,
    socks: HashSet<usize>,
}

impl StackObject {
    fn new(config: softnet_config) -> Result<Self, Error> {
        let (stack, time) = config.to_stack()?;
        let clock = match &time {
            Time::Virtual(clock) => Some(clock.clone()),
            Time::Real => None,
        };
        Ok(Self {
            machine: Mutex::new(Some(Machine::new(&stack, time)?)),
            clock,
            running: AtomicBool::new(false),
            children: Mutex::new(Some(Children::default())),
        })
    }

    /// Works on the machine; one caller at a time.
    pub(crate) fn with<R>(
        &self,
        work: impl FnOnce(&mut Machine) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut machine = self.machine.lock().map_err(|_| broken())?;
        work(machine.as_mut().ok_or_else(gone)?)
    }

    /// Whether the CPUs have threads.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// When a wait is over, in nanoseconds of the stack's clock.
    pub(crate) fn deadline_ns(&self, wait: Wait) -> Result<u64, Error> {
        match wait.duration() {
            None if self.clock.is_some() => {
                let message = "a virtual clock would be moved to its end: give a timeout";
                Err(Error::new(Code::SOFTNET_RESULT_STATE, message))
            }
            None => Ok(u64::MAX),
            Some(time) => {
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                self.with(|machine| Ok(machine.now_ns().saturating_add(ns)))
            }
        }
    }

    pub(crate) fn own_nic(&self, nic: *mut softnet_nic) -> Result<(), Error> {
        self.own(nic, |children| &mut children.nics)
    }

    pub(crate) fn own_sock(&self, sock: *mut softnet_sock) -> Result<(), Error> {
        self.own(sock, |children| &mut children.socks)
    }

    fn own<K>(
        &self,
        handle: *mut K,
        which: impl FnOnce(&mut Children) -> &mut HashSet<usize>,
    ) -> Result<(), Error> {
        let mut children = self.children();
        which(children.as_mut().ok_or_else(gone)?).insert(handle.addr());
        Ok(())
    }

    pub(crate) fn disown_nic(&self, nic: *const softnet_nic) {
        if let Some(children) = &mut *self.children() {
            children.nics.remove(&nic.addr());
        }
    }

    pub(crate) fn disown_sock(&self, sock: *const softnet_sock) {
        if let Some(children) = &mut *self.children() {
            children.socks.remove(&sock.addr());
        }
    }

    /// A panic cannot leave a set of numbers half changed.
    fn children(&self) -> MutexGuard<'_, Option<Children>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything: the handles of all parts, the calls that wait, the
    /// threads, the devices.
    fn shut_down(&self) {
        let children = self.children().take().unwrap_or_default();
        for sock in children.socks {
            let sock = std::ptr::without_provenance::<softnet_sock>(sock);
            // Closed by another thread at this moment: then it is closed.
            let _ = handle::remove(sock).map(|sock| SockObject::close(&sock));
        }
        for nic in children.nics {
            let _ = handle::remove(std::ptr::without_provenance::<softnet_nic>(nic));
        }
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        drop(machine.take());
    }
}

fn gone() -> Error {
    Error::new(
        Code::SOFTNET_RESULT_CLOSED,
        "the stack was freed by another thread",
    )
}

pub(crate) fn broken() -> Error {
    Error::new(
        Code::SOFTNET_RESULT_PANIC,
        "an earlier call panicked: the object may only be freed",
    )
}

/// Makes a stack. It has no NIC yet, and is inline: it does nothing but in the
/// calls that run it, on the calling thread. softnet_stack_start() gives it
/// threads. `config` may be NULL, for the defaults; it is not kept.
///
/// The caller owns `*out_stack` and frees it with softnet_stack_free(). On a
/// failure nothing is stored.
///
/// SOFTNET_RESULT_INVALID: the configuration cannot be.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_new(
    config: *const softnet_config,
    out_stack: *mut *mut softnet_stack,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_stack, "out_stack")?;
        let config = if config.is_null() {
            memory::Versioned::defaults()
        } else {
            // SAFETY: the caller has as many bytes there as `size` says.
            unsafe { memory::read_sized(config) }?
        };
        let stack = handle::insert(Arc::new(StackObject::new(config)?))?;
        // SAFETY: not NULL; the caller has room for a handle.
        unsafe { memory::store(out_stack, stack, "out_stack") }
    })
}

/// Stops and frees a stack with its NICs and sockets: all their handles are bad
/// afterwards, and calls that wait for a datagram return SOFTNET_RESULT_CLOSED.
/// Frames that were borrowed stay until they are released.
///
/// Thread-safe. Waits until other calls on the stack have returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_free(stack: *mut softnet_stack) -> softnet_result {
    boundary(|| {
        handle::remove(stack)?.shut_down();
        Ok(())
    })
}

/// Gives each CPU of the stack, and each NIC, a thread of its own. From now on
/// it runs by itself.
///
/// `pin_to` names the machine's core for each CPU of the stack, as far as
/// `pin_count` goes; NULL and 0 leave that to the system. An idle CPU spins for
/// `spin_ns` nanoseconds before it sleeps.
///
/// SOFTNET_RESULT_STATE: it runs already, or its clock is virtual.
/// SOFTNET_RESULT_SYSTEM: no thread can be had.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_start(
    stack: *mut softnet_stack,
    pin_to: *const u32,
    pin_count: usize,
    spin_ns: u64,
) -> softnet_result {
    boundary(|| {
        let stack = handle::shared(stack)?;
        let options = ThreadOptions {
            // SAFETY: the caller has `pin_count` numbers there.
            pin_to: unsafe { cores(pin_to, pin_count) }?,
            spin_ns,
        };
        stack.with(|machine| {
            machine.start(&options)?;
            stack.running.store(true, Ordering::Release);
            Ok(())
        })
    })
}

/// # Safety
/// `from` is NULL, or good for reading `count` numbers.
unsafe fn cores(from: *const u32, count: usize) -> Result<Vec<usize>, Error> {
    const MOST: usize = 64;
    if count > MOST {
        let message = format!("{count} cores to pin to: a stack has at most {MOST} CPUs");
        return Err(Error::invalid(message));
    }
    // SAFETY: the caller vouches for `count` numbers of 4 bytes.
    let bytes = unsafe { memory::bytes(from.cast(), count * 4, "pin_to") }?;
    let cores = bytes.as_chunks().0.iter();
    Ok(cores
        .map(|&core| u32::from_ne_bytes(core) as usize)
        .collect())
}

/// Takes the CPUs and NICs back from their threads: the stack is inline again,
/// with its NICs and sockets. Does nothing if it is inline.
///
/// A receive that waits on another thread goes on waiting.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_stop(stack: *mut softnet_stack) -> softnet_result {
    boundary(|| {
        let stack = handle::shared(stack)?;
        stack.with(|machine| {
            stack.running.store(false, Ordering::Release);
            Ok(machine.stop()?)
        })
    })
}

/// Runs an inline stack for one turn on the calling thread: each NIC once, then
/// each CPU once. `out_progress` may be NULL.
///
/// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
///
/// Thread-safe; calls that run or change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_run_once(
    stack: *mut softnet_stack,
    out_progress: *mut softnet_progress,
) -> softnet_result {
    boundary(|| {
        let progress = handle::shared(stack)?.with(|machine| {
            check_inline(machine)?;
            Ok(machine.run_once())
        })?;
        if out_progress.is_null() {
            return Ok(());
        }
        let progress = softnet_progress {
            next_event_ns: progress.next_event_ns.unwrap_or(u64::MAX),
            worked: progress.worked.into(),
            reserved: 0,
        };
        // SAFETY: the caller has room for a `softnet_progress`.
        unsafe { memory::store(out_progress, progress, "out_progress") }
    })
}

/// Runs an inline stack on the calling thread until nothing is left to do at this
/// time. `out_next_event_ns` may be NULL; it is told when the next timer is due,
/// in nanoseconds of the stack's clock, or UINT64_MAX for never.
///
/// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
///
/// Thread-safe; calls that run or change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_run_until_idle(
    stack: *mut softnet_stack,
    out_next_event_ns: *mut u64,
) -> softnet_result {
    boundary(|| {
        let next = handle::shared(stack)?.with(|machine| {
            check_inline(machine)?;
            Ok(machine.run_until_idle())
        })?;
        // SAFETY: the caller has room for a number, or gives NULL.
        unsafe { store_optional(out_next_event_ns, next.unwrap_or(u64::MAX)) }
    })
}

/// # Safety
/// `to` is NULL, or good for a write.
unsafe fn store_optional(to: *mut u64, value: u64) -> Result<(), Error> {
    if to.is_null() {
        return Ok(());
    }
    // SAFETY: the caller vouches for it.
    unsafe { memory::store(to, value, "a number") }
}

/// Runs an inline stack on the calling thread for `ns` nanoseconds of its clock.
/// A virtual clock is moved from event to event, with the monotonic one the call
/// sleeps between them.
///
/// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
///
/// Thread-safe; calls that run or change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_run_for(
    stack: *mut softnet_stack,
    ns: u64,
) -> softnet_result {
    boundary(|| handle::shared(stack)?.with(|machine| Ok(machine.run_for(ns)?)))
}

/// The stack's clock, in nanoseconds.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_now(
    stack: *mut softnet_stack,
    out_ns: *mut u64,
) -> softnet_result {
    boundary(|| {
        let now_ns = handle::shared(stack)?.with(|machine| Ok(machine.now_ns()))?;
        // SAFETY: the caller has room for a number.
        unsafe { memory::store(out_ns, now_ns, "out_ns") }
    })
}

/// Moves a virtual clock forward by `ns` nanoseconds, and runs nothing: the
/// timers that are due then run in the next turn.
///
/// SOFTNET_RESULT_STATE: the clock is not virtual.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_stack_advance(
    stack: *mut softnet_stack,
    ns: u64,
) -> softnet_result {
    boundary(|| {
        let stack = handle::shared(stack)?;
        let clock = stack.clock.as_ref().ok_or_else(|| {
            let message = "the stack's clock is not SOFTNET_CLOCK_VIRTUAL: nobody can move it";
            Error::new(Code::SOFTNET_RESULT_STATE, message)
        })?;
        clock.advance(ns);
        Ok(())
    })
}

fn check_inline(machine: &Machine) -> Result<(), Error> {
    if machine.is_running() {
        return Err(softnet::MachineError::Running.into());
    }
    Ok(())
}
