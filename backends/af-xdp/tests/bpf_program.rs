//! The program in the kernel, run on frames without any NIC.
#![allow(missing_docs, reason = "a test")]

use softnet_af_xdp::bpf::{LoadError, Program, ProgramOptions, XdpAction};

#[test]
fn a_program_without_steering_passes_everything() {
    let program = match Program::load(&ProgramOptions::default()) {
        Err(LoadError::NotPermitted(denied)) => return softnet_test_support::skip(denied),
        program => program.unwrap(),
    };
    let result = program.test_run(&[0; 64], 1).unwrap();
    assert_eq!(result.action, XdpAction::Pass);
}
