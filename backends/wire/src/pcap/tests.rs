//! Capture files: golden bytes, pace, and files that lie.

use super::*;
use crate::Recorder;
use crate::cable::{self, CableConfig};
use proptest::prelude::*;
use softnet_nic_hal::wire::Wire;
use std::io::Cursor;

/// A frame from the wire at 1.5 s and one to it at 1.5 s + 2 ns, the second cut
/// to 4 bytes of 6, worked out by hand from draft-ietf-opsawg-pcapng.
#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    // Section header: length 28, byte order, version 1.0, length unknown.
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0,
    // Interface description: length 52, Ethernet, snaplen 4.
    1, 0, 0, 0, 52, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0,
    // if_name "e0", if_tsresol 9 (nanoseconds), if_tsoffset 0, end of options.
    2, 0, 2, 0, b'e', b'0', 0, 0, 9, 0, 1, 0, 9, 0, 0, 0,
    14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0,
    // Enhanced packet: length 48, interface 0, time 1_500_000_000, 3 bytes of 3.
    6, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x2f, 0x68, 0x59,
    3, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 0,
    // epb_flags: inbound; end of options.
    2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
    // Enhanced packet: time 1_500_000_002, 4 bytes of 6, outbound.
    6, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x2f, 0x68, 0x59,
    4, 0, 0, 0, 6, 0, 0, 0, 4, 5, 6, 7,
    2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
];

fn golden_config() -> CaptureConfig {
    CaptureConfig {
        interface: "e0".to_owned(),
        snaplen: 4,
        epoch_ns: 1_000_000_000,
    }
}

/// A pcap file of microseconds: link type, then packets of seconds,
/// microseconds, original length and bytes.
fn legacy(link_type: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(link_type.to_le_bytes());
    for (seconds, micros, original, bytes) in packets {
        for word in [*seconds, *micros, bytes.len() as u32, *original] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}

fn replay(file: &[u8], config: ReplayConfig) -> Result<Replay, PcapError> {
    Replay::from_reader(Cursor::new(file.to_vec()), config)
}

fn frames(replay: &mut Replay, now_ns: u64) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    replay.receive(now_ns, 1000, &mut |frame| seen.push(frame.to_vec()));
    seen
}

fn counter(wire: &dyn Wire, wanted: &str) -> u64 {
    let mut found = None;
    wire.counters(&mut |name, value| {
        if name == wanted {
            found = Some(value);
        }
    });
    found.unwrap()
}

#[test]
fn a_capture_has_the_bytes_of_the_format() {
    let mut capture = Capture::new(Vec::new(), &golden_config()).unwrap();
    capture
        .write(Direction::Inbound, 500_000_000, &[1, 2, 3])
        .unwrap();
    let long = [4, 5, 6, 7, 8, 9];
    capture
        .write(Direction::Outbound, 500_000_002, &long)
        .unwrap();
    assert_eq!((capture.frames(), capture.truncated()), (2, 1));
    assert_eq!(capture.finish().unwrap(), GOLDEN);
}

#[test]
fn the_golden_file_replays_and_counts_its_truncated_frame() {
    let mut wire = replay(GOLDEN, ReplayConfig::default()).unwrap();
    assert_eq!(frames(&mut wire, 0), [vec![1, 2, 3], vec![4, 5, 6, 7]]);
    assert!(wire.is_finished() && wire.failure().is_none());
    assert_eq!(counter(&wire, "replay_rx_truncated"), 1);
    assert_eq!(wire.next_event_ns(), None);
}

#[test]
fn recorded_pace_keeps_the_distances_and_scales_them() {
    let packets: &[(u32, u32, u32, &[u8])] = &[
        (10, 0, 1, &[1]),
        (10, 2, 1, &[2]),
        (9, 0, 1, &[3]),
        (11, 0, 1, &[4]),
    ];
    let config = ReplayConfig {
        pace: Pace::Recorded { speed: 2.0 },
        ..ReplayConfig::default()
    };
    let mut wire = replay(&legacy(1, packets), config).unwrap();
    assert_eq!(wire.next_event_ns(), Some(0));
    assert_eq!(frames(&mut wire, 100), [[1]]);
    assert_eq!(wire.next_event_ns(), Some(1100));
    assert_eq!(frames(&mut wire, 1099), Vec::<Vec<u8>>::new());
    // The third was recorded before the first: it comes at once.
    assert_eq!(frames(&mut wire, 1100), [[2], [3]]);
    assert_eq!(wire.next_event_ns(), Some(500_000_100));
    assert_eq!(frames(&mut wire, 500_000_100), [[4]]);
}

#[test]
fn a_budget_ends_a_receive_and_loses_nothing() {
    let mut wire = replay(GOLDEN, ReplayConfig::default()).unwrap();
    assert_eq!(wire.receive(0, 1, &mut |_| {}), 1);
    assert_eq!(wire.receive(0, 1, &mut |_| {}), 1);
    assert_eq!(wire.receive(0, 1, &mut |_| {}), 0);
}

#[test]
fn a_file_is_looped_as_often_as_asked() {
    let path = std::env::temp_dir().join(format!("softnet-loop-{}.pcapng", std::process::id()));
    std::fs::write(&path, GOLDEN).unwrap();
    let config = ReplayConfig {
        loops: 3,
        ..ReplayConfig::default()
    };
    let mut wire = Replay::open(&path, config).unwrap();
    assert_eq!(frames(&mut wire, 0).len(), 6);
    assert!(wire.is_finished());
    assert_eq!(counter(&wire, "replay_loops"), 3);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn other_link_types_are_refused_by_number() {
    let error = replay(&legacy(113, &[]), ReplayConfig::default()).unwrap_err();
    assert!(matches!(error, PcapError::LinkType(113)), "{error}");
    let mut file = GOLDEN.to_vec();
    file[36] = 101;
    let error = replay(&file, ReplayConfig::default()).unwrap_err();
    assert!(matches!(error, PcapError::LinkType(101)), "{error}");
}

#[test]
fn a_packet_of_an_undescribed_interface_is_an_error() {
    let mut file = GOLDEN.to_vec();
    file[88] = 3;
    let error = replay(&file, ReplayConfig::default()).unwrap_err();
    assert!(matches!(error, PcapError::UnknownInterface(3)), "{error}");
}

#[test]
fn what_is_no_capture_is_refused() {
    for file in [&b""[..], b"GIF89a, which is something else entirely"] {
        let error = replay(file, ReplayConfig::default()).unwrap_err();
        assert!(matches!(error, PcapError::NotACapture), "{error}");
    }
}

#[test]
fn a_packet_longer_than_the_first_buffer_is_read_whole() {
    let long = vec![7; 200_000];
    let file = legacy(
        1,
        &[(0, 0, 1, &[1]), (0, 0, 200_000, &long), (0, 0, 1, &[2])],
    );
    let config = ReplayConfig {
        max_frame: 200_000,
        ..ReplayConfig::default()
    };
    let mut wire = replay(&file, config).unwrap();
    assert_eq!(frames(&mut wire, 0), [vec![1], long, vec![2]]);
    assert!(wire.failure().is_none());
}

#[test]
fn a_length_of_4_gib_is_an_error_and_no_allocation() {
    let mut file = legacy(1, &[(0, 0, 3, &[1, 2, 3]), (0, 0, 3, &[4, 5, 6])]);
    let second = file.len() - 3 - 8;
    file[second..second + 4].fill(0xff);
    let mut wire = replay(&file, ReplayConfig::default()).unwrap();
    assert_eq!(frames(&mut wire, 0), [[1, 2, 3]]);
    assert!(wire.failure().is_some());
}

#[test]
fn frames_above_the_longest_are_counted_and_left_out() {
    let file = legacy(1, &[(0, 0, 3, &[1, 2, 3]), (0, 0, 2, &[4, 5])]);
    let config = ReplayConfig {
        max_frame: 2,
        ..ReplayConfig::default()
    };
    let mut wire = replay(&file, config).unwrap();
    assert_eq!(frames(&mut wire, 0), [[4, 5]]);
    assert_eq!(counter(&wire, "replay_rx_too_long"), 1);
}

/// Cut anywhere, a file gives the packets that are whole, and then says that it
/// is truncated, unless the cut is between two packets.
fn check_truncations(file: &[u8], packet_ends: &[usize]) {
    for len in 0..file.len() {
        let whole = packet_ends.iter().filter(|&&end| end <= len).count();
        match replay(&file[..len], ReplayConfig::default()) {
            Ok(mut wire) => {
                assert_eq!(frames(&mut wire, 0).len(), whole, "cut at {len}");
                let between = packet_ends.contains(&len) || len <= packet_ends[0];
                assert!(between || wire.failure().is_some(), "cut at {len}");
            }
            Err(_) => assert_eq!(whole, 0, "cut at {len}"),
        }
    }
}

#[test]
fn a_pcapng_file_cut_anywhere_is_read_up_to_there() {
    check_truncations(GOLDEN, &[GOLDEN.len() - 48, GOLDEN.len()]);
}

#[test]
fn a_pcap_file_cut_anywhere_is_read_up_to_there() {
    let file = legacy(1, &[(0, 0, 3, &[1, 2, 3]), (0, 0, 3, &[4, 5, 6])]);
    check_truncations(&file, &[file.len() - 19, file.len()]);
}

#[test]
fn a_recorder_writes_both_directions_and_passes_them_on() {
    let (near, mut far) = cable::pair(&CableConfig::default());
    let capture = Capture::new(Vec::new(), &golden_config()).unwrap();
    let mut wire = Recorder::new(near, capture);
    far.transmit(&[1, 2, 3], 0).unwrap();
    wire.receive(500_000_000, 9, &mut |frame| assert_eq!(frame, [1, 2, 3]));
    wire.transmit(&[4, 5, 6, 7, 8, 9], 500_000_002).unwrap();
    assert_eq!(
        far.receive(0, 9, &mut |frame| assert_eq!(frame.len(), 6)),
        1
    );
    drop(far);
    wire.transmit(&[0], 0).unwrap_err();
    let (_, capture) = wire.into_parts();
    assert_eq!(capture.finish().unwrap(), GOLDEN);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_run_for_ever(
        at in 0..GOLDEN.len(),
        junk in proptest::collection::vec(any::<u8>(), 1..12),
        use_legacy in any::<bool>(),
    ) {
        let mut file = if use_legacy {
            legacy(1, &[(0, 0, 3, &[1, 2, 3]), (0, 0, 3, &[4, 5, 6])])
        } else {
            GOLDEN.to_vec()
        };
        for (offset, byte) in junk.iter().enumerate() {
            if let Some(place) = file.get_mut(at + offset) {
                *place = *byte;
            }
        }
        if let Ok(mut wire) = replay(&file, ReplayConfig::default()) {
            frames(&mut wire, 0);
            prop_assert!(wire.is_finished());
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(
        packets in proptest::collection::vec(
            (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..200)),
            0..20,
        ),
    ) {
        let mut capture = Capture::new(Vec::new(), &CaptureConfig::default()).unwrap();
        for (time, frame) in &packets {
            capture.write(Direction::Inbound, *time, frame).unwrap();
        }
        let file = capture.finish().unwrap();
        let mut wire = replay(&file, ReplayConfig::default()).unwrap();
        let expected: Vec<_> = packets.into_iter().map(|(_, frame)| frame).collect();
        prop_assert_eq!(frames(&mut wire, 0), expected);
        prop_assert!(wire.failure().is_none());
    }
}
