//! Polling without interrupts.

use crate::softnet::HasSoftnet;
use softnet_softirq::Cpu;

/// Polls each busy-polled instance once, for at most its weight. Returns how many
/// packets were taken.
///
/// Where packets come as fast as they can be worked on, an interrupt only says what
/// the next poll finds anyway. So a CPU that runs all the time keeps its instances
/// scheduled and their interrupts masked
/// ([`SoftnetData::set_busy_poll`](crate::SoftnetData::set_busy_poll)), and polls
/// them by this: Linux's `napi_busy_loop`, with the CPU itself as the one who looks.
/// An instance that is disabled leaves; the first poll after it is enabled again
/// brings it back.
pub fn busy_poll<C: HasSoftnet>(cpu: &mut Cpu, cx: &mut C) -> usize {
    let (mut at, mut packets) = (0, 0);
    while let Some(mut polled) = cx.softnet().begin_busy(at) {
        let outcome = polled.poller.poll(cx, cpu, polled.weight);
        packets += outcome.packets();
        cx.softnet().end_busy(polled, outcome);
        at += 1;
    }
    packets
}
