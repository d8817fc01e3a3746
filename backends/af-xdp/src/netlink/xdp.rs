//! XDP programs attached by rtnetlink, which stay when their process ends.

use super::attributes::{Attribute, attribute};
use super::connection::Connection;
use super::error::{NetlinkError, Refusal};
use super::uapi::xdp;
use super::{Interface, XdpMode};
use neli::ToBytes;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifla, RtAddrFamily, Rtm};
use neli::rtnl::{IfinfomsgBuilder, RtattrBuilder};
use neli::types::Buffer;
use std::io::Cursor;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `XDP_FLAGS_*`.
mod flags {
    pub(super) const UPDATE_IF_NOEXIST: u32 = 1 << 0;
    pub(super) const SKB_MODE: u32 = 1 << 1;
    pub(super) const DRV_MODE: u32 = 1 << 2;
    pub(super) const HW_MODE: u32 = 1 << 3;
    pub(super) const REPLACE: u32 = 1 << 4;
}

impl Interface {
    /// Attaches an XDP program where none is. It stays until it is detached, also
    /// when this process has ended; a `bpf::Link` does not.
    ///
    /// # Errors
    /// A program is there, the driver cannot run it, or CAP_NET_ADMIN is missing.
    pub fn attach_xdp(&self, mode: XdpMode, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let flags = flag(mode) | flags::UPDATE_IF_NOEXIST;
        let program = program.as_raw_fd();
        self.set_xdp(&[(xdp::FD, program), (xdp::FLAGS, flags.cast_signed())])
            .map_err(|refusal| self.about(refusal, "attaching an XDP program"))
    }

    /// Detaches the XDP program, if it still is `program`.
    ///
    /// # Errors
    /// It is another one, a bpf_link holds it, or CAP_NET_ADMIN is missing.
    pub fn detach_xdp(&self, mode: XdpMode, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let flags = flag(mode) | flags::REPLACE;
        self.set_xdp(&[
            (xdp::FD, -1),
            (xdp::FLAGS, flags.cast_signed()),
            (xdp::EXPECTED_FD, program.as_raw_fd()),
        ])
        .map_err(|refusal| self.about(refusal, "detaching an XDP program"))
    }

    fn set_xdp(&self, values: &[(u16, i32)]) -> Result<(), Refusal> {
        let inner = values.iter().map(|&(kind, value)| attribute(kind, value));
        let inner: Vec<Attribute> = inner.collect::<Result<_, _>>()?;
        set_link(&self.route, self.index(), nested(&inner)?)
    }
}

const fn flag(mode: XdpMode) -> u32 {
    match mode {
        XdpMode::Driver => flags::DRV_MODE,
        XdpMode::Skb => flags::SKB_MODE,
        XdpMode::Hardware => flags::HW_MODE,
    }
}

/// One `IFLA_XDP`.
fn set_link(route: &Connection, index: u32, xdp: Buffer) -> Result<(), Refusal> {
    /// `NLA_F_NESTED`
    const NESTED: u16 = 1 << 15;
    let attribute = RtattrBuilder::default()
        .rta_type(Ifla::from(u16::from(Ifla::Xdp) | NESTED))
        .rta_payload(xdp)
        .build()
        .map_err(|_| Refusal::Malformed)?;
    let payload = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index.cast_signed())
        .rtattrs([attribute].into_iter().collect())
        .build()
        .map_err(|_| Refusal::Malformed)?;
    let kind = Rtm::Setlink.into();
    route.ask(kind, NlmF::empty(), payload).map(drop)
}

fn nested(attributes: &[Attribute]) -> Result<Buffer, Refusal> {
    let mut bytes = Cursor::new(Vec::new());
    for attribute in attributes {
        attribute
            .to_bytes(&mut bytes)
            .map_err(|_| Refusal::Malformed)?;
    }
    Ok(bytes.into_inner().into())
}
