//! What is looked after every two seconds: link, transmitters, presence.

use crate::queue::Queue;
use crate::regs::{Status, queue};
use crate::shared::Shared;
use alloc::vec::Vec;
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{LinkState, QueueId, WatchdogReport};

/// A transmitter that stands for two watchdog intervals hangs.
const HANG_NS: u64 = 4_000_000_000;

/// Where each queue's transmitter stood, and since when.
#[derive(Debug, Default)]
pub(crate) struct HangWatch {
    queues: Vec<Option<Standing>>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    head: u32,
    since_ns: u64,
}

impl HangWatch {
    /// Watches that many queues from now on.
    pub(crate) fn restart(&mut self, queues: u16) {
        self.queues.clear();
        self.queues.resize(usize::from(queues), None);
    }

    /// The first queue whose transmitter stands too long. It is named again only
    /// after as long.
    fn look<P: PciDevice>(&mut self, shared: &Shared<P>, now_ns: u64) -> Option<QueueId> {
        let queues = shared.open_queues().zip(&mut self.queues);
        let mut hung = None;
        for (number, (queue, standing)) in (0..).zip(queues) {
            if stands(shared, queue, standing, now_ns) {
                hung = hung.or(Some(QueueId(number)));
            }
        }
        hung
    }

    fn forget(&mut self) {
        self.queues.iter_mut().for_each(|standing| *standing = None);
    }
}

/// Notes the head of a transmitter that has work; true once it has stood too
/// long.
fn stands<P: PciDevice>(
    shared: &Shared<P>,
    queue: &Queue<P>,
    standing: &mut Option<Standing>,
    now_ns: u64,
) -> bool {
    let head = shared.chip.read(queue.tx.register(queue::DH));
    if head == shared.chip.read(queue.tx.register(queue::DT)) {
        *standing = None;
        return false;
    }
    let since_ns = match *standing {
        Some(standing) if standing.head == head => standing.since_ns,
        _ => now_ns,
    };
    let hangs = now_ns.saturating_sub(since_ns) >= HANG_NS;
    *standing = (!hangs).then_some(Standing { head, since_ns });
    hangs
}

/// `open` is whether the transmitters are on.
pub(crate) fn look<P: PciDevice>(
    shared: &Shared<P>,
    hang: &mut HangWatch,
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
