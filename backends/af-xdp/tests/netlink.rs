//! What the netlink readers say about an interface, against what ip(8) and
//! ethtool(8) say about the same one.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use softnet_af_xdp::netlink::{
    ChannelCounts, Direction, Features, Interface, LinkEvent, LinkWatch, NetlinkError, XdpFeatures,
    XdpMode,
};
use std::os::fd::AsFd;
use support::{has, in_namespace, ip, ip_link, run, veth};

#[test]
fn a_link_is_as_ip_describes_it() {
    in_namespace(|| {
        veth("one", "two", 3);
        ip(&["link", "set", "one", "mtu", "1400"]);
        let told = ip_link("one");
        let link = Interface::open("one").unwrap().link().unwrap();
        assert_eq!(link.name, told["ifname"]);
        assert_eq!(u64::from(link.index), told["ifindex"]);
        assert_eq!(link.mac.unwrap().to_string(), told["address"]);
        assert_eq!(u64::from(link.mtu), told["mtu"]);
        assert_eq!(u64::from(link.max_mtu.unwrap()), told["max_mtu"]);
        assert_eq!(link.kind.unwrap(), told["linkinfo"]["info_kind"]);
        assert_eq!(u64::from(link.rx_queues.unwrap()), told["num_rx_queues"]);
        assert_eq!(u64::from(link.tx_queues.unwrap()), told["num_tx_queues"]);
        assert!(link.ethernet && link.up && link.carrier);
        assert_eq!(link.xdp, []);
    });
}

#[test]
fn the_carrier_goes_with_the_peer() {
    in_namespace(|| {
        veth("one", "two", 1);
        ip(&["link", "set", "two", "down"]);
        let link = Interface::open("one").unwrap().link().unwrap();
        assert!(link.up && !link.carrier);
        ip(&["link", "set", "one", "down"]);
        assert!(!Interface::open("one").unwrap().link().unwrap().up);
    });
}

#[test]
fn channels_are_as_ethtool_lists_them() {
    in_namespace(|| {
        if !has("ethtool") {
            return softnet_test_support::skip("there is no ethtool");
        }
        veth("one", "two", 4);
        run("ethtool", &["-L", "one", "rx", "2", "tx", "3"]);
        let interface = Interface::open("one").unwrap();
        let channels = interface.channels().unwrap().unwrap();
        let current = ChannelCounts {
            rx: 2,
            tx: 3,
            combined: 0,
        };
        assert_eq!(channels.current, current);
        let told = run("ethtool", &["-l", "one"]);
        let maxima = [channels.max.rx, channels.max.tx, channels.max.combined];
        assert_eq!(column(&told, "Pre-set maximums"), maxima);
        assert_eq!(column(&told, "Current hardware"), [2, 3, 0]);
        assert_eq!(interface.rx_queues().unwrap(), 2);
    });
}

/// The numbers for RX, TX and combined channels below a heading of `ethtool -l`;
/// `n/a` is none.
fn column(text: &str, heading: &str) -> Vec<u32> {
    let (_, below) = text.split_once(heading).unwrap();
    let value = |key: &str| {
        let mut lines = below.lines();
        let line = lines.find(|line| line.starts_with(key)).unwrap();
        line[key.len()..].trim().parse().unwrap_or(0)
    };
    ["RX:", "TX:", "Combined:"].map(value).to_vec()
}

#[test]
fn features_are_as_ethtool_lists_them() {
    in_namespace(|| {
        if !has("ethtool") {
            return softnet_test_support::skip("there is no ethtool");
        }
        veth("one", "two", 1);
        run("ethtool", &["-K", "one", "tx-checksum-ip-generic", "off"]);
        let interface = Interface::open("one").unwrap();
        let features = interface.features().unwrap().unwrap();
        assert!(!features.is_active("tx-checksum-ip-generic"));
        assert!(features.is_changeable("tx-checksum-ip-generic"));
        let told = run("ethtool", &["-k", "one"]);
        let compared = told.lines().filter(|line| compare(line, &features)).count();
        assert!(compared > 25, "only {compared} features in {told}");
    });
}

/// Compares one line, `name: on [fixed]`. The lines that ethtool makes up of
/// several features have names without the kernel's shape, and are left out.
fn compare(line: &str, features: &Features) -> bool {
    const MADE_UP: [&str; 6] = [
        "rx-checksumming",
        "tx-checksumming",
        "scatter-gather",
        "tcp-segmentation-offload",
        "generic-segmentation-offload",
        "generic-receive-offload",
    ];
    let Some((name, state)) = line.trim().split_once(": ") else {
        return false;
    };
    let renamed = name.ends_with("-offload") || name.ends_with("-filters");
    if MADE_UP.contains(&name) || renamed || name == "receive-hashing" {
        return false;
    }
    assert_eq!(features.is_active(name), state.starts_with("on"), "{line}");
    let fixed = state.ends_with("[fixed]");
    assert_eq!(features.is_changeable(name), !fixed, "{line}");
    true
}

#[test]
fn the_driver_is_the_one_that_ethtool_names() {
    in_namespace(|| {
        veth("one", "two", 1);
        let driver = Interface::open("one").unwrap().driver().unwrap().unwrap();
        assert_eq!(driver.name, "veth");
        if has("ethtool") {
            let told = run("ethtool", &["-i", "one"]);
            assert!(told.contains("driver: veth"), "{told}");
            assert!(told.contains(&format!("version: {}", driver.version)));
        }
    });
}

#[test]
fn a_driver_without_rss_or_rings_says_so_by_none() {
    in_namespace(|| {
        veth("one", "two", 2);
        let interface = Interface::open("one").unwrap();
        assert_eq!(interface.rss().unwrap(), None);
        assert_eq!(interface.rings().unwrap(), None);
    });
}

#[test]
fn a_veth_has_xdp_without_zero_copy() {
    in_namespace(|| {
        veth("one", "two", 1);
        let Some(device) = Interface::open("one").unwrap().xdp_device().unwrap() else {
            return softnet_test_support::skip("this kernel has no netdev family");
        };
        let native = XdpFeatures::BASIC | XdpFeatures::REDIRECT;
        assert!(device.features.contains(native), "{device:?}");
        assert!(!device.features.contains(XdpFeatures::XSK_ZEROCOPY));
        assert_eq!(device.zc_max_segs, None);
    });
}

#[test]
fn an_interface_without_xdp_has_no_xdp_features() {
    in_namespace(|| {
        ip(&["link", "add", "bridge", "type", "bridge"]);
        let interface = Interface::open("bridge").unwrap();
        if let Some(device) = interface.xdp_device().unwrap() {
            assert!(!device.features.contains(XdpFeatures::REDIRECT));
        }
        assert_eq!(interface.channels().unwrap(), None);
        assert_eq!(interface.driver().unwrap().unwrap().name, "bridge");
    });
}

#[test]
fn each_queue_has_the_napi_instance_that_polls_it() {
    in_namespace(|| {
        if !has("ethtool") {
            return softnet_test_support::skip("there is no ethtool");
        }
        veth("one", "two", 2);
        run("ethtool", &["-L", "one", "rx", "2", "tx", "2"]);
        // GRO gives a veth its NAPI instances.
        run("ethtool", &["-K", "one", "gro", "on"]);
        let interface = Interface::open("one").unwrap();
        let (Some(queues), Some(napis)) = (interface.queues().unwrap(), interface.napis().unwrap())
        else {
            return softnet_test_support::skip("this kernel tells no NAPI instances");
        };
        let ids = |direction| {
            let some = queues
                .iter()
                .filter(move |queue| queue.direction == direction);
            some.map(|queue| queue.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Direction::Rx), [0, 1]);
        assert_eq!(ids(Direction::Tx), [0, 1]);
        assert_eq!(napis.len(), 2, "{napis:?}");
        for queue in queues.iter().filter(|queue| queue.napi.is_some()) {
            assert!(napis.iter().any(|napi| Some(napi.id) == queue.napi));
        }
    });
}

#[test]
fn a_missing_interface_is_named_in_the_error() {
    in_namespace(|| {
        let error = Interface::open("nobody0").unwrap_err();
        assert!(matches!(&error, NetlinkError::Missing(name) if name == "nobody0"));
        assert!(error.to_string().contains("ip link"));
    });
}

#[test]
fn an_interface_that_was_deleted_is_missing() {
    in_namespace(|| {
        veth("one", "two", 1);
        let interface = Interface::open("one").unwrap();
        ip(&["link", "del", "one"]);
        for result in [
            interface.link().map(drop),
            interface.channels().map(drop),
            interface.features().map(drop),
            interface.xdp_device().map(drop),
            interface.driver().map(drop),
        ] {
            assert!(
                matches!(result, Err(NetlinkError::Missing(_))),
                "{result:?}"
            );
        }
    });
}

#[test]
fn an_interface_is_itself_under_an_alternative_name() {
    in_namespace(|| {
        veth("one", "two", 1);
        let long = "a-name-longer-than-the-older-requests-take";
        ip(&["link", "property", "add", "dev", "one", "altname", long]);
        let interface = Interface::open(long).unwrap();
        assert_eq!(interface.name(), "one");
        assert_eq!(interface.driver().unwrap().unwrap().name, "veth");
    });
}

#[test]
fn an_attached_program_is_told_with_its_mode() {
    in_namespace(|| {
        veth("one", "two", 1);
        for (mode, expected) in [("xdpdrv", XdpMode::Driver), ("xdpgeneric", XdpMode::Skb)] {
            if let Err(reason) = attach(mode) {
                return softnet_test_support::skip(reason);
            }
            let link = Interface::open("one").unwrap().link().unwrap();
            let [xdp] = link.xdp[..] else {
                panic!("one program: {:?}", link.xdp);
            };
            assert_eq!(xdp.mode, expected);
            assert_eq!(u64::from(xdp.program), ip_link("one")["xdp"]["prog"]["id"]);
            ip(&["link", "set", "dev", "one", mode, "off"]);
        }
        assert_eq!(Interface::open("one").unwrap().link().unwrap().xdp, []);
    });
}

/// Attaches a program that passes everything, compiled by clang.
fn attach(mode: &str) -> Result<(), String> {
    support::pass_program().map(|object| {
        ip(&[
            "link", "set", "dev", "one", mode, "obj", &object, "sec", "xdp",
        ]);
    })
}

#[test]
fn a_watch_tells_of_down_up_mtu_and_the_end() {
    in_namespace(|| {
        veth("one", "two", 1);
        let interface = Interface::open("one").unwrap();
        let watch = interface.watch().unwrap();
        assert_eq!(watch.events().unwrap(), []);
        ip(&["link", "set", "one", "down"]);
        until(
            &watch,
            |event| matches!(event, LinkEvent::Changed(link) if !link.up),
        );
        ip(&["link", "set", "one", "up"]);
        until(
            &watch,
            |event| matches!(event, LinkEvent::Changed(link) if link.up && link.carrier),
        );
        ip(&["link", "set", "one", "mtu", "1300"]);
        until(
            &watch,
            |event| matches!(event, LinkEvent::Changed(link) if link.mtu == 1300),
        );
        ip(&["link", "del", "two"]);
        until(&watch, |event| *event == LinkEvent::Gone);
    });
}

#[test]
fn a_watch_is_silent_about_other_interfaces_and_about_leaving_a_bridge() {
    in_namespace(|| {
        veth("one", "two", 1);
        ip(&["link", "add", "bridge", "type", "bridge"]);
        ip(&["link", "set", "one", "master", "bridge"]);
        let interface = Interface::open("one").unwrap();
        let watch = interface.watch().unwrap();
        ip(&["link", "set", "bridge", "up"]);
        assert_eq!(watch.events().unwrap(), []);
        ip(&["link", "set", "one", "nomaster"]);
        let events = watch.events().unwrap();
        assert!(!events.is_empty());
        assert!(!events.contains(&LinkEvent::Gone));
    });
}

/// Waits for an event that satisfies `wanted`.
fn until(watch: &LinkWatch, wanted: impl Fn(&LinkEvent) -> bool) {
    loop {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
        assert_ne!(ready, 0, "the kernel told nothing for ten seconds");
        if watch.events().unwrap().iter().any(&wanted) {
            return;
        }
    }
}
