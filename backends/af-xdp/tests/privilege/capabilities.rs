//! With some capabilities.

use super::stage::{Error, Open, assert_a_frame_goes, become_nobody_with, full, open_on, small};
use super::support;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use softnet_af_xdp::netlink::Interface;
use softnet_af_xdp::settings::{Consent, Settings};
use softnet_af_xdp::{Umem, UmemConfig, UmemError};

/// What it takes to open a NIC.
const ENOUGH: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::BPF);

/// Runs `test` as nobody with these capabilities, beside the ends `one` and `two` of a
/// veth pair.
fn as_nobody_with(capabilities: CapabilitySet, test: impl FnOnce() + Send + 'static) {
    support::in_namespace(move || {
        support::veth("one", "two", 2);
        become_nobody_with(capabilities);
        test();
    });
}

fn open(interface: &str) -> Result<Open, Error> {
    open_on(interface, Umem::new(small())?)
}

#[test]
fn a_user_with_three_capabilities_opens_receives_and_sends() {
    as_nobody_with(ENOUGH, || {
        let (mut one, mut two) = (open("one").unwrap(), open("two").unwrap());
        assert_a_frame_goes(&mut one, &mut two);
        assert_a_frame_goes(&mut two, &mut one);
    });
}

/// What opening says with all capabilities but this one.
fn refusal_without(missing: CapabilitySet) {
    as_nobody_with(ENOUGH.difference(missing), move || {
        let Err(error) = open("one") else {
            panic!("{missing:?} is not needed");
        };
        let names = [
            (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
            (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
            (CapabilitySet::BPF, "CAP_BPF"),
        ];
        let text = full(&*error);
        for (capability, name) in names {
            let told = text.contains(&format!("lacks {name}: run as root, or `setcap"));
            assert_eq!(told, capability == missing, "{text}");
        }
        assert!(!text.contains(" and CAP_"), "{text}");
    });
}

#[test]
fn a_missing_cap_net_raw_is_named() {
    refusal_without(CapabilitySet::NET_RAW);
}

#[test]
fn a_missing_cap_net_admin_is_named() {
    refusal_without(CapabilitySet::NET_ADMIN);
}

#[test]
fn a_missing_cap_bpf_is_named() {
    refusal_without(CapabilitySet::BPF);
}

#[test]
fn cap_sys_admin_does_for_cap_bpf() {
    let old = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    as_nobody_with(old, || drop(open("one").unwrap()));
}

#[test]
fn a_setting_takes_cap_net_admin_alone() {
    let queues = || {
        let interface = Interface::open("one").unwrap();
        let mut settings = Settings::new(interface, Consent::QUEUES).unwrap();
        settings.set_queues(1)
    };
    as_nobody_with(CapabilitySet::NET_ADMIN, move || queues().unwrap());
    as_nobody_with(ENOUGH - CapabilitySet::NET_ADMIN, move || {
        let text = full(&queues().unwrap_err());
        assert!(text.contains("needs CAP_NET_ADMIN"), "{text}");
    });
}

/// More chunks than the user may lock, and no more than a test should use.
fn too_many_chunks() -> Option<UmemConfig> {
    let chunks = getrlimit(Resource::Memlock).current? / 2048 + 1024;
    (chunks < 1 << 16).then(|| UmemConfig {
        chunks: chunks as u32,
        ..small()
    })
}

#[test]
fn memory_above_the_memlock_limit_takes_cap_ipc_lock() {
    let Some(config) = too_many_chunks() else {
        return softnet_test_support::skip("the memlock limit is high");
    };
    as_nobody_with(ENOUGH, move || {
        let error = Umem::new(config).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, UmemError::Refused { .. }), "{text}");
        assert!(
            text.contains("`ulimit -l`") && text.contains("CAP_IPC_LOCK"),
            "{text}"
        );
    });
    as_nobody_with(ENOUGH | CapabilitySet::IPC_LOCK, move || {
        Umem::new(config).unwrap();
    });
}
