//! The laws of the fault injector.

use super::*;
use crate::cable::{self, CableConfig, CableEnd};
use proptest::prelude::*;

fn cable() -> (CableEnd, CableEnd) {
    cable::pair(&CableConfig {
        frames: 512,
        max_frame: 128,
    })
}

fn transmitting(impairment: Impairment) -> (Fault<CableEnd>, CableEnd) {
    let (near, far) = cable();
    let mut config = FaultConfig::seeded(7);
    config.transmit = impairment;
    (Fault::new(near, &config), far)
}

fn impaired(change: impl FnOnce(&mut Impairment)) -> Impairment {
    let mut impairment = Impairment::default();
    change(&mut impairment);
    impairment
}

fn numbers(end: &mut dyn Wire, now_ns: u64) -> Vec<u8> {
    let mut seen = Vec::new();
    end.receive(now_ns, usize::MAX, &mut |frame| seen.push(frame[0]));
    seen
}

#[test]
fn no_impairment_changes_nothing() {
    let (mut wire, mut far) = transmitting(Impairment::default());
    for number in 0..10 {
        wire.transmit(&[number; 20], 0).unwrap();
    }
    wire.flush(0);
    assert_eq!(numbers(&mut far, 0), (0..10).collect::<Vec<_>>());
    assert_eq!(wire.transmit_counts().passed, 10);
    assert_eq!(wire.next_event_ns(), None);
}

#[test]
fn certain_loss_loses_all_and_certain_duplication_doubles_all() {
    let (mut wire, mut far) = transmitting(impaired(|to| to.loss = Chance::ALWAYS));
    wire.transmit(&[1], 0).unwrap();
    wire.flush(0);
    assert_eq!(numbers(&mut far, 0), []);
    assert_eq!(wire.transmit_counts().lost_random, 1);

    let (mut wire, mut far) = transmitting(impaired(|to| to.duplicate = Chance::ALWAYS));
    wire.transmit(&[1], 0).unwrap();
    wire.transmit(&[2], 0).unwrap();
    wire.flush(0);
    assert_eq!(numbers(&mut far, 0), [1, 1, 2, 2]);
}

#[test]
fn random_loss_has_the_chance_that_was_asked_for() {
    let (mut wire, _far) = transmitting(impaired(|to| to.loss = Chance::of(0.25)));
    for _ in 0..4000 {
        wire.transmit(&[0], 0).unwrap();
    }
    let lost = wire.transmit_counts().lost_random;
    // Five standard deviations of a binomial of 4000 draws.
    assert!((863..=1137).contains(&lost), "{lost}");
}

#[test]
fn burst_loss_comes_in_runs_of_the_mean_length() {
    let burst = BurstLoss {
        become_bad: Chance::of(0.01),
        become_good: Chance::of(0.1),
        loss_in_bad: Chance::ALWAYS,
        loss_in_good: Chance::NEVER,
    };
    let (mut wire, mut far) = transmitting(impaired(|to| to.burst_loss = Some(burst)));
    let mut runs = 0_u32;
    let mut lost_before = false;
    for _ in 0..20_000 {
        let before = wire.transmit_counts().lost_burst;
        wire.transmit(&[0], 0).unwrap();
        numbers(&mut far, 0);
        let lost = wire.transmit_counts().lost_burst > before;
        runs += u32::from(lost && !lost_before);
        lost_before = lost;
    }
    let mean = wire.transmit_counts().lost_burst as f64 / f64::from(runs);
    assert!((7.0..13.0).contains(&mean), "{mean}");
}

#[test]
fn a_corrupted_frame_differs_in_exactly_one_bit() {
    let (mut wire, mut far) = transmitting(impaired(|to| to.corrupt = Chance::ALWAYS));
    for _ in 0..100 {
        wire.transmit(&[0; 60], 0).unwrap();
        wire.flush(0);
        let mut ones = 0;
        far.receive(0, 1, &mut |frame| {
            ones = frame.iter().map(|byte| byte.count_ones()).sum();
        });
        assert_eq!(ones, 1);
    }
    assert_eq!(wire.transmit_counts().corrupted, 100);
}

#[test]
fn a_delayed_frame_arrives_at_its_time_and_not_before() {
    let (mut wire, mut far) = transmitting(impaired(|to| to.delay_ns = 1000));
    wire.transmit(&[1], 50).unwrap();
    assert_eq!(wire.next_event_ns(), Some(1050));
    wire.flush(1049);
    assert_eq!(numbers(&mut far, 1049), []);
    wire.flush(1050);
    assert_eq!(numbers(&mut far, 1050), [1]);
    assert_eq!(wire.next_event_ns(), None);
}

#[test]
fn receiving_sends_what_is_due_without_a_flush() {
    let (mut wire, mut far) = transmitting(impaired(|to| to.delay_ns = 10));
    wire.transmit(&[1], 0).unwrap();
    wire.receive(10, 0, &mut |_| {});
    assert_eq!(numbers(&mut far, 10), [1]);
}

#[test]
fn jitter_stays_within_its_bound() {
    let (mut wire, _far) = transmitting(impaired(|to| {
        to.delay_ns = 100;
        to.jitter_ns = 10;
    }));
    for _ in 0..200 {
        wire.transmit(&[0], 0).unwrap();
    }
    let mut times = Vec::new();
    while let Some(at) = wire.next_event_ns() {
        times.push(at);
        wire.flush(at);
    }
    assert_eq!(times, (100..=110).collect::<Vec<_>>());
}

#[test]
fn a_held_frame_is_overtaken_by_so_many_and_no_more() {
    let reorder = Reorder {
        chance: Chance::ALWAYS,
        packets: 3,
        timeout_ns: 1_000_000,
    };
    let mut lane = Lane::new(&impaired(|to| to.reorder = Some(reorder)), 1, 1);
    lane.admit(&[0], 0);
    let mut queue = queue::DelayQueue::default();
    for number in [0, 1, 2, 3, 4] {
        let bytes = queue.copy(&[number]);
        if number == 0 {
            queue.hold(bytes, 3, 1_000_000);
        } else {
            queue.push(bytes, 0);
        }
    }
    let mut seen = Vec::new();
    queue.release(0, 9, &mut |frame| seen.push(frame[0]));
    assert_eq!(seen, [1, 2, 3, 0, 4]);
    assert_eq!(lane.counts().reordered, 1);
}

#[test]
fn a_held_frame_goes_on_at_its_timeout() {
    let reorder = Reorder {
        chance: Chance::ALWAYS,
        packets: 3,
        timeout_ns: 500,
    };
    let (mut wire, mut far) = transmitting(impaired(|to| to.reorder = Some(reorder)));
    wire.transmit(&[1], 0).unwrap();
    assert_eq!(wire.next_event_ns(), Some(500));
    wire.flush(500);
    assert_eq!(numbers(&mut far, 500), [1]);
}

#[test]
fn a_line_takes_the_time_of_its_bits_and_has_a_finite_queue() {
    // (101 + 24) bytes at 1 Gbit/s: 1000 ns.
    let rate = Rate {
        bits_per_second: 1_000_000_000,
        queue_frames: 2,
    };
    let (mut wire, mut far) = transmitting(impaired(|to| to.rate = Some(rate)));
    for number in 0..3 {
        wire.transmit(&[number; 101], 0).unwrap();
    }
    assert_eq!(wire.transmit_counts().lost_rate, 1);
    assert_eq!(wire.next_event_ns(), Some(1000));
    wire.flush(1000);
    assert_eq!(numbers(&mut far, 0), [0]);
    // The line has sent one: there is room for another behind the second.
    wire.transmit(&[9; 101], 1000).unwrap();
    wire.flush(2000);
    assert_eq!(numbers(&mut far, 0), [1]);
    assert_eq!(wire.next_event_ns(), Some(3000));
}

#[test]
fn frames_above_the_limit_are_lost() {
    let (mut wire, _far) = transmitting(impaired(|to| {
        to.delay_ns = 1;
        to.limit = 2;
    }));
    for _ in 0..5 {
        wire.transmit(&[0], 0).unwrap();
    }
    assert_eq!(wire.transmit_counts().lost_limit, 3);
    assert_eq!(wire.transmit_counts().queued, 2);
}

#[test]
fn frames_that_the_wire_behind_refuses_are_counted_as_such() {
    let (mut wire, far) = transmitting(impaired(|to| to.delay_ns = 1));
    wire.transmit(&[0], 0).unwrap();
    drop(far);
    wire.flush(1);
    assert_eq!(wire.transmit_counts().refused, 1);
    assert_eq!(wire.transmit_counts().passed, 0);
}

#[test]
fn chances_outside_of_their_range_are_the_nearest_ones() {
    assert_eq!(Chance::of(-1.0), Chance::NEVER);
    assert_eq!(Chance::of(f64::NAN), Chance::NEVER);
    assert_eq!(Chance::of(2.0), Chance::ALWAYS);
    assert!(Chance::ALWAYS.happens(u32::MAX));
    assert!(!Chance::NEVER.happens(0));
}

prop_compose! {
    fn chance()(percent in 0_u32..60) -> Chance {
        Chance::of(f64::from(percent) / 100.0)
    }
}

prop_compose! {
    fn impairment()(
        loss in chance(),
        duplicate in chance(),
        corrupt in chance(),
        burst in proptest::option::of((chance(), chance(), chance(), chance())),
        reorder in proptest::option::of((chance(), 0_u32..5, 0_u64..400)),
        delay_ns in 0_u64..300,
        jitter_ns in 0_u64..300,
        rate in proptest::option::of((1_u64..20_000_000_000, 0_usize..20)),
        limit in 1_usize..40,
    ) -> Impairment {
        Impairment {
            loss,
            burst_loss: burst.map(|(become_bad, become_good, loss_in_bad, loss_in_good)| {
                BurstLoss { become_bad, become_good, loss_in_bad, loss_in_good }
            }),
            duplicate,
            corrupt,
            reorder: reorder.map(|(chance, packets, timeout_ns)| {
                Reorder { chance, packets, timeout_ns }
            }),
            delay_ns,
            jitter_ns,
            rate: rate.map(|(bits_per_second, queue_frames)| {
                Rate { bits_per_second, queue_frames }
            }),
            limit,
        }
    }
}

/// Frames with the times at which they arrived.
type Arrivals = Vec<(u64, Vec<u8>)>;

/// Sends frames both ways, and returns what arrived when at the near end, and
/// how many arrived at the far end.
fn trace(config: &FaultConfig, gaps: &[u64]) -> (Fault<CableEnd>, Arrivals, usize) {
    let (near, mut far) = cable();
    let mut wire = Fault::new(near, config);
    let (mut now, mut seen, mut far_frames) = (0, Vec::new(), 0);
    for (number, gap) in gaps.iter().enumerate() {
        now += gap;
        wire.transmit(&[number as u8; 40], now).unwrap();
        far.transmit(&[number as u8; 40], now).unwrap();
        wire.flush(now);
        wire.receive(now, 3, &mut |frame| seen.push((now, frame.to_vec())));
        far_frames += far.receive(now, 100, &mut |_| {});
    }
    (wire, seen, far_frames)
}

fn is_conserved(counts: FaultCounts) -> bool {
    let inward = counts.offered + counts.duplicated;
    inward == counts.passed + counts.lost() + counts.refused + counts.queued
}

proptest! {
    #[test]
    fn no_frame_is_unaccounted_for(
        transmit in impairment(),
        receive in impairment(),
        seed in any::<u64>(),
        gaps in proptest::collection::vec(0_u64..200, 0..150),
    ) {
        let config = FaultConfig { seed, transmit, receive };
        let (mut wire, seen, far_frames) = trace(&config, &gaps);
        let (tx, rx) = (wire.transmit_counts(), wire.receive_counts());
        prop_assert_eq!(tx.offered, gaps.len() as u64);
        prop_assert_eq!(tx.passed, far_frames as u64);
        prop_assert_eq!(rx.passed, seen.len() as u64);
        prop_assert!(is_conserved(tx), "{:?}", tx);
        prop_assert!(is_conserved(rx), "{:?}", rx);

        // By the time of the last event nothing is held.
        wire.receive(u64::MAX, usize::MAX, &mut |_| {});
        wire.flush(u64::MAX);
        let (tx, rx) = (wire.transmit_counts(), wire.receive_counts());
        prop_assert_eq!((tx.queued, rx.queued), (0, 0));
        prop_assert!(is_conserved(tx) && is_conserved(rx));
        prop_assert_eq!(wire.next_event_ns(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults(
        receive in impairment(),
        seed in any::<u64>(),
        gaps in proptest::collection::vec(0_u64..200, 0..100),
    ) {
        let mut config = FaultConfig::seeded(seed);
        config.receive = receive;
        let first = trace(&config, &gaps);
        let second = trace(&config, &gaps);
        prop_assert_eq!(first.1, second.1);
        prop_assert_eq!(first.0.receive_counts(), second.0.receive_counts());
    }
}
