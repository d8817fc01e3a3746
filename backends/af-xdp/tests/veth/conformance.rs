//! The contract of every NIC, with the kernel as the hardware.

use super::support::{
    OURS, PEER, PacketSocket, counter, events, in_namespace, ip, small, veth, wait_for,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use softnet_af_xdp::events::{EventLoop, Events};
use softnet_af_xdp::handover::{Connection, Helper, HelperConfig};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Mode, ModeChoice, TxMetadata, Umem, UmemConfig};
use softnet_dma_ring::{FramePool, PoolConfig, PoolError};
use softnet_nic_hal::testing::conformance::{self, Harness};
use softnet_nic_hal::{NicHal, NicStats, QueueId};
use std::sync::Arc;

struct Veth {
    events: EventLoop,
    _events: Arc<Events>,
    nic: Arc<AfXdpNic>,
    umem: Arc<Umem>,
    peer: PacketSocket,
    /// Frames that were injected, since the program was loaded.
    injected: u64,
}

impl Veth {
    fn new(mode: Mode) -> Self {
        Self::with(mode, || Umem::new(small()).unwrap())
    }

    /// On memory and sockets that a helper has made.
    fn by_a_helper() -> Self {
        Self::with(Mode::Copy, || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let (ours, its) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
            // It ends when ours is closed.
            std::thread::spawn(move || Helper::serve_on(&HelperConfig::new(OURS), &its));
            Umem::from_helper(small(), Connection::from_fd(ours)).unwrap()
        })
    }

    /// On memory with room for metadata, and sockets that xsk-rs has not made.
    fn with_metadata(mode: Mode) -> Self {
        let config = UmemConfig {
            tx_metadata: TxMetadata::Room,
            ..small()
        };
        Self::with(mode, || Umem::new(config).unwrap())
    }

    fn with(mode: Mode, umem: impl FnOnce() -> Arc<Umem>) -> Self {
        // That of the check before: the namespace is the test's.
        let _ = ip(&format!("link del {OURS}"));
        veth(OURS, PEER, 1);
        let umem = umem();
        let events = events();
        let config = AfXdpConfig {
            mode: ModeChoice::Only(mode),
            ..AfXdpConfig::new(OURS)
        };
        Self {
            nic: AfXdpNic::new(config, umem.clone(), events.clone()).unwrap(),
            umem,
            peer: PacketSocket::open(PEER).unwrap(),
            events: events.event_loop(0),
            _events: events,
            injected: 0,
        }
    }

    fn is_open(&self) -> bool {
        self.nic.mode().is_some()
    }

    fn is_up(&self) -> bool {
        self.nic.watchdog(0).link.up
    }
}

impl Harness for Veth {
    type Nic = AfXdpNic;

    fn nic(&self) -> Arc<AfXdpNic> {
        self.nic.clone()
    }

    fn pool(&self, _: PoolConfig) -> Result<FramePool, PoolError> {
        Ok(self.umem.pool().clone())
    }

    fn inject(&mut self, _: QueueId, frame: &[u8]) {
        let sent = self.peer.try_send(frame).is_ok();
        // Without a program nobody counts.
        self.injected += u64::from(sent && self.is_open());
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&[u8])) {
        while let Some(frame) = self.peer.receive() {
            sink(&frame);
        }
    }

    fn step(&mut self) {
        if self.is_up() {
            wait_for("the program sees what was injected", || {
                let counters = self.nic.kernel().program().counters().unwrap();
                counters.iter().map(|(_, count)| count).sum::<u64>() >= self.injected
            });
            wait_for("the peer sees what was sent", || {
                let mut stats = NicStats::default();
                self.nic.stats(&mut stats);
                self.peer.arrived() as u64 >= stats.tx_packets
            });
        }
        self.events.poll();
    }

    /// The kernel leaves them as they are until a packet leaves it.
    fn sees_checksums(&self) -> bool {
        false
    }

    fn set_link_up(&mut self, up: bool) -> bool {
        let told = counter(&self.nic, "link_changes");
        let state = if up { "up" } else { "down" };
        ip(&format!("link set {PEER} {state}")).unwrap();
        wait_for("the link", || self.is_up() == up);
        if self.is_open() {
            wait_for("the word of it", || {
                counter(&self.nic, "link_changes") > told
            });
        }
        true
    }

    fn unplug(&mut self) -> bool {
        ip(&format!("link del {OURS}")).unwrap();
        true
    }
}

/// What AF_XDP gives no NIC, and what cannot be done with a veth.
const LACKS: [&str; 14] = [
    "a change of the station address",
    "receive filters",
    "the wire carries no such frames",
    "the NIC cuts no segments",
    "the NIC handles no VLAN tags",
    "the NIC verifies no checksums",
    "a packet is one frame",
    "the NIC does not tell",
    "there is one queue",
    "the NIC chooses queues itself",
    "the NIC has no such control plane",
    "the NIC does not keep interrupts apart",
    "the NIC does not spread flows",
    "the transmitter cannot be held",
];

/// A NIC without room for metadata.
#[track_caller]
fn keeps_the_contract(make: impl FnMut() -> Veth) {
    let lacks = [&LACKS[..], &["the NIC fills in no checksums"]].concat();
    conformance::assert_holds(&lacks, make);
}

#[test]
fn a_nic_in_driver_mode_keeps_the_contract() {
    in_namespace(|| keeps_the_contract(|| Veth::new(Mode::Copy)));
}

#[test]
fn a_nic_in_skb_mode_keeps_the_contract() {
    in_namespace(|| keeps_the_contract(|| Veth::new(Mode::Skb)));
}

#[test]
fn a_nic_on_what_a_helper_handed_over_keeps_the_contract() {
    in_namespace(|| keeps_the_contract(Veth::by_a_helper));
}

#[test]
fn a_nic_with_room_for_metadata_keeps_the_contract() {
    for mode in [Mode::Copy, Mode::Skb] {
        let lacks = [&LACKS[..], &["the wire does not show them"]].concat();
        in_namespace(move || conformance::assert_holds(&lacks, || Veth::with_metadata(mode)));
    }
}
