//! Each driver keeps the contract of every NIC on QEMU's chip.

use crate::bench::Bench;
use softnet_nic_hal::testing::conformance::{self, Harness, Verdict};

/// Holds a NIC to the contract, but for facts that QEMU's chip denies it: those must be
/// broken still, or their line here is to go.
fn assert_holds_but<H: Harness>(denied: &[&str], make: impl FnMut() -> H) {
    let mut wrong = Vec::new();
    for outcome in conformance::run(make) {
        println!("{outcome}");
        let broken = matches!(outcome.verdict, Verdict::Broken(_));
        if broken != denied.contains(&outcome.fact) {
            wrong.push(outcome.to_string());
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

/// QEMU sends a segment without payload after a packet that is a whole number of
/// segments (section 3.5.9.3 of Intel's manual knows none), and verifies no checksum.
const E1000_DENIED: &[&str] = &[
    "a long packet that is left to the NIC is cut into segments",
    "a right checksum is called so",
];

#[test]
fn the_e1000_driver_keeps_the_contract_on_qemus_82540em() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    assert_holds_but(E1000_DENIED, || {
        Bench::new(&qemu, "e1000", |function| {
            softnet_e1000::E1000::probe(function).unwrap()
        })
    });
}

/// QEMU compares the destination with the PROM's address, and not with PAR0 to PAR5.
const NE2000_DENIED: &[&str] = &["the station address can be changed, or says it cannot"];

#[test]
fn the_ne2000_driver_keeps_the_contract_on_qemus_rtl8029() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    assert_holds_but(NE2000_DENIED, || {
        let mut bench = Bench::new(&qemu, "ne2k_pci", |function| {
            softnet_ne2000::Ne2000::probe(function).unwrap()
        });
        bench.has_link = false;
        bench
    });
}

/// QEMU inserts no checksum into a UDP packet without payload, and clears PSH in the last
/// segment too.
const E1000E_DENIED: &[&str] = &[
    "a checksum that is left to the NIC is right on the wire",
    "a long packet that is left to the NIC is cut into segments",
];

#[test]
fn the_e1000_driver_keeps_the_contract_on_qemus_82574l() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    assert_holds_but(E1000E_DENIED, || {
        Bench::new(&qemu, "e1000e", |function| {
            softnet_e1000::E1000::probe(function).unwrap()
        })
    });
}
