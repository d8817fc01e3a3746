//! Pinning a thread to one of the machine's cores.

/// The thread could not be pinned; it runs wherever the scheduler puts it.
#[derive(Debug, thiserror::Error)]
#[error("the thread could not be pinned to core {core}: {reason}")]
pub struct PinError {
    /// The core asked for, as the machine numbers them.
    pub core: usize,
    /// The machine's answer.
    pub reason: std::io::Error,
}

/// Pins the calling thread.
pub(crate) fn pin_current_thread(core: usize) -> Result<(), PinError> {
    pin(core).map_err(|reason| PinError { core, reason })
}

#[cfg(target_os = "linux")]
fn pin(core: usize) -> std::io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if core >= CpuSet::MAX_CPU {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    // No thread id means the calling thread.
    Ok(sched_setaffinity(None, &cores)?)
}

#[cfg(not(target_os = "linux"))]
fn pin(_core: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
