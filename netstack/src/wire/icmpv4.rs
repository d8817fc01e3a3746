//! The Internet Control Message Protocol: RFC 792, RFC 1122 section 3.2.2,
//! RFC 1191 (next-hop MTU), RFC 1812 section 5.2.7.1 (further codes).

use super::{be16, four};
use crate::checksum::Sum;
use core::net::Ipv4Addr;
use core::ops::Range;

/// Why bytes are no ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IcmpError {
    /// Fewer bytes than the header has.
    #[error("{len} bytes are too few for an ICMP header")]
    TooShort {
        /// Bytes that are there.
        len: usize,
    },
    /// The checksum does not match.
    #[error("the ICMP checksum is wrong")]
    Checksum,
}

/// The codes of a destination unreachable message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreachable {
    /// 0: no route to the network.
    Network,
    /// 1: the host does not answer.
    Host,
    /// 2: the host has no such transport protocol.
    Protocol,
    /// 3: nobody listens on the port.
    Port,
    /// 4: the packet is too big and must not be fragmented.
    FragmentationNeeded {
        /// MTU of the next hop, in bytes; 0 from a router that is older than
        /// RFC 1191.
        next_hop_mtu: u16,
    },
    /// 5: source routing failed.
    SourceRouteFailed,
    /// 6: the network is unknown.
    NetworkUnknown,
    /// 7: the host is unknown.
    HostUnknown,
    /// 8: the source host is isolated.
    SourceIsolated,
    /// 9: the network is prohibited by an administrator.
    NetworkProhibited,
    /// 10: the host is prohibited by an administrator.
    HostProhibited,
    /// 11: the network does not offer the type of service.
    NetworkTos,
    /// 12: the host does not offer the type of service.
    HostTos,
    /// 13: filtered by an administrator.
    Filtered,
    /// 14: host precedence violation.
    PrecedenceViolation,
    /// 15: precedence cutoff in effect.
    PrecedenceCutoff,
}

/// The codes without data, at the place of their number; 4 is not among them.
const PLAIN_CODES: [Option<Unreachable>; 16] = [
    Some(Unreachable::Network),
    Some(Unreachable::Host),
    Some(Unreachable::Protocol),
    Some(Unreachable::Port),
    None,
    Some(Unreachable::SourceRouteFailed),
    Some(Unreachable::NetworkUnknown),
    Some(Unreachable::HostUnknown),
    Some(Unreachable::SourceIsolated),
    Some(Unreachable::NetworkProhibited),
    Some(Unreachable::HostProhibited),
    Some(Unreachable::NetworkTos),
    Some(Unreachable::HostTos),
    Some(Unreachable::Filtered),
    Some(Unreachable::PrecedenceViolation),
    Some(Unreachable::PrecedenceCutoff),
];

const FRAGMENTATION_NEEDED: u8 = 4;

impl Unreachable {
    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        PLAIN_CODES
            .iter()
            .position(|&code| code == Some(self))
            .map_or(FRAGMENTATION_NEEDED, |code| code as u8)
    }

    fn parse(code: u8, rest: [u8; 4]) -> Option<Self> {
        if code == FRAGMENTATION_NEEDED {
            let next_hop_mtu = be16(&rest, 2);
            return Some(Self::FragmentationNeeded { next_hop_mtu });
        }
        *PLAIN_CODES.get(usize::from(code))?
    }

    fn rest(self) -> [u8; 4] {
        match self {
            Self::FragmentationNeeded { next_hop_mtu } => {
                let [high, low] = next_hop_mtu.to_be_bytes();
                [0, 0, high, low]
            }
            _ => [0; 4],
        }
    }

    /// Whether a transport must not give up a connection for it (RFC 1122
    /// section 4.2.3.9: soft errors).
    #[must_use]
    pub const fn is_soft(self) -> bool {
        matches!(
            self,
            Self::Network | Self::Host | Self::SourceRouteFailed | Self::NetworkTos | Self::HostTos
        )
    }
}

/// The header of an ICMP message: its type, its code and what the four bytes
/// behind the checksum mean there.
///
/// Bytes that RFC 792 calls unused are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpMessage {
    /// Type 0. The payload is that of the request.
    EchoReply {
        /// Identifier of the request.
        id: u16,
        /// Sequence number of the request.
        sequence: u16,
    },
    /// Type 8. The payload comes back in the reply.
    EchoRequest {
        /// Says which program asked.
        id: u16,
        /// Counts its requests.
        sequence: u16,
    },
    /// Type 3. The payload is the start of the packet that did not arrive.
    DestinationUnreachable(Unreachable),
    /// Type 5. The payload is the start of the packet that went a detour.
    Redirect {
        /// 0 network, 1 host, 2 network and service, 3 host and service.
        code: u8,
        /// The shorter way.
        gateway: Ipv4Addr,
    },
    /// Type 11. The payload is the start of the packet.
    TimeExceeded {
        /// 0 in transit, 1 in reassembly.
        code: u8,
    },
    /// Type 12. The payload is the start of the packet.
    ParameterProblem {
        /// 0 when the pointer says where, 1 when an option is missing.
        code: u8,
        /// Where the problem stands, in bytes from the start of the packet.
        pointer: u8,
    },
    /// Every other type, and the codes of type 3 above 15. RFC 1122 section
    /// 3.2.2 has it discarded silently.
    Unknown {
        /// The type on the wire.
        kind: u8,
        /// The code on the wire.
        code: u8,
        /// The four bytes behind the checksum.
        rest: [u8; 4],
    },
}

impl IcmpMessage {
    /// Length, in bytes.
    pub const LEN: usize = 8;

    /// Verifies the checksum of the whole message and reads its header.
    ///
    /// # Errors
    /// [`IcmpError`].
    #[inline]
    pub fn parse(message: &[u8]) -> Result<(Self, Range<usize>), IcmpError> {
        let Some(bytes) = message.first_chunk::<{ Self::LEN }>() else {
            let len = message.len();
            return Err(IcmpError::TooShort { len });
        };
        if !Sum::of(message).is_valid() {
            return Err(IcmpError::Checksum);
        }
        let header = Self::read(bytes[0], bytes[1], four(bytes, 4));
        Ok((header, Self::LEN..message.len()))
    }

    /// Reads the header of a message that is quoted, in part, inside of another:
    /// nothing can be verified.
    #[must_use]
    pub fn parse_quoted(bytes: &[u8; Self::LEN]) -> Self {
        Self::read(bytes[0], bytes[1], four(bytes, 4))
    }

    #[inline]
    fn read(kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let (id, sequence) = (be16(&rest, 0), be16(&rest, 2));
        match (kind, code) {
            (0, 0) => Self::EchoReply { id, sequence },
            (8, 0) => Self::EchoRequest { id, sequence },
            (5, code) => Self::Redirect {
                code,
                gateway: rest.into(),
            },
            (11, code) => Self::TimeExceeded { code },
            (12, code) => Self::ParameterProblem {
                code,
                pointer: rest[0],
            },
            (3, code) => match Unreachable::parse(code, rest) {
                Some(known) => Self::DestinationUnreachable(known),
                None => Self::Unknown { kind, code, rest },
            },
            _ => Self::Unknown { kind, code, rest },
        }
    }

    /// Type, code and the four bytes behind the checksum.
    fn words(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::EchoReply { id, sequence } => (0, 0, two(id, sequence)),
            Self::EchoRequest { id, sequence } => (8, 0, two(id, sequence)),
            Self::DestinationUnreachable(what) => (3, what.code(), what.rest()),
            Self::Redirect { code, gateway } => (5, code, gateway.octets()),
            Self::TimeExceeded { code } => (11, code, [0; 4]),
            Self::ParameterProblem { code, pointer } => (12, code, [pointer, 0, 0, 0]),
            Self::Unknown { kind, code, rest } => (kind, code, rest),
        }
    }

    /// The type on the wire.
    #[must_use]
    pub fn kind(self) -> u8 {
        self.words().0
    }

    /// Whether it is an error message, which no ICMP error may answer (RFC 1122
    /// section 3.2.2).
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::DestinationUnreachable(_)
            | Self::Redirect { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            // Type 4, source quench, is an error too; so may be what is unknown.
            Self::Unknown { kind, .. } => !matches!(kind, 0 | 8 | 9 | 10 | 13..=18 | 42 | 43),
            Self::EchoReply { .. } | Self::EchoRequest { .. } => false,
        }
    }

    /// Writes the header, with the checksum over it and `payload`, which is the
    /// sum of what will follow it.
    #[inline]
    pub fn emit(self, out: &mut [u8; Self::LEN], payload: Sum) {
        let (kind, code, rest) = self.words();
        out[..4].copy_from_slice(&[kind, code, 0, 0]);
        out[4..].copy_from_slice(&rest);
        let checksum = Sum::of(out).combine(payload).finish();
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn two(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
    [a, b, c, d]
}
