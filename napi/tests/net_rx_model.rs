//! `net_rx_action` against a model of it on plain queues, with the virtual clock:
//! who is polled when, with which budget, and what is counted.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use proptest::prelude::*;
use softnet_napi::{
    Budget, HasSoftnet, NapiHandle, NapiPoll, NetRxAction, NetRxConfig, PollOutcome, SoftnetData,
};
use softnet_softirq::{Cpu, CpuId, NoWake, SoftIrq, Softirqs, VirtualClock};
use std::collections::VecDeque;
use std::sync::Arc;

/// What an instance is like.
#[derive(Clone, Debug)]
struct Spec {
    weight: usize,
    /// How long it takes over a packet.
    packet_ns: u64,
    /// Whom a packet from it makes work for, within the same poll.
    feeds: usize,
}

#[derive(Clone, Debug)]
enum Op {
    /// Packets come and their instance is scheduled.
    Arrive { instance: usize, packets: usize },
    /// The softirq runs once.
    Run,
}

/// An instance was polled with a budget and took packets.
type Poll = (usize, usize, usize);

/// The instances' work, the same for both.
#[derive(Debug)]
struct Work {
    specs: Vec<Spec>,
    queued: Vec<usize>,
    /// Packets that polls may still make for others.
    feed_left: usize,
    polls: Vec<Poll>,
}

impl Work {
    fn new(specs: &[Spec]) -> Self {
        Self {
            specs: specs.to_vec(),
            queued: vec![0; specs.len()],
            feed_left: 100,
            polls: Vec::new(),
        }
    }

    /// Polls an instance: packets taken, time spent, and whom to schedule.
    fn poll(&mut self, instance: usize, budget: usize) -> (usize, u64, Option<usize>) {
        let packets = self.queued[instance].min(budget);
        self.queued[instance] -= packets;
        self.polls.push((instance, budget, packets));
        let spec = &self.specs[instance];
        let spent_ns = packets as u64 * spec.packet_ns;
        if packets == 0 || self.feed_left == 0 {
            return (packets, spent_ns, None);
        }
        self.feed_left -= 1;
        self.queued[spec.feeds] += 1;
        (packets, spent_ns, Some(spec.feeds))
    }
}

/// The model: Linux's lists as queues, a word as two flags.
struct Oracle {
    work: Work,
    now_ns: u64,
    scheduled: Vec<bool>,
    missed: Vec<bool>,
    poll_list: VecDeque<usize>,
    time_squeeze: u64,
}

impl Oracle {
    fn new(specs: &[Spec]) -> Self {
        Self {
            work: Work::new(specs),
            now_ns: 0,
            scheduled: vec![false; specs.len()],
            missed: vec![false; specs.len()],
            poll_list: VecDeque::new(),
            time_squeeze: 0,
        }
    }

    fn schedule(&mut self, instance: usize) {
        if std::mem::replace(&mut self.scheduled[instance], true) {
            self.missed[instance] = true;
        } else {
            self.poll_list.push_back(instance);
        }
    }

    /// Polls one and says how many it took and whether it wants another turn.
    fn poll(&mut self, instance: usize) -> (usize, bool) {
        let weight = self.work.specs[instance].weight;
        let (packets, spent_ns, fed) = self.work.poll(instance, weight);
        self.now_ns += spent_ns;
        if let Some(fed) = fed {
            self.schedule(fed);
        }
        if packets >= weight {
            return (packets, true);
        }
        let again = std::mem::take(&mut self.missed[instance]);
        self.scheduled[instance] = again;
        (packets, again)
    }

    fn net_rx_action(&mut self, config: &NetRxConfig) {
        let deadline_ns = self.now_ns + config.netdev_budget_ns;
        let mut taken = 0;
        let mut list = std::mem::take(&mut self.poll_list);
        let mut repoll = VecDeque::new();
        while let Some(instance) = list.pop_front() {
            let (packets, again) = self.poll(instance);
            taken += packets;
            if again {
                repoll.push_back(instance);
            }
            if list.is_empty() && repoll.is_empty() {
                list.append(&mut self.poll_list);
            }
            let left = list.len() + repoll.len();
            if left > 0 && (taken >= config.netdev_budget || self.now_ns >= deadline_ns) {
                self.time_squeeze += 1;
                break;
            }
        }
        list.append(&mut self.poll_list);
        list.append(&mut repoll);
        self.poll_list = list;
    }
}

/// The CPU's state on the real side.
struct Shard {
    softnet: SoftnetData<Self>,
    work: Work,
    handles: Vec<NapiHandle>,
    clock: Arc<VirtualClock>,
}

impl HasSoftnet for Shard {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

struct Instance(usize);

impl NapiPoll<Shard> for Instance {
    fn poll(&mut self, cx: &mut Shard, _cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        let (packets, spent_ns, fed) = cx.work.poll(self.0, budget.0);
        cx.clock.advance(spent_ns);
        if let Some(fed) = fed {
            cx.handles[fed].schedule();
        }
        PollOutcome::from_packets(packets, budget)
    }

    fn mask_irq(&self) {}

    fn unmask_irq(&self) {}
}

struct Real {
    softirqs: Softirqs<Shard>,
    shard: Shard,
}

impl Real {
    fn new(specs: &[Spec], config: NetRxConfig) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let mut softirqs = Softirqs::new(CpuId(0), clock.clone(), Arc::new(NoWake));
        softirqs.open(Box::new(NetRxAction)).unwrap();
        let mut softnet = SoftnetData::new(softirqs.handle(), config);
        let mut add = |(n, spec): (usize, &Spec)| {
            let weight = Budget(spec.weight);
            softnet.add(Box::new(Instance(n)), weight).unwrap()
        };
        let handles = specs.iter().enumerate().map(&mut add).collect();
        let shard = Shard {
            softnet,
            work: Work::new(specs),
            handles,
            clock,
        };
        Self { softirqs, shard }
    }

    fn arrive(&mut self, instance: usize, packets: usize) {
        self.shard.work.queued[instance] += packets;
        self.shard.handles[instance].schedule();
    }

    /// One run of the handler, without the softirq loop around it.
    fn net_rx_action(&mut self) {
        let cpu = self.softirqs.cpu_mut();
        cpu.refresh_now();
        NetRxAction.run(cpu, &mut self.shard);
    }
}

const INSTANCES: usize = 6;

fn spec() -> impl Strategy<Value = Spec> {
    (1..80_usize, 0..20_000_u64, 0..INSTANCES).prop_map(|(weight, packet_ns, feeds)| Spec {
        weight,
        packet_ns,
        feeds,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let arrive = (0..INSTANCES, 0..200_usize)
        .prop_map(|(instance, packets)| Op::Arrive { instance, packets });
    prop_oneof![2 => arrive, 1 => Just(Op::Run)]
}

fn config() -> impl Strategy<Value = NetRxConfig> {
    (0..400_usize, 0..3_000_000_u64).prop_map(|(netdev_budget, netdev_budget_ns)| NetRxConfig {
        netdev_budget,
        netdev_budget_ns,
        max_instances: INSTANCES as u16,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn instances_are_polled_in_the_order_and_within_the_bounds_of_the_model(
        specs in prop::collection::vec(spec(), INSTANCES),
        config in config(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (mut real, mut oracle) = (Real::new(&specs, config), Oracle::new(&specs));
        for op in ops {
            match op {
                Op::Arrive { instance, packets } => {
                    real.arrive(instance, packets);
                    oracle.work.queued[instance] += packets;
                    oracle.schedule(instance);
                }
                Op::Run => {
                    real.net_rx_action();
                    oracle.net_rx_action(&config);
                }
            }
            prop_assert_eq!(&real.shard.work.polls, &oracle.work.polls);
        }
        let stat = real.shard.softnet.stat();
        prop_assert_eq!(stat.time_squeeze, oracle.time_squeeze);
        let packets: usize = oracle.work.polls.iter().map(|poll| poll.2).sum();
        prop_assert_eq!(stat.processed, packets as u64);
        prop_assert_eq!(real.softirqs.cpu_mut().refresh_now(), oracle.now_ns);
    }

    #[test]
    fn softirqs_run_until_no_packet_is_left_in_any_instance(
        specs in prop::collection::vec(spec(), INSTANCES),
        config in config(),
        arrivals in prop::collection::vec((0..INSTANCES, 0..500_usize), 1..30),
    ) {
        let mut real = Real::new(&specs, config);
        for (instance, packets) in arrivals {
            real.arrive(instance, packets);
        }
        while real.softirqs.run_once(&mut real.shard).work_left {}
        prop_assert_eq!(&real.shard.work.queued, &vec![0; INSTANCES]);
    }
}
