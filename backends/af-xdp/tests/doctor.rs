//! What the doctor finds, by the facts of interfaces made for it.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod support;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use softnet_af_xdp::Mode;
use softnet_af_xdp::doctor::{Extent, Finding, Report, State, Trial, Verdict, examine};
use softnet_af_xdp::netlink::Interface;
use support::{has, in_namespace, ip, ip_link, run, veth};

fn finding<'a>(report: &'a Report, check: &str) -> &'a Finding {
    let mut all = report.findings.iter();
    all.find(|finding| finding.check == check).unwrap()
}

fn trial(report: &Report, mode: Mode) -> &Trial {
    let mut all = report.trials.iter();
    all.find(|trial| trial.mode == mode).unwrap()
}

fn remedy(finding: &Finding) -> &str {
    finding.remedy.as_deref().unwrap_or("")
}

#[test]
fn a_veth_works_in_copy_mode_and_says_why_not_in_zero_copy() {
    in_namespace(|| {
        veth("one", "two", 2);
        let before = ip_link("one");
        let report = examine("one", Extent::Try);
        assert_eq!(report.verdict, Verdict::Works, "{report:#?}");
        assert_eq!(report.mode, Some(Mode::Copy));
        assert!(trial(&report, Mode::Skb).works());
        let zero_copy = trial(&report, Mode::ZeroCopy).failure.as_ref().unwrap();
        assert_eq!(zero_copy.errno, Some(libc::EOPNOTSUPP));
        assert!(zero_copy.reason.contains("no zero-copy (EOPNOTSUPP)"));
        assert_eq!(finding(&report, "try zero-copy").state, State::Bad);
        assert_eq!(finding(&report, "try copy").state, State::Good);
        assert!(finding(&report, "driver").detail.starts_with("veth"));
        let of_driver = &finding(&report, "metadata").detail;
        assert!(of_driver.ends_with("sent: none"), "{of_driver}");
        assert_ne!(finding(&report, "try metadata").state, State::Bad);
        // Nothing stays behind.
        assert_eq!(ip_link("one"), before);
    });
}

#[test]
fn the_facts_are_those_of_the_interface() {
    in_namespace(|| {
        veth("one", "two", 2);
        let report = examine("one", Extent::Look);
        let nic = report.nic.as_ref().unwrap();
        assert_eq!(nic.link, Interface::open("one").unwrap().link().unwrap());
        assert_eq!(nic.rx_queues, 2);
        assert_eq!(nic.rss, None);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["nic"]["link"]["mac"], ip_link("one")["address"]);
        assert_eq!(json["nic"]["driver"]["name"], "veth");
        assert_eq!(json["host"]["capabilities"]["CAP_NET_ADMIN"], true);
        assert_eq!(json["verdict"], "untried");
    });
}

#[test]
fn who_only_looks_attaches_nothing() {
    in_namespace(|| {
        veth("one", "two", 1);
        let watch = Interface::open("one").unwrap().watch().unwrap();
        let report = examine("one", Extent::Look);
        assert_eq!(report.verdict, Verdict::Untried);
        assert_eq!(report.trials, []);
        let mut checks = report.findings.iter().map(|finding| finding.check);
        assert!(!checks.any(|check| check == "try metadata"));
        // Attaching and detaching would have been told.
        assert_eq!(watch.events().unwrap(), []);
    });
}

#[test]
fn an_interface_that_is_not_there_is_told_with_the_way_to_find_it() {
    in_namespace(|| {
        let report = examine("nobody0", Extent::Try);
        assert_eq!(report.verdict, Verdict::Fails);
        assert_eq!((report.nic.as_ref(), report.trials.len()), (None, 0));
        let finding = finding(&report, "interface");
        assert_eq!(finding.state, State::Bad);
        assert!(finding.detail.contains("no interface nobody0"));
        assert_eq!(remedy(finding), "ip -br link");
    });
}

#[test]
fn an_interface_that_is_down_is_to_be_brought_up() {
    in_namespace(|| {
        veth("one", "two", 1);
        ip(&["link", "set", "one", "down"]);
        let report = examine("one", Extent::Try);
        assert_eq!(report.verdict, Verdict::Fails, "{report:#?}");
        assert_eq!(remedy(finding(&report, "link")), "ip link set one up");
        assert_eq!(finding(&report, "link").state, State::Bad);
    });
}

#[test]
fn a_program_of_somebody_else_is_named_and_left_alone() {
    in_namespace(|| {
        veth("one", "two", 1);
        let object = match support::pass_program() {
            Ok(object) => object,
            Err(reason) => return softnet_test_support::skip(reason),
        };
        ip(&[
            "link",
            "set",
            "dev",
            "one",
            "xdpgeneric",
            "obj",
            &object,
            "sec",
            "xdp",
        ]);
        let before = ip_link("one");
        let report = examine("one", Extent::Try);
        assert_eq!(report.verdict, Verdict::Fails);
        let programs = finding(&report, "programs");
        assert!(programs.detail.contains("pass_all"), "{programs:?}");
        assert_eq!(remedy(programs), "ip link set one xdpgeneric off");
        for mode in Mode::ALL {
            let failure = trial(&report, mode).failure.as_ref().unwrap();
            assert!(failure.reason.contains("pass_all"), "{failure:?}");
        }
        assert_eq!(ip_link("one"), before);
    });
}

#[test]
fn without_capabilities_it_says_which_are_missing() {
    in_namespace(|| {
        veth("one", "two", 1);
        drop_capabilities();
        let report = examine("one", Extent::Try);
        assert_eq!(report.verdict, Verdict::Fails);
        let capabilities = finding(&report, "capabilities");
        let missing = "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF missing";
        assert!(capabilities.detail.starts_with(missing));
        assert!(remedy(capabilities).starts_with("sudo setcap cap_net_raw,cap_net_admin,cap_bpf"));
        // What everybody may read is there all the same.
        assert!(finding(&report, "driver").detail.starts_with("veth"));
        assert_eq!(report.nic.as_ref().unwrap().link.mtu, 1500);
        let failure = trial(&report, Mode::Copy).failure.as_ref().unwrap();
        assert_eq!(failure.errno, Some(libc::EPERM));
    });
}

/// Gives up all capabilities of the calling thread, for good.
fn drop_capabilities() {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).unwrap();
}

#[test]
fn frames_longer_than_a_chunk_are_tried_in_several_buffers() {
    in_namespace(|| {
        veth("one", "two", 1);
        for name in ["one", "two"] {
            ip(&["link", "set", name, "mtu", "9000"]);
        }
        let report = examine("one", Extent::Try);
        assert!(finding(&report, "MTU").detail.contains("several buffers"));
        let copy = trial(&report, Mode::Copy);
        assert!(copy.multi_buffer && copy.works(), "{report:#?}");
    });
}

#[test]
fn an_interface_without_xdp_in_its_driver_works_in_skb_mode() {
    in_namespace(|| {
        ip(&["link", "add", "one", "type", "bridge"]);
        ip(&["link", "set", "one", "up"]);
        let report = examine("one", Extent::Try);
        assert_eq!(report.mode, Some(Mode::Skb), "{report:#?}");
        assert_eq!(finding(&report, "XDP").state, State::Note);
        let copy = trial(&report, Mode::Copy).failure.as_ref().unwrap();
        assert_eq!(copy.errno, Some(libc::EOPNOTSUPP));
    });
}

#[test]
fn fewer_queues_than_cpus_are_told_with_the_command_for_more() {
    in_namespace(|| {
        if !has("ethtool") {
            return softnet_test_support::skip("there is no ethtool");
        }
        veth("one", "two", 2);
        run("ethtool", &["-L", "one", "rx", "1", "tx", "1"]);
        let report = examine("one", Extent::Look);
        let queues = finding(&report, "queues");
        if report.nic.as_ref().unwrap().cpus < 2 {
            return softnet_test_support::skip("one CPU has enough with one queue");
        }
        assert_eq!(queues.state, State::Note);
        assert_eq!(remedy(queues), "ethtool -L one rx 2 tx 2");
    });
}
