//! Loopback: what is sent comes back, and the wire is not heard.

use crate::fifo::Fifo;
use softnet_nic_hal::wire::{Wire, WireError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of frames that may be on their way back.
const LIMIT: usize = 64 * 1024;
/// What the longest of them takes.
const LONGEST: usize = 16 * 1024;

/// The frames that are on their way back. It allocates when it is used first.
#[derive(Default)]
pub(super) struct Loopback {
    turn: Mutex<Option<Box<Turn>>>,
    used: AtomicBool,
}

struct Turn {
    frames: Fifo,
    scratch: Box<[u8]>,
}

impl Loopback {
    fn turn(&self) -> MutexGuard<'_, Option<Box<Turn>>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether frames are on their way back.
    pub(super) fn holds_frames(&self) -> bool {
        let turn = self.turn();
        turn.as_ref().is_some_and(|turn| !turn.frames.is_empty())
    }

    /// Descriptors that may be sent now, if each is as long as it can be, without
    /// anything getting lost on the way back.
    pub(super) fn budget(&self) -> u32 {
        let turn = self.turn();
        let used = turn.as_ref().map_or(0, |turn| turn.frames.used());
        (LIMIT.saturating_sub(used) / LONGEST) as u32
    }

    /// Forgets them.
    pub(super) fn clear(&self) {
        if self.used.load(Ordering::Acquire) && self.used.swap(false, Ordering::AcqRel) {
            *self.turn() = None;
        }
    }

    /// A wire that ends where it begins, in place of `outside`.
    pub(super) fn instead_of<'a>(&'a self, outside: &'a mut dyn Wire) -> impl Wire + 'a {
        Turned {
            inside: self,
            outside,
        }
    }
}

struct Turned<'a> {
    inside: &'a Loopback,
    outside: &'a mut dyn Wire,
}

impl Wire for Turned<'_> {
    fn transmit(&mut self, frame: &[u8], _: u64) -> Result<(), WireError> {
        self.inside.used.store(true, Ordering::Release);
        let mut turn = self.inside.turn();
        let turn = turn.get_or_insert_with(|| {
            Box::new(Turn {
                frames: Fifo::new(),
                scratch: vec![0; LONGEST].into(),
            })
        });
        let taken = turn.frames.push(frame, LIMIT);
        taken.then_some(()).ok_or(WireError::Congested)
    }

    /// What comes from outside is lost.
    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        self.outside.receive(now_ns, budget, &mut |_| {});
        let mut turn = self.inside.turn();
        let Some(turn) = turn.as_mut() else {
            return 0;
        };
        for done in 0..budget {
            match turn.frames.pop(&mut turn.scratch) {
                Some(frame) => sink(frame),
                None => return done,
            }
        }
        budget
    }

    fn carrier(&self) -> bool {
        self.outside.carrier()
    }
}
