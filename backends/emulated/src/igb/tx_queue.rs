//! One transmit queue: its contexts, and the packet that its descriptors are
//! gathered into (section 7.2.2).

use super::regs::{Registers, offset};
use crate::offload::{
    ChecksumField, KeepFlags, Network, Segmentation, Segmenter, TAG_LEN, Transport, ZeroSum,
};

/// Bytes of the longest packet that the chip sends, and of the longest segment
/// (RLPML's default, and so the longest that another of its kind would take).
pub(super) const LONGEST: usize = 0x2600;

/// The queue's state between descriptors.
pub(super) struct TxQueue {
    contexts: [Context; 2],
    /// Room for a tag, the packet that is being gathered, and how much of it there
    /// is.
    pub(super) packet: Box<[u8]>,
    pub(super) len: usize,
    /// What the packet's first descriptor asked for; `None`: it has not come.
    pub(super) job: Option<Job>,
    /// The checksums to be put into an uncut packet.
    checksums: [Option<ChecksumField>; 2],
    /// And where an SCTP packet starts that is to have its own.
    sctp: Option<usize>,
    /// The packet will not be sent, for what one of its descriptors was.
    pub(super) discard: bool,
    pub(super) segmenter: Segmenter,
    /// Bytes of the descriptor at the head that are already cut, when its segments
    /// were too many for one burst.
    pub(super) cut_at: usize,
}

/// What is to be done to a packet.
#[derive(Clone, Copy)]
pub(super) struct Job {
    /// It is cut into segments.
    pub(super) segmented: bool,
    /// The tag to be put in.
    pub(super) tag: Option<u16>,
    /// When it leaves is to be stamped.
    pub(super) stamp: bool,
}

/// The bits of a data descriptor's second word.
#[derive(Clone, Copy)]
pub(super) struct Data(pub(super) u64);

impl Data {
    pub(super) const EOP: u64 = 1 << 24;
    pub(super) const IFCS: u64 = 1 << 25;
    /// Of a legacy descriptor: insert a checksum.
    const IC: u64 = 1 << 26;
    pub(super) const RS: u64 = 1 << 27;
    pub(super) const DEXT: u64 = 1 << 29;
    const VLE: u64 = 1 << 30;
    const TSE: u64 = 1 << 31;
    const STAMP: u64 = 1 << 19;
    const IXSM: u64 = 1 << 40;
    const TXSM: u64 = 1 << 41;

    pub(super) fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// The type of an advanced descriptor.
    pub(super) fn kind(self) -> u64 {
        self.0 >> 20 & 0xf
    }

    pub(super) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// The context that it refers to.
    fn index(self) -> usize {
        (self.0 >> 36 & 1) as usize
    }

    fn payload_len(self) -> usize {
        (self.0 >> 46) as usize
    }

    /// What a legacy descriptor, the last of its packet, asks for.
    fn legacy_job(self) -> Job {
        Job {
            segmented: false,
            tag: self.has(Self::VLE).then_some((self.0 >> 48) as u16),
            stamp: false,
        }
    }

    /// And its checksum, from CSS to the end, at CSO.
    fn legacy_checksum(self) -> Option<ChecksumField> {
        self.has(Self::IC).then_some(ChecksumField {
            start: (self.0 >> 40 & 0xff) as usize,
            at: (self.0 >> 16 & 0xff) as usize,
            end: None,
            zero: ZeroSum::Zero,
        })
    }
}

/// A context descriptor: the packet's headers (section 7.2.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    first: u64,
    second: u64,
}

impl Context {
    fn ip_len(self) -> usize {
        (self.first & 0x1ff) as usize
    }

    fn mac_len(self) -> usize {
        (self.first >> 9 & 0x7f) as usize
    }

    fn tag(self) -> u16 {
        (self.first >> 16) as u16
    }

    fn is_ipv4(self) -> bool {
        self.second >> 10 & 1 != 0
    }

    fn transport(self) -> Transport {
        match self.second >> 11 & 3 {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Sctp,
            _ => Transport::Other,
        }
    }

    fn transport_len(self) -> usize {
        (self.second >> 40 & 0xff) as usize
    }

    fn mss(self) -> usize {
        (self.second >> 48) as usize
    }

    fn transport_at(self) -> usize {
        self.mac_len() + self.ip_len()
    }

    fn network_checksum(self) -> Option<ChecksumField> {
        self.is_ipv4().then(|| ChecksumField {
            start: self.mac_len(),
            at: self.mac_len() + 10,
            end: Some(self.transport_at()),
            zero: ZeroSum::Zero,
        })
    }

    /// That of TCP or UDP.
    fn transport_checksum(self) -> Option<ChecksumField> {
        let (field, zero) = match self.transport() {
            Transport::Tcp => (16, ZeroSum::Zero),
            Transport::Udp => (6, ZeroSum::Ones),
            Transport::Sctp | Transport::Other => return None,
        };
        Some(ChecksumField {
            start: self.transport_at(),
            at: self.transport_at() + field,
            end: None,
            zero,
        })
    }

    fn segmentation(self, data: Data, keep_flags: KeepFlags) -> Segmentation {
        let network = if self.is_ipv4() {
            Network::Ipv4
        } else {
            Network::Ipv6
        };
        Segmentation {
            header_len: self.transport_at() + self.transport_len(),
            mss: self.mss(),
            payload_len: data.payload_len(),
            network: Some((network, self.mac_len())),
            transport: Some((self.transport(), self.transport_at())),
            network_checksum: self.network_checksum().filter(|_| data.has(Data::IXSM)),
            transport_checksum: self.transport_checksum().filter(|_| data.has(Data::TXSM)),
            keep_flags,
        }
    }
}

/// The flags that segments of TCP keep, from DTXTCPFLGL and DTXTCPFLGH (sections
/// 8.12.6 and 8.12.7).
pub(super) fn keep_flags(registers: &Registers) -> KeepFlags {
    let low = registers.load(offset::DTXTCPFLGL);
    let high = registers.load(offset::DTXTCPFLGH);
    KeepFlags {
        first: (low & 0xfff) as u16,
        middle: (low >> 16 & 0xfff) as u16,
        last: (high & 0xfff) as u16,
    }
}

impl TxQueue {
    pub(super) fn new() -> Self {
        Self {
            contexts: [Context::default(); 2],
            packet: vec![0; TAG_LEN + LONGEST].into(),
            len: 0,
            job: None,
            checksums: [None; 2],
            sctp: None,
            discard: false,
            segmenter: Segmenter::new(LONGEST),
            cut_at: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.contexts = [Context::default(); 2];
        self.begin_packet();
    }

    /// Forgets the packet that was being gathered.
    pub(super) fn begin_packet(&mut self) {
        self.len = 0;
        self.job = None;
        self.checksums = [None; 2];
        self.sctp = None;
        self.discard = false;
        self.cut_at = 0;
    }

    /// Keeps a context, under the lowest bit of its index.
    pub(super) fn set_context(&mut self, first: u64, second: u64) {
        let index = (second >> 36 & 1) as usize;
        self.contexts[index] = Context { first, second };
    }

    /// A packet's first advanced descriptor has come. Returns whether what it
    /// asks for can be done.
    #[inline]
    pub(super) fn begin_job(&mut self, data: Data, flags: impl FnOnce() -> KeepFlags) -> bool {
        let context = &self.contexts[data.index()];
        let segmented = data.has(Data::TSE);
        self.job = Some(Job {
            segmented,
            tag: data.has(Data::VLE).then(|| context.tag()),
            stamp: data.has(Data::STAMP),
        });
        if segmented {
            let what = context.segmentation(data, flags());
            return self.segmenter.begin(what).is_ok();
        }
        if data.has(Data::IXSM | Data::TXSM) {
            self.checksums = [
                context.network_checksum().filter(|_| data.has(Data::IXSM)),
                context
                    .transport_checksum()
                    .filter(|_| data.has(Data::TXSM)),
            ];
            let sctp = data.has(Data::TXSM) && context.transport() == Transport::Sctp;
            self.sctp = sctp.then(|| context.transport_at());
        }
        true
    }

    /// What is to be done to the packet, of which `last` is the last descriptor.
    #[inline]
    pub(super) fn job(&mut self, last: Data) -> Job {
        self.job.unwrap_or_else(|| {
            self.checksums[0] = last.legacy_checksum();
            last.legacy_job()
        })
    }

    /// Puts in the checksums that were asked for.
    #[inline]
    pub(super) fn insert_checksums(&mut self) {
        let packet = &mut self.packet[TAG_LEN..TAG_LEN + self.len];
        for field in self.checksums.iter().flatten() {
            field.insert(packet);
        }
        if let Some(sctp) = self.sctp.and_then(|at| packet.get_mut(at..)) {
            super::sctp::insert(sctp);
        }
    }
}
