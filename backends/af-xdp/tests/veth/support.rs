//! A namespace of the test's own, a veth pair in it, and a packet socket on the other
//! end.

use softnet_af_xdp::events::{EventLoop, Events};
use softnet_af_xdp::{AfXdpConfig, AfXdpNic, Umem, UmemConfig};
use softnet_dma_ring::{DmaRing, Frame};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::{IrqHandler, MacAddress, NicHal, OpenConfig, QueueId, Queues};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Our end of the pair, and the other.
pub(crate) const OURS: &str = "sx0";
pub(crate) const PEER: &str = "sx1";

/// Runs a test on a thread in a new network namespace, on one CPU: what the kernel does
/// for a system call of that thread is then done when a later effect of it is seen.
/// Where that is not allowed, the test is skipped.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let name = std::thread::current().name().map(str::to_owned);
    let thread = std::thread::Builder::new()
        .name(name.unwrap_or_default())
        .spawn(move || match enter() {
            Ok(()) => test(),
            Err(reason) => softnet_test_support::skip(reason),
        });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter() -> Result<(), String> {
    use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace: {error}"))?;
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.unwrap()).unwrap();
    sched_setaffinity(this, &one).unwrap();
    ip("link set lo up")
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<(), String> {
    run("ip", words)
}

/// Runs a command with these words.
pub(crate) fn run(command: &str, words: &str) -> Result<(), String> {
    let output = Command::new(command)
        .args(words.split_whitespace())
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command} {words}: {said}"))
}

/// A veth pair that is up, with so many queues at each end.
pub(crate) fn veth(ours: &str, peer: &str, queues: u16) {
    let number = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!(
        "link add {ours} {number} type veth peer name {peer} {number}"
    ))
    .unwrap();
    for end in [ours, peer] {
        // Otherwise the kernel sends frames of its own.
        let path = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
        std::fs::write(path, "1").unwrap();
        ip(&format!("link set {end} up")).unwrap();
    }
}

/// Waits until `fact` holds, and fails when it does not.
pub(crate) fn wait_for(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !fact() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A packet socket (packet(7)) on one interface.
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    /// Frames that the kernel has queued, read or not.
    seen: usize,
}

impl PacketSocket {
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(all)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = CString::new(interface)?;
        // SAFETY: the name ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: all,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is a `sockaddr_ll` of that size.
        let bound = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let socket = Self { fd, seen: 0 };
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20);
        Ok(socket)
    }

    fn set(&self, level: i32, option: i32, value: i32) {
        // SAFETY: the option's value is an int.
        let outcome = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as u32,
            )
        };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap();
    }

    /// Sends a frame, unless the interface is down.
    pub(crate) fn try_send(&self, frame: &[u8]) -> io::Result<usize> {
        nix::sys::socket::send(
            self.fd.as_raw_fd(),
            frame,
            nix::sys::socket::MsgFlags::empty(),
        )
        .map_err(Into::into)
    }

    /// A frame that has arrived.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let len = nix::unistd::read(&self.fd, &mut buffer).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    /// How many frames have arrived at all.
    pub(crate) fn arrived(&mut self) -> usize {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = size_of_val(&stats) as u32;
        // SAFETY: the kernel writes one `tpacket_stats`.
        let outcome = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
        assert_eq!(stats.tp_drops, 0, "the test's own socket dropped frames");
        self.seen += stats.tp_packets as usize;
        self.seen
    }
}

/// Counts what the NIC calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) irqs: AtomicUsize,
    pub(crate) links: AtomicUsize,
}

impl IrqHandler for Calls {
    fn irq(&self, _: QueueId) {
        self.irqs.fetch_add(1, Ordering::SeqCst);
    }

    fn link_changed(&self) {
        self.links.fetch_add(1, Ordering::SeqCst);
    }
}

/// Event loops of one CPU.
pub(crate) fn events() -> Arc<Events> {
    Events::new(Arc::new(IrqTable::new(1))).unwrap()
}

/// Whether the kernel has something that would end a CPU's sleep at once.
pub(crate) fn is_ready(cpu: &EventLoop) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(cpu.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

/// A small UMEM.
pub(crate) fn umem() -> Arc<Umem> {
    Umem::new(small()).unwrap()
}

/// The shape of a small UMEM.
pub(crate) fn small() -> UmemConfig {
    UmemConfig {
        chunks: 256,
        ring: 256,
        huge_pages: false,
        side_frames: 64,
        ..UmemConfig::default()
    }
}

/// A NIC on an interface.
pub(crate) fn nic(config: AfXdpConfig, umem: &Arc<Umem>) -> Arc<AfXdpNic> {
    AfXdpNic::new(config, umem.clone(), events()).unwrap()
}

/// How a NIC is opened, with rings of 32.
pub(crate) fn open_config(nic: &AfXdpNic, umem: &Umem, queues: u16) -> OpenConfig {
    OpenConfig {
        queues,
        rx_ring: 32,
        tx_ring: 32,
        mtu: nic.capabilities().max_mtu,
        ..OpenConfig::new(umem.pool().clone())
    }
}

/// Opens a NIC.
pub(crate) fn open(nic: &AfXdpNic, umem: &Umem, queues: u16) -> Queues<AfXdpNic> {
    let config = open_config(nic, umem, queues);
    nic.open(&config, Arc::new(Calls::default())).unwrap()
}

/// A frame to `to` of an unassigned type, each of whose bytes depends on `seed`.
pub(crate) fn packet(to: MacAddress, len: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at * 7 + seed * 31 + 1) as u8).collect();
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..14].copy_from_slice(&[2, 0, 0, 0, 0xaa, 0xbb, 0x88, 0xb5]);
    bytes
}

/// A UDP datagram over IPv4 whose source port is `seed`, without checksums.
pub(crate) fn datagram(to: MacAddress, seed: u16) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0xaa, 0xbb]);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    bytes[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    bytes[34..36].copy_from_slice(&seed.to_be_bytes());
    bytes[36..40].copy_from_slice(&[0, 7, 0, 26]);
    bytes
}

/// The rings of one queue.
pub(crate) type Pair =
    softnet_nic_hal::QueuePair<<AfXdpNic as NicHal>::Rx, <AfXdpNic as NicHal>::Tx>;

/// Posts and kicks that many empty frames.
pub(crate) fn post_rx(pair: &mut Pair, umem: &Umem, count: usize) {
    for _ in 0..count {
        pair.rx.post(umem.pool().alloc().unwrap()).unwrap();
    }
    pair.rx.kick();
}

/// The next frame of a ring.
pub(crate) fn reap_one(ring: &mut dyn DmaRing) -> Frame {
    let mut frame = None;
    wait_for("a frame", || {
        frame = ring.reap();
        frame.is_some()
    });
    frame.unwrap()
}

/// The next frame of the peer.
pub(crate) fn arrival(peer: &PacketSocket) -> Vec<u8> {
    let mut frame = None;
    wait_for("a frame at the peer", || {
        frame = peer.receive();
        frame.is_some()
    });
    frame.unwrap()
}

/// Sends a packet in a frame of the UMEM, and reaps it.
pub(crate) fn send(pair: &mut Pair, umem: &Umem, bytes: &[u8]) {
    let mut frame = umem.pool().alloc().unwrap();
    frame.put(bytes.len()).unwrap().copy_from_slice(bytes);
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    drop(reap_one(&mut pair.tx));
}

/// A frame comes from the peer, goes back as it is, and the ring has its chunk again.
pub(crate) fn echo(pair: &mut Pair, peer: &PacketSocket, bytes: &[u8]) {
    peer.send(bytes);
    let frame = reap_one(&mut pair.rx);
    assert!(frame.data() == bytes, "{} bytes, received", bytes.len());
    pair.tx.post(frame).unwrap();
    pair.tx.kick();
    assert!(arrival(peer) == bytes, "{} bytes, sent", bytes.len());
    drop(reap_one(&mut pair.tx));
}

/// One of the NIC's own counters.
pub(crate) fn counter(nic: &AfXdpNic, name: &str) -> u64 {
    let mut value = None;
    nic.ethtool_stats(&mut |have, count| {
        if have == name {
            value = Some(count);
        }
    });
    value.unwrap()
}
