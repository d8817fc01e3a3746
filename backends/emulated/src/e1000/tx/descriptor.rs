//! The layouts of transmit descriptors (sections 3.3.3, 3.3.6 and 3.3.7).

use crate::offload::{
    ChecksumField, KeepFlags, Network, Segmentation, Segmenter, Transport, ZeroSum,
};
use bitflags::bitflags;

bitflags! {
    /// The command byte of a descriptor. Bits 1 and 2 of an extended one are
    /// others than a legacy one's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u8 {
        const EOP = 1;
        const IFCS = 1 << 1;
        const IC = 1 << 2;
        const RS = 1 << 3;
        const RPS = 1 << 4;
        const DEXT = 1 << 5;
        const VLE = 1 << 6;
        const IDE = 1 << 7;
        /// Of a context: TCP, not UDP.
        const TCP = 1;
        /// Of a context: IPv4, not IPv6.
        const IP = 1 << 1;
        /// Of a context and of data: segmentation.
        const TSE = 1 << 2;
    }

    /// What is done with the packet that data belongs to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Options: u8 {
        const IXSM = 1;
        const TXSM = 1 << 1;
    }
}

/// Descriptor done, in the second word.
pub(super) const DD: u64 = 1 << 32;

/// The second word of a descriptor.
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) u64);

impl Control {
    #[inline]
    pub(super) fn command(self) -> Command {
        Command::from_bits_retain((self.0 >> 24) as u8)
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Where a legacy descriptor has the checksum stored.
    pub(super) fn cso(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    /// Where it starts.
    pub(super) fn css(self) -> usize {
        (self.0 >> 40 & 0xff) as usize
    }

    /// Of an extended descriptor: what it is (DTYP).
    pub(super) fn kind(self) -> u8 {
        (self.0 >> 20 & 0xf) as u8
    }

    /// Bytes of an extended data descriptor, and what a context calls PAYLEN.
    pub(super) fn extended_len(self) -> usize {
        (self.0 & 0xf_ffff) as usize
    }

    pub(super) fn options(self) -> Options {
        Options::from_bits_truncate((self.0 >> 40) as u8)
    }

    /// The tag control information.
    #[inline]
    pub(super) fn special(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// What a context descriptor says: where the checksums of the packets that follow
/// go, and how they are cut.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::e1000) struct Context {
    first: u64,
    second: u64,
}

impl Context {
    pub(super) fn new(first: u64, control: Control) -> Self {
        Self {
            first,
            second: control.0,
        }
    }

    fn command(self) -> Command {
        Control(self.second).command()
    }

    /// An end of 0 means the end of the packet; another is the last byte covered.
    fn field(part: u64, zero: ZeroSum) -> ChecksumField {
        let end = (part >> 16 & 0xffff) as usize;
        ChecksumField {
            start: (part & 0xff) as usize,
            at: (part >> 8 & 0xff) as usize,
            end: (end != 0).then_some(end + 1),
            zero,
        }
    }

    pub(super) fn network_checksum(self) -> ChecksumField {
        Self::field(self.first, ZeroSum::Zero)
    }

    pub(super) fn transport_checksum(self) -> ChecksumField {
        let zero = if self.command().contains(Command::TCP) {
            ZeroSum::Zero
        } else {
            ZeroSum::Ones
        };
        Self::field(self.first >> 32, zero)
    }

    /// The headers that segments have. With both bits clear, a block of data is
    /// cut and the header is the same in all parts (section 3.3.6.1, note 2); so
    /// UDP over IPv6 cannot be asked for.
    fn headers(self) -> Option<(Network, Transport)> {
        let command = self.command();
        let ip = command.contains(Command::IP);
        let tcp = command.contains(Command::TCP);
        match (ip, tcp) {
            (true, true) => Some((Network::Ipv4, Transport::Tcp)),
            (true, false) => Some((Network::Ipv4, Transport::Udp)),
            (false, true) => Some((Network::Ipv6, Transport::Tcp)),
            (false, false) => None,
        }
    }

    /// The segmentation that the context asks for. `network` and `transport`
    /// begin where their checksums start.
    pub(super) fn segmentation(self, options: Options) -> Segmentation {
        let (network, transport) = (self.network_checksum(), self.transport_checksum());
        let headers = self.headers();
        let insert = |option, field| options.contains(option).then_some(field);
        Segmentation {
            header_len: (self.second >> 40 & 0xff) as usize,
            mss: (self.second >> 48) as usize,
            payload_len: Control(self.second).extended_len(),
            network: headers.map(|(version, _)| (version, network.start)),
            transport: headers.map(|(_, protocol)| (protocol, transport.start)),
            network_checksum: insert(Options::IXSM, network),
            transport_checksum: insert(Options::TXSM, transport),
            keep_flags: KeepFlags::FIN_AND_PSH_LAST,
        }
    }
}

/// What is kept between descriptors for extended ones.
pub(in crate::e1000) struct Extended {
    /// What the last context without TSE says of IP's checksum, and of TCP's or
    /// UDP's; and the last context with it.
    pub(super) network: ChecksumField,
    pub(super) transport: ChecksumField,
    pub(super) segmentation: Context,
    pub(super) segmenter: Segmenter,
    /// Bytes of the descriptor at the head that are already cut, when its segments
    /// were too many for one burst.
    pub(super) cut_at: usize,
    /// Of the packet that is being gathered: its options, by its first data
    /// descriptor; whether it is being cut; whether that descriptor came.
    pub(super) options: Options,
    pub(super) cutting: bool,
    pub(super) begun: bool,
}

impl Extended {
    pub(in crate::e1000) fn new(longest: usize) -> Self {
        Self {
            network: ChecksumField::default(),
            transport: ChecksumField::default(),
            segmentation: Context::default(),
            segmenter: Segmenter::new(longest),
            cut_at: 0,
            options: Options::empty(),
            cutting: false,
            begun: false,
        }
    }

    pub(in crate::e1000) fn begin_packet(&mut self) {
        self.options = Options::empty();
        self.cutting = false;
        self.begun = false;
        self.cut_at = 0;
    }

    /// The head is at another descriptor now.
    pub(in crate::e1000) fn leave_descriptor(&mut self) {
        self.cut_at = 0;
    }

    pub(in crate::e1000) fn reset(&mut self) {
        self.begin_packet();
        self.network = ChecksumField::default();
        self.transport = ChecksumField::default();
        self.segmentation = Context::default();
    }
}
