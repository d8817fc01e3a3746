//! The drivers of the machine's bus, and how their NICs come into service.

use super::{MachineError, NicConfig};
use softnet_emulated::PciFunction;
use softnet_netstack::{IfIndex, NicOptions, Stack};
use softnet_nic_hal::bus::{BindError, Host, PciDevice, PciDriver, PciDrivers, PciIdMatch};
use softnet_nic_hal::{NicHal, RxMode};
use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;

/// Whom the drivers work for: a bus of functions of one kind.
pub(super) struct OnBus<D = PciFunction>(PhantomData<D>);

impl<D: PciDevice> Host for OnBus<D> {
    type Device = D;
    type Context<'a> = Service<'a>;
    type Bound = IfIndex;
    type Error = MachineError;
}

/// What a NIC is put into service in, and how.
pub(super) struct Service<'a> {
    pub(super) stack: &'a mut Stack,
    pub(super) config: &'a NicConfig,
}

impl Service<'_> {
    fn put<N: NicHal + 'static>(&mut self, nic: Arc<N>) -> Result<IfIndex, MachineError> {
        nic.set_rx_mode(&RxMode {
            promiscuous: self.config.promiscuous,
            ..RxMode::default()
        })?;
        let options = NicOptions {
            name: self.config.name.clone(),
            queues: None,
            ring: self.config.ring,
            mtu: self.config.mtu,
        };
        Ok(self.stack.add_nic(nic, &options)?)
    }
}

/// A driver, by its table and by what binds it.
struct NicDriver<D, N> {
    name: &'static str,
    table: &'static [PciIdMatch],
    probe: fn(Arc<D>) -> Result<Arc<N>, MachineError>,
}

impl<D: PciDevice, N: NicHal + 'static> PciDriver<OnBus<D>> for NicDriver<D, N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn id_table(&self) -> &[PciIdMatch] {
        self.table
    }

    fn probe(&self, service: &mut Service<'_>, device: &Arc<D>) -> Result<IfIndex, MachineError> {
        service.put((self.probe)(Arc::clone(device))?)
    }

    fn remove(&self, service: &mut Service<'_>, _: &Arc<D>, dev: IfIndex) {
        // Only a device that somebody has removed already is not there.
        let _ = service.stack.remove_nic(dev);
    }
}

impl<D: PciDevice, N: NicHal + 'static> NicDriver<D, N> {
    fn boxed(self) -> Box<dyn PciDriver<OnBus<D>>> {
        Box::new(self)
    }
}

/// What a driver's refusal is to the machine.
fn refused(error: impl Error + Send + Sync + 'static) -> MachineError {
    MachineError::Probe(Box::new(error))
}

/// All drivers that the machine has.
pub(super) fn all<D: PciDevice>() -> PciDrivers<OnBus<D>> {
    PciDrivers::with([
        NicDriver {
            name: "e1000",
            table: softnet_e1000::ID_TABLE,
            probe: |device| softnet_e1000::E1000::probe(device).map_err(refused),
        }
        .boxed(),
        NicDriver {
            name: "igb",
            table: softnet_igb::ID_TABLE,
            probe: |device| softnet_igb::Igb::probe(device).map_err(refused),
        }
        .boxed(),
        NicDriver {
            name: "ne2k-pci",
            table: softnet_ne2000::ID_TABLE,
            probe: |device| softnet_ne2000::Ne2000::probe(device).map_err(refused),
        }
        .boxed(),
    ])
}

impl From<BindError<Self>> for MachineError {
    fn from(error: BindError<Self>) -> Self {
        match error {
            BindError::Refused(error) => error,
            _ => Self::NoDriver,
        }
    }
}
