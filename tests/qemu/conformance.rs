//! Each driver keeps the contract of every NIC on QEMU's chip.

use crate::bench::Bench;
use softnet_nic_hal::testing::conformance;

#[test]
fn the_e1000_driver_keeps_the_contract_on_qemus_82540em() {
    let Some(qemu) = softnet_test_support::qemu() else {
        return;
    };
    conformance::assert_holds(|| {
        Bench::new(&qemu, "e1000", |function| {
            softnet_e1000::E1000::probe(function).unwrap()
        })
    });
}
