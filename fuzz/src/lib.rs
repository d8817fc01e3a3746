//! What the fuzz targets have in common: the targets are those that the tests hold
//! to seeds, with a fuzzer's bytes in their place.
#![forbid(unsafe_code)]

#[path = "../../tests/hostile/targets.rs"]
mod targets;

use softnet_nic_hal::testing::hostile::Whim;

/// Operations of one run at most; the bytes are used up before.
const OPERATIONS: usize = 10_000;

/// Runs the target of that name on these bytes.
pub fn torment(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.0 == name);
    if let Some((_, torment)) = target {
        torment(&Whim::from_bytes(data), OPERATIONS);
    }
}
