use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const MS: u64 = SECOND / 1000;
const ETH0: IfIndex = IfIndex(1);
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

type Table = NeighTable<u32>;

fn table() -> Table {
    NeighTable::new(NeighConfig::default(), 42)
}

fn key(host: u32) -> NeighKey {
    NeighKey::new(ETH0, IpAddr::V4((0x0a00_0000 + host).into()))
}

fn mac(station: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, station])
}

fn events(table: &mut Table) -> Vec<Event<u32>> {
    core::iter::from_fn(|| table.next_event()).collect()
}

fn state(table: &Table, host: u32) -> NudState {
    table
        .lookup(key(host))
        .map_or(NudState::None, |line| line.state)
}

/// Lets time pass, stopping at each deadline, and gives what came out when.
fn run(table: &mut Table, from: u64, to: u64) -> Vec<(u64, Event<u32>)> {
    let mut seen = Vec::new();
    let mut now = from;
    while let Some(at) = table.next_deadline().filter(|&at| at <= to) {
        assert!(at >= now, "a deadline is never put back before the last");
        now = at;
        table.poll(now);
        seen.extend(events(table).into_iter().map(|event| (now, event)));
        assert!(table.next_deadline() > Some(now) || table.next_deadline().is_none());
    }
    seen
}

/// A table in which host 1 answered at time 0.
fn reachable() -> (Table, NeighHandle) {
    let mut table = table();
    assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
    assert!(table.learn(key(1), mac(1), Evidence::Answered, 0));
    events(&mut table);
    match table.output(key(1), 8, 0) {
        Output::Send { handle, .. } => (table, handle),
        other => panic!("{other:?}"),
    }
}

const fn broadcast(host: NeighKey) -> Event<u32> {
    Event::Probe {
        key: host,
        to: None,
    }
}

#[test]
fn the_first_packet_asks_everybody_and_waits() {
    let mut table = table();
    assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
    assert_eq!(table.output(key(1), 8, 0), Output::Waiting);
    assert_eq!(events(&mut table), [broadcast(key(1))]);
    assert_eq!(state(&table, 1), NudState::Incomplete);
}

#[test]
fn the_answer_sends_what_waits_in_its_order() {
    let mut table = table();
    for packet in [7, 8, 9] {
        assert_eq!(table.output(key(1), packet, 0), Output::Waiting);
    }
    events(&mut table);
    assert!(table.learn(key(1), mac(1), Evidence::Answered, MS));
    let sent = |packet| Event::Send {
        key: key(1),
        mac: mac(1),
        packet,
    };
    assert_eq!(events(&mut table), [sent(7), sent(8), sent(9)]);
    assert_eq!(state(&table, 1), NudState::Reachable);
}

#[test]
fn three_probes_a_second_apart_without_an_answer_fail() {
    let mut table = table();
    assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
    assert_eq!(events(&mut table), [broadcast(key(1))]);
    let reason = DropReason::NeighFailed;
    let dropped = Event::Dropped {
        key: key(1),
        packet: 7,
        reason,
    };
    assert_eq!(
        run(&mut table, 0, 100 * SECOND),
        [
            (SECOND, broadcast(key(1))),
            (2 * SECOND, broadcast(key(1))),
            (3 * SECOND, dropped),
        ]
    );
    assert_eq!(state(&table, 1), NudState::Failed);
}

#[test]
fn a_packet_to_a_failed_neighbour_asks_again() {
    let mut table = table();
    assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
    run(&mut table, 0, 10 * SECOND);
    assert_eq!(table.output(key(1), 8, 10 * SECOND), Output::Waiting);
    assert_eq!(events(&mut table), [broadcast(key(1))]);
    assert_eq!(state(&table, 1), NudState::Incomplete);
}

#[test]
fn the_oldest_of_too_many_waiting_packets_gives_way() {
    let mut table = table();
    for packet in 0..102 {
        assert_eq!(table.output(key(1), packet, 0), Output::Waiting);
    }
    let reason = DropReason::NeighQueuefull;
    let dropped = Event::Dropped {
        key: key(1),
        packet: 0,
        reason,
    };
    assert_eq!(events(&mut table), [broadcast(key(1)), dropped]);
    assert_eq!(table.lookup(key(1)).unwrap().waiting, 101);
}

#[test]
fn a_scan_cannot_hold_more_packets_than_the_total() {
    let config = NeighConfig {
        unres_total: 4,
        ..NeighConfig::default()
    };
    let mut table = NeighTable::new(config, 1);
    for host in 1..=4 {
        assert_eq!(table.output(key(host), host, 0), Output::Waiting);
    }
    let refused = Output::Dropped {
        packet: 5,
        reason: DropReason::NeighQueuefull,
    };
    assert_eq!(table.output(key(5), 5, 0), refused);
    // Who waits already exchanges its own packet.
    assert_eq!(table.output(key(1), 6, 0), Output::Waiting);
    let waiting: usize = table.iter().map(|line| line.waiting).sum();
    assert_eq!(waiting, 4);
}

#[test]
fn reachability_ends_within_its_random_bounds() {
    for seed in 0..20 {
        let mut table: Table = NeighTable::new(NeighConfig::default(), seed);
        assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
        table.learn(key(1), mac(1), Evidence::Answered, 0);
        let at = |table: &mut Table, now| {
            table.poll(now);
            state(table, 1)
        };
        assert_eq!(at(&mut table, 15 * SECOND - 1), NudState::Reachable);
        assert_eq!(at(&mut table, 45 * SECOND), NudState::Stale);
    }
}

#[test]
fn a_stale_neighbour_is_used_then_delayed_then_probed() {
    let (mut table, handle) = reachable();
    table.poll(50 * SECOND);
    assert_eq!(state(&table, 1), NudState::Stale);
    let now = 55 * SECOND;
    assert_eq!(table.cached(handle, now), Some(mac(1)));
    assert_eq!(state(&table, 1), NudState::Delay);
    assert_eq!(events(&mut table), []);
    let poll = Event::Probe {
        key: key(1),
        to: Some(mac(1)),
    };
    let seen = run(&mut table, now, now + 7 * SECOND);
    let times: Vec<_> = seen.iter().map(|(at, _)| (at - now) / SECOND).collect();
    assert!(seen.iter().all(|(_, event)| *event == poll));
    assert_eq!(times, [5, 6, 7]);
    assert_eq!(table.cached(handle, now + 7 * SECOND), Some(mac(1)));
    run(&mut table, now + 7 * SECOND, now + 8 * SECOND);
    assert_eq!(state(&table, 1), NudState::Failed);
    assert_eq!(table.cached(handle, now + 8 * SECOND), None);
}

#[test]
fn an_answer_to_a_probe_makes_it_reachable_again() {
    let (mut table, handle) = reachable();
    table.poll(50 * SECOND);
    assert_eq!(table.cached(handle, 50 * SECOND), Some(mac(1)));
    run(&mut table, 50 * SECOND, 56 * SECOND);
    assert_eq!(state(&table, 1), NudState::Probe);
    assert!(table.learn(key(1), mac(1), Evidence::Answered, 56 * SECOND));
    assert_eq!(state(&table, 1), NudState::Reachable);
    assert_eq!(run(&mut table, 56 * SECOND, 70 * SECOND), []);
}

#[test]
fn an_upper_layer_that_confirms_saves_the_probe() {
    let (mut table, handle) = reachable();
    for second in 1..200 {
        assert_eq!(table.cached(handle, second * SECOND), Some(mac(1)));
        table.confirm(handle, second * SECOND);
        table.poll(second * SECOND);
        assert_eq!(state(&table, 1), NudState::Reachable);
    }
    assert_eq!(events(&mut table), []);
}

#[test]
fn a_neighbour_in_use_goes_from_reachable_to_delay_at_once() {
    let (mut table, handle) = reachable();
    let mut now = 0;
    while state(&table, 1) == NudState::Reachable {
        now += 100 * MS;
        assert_eq!(table.cached(handle, now), Some(mac(1)));
        table.poll(now);
    }
    assert_eq!(state(&table, 1), NudState::Delay);
}

#[test]
fn who_asks_for_us_is_learnt() {
    let mut table = table();
    assert!(table.learn(key(1), mac(1), Evidence::Asked, 0));
    assert_eq!(state(&table, 1), NudState::Stale);
}

#[test]
fn others_make_no_entry() {
    let mut table = table();
    for how in [Evidence::Answered, Evidence::Overheard, Evidence::Announced] {
        assert!(!table.learn(key(1), mac(1), how, 0));
    }
    assert!(table.is_empty());
}

#[test]
fn an_announcement_makes_an_entry_only_if_arp_accept_says_so() {
    let config = NeighConfig {
        arp_accept: true,
        ..NeighConfig::default()
    };
    let mut table: Table = NeighTable::new(config, 1);
    assert!(table.learn(key(1), mac(1), Evidence::Announced, 0));
    assert_eq!(state(&table, 1), NudState::Stale);
}

#[test]
fn an_announcement_changes_the_station_at_once() {
    let (mut table, handle) = reachable();
    assert!(table.learn(key(1), mac(2), Evidence::Announced, 1));
    assert_eq!(state(&table, 1), NudState::Stale);
    assert_eq!(table.cached(handle, 1), Some(mac(2)));
}

#[test]
fn a_second_answer_from_another_station_waits_for_the_lock_time() {
    let (mut table, handle) = reachable();
    assert!(!table.learn(key(1), mac(2), Evidence::Answered, SECOND));
    assert_eq!(table.cached(handle, SECOND), Some(mac(1)));
    assert!(table.learn(key(1), mac(2), Evidence::Answered, SECOND + 1));
    assert_eq!(table.cached(handle, SECOND + 1), Some(mac(2)));
}

#[test]
fn hearing_the_same_station_again_changes_nothing() {
    let (mut table, _) = reachable();
    for how in [Evidence::Asked, Evidence::Overheard, Evidence::Announced] {
        assert!(table.learn(key(1), mac(1), how, SECOND));
        assert_eq!(state(&table, 1), NudState::Reachable);
    }
}

#[test]
fn impossible_neighbours_are_not_learnt() {
    let mut table = table();
    let how = Evidence::Asked;
    assert!(!table.learn(key(1), MacAddress::BROADCAST, how, 0));
    assert!(!table.learn(key(1), MacAddress([0; 6]), how, 0));
    for text in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"] {
        let nobody = NeighKey::new(ETH0, text.parse().unwrap());
        assert!(!table.learn(nobody, mac(1), how, 0), "{text}");
    }
    assert!(table.is_empty());
}

#[test]
fn a_permanent_entry_is_changed_by_nobody_and_never_collected() {
    let mut table = table();
    assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
    events(&mut table);
    assert!(table.set_permanent(key(1), mac(5), 0));
    let sent = Event::Send {
        key: key(1),
        mac: mac(5),
        packet: 7,
    };
    assert_eq!(events(&mut table), [sent]);
    assert!(!table.learn(key(1), mac(6), Evidence::Announced, 9 * SECOND));
    table.poll(10_000 * SECOND);
    assert_eq!(state(&table, 1), NudState::Permanent);
    assert_eq!(table.lookup(key(1)).unwrap().mac, Some(mac(5)));
}

#[test]
fn a_removed_entry_gives_its_packets_up_and_its_handle_says_so() {
    let (mut table, handle) = reachable();
    assert_eq!(table.output(key(2), 9, 0), Output::Waiting);
    events(&mut table);
    assert!(table.remove(key(1)) && table.remove(key(2)) && !table.remove(key(2)));
    let reason = DropReason::NeighDead;
    assert_eq!(
        events(&mut table),
        [Event::Dropped {
            key: key(2),
            packet: 9,
            reason
        }]
    );
    // The slot is used again, by somebody else.
    assert!(table.learn(key(3), mac(3), Evidence::Asked, 0));
    assert!(table.learn(key(4), mac(4), Evidence::Asked, 0));
    assert_eq!(table.cached(handle, 0), None);
    assert_eq!(run(&mut table, 0, 30 * SECOND), [], "no timer is left over");
}

#[test]
fn the_entries_of_a_device_leave_with_it() {
    let mut table = table();
    let other = NeighKey::new(IfIndex(2), key(1).address);
    assert!(table.learn(key(1), mac(1), Evidence::Asked, 0));
    assert!(table.learn(other, mac(2), Evidence::Asked, 0));
    table.remove_device(ETH0);
    assert_eq!(
        table.iter().map(|line| line.key).collect::<Vec<_>>(),
        [other]
    );
}

#[test]
fn the_table_never_grows_over_its_limit() {
    let mut table = table();
    let learnt =
        (0..5000u32).filter(|&host| table.learn(key(1 + host), mac(1), Evidence::Asked, 0));
    assert_eq!(learnt.count(), 1024);
    let refused = Output::Dropped {
        packet: 7,
        reason: DropReason::NeighCreatefail,
    };
    assert_eq!(table.output(key(9999), 7, 0), refused);
    // After five seconds the young ones are fair game.
    assert_eq!(table.output(key(9999), 7, 6 * SECOND), Output::Waiting);
    assert_eq!(table.len(), 513);
}

#[test]
fn long_unused_entries_are_collected_down_to_the_floor() {
    let mut table = table();
    for host in 1..=300 {
        assert!(table.learn(key(host), mac(1), Evidence::Asked, 0));
    }
    table.poll(59 * SECOND);
    assert_eq!(table.len(), 300);
    table.poll(120 * SECOND);
    assert_eq!(table.len(), 128);
}

#[test]
fn arp_packets_show_what_they_show() {
    let (us, them, third): (Ipv4Addr, Ipv4Addr, Ipv4Addr) = (
        [10, 0, 0, 9].into(),
        [10, 0, 0, 1].into(),
        [10, 0, 0, 3].into(),
    );
    let of = |packet: ArpPacket| Evidence::of_arp(&packet, OWN, |ip| ip == us);
    let ask = ArpPacket::request(mac(1), them, us);
    assert_eq!(of(ask), Evidence::Asked);
    assert_eq!(
        of(ArpPacket::request(mac(1), them, third)),
        Evidence::Overheard
    );
    assert_eq!(
        of(ArpPacket::request(mac(1), them, them)),
        Evidence::Announced
    );
    assert_eq!(
        of(ArpPacket::request(OWN, us, them).reply(mac(1))),
        Evidence::Answered
    );
    assert_eq!(
        of(ArpPacket::request(mac(3), third, them).reply(mac(1))),
        Evidence::Overheard
    );
}

#[test]
fn one_seed_gives_one_history() {
    let history = |seed| {
        let mut table: Table = NeighTable::new(NeighConfig::default(), seed);
        assert_eq!(table.output(key(1), 7, 0), Output::Waiting);
        table.learn(key(1), mac(1), Evidence::Answered, 0);
        run(&mut table, 0, 14 * SECOND);
        table.next_deadline()
    };
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}

#[test]
fn the_heap_stays_small_however_often_a_timer_is_set_anew() {
    let (mut table, handle) = reachable();
    let mut now = 0;
    for round in 0..500u64 {
        // A time far ahead is in the heap, and an earlier one is put before it.
        let station = mac(2 + (round % 2) as u8);
        assert!(table.learn(key(1), station, Evidence::Announced, now));
        assert_eq!(table.cached(handle, now), Some(station));
        now += 6 * SECOND;
        table.poll(now);
        assert_eq!(state(&table, 1), NudState::Probe);
        assert!(table.learn(key(1), station, Evidence::Answered, now));
        events(&mut table);
        now += 2 * SECOND;
        table.poll(now);
        // As many as rounds fit into the longest reachable time, and few more.
        assert!(table.timers.len() <= 12, "{round}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Output(u32),
    Learn(u32, u8, Evidence),
    Remove(u32),
    RemoveDevice,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(std::vec![
        Evidence::Asked,
        Evidence::Answered,
        Evidence::Announced,
        Evidence::Overheard,
    ]);
    prop_oneof![
        6 => (1u32..12).prop_map(Step::Output),
        3 => (1u32..12, 1u8..4, how).prop_map(|(host, mac, how)| Step::Learn(host, mac, how)),
        1 => (1u32..12).prop_map(Step::Remove),
        1 => Just(Step::RemoveDevice),
        4 => (0u64..8_000).prop_map(|ms| Step::Wait(ms * MS)),
    ]
}

fn small() -> NeighConfig {
    NeighConfig {
        unres_qlen: 3,
        unres_total: 8,
        gc_thresh1: 2,
        gc_thresh2: 4,
        gc_thresh3: 8,
        ..NeighConfig::default()
    }
}

proptest! {
    /// Whatever happens, each packet comes out exactly once: sent, dropped or
    /// still waiting.
    #[test]
    fn no_packet_is_lost_or_doubled(steps in prop::collection::vec(step(), 0..200)) {
        let mut table: Table = NeighTable::new(small(), 3);
        let (mut now, mut next) = (0, 0u32);
        let mut fate: BTreeMap<u32, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Output(host) => {
                    fate.insert(next, 0);
                    match table.output(key(host), next, now) {
                        Output::Send { packet, .. } | Output::Dropped { packet, .. } => {
                            *fate.get_mut(&packet).unwrap() += 1;
                        }
                        Output::Waiting => {}
                    }
                    next += 1;
                }
                Step::Learn(host, station, how) => {
                    let known = table.learn(key(host), mac(station), how, now);
                    let line = table.lookup(key(host)).and_then(|line| line.mac);
                    prop_assert_eq!(known, line == Some(mac(station)));
                }
                Step::Remove(host) => {
                    table.remove(key(host));
                }
                Step::RemoveDevice => {
                    table.remove_device(ETH0);
                    prop_assert!(table.is_empty());
                }
                Step::Wait(time) => {
                    now += time;
                    table.poll(now);
                    prop_assert!(table.next_deadline().is_none_or(|at| at > now));
                }
            }
            prop_assert!(table.len() <= 8);
            prop_assert_eq!(table.iter().count(), table.len());
            for event in events(&mut table) {
                if let Event::Send { packet, .. } | Event::Dropped { packet, .. } = event {
                    *fate.get_mut(&packet).unwrap() += 1;
                }
            }
            let waiting: usize = table.iter().map(|line| line.waiting).sum();
            prop_assert_eq!(waiting, fate.values().filter(|&&times| times == 0).count());
            prop_assert_eq!(waiting, table.waiting);
            prop_assert!(waiting <= 8 && fate.values().all(|&times| times <= 1));
        }
    }
}
