//! The control plane of a NIC that Linux's `ethtool` reaches: coalescing,
//! receive-side scaling, pause frames, offload switches, self test, and dumps.

use crate::nic::NicError;
use alloc::vec::Vec;
use bitflags::bitflags;

/// How completions are gathered into one interrupt (`ethtool -c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Coalesce {
    /// How long an interrupt is held back after a received packet, at most, in
    /// microseconds; 0 does not hold it back.
    pub rx_usecs: u32,
    /// The same after a sent packet.
    pub tx_usecs: u32,
}

/// How received flows are spread over queues (`ethtool -x`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssConfig {
    /// The key of the Toeplitz hash, first byte first.
    pub key: [u8; 40],
    /// The indirection table: the hash's low bits name an entry, which names a
    /// queue. Its length is the NIC's.
    pub table: Vec<u16>,
}

/// Flow control by IEEE 802.3x pause frames (`ethtool -a`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pause {
    /// Whether the two link partners agree on the rest.
    pub autonegotiate: bool,
    /// Whether received pause frames stop the transmitter.
    pub rx: bool,
    /// Whether pause frames are sent when the receiver fills up.
    pub tx: bool,
}

bitflags! {
    /// What a NIC does for the stack, as far as it can be switched
    /// (`ethtool -k`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// Verifies received transport checksums.
        const RX_CHECKSUM = 1;
        /// Fills in transport checksums.
        const TX_CHECKSUM = 1 << 1;
        /// Cuts long TCP packets into segments.
        const TSO = 1 << 2;
        /// Strips VLAN tags.
        const RX_VLAN = 1 << 3;
        /// Inserts VLAN tags.
        const TX_VLAN = 1 << 4;
        /// Gives received packets their hash.
        const RX_HASH = 1 << 5;
        /// Receives frames with errors too.
        const RX_ALL = 1 << 6;
        /// Returns what is sent.
        const LOOPBACK = 1 << 7;
    }
}

/// One part of a self test, as `ethtool -t` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// What was tested.
    pub name: &'static str,
    /// What was found wrong; a test that the state of the device does not allow
    /// is not listed.
    pub result: Result<(), &'static str>,
}

/// The control plane that a NIC offers beside [`NicHal`](crate::NicHal).
///
/// Every call may take locks and wait for the device. What a NIC cannot do it
/// refuses with [`NicError::Unsupported`], which the methods provided here do.
/// Settings last until the driver is removed, also over a stop and a new open.
pub trait EthtoolOps: Send + Sync {
    /// How interrupts are held back.
    ///
    /// # Errors
    /// [`NicError::Unsupported`].
    fn coalesce(&self) -> Result<Coalesce, NicError> {
        Err(NicError::Unsupported("coalescing"))
    }

    /// Changes how interrupts are held back.
    ///
    /// # Errors
    /// [`NicError::Unsupported`], also for values that the NIC cannot have.
    fn set_coalesce(&self, coalesce: &Coalesce) -> Result<(), NicError> {
        let _ = coalesce;
        Err(NicError::Unsupported("coalescing"))
    }

    /// How flows are spread.
    ///
    /// # Errors
    /// [`NicError::Unsupported`].
    fn rss(&self) -> Result<RssConfig, NicError> {
        Err(NicError::Unsupported("receive-side scaling"))
    }

    /// Changes how flows are spread.
    ///
    /// # Errors
    /// [`NicError::Unsupported`], also for a table of another length or with a
    /// queue that is not open.
    fn set_rss(&self, rss: &RssConfig) -> Result<(), NicError> {
        let _ = rss;
        Err(NicError::Unsupported("receive-side scaling"))
    }

    /// How pause frames are used.
    ///
    /// # Errors
    /// [`NicError::Unsupported`].
    fn pause(&self) -> Result<Pause, NicError> {
        Err(NicError::Unsupported("pause frames"))
    }

    /// Changes how pause frames are used.
    ///
    /// # Errors
    /// [`NicError::Unsupported`].
    fn set_pause(&self, pause: Pause) -> Result<(), NicError> {
        let _ = pause;
        Err(NicError::Unsupported("pause frames"))
    }

    /// What the NIC can do, and what of it is switched on.
    fn features(&self) -> FeatureSet;

    /// Switches offloads on or off.
    ///
    /// # Errors
    /// [`NicError::Unsupported`] when one is asked for that the NIC has not.
    fn set_features(&self, on: Features) -> Result<(), NicError> {
        let _ = on;
        Err(NicError::Unsupported("a change of its offloads"))
    }

    /// Tests the device. Parts of it need the NIC to be stopped, and are left
    /// out while it is open.
    ///
    /// # Errors
    /// [`NicError::Unsupported`], or [`NicError::Gone`].
    fn self_test(&self) -> Result<Vec<SelfTest>, NicError> {
        Err(NicError::Unsupported("a self test"))
    }

    /// Visits the registers that can be read without a side effect, by their
    /// names in the datasheet and their offsets (`ethtool -d`).
    fn registers(&self, visit: &mut dyn FnMut(&'static str, u32, u32)) {
        let _ = visit;
    }

    /// The words of the device's EEPROM (`ethtool -e`).
    ///
    /// # Errors
    /// [`NicError::Unsupported`], or [`NicError::Device`] when it does not
    /// answer.
    fn eeprom(&self) -> Result<Vec<u16>, NicError> {
        Err(NicError::Unsupported("a dump of its EEPROM"))
    }
}

/// The offloads of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSet {
    /// What it can do.
    pub available: Features,
    /// What it does.
    pub on: Features,
}
