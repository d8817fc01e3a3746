//! Each of these changes was made on purpose, and made a model fail:
//!
//! - a `pass` that does not take the lock, or counts itself off never;
//! - a `burst` that gives the lock back at once;
//! - a device that looks at what it may do before its burst has begun (two changes:
//!   its mappings, its switch);
//! - an owner that passes the gate first, and unmaps or switches off then;
//! - a `change` that is not counted, or is counted before the lock is taken;
//! - a `refresh` that reads the version after it gave the lock back, or that copies
//!   only once.
//!
//! That a burst lets those pass who wait is a matter of fairness, of which a search
//! through all orders says nothing.

use super::*;
use crate::sync::AtomicBool;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

const REGIONS: usize = 2;

/// A device, and memory that it reaches by DMA: loom fails when it reaches a
/// region that its owner has taken back.
struct Device {
    gate: Gate<Snapshot<[bool; REGIONS]>>,
    mapped: Versioned<[bool; REGIONS]>,
    enabled: AtomicBool,
    memory: [UnsafeCell<()>; REGIONS],
}

impl Device {
    /// With the first `mapped` regions.
    fn shared(mapped: usize) -> Arc<Self> {
        let device = Self {
            gate: Gate::new(Snapshot::default()),
            mapped: Versioned {
                value: Mutex::new([false; REGIONS]),
                version: AtomicU64::new(0),
            },
            enabled: AtomicBool::new(true),
            memory: [UnsafeCell::new(()), UnsafeCell::new(())],
        };
        device.mapped.change(|regions| regions[..mapped].fill(true));
        Arc::new(device)
    }

    fn burst(&self) {
        let mut view = self.gate.burst();
        self.mapped.refresh(&mut view);
        if !self.enabled.load(Ordering::Relaxed) {
            return;
        }
        for (memory, mapped) in self.memory.iter().zip(view.value()) {
            if *mapped {
                memory.with_mut(|_| ());
            }
        }
    }

    /// Takes a region back, and uses it otherwise.
    fn unmap(&self, region: usize) {
        self.mapped.change(|regions| regions[region] = false);
        drop(self.gate.pass());
        self.memory[region].with_mut(|_| ());
    }

    /// What unplugging, and the switch of the receiver, come to.
    fn disable(&self) {
        self.enabled.store(false, Ordering::Relaxed);
        drop(self.gate.pass());
    }
}

fn bursts_on(device: &Arc<Device>, bursts: u32) -> JoinHandle<()> {
    let device = Arc::clone(device);
    thread::spawn(move || (0..bursts).for_each(|_| device.burst()))
}

/// Race: memory is unmapped while bursts begin and end.
#[test]
fn unmapped_memory_is_left_alone() {
    loom::model(|| {
        let device = Device::shared(1);
        let bursts = bursts_on(&device, 2);
        device.unmap(0);
        bursts.join().unwrap();
    });
}

/// Race: two owners take their memory back at once.
#[test]
fn each_owner_waits_for_the_burst_that_uses_its_memory() {
    loom::model(|| {
        let device = Device::shared(2);
        let bursts = bursts_on(&device, 1);
        let other = {
            let device = Arc::clone(&device);
            thread::spawn(move || device.unmap(1))
        };
        device.unmap(0);
        other.join().unwrap();
        bursts.join().unwrap();
    });
}

/// Race: the device is switched off, or unplugged, while bursts begin and end.
#[test]
fn a_device_that_was_switched_off_does_no_dma() {
    loom::model(|| {
        let device = Device::shared(1);
        let bursts = bursts_on(&device, 2);
        device.disable();
        device.memory[0].with_mut(|_| ());
        bursts.join().unwrap();
    });
}

/// Race: two changes come while a copy is brought up to date.
#[test]
fn a_change_that_comes_while_the_copy_is_made_is_seen_the_next_time() {
    loom::model(|| {
        let device = Device::shared(0);
        let changes = [0, 1].map(|region| {
            let device = Arc::clone(&device);
            thread::spawn(move || device.mapped.change(|regions| regions[region] = true))
        });
        device.burst();
        for change in changes {
            change.join().unwrap();
        }
        let mut view = device.gate.burst();
        device.mapped.refresh(&mut view);
        assert_eq!(*view.value(), [true; REGIONS]);
    });
}
