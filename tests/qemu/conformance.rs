//! Each driver keeps the contract of every NIC on QEMU's chip.

use crate::bench::Bench;
use softnet_nic_hal::testing::conformance::assert_holds_but;

/// What the e1000 driver lacks, and what cannot be done to QEMU's chips.
const E1000_LACKS: &[&str] = &[
    "the wire carries no such frames",
    "the NIC handles no VLAN tags",
    "the NIC does not tell",
    "there is one queue",
    "the NIC chooses queues itself",
    "the NIC does not spread flows",
    "the transmitter cannot be held",
];

const NE2000_LACKS: &[&str] = &[
    "the wire carries no such frames",
    "the NIC fills in no checksums",
    "the NIC cuts no segments",
    "the NIC handles no VLAN tags",
    "the NIC verifies no checksums",
    "a packet is one frame",
    "the NIC does not tell",
    "there is one queue",
    "the NIC chooses queues itself",
    "the NIC does not spread flows",
    "the NIC does not keep interrupts apart",
    "the cable cannot be pulled",
    "the transmitter cannot be held",
];

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
    assert_holds_but(E1000_DENIED, E1000_LACKS, || {
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
    assert_holds_but(NE2000_DENIED, NE2000_LACKS, || {
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
    assert_holds_but(E1000E_DENIED, E1000_LACKS, || {
        Bench::new(&qemu, "e1000e", |function| {
            softnet_e1000::E1000::probe(function).unwrap()
        })
    });
}
