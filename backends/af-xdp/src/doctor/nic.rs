//! The interface, as far as XDP sockets depend on it.

use super::host::Host;
use super::{Finding, State};
use crate::bpf::{AttachedProgram, attached_programs};
use crate::netlink::{
    Channels, Deferral, DriverInfo, Features, Interface, Link, NetlinkError, RssFunction, RssView,
    XdpDevice, XdpFeatures, XdpMode, XskFeatures,
};
use crate::umem::ChunkSize;
use serde::Serialize;
use std::thread::available_parallelism;

/// The interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Nic {
    /// Its state.
    pub link: Link,
    /// Its driver.
    pub driver: Option<DriverInfo>,
    /// What its driver says about XDP.
    pub xdp: Option<XdpSupport>,
    /// Its channels, where they can be set.
    pub channels: Option<Channels>,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// CPUs of this machine that this process may use.
    pub cpus: u32,
    /// How it spreads packets.
    pub rss: Option<RssView>,
    /// Its offloads.
    #[serde(skip)]
    pub features: Option<Features>,
    /// The deferral of its NAPI instances, where the kernel tells.
    pub deferrals: Vec<Deferral>,
    /// The programs on it.
    #[serde(serialize_with = "as_texts")]
    pub programs: Vec<AttachedProgram>,
}

/// What a driver says about XDP, by the names of the `netdev` family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XdpSupport {
    /// What its XDP can do; empty for a driver without XDP.
    pub features: Vec<String>,
    /// Whether XDP sockets can do without a copy.
    pub zero_copy: bool,
    /// Descriptors of a frame in zero-copy mode.
    pub zc_max_segs: Option<u32>,
    /// What a program can ask about a received frame.
    pub rx_metadata: Vec<String>,
    /// What a sender can ask for a frame.
    pub tx_metadata: Vec<String>,
}

impl XdpSupport {
    fn new(device: XdpDevice) -> Self {
        let xsk = device.xsk.unwrap_or(XskFeatures::empty());
        Self {
            features: names(device.features.iter_names()),
            zero_copy: device.features.contains(XdpFeatures::XSK_ZEROCOPY),
            zc_max_segs: device.zc_max_segs,
            rx_metadata: names(device.rx_metadata.iter_names()),
            tx_metadata: names(xsk.iter_names()),
        }
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|one| one == feature)
    }
}

fn names<T>(flags: impl Iterator<Item = (&'static str, T)>) -> Vec<String> {
    let words = flags.map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"));
    words.collect()
}

fn as_texts<S: serde::Serializer>(programs: &[AttachedProgram], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(programs.iter().map(AttachedProgram::to_string))
}

/// Bytes before the payload of a frame: the Ethernet header and a VLAN tag.
const ETHERNET: u32 = 14 + 4;

impl Nic {
    pub(super) fn read(interface: &Interface) -> Result<Self, NetlinkError> {
        let link = interface.link()?;
        let napis = interface.napis()?.unwrap_or_default().into_iter();
        Ok(Self {
            driver: interface.driver()?,
            xdp: interface.xdp_device()?.map(XdpSupport::new),
            channels: interface.channels()?,
            rx_queues: interface.rx_queues()?,
            cpus: available_parallelism().map_or(1, |cpus| cpus.get() as u32),
            rss: interface.rss()?,
            features: interface.features()?,
            deferrals: napis.filter_map(|napi| napi.deferral).collect(),
            // The interface is there; what cannot be told of its programs is in
            // the link's list.
            programs: attached_programs(link.index).unwrap_or_default(),
            link,
        })
    }

    /// The longest frame that may arrive, in bytes.
    pub(super) fn longest_frame(&self) -> u32 {
        self.link.mtu.saturating_add(ETHERNET)
    }

    /// Whether a frame may be longer than the largest chunk has room.
    pub(super) fn needs_multi_buffer(&self) -> bool {
        self.longest_frame() > room(ChunkSize::Page)
    }

    fn is_veth(&self) -> bool {
        self.link.kind.as_deref() == Some("veth")
    }

    fn is_active(&self, feature: &str) -> bool {
        let features = self.features.as_ref();
        features.is_some_and(|features| features.is_active(feature))
    }
}

/// Bytes of a packet that a chunk has room for.
pub(super) const fn room(chunk: ChunkSize) -> u32 {
    chunk.bytes() - crate::xsk::XDP_HEADROOM
}

pub(super) fn findings(nic: &Nic, host: &Host) -> Vec<Finding> {
    let mut findings = vec![link(nic), driver(nic)];
    findings.extend([xdp(nic), zero_copy(nic), metadata(nic)]);
    findings.extend([queues(nic), rss(nic), mtu(nic, host)]);
    findings.extend(offloads(nic));
    findings.extend([deferral(nic), programs(nic)]);
    findings
}

fn link(nic: &Nic) -> Finding {
    let (check, name) = ("link", &nic.link.name);
    if !nic.link.ethernet {
        return Finding::bad(check, format!("{name} is no Ethernet interface"));
    }
    if !nic.link.up {
        return Finding::bad(check, "down").mend(format!("ip link set {name} up"));
    }
    if !nic.link.carrier {
        let detail = "up, without a carrier: the cable or the other end is missing or down";
        return Finding::note(check, detail);
    }
    Finding::good(check, "up, with a carrier")
}

fn driver(nic: &Nic) -> Finding {
    let Some(driver) = &nic.driver else {
        return Finding::unknown("driver", "it does not tell its name");
    };
    let place = match driver.bus.as_str() {
        "" => String::new(),
        bus => format!(" at {bus}"),
    };
    Finding::good(
        "driver",
        format!("{} {}{place}", driver.name, driver.version),
    )
}

fn xdp(nic: &Nic) -> Finding {
    let check = "XDP";
    let Some(xdp) = &nic.xdp else {
        let detail = "the kernel does not tell a driver's XDP features before 6.3";
        return Finding::unknown(check, detail);
    };
    match xdp.has("redirect") {
        true => Finding::good(check, xdp.features.join(", ")),
        false => {
            let detail = "the driver has none: SKB mode alone, which is slow";
            Finding::note(check, detail)
        }
    }
}

fn zero_copy(nic: &Nic) -> Finding {
    let check = "zero-copy";
    let Some(xdp) = &nic.xdp else {
        return Finding::unknown(check, "the kernel does not tell; see what is tried below");
    };
    if !xdp.zero_copy {
        return Finding::note(check, "the driver has none: the kernel copies each packet");
    }
    let segments = xdp.zc_max_segs.unwrap_or(1);
    Finding::good(check, format!("yes, a frame of up to {segments} buffers"))
}

fn metadata(nic: &Nic) -> Finding {
    let check = "metadata";
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    match &nic.xdp {
        None => Finding::unknown(check, "the kernel does not tell"),
        Some(xdp) => {
            let (rx, tx) = (list(&xdp.rx_metadata), list(&xdp.tx_metadata));
            Finding::good(check, format!("of the driver: received: {rx}; sent: {tx}"))
        }
    }
}

fn queues(nic: &Nic) -> Finding {
    let (check, used, cpus) = ("queues", nic.rx_queues, nic.cpus);
    let max = nic.channels.map_or(used, |channels| channels.max_queues());
    let detail = format!("{used} in use of {max}; {cpus} CPUs");
    let better = cpus.min(max);
    let counts = nic.channels.and_then(|channels| {
        let counts = channels.for_queues(better)?;
        Some(channels.arguments(counts))
    });
    match counts {
        Some(counts) if used < better => Finding::note(
            check,
            format!("{detail}: a CPU without a queue gets steered packets"),
        )
        .mend(format!("ethtool -L {} {counts}", nic.link.name)),
        _ => Finding::good(check, detail),
    }
}

fn rss(nic: &Nic) -> Finding {
    let (check, name) = ("RSS", &nic.link.name);
    if nic.rx_queues < 2 {
        return Finding::good(check, "one queue: there is nothing to spread");
    }
    let Some(rss) = &nic.rss else {
        let detail = "cannot be read: packets are steered to their CPUs in software";
        return Finding::note(check, detail);
    };
    if rss.function != RssFunction::Toeplitz || rss.symmetric {
        let detail = "not the plain Toeplitz hash: packets are steered to their CPUs in software";
        return Finding::note(check, detail).mend(format!("ethtool -X {name} hfunc toeplitz"));
    }
    let detail = format!("Toeplitz, {} entries", rss.table.len());
    match rss.udp_ports {
        Some(false) => Finding::note(check, format!("{detail}; the ports of UDP are not hashed"))
            .mend(format!("ethtool -N {name} rx-flow-hash udp4 sdfn")),
        _ => Finding::good(check, detail),
    }
}

fn mtu(nic: &Nic, host: &Host) -> Finding {
    let (check, frame) = ("MTU", nic.longest_frame());
    let (half, page) = (room(ChunkSize::Half), room(ChunkSize::Page));
    let detail = format!("{}: frames of up to {frame} bytes", nic.link.mtu);
    if frame <= half {
        return Finding::good(check, format!("{detail} fit a chunk of 2048 ({half})"));
    }
    if frame <= page {
        return Finding::good(check, format!("{detail} fit a chunk of 4096 ({page})"));
    }
    let lower = format!("ip link set {} mtu {}", nic.link.name, page - ETHERNET);
    if !host.is_at_least(6, 6) {
        let why = "need several buffers, which Linux has from 6.6 on";
        return Finding::bad(check, format!("{detail} {why}")).mend(lower);
    }
    let in_driver = nic.xdp.as_ref().is_none_or(|xdp| xdp.has("rx-sg"));
    match in_driver {
        true => Finding::good(check, format!("{detail} come in several buffers")),
        false => {
            let why = "need several buffers, which the driver has not: SKB mode alone";
            Finding::note(check, format!("{detail} {why}")).mend(lower)
        }
    }
}

/// The offloads that concern an XDP socket.
fn offloads(nic: &Nic) -> Vec<Finding> {
    let (check, name) = ("offloads", &nic.link.name);
    if nic.features.is_none() {
        return vec![Finding::unknown(check, "the kernel does not tell them")];
    }
    let mut findings = Vec::new();
    let mut note = |detail: &str, command: Option<String>| {
        let finding = Finding::note(check, detail);
        findings.push(match command {
            Some(command) => finding.mend(command),
            None => finding,
        });
    };
    if nic.is_active("rx-lro") {
        let detail = "LRO is on, which most drivers refuse together with XDP";
        note(detail, Some(format!("ethtool -K {name} lro off")));
    }
    if nic.is_active("rx-gro-hw") {
        let detail =
            "the NIC merges packets (rx-gro-hw), which many drivers refuse together with XDP";
        note(detail, Some(format!("ethtool -K {name} rx-gro-hw off")));
    }
    if nic.is_veth() {
        let detail = "a kernel at the other end of a veth leaves checksums half-made, unless \
                      tx-checksum-ip-generic is off there; they are recognised";
        note(detail, None);
    }
    if findings.is_empty() {
        findings.push(Finding::good(check, "none that is in the way"));
    }
    findings
}

fn deferral(nic: &Nic) -> Finding {
    let check = "busy polling";
    let is_set = |one: &Deferral| one.defer_hard_irqs != 0 && one.gro_flush_timeout_ns != 0;
    match &nic.deferrals[..] {
        [] => Finding::good(
            check,
            "interrupts can be put off by sysfs, or once a program is attached",
        ),
        all if all.iter().all(is_set) => Finding::good(check, "interrupts are put off"),
        _ => Finding::good(
            check,
            "interrupts are not put off; with consent a run does it",
        ),
    }
}

fn programs(nic: &Nic) -> Finding {
    let check = "programs";
    if nic.programs.is_empty() {
        return match nic.link.xdp.len() {
            0 => Finding::good(check, "none is attached"),
            count => Finding::new(
                check,
                State::Bad,
                format!("{count} attached, of which no more can be told"),
            )
            .mend(detach(nic, None)),
        };
    }
    let texts: Vec<_> = nic
        .programs
        .iter()
        .map(AttachedProgram::to_string)
        .collect();
    let link = nic.programs.iter().find_map(|program| program.link);
    let detail = format!("{} is attached, and is left alone", texts.join(" and "));
    Finding::bad(check, detail).mend(detach(nic, link))
}

pub(super) fn detach(nic: &Nic, link: Option<u32>) -> String {
    let name = &nic.link.name;
    let mode = nic.link.xdp.first().map(|program| program.mode);
    match (link, mode) {
        (Some(link), _) => format!("bpftool link detach id {link}"),
        (None, Some(XdpMode::Skb)) => format!("ip link set {name} xdpgeneric off"),
        (None, Some(XdpMode::Hardware)) => format!("ip link set {name} xdpoffload off"),
        (None, _) => format!("ip link set {name} xdp off"),
    }
}
