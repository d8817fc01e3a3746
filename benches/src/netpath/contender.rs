//! Who is measured.

use super::scenario::{Scenario, Service};
use super::{emulated, loopback, smoltcp};
use anyhow::{Result, ensure};
use clap::ValueEnum;

/// A host with its wire and its applications, ready for one scenario.
pub trait Host {
    /// Lets `batch` frames arrive and does what the scenario's service says with
    /// each. Returns how many came through.
    fn pass(&mut self, batch: usize) -> usize;

    /// How many frames may arrive until the next [`rest`](Self::rest).
    fn stamina(&self) -> usize {
        usize::MAX
    }

    /// Makes it ready for another run.
    fn rest(&mut self) {}

    /// The start of the caller's buffer, which holds what was received last.
    fn buffer(&self) -> &[u8] {
        &[]
    }
}

/// Whose path it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// softnet on a NIC without hardware.
    Softnet,
    /// The same; an answer goes out in the frame that came in.
    SoftnetSameFrame,
    /// The same, with the NIC polled without interrupts, as smoltcp polls its ring.
    SoftnetBusy,
    /// The wire of softnet's NIC, and no stack.
    SoftnetWire,
    /// softnet, its e1000 driver, and the model of the chip.
    SoftnetE1000,
    /// smoltcp on a ring in memory.
    Smoltcp,
    /// The same, run by its ingress half alone.
    SmoltcpIngress,
    /// The wire of smoltcp's ring, and no stack.
    SmoltcpWire,
}

impl Contender {
    /// Its name in a row.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Softnet => "softnet",
            Self::SoftnetSameFrame => "softnet, same frame",
            Self::SoftnetBusy => "softnet, busy-polled",
            Self::SoftnetWire => "wire of softnet",
            Self::SoftnetE1000 => "softnet, e1000",
            Self::Smoltcp => "smoltcp",
            Self::SmoltcpIngress => "smoltcp, ingress",
            Self::SmoltcpWire => "wire of smoltcp",
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn argument(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The wire that it is measured with, to be subtracted.
    #[must_use]
    pub fn wire(self) -> Option<Self> {
        match self {
            Self::Softnet | Self::SoftnetSameFrame | Self::SoftnetBusy => Some(Self::SoftnetWire),
            Self::Smoltcp | Self::SmoltcpIngress => Some(Self::SmoltcpWire),
            Self::SoftnetWire | Self::SmoltcpWire | Self::SoftnetE1000 => None,
        }
    }

    /// Those that a service is measured with, beside the wires.
    #[must_use]
    pub fn of(service: Service) -> &'static [Self] {
        match service {
            Service::Receive => &[
                Self::Softnet,
                Self::SoftnetBusy,
                Self::Smoltcp,
                Self::SmoltcpIngress,
            ],
            Service::Echo => &[
                Self::Softnet,
                Self::SoftnetSameFrame,
                Self::SoftnetBusy,
                Self::Smoltcp,
            ],
            Service::Ping => &[Self::Softnet, Self::SoftnetBusy, Self::Smoltcp],
        }
    }

    /// Builds the host.
    ///
    /// # Errors
    /// When the contender cannot do what the scenario asks.
    pub fn host(self, scenario: &Scenario) -> Result<Box<dyn Host>> {
        use super::apps::Answer::{Copied, SameFrame};
        Ok(match self {
            Self::Softnet => Box::new(loopback::Softnet::new(scenario, Copied)?),
            Self::SoftnetSameFrame => Box::new(loopback::Softnet::new(scenario, SameFrame)?),
            Self::SoftnetBusy => Box::new(loopback::Softnet::busy_polled(scenario)?),
            Self::SoftnetWire => Box::new(loopback::Wire::new(scenario)?),
            Self::SoftnetE1000 => Box::new(emulated::Emulated::new(scenario)?),
            Self::Smoltcp => Box::new(smoltcp::Smoltcp::new(scenario, smoltcp::Run::Poll)?),
            Self::SmoltcpIngress => {
                Box::new(smoltcp::Smoltcp::new(scenario, smoltcp::Run::Ingress)?)
            }
            Self::SmoltcpWire => Box::new(smoltcp::Wire::new(scenario)),
        })
    }
}

/// Lets `packets` frames pass, in batches of `batch`.
///
/// # Errors
/// When one does not come through.
pub fn run(host: &mut dyn Host, packets: usize, batch: usize) -> Result<()> {
    let passes = packets / batch;
    let mut through = 0;
    for _ in 0..passes {
        through += host.pass(batch);
    }
    let arrived = passes * batch;
    ensure!(through == arrived, "{through} of {arrived} came through");
    Ok(())
}
