//! What is looked after every two seconds: transmitter, presence.

use crate::core::Core;
use crate::shared::{Shared, count};
use softnet_nic_hal::bus::PciDevice;
use softnet_nic_hal::{LinkState, QueueId, WatchdogReport};

/// A transmitter that stands for two watchdog intervals hangs.
const HANG_NS: u64 = 4_000_000_000;

/// Where the transmitter stood, and since when.
#[derive(Debug, Default)]
pub(crate) struct HangWatch {
    standing: Option<Standing>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    finished: u32,
    since_ns: u64,
}

impl HangWatch {
    /// Notes where a transmitter that has work stands; true once it has stood too
    /// long, and then again only after as long.
    fn note(&mut self, finished: u32, now_ns: u64) -> bool {
        let since_ns = match self.standing {
            Some(standing) if standing.finished == finished => standing.since_ns,
            _ => now_ns,
        };
        self.standing = Some(Standing { finished, since_ns });
        let hangs = now_ns.saturating_sub(since_ns) >= HANG_NS;
        if hangs {
            self.standing = None;
        }
        hangs
    }

    fn look(&mut self, core: &Core, now_ns: u64) -> bool {
        let tx = &core.tx;
        if tx.filled > 0 || tx.stuck && tx.waiting {
            return self.note(tx.finished, now_ns);
        }
        self.standing = None;
        false
    }
}

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
    let hangs = hang.look(core, now_ns);
    if hangs {
        count(&shared.counters.tx_timeouts, 1);
    }
    hangs
}
