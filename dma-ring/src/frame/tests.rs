use super::*;
use crate::{FramePool, PoolConfig};
use proptest::prelude::*;
use std::vec::Vec;

const CAPACITY: usize = 256;

fn frame(headroom: u32) -> Frame {
    let config = PoolConfig {
        frames: 1,
        buffer_size: CAPACITY as u32,
        headroom,
    };
    FramePool::new(config).unwrap().alloc().unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Pull(usize),
    Put(usize),
    Truncate(usize),
    SetLen(usize),
    Reset(usize),
    Narrow(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![0..80_usize, 0..CAPACITY + 10, usize::MAX - 2..=usize::MAX];
    prop_oneof![
        bytes.clone().prop_map(Op::Push),
        bytes.clone().prop_map(Op::Pull),
        bytes.clone().prop_map(Op::Put),
        bytes.clone().prop_map(Op::Truncate),
        bytes.clone().prop_map(Op::SetLen),
        bytes.clone().prop_map(Op::Reset),
        (bytes.clone(), bytes).prop_map(|(front, len)| Op::Narrow(front, len)),
    ]
}

/// The whole buffer, and where the data is in it.
struct Model {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Model {
    fn apply(&mut self, frame: &mut Frame, op: &Op, mark: u8) {
        match *op {
            Op::Push(count) => {
                let fits = count <= self.start;
                let new = frame.push(count);
                assert_eq!(new.is_some(), fits);
                if let Some(new) = new {
                    new.fill(mark);
                    self.bytes[self.start - count..self.start].fill(mark);
                    self.start -= count;
                }
            }
            Op::Pull(count) => {
                let fits = count <= self.end - self.start;
                assert_eq!(frame.pull(count), fits);
                self.start += if fits { count } else { 0 };
            }
            Op::Put(count) => {
                let fits = count <= CAPACITY - self.end;
                let new = frame.put(count);
                assert_eq!(new.is_some(), fits);
                if let Some(new) = new {
                    new.fill(mark);
                    self.bytes[self.end..self.end + count].fill(mark);
                    self.end += count;
                }
            }
            Op::Truncate(len) => {
                frame.truncate(len);
                self.end = self.end.min(self.start.saturating_add(len));
            }
            Op::SetLen(len) => {
                let fits = len <= CAPACITY - self.start;
                assert_eq!(frame.set_len(len), fits);
                if fits {
                    self.end = self.start + len;
                }
            }
            Op::Narrow(front, len) => {
                let end = front.saturating_add(len);
                let fits = end <= self.end - self.start;
                assert_eq!(frame.narrow(front, len), fits);
                if fits {
                    self.end = self.start + end;
                    self.start += front;
                }
            }
            Op::Reset(headroom) => {
                frame.reset(headroom);
                self.start = headroom.min(CAPACITY);
                self.end = self.start;
            }
        }
    }

    fn check(&self, frame: &mut Frame) {
        assert_eq!(frame.data(), &self.bytes[self.start..self.end]);
        assert_eq!(frame.data_mut(), &self.bytes[self.start..self.end]);
        for from in [0, self.start / 2, self.start, self.end, usize::MAX] {
            let expected = self.bytes.get(from..self.end).unwrap_or(&[]);
            assert_eq!(frame.bytes_from(from), expected);
        }
        assert_eq!(frame.headroom(), self.start);
        assert_eq!(frame.tailroom(), CAPACITY - self.end);
        assert_eq!(
            (frame.len(), frame.is_empty()),
            (self.end - self.start, self.start == self.end)
        );
    }
}

proptest! {
    #[test]
    fn a_frame_is_a_window_into_its_buffer(ops in prop::collection::vec(op(), 0..60)) {
        let mut frame = frame(64);
        let mut model = Model { bytes: std::vec![0; CAPACITY], start: 64, end: 64 };
        for (n, op) in ops.iter().enumerate() {
            model.apply(&mut frame, op, n as u8 + 1);
            model.check(&mut frame);
        }
    }
}

#[test]
fn a_length_beyond_32_bits_is_not_cut() {
    let mut frame = frame(64);
    assert!(frame.set_len(10));
    frame.truncate(1 << 32);
    assert_eq!(frame.len(), 10);
    frame.reset(1 << 32);
    assert_eq!(frame.headroom(), CAPACITY);
}

#[test]
fn metadata_is_kept_and_reset_clears_it() {
    let mut frame = frame(0);
    let request = TxChecksum {
        start: 34,
        offset: 6,
    };
    frame.set_timestamp_ns(5);
    frame.set_hash(7, HashKind::L4);
    frame.set_checksum(ChecksumStatus::Unnecessary);
    frame.set_vlan_tci(Some(0));
    frame.set_tx_checksum(Some(request));
    frame.set_cookie(9);
    assert_eq!(frame.timestamp_ns(), Some(5));
    assert_eq!(frame.hash(), (7, HashKind::L4));
    assert_eq!(frame.checksum(), ChecksumStatus::Unnecessary);
    assert_eq!(
        (frame.vlan_tci(), frame.tx_checksum()),
        (Some(0), Some(request))
    );
    assert_eq!(frame.cookie(), 9);
    frame.reset(0);
    assert_eq!(
        (frame.timestamp_ns(), frame.hash()),
        (None, (0, HashKind::None))
    );
    assert_eq!(frame.checksum(), ChecksumStatus::None);
    assert_eq!(
        (frame.vlan_tci(), frame.tx_checksum(), frame.cookie()),
        (None, None, 0)
    );
}

#[test]
fn one_flag_does_not_touch_the_other() {
    let mut frame = frame(0);
    let request = TxChecksum {
        start: 1,
        offset: 2,
    };
    frame.set_tx_checksum(Some(request));
    frame.set_vlan_tci(Some(3));
    frame.set_vlan_tci(None);
    assert_eq!(
        (frame.vlan_tci(), frame.tx_checksum()),
        (None, Some(request))
    );
    frame.set_vlan_tci(Some(4));
    frame.set_tx_checksum(None);
    assert_eq!((frame.vlan_tci(), frame.tx_checksum()), (Some(4), None));
}

#[test]
fn the_dma_address_follows_the_data() {
    let pool = FramePool::new(PoolConfig {
        frames: 2,
        buffer_size: 128,
        headroom: 32,
    })
    .unwrap();
    let mut frames = [pool.alloc().unwrap(), pool.alloc().unwrap()];
    frames.sort_by_key(Frame::index);
    let base = pool.region().dma_addr();
    assert_eq!(frames[0].dma_addr(), base.offset(32));
    assert_eq!(frames[1].dma_addr(), base.offset(128 + 32));
    assert!(frames[1].push(8).is_some());
    assert_eq!(frames[1].dma_addr(), base.offset(128 + 24));
}
