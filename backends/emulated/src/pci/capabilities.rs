//! What a function's capability list says of it.

/// The capabilities of a function, each at the offset in its configuration space
/// that its datasheet gives: a multiple of 4 from 40h on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PciCapabilities {
    /// Power management with the states D0 and D3hot (*PCI Bus Power Management
    /// Interface Specification* 1.1); 8 bytes.
    pub power_management: Option<u8>,
    /// Message-signalled interrupts; 24 bytes.
    pub msi: Option<MsiLayout>,
    /// Message-signalled interrupts by a table; 12 bytes.
    pub msix: Option<MsixLayout>,
    /// PCI Express, as an endpoint with function-level reset; 60 bytes.
    pub express: Option<u8>,
    /// Advanced features, for a function of conventional PCI with function-level
    /// reset; 8 bytes.
    pub advanced_features: Option<u8>,
}

/// A function's MSI capability: 64-bit addresses, and a mask bit for each vector
/// (*PCI Local Bus Specification* 3.0, 6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiLayout {
    /// Offset of the capability.
    pub at: u8,
    /// Vectors: 1, 2, 4, 8, 16 or 32. Other numbers are rounded down.
    pub vectors: u8,
}

/// A function's MSI-X capability and where its table is (*PCI Local Bus
/// Specification* 3.0, 6.8.2).
///
/// The bus answers the accesses to the table and to the pending bits; the model
/// sees those to the rest of the BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixLayout {
    /// Offset of the capability.
    pub at: u8,
    /// Vectors, 1 to 2048; each has 16 bytes in the table.
    pub vectors: u16,
    /// The BAR of the table and of the pending bits.
    pub bar: u8,
    /// Offset of the table in the BAR, a multiple of 8.
    pub table: u32,
    /// Offset of the pending bits in the BAR, a multiple of 8.
    pub pba: u32,
}
