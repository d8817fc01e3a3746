use super::*;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::thread;

proptest! {
    #[test]
    fn a_ring_keeps_the_newest_and_counts_the_others(
        writes in prop::collection::vec(any::<bool>(), 0..200),
        order in 0_u32..4,
        start in prop_oneof![
            Just(0),
            usize::MAX - 60..=usize::MAX,
            (1_usize << 39) - 60..=1 << 39,
        ],
    ) {
        let size = RingSize::new(1 << order).unwrap();
        let (mut writer, mut reader) = channel_at(size, RingIndex::new(start));
        let mut queue = VecDeque::new();
        let mut lost = 0;
        for (n, write) in writes.into_iter().enumerate() {
            if write {
                let overwritten = (queue.len() == size.slots()).then(|| queue.pop_front()).flatten();
                queue.push_back(n);
                lost += u64::from(overwritten.is_some());
                prop_assert_eq!(writer.push(n), overwritten);
            } else {
                let expected = queue.pop_front();
                prop_assert_eq!(reader.pop(), expected);
                prop_assert_eq!(reader.lost(), lost, "known when the next item is read");
            }
        }
    }
}

#[test]
fn halves_learn_that_the_other_is_gone() {
    let (writer, reader) = channel::<u8>(1);
    assert!(!writer.is_abandoned() && !reader.is_abandoned());
    drop(reader);
    assert!(writer.is_abandoned());
    let (writer, reader) = channel::<u8>(1);
    drop(writer);
    assert!(reader.is_abandoned());
}

#[test]
fn what_is_left_is_dropped_with_the_ring() {
    let token = alloc::sync::Arc::new(());
    let (mut writer, mut reader) = channel(2);
    for _ in 0..5 {
        drop(writer.push(token.clone()));
    }
    drop(reader.pop());
    assert_eq!(alloc::sync::Arc::strong_count(&token), 1 + 1);
    drop((writer, reader));
    assert_eq!(alloc::sync::Arc::strong_count(&token), 1);
}

#[test]
#[should_panic(expected = "2^23")]
fn a_ring_beyond_the_maximum_panics() {
    drop(channel::<u8>(MAX_CAPACITY + 1));
}

#[test]
fn beside_a_fast_writer_every_item_is_read_or_lost() {
    const ITEMS: u64 = 300_000;
    let (mut writer, mut reader) = channel::<[u64; 6]>(16);
    let thread = thread::spawn(move || {
        (0..ITEMS)
            .filter(|&n| writer.push([n; 6]).is_some())
            .count()
    });
    let mut read: Vec<u64> = Vec::new();
    loop {
        let last = reader.is_abandoned();
        while let Some(item) = reader.pop() {
            assert_eq!(item, [item[0]; 6], "no item is torn");
            let missed = read.len() as u64 + reader.lost();
            assert_eq!(item[0], missed, "what is missing before it is counted");
            read.push(item[0]);
        }
        if last {
            break;
        }
    }
    assert_eq!(thread.join().unwrap() as u64, reader.lost());
    assert_eq!(read.len() as u64 + reader.lost(), ITEMS);
}
