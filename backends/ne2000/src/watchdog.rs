//! What is looked after every two seconds: transmitter, presence.

use crate::core::Core;
use crate::shared::{Shared, count};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{HangWatch, LinkState, QueueId, WatchdogReport};

/// The card has no register for its link: it is taken for up while the card is
/// there.
pub(crate) fn look<P: PciDevice>(
    shared: &Shared<P>,
    hang: &mut HangWatch,
    full_duplex: bool,
    now_ns: u64,
) -> WatchdogReport {
    if shared.chip.is_gone() {
        return WatchdogReport {
            gone: true,
            ..WatchdogReport::default()
        };
    }
    let hangs = shared.is_open() && shared.with(|core| tend(shared, core, hang, now_ns));
    WatchdogReport {
        link: LinkState {
            up: true,
            speed_mbps: 10,
            full_duplex,
        },
        tx_hang: hangs.then_some(QueueId(0)),
        gone: false,
    }
}

fn tend<P: PciDevice>(
    shared: &Shared<P>,
    core: &mut Core,
    hang: &mut HangWatch,
    now_ns: u64,
) -> bool {
    shared.harvest(core);
    if let Some(causes) = shared.causes() {
        shared.finish_sent(core, causes);
    }
    let hangs = stands(core, hang, now_ns);
    if hangs {
        count(&shared.counters.tx_timeouts, 1);
    }
    hangs
}

fn stands(core: &Core, hang: &mut HangWatch, now_ns: u64) -> bool {
    let tx = &core.tx;
    if tx.filled > 0 || tx.stuck && tx.waiting {
        return hang.note(tx.finished, now_ns);
    }
    hang.forget();
    false
}
