//! Writing a pcapng file.

use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapNGOption,
    SectionHeaderBlock, ToVec,
};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Which way a frame went, as the NIC sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came to the NIC.
    Inbound,
    /// The NIC sent it.
    Outbound,
}

/// What a capture file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// The interface's name in the file.
    pub interface: String,
    /// Bytes of each frame that are kept. A longer frame is marked by its
    /// original length.
    pub snaplen: u32,
    /// Nanoseconds that are added to each timestamp: the epoch, if the clock
    /// starts at another time.
    pub epoch_ns: u64,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            interface: "softnet".to_owned(),
            snaplen: 256 * 1024,
            epoch_ns: 0,
        }
    }
}

/// A pcapng file that is being written (draft-ietf-opsawg-pcapng): one section,
/// one Ethernet interface, timestamps in nanoseconds, and for each frame which
/// way it went.
///
/// Writes go through a buffer. [`finish`](Self::finish) writes the rest and
/// reports what went wrong; dropping writes the rest too, and is silent.
#[derive(Debug)]
pub struct Capture<W: Write> {
    out: BufWriter<W>,
    snaplen: usize,
    epoch_ns: u64,
    frames: u64,
    truncated: u64,
}

/// `epb_flags`, in which the two lowest bits are the direction.
const EPB_FLAGS: OptionCode = OptionCode(2);

impl Capture<File> {
    /// Creates the file, or replaces what is there.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: impl AsRef<Path>, config: &CaptureConfig) -> io::Result<Self> {
        Self::new(File::create(path)?, config)
    }
}

impl<W: Write> Capture<W> {
    /// Starts a file on `out`.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(out: W, config: &CaptureConfig) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(64 * 1024, out);
        out.write_all(&encode(&mut section_header())?)?;
        out.write_all(&encode(&mut interface_description(config))?)?;
        Ok(Self {
            out,
            snaplen: config.snaplen as usize,
            epoch_ns: config.epoch_ns,
            frames: 0,
            truncated: 0,
        })
    }

    /// Adds a frame that passed at `time_ns`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, direction: Direction, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let kept = frame.len().min(self.snaplen);
        let time = self.epoch_ns.saturating_add(time_ns);
        let block = encode(&mut packet(direction, time, &frame[..kept], frame.len()))?;
        self.out.write_all(&block)?;
        self.frames += 1;
        self.truncated += u64::from(kept < frame.len());
        Ok(())
    }

    /// Frames that have been written.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames of which only the first `snaplen` bytes were written.
    #[must_use]
    pub const fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Passes on what is buffered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Passes on what is buffered, and gives the file back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
    }
}

fn encode(block: &mut impl ToVec) -> io::Result<Vec<u8>> {
    block
        .to_vec()
        .map_err(|error| io::Error::other(format!("the pcapng block cannot be encoded: {error}")))
}

fn section_header() -> SectionHeaderBlock<'static> {
    SectionHeaderBlock {
        block_type: 0,
        block_len1: 0,
        bom: pcap_parser::BOM_MAGIC,
        major_version: 1,
        minor_version: 0,
        section_len: -1,
        options: Vec::new(),
        block_len2: 0,
    }
}

fn interface_description(config: &CaptureConfig) -> InterfaceDescriptionBlock<'_> {
    InterfaceDescriptionBlock {
        block_type: 0,
        block_len1: 0,
        linktype: Linktype::ETHERNET,
        reserved: 0,
        snaplen: config.snaplen,
        options: vec![
            option(OptionCode::IfName, config.interface.as_bytes()),
            option(OptionCode::IfTsresol, &[9]),
            option(OptionCode::EndOfOpt, &[]),
        ],
        block_len2: 0,
        if_tsresol: 9,
        if_tsoffset: 0,
    }
}

fn packet(
    direction: Direction,
    time_ns: u64,
    kept: &[u8],
    original: usize,
) -> EnhancedPacketBlock<'_> {
    let flags: &[u8] = match direction {
        Direction::Inbound => &[1, 0, 0, 0],
        Direction::Outbound => &[2, 0, 0, 0],
    };
    EnhancedPacketBlock {
        block_type: 0,
        block_len1: 0,
        if_id: 0,
        ts_high: (time_ns >> 32) as u32,
        ts_low: time_ns as u32,
        caplen: kept.len() as u32,
        origlen: u32::try_from(original).unwrap_or(u32::MAX),
        data: kept,
        options: vec![option(EPB_FLAGS, flags), option(OptionCode::EndOfOpt, &[])],
        block_len2: 0,
    }
}

fn option(code: OptionCode, value: &[u8]) -> PcapNGOption<'_> {
    PcapNGOption {
        code,
        len: value.len() as u16,
        value: Cow::Borrowed(value),
    }
}
