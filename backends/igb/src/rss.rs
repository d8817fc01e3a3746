//! Receive-side scaling (7.1.1.7): which queue a flow goes to.

use crate::chip::Chip;
use crate::regs::{self, Mrqc};
use alloc::vec::Vec;
use softnet_nic_hal::NicError;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::ethtool::RssConfig;

/// Entries of the redirection table.
pub(crate) const TABLE: usize = 4 * regs::RETA_WORDS as usize;

/// The key of the published verification vectors ("Verifying the RSS Hash
/// Calculation", Microsoft), which is as good as any.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Rss {
    key: [u8; 40],
    /// Queues in turn, while nobody has asked for another table.
    table: Option<Vec<u16>>,
}

impl Default for Rss {
    fn default() -> Self {
        Self {
            key: KEY,
            table: None,
        }
    }
}

impl Rss {
    /// The configuration for that many queues.
    pub(crate) fn config(&self, queues: u16) -> RssConfig {
        RssConfig {
            key: self.key,
            table: self.table_for(queues),
        }
    }

    /// A table that names a queue which is not there any more counts for
    /// nothing.
    fn table_for(&self, queues: u16) -> Vec<u16> {
        let valid = |table: &&Vec<u16>| table.iter().all(|&queue| queue < queues);
        let queues = queues.max(1);
        self.table
            .as_ref()
            .filter(valid)
            .cloned()
            .unwrap_or_else(|| (0..queues).cycle().take(TABLE).collect())
    }

    /// Takes a configuration over.
    pub(crate) fn set(&mut self, config: &RssConfig, queues: u16) -> Result<(), NicError> {
        if config.table.len() != TABLE {
            return Err(NicError::Unsupported("a table of other than 128 entries"));
        }
        if config.table.iter().any(|&queue| queue >= queues) {
            return Err(NicError::Unsupported(
                "a table with a queue that is not open",
            ));
        }
        self.key = config.key;
        self.table = Some(config.table.clone());
        Ok(())
    }

    /// Fills the key and the table, and switches the hash on: also for one
    /// queue, whose frames then have a hash.
    pub(crate) fn program<P: PciDevice>(&self, chip: &Chip<P>, queues: u16) {
        let table = self.table_for(queues);
        let words = |bytes: &[u8]| {
            let four = bytes.iter().rev();
            four.fold(0, |word, &byte| word << 8 | u32::from(byte))
        };
        chip.write_all(regs::RSSRK, self.key.chunks_exact(4).map(words));
        let entries: Vec<u8> = table.iter().map(|&queue| queue as u8).collect();
        chip.write_all(regs::RETA, entries.chunks_exact(4).map(words));
        chip.write(regs::MRQC, Mrqc::all().bits());
    }
}
