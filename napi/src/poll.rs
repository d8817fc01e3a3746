//! What an instance does when it is polled.

use softnet_softirq::Cpu;

/// How many packets a poll may take at most. A budget of 0 is ordinary: the
/// poller then does what costs no budget, such as reaping what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget(pub usize);

impl Budget {
    /// Linux's `NAPI_POLL_WEIGHT`.
    pub const WEIGHT: Self = Self(64);
}

/// How a poll ended.
///
/// Whether there is more to do and how many packets were taken are two answers.
/// Linux gives both in one number (the whole budget means that there is more),
/// and its drivers have to say that they took packets which they did not take
/// when they merely could not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PollOutcome {
    /// Nothing is left. The interrupt is unmasked after this, unless the instance
    /// was scheduled meanwhile.
    Done {
        /// Packets taken, at most the budget.
        packets: usize,
    },
    /// There is, or may be, more to do: the instance stays scheduled and is
    /// polled again after all others.
    Exhausted {
        /// Packets taken, at most the budget.
        packets: usize,
    },
}

impl PollOutcome {
    /// The usual answer of a poller that stops only at its budget or when it
    /// has found nothing more.
    pub const fn from_packets(packets: usize, budget: Budget) -> Self {
        if packets < budget.0 {
            Self::Done { packets }
        } else {
            Self::Exhausted { packets }
        }
    }

    /// Packets taken.
    #[must_use]
    pub const fn packets(self) -> usize {
        match self {
            Self::Done { packets } | Self::Exhausted { packets } => packets,
        }
    }
}

/// One instance: usually a queue of a NIC with its interrupt, on a CPU whose own
/// state is a `C`.
pub trait NapiPoll<C>: Send {
    /// Takes packets, at most `budget`, and hands them to what `cx` holds. Only
    /// the CPU's thread calls it, and never while it is being polled already.
    ///
    /// It is called with the interrupt masked and leaves it so.
    fn poll(&mut self, cx: &mut C, cpu: &mut Cpu, budget: Budget) -> PollOutcome;

    /// Whether it can be polled without a reason ([`busy_poll`](crate::busy_poll));
    /// no use where no interrupt is saved by it.
    fn can_busy_poll(&self) -> bool {
        true
    }

    /// Keeps the instance's interrupt from firing.
    fn mask_irq(&self);

    /// Lets the interrupt fire again. It must fire at once when there is
    /// something to poll for: otherwise what came between the last poll and this
    /// call would wait for what comes next.
    fn unmask_irq(&self);
}
