//! The model on a thread of its own.

use crate::rig::*;
use softnet_emulated::pci::PciBus;
use softnet_emulated::{DeviceThread, Ne2000, Ne2000Config};
use softnet_nic_hal::MacAddress;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError, WireWaker};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A wire that hands on what it is given, and waits for its waker.
struct Waiting {
    sent: Sender<Vec<u8>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl WireWaker for Woken {
    fn wake(&self) {
        *self.flag.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Wire for Waiting {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.sent
            .send(frame.to_vec())
            .map_err(|_| WireError::NoCarrier)
    }

    fn receive(&mut self, _: u64, _: usize, _: &mut dyn FnMut(&[u8])) -> usize {
        0
    }

    fn wait(&mut self, _timeout_ns: Option<u64>) {
        let flag = self.woken.flag.lock().unwrap();
        let mut flag = self
            .woken
            .changed
            .wait_while(flag, |woken| !*woken)
            .unwrap();
        *flag = false;
    }

    fn waker(&self) -> Arc<dyn WireWaker> {
        Arc::clone(&self.woken) as _
    }
}

#[test]
fn a_transmit_command_wakes_the_thread() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let config = Ne2000Config::new(MacAddress(MAC));
    let (nic, chip) = Ne2000::attach(&bus, &config).unwrap();
    let (sent, received) = mpsc::channel();
    let woken = Arc::default();
    let wire = Box::new(Waiting { sent, woken });
    let thread = DeviceThread::spawn(Box::new(chip), wire, Arc::new(|| 0)).unwrap();
    nic.write8(0, CR, START);
    for _ in 0..100 {
        nic.write8(0, TPSR, 0x40);
        nic.write16(0, 0x6, 0);
        nic.write8(0, TBCR0, 60);
        nic.write8(0, CR, START | TXP);
        let packet = received.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(packet.len(), 60);
        // The status comes after the packet.
        while nic.read8(0, ISR) & PTX == 0 {
            std::thread::yield_now();
        }
        nic.write8(0, ISR, PTX);
    }
    assert!(thread.stop().is_some());
}
