//! Values of the command line, with errors that say what is wanted.

use softnet::NicKind;
use softnet::nic_hal::MacAddress;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix_len: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "an address with its prefix length is wanted, as 10.0.0.2/24".to_owned();
        let (address, prefix_len) = text.split_once('/').ok_or_else(wanted)?;
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| wanted())?;
        if !address.is_ipv4() {
            return Err("the stack speaks IPv4 only, so far".to_owned());
        }
        if prefix_len > 32 {
            return Err("the prefix of an IPv4 address has at most 32 bits".to_owned());
        }
        Ok(Self {
            address,
            prefix_len,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Which NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nic {
    /// An emulated one.
    Emulated(NicKind),
    /// The interface of the kernel with that name.
    AfXdp(String),
    /// The PCI function of that name, through VFIO.
    Vfio(String),
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("vfio:") {
            return Ok(Self::Vfio(name.to_owned()));
        }
        match text.strip_prefix("af-xdp:") {
            Some(name) if is_interface_name(name) => Ok(Self::AfXdp(name.to_owned())),
            Some(_) => Err("an interface's name has 1 to 15 bytes, as in af-xdp:eth1".to_owned()),
            None => match text.parse() {
                Ok(kind) => Ok(Self::Emulated(kind)),
                Err(_) => {
                    Err("there is no such NIC: use e1000, igb, ne2000, af-xdp:IFACE, or vfio:0000:01:00.0".to_owned())
                }
            },
        }
    }
}

/// How the kernel is to hand frames over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum XdpMode {
    /// The device writes into our memory itself.
    ZeroCopy,
    /// The driver copies.
    Copy,
    /// The kernel copies out of its own packets; any driver can.
    Skb,
}

/// Which frames of an interface are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steer {
    /// All.
    All,
    /// Those to the interface's station address, and broadcasts.
    Mac,
    /// Those to the addresses of the stack.
    Ip,
    /// UDP to these ports of the stack's addresses.
    Udp(u16, u16),
}

impl FromStr for Steer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "use all, mac, ip, or udp:FIRST-LAST, as udp:7-19".to_owned();
        let ports = match text {
            "all" => return Ok(Self::All),
            "mac" => return Ok(Self::Mac),
            "ip" => return Ok(Self::Ip),
            _ => text.strip_prefix("udp:").ok_or_else(wanted)?,
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let first = first.parse().map_err(|_| wanted())?;
        let last = last.parse().map_err(|_| wanted())?;
        if first > last {
            return Err(wanted());
        }
        Ok(Self::Udp(first, last))
    }
}

/// What a NIC is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireSpec {
    /// A TAP interface of that name.
    Tap(String),
    /// A capture file.
    Pcap(PathBuf),
}

impl FromStr for WireSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("tap", name)) if is_interface_name(name) => Ok(Self::Tap(name.to_owned())),
            Some(("tap", _)) => {
                Err("an interface's name has 1 to 15 bytes, as in tap:tap0".to_owned())
            }
            Some(("pcap", file)) if !file.is_empty() => Ok(Self::Pcap(file.into())),
            _ => Err("a wire is tap:NAME or pcap:FILE".to_owned()),
        }
    }
}

fn is_interface_name(name: &str) -> bool {
    let printable = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    (1..=15).contains(&name.len()) && name.chars().all(printable)
}

pub(crate) fn cpus(text: &str) -> Result<usize, String> {
    let parsed = text.parse().ok().filter(|cpus| (1..=64).contains(cpus));
    parsed.ok_or_else(|| "a stack has 1 to 64 CPUs".to_owned())
}

pub(crate) fn mac(text: &str) -> Result<MacAddress, String> {
    let wanted = || "six bytes in hexadecimal are wanted, as 52:54:00:12:34:56".to_owned();
    let mut mac = MacAddress::default();
    let mut parts = text.split(':');
    for byte in &mut mac.0 {
        let part = parts.next().filter(|part| part.len() == 2);
        let parsed = part.and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = parsed.ok_or_else(wanted)?;
    }
    if parts.next().is_some() {
        return Err(wanted());
    }
    if !mac.is_unicast() {
        return Err("a station's address is neither zero nor a group's".to_owned());
    }
    Ok(mac)
}

/// A number of seconds, or a number with a unit: us, ms, s, m.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "a time above zero is wanted, as 500ms, 10s or 2m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err(wanted()),
    };
    let number: f64 = digits.parse().map_err(|_| wanted())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| wanted())?;
    if duration.is_zero() {
        return Err(wanted());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "0", "-1s", "s", "1h", "nan", "inf", "1e300m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_station_address_is_six_bytes_of_one_station() {
        let expected = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(mac("52:54:00:12:34:56"), Ok(expected));
        let wrong = ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "5:4:0:2:4:6"];
        for wrong in wrong
            .into_iter()
            .chain(["00:00:00:00:00:00", "01:00:5e:00:00:01"])
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_comes_with_its_prefix() {
        let cidr: Cidr = "10.0.0.2/24".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.0.0.2/24");
        for wrong in ["10.0.0.2", "10.0.0.2/33", "10.0.0/24", "fe80::1/64", "/24"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
