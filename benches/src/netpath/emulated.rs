//! softnet, inline, with its e1000 driver on the model of the chip.

use super::apps::{Answer, Apps};
use super::contender::Host;
use super::scenario::{Scenario, Service};
use super::traffic::{OURS, PEER, PEER_MAC, Traffic};
use anyhow::{Result, ensure};
use core::net::IpAddr;
use softnet::netstack::StackConfig;
use softnet::nic_hal::MacAddress;
use softnet::nic_hal::wire::{Wire, WireError};
use softnet::softirq::VirtualClock;
use softnet::{Machine, NicConfig, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// What the bench and the wire share.
#[derive(Default)]
struct Tally {
    /// Frames that are to arrive.
    due: AtomicUsize,
    /// Frames that were sent.
    sent: AtomicUsize,
}

/// What the chip is plugged into.
struct Feed {
    traffic: Traffic,
    tally: Arc<Tally>,
}

impl Wire for Feed {
    fn transmit(&mut self, _frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.tally.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let due = self.tally.due.load(Ordering::Relaxed);
        let now = due.min(budget);
        self.tally.due.store(due - now, Ordering::Relaxed);
        for _ in 0..now {
            sink(self.traffic.next());
        }
        now
    }
}

/// The machine and the sockets on it.
pub(super) struct Emulated {
    machine: Machine,
    tally: Arc<Tally>,
    apps: Apps,
    service: Service,
}

impl Emulated {
    pub(super) fn new(scenario: &Scenario) -> Result<Self> {
        let time = Time::Virtual(Arc::new(VirtualClock::new(1_000_000_000)));
        let mut machine = Machine::new(&StackConfig::default(), time)?;
        let tally = Arc::new(Tally::default());
        let feed = Feed {
            traffic: Traffic::new(scenario, MAC.0),
            tally: tally.clone(),
        };
        let config = NicConfig {
            mac: Some(MAC),
            ..NicConfig::default()
        };
        let dev = machine.add_e1000(Box::new(feed), &config)?;
        let stack = machine.stack_mut();
        stack.add_address(dev, IpAddr::V4(OURS), 24)?;
        stack.add_neighbour(dev, PEER, MacAddress(PEER_MAC))?;
        let apps = Apps::open(stack, scenario, Answer::Copied)?;
        let up = machine.wait_for_link(dev, Duration::from_secs(1))?;
        ensure!(up, "the emulated NIC has no link");
        Ok(Self {
            machine,
            tally,
            apps,
            service: scenario.service,
        })
    }
}

impl Host for Emulated {
    fn pass(&mut self, batch: usize) -> usize {
        self.tally.due.store(batch, Ordering::Relaxed);
        self.machine.run_until_idle();
        match self.service {
            Service::Receive => self.apps.serve(self.service, batch),
            Service::Echo => {
                self.apps.serve(self.service, batch);
                self.machine.run_until_idle();
                self.tally.sent.swap(0, Ordering::Relaxed)
            }
            Service::Ping => self.tally.sent.swap(0, Ordering::Relaxed),
        }
    }

    fn buffer(&self) -> &[u8] {
        self.apps.buffer()
    }
}
