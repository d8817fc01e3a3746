//! Interrupts: eventfds that the kernel writes, and a thread that calls the handlers.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::read;
use softnet_nic_hal::bus::{BusError, IrqMode, IrqVectors, VectorHandler};
use softnet_nic_hal::irq::{Delivery, Irq, IrqError, IrqTable};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_ioctls::VfioDevice;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// The vectors that a driver was given, and the thread that delivers them.
pub(crate) struct Vectors {
    pub(crate) given: IrqVectors,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    device: Arc<VfioDevice>,
    irqs: Arc<IrqTable>,
    mode: IrqMode,
    /// Each vector's, and what the kernel writes when it comes.
    lines: Vec<(Irq, EventFd)>,
    /// Ends the thread.
    wake: EventFd,
    stop: AtomicBool,
    /// The pin was asserted when there was no handler: it stays masked until there is
    /// one.
    held: AtomicBool,
}

impl Vectors {
    /// Sets up at most `max` vectors of that kind, if the device has it.
    pub(crate) fn new(
        device: &Arc<VfioDevice>,
        irqs: &Arc<IrqTable>,
        name: &str,
        max: u16,
        mode: IrqMode,
    ) -> Option<Self> {
        let index = index(mode);
        let has = device.get_irq_info(index)?.count.min(max.into());
        let mut lines = Vec::new();
        for vector in 0..has {
            let line = irqs.allocate(&format!("{} {name}-{vector}", kind(mode)));
            match (line, eventfd()) {
                (Ok(line), Some(eventfd)) => lines.push((line, eventfd)),
                (Ok(line), None) => irqs.release(line),
                _ => break,
            }
        }
        let shared = Shared {
            device: Arc::clone(device),
            irqs: Arc::clone(irqs),
            mode,
            lines,
            wake: eventfd()?,
            stop: AtomicBool::new(false),
            held: AtomicBool::new(false),
        };
        shared.start()
    }

    /// The line of a vector.
    pub(crate) fn line(&self, vector: u16) -> Result<Irq, BusError> {
        let line = self.shared.lines.get(usize::from(vector));
        line.map(|(line, _)| *line)
            .ok_or(BusError::NoVector(vector))
    }

    pub(crate) fn request(
        &self,
        vector: u16,
        name: &str,
        cpu: usize,
        handler: Arc<dyn VectorHandler>,
    ) -> Result<(), BusError> {
        let line = self.line(vector)?;
        let requested = self.shared.irqs.request(line, vector, name, cpu, handler);
        requested.map_err(|error| match error {
            IrqError::Busy(_) => BusError::VectorBusy(vector),
            _ => BusError::NoVector(vector),
        })?;
        if self.shared.held.swap(false, Ordering::AcqRel) {
            self.shared.unmask();
        }
        Ok(())
    }
}

impl Drop for Vectors {
    fn drop(&mut self) {
        // Where the device is gone, nothing comes any more anyway.
        let _ = self.shared.device.disable_irq(index(self.shared.mode));
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.shared.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // A handler that has panicked has said so.
            let _ = thread.join();
        }
        for (line, _) in &self.shared.lines {
            self.shared.irqs.release(*line);
        }
    }
}

impl Shared {
    fn start(self) -> Option<Vectors> {
        let given = IrqVectors {
            mode: self.mode,
            count: self.lines.len() as u16,
        };
        let eventfds = self.lines.iter().map(|(_, eventfd)| eventfd).collect();
        let enabled = given.count > 0 && self.device.enable_irq(index(self.mode), eventfds).is_ok();
        let shared = Arc::new(self);
        // From here on, dropping it gives everything back.
        let mut vectors = Vectors {
            given,
            shared: Arc::clone(&shared),
            thread: None,
        };
        let builder = Builder::new().name("vfio-irq".to_owned());
        let spawned = enabled.then(|| builder.spawn(move || shared.run()))?;
        vectors.thread = Some(spawned.ok()?);
        Some(vectors)
    }

    /// The thread: waits, and calls the handlers of what has come.
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let mut waits: Vec<_> = self.eventfds().map(readable).collect();
            if poll(&mut waits, None).is_err() {
                continue;
            }
            let came: Vec<_> = waits
                .iter()
                .map(|wait| !wait.revents().is_empty())
                .collect();
            for ((line, eventfd), _) in self.lines.iter().zip(came).filter(|(_, came)| *came) {
                self.deliver(*line, eventfd);
            }
        }
    }

    /// All that the thread waits for.
    fn eventfds(&self) -> impl Iterator<Item = &EventFd> {
        let lines = self.lines.iter().map(|(_, eventfd)| eventfd);
        lines.chain([&self.wake])
    }

    fn deliver(&self, line: Irq, eventfd: &EventFd) {
        let mut count = [0; 8];
        // It is read so that it does not stay readable; how often is of no interest.
        if read(borrowed(eventfd), &mut count).is_err() {
            return;
        }
        let delivery = self.irqs.deliver(line);
        if self.mode != IrqMode::Intx {
            return;
        }
        // The kernel has masked the pin. Without a handler it would come again at once.
        if delivery == Delivery::Masked {
            self.held.store(true, Ordering::Release);
        } else {
            self.unmask();
        }
    }

    fn unmask(&self) {
        // Where the device is gone, there is nothing to unmask.
        let _ = self.device.unmask_irq(VFIO_PCI_INTX_IRQ_INDEX);
    }
}

fn eventfd() -> Option<EventFd> {
    EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).ok()
}

fn readable(eventfd: &EventFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(borrowed(eventfd), PollFlags::IN)
}

fn borrowed(eventfd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the eventfd is open for as long as it is borrowed, which the result's
    // lifetime is bound to.
    unsafe { BorrowedFd::borrow_raw(eventfd.as_raw_fd()) }
}

fn index(mode: IrqMode) -> u32 {
    match mode {
        IrqMode::Intx => VFIO_PCI_INTX_IRQ_INDEX,
        IrqMode::Msi => VFIO_PCI_MSI_IRQ_INDEX,
        IrqMode::MsiX => VFIO_PCI_MSIX_IRQ_INDEX,
    }
}

fn kind(mode: IrqMode) -> &'static str {
    match mode {
        IrqMode::Intx => "VFIO-INTx",
        IrqMode::Msi => "VFIO-MSI",
        IrqMode::MsiX => "VFIO-MSIX",
    }
}
