//! Channels, rings and features, through the generic netlink family `ethtool`
//! (Documentation/networking/ethtool-netlink.rst).

use super::attributes::{Attribute, Attributes, Read, attribute, nest};
use super::error::Refusal;
use super::uapi::{bitset, channels, features, header, linkmodes, rings};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How many of which queues.
///
/// A channel is an interrupt with its queues. Some drivers have channels for
/// receiving and sending separately, some combined ones, some both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ChannelCounts {
    /// Channels that only receive.
    pub rx: u32,
    /// Channels that only send.
    pub tx: u32,
    /// Channels that do both.
    pub combined: u32,
}

impl ChannelCounts {
    /// Queues that receive: an XDP socket can be bound to queues 0 to one less.
    #[must_use]
    pub const fn rx_queues(&self) -> u32 {
        self.rx + self.combined
    }

    /// Queues that send.
    #[must_use]
    pub const fn tx_queues(&self) -> u32 {
        self.tx + self.combined
    }
}

/// The channels of an interface (`ethtool -l`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Channels {
    /// In use now.
    pub current: ChannelCounts,
    /// The most that the driver takes.
    pub max: ChannelCounts,
}

impl Channels {
    /// The counts that give `queues` queues in each direction, by combined
    /// channels where the driver has them; `None` if it has not that many.
    #[must_use]
    pub fn for_queues(&self, queues: u32) -> Option<ChannelCounts> {
        let separate = ChannelCounts {
            rx: queues,
            tx: queues,
            combined: 0,
        };
        let combined = ChannelCounts {
            rx: 0,
            tx: 0,
            combined: queues,
        };
        let fits = |counts: &ChannelCounts| {
            counts.rx <= self.max.rx
                && counts.tx <= self.max.tx
                && counts.combined <= self.max.combined
        };
        [combined, separate].into_iter().find(fits)
    }
}

impl Channels {
    /// The most queues that both directions can have.
    pub(crate) fn max_queues(&self) -> u32 {
        self.max.combined.max(self.max.rx.min(self.max.tx))
    }

    /// What `ethtool -L` is told for these counts: the kinds that the driver has.
    pub(crate) fn arguments(&self, wanted: ChannelCounts) -> String {
        let kinds = [
            ("rx", self.max.rx, wanted.rx),
            ("tx", self.max.tx, wanted.tx),
            ("combined", self.max.combined, wanted.combined),
        ];
        let has = kinds.iter().filter(|(_, max, _)| *max != 0);
        let words: Vec<_> = has.map(|(kind, _, n)| format!("{kind} {n}")).collect();
        words.join(" ")
    }
}

/// The descriptor rings of an interface (`ethtool -g`), in descriptors a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rings {
    /// Of each receive ring.
    pub rx: u32,
    /// Of each transmit ring.
    pub tx: u32,
    /// The most that a receive ring can have.
    pub rx_max: u32,
    /// The most that a transmit ring can have.
    pub tx_max: u32,
}

/// The speed of an interface's link (`ethtool`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LinkSpeed {
    /// In Mbit/s; `None` when the driver does not know, as without a carrier.
    pub mbps: Option<u32>,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
}

pub(super) fn parse_speed(answer: &Attributes) -> LinkSpeed {
    let known = |mbps: &u32| !matches!(*mbps, 0 | linkmodes::SPEED_UNKNOWN);
    LinkSpeed {
        mbps: answer.u32(linkmodes::SPEED).filter(known),
        full_duplex: answer.u8(linkmodes::DUPLEX) == Some(linkmodes::DUPLEX_FULL),
    }
}

/// The features of an interface (`ethtool -k`), by the kernel's names, as
/// `tx-checksum-ip-generic` or `rx-gro`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Features {
    /// In effect.
    pub active: BTreeSet<String>,
    /// Asked for; not each can be had.
    pub wanted: BTreeSet<String>,
    /// Those that can be asked for.
    pub changeable: BTreeSet<String>,
    /// Those that cannot be changed whatever `changeable` says.
    pub fixed: BTreeSet<String>,
}

impl Features {
    /// Whether a feature is in effect.
    #[must_use]
    pub fn is_active(&self, name: &str) -> bool {
        self.active.contains(name)
    }

    /// Whether a feature can be turned on and off.
    #[must_use]
    pub fn is_changeable(&self, name: &str) -> bool {
        self.changeable.contains(name) && !self.fixed.contains(name)
    }
}

/// The header of a request about the interface with this number.
pub(super) fn request_header(index: u32, flags: u32) -> Result<Attribute, Refusal> {
    let index = attribute(header::DEV_INDEX, index)?;
    let flags = attribute(header::FLAGS, flags)?;
    nest(super::uapi::ethtool::HEADER, &[index, flags])
}

pub(super) fn parse_channels(answer: &Attributes) -> Channels {
    let count = |kind| answer.u32(kind).unwrap_or(0);
    Channels {
        current: ChannelCounts {
            rx: count(channels::RX_COUNT),
            tx: count(channels::TX_COUNT),
            combined: count(channels::COMBINED_COUNT),
        },
        max: ChannelCounts {
            rx: count(channels::RX_MAX),
            tx: count(channels::TX_MAX),
            combined: count(channels::COMBINED_MAX),
        },
    }
}

/// A request for these channels, of the kinds that the driver has.
pub(super) fn channels_request(
    index: u32,
    now: &Channels,
    wanted: ChannelCounts,
) -> Result<Vec<Attribute>, Refusal> {
    let mut request = vec![request_header(index, header::OMIT_REPLY)?];
    for (kind, max, wanted) in [
        (channels::RX_COUNT, now.max.rx, wanted.rx),
        (channels::TX_COUNT, now.max.tx, wanted.tx),
        (channels::COMBINED_COUNT, now.max.combined, wanted.combined),
    ] {
        if max != 0 {
            request.push(attribute(kind, wanted)?);
        }
    }
    Ok(request)
}

pub(super) fn parse_rings(answer: &Attributes) -> Rings {
    let count = |kind| answer.u32(kind).unwrap_or(0);
    Rings {
        rx: count(rings::RX),
        tx: count(rings::TX),
        rx_max: count(rings::RX_MAX),
        tx_max: count(rings::TX_MAX),
    }
}

pub(super) fn parse_features(answer: &Attributes) -> Features {
    let set = |kind| answer.nested(kind).map(|bits| names(&bits));
    Features {
        active: set(features::ACTIVE).unwrap_or_default(),
        wanted: set(features::WANTED).unwrap_or_default(),
        changeable: set(features::HW).unwrap_or_default(),
        fixed: set(features::NOCHANGE).unwrap_or_default(),
    }
}

/// A request to turn features on or off, each by its name.
pub(super) fn features_request(
    index: u32,
    wanted: &BTreeMap<String, bool>,
) -> Result<Vec<Attribute>, Refusal> {
    let bits: Result<Vec<_>, _> = wanted.iter().map(|(name, on)| bit(name, *on)).collect();
    let list = nest(bitset::BITS, &bits?)?;
    Ok(vec![
        request_header(index, header::OMIT_REPLY)?,
        nest(features::WANTED, &[list])?,
    ])
}

/// A bit that is named, with the flag of its value if it is to be set.
fn bit(name: &str, on: bool) -> Result<Attribute, Refusal> {
    let mut parts = vec![attribute(bitset::BIT_NAME, name)?];
    if on {
        parts.push(attribute(bitset::BIT_VALUE, ())?);
    }
    nest(bitset::BITS_BIT, &parts)
}

/// The names of the bits that are set. A set without a mask lists those alone;
/// one with a mask lists all that it speaks of, and flags those that are set.
fn names(set: &Attributes) -> BTreeSet<String> {
    let Some(list) = set.nested(bitset::BITS) else {
        return BTreeSet::new();
    };
    let masked = set.bytes(bitset::NOMASK).is_none();
    let bits = list.iter().filter_map(|entry| {
        let bit = super::attributes::parse(entry.nla_payload().as_ref()).ok()?;
        let set = !masked || bit.bytes(bitset::BIT_VALUE).is_some();
        bit.text(bitset::BIT_NAME).filter(|_| set)
    });
    bits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn counts(rx: u32, tx: u32, combined: u32) -> ChannelCounts {
        ChannelCounts { rx, tx, combined }
    }

    #[test]
    fn combined_channels_are_preferred_where_the_driver_has_them() {
        let current = counts(0, 0, 1);
        let nic = |max| Channels { current, max };
        let both = nic(counts(8, 8, 8));
        assert_eq!(both.for_queues(4), Some(counts(0, 0, 4)));
        let separate = nic(counts(4, 4, 0));
        assert_eq!(separate.for_queues(4), Some(counts(4, 4, 0)));
        assert_eq!(separate.for_queues(5), None);
        assert_eq!(nic(counts(2, 1, 0)).for_queues(2), None);
    }

    #[test]
    fn a_request_names_only_the_kinds_that_the_driver_has() {
        let now = Channels {
            current: counts(1, 1, 0),
            max: counts(4, 4, 0),
        };
        let request = channels_request(7, &now, counts(2, 1, 0)).unwrap();
        let kinds: Vec<_> = request.iter().map(|a| *a.nla_type().nla_type()).collect();
        assert_eq!(kinds, [1, channels::RX_COUNT, channels::TX_COUNT]);
        assert_eq!(now.arguments(counts(2, 1, 0)), "rx 2 tx 1");
    }

    #[test]
    fn only_a_feature_to_be_on_has_the_flag_of_its_value() {
        let wanted = BTreeMap::from([("rx-gro".to_owned(), true), ("rx-lro".to_owned(), false)]);
        let request = features_request(7, &wanted).unwrap();
        let set = request[1].nla_payload();
        let set = crate::netlink::attributes::parse(set.as_ref()).unwrap();
        let names = names(&set);
        assert_eq!(names, BTreeSet::from(["rx-gro".into()]));
    }
}
