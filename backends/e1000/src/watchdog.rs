//! What is looked after every two seconds: link, transmitter, presence.

use crate::regs::{self, Status};
use crate::shared::{Shared, count};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{HangWatch, LinkState, QueueId, WatchdogReport};

/// `open` is whether the transmitter is on.
pub(crate) fn look<P: PciDevice>(
    shared: &Shared<P>,
    hang: &mut HangWatch,
    open: bool,
    now_ns: u64,
) -> WatchdogReport {
    let status = shared.chip.read(regs::STATUS);
    if status == u32::MAX {
        return WatchdogReport {
            gone: true,
            ..WatchdogReport::default()
        };
    }
    let status = Status::from_bits_retain(status);
    let link = link_state(status);
    let may_send = open && link.up && !status.contains(Status::TXOFF);
    let hangs = may_send && stands(shared, hang, now_ns);
    if hangs {
        count(&shared.counters.tx_timeouts, 1);
    } else if !may_send {
        // Without a link, or in a pause, packets wait, and that is no fault.
        hang.forget();
    }
    WatchdogReport {
        link,
        tx_hang: hangs.then_some(QueueId(0)),
        gone: false,
    }
}

fn stands<P: PciDevice>(shared: &Shared<P>, hang: &mut HangWatch, now_ns: u64) -> bool {
    let head = shared.chip.read(regs::TDH);
    if head == shared.chip.read(regs::TDT) {
        hang.forget();
        return false;
    }
    hang.note(head, now_ns)
}

fn link_state(status: Status) -> LinkState {
    if !status.contains(Status::LU) {
        return LinkState::default();
    }
    let speed_mbps = if status.contains(Status::SPEED_1000) {
        1000
    } else if status.contains(Status::SPEED_100) {
        100
    } else {
        10
    };
    LinkState {
        up: true,
        speed_mbps,
        full_duplex: status.contains(Status::FD),
    }
}
