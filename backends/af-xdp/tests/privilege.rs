//! What a process may do with which capabilities. A thread of the test becomes an
//! unprivileged user that has just these, as a service manager would start one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is how a test fails"
)]

mod support;

use rustix::process::{Gid, Resource, Uid, getrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use softnet_af_xdp::events::Events;
use softnet_af_xdp::netlink::Interface;
use softnet_af_xdp::settings::{Consent, Settings};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig, UmemError};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What it takes to open a NIC.
const ENOUGH: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::BPF);

/// The calling thread, with all that it starts, is nobody with these capabilities.
fn become_nobody_with(capabilities: CapabilitySet) {
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    set_keep_capabilities(true).unwrap();
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(gid, gid, gid).unwrap();
    set_thread_res_uid(uid, uid, uid).unwrap();
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).unwrap();
}

/// Runs `test` as nobody with these capabilities, beside the ends `one` and `two` of a
/// veth pair.
fn as_nobody_with(capabilities: CapabilitySet, test: impl FnOnce() + Send + 'static) {
    support::in_namespace(move || {
        support::veth("one", "two", 2);
        become_nobody_with(capabilities);
        test();
    });
}

fn small() -> UmemConfig {
    UmemConfig {
        chunks: 128,
        ring: 64,
        huge_pages: false,
        side_frames: 0,
        ..UmemConfig::default()
    }
}

/// Rings are polled here.
struct Deaf;

impl IrqHandler for Deaf {
    fn irq(&self, _: QueueId) {}
}

type Error = Box<dyn std::error::Error>;

/// A NIC, its memory, and its one queue with frames in its receive ring.
struct Open {
    queues: softnet_nic_hal::Queues<AfXdpNic>,
    nic: Arc<AfXdpNic>,
    umem: Arc<Umem>,
}

fn open(interface: &str) -> Result<Open, Error> {
    let umem = Umem::new(small())?;
    let events = Events::new(Arc::new(IrqTable::new(1)))?;
    let nic = AfXdpNic::new(AfXdpConfig::new(interface), umem.clone(), events)?;
    let config = OpenConfig {
        queues: 1,
        rx_ring: 32,
        tx_ring: 32,
        mtu: nic.capabilities().max_mtu,
        pool: umem.pool().clone(),
    };
    let queues = nic.open(&config, Arc::new(Deaf))?;
    Ok(Open { queues, nic, umem })
}

fn frame_to(to: [u8; 6]) -> [u8; 60] {
    let mut bytes = [0x5a; 60];
    bytes[..6].copy_from_slice(&to);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// Sends a frame from one NIC to the other.
fn assert_a_frame_goes(from: &mut Open, to: &mut Open) {
    let bytes = frame_to(to.nic.capabilities().mac.0);
    let rx = &mut to.queues[0].rx;
    while rx.post(to.umem.pool().alloc().unwrap()).is_ok() {}
    rx.kick();
    let mut frame = from.umem.pool().alloc().unwrap();
    frame.put(bytes.len()).unwrap().copy_from_slice(&bytes);
    from.queues[0].tx.post(frame).unwrap();
    from.queues[0].tx.kick();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < end, "no frame came");
        // The kernel's own are neighbour discovery and the like.
        match rx.reap() {
            Some(frame) if frame.data() == bytes => return,
            _ => std::thread::yield_now(),
        }
    }
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

/// An error with all its causes.
fn full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
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
