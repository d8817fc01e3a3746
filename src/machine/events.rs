//! The CPUs' events, as the stack's CPUs wait for them.

use softnet_af_xdp::events::{EventLoop, EventWaker, Events};
use softnet_softirq::{Idle, Wake};
use std::sync::Arc;

/// Where a CPU gets the interrupts of the kernel's sockets, and sleeps.
struct EventIdle(EventLoop);

/// The place of a CPU.
pub(super) fn idle(events: &Events, cpu: usize) -> Box<dyn Idle + Send> {
    Box::new(EventIdle(events.event_loop(cpu)))
}

struct Waker(EventWaker);

impl Wake for Waker {
    fn wake(&self) {
        self.0.wake();
    }
}

impl Idle for EventIdle {
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Waker(self.0.waker()))
    }

    #[inline]
    fn poll(&mut self) {
        self.0.poll();
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.0.wait(timeout_ns);
    }
}
