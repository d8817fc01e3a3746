//! Packets out of a capture file, one at a time.

use super::PcapError;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, LegacyPcapBlock, Linktype, PcapBlockOwned, PcapHeader,
    create_reader, traits::PcapNGPacketBlock, traits::PcapReaderIterator,
};
use std::io::{self, Read};

/// The longest packet or block of a file that is read. Longer ones are taken
/// for corruption; the longest frame that any capture tool writes is 256 KiB.
const LONGEST_BLOCK: usize = 1 << 20;

/// What the buffer starts with. It grows for a longer block.
const FIRST_BUFFER: usize = 1 << 16;

/// Interfaces of one pcapng section that are remembered. A file that describes
/// more is taken for corruption.
const MOST_INTERFACES: usize = 4096;

const NS_PER_S: u128 = 1_000_000_000;

/// One packet of a file.
pub(super) struct Packet<'a> {
    /// Nanoseconds since the epoch.
    pub(super) time_ns: u64,
    pub(super) bytes: &'a [u8],
    /// The packet was longer than what the file has of it.
    pub(super) truncated: bool,
}

/// What a section of a file has said of its packets so far.
#[derive(Default)]
struct Section {
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: Linktype,
    /// Units of a timestamp in one second.
    ticks_per_second: u128,
    /// Bytes of a packet that were captured, for blocks that do not say.
    snaplen: u32,
}

pub(super) struct PacketReader {
    blocks: Box<dyn PcapReaderIterator + Send>,
    buffer: usize,
    section: Section,
}

impl PacketReader {
    pub(super) fn new(source: impl Read + Send + 'static) -> Result<Self, PcapError> {
        let blocks = create_reader(FIRST_BUFFER, WholeReads(source))
            .map_err(|error| classify_start(&error))?;
        Ok(Self {
            blocks,
            buffer: FIRST_BUFFER,
            section: Section::default(),
        })
    }

    /// Passes the next packet to `visit`, which says whether to go on to the
    /// one after it or to come back to this one. `None` at the file's end.
    pub(super) fn visit_next(
        &mut self,
        visit: &mut dyn FnMut(Packet<'_>) -> Visit,
    ) -> Result<Option<Visit>, PcapError> {
        loop {
            let offset = self.blocks.consumed() as u64;
            match self.blocks.next() {
                Ok((len, block)) => {
                    let visited = self.section.visit_block(&block, visit)?;
                    if visited != Some(Visit::ComeBack) {
                        self.blocks.consume(len);
                    }
                    if visited.is_some() {
                        return Ok(visited);
                    }
                }
                Err(pcap_parser::PcapError::Eof) => return Ok(None),
                Err(pcap_parser::PcapError::Incomplete(_)) => {
                    self.blocks.refill().map_err(|_| PcapError::Read)?;
                }
                Err(pcap_parser::PcapError::BufferTooSmall) if self.buffer < LONGEST_BLOCK => {
                    self.grow()?;
                }
                Err(error) => return Err(classify(&error, offset)),
            }
        }
    }

    fn grow(&mut self) -> Result<(), PcapError> {
        self.buffer *= 2;
        self.blocks.grow(self.buffer);
        self.blocks.refill().map_err(|_| PcapError::Read)
    }
}

/// What becomes of a packet that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// It is dealt with.
    Taken,
    /// It is to be shown again.
    ComeBack,
}

type Visitor<'a> = &'a mut dyn FnMut(Packet<'_>) -> Visit;

impl Section {
    fn visit_block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        visit: Visitor<'_>,
    ) -> Result<Option<Visit>, PcapError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.start_legacy(header)?,
            PcapBlockOwned::Legacy(packet) => return self.visit_legacy(packet, visit).map(Some),
            PcapBlockOwned::NG(block) => return self.visit_ng(block, visit),
        }
        Ok(None)
    }

    fn visit_ng(
        &mut self,
        block: &Block<'_>,
        visit: Visitor<'_>,
    ) -> Result<Option<Visit>, PcapError> {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(description) => self.describe(description)?,
            Block::EnhancedPacket(packet) => {
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let time_ns = self.interface(packet.if_id)?.nanoseconds(ticks);
                let bytes = packet.packet_data();
                let truncated = packet.origlen as usize > bytes.len();
                return Ok(Some(visit(Packet {
                    time_ns,
                    bytes,
                    truncated,
                })));
            }
            Block::SimplePacket(packet) => {
                return self
                    .visit_simple(packet.origlen, packet.data, visit)
                    .map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    /// A simple packet block belongs to the first interface, has no time, and
    /// says its captured length only through the interface's snaplen.
    fn visit_simple(
        &self,
        original: u32,
        padded: &[u8],
        visit: Visitor<'_>,
    ) -> Result<Visit, PcapError> {
        let snaplen = match self.interface(0)?.snaplen {
            0 => u32::MAX,
            snaplen => snaplen,
        };
        let len = (original.min(snaplen) as usize).min(padded.len());
        Ok(visit(Packet {
            time_ns: 0,
            bytes: &padded[..len],
            truncated: original as usize > len,
        }))
    }

    fn visit_legacy(
        &self,
        packet: &LegacyPcapBlock<'_>,
        visit: Visitor<'_>,
    ) -> Result<Visit, PcapError> {
        let per_second = self.interface(0)?.ticks_per_second;
        let seconds = u128::from(packet.ts_sec) * NS_PER_S;
        let fraction = u128::from(packet.ts_usec) * NS_PER_S / per_second;
        Ok(visit(Packet {
            time_ns: clamp(seconds + fraction),
            bytes: packet.data,
            truncated: packet.origlen > packet.caplen,
        }))
    }

    fn start_legacy(&mut self, header: &PcapHeader) -> Result<(), PcapError> {
        let nanoseconds = header.is_nanosecond_precision();
        self.add(Interface {
            // The upper bits of the field tell the length of an FCS.
            link_type: Linktype(header.network.0 & 0xffff),
            ticks_per_second: if nanoseconds { NS_PER_S } else { 1_000_000 },
            snaplen: header.snaplen,
        })?;
        self.interface(0).map(drop)
    }

    fn describe(&mut self, description: &InterfaceDescriptionBlock<'_>) -> Result<(), PcapError> {
        self.add(Interface {
            link_type: description.linktype,
            ticks_per_second: ticks_per_second(description.if_tsresol),
            snaplen: description.snaplen,
        })
    }

    fn add(&mut self, interface: Interface) -> Result<(), PcapError> {
        let index = self.interfaces.len();
        if index >= MOST_INTERFACES {
            return Err(PcapError::UnknownInterface(index as u32));
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// The interface of a packet, if its packets are Ethernet frames.
    fn interface(&self, index: u32) -> Result<Interface, PcapError> {
        let interface = self
            .interfaces
            .get(index as usize)
            .ok_or(PcapError::UnknownInterface(index))?;
        if interface.link_type != Linktype::ETHERNET {
            return Err(PcapError::LinkType(interface.link_type.0));
        }
        Ok(*interface)
    }
}

impl Interface {
    fn nanoseconds(&self, ticks: u128) -> u64 {
        clamp(ticks * NS_PER_S / self.ticks_per_second)
    }
}

/// `if_tsresol` of an interface description: a negative power of ten, or of two
/// when the highest bit is set. Powers that no clock has are taken for the
/// finest one that can be counted.
fn ticks_per_second(resolution: u8) -> u128 {
    let exponent = u32::from(resolution & 0x7f);
    match resolution & 0x80 {
        0 => 10_u128.pow(exponent.min(30)),
        _ => 1 << exponent.min(100),
    }
}

fn clamp(nanoseconds: u128) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

fn classify_start(error: &pcap_parser::PcapError<&[u8]>) -> PcapError {
    match error {
        pcap_parser::PcapError::ReadError => PcapError::Read,
        pcap_parser::PcapError::Incomplete(_) | pcap_parser::PcapError::UnexpectedEof => {
            PcapError::Truncated
        }
        _ => PcapError::NotACapture,
    }
}

fn classify(error: &pcap_parser::PcapError<&[u8]>, offset: u64) -> PcapError {
    match error {
        pcap_parser::PcapError::ReadError => PcapError::Read,
        pcap_parser::PcapError::UnexpectedEof => PcapError::Truncated,
        _ => PcapError::Corrupted { offset },
    }
}

/// Fills the buffer on every read, as far as the source goes: the parser takes
/// a short first read for a truncated file.
struct WholeReads<R>(R);

impl<R: Read> Read for WholeReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}
