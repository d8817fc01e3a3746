//! What rtnetlink says about an interface (`RTM_GETLINK`, rtnetlink(7)).

use super::attributes::{self, Attributes, Read};
use super::connection::Connection;
use super::error::Refusal;
use super::uapi::{link, xdp};
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifla, RtAddrFamily, Rtm};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder, Rtattr, RtattrBuilder};
use neli::types::Buffer;
use neli::{Size, ToBytes};
use serde::Serialize;
use softnet_nic_hal::MacAddress;

/// An interface as rtnetlink describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Link {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its number in this network namespace.
    pub index: u32,
    /// Whether its frames are Ethernet frames (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Its MAC address, unless its addresses are no MAC addresses.
    #[serde(serialize_with = "as_text")]
    pub mac: Option<MacAddress>,
    /// The longest payload of a frame, in bytes.
    pub mtu: u32,
    /// The greatest MTU that the driver takes now, in bytes. With an XDP program
    /// attached it may be less than without.
    pub max_mtu: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether frames can pass: there is a carrier, and the interface is
    /// operational (`IFF_LOWER_UP`, `IFF_RUNNING`).
    pub carrier: bool,
    /// The kind of a virtual interface, as `veth` or `tun`.
    pub kind: Option<String>,
    /// RX queues that were allocated, which is the most that can be in use.
    pub rx_queues: Option<u32>,
    /// TX queues that were allocated.
    pub tx_queues: Option<u32>,
    /// XDP programs on it; usually none or one.
    pub xdp: Vec<XdpAttachment>,
}

/// An XDP program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct XdpAttachment {
    /// Where it runs.
    pub mode: XdpMode,
    /// The kernel's number of the program.
    pub program: u32,
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, before there is an sk_buff (native).
    Driver,
    /// In the stack, on an sk_buff (generic): for drivers without XDP.
    Skb,
    /// In the NIC.
    Hardware,
}

fn as_text<S: serde::Serializer>(mac: &Option<MacAddress>, to: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => to.collect_str(mac),
        None => to.serialize_none(),
    }
}

/// Asks for the interface with this number.
pub(super) fn read(route: &Connection, index: u32) -> Result<Link, Refusal> {
    ask(route, index, Vec::new())
}

/// Asks for the interface with this name, which may be an alternative one.
pub(super) fn find(route: &Connection, name: &str) -> Result<Link, Refusal> {
    // Longer names than these are alternative ones.
    let kind = match name.len() {
        ..libc::IFNAMSIZ => Ifla::Ifname,
        _ => Ifla::AltIfname,
    };
    ask(route, 0, vec![attribute(kind, name)?])
}

fn ask(route: &Connection, index: u32, mut by: Vec<LinkAttribute>) -> Result<Link, Refusal> {
    by.push(attribute(Ifla::ExtMask, link::SKIP_STATS)?);
    let payload = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index.cast_signed())
        .rtattrs(by.into_iter().collect())
        .build()
        .map_err(|_| Refusal::Malformed)?;
    let answers = route.ask(Rtm::Getlink.into(), NlmF::empty(), payload)?;
    answers.first().map(parse).ok_or(Refusal::Malformed)
}

type LinkAttribute = Rtattr<Ifla, Buffer>;

fn attribute(kind: Ifla, payload: impl Size + ToBytes) -> Result<LinkAttribute, Refusal> {
    RtattrBuilder::default()
        .rta_type(kind)
        .rta_payload(payload)
        .build()
        .map_err(|_| Refusal::Malformed)
}

/// The description in an answer or a notification.
pub(super) fn parse(message: &Ifinfomsg) -> Link {
    let flags = message.ifi_flags().bits();
    let all = |bits: i32| flags & bits.cast_unsigned() == bits.cast_unsigned();
    let kind = nested(message, Ifla::Linkinfo).and_then(|info| info.text(link::INFO_KIND));
    Link {
        name: bytes(message, Ifla::Ifname).map_or_else(String::new, attributes::text),
        index: message.ifi_index().cast_unsigned(),
        ethernet: u16::from(*message.ifi_type()) == libc::ARPHRD_ETHER,
        mac: mac(message),
        mtu: number(message, Ifla::Mtu).unwrap_or(0),
        max_mtu: number(message, Ifla::MaxMtu).filter(|mtu| *mtu != 0),
        up: all(libc::IFF_UP),
        carrier: all(libc::IFF_LOWER_UP | libc::IFF_RUNNING),
        kind,
        rx_queues: number(message, Ifla::NumRxQueues),
        tx_queues: number(message, Ifla::NumTxQueues),
        xdp: nested(message, Ifla::Xdp).map_or_else(Vec::new, |xdp| attachments(&xdp)),
    }
}

fn mac(message: &Ifinfomsg) -> Option<MacAddress> {
    let octets: [u8; 6] = bytes(message, Ifla::Address)?.try_into().ok()?;
    Some(MacAddress(octets))
}

fn number(message: &Ifinfomsg, kind: Ifla) -> Option<u32> {
    let bytes = bytes(message, kind)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn nested(message: &Ifinfomsg, kind: Ifla) -> Option<Attributes> {
    attributes::parse(bytes(message, kind)?).ok()
}

fn bytes(message: &Ifinfomsg, kind: Ifla) -> Option<&[u8]> {
    let mut all = message.rtattrs().iter();
    let found = all.find(|attribute| *attribute.rta_type() == kind)?;
    Some(found.rta_payload().as_ref())
}

/// With one program the kernel tells where it is; with several, each has an
/// attribute of its own.
fn attachments(attached: &Attributes) -> Vec<XdpAttachment> {
    let single = |mode| {
        let program = attached.u32(xdp::PROG_ID);
        program.map(|program| XdpAttachment { mode, program })
    };
    match attached.u8(xdp::ATTACHED) {
        Some(xdp::IN_DRIVER) => single(XdpMode::Driver).into_iter().collect(),
        Some(xdp::IN_SKB) => single(XdpMode::Skb).into_iter().collect(),
        Some(xdp::IN_HARDWARE) => single(XdpMode::Hardware).into_iter().collect(),
        Some(xdp::MULTI) => several(attached),
        _ => Vec::new(),
    }
}

fn several(attached: &Attributes) -> Vec<XdpAttachment> {
    let each = [
        (xdp::DRV_PROG_ID, XdpMode::Driver),
        (xdp::SKB_PROG_ID, XdpMode::Skb),
        (xdp::HW_PROG_ID, XdpMode::Hardware),
    ];
    let found = each.into_iter().map(|(kind, mode)| {
        let program = attached.u32(kind);
        program.map(|program| XdpAttachment { mode, program })
    });
    found.flatten().collect()
}
