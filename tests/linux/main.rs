//! Linux's own drivers, unmodified, on our device models: Debian's kernel as a guest of
//! QEMU, to which `softnet device` offers a NIC. The same script goes over QEMU's own
//! models of the chips, so that what fails on ours alone is ours.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in what it stands on"
)]

mod dhcp;
mod guest;
mod peer;
mod served;
mod vfio;

#[path = "../support/mod.rs"]
mod support;

use guest::{Guest, Transcript};
use peer::Peer;
use served::Served;
use softnet_test_support::skip;
use std::path::PathBuf;
use std::process::Command;

/// One driver of Linux, and what it drives.
struct Chip {
    /// What `softnet device` calls it, and what QEMU does.
    ours: &'static str,
    qemus: &'static str,
    driver: &'static str,
    cpus: u32,
    /// What the script is told beside the driver.
    words: &'static [&'static str],
}

const E1000: Chip = Chip {
    ours: "e1000",
    qemus: "e1000",
    driver: "e1000",
    cpus: 2,
    words: &[],
};

const IGB: Chip = Chip {
    ours: "igb",
    qemus: "igb",
    driver: "igb",
    cpus: 4,
    words: &[],
};

/// Every byte of a packet is carried by an access of the guest's CPU.
const NE2000: Chip = Chip {
    ours: "ne2000",
    qemus: "ne2k_pci",
    driver: "ne2k-pci",
    cpus: 2,
    words: &[
        "softnet.sizes=0,1,8,17,18,19,56,64,100,1472",
        "softnet.blocks=2",
        "softnet.part=1",
    ],
};

/// What every driver has to do on every model.
const FACTS: [&str; 10] = [
    "bind",
    "link",
    "thousand-pings",
    "transfer",
    "flows",
    "down-and-up",
    "renegotiation",
    "self-test",
    "reload",
    "unload",
];

/// The folder of the guest, in a namespace of the test's own with a peer in it. Where
/// there is no QEMU, no guest, no namespace or no `setpriv`, the test is skipped.
#[track_caller]
fn stage() -> Option<(PathBuf, PathBuf, Peer)> {
    let qemu = softnet_test_support::qemu()?;
    let guest = qemu.with_file_name("guest");
    if !guest.join("recipe").exists() {
        skip("there is no guest: run scripts/guest.sh");
        return None;
    }
    if let Err(error) = Command::new("setpriv").arg("--version").output() {
        skip(format!("no setpriv: {error}"));
        return None;
    }
    support::own_namespace()?;
    Some((qemu, guest, Peer::start()))
}

impl Chip {
    fn guest(&self, qemu: PathBuf, folder: PathBuf, device: Vec<String>) -> Guest {
        Guest {
            qemu,
            folder,
            cpus: self.cpus,
            device,
            program: None,
            words: self.words.iter().map(ToString::to_string).collect(),
        }
    }

    /// QEMU's arguments for its own model, on the peer's TAP.
    fn of_qemu(&self) -> Vec<String> {
        let model = format!("{},netdev=wire,romfile=", self.qemus);
        let wire = "tap,id=wire,ifname=tap0,script=no,downscript=no";
        ["-netdev", wire, "-device", &model]
            .map(str::to_owned)
            .into()
    }
}

/// Runs the script on our model. The device has to have found all memory it wanted, and
/// to have understood all descriptors.
#[track_caller]
fn on_ours(chip: &Chip) -> Option<Transcript> {
    let (qemu, folder, _peer) = stage()?;
    let served = Served::start(chip.ours);
    let device = vec!["-device".into(), served.device().to_string()];
    let guest = chip.guest(qemu, folder, device);
    let transcript = guest.run(include_str!("../guest/nic.sh"), chip.driver);
    let counted = served.finish();
    for counter in ["/dma_faults", "/tx_unsupported", "/tx_discarded"] {
        assert_eq!(support::number(&counted, counter), 0, "{counted}");
    }
    Some(transcript)
}

/// Runs the script on QEMU's model.
#[track_caller]
fn on_qemus(chip: &Chip) -> Option<Transcript> {
    let (qemu, folder, _peer) = stage()?;
    let guest = chip.guest(qemu, folder, chip.of_qemu());
    Some(guest.run(include_str!("../guest/nic.sh"), chip.driver))
}

/// Long packets were cut into segments by the chip.
#[track_caller]
fn offloads_were_used(transcript: &Transcript) {
    for offload in ["segmentation", "tx-checksum", "rx-checksum"] {
        assert_eq!(transcript.figure(offload), "on", "{offload}");
    }
    assert!(transcript.number("segmented") > 0);
}

/// Several queues have had packets, and each vector its interrupts.
#[track_caller]
fn queues_were_used(transcript: &Transcript) {
    assert!(transcript.number("queues") > 1);
    for queue in 0..IGB.cpus {
        for direction in ["rx", "tx"] {
            let vector = format!("interrupts eth0-{direction}-{queue}");
            assert!(transcript.number(&vector) > 0, "{vector}");
        }
    }
    assert!(transcript.number("interrupts eth0") > 0, "link changes");
}

#[track_caller]
fn self_test_passed(transcript: &Transcript, parts: &[&str]) {
    for part in parts {
        let name = format!("self-test {part}");
        assert_eq!(transcript.figure(&name), "0", "{name}");
    }
}

#[test]
fn linux_drives_our_82540em_as_its_own() {
    let Some(transcript) = on_ours(&E1000) else {
        return;
    };
    transcript.holds(&FACTS);
    offloads_were_used(&transcript);
    self_test_passed(
        &transcript,
        &["Register", "Eeprom", "Interrupt", "Loopback", "Link"],
    );
}

#[test]
fn linux_drives_our_82576_as_its_own() {
    let Some(transcript) = on_ours(&IGB) else {
        return;
    };
    transcript.holds(&FACTS);
    transcript.holds(&["function-reset"]);
    offloads_were_used(&transcript);
    queues_were_used(&transcript);
    self_test_passed(
        &transcript,
        &["Register", "Eeprom", "Interrupt", "Loopback", "Link"],
    );
}

#[test]
fn linux_drives_our_ne2000_as_its_own() {
    let Some(transcript) = on_ours(&NE2000) else {
        return;
    };
    transcript.holds(&FACTS);
}

#[test]
fn linux_drives_qemus_82540em_by_the_same_script() {
    let Some(transcript) = on_qemus(&E1000) else {
        return;
    };
    transcript.holds(&FACTS);
}

#[test]
fn linux_drives_qemus_82576_by_the_same_script() {
    let Some(transcript) = on_qemus(&IGB) else {
        return;
    };
    transcript.holds(&FACTS);
    queues_were_used(&transcript);
}

#[test]
fn linux_drives_qemus_ne2000_by_the_same_script() {
    let Some(transcript) = on_qemus(&NE2000) else {
        return;
    };
    transcript.holds(&FACTS);
}

/// What iPXE says when it has an address of the server's.
const GIVEN: &str = "net0: 10.0.0.60/255.255.255.0";

#[test]
fn ipxe_boots_as_far_as_dhcp_through_our_82540em() {
    let Some((qemu, folder, _peer)) = stage() else {
        return;
    };
    let served = Served::start(E1000.ours);
    let _dhcp = dhcp::Server::start(&folder.join("busybox"));
    let mut console = guest::boot_from_network(&qemu, "pxe-e1000.rom", served.device());
    let lines = std::iter::from_fn(|| console.line());
    let said: Vec<_> = lines.take_while(|line| !line.contains(GIVEN)).collect();
    assert!(console.is_running(), "no address: {said:#?}");
    drop(console);
    served.finish();
}
