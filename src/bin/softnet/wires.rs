//! What an emulated NIC is plugged into.

use crate::tap;
use crate::values::{Cidr, WireSpec};
use anyhow::{Context, Result, bail};
use softnet::nic_hal::wire::Wire;
use softnet::wire::pcap::{Capture, CaptureConfig, Pace, Replay, ReplayConfig};
use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Opens a wire. The kernel's side of a TAP gets the address.
pub(crate) fn open(wire: &WireSpec, kernel_address: Option<Cidr>) -> Result<Box<dyn Wire>> {
    match wire {
        WireSpec::Tap(name) => Ok(Box::new(tap::open(name, kernel_address)?)),
        WireSpec::Pcap(_) if kernel_address.is_some() => {
            bail!("--kernel-address is for a TAP: a capture has no kernel behind it")
        }
        WireSpec::Pcap(file) => {
            let mut config = ReplayConfig::default();
            config.pace = Pace::Recorded { speed: 1.0 };
            let replay = Replay::open(file, config);
            Ok(Box::new(
                replay.with_context(|| file.display().to_string())?,
            ))
        }
    }
}

/// Starts a capture file whose time is the wall clock's.
pub(crate) fn create_capture(path: &Path, now_ns: u64) -> Result<Capture<File>> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let since_epoch = since_epoch.map_or(0, |since| since.as_nanos());
    let mut config = CaptureConfig::default();
    "eth0".clone_into(&mut config.interface);
    config.epoch_ns = u64::try_from(since_epoch)
        .unwrap_or(0)
        .saturating_sub(now_ns);
    Capture::create(path, &config)
        .with_context(|| format!("the capture {} cannot be written", path.display()))
}
