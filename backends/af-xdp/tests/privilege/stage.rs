//! Who the tests are, and what they open.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use softnet_af_xdp::events::Events;
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::{IrqHandler, NicHal, OpenConfig, QueueId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A user without rights.
pub(crate) const NOBODY: u32 = 65534;

/// The calling thread, with all that it starts, is nobody with these capabilities.
pub(crate) fn become_nobody_with(capabilities: CapabilitySet) {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(65534));
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

pub(crate) fn small() -> UmemConfig {
    UmemConfig {
        chunks: 128,
        ring: 64,
        huge_pages: false,
        side_frames: 0,
        ..UmemConfig::default()
    }
}

/// Rings are polled here.
pub(crate) struct Deaf;

impl IrqHandler for Deaf {
    fn irq(&self, _: QueueId) {}
}

pub(crate) type Error = Box<dyn std::error::Error>;

/// An open NIC.
pub(crate) struct Open {
    pub(crate) queues: softnet_nic_hal::Queues<AfXdpNic>,
    pub(crate) nic: Arc<AfXdpNic>,
    pub(crate) umem: Arc<Umem>,
}

/// Opens an interface.
pub(crate) fn open_on(interface: &str, umem: Arc<Umem>) -> Result<Open, Error> {
    open_queues(interface, umem, 1)
}

/// Opens so many queues of an interface.
pub(crate) fn open_queues(interface: &str, umem: Arc<Umem>, queues: u16) -> Result<Open, Error> {
    let events = Events::new(Arc::new(IrqTable::new(1)))?;
    let nic = AfXdpNic::new(AfXdpConfig::new(interface), umem.clone(), events)?;
    let config = OpenConfig {
        queues,
        rx_ring: 32,
        tx_ring: 32,
        mtu: nic.capabilities().max_mtu,
        ..OpenConfig::new(umem.pool().clone())
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
pub(crate) fn assert_a_frame_goes(from: &mut Open, to: &mut Open) {
    let bytes = frame_to(to.nic.capabilities().mac.0);
    let rx = &mut to.queues[0].rx;
    while rx.post(to.umem.pool().alloc().unwrap()).is_ok() {}
    rx.kick();
    let mut frame = from.umem.pool().alloc().unwrap();
    frame.put(bytes.len()).unwrap().copy_from_slice(&bytes);
    from.queues[0].tx.post(frame).unwrap();
    from.queues[0].tx.kick();
    // The kernel's own frames are neighbour discovery and the like.
    until("the frame", || {
        rx.reap().is_some_and(|frame| frame.data() == bytes)
    });
    until("its completion", || from.queues[0].tx.reap().is_some());
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// An error with all its causes.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
