//! Each setting that was changed is put back, however the process ends.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod support;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use softnet_af_xdp::netlink::{Deferral, Interface};
use softnet_af_xdp::settings::{Consent, Settings, SettingsError};
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{has, in_namespace, ip, run, veth};
use xsk_rs::config::{LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::{Socket, Umem};

const DEFERRAL: Deferral = Deferral {
    defer_hard_irqs: 2,
    gro_flush_timeout_ns: 200_000,
    irq_suspend_timeout_ns: 0,
};
/// Tells the test program that it is the process to be killed.
const VICTIM: &str = "SOFTNET_TEST_VICTIM";

fn settings(consent: Consent) -> Settings {
    Settings::new(Interface::open("one").unwrap(), consent).unwrap()
}

/// Receive and transmit queues in use.
fn queues() -> (u32, u32) {
    let channels = Interface::open("one").unwrap().channels().unwrap().unwrap();
    let current = channels.current;
    (current.rx_queues(), current.tx_queues())
}

fn deferrals() -> Vec<Deferral> {
    let napis = Interface::open("one").unwrap().napis().unwrap();
    let napis = napis.unwrap_or_default().into_iter();
    napis.filter_map(|napi| napi.deferral).collect()
}

fn is_active(feature: &str) -> bool {
    let features = Interface::open("one").unwrap().features().unwrap();
    features.unwrap().is_active(feature)
}

#[test]
fn queues_are_set_and_put_back() {
    in_namespace(|| {
        veth("one", "two", 4);
        let mut settings = settings(Consent::QUEUES);
        let before = queues();
        settings.set_queues(3).unwrap();
        assert_eq!(queues(), (3, 3));
        settings.set_queues(2).unwrap();
        assert_eq!(queues(), (2, 2));
        settings.restore().unwrap();
        assert_eq!(queues(), before);
    });
}

#[test]
fn a_dropped_guard_puts_back_too() {
    in_namespace(|| {
        veth("one", "two", 4);
        let before = queues();
        let mut settings = settings(Consent::QUEUES);
        settings.set_queues(3).unwrap();
        assert!(settings.is_changed());
        drop(settings);
        assert_eq!(queues(), before);
    });
}

#[test]
fn nothing_is_changed_without_consent_and_the_command_is_told() {
    in_namespace(|| {
        veth("one", "two", 4);
        let before = queues();
        let mut settings = settings(Consent::empty());
        let error = settings.set_queues(3).unwrap_err();
        assert!(matches!(&error, SettingsError::Consent { command, .. }
            if command == "ethtool -L one rx 3 tx 3"));
        let checksum = ("tx-checksum-ip-generic", false);
        let error = settings.set_features(&[checksum]).unwrap_err();
        assert!(matches!(&error, SettingsError::Consent { command, .. }
            if command == "ethtool -K one tx-checksum-ip-generic off"));
        assert_eq!(queues(), before);
        assert!(is_active("tx-checksum-ip-generic"));
        assert!(!settings.is_changed());
    });
}

#[test]
fn what_is_as_wanted_needs_no_consent() {
    in_namespace(|| {
        veth("one", "two", 4);
        let mut settings = settings(Consent::empty());
        settings.set_queues(queues().0).unwrap();
        settings
            .set_features(&[("tx-checksum-ip-generic", true)])
            .unwrap();
        assert!(!settings.is_changed());
    });
}

#[test]
fn more_queues_than_the_driver_has_are_refused_with_its_maximum() {
    in_namespace(|| {
        veth("one", "two", 2);
        let error = settings(Consent::QUEUES).set_queues(3).unwrap_err();
        assert!(matches!(
            error,
            SettingsError::Queues {
                wanted: 3,
                max: 2,
                ..
            }
        ));
    });
}

#[test]
fn an_interface_without_channels_has_the_queues_that_it_has() {
    in_namespace(|| {
        ip(&["link", "add", "one", "type", "bridge"]);
        let mut settings = settings(Consent::QUEUES);
        settings.set_queues(1).unwrap();
        let error = settings.set_queues(2).unwrap_err();
        assert!(matches!(error, SettingsError::Queues { max: 1, .. }));
    });
}

#[test]
fn every_napi_instance_gets_the_deferral_and_the_old_one_back() {
    in_namespace(|| {
        if !has("ethtool") {
            return softnet_test_support::skip("there is no ethtool");
        }
        veth("one", "two", 2);
        run("ethtool", &["-K", "one", "gro", "on"]);
        let before = deferrals();
        if before.is_empty() {
            return softnet_test_support::skip("this kernel has no setting for a NAPI instance");
        }
        let mut settings = settings(Consent::DEFERRAL);
        settings.set_deferral(DEFERRAL).unwrap();
        assert_eq!(deferrals(), vec![DEFERRAL; before.len()]);
        settings.restore().unwrap();
        assert_eq!(deferrals(), before);
    });
}

#[test]
fn features_are_set_and_put_back() {
    in_namespace(|| {
        veth("one", "two", 1);
        let mut settings = settings(Consent::FEATURES);
        let wanted = [("tx-checksum-ip-generic", false), ("rx-gro-list", true)];
        settings.set_features(&wanted).unwrap();
        assert!(!is_active("tx-checksum-ip-generic") && is_active("rx-gro-list"));
        settings.restore().unwrap();
        assert!(is_active("tx-checksum-ip-generic") && !is_active("rx-gro-list"));
    });
}

#[test]
fn a_feature_that_cannot_be_changed_is_named() {
    in_namespace(|| {
        veth("one", "two", 1);
        let mut settings = settings(Consent::FEATURES);
        let error = settings.set_features(&[("rx-lro", true)]).unwrap_err();
        assert!(error.to_string().contains("one"), "{error}");
        assert!(!is_active("rx-lro"));
    });
}

#[test]
fn settings_of_an_interface_that_is_gone_need_no_putting_back() {
    in_namespace(|| {
        veth("one", "two", 2);
        let mut settings = settings(Consent::QUEUES);
        settings.set_queues(2).unwrap();
        ip(&["link", "del", "one"]);
        settings.restore().unwrap();
    });
}

#[test]
fn without_napi_instances_the_deferral_is_set_by_the_files_of_sysfs() {
    in_namespace(|| {
        veth("one", "two", 1);
        // Nothing polls a veth without GRO and without a program.
        assert_eq!(deferrals(), []);
        let mut settings = settings(Consent::DEFERRAL);
        let error = settings.set_deferral(DEFERRAL).unwrap_err();
        assert!(matches!(error, SettingsError::Unknown { .. }), "{error}");
        if let Err(reason) = mount_sysfs() {
            return softnet_test_support::skip(reason);
        }
        let file = |name: &str| {
            let text = std::fs::read_to_string(format!("/sys/class/net/one/{name}")).unwrap();
            text.trim().parse::<u64>().unwrap()
        };
        settings.set_deferral(DEFERRAL).unwrap();
        assert_eq!(file("napi_defer_hard_irqs"), 2);
        assert_eq!(file("gro_flush_timeout"), 200_000);
        settings.restore().unwrap();
        assert_eq!(file("napi_defer_hard_irqs"), 0);
        assert_eq!(file("gro_flush_timeout"), 0);
    });
}

/// Mounts a /sys that shows this thread's network namespace, for this thread.
fn mount_sysfs() -> Result<(), String> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, private, none))
        .and_then(|()| mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none))
        .map_err(|error| format!("no /sys of its own: {error}"))
}

#[test]
fn a_process_that_is_killed_leaves_no_changed_setting() {
    if is_victim() {
        return be_killed();
    }
    in_namespace(|| {
        if has("ethtool") {
            kill_the_victim("a_process_that_is_killed_leaves_no_changed_setting");
        } else {
            softnet_test_support::skip("there is no ethtool");
        }
    });
}

#[test]
fn what_could_not_be_put_back_is_when_the_process_has_ended() {
    if is_victim() {
        return fail_to_restore();
    }
    in_namespace(|| {
        if has("ethtool") {
            kill_the_victim("what_could_not_be_put_back_is_when_the_process_has_ended");
        } else {
            softnet_test_support::skip("there is no ethtool");
        }
    });
}

fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Runs this test in another process, until it says that it has changed the
/// settings, and kills that. They have to be as before then.
fn kill_the_victim(test: &str) {
    veth("one", "two", 4);
    run("ethtool", &["-L", "one", "rx", "1", "tx", "1"]);
    run("ethtool", &["-K", "one", "gro", "on"]);
    let before = (queues(), deferrals());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("changed")));
    assert_eq!(queues(), (3, 3));
    victim.kill().unwrap();
    victim.wait().unwrap();
    until(|| queues() == before.0 && is_active("tx-checksum-ip-generic"));
    assert_eq!(deferrals(), before.1);
}

/// Changes settings, opens a socket on a queue that will go, says so, and waits
/// for the end.
fn be_killed() {
    let mut settings = settings(Consent::all());
    settings
        .set_features(&[("tx-checksum-ip-generic", false)])
        .unwrap();
    settings.set_deferral(DEFERRAL).unwrap();
    settings.set_queues(3).unwrap();
    let _socket = bind(2);
    assert!(!is_active("tx-checksum-ip-generic"));
    say_so_and_wait();
}

/// Tries to put back what the open socket does not let go.
fn fail_to_restore() {
    let mut settings = settings(Consent::all());
    settings.set_queues(3).unwrap();
    let _socket = bind(2);
    let error = settings.restore().unwrap_err();
    assert!(matches!(error, SettingsError::Restore { .. }));
    say_so_and_wait();
}

fn say_so_and_wait() {
    println!("changed");
    loop {
        std::thread::park();
    }
}

/// An XDP socket on a queue of `one`.
fn bind(queue: u32) -> impl Sized {
    let frames = NonZeroU32::new(64).unwrap();
    let (umem, _) = Umem::new(UmemConfig::default(), frames, false).unwrap();
    let config = SocketConfig::builder()
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .build();
    // SAFETY: no other socket of this UMEM is on the queue: there is only this one.
    let socket = unsafe { Socket::new(config, &umem, &"one".parse().unwrap(), queue) };
    (umem, socket.unwrap())
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "nothing was put back");
        std::thread::yield_now();
    }
}
