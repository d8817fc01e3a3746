//! The rings against a kernel of memory, in all interleavings.
//!
//! Each of these changes was made on purpose, and made a model fail:
//!
//! - a wake-up without the fence before the look at the kernel's flag;
//! - what is left in a ring noted after it was taken from the kernel's, or looked at
//!   before the kernel's rings;
//! - a counter of the producer that is looked at before the consumer's;
//! - a half that stays in its seat while it is in use;
//! - a retirement that is a load and a store;
//! - a producer of the kernel's rings that publishes `Relaxed`.

use super::cell::{Cell, RxHalf, TxHalf};
use super::{Layout, RxChecksum, RxPolicy, RxQueue, RxRing, TxPolicy, TxRing};
use crate::events::Completions;
use crate::fake::{FakeRx, FakeSocket, FakeTx, HEADROOM};
use crate::mode::Mode;
use loom::sync::atomic::Ordering;
use loom::{model, thread};
use softnet_dma_ring::{DmaRing, FramePool, PoolConfig};
use softnet_nic_hal::QueueId;
use std::sync::Arc;

const CHUNK: u32 = 512;

/// One open queue with its kernel.
struct Queue {
    pool: FramePool,
    socket: Arc<FakeSocket>,
    cell: Arc<Cell<FakeRx, FakeTx>>,
    rx: RxRing<FakeRx, FakeTx>,
    tx: TxRing<FakeRx, FakeTx>,
}

fn queue() -> Queue {
    let pool = FramePool::new(PoolConfig {
        frames: 2,
        buffer_size: CHUNK,
        headroom: HEADROOM as u32,
    });
    let pool = pool.unwrap();
    let layout = Layout::new(pool.region().dma_addr().0, 2, CHUNK.trailing_zeros());
    let (socket, rx, tx) = FakeSocket::open(2, pool.region().clone(), CHUNK);
    let view = rx.view().unwrap();
    let halves = (RxHalf::new(rx, layout), TxHalf::new(tx, layout));
    let cell = Cell::new(
        QueueId(0),
        Mode::Copy,
        view,
        halves.0,
        halves.1,
        Box::new(|| ()),
    );
    let cell = Arc::new(cell);
    let rx = RxPolicy {
        pool: pool.clone(),
        side: None,
        low: 0,
        checksum: RxChecksum::Verify,
    };
    let tx = TxPolicy {
        pool: pool.clone(),
        max_packet: 128,
        multi_buffer: false,
        offload: super::TxOffload::default(),
    };
    Queue {
        rx: RxRing::new(cell.clone(), layout, rx, 2),
        tx: TxRing::new(cell.clone(), layout, tx, 2),
        pool,
        socket,
        cell,
    }
}

impl Queue {
    fn post_rx(&mut self) {
        self.rx.post(self.pool.alloc().unwrap()).unwrap();
        self.rx.kick();
    }

    fn post_tx(&mut self, byte: u8) {
        let mut frame = self.pool.alloc().unwrap();
        frame.put(14).unwrap().fill(byte);
        self.tx.post(frame).unwrap();
        self.tx.kick();
    }
}

/// Race: the kernel goes to sleep on the TX ring while a packet is kicked.
#[test]
fn a_packet_that_is_kicked_is_seen_or_the_kernel_is_woken() {
    model(|| {
        let mut queue = queue();
        let socket = queue.socket.clone();
        let kernel = thread::spawn(move || socket.tx.sleep_on());
        queue.post_tx(1);
        let sleeps = kernel.join().unwrap();
        let woken = queue.socket.woken.load(Ordering::SeqCst) > 0;
        assert!(!sleeps || woken, "the kernel sleeps on a packet");
    });
}

/// Race: chunks are filled and reaped while the kernel delivers into them.
#[test]
fn each_packet_is_reaped_once_and_whole() {
    model(|| {
        let mut queue = queue();
        let socket = queue.socket.clone();
        let kernel =
            thread::spawn(move || (1..3).filter(|&byte| socket.deliver(&[byte; 14])).count());
        queue.post_rx();
        let first = queue.rx.reap();
        queue.post_rx();
        let delivered = kernel.join().unwrap();
        let rest = std::iter::from_fn(|| queue.rx.reap());
        let reaped: Vec<_> = first.into_iter().chain(rest).collect();
        assert_eq!(reaped.len(), delivered);
        for frame in &reaped {
            assert!(frame.data() == [frame.data()[0]; 14]);
        }
    });
}

/// Race: packets are posted while the kernel sends, and reaped while it completes.
#[test]
fn each_packet_is_sent_once_and_its_frame_comes_back() {
    model(|| {
        let mut queue = queue();
        let socket = queue.socket.clone();
        let kernel = thread::spawn(move || {
            let sent = std::iter::from_fn(|| socket.transmit());
            sent.map(|packet| packet[0]).collect::<Vec<_>>()
        });
        queue.post_tx(1);
        queue.post_tx(2);
        let first = queue.tx.reap().is_some();
        let mut sent = kernel.join().unwrap();
        let rest = std::iter::from_fn(|| queue.socket.transmit()).map(|packet| packet[0]);
        sent.extend(rest);
        assert_eq!(sent, [1, 2]);
        let reaped = std::iter::from_fn(|| queue.tx.reap()).count();
        assert_eq!(usize::from(first) + reaped, 2);
    });
}

/// Race: the CPU's event loop looks whether it may sleep while the ring's owner moves
/// packets from the kernel's ring to its own.
#[test]
fn a_packet_that_was_not_reaped_is_never_overlooked() {
    model(|| {
        let mut queue = queue();
        queue.post_rx();
        queue.post_rx();
        assert!(queue.socket.deliver(&[1; 14]));
        assert!(queue.socket.deliver(&[2; 14]));
        let look = queue.cell.watch().unwrap();
        let looker = thread::spawn(move || look.pending());
        // One is left behind.
        assert!(queue.rx.reap().is_some());
        assert!(looker.join().unwrap(), "the loop would sleep on a packet");
        assert!(queue.cell.watch().unwrap().pending());
    });
}

/// Race: the CPU's event loop looks while the ring's owner takes sent frames back.
#[test]
fn a_sent_frame_that_was_not_reaped_is_never_overlooked() {
    model(|| {
        let mut queue = queue();
        queue.post_tx(1);
        queue.post_tx(2);
        assert!(queue.socket.transmit().is_some());
        assert!(queue.socket.transmit().is_some());
        let look = queue.cell.watch().unwrap();
        let looker = thread::spawn(move || look.pending());
        assert!(queue.tx.reap().is_some());
        assert!(looker.join().unwrap(), "the loop would sleep on a frame");
    });
}

/// Race: the control plane closes the queue although the rings' owner is at them.
#[test]
fn a_close_waits_for_who_has_a_half_and_its_frames_come_home() {
    model(|| {
        let mut queue = queue();
        queue.post_tx(1);
        let (cell, socket) = (queue.cell.clone(), queue.socket.clone());
        let closer = thread::spawn(move || {
            drop(cell.close());
            assert!(!socket.is_open(), "somebody has a half");
        });
        drop(queue.rx.post(queue.pool.alloc().unwrap()));
        queue.rx.kick();
        drop(queue.rx.reap());
        closer.join().unwrap();
        assert!(queue.cell.watch().is_none());
        assert_eq!(queue.tx.free_slots(), 0);
        assert!(queue.tx.reap().is_none());
        drop((queue.rx, queue.tx));
        assert_eq!(queue.pool.count_free(), 2);
    });
}

/// Race: the control plane closes the queue while its ring is dropped.
#[test]
fn a_queue_that_is_closed_and_dropped_at_once_is_closed_once() {
    model(|| {
        let mut queue = queue();
        queue.post_rx();
        queue.post_tx(1);
        let Queue { rx, tx, cell, .. } = queue;
        drop(rx);
        let other = thread::spawn(move || drop(tx));
        drop(cell.close());
        assert!(!queue.socket.is_open());
        other.join().unwrap();
        assert_eq!(queue.pool.count_free(), 2);
    });
}

/// Race: both rings are dropped, each by its owner.
#[test]
fn the_last_ring_that_is_dropped_closes_the_socket() {
    model(|| {
        let mut queue = queue();
        queue.post_rx();
        queue.post_tx(1);
        let Queue {
            rx,
            tx,
            pool,
            socket,
            ..
        } = queue;
        let other = thread::spawn(move || drop(rx));
        drop(tx);
        other.join().unwrap();
        assert!(!socket.is_open());
        assert_eq!(pool.count_free(), 2);
    });
}
