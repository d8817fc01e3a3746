//! The counters, as the stack and `ethtool -S` show them.

use crate::shared::Counters;
use core::sync::atomic::{AtomicU64, Ordering};
use softnet_nic_hal::NicStats;

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    fn received_badly(&self) -> u64 {
        let [alignment, crc, _] = &self.tally;
        value(&self.rx_errors) + value(alignment) + value(crc)
    }

    pub(crate) fn add_to(&self, out: &mut NicStats) {
        let [_, crc, missed] = &self.tally;
        out.rx_packets += value(&self.rx_packets);
        out.rx_bytes += value(&self.rx_bytes);
        out.tx_packets += value(&self.tx_packets);
        out.tx_bytes += value(&self.tx_bytes);
        out.rx_errors += self.received_badly();
        out.tx_errors += value(&self.tx_errors);
        out.tx_dropped += value(&self.tx_dropped);
        out.multicast += value(&self.multicast);
        out.rx_length_errors += value(&self.rx_length_errors);
        out.rx_crc_errors += value(crc);
        out.rx_fifo_errors += value(&self.rx_fifo_errors);
        out.rx_missed_errors += value(missed);
        out.tx_timeouts += value(&self.tx_timeouts);
    }

    /// The names are those of Linux's `rtnl_link_stats64`, and the driver's own.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let [alignment, crc, missed] = &self.tally;
        let named = [
            ("rx_packets", &self.rx_packets),
            ("rx_bytes", &self.rx_bytes),
            ("tx_packets", &self.tx_packets),
            ("tx_bytes", &self.tx_bytes),
            ("multicast", &self.multicast),
            ("rx_length_errors", &self.rx_length_errors),
            ("rx_over_errors", &self.rx_over_errors),
            ("rx_crc_errors", crc),
            ("rx_frame_errors", alignment),
            ("rx_fifo_errors", &self.rx_fifo_errors),
            ("rx_missed_errors", missed),
            ("rx_resyncs", &self.rx_resyncs),
            ("tx_errors", &self.tx_errors),
            ("tx_aborted_errors", &self.tx_aborted_errors),
            ("tx_carrier_errors", &self.tx_carrier_errors),
            ("tx_fifo_errors", &self.tx_fifo_errors),
            ("tx_heartbeat_errors", &self.tx_heartbeat_errors),
            ("tx_window_errors", &self.tx_window_errors),
            ("tx_retries", &self.tx_retries),
            ("collisions", &self.collisions),
            ("tx_dropped", &self.tx_dropped),
            ("tx_timeout_count", &self.tx_timeouts),
        ];
        visit("rx_errors", self.received_badly());
        for (name, counter) in named {
            visit(name, value(counter));
        }
    }
}
