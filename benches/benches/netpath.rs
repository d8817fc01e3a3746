//! Time of the packet path, the wire's work included, by criterion.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softnet_benches::netpath::{Contender, SCENARIOS, Scenario, run};

/// Packets of one iteration: the least that the wires alone can take.
const PACKETS: usize = 64;

fn scenario(criterion: &mut Criterion, scenario: &Scenario) {
    let mut group = criterion.benchmark_group(scenario.group());
    group.throughput(Throughput::Elements(PACKETS as u64));
    for contender in Contender::of(scenario.service) {
        let Ok(mut host) = contender.host(scenario) else {
            continue;
        };
        let name = format!("{}/{}", scenario.name(), contender.name());
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(&mut *host, PACKETS, scenario.batch));
        });
    }
    group.finish();
}

fn netpath(criterion: &mut Criterion) {
    for one in SCENARIOS.iter().filter(|scenario| scenario.is_quick()) {
        scenario(criterion, one);
    }
}

criterion_group!(benches, netpath);
criterion_main!(benches);
