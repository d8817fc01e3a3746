//! The driver keeps the contract of every NIC, by whatever kind of interrupt.

use crate::bench::Bench;
use crate::emulated::Emulated;
use crate::only::Only;
use softnet_igb::Igb;
use softnet_nic_hal::bus::IrqMode;
use softnet_nic_hal::testing::conformance;
use softnet_qemu::QemuFunction;
use std::path::Path;

/// What QEMU does otherwise: the last segment of a long packet has no PSH, although
/// the packet had it (82576, 7.2.4.7).
const QEMUS: &str = "a long packet that is left to the NIC is cut into segments";

/// Checks that are for other NICs.
const LACKS: [&str; 2] = ["the NIC has every offload", "the NIC chooses queues itself"];

/// QEMU's card, with interrupts of one kind.
pub(crate) fn qemus(qemu: &Path, mode: IrqMode, vectors: u16) -> Bench<Igb<Only<QemuFunction>>> {
    Bench::new(qemu, "igb", |function| {
        let function = QemuFunction::clone(&function);
        Igb::probe(Only::new(function, mode, vectors)).unwrap()
    })
}

fn on_the_emulated_chip(mode: IrqMode, vectors: u16) {
    conformance::assert_holds(&LACKS, || Emulated::new(mode, vectors));
}

fn on_qemus(mode: IrqMode) {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let bench = [
        "the wire carries no such frames",
        "the transmitter cannot be held",
    ];
    let lacks = [&LACKS[..], &bench].concat();
    conformance::assert_holds_but(&[QEMUS], &lacks, || qemus(&qemu, mode, u16::MAX));
}

#[test]
fn the_driver_keeps_the_contract_on_the_emulated_chip_by_msi_x() {
    on_the_emulated_chip(IrqMode::MsiX, u16::MAX);
}

#[test]
fn the_driver_keeps_the_contract_on_the_emulated_chip_by_one_vector_of_msi_x() {
    on_the_emulated_chip(IrqMode::MsiX, 1);
}

#[test]
fn the_driver_keeps_the_contract_on_the_emulated_chip_by_msi() {
    on_the_emulated_chip(IrqMode::Msi, 1);
}

#[test]
fn the_driver_keeps_the_contract_on_the_emulated_chip_by_its_pin() {
    on_the_emulated_chip(IrqMode::Intx, 1);
}

#[test]
fn the_driver_keeps_the_contract_on_qemus_82576_by_msi_x() {
    on_qemus(IrqMode::MsiX);
}

#[test]
fn the_driver_keeps_the_contract_on_qemus_82576_by_msi() {
    on_qemus(IrqMode::Msi);
}

#[test]
fn the_driver_keeps_the_contract_on_qemus_82576_by_its_pin() {
    on_qemus(IrqMode::Intx);
}
