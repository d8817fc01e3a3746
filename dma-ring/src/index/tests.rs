use super::*;
use proptest::prelude::*;

#[test]
fn only_powers_of_two_are_sizes() {
    assert!(RingSize::new(0).is_none());
    assert!(RingSize::new(3).is_none());
    assert!(RingSize::new(RingSize::MAX * 2).is_none());
    assert_eq!(RingSize::new(1).map(RingSize::slots), Some(1));
    assert_eq!(RingSize::at_least(0).slots(), 1);
    assert_eq!(RingSize::at_least(5).slots(), 8);
    assert_eq!(RingSize::at_least(RingSize::MAX).slots(), RingSize::MAX);
}

#[test]
#[should_panic(expected = "2^30")]
fn a_size_beyond_the_maximum_panics() {
    let _ = RingSize::at_least(RingSize::MAX + 1);
}

#[test]
fn slots_follow_each_other_across_the_wrap_of_the_position() {
    let size = RingSize::at_least(4);
    let start = RingIndex::new(usize::MAX - 1);
    let slots: std::vec::Vec<_> = (0..5).map(|n| start.advance(n).slot(size)).collect();
    assert_eq!(slots, [2, 3, 0, 1, 2]);
}

proptest! {
    #[test]
    fn distances_and_slots_are_those_of_unbounded_numbers(
        start in prop_oneof![any::<usize>(), usize::MAX - 20..=usize::MAX],
        count in 0_usize..1 << 40,
        order in 0_u32..12,
    ) {
        let size = RingSize::new(1 << order).unwrap();
        let (from, slots) = (RingIndex::new(start), size.slots());
        let to = from.advance(count);
        prop_assert_eq!(to.since(from), count);
        prop_assert_eq!(to.back(count), from);
        let unbounded = start as u128 + count as u128;
        prop_assert_eq!(to.slot(size) as u128, unbounded % slots as u128);
        prop_assert_eq!(size.until_end(to), slots - to.slot(size));
        prop_assert_eq!(to.advance(size.until_end(to)).slot(size), 0);
    }
}
