//! What the kernel knows about an interface, and the settings of it that matter
//! to an XDP socket: rtnetlink, and the generic netlink families `ethtool` and
//! `netdev`.
//!
//! Everybody may read. What a kernel or driver does not know is `None`. The
//! setters are the crate's own: whoever changes a setting does it by
//! [`crate::settings`], which puts it back.

mod attributes;
mod connection;
mod driver;
mod error;
mod ethtool;
mod link;
mod netdev;
mod rss;
mod uapi;
mod watch;
mod xdp;

pub use driver::DriverInfo;
pub use error::{NetlinkError, Said};
pub use ethtool::{ChannelCounts, Channels, Features, LinkSpeed, Rings};
pub use link::{Link, XdpAttachment, XdpMode};
pub use netdev::{
    Deferral, Direction, Napi, Queue, RxMetadata, XdpDevice, XdpFeatures, XskFeatures,
};
pub use rss::{RssFunction, RssView};
pub use watch::{LinkEvent, LinkWatch};

use attributes::{Attribute, Attributes};
use connection::Connection;
use driver::Control;
use error::Refusal;
use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use nix::errno::Errno;
use std::collections::BTreeMap;
use uapi::ethtool as message;
use uapi::netdev as command;

/// An interface of the network namespace of the thread that opened it.
///
/// It is told by its number from then on, so it stays the same interface when
/// it is renamed, and is missing once it was deleted.
#[derive(Debug)]
pub struct Interface {
    name: String,
    index: u32,
    route: Connection,
    generic: Connection,
    control: Control,
    /// The numbers of the generic families, as far as this kernel has them.
    ethtool: Option<u16>,
    netdev: Option<u16>,
}

impl Interface {
    /// The interface called `name`.
    ///
    /// # Errors
    /// There is no such interface, or no netlink.
    pub fn open(name: &str) -> Result<Self, NetlinkError> {
        Self::connect(name).map_err(|refusal| refusal.about(name, "opening"))
    }

    fn connect(name: &str) -> Result<Self, Refusal> {
        let route = Connection::open(NlFamily::Route)?;
        let generic = Connection::open(NlFamily::Generic)?;
        let link = link::find(&route, name)?;
        Ok(Self {
            name: link.name,
            index: link.index,
            ethtool: connection::resolve(&generic, message::FAMILY)?,
            netdev: connection::resolve(&generic, command::FAMILY)?,
            route,
            generic,
            control: Control::open()?,
        })
    }

    /// Its name when it was opened.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its state as rtnetlink describes it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn link(&self) -> Result<Link, NetlinkError> {
        link::read(&self.route, self.index)
            .map_err(|refusal| self.about(refusal, "reading the state"))
    }

    /// A watch over it.
    ///
    /// # Errors
    /// No socket could be had.
    pub fn watch(&self) -> Result<LinkWatch, NetlinkError> {
        LinkWatch::open(self.index)
    }

    /// Its driver.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn driver(&self) -> Result<Option<DriverInfo>, NetlinkError> {
        let answer = self.control.driver(&self.name).map_err(Refusal::from);
        self.known(answer, "reading the driver")
    }

    /// Its channels.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn channels(&self) -> Result<Option<Channels>, NetlinkError> {
        let answer = self.ethtool(message::CHANNELS_GET);
        let answer = self.known(answer, "reading the channels")?;
        Ok(first(answer).map(|answer| ethtool::parse_channels(&answer)))
    }

    /// The speed of its link.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn speed(&self) -> Result<Option<LinkSpeed>, NetlinkError> {
        let answer = self.ethtool(message::LINKMODES_GET);
        let answer = self.known(answer, "reading the speed")?;
        Ok(first(answer).map(|answer| ethtool::parse_speed(&answer)))
    }

    /// Its rings.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn rings(&self) -> Result<Option<Rings>, NetlinkError> {
        let answer = self.ethtool(message::RINGS_GET);
        let answer = self.known(answer, "reading the rings")?;
        Ok(first(answer).map(|answer| ethtool::parse_rings(&answer)))
    }

    /// Its features, which are its offloads.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn features(&self) -> Result<Option<Features>, NetlinkError> {
        let answer = self.ethtool(message::FEATURES_GET);
        let answer = self.known(answer, "reading the features")?;
        Ok(first(answer).map(|answer| ethtool::parse_features(&answer)))
    }

    /// How it spreads packets over its queues. `None` if that cannot be read, as
    /// on a veth: then packets have to be steered in software.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn rss(&self) -> Result<Option<RssView>, NetlinkError> {
        let answer = self.ethtool(message::RSS_GET);
        let Some(answer) = first(self.known(answer, "reading the RSS")?) else {
            return Ok(None);
        };
        let queues = self.rx_queues()?;
        let udp_ports = self.control.hashes_udp_ports(&self.name).ok();
        let view = RssView::parse(&answer, udp_ports, queues);
        Ok((!view.table.is_empty()).then_some(view))
    }

    /// Receive queues in use: those of its channels, or as many as it has if it
    /// has no channels to set.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn rx_queues(&self) -> Result<u32, NetlinkError> {
        let channels = self
            .channels()?
            .map(|channels| channels.current.rx_queues());
        match channels.filter(|queues| *queues != 0) {
            Some(queues) => Ok(queues),
            None => Ok(self.link()?.rx_queues.unwrap_or(1)),
        }
    }

    /// What its driver says about XDP; `None` on kernels before 6.3.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn xdp_device(&self) -> Result<Option<XdpDevice>, NetlinkError> {
        let request = netdev::device_request(self.index);
        let answer = self.netdev(NlmF::empty(), command::DEV_GET, request);
        let answer = self.known(answer, "reading the XDP features")?;
        Ok(first(answer).map(|answer| netdev::parse_device(&answer)))
    }

    /// Its NAPI instances; `None` on kernels before 6.8. A veth has none before
    /// an XDP program is attached or GRO is on.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn napis(&self) -> Result<Option<Vec<Napi>>, NetlinkError> {
        let request = netdev::napi_request(self.index);
        let answers = self.netdev(NlmF::DUMP, command::NAPI_GET, request);
        let answers = self.known(answers, "reading the NAPI instances")?;
        Ok(answers.map(|answers| answers.iter().filter_map(netdev::parse_napi).collect()))
    }

    /// Its queues; `None` on kernels before 6.8. There are none while it is down.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn queues(&self) -> Result<Option<Vec<Queue>>, NetlinkError> {
        let request = netdev::queue_request(self.index);
        let answers = self.netdev(NlmF::DUMP, command::QUEUE_GET, request);
        let answers = self.known(answers, "reading the queues")?;
        Ok(answers.map(|answers| answers.iter().filter_map(netdev::parse_queue).collect()))
    }

    /// The request for these channels.
    pub(crate) fn channels_change(
        &self,
        now: &Channels,
        wanted: ChannelCounts,
    ) -> Result<Change, NetlinkError> {
        let attributes = ethtool::channels_request(self.index, now, wanted);
        let (family, command) = (self.ethtool, message::CHANNELS_SET);
        self.request(family, command, attributes, "setting the channels")
    }

    /// The request to turn features on or off.
    pub(crate) fn features_change(
        &self,
        wanted: &BTreeMap<String, bool>,
    ) -> Result<Change, NetlinkError> {
        let attributes = ethtool::features_request(self.index, wanted);
        let (family, command) = (self.ethtool, message::FEATURES_SET);
        self.request(family, command, attributes, "setting the features")
    }

    /// The request for what differs between two deferrals of a NAPI instance.
    pub(crate) fn deferral_change(
        &self,
        napi: u32,
        now: Deferral,
        wanted: Deferral,
    ) -> Result<Change, NetlinkError> {
        let attributes = netdev::deferral_request(napi, now, wanted);
        let (family, command) = (self.netdev, command::NAPI_SET);
        self.request(family, command, attributes, "setting the NAPI deferral")
    }

    fn request(
        &self,
        family: Option<u16>,
        command: u8,
        attributes: Result<Vec<Attribute>, Refusal>,
        action: &'static str,
    ) -> Result<Change, NetlinkError> {
        let change = || {
            Ok(Change {
                family: family.ok_or(Errno::EOPNOTSUPP)?,
                command,
                attributes: attributes?,
                action,
            })
        };
        change().map_err(|refusal| self.about(refusal, action))
    }

    /// Asks the kernel for a change.
    pub(crate) fn apply(&self, change: &Change) -> Result<(), NetlinkError> {
        let Change {
            family, command, ..
        } = *change;
        let attributes = change.attributes.clone();
        let result = self
            .generic
            .command(family, NlmF::empty(), command, attributes);
        result
            .map(drop)
            .map_err(|refusal| self.about(refusal, change.action))
    }

    /// The bytes of the request for a change.
    pub(crate) fn encode(&self, change: &Change) -> Result<Vec<u8>, NetlinkError> {
        connection::generic(change.command, change.attributes.clone())
            .and_then(|payload| connection::encode(change.family, payload))
            .map_err(|refusal| self.about(refusal, change.action))
    }

    fn ethtool(&self, message: u8) -> Result<Vec<Attributes>, Refusal> {
        let request = vec![ethtool::request_header(self.index, 0)?];
        self.ask(self.ethtool, NlmF::empty(), message, request)
    }

    fn netdev(
        &self,
        flags: NlmF,
        command: u8,
        request: Result<Vec<Attribute>, Refusal>,
    ) -> Result<Vec<Attributes>, Refusal> {
        self.ask(self.netdev, flags, command, request?)
    }

    fn ask(
        &self,
        family: Option<u16>,
        flags: NlmF,
        command: u8,
        request: Vec<Attribute>,
    ) -> Result<Vec<Attributes>, Refusal> {
        let family = family.ok_or(Errno::EOPNOTSUPP)?;
        self.generic.command(family, flags, command, request)
    }

    fn known<T>(
        &self,
        answer: Result<T, Refusal>,
        action: &'static str,
    ) -> Result<Option<T>, NetlinkError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if refusal.is_unknown() => Ok(None),
            Err(refusal) => Err(self.about(refusal, action)),
        }
    }

    fn about(&self, refusal: Refusal, action: &'static str) -> NetlinkError {
        refusal.about(&self.name, action)
    }
}

/// A request that changes a setting.
#[derive(Debug)]
pub(crate) struct Change {
    family: u16,
    command: u8,
    attributes: Vec<Attribute>,
    action: &'static str,
}

fn first(answers: Option<Vec<Attributes>>) -> Option<Attributes> {
    answers?.into_iter().next()
}
