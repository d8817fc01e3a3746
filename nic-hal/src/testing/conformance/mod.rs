#![doc = include_str!("../../../CONFORMANCE.md")]

#[cfg(test)]
mod broken;
mod chaos;
mod control;
mod faults;
mod irq;
mod offloads;
mod packets;
mod queues;
mod rig;
mod rings;
mod settings;

use crate::nic::{NicHal, QueueId};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use softnet_dma_ring::{FramePool, PoolConfig, PoolError};

/// Everything around a NIC that is held to the contract.
///
/// Nothing happens by itself: the hardware works when it is
/// [stepped](Self::step), and a harness whose hardware has threads waits there
/// until they rest.
pub trait Harness {
    /// The NIC's type.
    type Nic: NicHal;

    /// The NIC, the same at each call. Its link is up.
    fn nic(&self) -> Arc<Self::Nic>;

    /// A pool that the NIC works with, of whatever shape it needs, with as many frames
    /// as asked for. It may be the same at each call.
    ///
    /// # Errors
    /// There is no memory for it.
    fn pool(&self, config: PoolConfig) -> Result<FramePool, PoolError> {
        FramePool::new(config)
    }

    /// A frame of `frame.len()` bytes, without FCS, arrives from the wire. The
    /// NIC is to put it into `queue`; a NIC that chooses queues itself is given
    /// queue 0 only.
    fn inject(&mut self, queue: QueueId, frame: &[u8]);

    /// Passes on what the NIC has put on the wire since the last call, in
    /// order.
    fn drain(&mut self, sink: &mut dyn FnMut(&[u8]));

    /// Lets the hardware work until it has nothing left to do, interrupts
    /// included.
    fn step(&mut self);

    /// Lets this much time pass for the hardware, and for it alone.
    fn advance(&mut self, ns: u64) {
        let _ = ns;
    }

    /// Plugs the cable in or pulls it; false when the harness cannot.
    fn set_link_up(&mut self, up: bool) -> bool {
        let _ = up;
        false
    }

    /// Makes the transmitter hang, or lets it go on; false when the harness
    /// cannot.
    fn set_tx_stalled(&mut self, stalled: bool) -> bool {
        let _ = stalled;
        false
    }

    /// Pulls the NIC out of its slot; false when the harness cannot.
    fn unplug(&mut self) -> bool {
        false
    }

    /// A frame arrives from the wire that is shorter than an Ethernet header, or
    /// longer than the NIC was opened for; false when this wire carries no such
    /// frame.
    fn inject_bad_length(&mut self, queue: QueueId, frame: &[u8]) -> bool {
        let _ = (queue, frame);
        false
    }

    /// How many queues the harness looks after. Where it is one, the checks of several
    /// are left out.
    fn queues(&self) -> u16 {
        1
    }

    /// Whether [`inject`](Self::inject) can name a queue other than 0.
    fn steers(&self) -> bool {
        false
    }

    /// Whether checksums that were left to the NIC are filled in where
    /// [`drain`](Self::drain) looks. A link inside of one kernel hands them on as
    /// they are, since they never leave it.
    fn sees_checksums(&self) -> bool {
        true
    }

    /// The shortest frame that the wire carries, in bytes, at least 14.
    fn min_frame(&self) -> usize {
        14
    }

    /// How many random sequences are tried by each check that has some. Where the
    /// hardware is slow, fewer will do.
    fn seeds(&self) -> u64 {
        16
    }
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The NIC keeps this part of the contract.
    Held,
    /// The check cannot be made with this NIC or this harness.
    NotApplicable(&'static str),
    /// The NIC breaks the contract, as the text says.
    Broken(String),
}

/// One check and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The fact that was checked.
    pub fact: &'static str,
    /// What became of it.
    pub verdict: Verdict,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Held => write!(f, "held    {}", self.fact),
            Verdict::NotApplicable(why) => write!(f, "n/a     {}: {why}", self.fact),
            Verdict::Broken(how) => write!(f, "BROKEN  {}: {how}", self.fact),
        }
    }
}

/// Why a check ended early.
#[derive(Debug)]
enum End {
    NotApplicable(&'static str),
    Broken(String),
}

impl End {
    /// The same, and by which seed it came to it.
    fn of_seed(self, seed: u64) -> Self {
        match self {
            Self::Broken(how) => Self::Broken(alloc::format!("seed {seed}: {how}")),
            other => other,
        }
    }
}

type Check = Result<(), End>;

/// Ends a check as broken.
fn broken(how: impl fmt::Display) -> End {
    End::Broken(alloc::format!("{how}"))
}

/// Ends the check as broken unless `fact` holds.
fn ensure(fact: bool, otherwise: impl fmt::Display) -> Check {
    if fact { Ok(()) } else { Err(broken(otherwise)) }
}

/// Ends the check as broken unless both are equal.
fn ensure_eq<T: PartialEq + fmt::Debug>(what: &str, have: T, want: T) -> Check {
    let same = have == want;
    ensure(same, format_args!("{what} is {have:?} instead of {want:?}"))
}

/// One line of the suite: the fact, and how it is checked.
type Line<H> = (&'static str, fn(&mut H) -> Check);

/// The whole suite.
fn lines<H: Harness>() -> Vec<Line<H>> {
    let groups = [
        control::checks::<H>(),
        rings::checks::<H>(),
        offloads::checks::<H>(),
        queues::checks::<H>(),
        irq::checks::<H>(),
        settings::checks::<H>(),
        faults::checks::<H>(),
        chaos::checks::<H>(),
    ];
    groups.into_iter().flatten().collect()
}

/// Makes one check on a harness of its own.
fn outcome<H: Harness>((fact, check): &Line<H>, mut harness: H) -> Outcome {
    Outcome {
        fact,
        verdict: match check(&mut harness) {
            Ok(()) => Verdict::Held,
            Err(End::NotApplicable(why)) => Verdict::NotApplicable(why),
            Err(End::Broken(how)) => Verdict::Broken(how),
        },
    }
}

/// Makes every check, each on a harness of its own.
pub fn run<H: Harness>(mut make: impl FnMut() -> H) -> Vec<Outcome> {
    let lines = lines::<H>();
    lines.iter().map(|line| outcome(line, make())).collect()
}

/// Makes every check, prints each outcome, and panics unless all that can be checked
/// holds.
///
/// `lacks` are the reasons, as [`Verdict::NotApplicable`] gives them, for which checks may
/// be left out with this NIC and this harness. A reason that is not among them means
/// that the driver has lost something; one that does not come up, that it lacks it no
/// more.
///
/// # Panics
/// When the NIC breaks the contract, or lacks something else: this is for tests.
pub fn assert_holds<H: Harness>(lacks: &[&str], make: impl FnMut() -> H) {
    assert_holds_but(&[], lacks, make);
}

/// As [`assert_holds`], but for the facts in `denied`, which have to be broken: hardware
/// that does not do what its manual says may keep a driver from them.
///
/// # Panics
/// When anything else is broken, one of these holds, or the NIC lacks something else:
/// this is for tests.
pub fn assert_holds_but<H: Harness>(denied: &[&str], lacks: &[&str], make: impl FnMut() -> H) {
    let outcomes = run(make);
    for outcome in &outcomes {
        std::println!("{outcome}");
    }
    let wrong = unexpected(&outcomes, denied, lacks);
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

/// What is broken or left out and is not to be, and what is to be and is not.
fn unexpected(outcomes: &[Outcome], denied: &[&str], lacks: &[&str]) -> Vec<String> {
    let is_expected = |outcome: &&Outcome| match &outcome.verdict {
        Verdict::Broken(_) => denied.contains(&outcome.fact),
        Verdict::NotApplicable(why) => lacks.contains(why) && !denied.contains(&outcome.fact),
        Verdict::Held => !denied.contains(&outcome.fact),
    };
    let wrong = outcomes.iter().filter(|outcome| !is_expected(outcome));
    let left_out = |lack: &&str| {
        let mut verdicts = outcomes.iter().map(|outcome| &outcome.verdict);
        verdicts.any(|verdict| matches!(verdict, Verdict::NotApplicable(why) if why == lack))
    };
    let gone = lacks.iter().filter(|lack| !left_out(lack));
    let wrong = wrong.map(|outcome| alloc::format!("{outcome}"));
    let gone = gone.map(|lack| alloc::format!("every check applies, in spite of: {lack}"));
    wrong.chain(gone).collect()
}
