//! Network devices: where a NIC meets NAPI.
//!
//! A device has a part on every CPU. The part knows the device's addresses, and
//! owns the transmit rings of the queues that belong to its CPU; the receive
//! rings belong to the [`QueueVector`]s, which are NAPI instances.

mod queue_vector;
mod tx;

pub(crate) use queue_vector::{Adaptive, LinkWatch, QueueVector};
pub use queue_vector::{HardIrq, RxStats};
pub use tx::TxStats;
pub(crate) use tx::{TxQueue, TxSlot};

use crate::route::IfIndex;
use alloc::string::String;
use alloc::vec::Vec;
use softnet_nic_hal::MacAddress;

/// One CPU's part of a network device.
pub struct NetDevice {
    index: IfIndex,
    name: String,
    mac: MacAddress,
    mtu: u16,
    carrier: bool,
    tx_checksum: bool,
    tx: Vec<TxSlot>,
    /// Which of these this CPU sends by.
    own_tx: usize,
}

impl NetDevice {
    pub(crate) fn new(index: IfIndex, name: String, mac: MacAddress, mtu: u16) -> Self {
        Self {
            index,
            name,
            mac,
            mtu,
            carrier: true,
            tx_checksum: false,
            tx: Vec::new(),
            own_tx: 0,
        }
    }

    /// The device's number.
    #[must_use]
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The station address.
    #[must_use]
    #[inline]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The largest network-layer packet, in bytes.
    #[must_use]
    #[inline]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether the link is up, as the NIC last said.
    #[must_use]
    pub fn carrier(&self) -> bool {
        self.carrier
    }

    pub(crate) fn set_carrier(&mut self, up: bool) {
        self.carrier = up;
    }

    /// Whether the NIC fills in transport checksums that a frame leaves to it.
    #[must_use]
    pub fn tx_checksum(&self) -> bool {
        self.tx_checksum
    }

    pub(crate) fn set_tx_checksum(&mut self, fills_in: bool) {
        self.tx_checksum = fills_in;
    }

    /// Sets the transmit queues as this CPU sees them. It sends by its own if the
    /// NIC has one for each.
    pub(crate) fn set_tx(&mut self, tx: Vec<TxSlot>, cpu: usize) {
        self.own_tx = cpu.checked_rem(tx.len()).unwrap_or(0);
        self.tx = tx;
    }

    pub(crate) fn take_tx(&mut self) -> Vec<TxSlot> {
        core::mem::take(&mut self.tx)
    }

    /// The transmit queue that this CPU sends by.
    #[inline]
    pub(crate) fn tx_slot(&mut self) -> Option<&mut TxSlot> {
        self.tx.get_mut(self.own_tx)
    }

    /// The transmit queue `queue`, if this CPU owns it.
    #[inline]
    pub(crate) fn own_queue(&mut self, queue: usize) -> Option<&mut TxQueue> {
        match self.tx.get_mut(queue)? {
            TxSlot::Own(tx) => Some(tx),
            TxSlot::Remote { .. } | TxSlot::Loopback => None,
        }
    }

    pub(crate) fn own_queues(&mut self) -> impl Iterator<Item = &mut TxQueue> {
        self.tx.iter_mut().filter_map(|slot| match slot {
            TxSlot::Own(tx) => Some(tx),
            TxSlot::Remote { .. } | TxSlot::Loopback => None,
        })
    }
}
