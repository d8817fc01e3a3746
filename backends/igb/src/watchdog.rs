//! What is looked after every two seconds: link, transmitters, presence.

use crate::queue::Queue;
use crate::regs::{Status, queue};
use crate::shared::Shared;
use alloc::vec::Vec;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{HangWatch, LinkState, QueueId, WatchdogReport};

/// The watches of the open queues.
#[derive(Debug, Default)]
pub(crate) struct HangWatches(Vec<HangWatch>);

impl HangWatches {
    /// Watches that many queues from now on.
    pub(crate) fn restart(&mut self, queues: u16) {
        self.0.clear();
        self.0.resize_with(usize::from(queues), HangWatch::default);
    }

    /// The first queue whose transmitter stands too long.
    fn look<P: PciDevice>(&mut self, shared: &Shared<P>, now_ns: u64) -> Option<QueueId> {
        let queues = shared.open_queues().zip(&mut self.0);
        let mut hung = None;
        for (number, (queue, hang)) in (0..).zip(queues) {
            if stands(shared, queue, hang, now_ns) {
                hung = hung.or(Some(QueueId(number)));
            }
        }
        hung
    }

    fn forget(&mut self) {
        self.0.iter_mut().for_each(HangWatch::forget);
    }
}

fn stands<P: PciDevice>(
    shared: &Shared<P>,
    queue: &Queue<P>,
    hang: &mut HangWatch,
    now_ns: u64,
) -> bool {
    let head = shared.chip.read(queue.tx.register(queue::DH));
    if head == shared.chip.read(queue.tx.register(queue::DT)) {
        hang.forget();
        return false;
    }
    hang.note(head, now_ns)
}

/// `open` is whether the transmitters are on.
pub(crate) fn look<P: PciDevice>(
    shared: &Shared<P>,
    hang: &mut HangWatches,
    open: bool,
    now_ns: u64,
) -> WatchdogReport {
    let status = shared.chip.status();
    if status.bits() == u32::MAX {
        return WatchdogReport {
            gone: true,
            ..WatchdogReport::default()
        };
    }
    let link = link_state(status);
    let tx_hang = if open && link.up {
        hang.look(shared, now_ns)
    } else {
        // Without a link packets wait, and that is no fault.
        hang.forget();
        None
    };
    WatchdogReport {
        link,
        tx_hang,
        gone: false,
    }
}

pub(crate) fn link_state(status: Status) -> LinkState {
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
