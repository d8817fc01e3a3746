//! The e1000 driver and the emulated chip do together what neither could be
//! trusted with alone: offloads, long packets, flow control, the self test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use softnet_dma_ring::{
    ChecksumStatus, DmaRing, Frame, FrameBatch, FramePool, PoolConfig, TxChecksum,
};
use softnet_emulated::offload::{Headers, Judged};
use softnet_emulated::{DeviceThread, E1000 as Chip, E1000Config, NowNs, PciBus, PciFunction};
use softnet_nic_hal::ethtool::{EthtoolOps, Features, Pause};
use softnet_nic_hal::irq::IrqTable;
use softnet_nic_hal::wire::{Wire, WireError};
use softnet_nic_hal::{
    IrqHandler, MacAddress, NicHal, NicStats, OpenConfig, QueueId, QueuePair, RxMode,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const TPID: u16 = 0x8100;

#[derive(Default)]
struct Ends {
    to_nic: VecDeque<Vec<u8>>,
    from_nic: Vec<Vec<u8>>,
}

impl Wire for Ends {
    fn transmit(&mut self, frame: &[u8], _now_ns: u64) -> Result<(), WireError> {
        self.from_nic.push(frame.to_vec());
        Ok(())
    }

    fn receive(&mut self, _now_ns: u64, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let take = budget.min(self.to_nic.len());
        for frame in self.to_nic.drain(..take) {
            sink(&frame);
        }
        take
    }
}

fn clock() -> NowNs {
    let start = Instant::now();
    Arc::new(move || start.elapsed().as_nanos() as u64)
}

struct Quiet;

impl IrqHandler for Quiet {
    fn irq(&self, _queue: QueueId) {}
}

type Nic = softnet_e1000::E1000<PciFunction>;
type Pair = QueuePair<softnet_e1000::RxRing<PciFunction>, softnet_e1000::TxRing<PciFunction>>;

struct Rig {
    nic: Arc<Nic>,
    chip: Chip,
    wire: Ends,
    pool: FramePool,
    pair: Pair,
    now_ns: u64,
}

impl Rig {
    fn new(features: Features, change: impl FnOnce(&mut OpenConfig)) -> Self {
        Self::with_buffers(16384, features, change)
    }

    fn with_buffers(
        buffer_size: u32,
        features: Features,
        change: impl FnOnce(&mut OpenConfig),
    ) -> Self {
        let bus = PciBus::new(Arc::new(IrqTable::new(1)));
        let (function, chip) = Chip::attach(&bus, &E1000Config::new(MAC)).unwrap();
        let nic = Nic::probe(Arc::new(function)).unwrap();
        nic.ethtool().unwrap().set_features(features).unwrap();
        let pool = FramePool::new(PoolConfig {
            frames: 256,
            buffer_size,
            headroom: 128,
        })
        .unwrap();
        let mut config = OpenConfig::new(pool.clone());
        change(&mut config);
        let pair = nic.open(&config, Arc::new(Quiet)).unwrap().remove(0);
        let mut rig = Self {
            nic,
            chip,
            wire: Ends::default(),
            pool,
            pair,
            now_ns: 0,
        };
        rig.step();
        while rig.pair.rx.free_slots() > 0 {
            let frame = rig.pool.alloc();
            let Some(frame) = frame.filter(|_| rig.pool.count_free() > 64) else {
                break;
            };
            rig.pair.rx.post(frame).unwrap();
        }
        rig.pair.rx.kick();
        rig
    }

    /// Lets the hardware work until it has nothing left to do, then lets some time
    /// pass for it.
    fn step(&mut self) {
        for _ in 0..10_000 {
            let step = self.chip.step(self.now_ns, &mut self.wire);
            if !step.worked() && !step.again {
                self.now_ns += 3_000_000;
                self.chip.step(self.now_ns, &mut self.wire);
                return;
            }
        }
        panic!("the hardware never rests");
    }

    fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.alloc().unwrap();
        frame.put(bytes.len()).unwrap().copy_from_slice(bytes);
        frame
    }

    /// Posts the frames of one packet, and gives what goes on the wire.
    fn send(&mut self, frames: Vec<Frame>) -> Vec<Vec<u8>> {
        for frame in frames {
            self.pair.tx.post(frame).unwrap();
        }
        self.pair.tx.kick();
        self.step();
        let mut out = FrameBatch::new();
        self.pair.tx.reap_into(&mut out, 64);
        std::mem::take(&mut self.wire.from_nic)
    }

    fn receive(&mut self, frame: &[u8]) -> Vec<Frame> {
        self.wire.to_nic.push_back(frame.to_vec());
        self.step();
        std::iter::from_fn(|| self.pair.rx.reap()).collect()
    }
}

/// A packet of TCP or UDP over IPv4 with right lengths and no checksums.
fn packet(protocol: u8, payload: usize) -> Vec<u8> {
    let header_len = if protocol == 6 { 20 } else { 8 };
    let transport_len = (header_len + payload) as u16;
    let mut packet = MAC.0.to_vec();
    packet.extend([2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0]);
    packet.extend((transport_len + 20).to_be_bytes());
    packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let start = packet.len();
    packet.resize(start + header_len, 0);
    packet[start..start + 4].copy_from_slice(&[0x13, 0x88, 0x13, 0x89]);
    if protocol == 6 {
        packet[start + 12..start + 16].copy_from_slice(&[0x50, 0x19, 1, 0]);
    } else {
        packet[start + 4..start + 6].copy_from_slice(&transport_len.to_be_bytes());
    }
    packet.extend((0..payload).map(|byte| (byte * 31 / 7) as u8));
    packet
}

/// Puts the right IP checksum, and the sum of the pseudo header, where a stack
/// would.
fn half_finished(mut packet: Vec<u8>) -> Vec<u8> {
    let fold = |words: &[u8]| {
        let sum = words.chunks(2).fold(0u32, |sum, word| {
            sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
        });
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    };
    let checksum = !fold(&packet[14..34]);
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    let len = ((packet.len() - 34) as u16).to_be_bytes();
    let pseudo = [&packet[26..34], &[0, packet[23]], &len].concat();
    let at = 34 + usize::from(request(packet[23]).offset);
    packet[at..at + 2].copy_from_slice(&fold(&pseudo).to_be_bytes());
    packet
}

fn request(protocol: u8) -> TxChecksum {
    TxChecksum {
        start: 34,
        offset: if protocol == 6 { 16 } else { 6 },
    }
}

fn is_right(frame: &[u8]) -> bool {
    let right = Judged {
        network: Some(true),
        transport: Some(true),
    };
    Headers::parse(frame, TPID).is_some_and(|headers| headers.judge(frame) == right)
}

const PLAIN: Features = Features::RX_CHECKSUM
    .union(Features::TX_CHECKSUM)
    .union(Features::TSO);

#[test]
fn checksums_that_are_left_to_the_chip_are_right_and_come_back_as_verified() {
    let mut rig = Rig::new(PLAIN, |_| {});
    for protocol in [6, 17] {
        for payload in [0, 1, 700, 1400] {
            let bytes = half_finished(packet(protocol, payload));
            let mut frame = rig.frame(&bytes);
            frame.set_tx_checksum(Some(request(protocol)));
            let sent = rig.send(vec![frame]);
            assert!(
                sent.len() == 1 && is_right(&sent[0]),
                "{protocol} {payload}"
            );
            let received = rig.receive(&sent[0]);
            assert_eq!(received[0].checksum(), ChecksumStatus::Unnecessary);
        }
    }
    let mut wrong = half_finished(packet(6, 100));
    wrong[60] ^= 1;
    assert_eq!(rig.receive(&wrong)[0].checksum(), ChecksumStatus::None);
}

#[test]
fn a_packet_of_64_kib_in_several_frames_becomes_right_segments() {
    let mut rig = Rig::new(PLAIN, |_| {});
    for (protocol, frames) in [(6, 4), (6, 1), (17, 3)] {
        let payload = if frames == 1 { 14_000 } else { 40_001 };
        let bytes = packet(protocol, payload);
        let mut parts: Vec<Frame> = bytes
            .chunks(bytes.len().div_ceil(frames))
            .map(|part| rig.frame(part))
            .collect();
        let last = parts.len() - 1;
        parts[..last]
            .iter_mut()
            .for_each(|part| part.set_continues(true));
        parts[0].set_tx_checksum(Some(request(protocol)));
        parts[0].set_gso_size(Some(1400));
        let sent = rig.send(parts);
        assert_eq!(sent.len(), payload.div_ceil(1400), "{protocol} {frames}");
        assert!(sent.iter().all(|segment| is_right(segment)));
        let header = if protocol == 6 { 54 } else { 42 };
        let got: Vec<u8> = sent.iter().flat_map(|s| s[header..].to_vec()).collect();
        assert!(got == bytes[header..]);
        if protocol == 6 {
            let fin_and_psh = sent.iter().map(|s| s[47] & 9);
            let marked = fin_and_psh.filter(|&flags| flags != 0).count();
            assert_eq!((marked, sent[sent.len() - 1][47]), (1, 0x19));
        }
    }
    let mut stats = NicStats::default();
    rig.nic.stats(&mut stats);
    assert_eq!(stats.tx_dropped, 0);
    assert_eq!(rig.pair.tx.free_slots(), 255, "all descriptors came back");
}

#[test]
fn tags_travel_beside_the_packet() {
    let tags = PLAIN | Features::RX_VLAN | Features::TX_VLAN;
    let mut rig = Rig::new(tags, |_| {});
    let bytes = packet(6, 4000);
    let mut frame = rig.frame(&bytes);
    frame.set_vlan_tci(Some(0xa123));
    frame.set_tx_checksum(Some(request(6)));
    frame.set_gso_size(Some(1000));
    let sent = rig.send(vec![frame]);
    assert_eq!(sent.len(), 4);
    for segment in &sent {
        assert_eq!(segment[12..16], [0x81, 0, 0xa1, 0x23]);
        assert!(is_right(segment));
        let received = rig.receive(segment);
        assert_eq!(received[0].vlan_tci(), Some(0xa123));
        assert_eq!(received[0].checksum(), ChecksumStatus::Unnecessary);
        assert_eq!(received[0].data()[12..14], [8, 0]);
    }
}

#[test]
fn long_packets_come_in_one_frame_or_in_several() {
    for (scatter, buffer_size, frames) in [(false, 16512, 1), (true, 16512, 1), (true, 2176, 5)] {
        let mut rig = Rig::with_buffers(buffer_size, PLAIN, |config| {
            config.mtu = 9000;
            config.scatter = scatter;
        });
        let bytes = half_finished(packet(17, 8900));
        let received = rig.receive(&bytes);
        let got: Vec<u8> = received.iter().flat_map(|f| f.data().to_vec()).collect();
        assert!(got == bytes);
        let goes_on: Vec<bool> = received.iter().map(Frame::continues).collect();
        let mut expected = vec![true; frames];
        expected[frames - 1] = false;
        assert_eq!(goes_on, expected);
    }
}

#[test]
fn a_long_packet_is_sent_with_its_checksum() {
    let mut rig = Rig::new(PLAIN, |config| config.mtu = 9000);
    let mut frame = rig.frame(&half_finished(packet(17, 8900)));
    frame.set_tx_checksum(Some(request(17)));
    let sent = rig.send(vec![frame]);
    assert!(sent.len() == 1 && is_right(&sent[0]));
}

#[test]
fn promiscuous_and_multicast_modes_reach_the_chips_filters() {
    let mut rig = Rig::new(PLAIN, |_| {});
    let group = MacAddress([1, 0, 0x5e, 0, 0, 5]);
    let mut to_group = packet(17, 100);
    to_group[..6].copy_from_slice(&group.0);
    let mut to_other = packet(17, 100);
    to_other[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
    let modes = [
        (RxMode::default(), 0, 0),
        (
            RxMode {
                multicast: vec![group],
                ..RxMode::default()
            },
            1,
            0,
        ),
        (
            RxMode {
                promiscuous: true,
                ..RxMode::default()
            },
            1,
            1,
        ),
    ];
    for (mode, group_comes, other_comes) in modes {
        rig.nic.set_rx_mode(&mode).unwrap();
        assert_eq!(rig.receive(&to_group).len(), group_comes, "{mode:?}");
        assert_eq!(rig.receive(&to_other).len(), other_comes, "{mode:?}");
    }
}

#[test]
fn a_full_receiver_pauses_its_partner_and_a_pause_holds_the_transmitter() {
    let mut rig = Rig::new(PLAIN, |config| config.rx_ring = 8);
    let both = Pause {
        autonegotiate: true,
        rx: true,
        tx: true,
    };
    rig.nic.ethtool().unwrap().set_pause(both).unwrap();
    rig.step();
    rig.step();
    assert!(rig.nic.watchdog(0).link.up);
    // 44 KiB and more, into a ring of seven buffers.
    for _ in 0..45 {
        rig.wire.to_nic.push_back(packet(17, 1400));
    }
    rig.step();
    let asked = std::mem::take(&mut rig.wire.from_nic);
    assert_eq!(asked[0][..6], [1, 0x80, 0xc2, 0, 0, 1]);
    assert_eq!(asked[0][12..18], [0x88, 0x08, 0, 1, 0xff, 0xff]);
    // The partner asks for the same.
    rig.wire.to_nic.push_back(asked[0].clone());
    rig.chip.step(rig.now_ns, &mut rig.wire);
    let frame = rig.frame(&packet(17, 100));
    rig.pair.tx.post(frame).unwrap();
    rig.pair.tx.kick();
    rig.chip.step(rig.now_ns, &mut rig.wire);
    let sent = |wire: &mut Ends| {
        let frames = std::mem::take(&mut wire.from_nic);
        frames.iter().filter(|frame| frame[12] == 8).count()
    };
    assert_eq!(sent(&mut rig.wire), 0, "the transmitter is silent");
    rig.now_ns += 0xffff * 512;
    rig.step();
    assert_eq!(sent(&mut rig.wire), 1);
}

/// The self test needs the device to move while the driver waits.
#[test]
fn the_self_test_passes_on_a_device_that_a_thread_drives() {
    let bus = PciBus::new(Arc::new(IrqTable::new(1)));
    let (function, chip) = Chip::attach(&bus, &E1000Config::new(MAC)).unwrap();
    let nic = Nic::probe(Arc::new(function)).unwrap();
    let thread = DeviceThread::spawn(Box::new(chip), Box::new(Ends::default()), clock()).unwrap();
    let tests = nic.self_test().unwrap();
    let names: Vec<_> = tests.iter().map(|test| test.name).collect();
    assert_eq!(
        names,
        ["eeprom", "registers", "interrupt", "loopback", "link"]
    );
    let failed: Vec<_> = tests.iter().filter(|test| test.result.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    drop(thread);
}
