//! Interrupt causes, their mask, and the throttle (sections 13.4.17 to 13.4.21).

use super::regs::Cause;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Nanoseconds of one count of ITR.
const UNIT_NS: u64 = 256;

/// ICR and IMS, which every thread may change at any time.
///
/// A cause is set before the mask is looked at, and the mask is set before the
/// causes are looked at; so of a cause and an unmask at the same time, at least
/// one sees the other and raises the pin. Hence the sequentially consistent
/// order throughout.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    icr: AtomicU32,
    ims: AtomicU32,
    /// ITR, in nanoseconds.
    interval_ns: AtomicU64,
    /// Before this time, the throttle lets nothing through.
    open_ns: AtomicU64,
}

impl Interrupts {
    pub(super) fn set(&self, causes: Cause) {
        if !causes.is_empty() {
            self.icr.fetch_or(causes.bits(), Ordering::SeqCst);
        }
    }

    /// Reads ICR, which clears it.
    pub(super) fn take(&self) -> u32 {
        self.icr.swap(0, Ordering::SeqCst)
    }

    /// Ones that are written to ICR clear.
    pub(super) fn clear(&self, bits: u32) {
        self.icr.fetch_and(!bits, Ordering::SeqCst);
    }

    /// The causes, which stay.
    pub(super) fn causes(&self) -> u32 {
        self.icr.load(Ordering::SeqCst)
    }

    pub(super) fn mask(&self) -> u32 {
        self.ims.load(Ordering::SeqCst)
    }

    pub(super) fn unmask(&self, causes: Cause) {
        self.ims.fetch_or(causes.bits(), Ordering::SeqCst);
    }

    pub(super) fn remask(&self, bits: u32) {
        self.ims.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Whether the pin is asserted, but for the throttle.
    pub(super) fn pending(&self) -> bool {
        self.icr.load(Ordering::SeqCst) & self.ims.load(Ordering::SeqCst) != 0
    }

    pub(super) fn set_itr(&self, counts: u32) {
        let ns = u64::from(counts & 0xffff) * UNIT_NS;
        self.interval_ns.store(ns, Ordering::SeqCst);
    }

    /// When the throttle will open, if it is closed at `now_ns`.
    pub(super) fn throttled_until(&self, now_ns: u64) -> Option<u64> {
        if self.interval_ns.load(Ordering::SeqCst) == 0 {
            return None;
        }
        Some(self.open_ns.load(Ordering::SeqCst)).filter(|&open| open > now_ns)
    }

    /// An interrupt goes out: the throttle closes.
    pub(super) fn throttle(&self, now_ns: u64) {
        let interval = self.interval_ns.load(Ordering::SeqCst);
        let open = now_ns.saturating_add(interval);
        self.open_ns.store(open, Ordering::SeqCst);
    }

    pub(super) fn reset(&self) {
        self.ims.store(0, Ordering::SeqCst);
        self.icr.store(0, Ordering::SeqCst);
        self.interval_ns.store(0, Ordering::SeqCst);
        self.open_ns.store(0, Ordering::SeqCst);
    }
}
