//! What a NIC may be asked to do to packets, and what it must not do unasked.

use super::packets::{L4, Transport, ensure_right, partial, put_checksum, whole};
use super::rig::{QUEUE, Rig, config, open_as, pool};
use super::{Check, End, Harness, Line, broken, ensure, ensure_eq};
use crate::nic::{MacAddress, NicCapabilities, NicHal, OpenConfig};
use alloc::vec::Vec;
use softnet_dma_ring::{ChecksumStatus, DmaRing, Frame};

pub(super) fn checks<H: Harness>() -> Vec<Line<H>> {
    alloc::vec![
        ("an offload that the NIC does not have is refused", unnamed),
        (
            "a checksum that is left to the NIC is right on the wire",
            tx_checksum
        ),
        (
            "a long packet that is left to the NIC is cut into segments",
            segmentation
        ),
        ("a tag that is left to the NIC is on the wire", tx_vlan),
        ("a tag on the wire is in the frame", rx_vlan),
        ("a wrong checksum is never called right", wrong_checksum),
        ("a right checksum is called so", right_checksum),
        ("a packet in several frames is one on the wire", tx_scatter),
        ("a packet longer than a frame comes in several", rx_scatter),
        (
            "without scatter a received packet is one frame",
            no_rx_scatter
        ),
        ("when a packet left is told if it is asked for", tx_time),
    ]
}

const NEIGHBOUR: MacAddress = MacAddress([2, 9, 9, 9, 9, 9]);

fn need(have: bool, what: &'static str) -> Check {
    if have {
        return Ok(());
    }
    Err(End::NotApplicable(what))
}

impl<H: Harness> Rig<'_, H> {
    /// A frame that holds this.
    fn holding(&self, bytes: &[u8]) -> Result<Frame, End> {
        let mut frame = self.alloc()?;
        let room = frame.put(bytes.len());
        let room = room.ok_or_else(|| broken("a pool's frame is short"))?;
        room.copy_from_slice(bytes);
        Ok(frame)
    }

    /// Sends these frames in one kick; what is on the wire then, and what was
    /// reaped: all of them, unless they were refused.
    fn send_frames(&mut self, frames: impl IntoIterator<Item = Frame>) -> Result<Sent, End> {
        for frame in frames {
            self.pair.tx.post(frame).map_err(broken)?;
        }
        self.pair.tx.kick();
        self.harness.step();
        let wire = self.drain();
        let reaped = self.reap_tx();
        Ok(Sent { wire, reaped })
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Frame, End> {
        self.harness.inject(QUEUE, bytes);
        self.harness.step();
        let mut frames = self.reap_rx();
        ensure_eq("frames received", frames.len(), 1)?;
        frames.pop().ok_or_else(|| broken("no frame"))
    }

    fn capabilities(&self) -> NicCapabilities {
        self.nic.capabilities()
    }
}

struct Sent {
    wire: Vec<Vec<u8>>,
    reaped: Vec<Frame>,
}

/// Requests that the capabilities do not name.
fn unnamed<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let have = rig.capabilities();
    let tcp = partial(Transport::Tcp, NEIGHBOUR, 1, 3000);
    let mut refused: Vec<(&str, Vec<Frame>)> = Vec::new();
    if !have.tx_segmentation {
        let mut frame = rig.holding(&tcp[..1000])?;
        frame.set_tx_checksum(Some(Transport::Tcp.request()));
        frame.set_gso_size(Some(300));
        refused.push(("segmentation", alloc::vec![frame]));
    }
    if !have.vlan {
        let mut frame = rig.filled(60, 1)?;
        frame.set_vlan_tci(Some(5));
        refused.push(("a VLAN tag", alloc::vec![frame]));
    }
    if !have.scatter {
        let mut first = rig.filled(60, 1)?;
        first.set_continues(true);
        refused.push(("several frames", alloc::vec![first, rig.filled(60, 2)?]));
    }
    need(!refused.is_empty(), "the NIC has every offload")?;
    for (what, frames) in refused {
        let (before, sent) = (rig.stats().tx_dropped, rig.send_frames(frames)?);
        let on_wire = sent.wire.len();
        ensure(
            on_wire == 0,
            format_args!("{what} was asked for, and {on_wire} packets were sent"),
        )?;
        let dropped = rig.stats().tx_dropped - before;
        ensure(
            dropped > 0,
            format_args!("{what} was refused and not counted"),
        )?;
    }
    rig.both_ways_work()
}

fn tx_checksum<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    need(
        rig.capabilities().tx_checksum,
        "the NIC fills in no checksums",
    )?;
    let seen = rig.harness.sees_checksums();
    need(seen, "the wire does not show them")?;
    for kind in [Transport::Udp, Transport::Tcp] {
        for payload in [0, 1, 6, 333, 1400] {
            let mut frame = rig.holding(&partial(kind, NEIGHBOUR, 4, payload))?;
            frame.set_tx_checksum(Some(kind.request()));
            let sent = rig.send_frames([frame])?;
            ensure_eq("packets on the wire", sent.wire.len(), 1)?;
            ensure_eq("frames reaped", sent.reaped.len(), 1)?;
            let len = kind.headers() + payload;
            ensure(sent.wire[0].len() >= len, "the packet was cut")?;
            let want = whole(kind, NEIGHBOUR, 4, payload);
            let same = sent.wire[0][..len] == want;
            ensure(same, format_args!("{kind:?} with {payload} bytes is wrong"))?;
        }
    }
    // The next packet asks for nothing.
    rig.both_ways_work()
}

fn segmentation<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    need(
        rig.capabilities().tx_segmentation,
        "the NIC cuts no segments",
    )?;
    let kind = Transport::Tcp;
    let room = rig.alloc()?.tailroom() - kind.headers();
    for (size, payload) in [(200, 200), (200, 1400), (333, 1000), (100, room.min(9000))] {
        let bytes = partial(kind, NEIGHBOUR, 4, payload);
        let mut frame = rig.holding(&bytes)?;
        frame.set_tx_checksum(Some(kind.request()));
        frame.set_gso_size(Some(size as u16));
        let sent = rig.send_frames([frame])?;
        ensure_segments(&sent.wire, size, &bytes[kind.headers()..])?;
    }
    rig.both_ways_work()
}

/// The segments carry the payload, each of them right in itself.
fn ensure_segments(wire: &[Vec<u8>], size: usize, payload: &[u8]) -> Check {
    let headers = Transport::Tcp.headers();
    ensure_eq("segments", wire.len(), payload.len().div_ceil(size))?;
    let mut at = 0;
    for segment in wire {
        let len = size.min(payload.len() - at);
        ensure(segment.len() >= headers + len, "a segment is short")?;
        let segment = &segment[..headers + len];
        ensure_right(Transport::Tcp, segment)?;
        ensure(
            segment[headers..] == payload[at..at + len],
            "a segment's bytes",
        )?;
        let sequence = u32::from_be_bytes([segment[38], segment[39], segment[40], segment[41]]);
        ensure_eq("a segment's sequence number", sequence, 0x100 + at as u32)?;
        let last = at + len == payload.len();
        ensure_eq("PSH", segment[47] & 8 != 0, last)?;
        at += len;
    }
    Ok(())
}

fn tx_vlan<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    need(rig.capabilities().vlan, "the NIC handles no VLAN tags")?;
    let mut frame = rig.filled(100, 3)?;
    let plain = frame.data().to_vec();
    frame.set_vlan_tci(Some(0x6123));
    let sent = rig.send_frames([frame])?;
    let want = [&plain[..12], &[0x81, 0, 0x61, 0x23], &plain[12..]].concat();
    ensure_eq("packets on the wire", sent.wire, alloc::vec![want])?;
    rig.both_ways_work()
}

fn rx_vlan<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    need(rig.capabilities().vlan, "the NIC handles no VLAN tags")?;
    let plain = super::rig::packet(rig.mac(), 100, 3);
    let tagged = [&plain[..12], &[0x81, 0, 0x61, 0x23], &plain[12..]].concat();
    let frame = rig.receive(&tagged)?;
    ensure_eq("the tag", frame.vlan_tci(), Some(0x6123))?;
    ensure(
        frame.data() == plain,
        "the frame was changed beside its tag",
    )?;
    let frame = rig.receive(&plain)?;
    ensure_eq("the tag of a frame without one", frame.vlan_tci(), None)
}

fn wrong_checksum<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    for kind in [Transport::Udp, Transport::Tcp] {
        let mut bytes = whole(kind, rig.mac(), 4, 100);
        put_checksum(kind, &mut bytes, 0x1234);
        let frame = rig.receive(&bytes)?;
        let verified = frame.checksum() == ChecksumStatus::Unnecessary;
        ensure(!verified, format_args!("{kind:?}'s was called right"))?;
        ensure(frame.data() == bytes, "the packet was changed")?;
    }
    Ok(())
}

fn right_checksum<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    need(
        rig.capabilities().rx_checksum,
        "the NIC verifies no checksums",
    )?;
    for kind in [Transport::Udp, Transport::Tcp] {
        let bytes = whole(kind, rig.mac(), 4, 100);
        let frame = rig.receive(&bytes)?;
        let status = frame.checksum();
        ensure_eq("what is known", status, ChecksumStatus::Unnecessary)?;
    }
    Ok(())
}

fn tx_scatter<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    need(rig.capabilities().scatter, "a packet is one frame")?;
    let bytes = whole(Transport::Udp, NEIGHBOUR, 4, 900);
    for cuts in [alloc::vec![L4], alloc::vec![14, 20, 500], alloc::vec![1, 2]] {
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        for cut in &cuts {
            let (part, more) = rest.split_at(*cut);
            let mut frame = rig.holding(part)?;
            frame.set_continues(true);
            frames.push(frame);
            rest = more;
        }
        frames.push(rig.holding(rest)?);
        let sent = rig.send_frames(frames)?;
        ensure_eq("frames reaped", sent.reaped.len(), cuts.len() + 1)?;
        let whole = sent.wire.len() == 1 && sent.wire[0] == bytes;
        ensure(whole, format_args!("cut at {cuts:?} it was changed"))?;
    }
    rig.both_ways_work()
}

/// Opens with receive frames that are shorter than the longest packet.
fn open_scattered<H: Harness>(harness: &mut H) -> Result<Rig<'_, H>, End> {
    let capabilities = harness.nic().capabilities();
    need(capabilities.scatter, "a packet is one frame")?;
    let mtu = capabilities.max_mtu.min(9000);
    need(mtu > 4000, "no packet is longer than a frame")?;
    let pool = pool(harness)?;
    let config = OpenConfig {
        mtu,
        scatter: true,
        ..config(&capabilities, &pool)
    };
    open_as(harness, pool, &config)
}

fn rx_scatter<H: Harness>(harness: &mut H) -> Check {
    let mut rig = open_scattered(harness)?;
    rig.post_rx(8)?;
    for payload in [100, 3900] {
        let bytes = whole(Transport::Udp, rig.mac(), 4, payload);
        rig.harness.inject(QUEUE, &bytes);
        rig.harness.step();
        let frames = rig.reap_rx();
        let joined: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.data().to_vec())
            .collect();
        ensure(
            joined == bytes,
            format_args!("{payload} bytes were changed"),
        )?;
        let ends = frames.iter().map(Frame::continues);
        let ends: Vec<_> = ends.collect();
        let last = ends.len() - 1;
        let right = ends
            .iter()
            .enumerate()
            .all(|(at, goes_on)| *goes_on == (at < last));
        ensure(right, format_args!("which frames go on is {ends:?}"))?;
        rig.post_rx(frames.len())?;
    }
    Ok(())
}

fn no_rx_scatter<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::with_posted(harness, 2)?;
    let len = usize::from(rig.capabilities().max_mtu.min(1500)) + 14;
    for len in [60, len] {
        let frame = rig.receive(&super::rig::packet(rig.mac(), len, 1))?;
        ensure(!frame.continues(), "a whole packet's frame goes on")?;
        ensure_eq("its length", frame.len(), len)?;
    }
    Ok(())
}

fn tx_time<H: Harness>(harness: &mut H) -> Check {
    let mut rig = Rig::new(harness)?;
    let mut frame = rig.filled(60, 1)?;
    frame.set_wants_tx_timestamp(true);
    let sent = rig.send_frames([frame])?;
    ensure_eq("packets on the wire", sent.wire.len(), 1)?;
    ensure_eq("frames reaped", sent.reaped.len(), 1)?;
    need(rig.capabilities().timestamps, "the NIC does not tell")?;
    let told = sent
        .reaped
        .iter()
        .all(|frame| frame.timestamp_ns().is_some());
    ensure(told, "the frame came back without its time")
}
