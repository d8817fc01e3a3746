//! softnet's drivers through Linux VFIO: in a guest with an IOMMU, on QEMU's models of the
//! chips, by a `softnet` that is linked statically.

use crate::guest::{Console, Transcript};
use crate::{Chip, E1000, IGB, skip, stage, support};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `softnet` so that it runs where there is nothing but a kernel. It has a folder
/// of its own: other tests run the ordinary one meanwhile.
#[track_caller]
fn static_softnet() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/static");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(root)
        .args(["rustc", "--offline", "--quiet"]);
    build.args(["--package", "softnet", "--bin", "softnet", "--target-dir"]);
    build
        .arg(&target)
        .args(["--", "-C", "target-feature=+crt-static"]);
    build.args(["-C", "strip=symbols"]);
    let built = build.output().unwrap();
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        skip(format!("softnet cannot be linked statically: {said}"));
        return None;
    }
    Some(target.join("debug/softnet"))
}

/// Waits until softnet has the card, and pings it.
#[track_caller]
fn exchange(console: &mut Console) {
    let mut lines = std::iter::from_fn(|| console.line());
    let serving = lines.find(|line| line == "guest: serving");
    assert!(serving.is_some(), "softnet did not get the card");
    for size in ["18", "1000", "1472"] {
        // Until so many were answered: on a busy machine some are late.
        let until = ["-q", "-c", "100", "-w", "60"];
        let ping = support::ping(&[&until[..], &["-i", "0.01", "-s", size]].concat());
        let said = support::stdout(&ping);
        assert!(said.contains(" 100 received"), "{size}: {said}");
    }
    console.enter();
}

/// Takes the card, exchanges packets, gives the card back to the kernel's driver, which
/// has to answer then. The source of interrupts is `kind`.
#[track_caller]
fn drives(chip: &Chip, kind: &str) {
    let Some((qemu, folder, _peer)) = stage() else {
        return;
    };
    let Some(program) = static_softnet() else {
        return;
    };
    let mut guest = chip.guest(qemu, folder, chip.of_qemu());
    guest
        .device
        .extend(["-device", "intel-iommu"].map(str::to_owned));
    guest.words.push("intel_iommu=on".to_owned());
    guest.program = Some(program);
    let mut console = guest.boot(include_str!("../guest/vfio.sh"), chip.driver);
    exchange(&mut console);
    let transcript = Transcript::of(&mut console);
    transcript.holds(&["served", "given-back", "answers"]);
    let report: serde_json::Value = serde_json::from_str(transcript.figure("report")).unwrap();
    let interrupts = report.pointer("/report/interrupts").unwrap().to_string();
    assert!(interrupts.contains(kind), "{interrupts}");
    assert!(support::number(&report, "/report/devices/0/stats/rx_packets") >= 300);
}

#[test]
fn our_e1000_driver_drives_an_82540em_through_vfio_by_its_pin() {
    drives(&E1000, "VFIO-INTx");
}

/// The 82574L, whose registers agree with the 82540EM's in what the driver uses. Linux has
/// another driver for it.
const E1000E: Chip = Chip {
    qemus: "e1000e",
    driver: "e1000e",
    ..E1000
};

#[test]
fn our_e1000_driver_drives_an_82574l_through_vfio_by_its_pin() {
    drives(&E1000E, "VFIO-INTx");
}

#[test]
fn our_igb_driver_drives_an_82576_through_vfio_by_msi_x() {
    drives(&IGB, "VFIO-MSIX");
}
