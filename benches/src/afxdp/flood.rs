//! As many datagrams as the kernel can make, out of the far end.

use super::lab::{FAR, Lab, NEAR_MAC, NOBODY, NOBODY_MAC};
use anyhow::Result;
use softnet::af_xdp::bpf::{Generator, GeneratorOptions};
use softnet::af_xdp::netlink::Interface;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

/// Frames of one system call.
const RUN: u32 = 1 << 15;
/// Bytes of the payload: the frame then has 64 without its FCS.
const PAYLOAD: usize = 64 - 42;

/// A flood that flows until this value is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    ended: Receiver<Result<()>>,
}

impl Flood {
    /// Lets datagrams of 64 bytes flow to port 7 of `to` at the near end.
    ///
    /// # Errors
    /// The far thread has panicked.
    pub fn start(lab: &Lab, to: Ipv4Addr) -> Result<Self> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (stop.clone(), sent.clone());
        let ended = lab.begin_at_far_end(move || pour(&datagram(to), &stopped, &count))?;
        Ok(Self { stop, sent, ended })
    }

    /// Frames sent so far. It moves on by tens of thousands.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the flood.
    ///
    /// # Errors
    /// What had ended it before.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.ended.recv()?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It may have been waited for.
        let _ = self.ended.recv();
    }
}

fn pour(frame: &[u8], stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let far = Interface::open(FAR)?.index();
    let generator = Generator::new(far, frame, GeneratorOptions::default())?;
    while !stop.load(Ordering::Relaxed) {
        generator.send(RUN)?;
        sent.fetch_add(u64::from(RUN), Ordering::Relaxed);
    }
    Ok(())
}

/// A UDP datagram to port 7 in an Ethernet frame of 64 bytes.
fn datagram(to: Ipv4Addr) -> Vec<u8> {
    const UDP: u16 = 8 + PAYLOAD as u16;
    let mut ip = [
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    ip[2..4].copy_from_slice(&(20 + UDP).to_be_bytes());
    ip[12..16].copy_from_slice(&NOBODY.octets());
    ip[16..20].copy_from_slice(&to.octets());
    let sum = !sum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = [5000_u16, 7, UDP, 0].map(u16::to_be_bytes).concat();
    udp.extend((0..PAYLOAD).map(|at| at as u8));
    let pseudo = [&ip[12..20], &[0, 17], &UDP.to_be_bytes(), &udp].concat();
    udp[6..8].copy_from_slice(&(!self::sum(&pseudo)).to_be_bytes());
    [&NEAR_MAC.0[..], &NOBODY_MAC.0, &[8, 0], &ip, &udp].concat()
}

/// RFC 1071, of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    let (pairs, _) = bytes.as_chunks::<2>();
    let sum: u32 = pairs
        .iter()
        .map(|&pair| u32::from(u16::from_be_bytes(pair)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datagram_has_64_bytes_and_right_checksums() {
        let frame = datagram(Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(frame.len(), 64);
        assert_eq!(sum(&frame[14..34]), 0xffff);
        let udp = &frame[34..];
        let pseudo = [&frame[26..34], &[0, 17], &udp[4..6], udp].concat();
        assert_eq!(sum(&pseudo), 0xffff);
    }
}
