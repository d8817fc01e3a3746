//! Counters that every NIC has.

/// Counters since the NIC was opened first, in the manner of Linux's
/// `rtnl_link_stats64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NicStats {
    /// Good packets received and handed to the stack.
    pub rx_packets: u64,
    /// Packets that the NIC has sent.
    pub tx_packets: u64,
    /// Bytes of the received packets, without FCS.
    pub rx_bytes: u64,
    /// Bytes of the sent packets, without FCS.
    pub tx_bytes: u64,
    /// Received packets with any error.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped by the driver although they were good.
    pub rx_dropped: u64,
    /// Packets that the driver refused to send.
    pub tx_dropped: u64,
    /// Multicast packets received.
    pub multicast: u64,
    /// Of `rx_errors`: too long or too short.
    pub rx_length_errors: u64,
    /// Of `rx_errors`: wrong FCS.
    pub rx_crc_errors: u64,
    /// Of `rx_errors`: overrun inside the NIC.
    pub rx_fifo_errors: u64,
    /// Packets that found no receive descriptor.
    pub rx_missed_errors: u64,
    /// Times the transmitter hung.
    pub tx_timeouts: u64,
}

impl NicStats {
    /// All counters with their names, as `rtnl_link_stats64` has them.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("rx_packets", self.rx_packets),
            ("tx_packets", self.tx_packets),
            ("rx_bytes", self.rx_bytes),
            ("tx_bytes", self.tx_bytes),
            ("rx_errors", self.rx_errors),
            ("tx_errors", self.tx_errors),
            ("rx_dropped", self.rx_dropped),
            ("tx_dropped", self.tx_dropped),
            ("multicast", self.multicast),
            ("rx_length_errors", self.rx_length_errors),
            ("rx_crc_errors", self.rx_crc_errors),
            ("rx_fifo_errors", self.rx_fifo_errors),
            ("rx_missed_errors", self.rx_missed_errors),
            ("tx_timeouts", self.tx_timeouts),
        ]
    }
}
