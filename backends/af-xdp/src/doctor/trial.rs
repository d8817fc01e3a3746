//! Opening the interface in each mode, for a moment.

use super::explain;
use super::nic::{Nic, room};
use super::{Finding, name_of_mode};
use crate::bpf::Steering;
use crate::mode::{Mode, ModeChoice};
use crate::nic::{AfXdpConfig, Kernel, Linux};
use crate::ring::TxOffload;
use crate::umem::{ChunkSize, TxMetadata, Umem, UmemConfig};
use serde::Serialize;
use softnet_nic_hal::NicError;

/// One mode that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// The mode.
    #[serde(serialize_with = "name_of_mode")]
    pub mode: Mode,
    /// Whether it was tried with frames in several buffers.
    pub multi_buffer: bool,
    /// Why it does not work; `None` if it does.
    pub failure: Option<Failure>,
}

/// Why a mode does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// What was refused.
    pub step: &'static str,
    /// The kernel's error number, where it gave one.
    pub errno: Option<i32>,
    /// The reason in words.
    pub reason: String,
    /// What to run against it.
    pub remedy: Option<String>,
}

impl Trial {
    /// Whether a socket was opened.
    #[must_use]
    pub const fn works(&self) -> bool {
        self.failure.is_none()
    }

    pub(super) fn finding(&self) -> Finding {
        let (check, how) = match self.mode {
            Mode::ZeroCopy => ("try zero-copy", "the NIC itself uses the UMEM"),
            Mode::Copy => (
                "try copy",
                "the program runs in the driver, the kernel copies",
            ),
            Mode::Skb => (
                "try SKB",
                "the program runs behind the driver, the kernel copies",
            ),
        };
        let buffers = match self.multi_buffer {
            true => ", with frames in several buffers",
            false => "",
        };
        let Some(failure) = &self.failure else {
            return Finding::good(check, format!("queue 0 was opened{buffers}: {how}"));
        };
        let detail = format!("{}: {}", failure.step, failure.reason);
        let finding = Finding::bad(check, detail);
        match &failure.remedy {
            Some(command) => finding.mend(command.as_str()),
            None => finding,
        }
    }
}

/// Tries all modes, the best first.
pub(super) fn all(nic: &Nic) -> Vec<Trial> {
    Mode::ALL.map(|mode| trial(nic, mode)).into()
}

fn trial(nic: &Nic, mode: Mode) -> Trial {
    let outcome = open(nic, mode);
    Trial {
        mode,
        multi_buffer: nic.needs_multi_buffer(),
        failure: outcome.err().map(|failed| failure(nic, mode, &failed)),
    }
}

/// Opens queue 0 in this mode and closes it again. The program takes no frame
/// meanwhile.
fn open(nic: &Nic, mode: Mode) -> Result<(), NicError> {
    let config = AfXdpConfig {
        mode: ModeChoice::Only(mode),
        steering: Steering::none(),
        ..AfXdpConfig::new(&nic.link.name)
    };
    let umem = Umem::new(memory(nic)).map_err(|error| NicError::Backend(Box::new(error)))?;
    let kernel = Linux::new(config, umem)?;
    let opened = kernel.open(1)?;
    drop(opened);
    kernel.close();
    Ok(())
}

/// What comes of metadata in this mode, in memory with room for it.
pub(super) fn metadata(nic: &Nic, mode: Mode) -> Finding {
    let check = "try metadata";
    let config = UmemConfig {
        tx_metadata: TxMetadata::Room,
        ..memory(nic)
    };
    let umem = match Umem::new(config) {
        Ok(umem) => umem,
        Err(error) => return Finding::unknown(check, error.to_string()),
    };
    if let Err(reason) = umem.tx_metadata() {
        let words = explain::of_registering(reason);
        return Finding::note(check, format!("no memory with room for it: {words}"));
    }
    let config = AfXdpConfig::new(&nic.link.name);
    match Linux::new(config, umem) {
        Ok(kernel) => told(check, mode, kernel.tx_offload(Some(mode))),
        Err(error) => Finding::unknown(check, error.to_string()),
    }
}

fn told(check: &'static str, mode: Mode, offload: TxOffload) -> Finding {
    let (who, in_mode) = match mode {
        Mode::ZeroCopy => ("the NIC", "zero-copy"),
        Mode::Copy | Mode::Skb => ("the kernel", "copy"),
    };
    let checksums = match offload.checksum {
        true => format!("checksums can be left to {who}"),
        false => "checksums are computed by the stack".to_owned(),
    };
    let times = match offload.timestamp {
        true => format!("{who} says when a packet left"),
        false => "nobody says when a packet left".to_owned(),
    };
    let detail = format!("--tx-metadata makes room for it; in {in_mode} mode {checksums}, {times}");
    Finding::good(check, detail)
}

/// As little memory as a socket needs, in chunks of the size that a run would
/// take.
fn memory(nic: &Nic) -> UmemConfig {
    let small = UmemConfig {
        chunks: 64,
        ring: 64,
        huge_pages: false,
        side_frames: 0,
        ..UmemConfig::default()
    };
    let page = UmemConfig {
        chunk_size: ChunkSize::Page,
        ..small
    };
    if nic.longest_frame() <= room(ChunkSize::Half) {
        return small;
    }
    match nic.needs_multi_buffer() {
        false => page,
        // Long packets are what the frames beside the UMEM are for.
        true => UmemConfig {
            side_frames: 64,
            side_packet: nic.longest_frame(),
            ..page
        },
    }
}

fn failure(nic: &Nic, mode: Mode, error: &NicError) -> Failure {
    let (step, reason) = explain::step_and_reason(error);
    let errno = explain::errno(reason);
    Failure {
        step,
        errno: errno.map(|errno| errno as i32),
        reason: explain::reason(reason, errno, mode),
        remedy: explain::remedy(reason, errno, nic),
    }
}
