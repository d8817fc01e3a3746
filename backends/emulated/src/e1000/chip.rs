//! What the registers' threads and the device's thread share.

use super::{E1000Config, ModelCounters, Step};
use crate::pci::{FunctionPort, PciModel};
use softnet_nic_hal::wire::{Wire, WireWaker};
use std::sync::Arc;

pub(super) struct Chip {
    port: Arc<FunctionPort>,
}

impl Chip {
    pub(super) fn new(port: Arc<FunctionPort>, config: &E1000Config) -> Self {
        let _ = config;
        Self { port }
    }

    pub(super) fn step(&self, now_ns: u64, wire: &mut dyn Wire) -> Step {
        let _ = (now_ns, wire);
        Step::default()
    }

    pub(super) fn has_work(&self) -> bool {
        false
    }

    pub(super) fn is_present(&self) -> bool {
        self.port.is_present()
    }

    pub(super) fn counters(&self) -> ModelCounters {
        ModelCounters::default()
    }

    pub(super) fn set_waker(&self, waker: Option<Arc<dyn WireWaker>>) {
        let _ = waker;
    }

    pub(super) fn fall_asleep(&self) -> bool {
        true
    }

    pub(super) fn awake(&self) {}
}

impl PciModel for Chip {
    fn read(&self, _bar: u8, _offset: u32) -> u32 {
        0
    }

    fn write(&self, _bar: u8, _offset: u32, _value: u32) {}

    fn pin(&self) -> bool {
        false
    }

    fn check_pin(&self) {}

    fn quiesce(&self) {}

    fn delay_us(&self, _us: u32) {}
}
