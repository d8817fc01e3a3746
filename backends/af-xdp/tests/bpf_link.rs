//! Attaching to an interface: a veth pair in a namespace of each test's own.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod bpf_support;
mod bpf_veth;
mod support;

use bpf_veth::{index, on_veth};
use softnet_af_xdp::bpf::{
    AttachError, AttachMode, AttachOptions, Capability, Existing, Link, LoadError, MultiBuffer,
    Program, ProgramOptions, Steering, attached_programs,
};
use softnet_af_xdp::netlink::{Interface, XdpMode};
use softnet_test_support::skip;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn named(name: &str) -> Program {
    let options = ProgramOptions {
        name: name.to_owned(),
        ..ProgramOptions::default()
    };
    Program::load(&options).unwrap()
}

fn with(mode: AttachMode, existing: Existing) -> AttachOptions {
    AttachOptions { mode, existing }
}

/// The names of the programs on the interface.
fn names(ifindex: u32) -> Vec<String> {
    let programs = attached_programs(ifindex).unwrap();
    programs.into_iter().filter_map(|one| one.name).collect()
}

/// Waits until nothing is attached: the kernel ends a link behind the caller's
/// back.
fn wait_until_bare(ifindex: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !attached_programs(ifindex).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the program stays attached");
        std::thread::yield_now();
    }
}

#[test]
fn a_link_attaches_in_the_mode_asked_for_and_detaches_when_it_is_dropped() {
    on_veth(|veth| {
        for (mode, expected) in [
            (AttachMode::Any, XdpMode::Driver),
            (AttachMode::Driver, XdpMode::Driver),
            (AttachMode::Skb, XdpMode::Skb),
        ] {
            let program = named("in_a_mode");
            let link = program
                .attach(veth.a, with(mode, Existing::LeaveAlone))
                .unwrap();
            let attached = attached_programs(veth.a).unwrap();
            assert_eq!(attached.len(), 1);
            assert_eq!(attached[0].mode, expected);
            assert_eq!(attached[0].name.as_deref(), Some("in_a_mode"));
            assert!(attached[0].link.is_some());
            assert_eq!(link.ifindex().unwrap(), Some(veth.a));
            drop(link);
            wait_until_bare(veth.a);
        }
    });
}

#[test]
fn a_program_that_is_there_already_is_named_and_left_alone() {
    on_veth(|veth| {
        let first = named("first_of_all");
        let _link = first.attach(veth.a, AttachOptions::default()).unwrap();
        let second = named("second");
        for mode in [AttachMode::Any, AttachMode::Driver, AttachMode::Skb] {
            let refused = second.attach(veth.a, with(mode, Existing::LeaveAlone));
            let Err(AttachError::AlreadyAttached(others)) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(others.len(), 1);
            assert_eq!(others[0].name.as_deref(), Some("first_of_all"));
            assert_eq!(others[0].mode, XdpMode::Driver);
            let text = AttachError::AlreadyAttached(others).to_string();
            assert!(text.contains("\"first_of_all\" (id "), "{text}");
            assert!(text.contains("driver mode, held by link "), "{text}");
        }
        assert_eq!(names(veth.a), ["first_of_all"]);
    });
}

#[test]
fn a_linked_program_is_replaced_when_told() {
    on_veth(|veth| {
        let first = named("first");
        let old = first.attach(veth.a, AttachOptions::default()).unwrap();
        let second = named("second");
        for mode in [AttachMode::Driver, AttachMode::Skb] {
            let link = second
                .attach(veth.a, with(mode, Existing::Replace))
                .unwrap();
            assert_eq!(names(veth.a), ["second"]);
            assert_eq!(old.ifindex().unwrap(), None);
            drop(link);
            wait_until_bare(veth.a);
        }
    });
}

#[test]
fn a_program_that_netlink_attached_is_named_and_replaced_when_told() {
    on_veth(|veth| {
        let interface = Interface::open("xdpa").unwrap();
        let first = named("by_netlink");
        interface.attach_xdp(XdpMode::Skb, first.as_fd()).unwrap();
        // Nobody but the interface holds it now.
        drop(first);
        let second = named("second");
        let refused = second.attach(veth.a, AttachOptions::default());
        let Err(AttachError::AlreadyAttached(others)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(others[0].name.as_deref(), Some("by_netlink"));
        assert_eq!((others[0].mode, others[0].link), (XdpMode::Skb, None));
        let replace = with(AttachMode::Any, Existing::Replace);
        let _link = second.attach(veth.a, replace).unwrap();
        assert_eq!(names(veth.a), ["second"]);
    });
}

#[test]
fn what_netlink_had_attached_goes_back_when_its_successor_cannot_be_attached() {
    on_veth(|veth| {
        let interface = Interface::open("xdpa").unwrap();
        let first = named("by_netlink");
        interface.attach_xdp(XdpMode::Skb, first.as_fd()).unwrap();
        let second = named("second");
        let refused = second.attach(veth.a, with(AttachMode::Hardware, Existing::Replace));
        assert!(refused.is_err());
        assert_eq!(names(veth.a), ["by_netlink"]);
        interface.detach_xdp(XdpMode::Skb, first.as_fd()).unwrap();
        assert_eq!(names(veth.a), [""; 0]);
    });
}

#[test]
fn netlink_detaches_the_program_named_and_no_other() {
    on_veth(|veth| {
        let interface = Interface::open("xdpa").unwrap();
        let (there, other) = (named("there"), named("other"));
        interface
            .attach_xdp(XdpMode::Driver, there.as_fd())
            .unwrap();
        assert!(
            interface
                .detach_xdp(XdpMode::Driver, other.as_fd())
                .is_err()
        );
        assert!(
            interface
                .attach_xdp(XdpMode::Driver, other.as_fd())
                .is_err()
        );
        assert_eq!(names(veth.a), ["there"]);
    });
}

#[test]
fn a_link_changes_its_program_without_a_gap() {
    on_veth(|veth| {
        let (first, second) = (named("first"), named("second"));
        let link = first.attach(veth.a, AttachOptions::default()).unwrap();
        assert!(link.update(&second, &first).is_err());
        link.update(&first, &second).unwrap();
        assert_eq!(names(veth.a), ["second"]);
    });
}

#[test]
fn a_killed_process_leaves_no_program_on_the_interface() {
    on_veth(|veth| {
        let program = named("of_the_killed");
        let link = program.attach(veth.a, AttachOptions::default()).unwrap();
        // The child holds the link, and nobody else does.
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::from(link.into_fd()))
            .spawn()
            .unwrap();
        drop(program);
        assert_eq!(names(veth.a), ["of_the_killed"]);
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_bare(veth.a);
    });
}

#[test]
fn a_link_that_was_handed_over_holds_the_program() {
    on_veth(|veth| {
        let link = named("handed").attach(veth.a, AttachOptions::default());
        let link = Link::from_fd(link.unwrap().into_fd()).unwrap();
        assert_eq!(names(veth.a), ["handed"]);
        let other = named("no_link").as_fd().try_clone_to_owned().unwrap();
        assert!(Link::from_fd(other).is_err());
        drop(link);
        wait_until_bare(veth.a);
    });
}

#[test]
fn a_deleted_interface_leaves_a_link_to_nothing() {
    on_veth(|veth| {
        let link = named("left")
            .attach(veth.a, AttachOptions::default())
            .unwrap();
        support::ip(&["link", "del", "xdpa"]);
        assert_eq!(link.ifindex().unwrap(), None);
        let refused = named("late").attach(veth.a, AttachOptions::default());
        assert!(
            matches!(refused, Err(AttachError::NoInterface(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn a_large_mtu_asks_for_a_multi_buffer_program() {
    on_veth(|veth| {
        for end in ["xdpa", "xdpb"] {
            support::ip(&["link", "set", end, "mtu", "9000"]);
        }
        let driver = with(AttachMode::Driver, Existing::LeaveAlone);
        let refused = named("one_buffer").attach(veth.a, driver);
        assert!(
            matches!(refused, Err(AttachError::MtuTooLarge)),
            "{refused:?}"
        );
        let options = ProgramOptions {
            multi_buffer: MultiBuffer::Yes,
            ..ProgramOptions::default()
        };
        let program = Program::load(&options).unwrap();
        program.attach(veth.a, driver).unwrap();
    });
}

#[test]
fn a_mode_that_the_driver_lacks_is_said_so() {
    on_veth(|_| {
        let lo = index("lo");
        let driver = with(AttachMode::Driver, Existing::LeaveAlone);
        let refused = named("native").attach(lo, driver);
        assert!(
            matches!(refused, Err(AttachError::Unsupported(AttachMode::Driver))),
            "{refused:?}"
        );
    });
}

#[test]
fn without_privilege_what_is_missing_is_named_and_descriptors_still_work() {
    on_veth(|veth| {
        let program = named("of_root");
        let _link = program.attach(veth.a, AttachOptions::default()).unwrap();
        let Some(socket) = bpf_support::xdp_socket() else {
            return skip("no AF_XDP sockets here");
        };
        become_nobody();
        let refused = Program::load(&ProgramOptions::default());
        let Err(LoadError::Map(error)) = refused else {
            panic!("{refused:?}");
        };
        let text = error.to_string();
        assert!(text.contains("lacks CAP_BPF and CAP_NET_ADMIN"), "{text}");
        let replace = with(AttachMode::Any, Existing::Replace);
        let refused = program.attach(veth.a, replace);
        assert!(
            matches!(refused, Err(AttachError::NotPermitted(_))),
            "{refused:?}"
        );
        // The name of a program is for the privileged.
        let attached = attached_programs(veth.a).unwrap();
        assert_eq!((attached.len(), &attached[0].name), (1, &None));
        let fds = program.as_fds().map(|fd| fd.try_clone_to_owned().unwrap());
        let copy = Program::from_fds(fds).unwrap();
        copy.update(&Steering::all()).unwrap();
        copy.xsk_map().insert(0, socket.as_fd()).unwrap();
        let _second = copy.attach(veth.b, AttachOptions::default()).unwrap();
        assert_eq!(copy.counters().unwrap(), program.counters().unwrap());
    });
}

#[test]
fn cap_bpf_and_cap_net_admin_are_enough() {
    on_veth(|veth| {
        keep_capabilities(&[Capability::Bpf, Capability::NetAdmin]);
        let program = named("of_few_rights");
        program.update(&Steering::all()).unwrap();
        let _link = program.attach(veth.a, AttachOptions::default()).unwrap();
        let attached = attached_programs(veth.a).unwrap();
        assert_eq!((attached.len(), &attached[0].name), (1, &None));
    });
}

#[test]
fn a_missing_capability_is_the_one_that_is_named() {
    on_veth(|_| {
        keep_capabilities(&[Capability::NetAdmin]);
        let refused = Program::load(&ProgramOptions::default());
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("lacks CAP_BPF:"), "{text}");
    });
}

/// Gives up the calling thread's other capabilities.
fn keep_capabilities(kept: &[Capability]) {
    /// `struct __user_cap_header_struct` of version 3, for the calling thread.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let bits = kept.iter().map(|&one| 1_u64 << one as u8).sum::<u64>();
    let (low, high) = (bits as u32, (bits >> 32) as u32);
    // Effective, permitted and inheritable, of the first 32 and of the others.
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: capset(2) reads a header of two words and two sets of three.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), sets.as_ptr()) };
    assert_eq!(result, 0);
}

/// Gives up the privileges of the calling thread alone; the C library's call would
/// change all threads.
fn become_nobody() {
    const NOBODY: libc::c_long = 65534;
    // SAFETY: setresuid(2) follows no pointer.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0);
}

#[test]
fn a_programs_descriptors_close_on_exec() {
    let program = match Program::load(&ProgramOptions::default()) {
        Ok(program) => program,
        Err(reason) => return skip(reason),
    };
    for fd in program.as_fds() {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    }
}
