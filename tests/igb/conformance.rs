//! The driver keeps the contract of every NIC, by whatever kind of interrupt.

use crate::bench::Bench;
use crate::emulated::Emulated;
use crate::only::Only;
use softnet_igb::Igb;
use softnet_nic_hal::bus::IrqMode;
use softnet_nic_hal::testing::conformance::{self, Verdict};
use softnet_qemu::QemuFunction;
use std::path::Path;

/// What QEMU does otherwise: the last segment of a long packet has no PSH, although
/// the packet had it (82576, 7.2.4.7).
const QEMUS: &str = "a long packet that is left to the NIC is cut into segments";

/// QEMU's card, with interrupts of one kind.
pub(crate) fn qemus(qemu: &Path, mode: IrqMode, vectors: u16) -> Bench<Igb<Only<QemuFunction>>> {
    Bench::new(qemu, "igb", |function| {
        let function = QemuFunction::clone(&function);
        Igb::probe(Only::new(function, mode, vectors)).unwrap()
    })
}

fn on_the_emulated_chip(mode: IrqMode, vectors: u16) {
    conformance::assert_holds(|| Emulated::new(mode, vectors));
}

fn on_qemus(mode: IrqMode) {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    let mut wrong = Vec::new();
    for outcome in conformance::run(|| qemus(&qemu, mode, u16::MAX)) {
        println!("{outcome}");
        let expected = outcome.fact == QEMUS;
        if matches!(outcome.verdict, Verdict::Broken(_)) != expected {
            wrong.push(outcome.to_string());
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
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
