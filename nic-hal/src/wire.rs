//! What the PHY of a device model is plugged into.

/// One end of an Ethernet link, as seen from a device model.
///
/// Frames are whole Ethernet frames from the destination address on, without
/// preamble and FCS. The wire does not block: a model's thread waits with
/// [`Wire::wait`], or the caller steps it with a virtual clock.
pub trait Wire: Send {
    /// Sends one frame. It may leave only at the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`WireError`] when the frame is lost for a reason that the wire knows.
    /// The wire has counted it.
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError>;

    /// Lets go of what `transmit` has gathered.
    fn flush(&mut self, now_ns: u64) {
        let _ = now_ns;
    }

    /// Passes at most `budget` frames that have arrived to `sink`, in order of
    /// arrival, and returns how many there were.
    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize;

    /// When the wire will have something to do next, if nothing comes from
    /// outside until then: frames that it delays, or paces. Nanoseconds of the
    /// same clock as `now_ns`.
    fn next_event_ns(&self) -> Option<u64> {
        None
    }

    /// Whether there is somebody at the other end.
    fn carrier(&self) -> bool {
        true
    }

    /// Waits until a frame may have arrived, the carrier may have changed, the
    /// [`waker`](Self::waker) was used, or `timeout_ns` nanoseconds have passed
    /// (`None`: no limit). A wire that nothing can wait for returns at once.
    ///
    /// The wire does not know what time it is: whoever waits keeps the timeout
    /// within [`next_event_ns`](Self::next_event_ns).
    fn wait(&mut self, timeout_ns: Option<u64>) {
        let _ = timeout_ns;
    }

    /// What ends a [`wait`](Self::wait) from another thread.
    fn waker(&self) -> alloc::sync::Arc<dyn WireWaker> {
        alloc::sync::Arc::new(NoWaker)
    }

    /// Visits the wire's own counters by name.
    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let _ = visit;
    }
}

impl<W: Wire + ?Sized> Wire for alloc::boxed::Box<W> {
    fn transmit(&mut self, frame: &[u8], now_ns: u64) -> Result<(), WireError> {
        (**self).transmit(frame, now_ns)
    }

    fn flush(&mut self, now_ns: u64) {
        (**self).flush(now_ns);
    }

    fn receive(&mut self, now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        (**self).receive(now_ns, budget, sink)
    }

    fn next_event_ns(&self) -> Option<u64> {
        (**self).next_event_ns()
    }

    fn carrier(&self) -> bool {
        (**self).carrier()
    }

    fn wait(&mut self, timeout_ns: Option<u64>) {
        (**self).wait(timeout_ns);
    }

    fn waker(&self) -> alloc::sync::Arc<dyn WireWaker> {
        (**self).waker()
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        (**self).counters(visit);
    }
}

/// Ends a [`Wire::wait`] from another thread, or from an interrupt handler.
pub trait WireWaker: Send + Sync {
    /// The wait that is under way, or else the next one, returns at once.
    fn wake(&self);
}

struct NoWaker;

impl WireWaker for NoWaker {
    fn wake(&self) {}
}

/// Why a wire lost a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Nobody is at the other end.
    #[error("the wire has no carrier")]
    NoCarrier,
    /// What is behind the wire takes no more now.
    #[error("the wire is congested")]
    Congested,
    /// The frame is longer than the wire takes.
    #[error("a frame of {len} bytes is too long for the wire, which takes {max}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// Bytes the wire takes.
        max: usize,
    },
    /// The system refused.
    #[error("the system refused the frame with error number {0}")]
    Os(i32),
}
