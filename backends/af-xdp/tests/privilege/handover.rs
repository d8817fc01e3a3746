//! Without any capability, by a helper.

use super::stage::{
    NOBODY, Open, assert_a_frame_goes, become_nobody_with, full, open_on, open_queues, small, until,
};
use super::support;
use rustix::thread::CapabilitySet;
use softnet_af_xdp::bpf::attached_programs;
use softnet_af_xdp::handover::{Connection, HandoverError, Helper, HelperConfig};
use softnet_af_xdp::netlink::Interface;
use softnet_af_xdp::{Mode, Umem, UmemConfig, UmemError};
use softnet_dma_ring::DmaRing;
use softnet_nic_hal::{NicError, NicHal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A place for a socket that no other test uses.
fn place() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(format!("softnet-helper-{pid}-{next}"))
}

/// A privileged helper on a thread of its own, which serves `processes` of them.
struct Privileged {
    path: PathBuf,
    thread: JoinHandle<()>,
}

impl Privileged {
    fn start(config: HelperConfig, processes: usize) -> Self {
        let path = place();
        let helper = Helper::listen(config, &path, Some(NOBODY)).unwrap();
        let serve = move || (0..processes).for_each(|_| helper.serve_one().unwrap());
        let thread = std::thread::spawn(serve);
        Self { path, thread }
    }

    fn umem(&self, config: UmemConfig) -> Result<Arc<Umem>, UmemError> {
        Umem::from_helper(config, Connection::open(&self.path)?)
    }

    /// Waits until its last process has hung up.
    fn end(self) {
        self.thread.join().unwrap();
        assert!(!self.path.exists());
    }
}

/// Runs `test` as nobody without capabilities, beside two ends of a veth pair with a
/// helper for each, which serve a process.
fn without_privilege(test: impl FnOnce(&Privileged, &Privileged) + Send + 'static) {
    support::in_namespace(move || {
        support::veth("one", "two", 2);
        let helpers = ["one", "two"].map(|end| Privileged::start(HelperConfig::new(end), 1));
        become_nobody_with(CapabilitySet::empty());
        test(&helpers[0], &helpers[1]);
        helpers.into_iter().for_each(Privileged::end);
    });
}

fn programs(interface: &str) -> usize {
    let index = Interface::open(interface).unwrap().index();
    attached_programs(index).unwrap().len()
}

#[test]
fn a_user_without_capabilities_receives_and_sends() {
    without_privilege(|one, two| {
        let mut one = open_on("one", one.umem(small()).unwrap()).unwrap();
        let mut two = open_on("two", two.umem(small()).unwrap()).unwrap();
        for _ in 0..200 {
            assert_a_frame_goes(&mut one, &mut two);
            assert_a_frame_goes(&mut two, &mut one);
        }
        assert_eq!(one.nic.mode(), Some(Mode::Copy));
        let refusals = one.nic.kernel().with_refusals(|all| {
            let texts = all.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>()
        });
        let reason = "zero-copy: binding a socket: Operation not supported (os error 95)";
        assert_eq!(refusals, [reason]);
    });
}

#[test]
fn the_program_is_there_while_the_nic_is_open() {
    without_privilege(|one, two| {
        let umem = one.umem(small()).unwrap();
        for _ in 0..3 {
            assert_eq!(programs("one"), 0);
            let Open { nic, queues, umem } = open_queues("one", umem.clone(), 2).unwrap();
            assert_eq!((queues.len(), programs("one")), (2, 1));
            nic.stop().unwrap();
            until("the program is gone", || programs("one") == 0);
            drop(queues);
            assert_eq!(umem.pool().count_free(), umem.pool().frames());
        }
        drop(two.umem(small()));
    });
}

#[test]
fn what_is_open_goes_on_without_the_helper_and_cannot_be_opened_again() {
    support::in_namespace(|| {
        support::veth("one", "two", 2);
        let one = Privileged::start(HelperConfig::new("one"), 1);
        let (ours, its) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let serve = move || Helper::serve_on(&HelperConfig::new("two"), &its);
        let two = std::thread::spawn(serve);
        become_nobody_with(CapabilitySet::empty());
        let mut one = (open_on("one", one.umem(small()).unwrap()).unwrap(), one);
        let cut = ours.try_clone().unwrap();
        let umem = Umem::from_helper(small(), Connection::from_fd(ours)).unwrap();
        let mut open = open_on("two", umem.clone()).unwrap();
        rustix::net::shutdown(&cut, rustix::net::Shutdown::Both).unwrap();
        two.join().unwrap();
        assert_a_frame_goes(&mut one.0, &mut open);
        assert_a_frame_goes(&mut open, &mut one.0);
        drop(open);
        let Err(error) = open_on("two", umem) else {
            panic!("nobody could have opened it");
        };
        let text = full(&*error);
        assert!(text.contains("hung up"), "{text}");
        drop(one.0);
        one.1.end();
    });
}

#[test]
fn packets_of_several_chunks_come_through_a_helper() {
    support::in_namespace(|| {
        support::veth("one", "two", 1);
        for end in ["one", "two"] {
            support::ip(&["link", "set", end, "mtu", "9000"]);
        }
        let helpers = ["one", "two"].map(|end| Privileged::start(HelperConfig::new(end), 1));
        become_nobody_with(CapabilitySet::empty());
        let config = UmemConfig {
            side_frames: 16,
            ..UmemConfig {
                chunks: 256,
                ring: 64,
                huge_pages: false,
                ..UmemConfig::jumbo()
            }
        };
        let [mut one, mut two] = [0, 1].map(|at| {
            let umem = helpers[at].umem(config).unwrap();
            open_on(["one", "two"][at], umem).unwrap()
        });
        let mut bytes: Vec<u8> = (0..9000).map(|at| (at % 251) as u8).collect();
        bytes[..6].copy_from_slice(&two.nic.capabilities().mac.0);
        let side = one.umem.side_pool().unwrap();
        let mut frame = side.alloc().unwrap();
        frame.put(bytes.len()).unwrap().copy_from_slice(&bytes);
        let rx = &mut two.queues[0].rx;
        while rx.post(two.umem.pool().alloc().unwrap()).is_ok() {}
        rx.kick();
        one.queues[0].tx.post(frame).unwrap();
        one.queues[0].tx.kick();
        let mut got = None;
        until("the packet", || {
            got = rx.reap();
            got.is_some()
        });
        let got = got.unwrap();
        assert!(got.data() == bytes);
        drop(got);
        drop((one, two));
        helpers.into_iter().for_each(Privileged::end);
    });
}

#[test]
fn a_helper_hands_out_its_own_interface_and_no_more_memory_than_allowed() {
    support::in_namespace(|| {
        support::veth("one", "two", 2);
        let config = HelperConfig {
            max_memory: 128 * 2048,
            ..HelperConfig::new("one")
        };
        let helper = Privileged::start(config, 3);
        become_nobody_with(CapabilitySet::empty());
        let Err(error) = open_on("two", helper.umem(small()).unwrap()) else {
            panic!("two was not handed out");
        };
        let text = full(&*error);
        assert!(text.contains("is for one, not for two"), "{text}");
        let more = UmemConfig {
            chunks: 129,
            ..small()
        };
        let text = helper.umem(more).unwrap_err().to_string();
        assert!(
            text.contains("264192 bytes of memory are more than 262144"),
            "{text}"
        );
        let Err(error) = open_queues("one", helper.umem(small()).unwrap(), 3) else {
            panic!("there are two queues");
        };
        let text = full(&*error);
        assert!(text.contains("3 queues"), "{text}");
        helper.end();
    });
}

#[test]
fn without_a_helper_its_socket_is_named() {
    let path = place();
    let error = Connection::open(&path).unwrap_err();
    assert!(matches!(error, HandoverError::Connect { .. }));
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn only_the_user_named_reaches_a_helper() {
    support::in_namespace(|| {
        support::veth("one", "two", 1);
        let path = place();
        let _helper = Helper::listen(HelperConfig::new("one"), &path, None).unwrap();
        become_nobody_with(CapabilitySet::empty());
        let text = Connection::open(&path).unwrap_err().to_string();
        assert!(text.contains("Permission denied"), "{text}");
    });
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    support::in_namespace(|| {
        support::veth("one", "two", 1);
        let (path, config) = (place(), HelperConfig::new("one"));
        let listen = || Helper::listen(config.clone(), &path, None);
        let first = listen().unwrap();
        assert!(listen().unwrap_err().to_string().contains("in use"));
        drop(first);
        assert!(!path.exists());
        // As a killed helper leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(listen().unwrap());
        assert!(!path.exists());
    });
}

#[test]
fn a_deleted_interface_is_gone_for_a_helpers_process_too() {
    support::in_namespace(|| {
        support::veth("one", "two", 1);
        let helper = Privileged::start(HelperConfig::new("one"), 1);
        let umem = helper.umem(small()).unwrap();
        let Open { nic, queues, .. } = open_on("one", umem).unwrap();
        support::ip(&["link", "del", "one"]);
        assert!(nic.watchdog(0).gone);
        nic.stop().unwrap();
        drop(queues);
        let config = softnet_nic_hal::OpenConfig {
            queues: 1,
            rx_ring: 32,
            tx_ring: 32,
            mtu: 1500,
            ..softnet_nic_hal::OpenConfig::new(nic.kernel().umem().pool().clone())
        };
        let again = nic.open(&config, Arc::new(super::stage::Deaf));
        assert!(matches!(again, Err(NicError::Gone)));
        drop(nic);
        helper.end();
    });
}
