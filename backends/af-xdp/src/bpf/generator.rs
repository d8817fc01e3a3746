//! Frames made in the kernel: a program that sends copies of a template, run by
//! `BPF_PROG_TEST_RUN` in its live-frames mode (`BPF_F_TEST_XDP_LIVE_FRAMES`,
//! kernel 5.18).

use super::asm::{Alu, AsmError, Assembler, Helper, Instruction, Jump, Label, Reg, Size};
use super::error::{LoadError, MapError, RunError};
use super::maps::NamedMap;
use super::program::{MultiBuffer, load_code};
use super::syscall::{self, MapKind, MapShape, TestRun};
use Reg::{R0, R1, R2, R3, R6, R7, R8, R10};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// The source ports of the frames of a [`Generator`], taken in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePorts {
    /// The first port.
    pub first: u16,
    /// How many; after 65535 comes 0.
    pub count: u16,
}

/// How a [`Generator`] sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// The source ports, so that flows differ; `None` leaves the template's. The
    /// UDP or TCP checksum is kept right.
    pub source_ports: Option<SourcePorts>,
    /// How many frames the kernel sends at a time, 1 to 256.
    pub batch: u32,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        Self {
            source_ports: None,
            batch: 64,
        }
    }
}

/// The generator could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeneratorError {
    /// The program could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map could not be made.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is no such interface, or its driver sends no frames of others.
    #[error(
        "nothing can be sent to interface {0}: it is not in this network namespace, or its driver takes no redirected frames"
    )]
    NoInterface(u32),
    /// The template has no ports to vary.
    #[error(
        "the template is no whole UDP or TCP packet over IPv4 or IPv6, so it has no port to vary"
    )]
    NoPorts,
}

/// Sends frames out of an interface from inside the kernel, without a copy to or
/// from user space: 2 to 3 million a second and CPU into a veth whose
/// peer drops them.
///
/// The driver must take redirected frames. A veth does if its peer has an XDP
/// program in driver mode, even one that passes everything.
///
/// ```no_run
/// use softnet_af_xdp::bpf::{Generator, GeneratorOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (ifindex, frame) = (2, [0; 64]);
/// let generator = Generator::new(ifindex, &frame, GeneratorOptions::default())?;
/// generator.send(1_000_000)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    template: Vec<u8>,
    batch: u32,
}

/// How much of a frame is written anew each time. The kernel uses its pages again
/// as they come back, and a receiver may have swapped addresses in them.
const REWRITTEN: usize = 64;

impl Generator {
    /// A generator of copies of `template`, an Ethernet frame, out of the interface
    /// with this index.
    ///
    /// # Errors
    /// The process lacks CAP_BPF and CAP_NET_ADMIN, the interface is missing, or
    /// ports are to vary where there are none.
    pub fn new(
        ifindex: u32,
        template: &[u8],
        options: GeneratorOptions,
    ) -> Result<Self, GeneratorError> {
        let target = target(ifindex)?;
        let ports = options.source_ports.map(|range| {
            let place = PortPlace::of(template).ok_or(GeneratorError::NoPorts)?;
            let turn = NamedMap::create("softnet_turn", TURN)?;
            Ok::<_, GeneratorError>((range, place, turn))
        });
        let ports = ports.transpose()?;
        let code = assemble(template, &target, ports.as_ref());
        let code = code.map_err(LoadError::from)?;
        Ok(Self {
            program: load_code(&code, "softnet_gen", MultiBuffer::No)?,
            template: template.to_vec(),
            batch: options.batch.clamp(1, 256),
        })
    }

    /// Sends `count` frames on the calling thread, and returns when they are sent.
    /// What the receiver has no room for is dropped there. Runs of 65,536 frames and
    /// more make the cost of a call small.
    ///
    /// # Errors
    /// The process lacks CAP_NET_ADMIN, the template does not fit into a page, or a
    /// signal came.
    pub fn send(&self, count: u32) -> Result<(), RunError> {
        /// `BPF_F_TEST_XDP_LIVE_FRAMES`
        const LIVE_FRAMES: u32 = 1 << 1;
        if count == 0 {
            return Ok(());
        }
        let run = TestRun {
            frame: &self.template,
            context: None,
            repeat: count,
            flags: LIVE_FRAMES,
            batch: self.batch.min(count),
        };
        let sent = syscall::test_run(self.program.as_fd(), &run, 0);
        sent.map_err(|errno| RunError::new(self.template.len(), errno))?;
        Ok(())
    }
}

/// Which source port is next.
const TURN: MapShape = MapShape {
    kind: MapKind::Array,
    key_size: 4,
    value_size: 4,
    max_entries: 1,
    flags: 0,
};

/// A map of interfaces with one entry.
fn target(ifindex: u32) -> Result<NamedMap, GeneratorError> {
    let shape = MapShape {
        kind: MapKind::DevMap,
        ..TURN
    };
    let map = NamedMap::create("softnet_target", shape)?;
    let added = map.update(&[0; 4], &ifindex.to_ne_bytes());
    added.map_err(|error| match error {
        MapError::System {
            errno: Errno::EINVAL | Errno::ENODEV,
            ..
        } => GeneratorError::NoInterface(ifindex),
        error => error.into(),
    })?;
    Ok(map)
}

/// Where the source port and the checksum of a template lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PortPlace {
    port: usize,
    /// The checksum's place, and the sum of all that it covers except the port;
    /// `None` where UDP goes without.
    checksum: Option<(usize, u16)>,
}

impl PortPlace {
    fn of(template: &[u8]) -> Option<Self> {
        let (port, protocol) = transport_header(template)?;
        let place = port
            + match i32::from(protocol) {
                libc::IPPROTO_UDP => 6,
                libc::IPPROTO_TCP => 16,
                _ => return None,
            };
        let checksum = half(template, place)?;
        let source = half(template, port)?;
        let without = (checksum != 0 || i32::from(protocol) == libc::IPPROTO_TCP)
            .then(|| (place, add(!checksum, !source)));
        Some(Self {
            port,
            checksum: without,
        })
    }

    /// The first byte behind both.
    fn end(self) -> usize {
        let checksum = self.checksum.map_or(0, |(place, _)| place + 2);
        checksum.max(self.port + 2)
    }
}

/// The offset and the protocol of what an unfragmented packet carries.
fn transport_header(frame: &[u8]) -> Option<(usize, u8)> {
    let mut network = 14;
    while matches!(half(frame, network - 2)?, 0x8100 | 0x88a8) {
        network += 4;
    }
    match half(frame, network - 2)? {
        0x0800 if half(frame, network + 6)? & 0x3fff == 0 => {
            let words = usize::from(frame.get(network)? & 0x0f);
            Some((network + 4 * words, *frame.get(network + 9)?))
        }
        0x86dd => Some((network + 40, *frame.get(network + 6)?)),
        _ => None,
    }
}

fn half(frame: &[u8], offset: usize) -> Option<u16> {
    let bytes = frame.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The sum of RFC 1071.
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

const XDP_DROP: i32 = 1;

fn assemble(
    template: &[u8],
    target: &NamedMap,
    ports: Option<&(SourcePorts, PortPlace, NamedMap)>,
) -> Result<Vec<Instruction>, AsmError> {
    let mut asm = Assembler::new();
    let drop = asm.label();
    let head = &template[..template.len().min(REWRITTEN)];
    let reach = ports.map_or(0, |(_, place, _)| place.end()).max(head.len());
    // struct xdp_md: data, data_end.
    asm.load(Size::Word, R7, R1, 0);
    asm.load(Size::Word, R8, R1, 4);
    asm.mov(R1, R7);
    asm.alu(Alu::Add, R1, reach as i32);
    asm.jump(Jump::Gt, R1, R8, drop);
    write_head(&mut asm, head);
    if let Some((range, place, turn)) = ports {
        next_port(&mut asm, *range, turn, drop);
        write_port(&mut asm, *place);
    }
    asm.load_map(R1, target.as_fd());
    asm.mov(R2, 0);
    asm.mov(R3, 0);
    asm.call(Helper::RedirectMap);
    asm.exit();
    asm.bind(drop);
    asm.mov(R0, XDP_DROP);
    asm.exit();
    asm.finish()
}

/// Writes the bytes to where r7 points.
fn write_head(asm: &mut Assembler, head: &[u8]) {
    let (doubles, rest) = head.as_chunks::<8>();
    for (offset, double) in (0_i16..).step_by(8).zip(doubles) {
        asm.load_imm64(R1, u64::from_ne_bytes(*double));
        asm.store(Size::Double, R7, offset, R1);
    }
    let offset = 8 * doubles.len() as i16;
    for (offset, byte) in (offset..).zip(rest) {
        asm.store(Size::Byte, R7, offset, i32::from(*byte));
    }
}

/// r6 = the source port whose turn it is.
fn next_port(asm: &mut Assembler, range: SourcePorts, turn: &NamedMap, drop: Label) {
    let within = asm.label();
    asm.store(Size::Word, R10, -4, 0);
    asm.load_map(R1, turn.as_fd());
    asm.mov(R2, R10);
    asm.alu(Alu::Add, R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump(Jump::Eq, R0, 0, drop);
    asm.load(Size::Word, R6, R0, 0);
    asm.mov(R1, R6);
    asm.alu(Alu::Add, R1, 1);
    let count = i32::from(range.count.max(1));
    asm.jump(Jump::Lt, R1, count, within);
    asm.mov(R1, 0);
    asm.bind(within);
    // Two CPUs may take the same turn: no harm is done.
    asm.store(Size::Word, R0, 0, R1);
    asm.alu(Alu::Add, R6, i32::from(range.first));
    asm.alu(Alu::And, R6, 0xffff);
}

/// Writes port r6, and the checksum with it (RFC 1624: the sum without the port is
/// known, so one addition and one fold are enough).
fn write_port(asm: &mut Assembler, place: PortPlace) {
    if let Some((offset, sum)) = place.checksum {
        let done = asm.label();
        asm.mov(R1, R6);
        asm.alu(Alu::Add, R1, i32::from(sum));
        asm.mov(R2, R1);
        asm.alu(Alu::Rsh, R2, 16);
        asm.alu(Alu::Add, R1, R2);
        asm.alu(Alu::Xor, R1, -1);
        asm.alu(Alu::And, R1, 0xffff);
        // A UDP checksum of 0 would mean that there is none (RFC 768).
        asm.jump(Jump::Ne, R1, 0, done);
        asm.mov(R1, 0xffff);
        asm.bind(done);
        asm.swap_be(R1, 16);
        asm.store(Size::Half, R7, offset as i16, R1);
    }
    asm.swap_be(R6, 16);
    asm.store(Size::Half, R7, place.port as i16, R6);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from 10.0.0.1:1000 to 10.0.0.2:2000 with two bytes.
    fn template() -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0]);
        frame.extend([0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x03, 0xe8, 0x07, 0xd0, 0, 10, 0x12, 0x34, 7, 7]);
        frame
    }

    #[test]
    fn the_source_port_is_found_behind_options_and_tags() {
        let place = PortPlace::of(&template()).unwrap();
        assert_eq!(place.port, 34);
        // Taking the port out of the sum and adding it again changes nothing.
        let (offset, sum) = place.checksum.unwrap();
        assert_eq!((offset, !add(sum, 1000)), (40, 0x1234));

        let mut tagged = template();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(PortPlace::of(&tagged).unwrap().port, 38);
        let mut options = template();
        options[14] = 0x46;
        options.splice(34..34, [1; 4]);
        assert_eq!(PortPlace::of(&options).unwrap().port, 38);
    }

    #[test]
    fn a_udp_checksum_of_zero_stays_away() {
        let mut frame = template();
        frame[40..42].fill(0);
        assert_eq!(PortPlace::of(&frame).unwrap().checksum, None);
    }

    #[test]
    fn what_has_no_ports_cannot_vary_them() {
        let mut fragment = template();
        fragment[20] = 0x20;
        assert_eq!(PortPlace::of(&fragment), None);
        let mut icmp = template();
        icmp[23] = 1;
        assert_eq!(PortPlace::of(&icmp), None);
        for len in 0..42 {
            assert_eq!(PortPlace::of(&template()[..len]), None, "{len}");
        }
    }
}
