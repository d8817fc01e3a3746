//! Causes, the mask, the pin's level, and the throttle.

use crate::rig::*;
use softnet_emulated::PciFunction;
use softnet_nic_hal::bus::{IrqMode, IrqReturn, PciDevice, VectorHandler};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn reading_icr_clears_it_and_writing_ones_clears_those() {
    let rig = Rig::new();
    rig.w(ICS, TXDW | RXT0 | LSC);
    rig.w(ICR, RXT0);
    assert_eq!(rig.r(ICR), TXDW | LSC);
    assert_eq!(rig.r(ICR), 0);
}

#[test]
fn ims_sets_and_imc_clears_single_bits() {
    let rig = Rig::new();
    rig.w(IMS, TXDW | LSC);
    rig.w(IMS, RXT0);
    rig.w(IMC, LSC);
    assert_eq!(rig.r(IMS), TXDW | RXT0);
    assert_eq!(rig.r(IMC), 0, "write only");
}

#[test]
fn only_unmasked_causes_interrupt() {
    let rig = Rig::new();
    let handler = Counting::new(&rig);
    rig.w(ICS, RXT0);
    assert_eq!(handler.calls(), 0);
    rig.w(IMS, TXDW);
    assert_eq!(handler.calls(), 0);
    rig.w(ICS, TXDW);
    assert_eq!(handler.calls(), 1);
    assert_eq!(handler.causes.load(Ordering::SeqCst), TXDW | RXT0);
}

#[test]
fn unmasking_fires_when_a_cause_is_pending() {
    let mut rig = Rig::new();
    let handler = Counting::new(&rig);
    let _ring = rig.rx_ring(8, SECRC);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(handler.calls(), 0);
    rig.w(IMS, RXT0);
    assert_eq!(handler.calls(), 1);
    rig.w(IMS, RXT0);
    assert_eq!(handler.calls(), 1, "nothing is pending any more");
}

#[test]
fn a_handler_that_is_installed_late_is_called_for_what_is_pending() {
    let rig = Rig::new();
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    assert_ne!(rig.dev.config_read32(4) & 1 << 19, 0, "interrupt status");
    let handler = Counting::new(&rig);
    assert_eq!(handler.calls(), 1);
    assert_eq!(rig.dev.config_read32(4) & 1 << 19, 0);
}

#[test]
fn the_command_registers_disable_bit_holds_the_pin() {
    let rig = Rig::new();
    let handler = Counting::new(&rig);
    let command = rig.dev.config_read32(4);
    rig.dev.config_write32(4, command & 0xffff | 1 << 10);
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(handler.calls(), 0);
    rig.dev.config_write32(4, command & 0xffff);
    assert_eq!(handler.calls(), 1);
}

/// Masks, and unmasks again, without ever reading ICR: as NAPI does it.
struct Masking {
    dev: PciFunction,
    calls: AtomicU64,
}

impl VectorHandler for Masking {
    fn interrupt(&self, _: u16) -> IrqReturn {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.dev.write32(0, IMC, u32::MAX);
        IrqReturn::Handled
    }
}

#[test]
fn the_pin_is_a_level_that_fires_again_as_long_as_a_cause_stays() {
    let rig = Rig::new();
    let handler = Arc::new(Masking {
        dev: rig.dev.clone(),
        calls: AtomicU64::new(0),
    });
    rig.request_irq(Arc::clone(&handler) as _);
    rig.w(ICS, RXT0);
    for calls in 1..5 {
        rig.w(IMS, RXT0);
        assert_eq!(handler.calls.load(Ordering::SeqCst), calls);
    }
}

/// Raises a further cause and unmasks it, from inside of the handler.
struct Reentrant {
    dev: PciFunction,
    depth: AtomicU64,
    calls: AtomicU64,
}

impl VectorHandler for Reentrant {
    fn interrupt(&self, _: u16) -> IrqReturn {
        assert_eq!(self.depth.fetch_add(1, Ordering::SeqCst), 0, "never twice");
        self.dev.read32(0, ICR);
        if self.calls.fetch_add(1, Ordering::SeqCst) < 3 {
            self.dev.write32(0, ICS, TXDW);
            self.dev.write32(0, IMS, TXDW);
            // What waits for the end of DMA does not wait for ever in here.
            self.dev.write32(0, RCTL, 0);
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
        IrqReturn::Handled
    }
}

#[test]
fn a_handler_may_use_every_register_and_is_not_reentered() {
    let mut rig = Rig::new();
    let handler = Arc::new(Reentrant {
        dev: rig.dev.clone(),
        depth: AtomicU64::new(0),
        calls: AtomicU64::new(0),
    });
    rig.request_irq(Arc::clone(&handler) as _);
    let _ring = rig.rx_ring(8, SECRC);
    rig.w(IMS, RXT0 | TXDW);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(handler.calls.load(Ordering::SeqCst), 4);
}

/// Says that nothing was its own, and leaves the pin asserted.
struct Deaf(AtomicU64);

impl VectorHandler for Deaf {
    fn interrupt(&self, _: u16) -> IrqReturn {
        self.0.fetch_add(1, Ordering::SeqCst);
        IrqReturn::None
    }
}

#[test]
fn a_deaf_handler_is_called_again_and_again_but_hangs_nobody() {
    let mut rig = Rig::new();
    let handler = Arc::new(Deaf(AtomicU64::new(0)));
    rig.request_irq(Arc::clone(&handler) as _);
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    let first = handler.0.load(Ordering::SeqCst);
    assert!(first > 1, "a level");
    assert!(rig.step().again);
    assert!(handler.0.load(Ordering::SeqCst) > first);
    let lines = rig.irqs.snapshot().lines;
    let calls = handler.0.load(Ordering::SeqCst);
    assert_eq!(
        (lines[0].delivered[0], lines[0].unhandled[0]),
        (calls, calls)
    );
}

#[test]
fn the_throttle_keeps_interrupts_its_interval_apart() {
    let mut rig = Rig::new();
    let handler = Counting::new(&rig);
    let _ring = rig.rx_ring(128, SECRC);
    rig.w(IMS, RXT0);
    rig.w(ITR, 500);
    rig.deliver(&frame(MAC, 60));
    assert_eq!(handler.calls(), 1, "the first one passes");
    let first = rig.now_ns;
    rig.deliver(&frame(MAC, 60));
    rig.w(IMS, RXT0);
    assert_eq!(handler.calls(), 1);
    let due = rig.step().next_event_ns;
    assert_eq!(due, Some(first + 128_000), "500 counts of 256 ns");
    rig.now_ns = first + 128_000 - 2;
    rig.step();
    assert_eq!(handler.calls(), 1);
    rig.step();
    assert_eq!(handler.calls(), 2);
    assert_eq!(rig.step().next_event_ns, None);
}

#[test]
fn the_throttle_bounds_the_rate() {
    let mut rig = Rig::new();
    let handler = Counting::new(&rig);
    rig.w(IMS, LSC);
    rig.w(ITR, 500);
    // One cause each microsecond, for ten milliseconds.
    for _ in 0..10_000 {
        rig.now_ns += 999;
        rig.w(ICS, LSC);
        rig.step();
    }
    // At most one in 128 microseconds: 78.125 in 10 milliseconds.
    assert_eq!(handler.calls(), 79);
}

#[test]
fn a_throttle_that_is_switched_off_lets_the_pending_one_out() {
    let rig = Rig::new();
    let handler = Counting::new(&rig);
    rig.w(IMS, LSC);
    rig.w(ITR, 500);
    rig.w(ICS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(handler.calls(), 1);
    rig.w(ITR, 0);
    assert_eq!(handler.calls(), 2);
}

#[test]
fn mdic_interrupts_when_it_is_asked_to() {
    let rig = Rig::new();
    rig.w(MDIC, 2 << 26 | 1 << 21 | 2 << 16 | 1 << 29);
    assert_eq!(rig.r(ICR), 1 << 9);
    assert_eq!(rig.r(MDIC) & 0xffff, 0x0141);
}

#[test]
fn interrupts_count_on_the_cpu_of_their_affinity() {
    let rig = Rig::new();
    let _handler = Counting::new(&rig);
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    rig.irqs.set_affinity(rig.dev.irq(), 1).unwrap();
    rig.w(ICS, LSC);
    rig.w(ICS, LSC);
    assert_eq!(rig.irqs.snapshot().lines[0].delivered, [1, 2]);
}

/// Takes the pin once, and keeps it masked then, as one who passes it on.
#[derive(Default)]
struct Passes(AtomicU64);

impl VectorHandler for Passes {
    fn interrupt(&self, _: u16) -> IrqReturn {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            IrqReturn::Handled
        } else {
            IrqReturn::Masked
        }
    }
}

#[test]
fn a_pin_that_is_kept_masked_lets_the_device_rest() {
    let mut rig = Rig::new();
    let handler = Arc::new(Passes::default());
    rig.dev.alloc_irq_vectors(1, &[IrqMode::Intx]).unwrap();
    rig.dev.request_irq(0, "eth0", 0, handler.clone()).unwrap();
    rig.w(IMS, LSC);
    rig.w(ICS, LSC);
    rig.settle();
    assert!(!rig.step().again);
    assert_ne!(rig.dev.config_read32(4) & 1 << 19, 0, "interrupt status");
}
