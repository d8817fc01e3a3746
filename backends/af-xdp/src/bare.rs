//! A bare loop over xsk-rs: what a program would be that does one thing with the
//! frames of one queue, and nothing else. It is the yardstick for the NIC of this
//! crate and for what stands on it, and no part of either: the NIC's own use of
//! xsk-rs is in `xsk.rs`.
//!
//! Descriptors go from ring to ring as they are. Nobody tracks which chunk is whose.

use crate::bpf::{AttachMode, AttachOptions, Existing, Link, Program, ProgramOptions, Steering};
use crate::error::AfXdpError;
use crate::mode::Mode;
use crate::netlink::Interface;
use crate::ring::KernelCounters;
use crate::xsk::{kernel_counters, raise_budget};
use rustix::net::RecvFlags;
use softnet_nic_hal::MacAddress;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};
use xsk_rs::config::{
    BindFlags, FrameSize, Interface as Name, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::socket::Socket;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

/// What is done with the frames of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Received frames are dropped.
    RxDrop,
    /// Copies of this frame are sent, as many as go out.
    TxOnly(Vec<u8>),
    /// Received frames go back out of the same queue with their addresses swapped.
    L2Forward,
}

/// Where and how a [`BareLoop`] runs.
#[derive(Clone, Debug)]
pub struct BareConfig {
    /// The interface's name.
    pub interface: String,
    /// The queue.
    pub queue: u16,
    /// The mode; there is no falling back.
    pub mode: Mode,
    /// Which frames are taken.
    pub steering: Steering,
    /// What becomes of an XDP program that is there already.
    pub existing: Existing,
    /// Descriptors that are moved at a time, 1 or more.
    pub batch: usize,
    /// Slots of each ring, a power of two. There are four times as many chunks.
    pub ring: u16,
}

/// Bytes of a chunk.
const CHUNK: u32 = 2048;
/// How long a queue may be busy that another socket has just left.
const BUSY: Duration = Duration::from_secs(1);
const BUSY_STEP: Duration = Duration::from_millis(5);

/// One socket, its four rings, and a loop over them.
pub struct BareLoop {
    // The order of dropping: the socket goes before the memory does.
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    umem: Umem,
    _link: Link,
    _program: Program,
    work: Work,
    batch: Vec<FrameDesc>,
    /// Of `TxOnly`, chunks that have not been sent yet.
    unsent: Vec<FrameDesc>,
    dropped: u64,
}

fn failed(
    step: &'static str,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> AfXdpError {
    move |source| AfXdpError::Other { step, source }
}

macro_rules! step {
    ($step:literal, $result:expr) => {
        $result.map_err(|error| failed($step)(error.into()))?
    };
}

impl BareLoop {
    /// Binds a socket to the queue, and attaches a program that feeds it.
    ///
    /// # Errors
    /// [`AfXdpError`]: rights are missing, the queue or the interface is taken, or the
    /// mode does not work.
    pub fn open(config: &BareConfig, work: Work) -> Result<Self, AfXdpError> {
        let interface = step!("reading the interface", Interface::open(&config.interface));
        let chunks = u32::from(config.ring) * 4;
        let (umem, descs) = step!("making a UMEM", memory(config.ring, chunks));
        let program = step!("loading the XDP program", load(config.queue));
        step!(
            "telling the XDP program what is ours",
            program.update(&config.steering)
        );
        let options = AttachOptions {
            mode: match config.mode {
                Mode::ZeroCopy | Mode::Copy => AttachMode::Driver,
                Mode::Skb => AttachMode::Skb,
            },
            existing: config.existing,
        };
        let link = step!(
            "attaching the XDP program",
            program.attach(interface.index(), options)
        );
        let (tx, rx, mut fill, completion) = step!("binding a socket", bind(config, &umem));
        // A kernel that has no such option sends 32 packets a call.
        let _ = raise_budget(tx.fd(), config.ring);
        // SAFETY: the socket is open while the ring lives.
        let socket = unsafe { BorrowedFd::borrow_raw(rx.fd().as_raw_fd()) };
        step!(
            "putting a socket into the XSKMAP",
            program.xsk_map().insert(u32::from(config.queue), socket)
        );
        let half = descs.len() / 2;
        // SAFETY: the descriptors are of this UMEM, and nobody else has them.
        unsafe { fill.produce(&descs[half..half + usize::from(config.ring)]) };
        let mut new = Self {
            tx,
            rx,
            fill,
            completion,
            umem,
            _link: link,
            _program: program,
            work,
            batch: vec![FrameDesc::default(); config.batch.max(1)],
            unsent: descs[..usize::from(config.ring)].to_vec(),
            dropped: 0,
        };
        new.write_template();
        Ok(new)
    }

    fn write_template(&mut self) {
        let Work::TxOnly(template) = &self.work else {
            return;
        };
        for desc in &mut self.unsent {
            // SAFETY: the chunk is of this UMEM and was not given to the kernel.
            let mut data = unsafe { self.umem.data_mut(desc) };
            // A template that is longer than a chunk is sent as far as it fits.
            let _ = data.cursor().write_all(template);
        }
    }

    /// Moves one batch. Returns how many frames were received, or sent by `TxOnly`.
    #[inline]
    pub fn turn(&mut self) -> usize {
        match self.work {
            Work::RxDrop => self.drop_received(),
            Work::TxOnly(_) => self.send_template(),
            Work::L2Forward => self.forward(),
        }
    }

    /// Frames that found no slot to be sent by.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What the kernel has counted of the socket.
    #[must_use]
    pub fn kernel_counters(&self) -> KernelCounters {
        kernel_counters(self.rx.fd())
    }

    #[inline]
    fn drop_received(&mut self) -> usize {
        // SAFETY: the ring is of this UMEM.
        let count = unsafe { self.rx.consume(&mut self.batch) };
        if count > 0 {
            // SAFETY: the chunks have just come from the kernel, and there is a slot for
            // each of them.
            unsafe { self.fill.produce(&self.batch[..count]) };
        }
        self.wake_fill();
        count
    }

    #[inline]
    fn forward(&mut self) -> usize {
        // SAFETY: the ring is of this UMEM.
        let sent = unsafe { self.completion.consume(&mut self.batch) };
        // SAFETY: the chunks have just come from the kernel.
        unsafe { self.fill.produce(&self.batch[..sent]) };
        // SAFETY: the ring is of this UMEM.
        let count = unsafe { self.rx.consume(&mut self.batch) };
        for desc in &mut self.batch[..count] {
            // SAFETY: the chunk has just come from the kernel.
            let mut data = unsafe { self.umem.data_mut(desc) };
            swap_addresses(data.contents_mut());
        }
        // SAFETY: as above.
        let taken = unsafe { self.tx.produce(&self.batch[..count]) };
        if taken < count {
            self.dropped += (count - taken) as u64;
            // SAFETY: as above, and the TX ring did not take these.
            unsafe { self.fill.produce(&self.batch[taken..count]) };
        }
        if taken > 0 {
            self.wake_tx();
        }
        self.wake_fill();
        count
    }

    #[inline]
    fn send_template(&mut self) -> usize {
        let Work::TxOnly(template) = &self.work else {
            return 0;
        };
        // SAFETY: the ring is of this UMEM.
        let sent = unsafe { self.completion.consume(&mut self.batch) };
        for desc in &mut self.batch[..sent] {
            // The completion has no length.
            // SAFETY: the chunk has just come from the kernel.
            let mut data = unsafe { self.umem.data_mut(desc) };
            data.cursor().set_pos(template.len());
        }
        self.unsent.extend_from_slice(&self.batch[..sent]);
        let want = self.unsent.len().min(self.batch.len());
        let rest = self.unsent.len() - want;
        // SAFETY: these chunks are of this UMEM and not in the kernel's hands.
        let taken = unsafe { self.tx.produce(&self.unsent[rest..]) };
        // What was not taken stays: all or none are.
        self.unsent.truncate(rest + want - taken);
        self.wake_tx();
        sent
    }

    #[inline]
    fn wake_tx(&mut self) {
        if self.tx.needs_wakeup() {
            // A device that is down sends nothing, and the counts show it.
            let _ = self.tx.wakeup();
        }
    }

    #[inline]
    fn wake_fill(&mut self) {
        if self.fill.needs_wakeup() {
            // SAFETY: the socket is open while the ring lives.
            let socket = unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) };
            // As above.
            let _ = rustix::net::recv(socket, &mut [0_u8; 0], RecvFlags::DONTWAIT);
        }
    }
}

impl fmt::Debug for BareLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareLoop")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// Swaps the station addresses of an Ethernet frame.
#[inline]
pub fn swap_addresses(frame: &mut [u8]) {
    if let Some((header, _)) = frame.split_first_chunk_mut::<12>() {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *header;
        *header = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
    }
}

/// A frame of 64 bytes without its FCS, of an EtherType for experiments (IEEE 802,
/// 0x88b5), for [`Work::TxOnly`].
#[must_use]
pub fn template(from: MacAddress, to: MacAddress) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &[0x88, 0xb5]].concat();
    frame.resize(64, 0);
    frame
}

fn memory(ring: u16, chunks: u32) -> io::Result<(Umem, Vec<FrameDesc>)> {
    let ring = QueueSize::new(u32::from(ring)).map_err(io::Error::other)?;
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(CHUNK).map_err(io::Error::other)?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(io::Error::other)?;
    let chunks = NonZeroU32::new(chunks).ok_or(io::ErrorKind::InvalidInput)?;
    Umem::new(config, chunks, true)
        .or_else(|_| Umem::new(config, chunks, false))
        .map_err(io::Error::other)
}

fn load(queue: u16) -> Result<Program, crate::bpf::LoadError> {
    Program::load(&ProgramOptions {
        name: "softnet_bare".to_owned(),
        queues: u32::from(queue) + 1,
        ..ProgramOptions::default()
    })
}

type Rings = (TxQueue, RxQueue, FillQueue, CompQueue);

fn bind(config: &BareConfig, umem: &Umem) -> io::Result<Rings> {
    let size = QueueSize::new(u32::from(config.ring)).map_err(io::Error::other)?;
    let copy = match config.mode {
        Mode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
        Mode::Copy | Mode::Skb => BindFlags::XDP_COPY,
    };
    let socket = SocketConfig::builder()
        .rx_queue_size(size)
        .tx_queue_size(size)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | copy)
        .build();
    let name: Name = config.interface.parse().map_err(io::Error::other)?;
    let end = Instant::now() + BUSY;
    loop {
        // SAFETY: this is the only socket of the UMEM.
        let made = unsafe { Socket::new(socket, umem, &name, u32::from(config.queue)) };
        match made {
            Ok((tx, rx, Some((fill, completion)))) => return Ok((tx, rx, fill, completion)),
            // It is the first socket of the UMEM, so it gets rings.
            Ok((_, _, None)) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(_) if Instant::now() < end => std::thread::sleep(BUSY_STEP),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_swapped_and_the_rest_stays() {
        let mut frame: Vec<u8> = (0..20).collect();
        swap_addresses(&mut frame);
        let swapped = [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5];
        assert_eq!(frame[..12], swapped);
        assert_eq!(frame[12..], (12..20).collect::<Vec<u8>>());
        let mut short = [1; 11];
        swap_addresses(&mut short);
        assert_eq!(short, [1; 11]);
    }
}
