use super::contender::{Contender, Host};
use super::loopback::Softnet;
use super::smoltcp::{Run, Smoltcp};
use super::traffic::payload;
use super::{SCENARIOS, Scenario, Service, Spread, apps::Answer, run};
use anyhow::Result;

const ALL: [Contender; 8] = [
    Contender::Softnet,
    Contender::SoftnetSameFrame,
    Contender::SoftnetBusy,
    Contender::SoftnetWire,
    Contender::SoftnetE1000,
    Contender::Smoltcp,
    Contender::SmoltcpIngress,
    Contender::SmoltcpWire,
];

/// With fewer sockets, since it is the same with many.
fn small(scenario: &Scenario) -> Scenario {
    Scenario {
        sockets: scenario.sockets.min(300),
        ..*scenario
    }
}

#[test]
fn every_frame_of_every_scenario_comes_through() -> Result<()> {
    for scenario in SCENARIOS.iter().map(small) {
        for &contender in Contender::of(scenario.service) {
            let mut host = contender.host(&scenario)?;
            run(&mut *host, 992, scenario.batch)?;
        }
    }
    Ok(())
}

#[test]
fn every_wire_lasts_as_long_as_it_says() -> Result<()> {
    for scenario in SCENARIOS.iter().map(small) {
        for contender in [Contender::SoftnetWire, Contender::SmoltcpWire] {
            let mut host = contender.host(&scenario)?;
            for _ in 0..3 {
                let packets = host.stamina().min(1024);
                run(&mut *host, packets, scenario.batch)?;
                host.rest();
            }
        }
    }
    Ok(())
}

#[test]
fn the_emulated_chip_serves_them_all_too() -> Result<()> {
    for scenario in SCENARIOS.iter().map(small) {
        let mut host = Contender::SoftnetE1000.host(&scenario)?;
        run(&mut *host, 320, scenario.batch)?;
    }
    Ok(())
}

#[test]
fn the_caller_has_the_payload_in_its_buffer() -> Result<()> {
    for scenario in SCENARIOS.iter().map(small) {
        if scenario.service != Service::Receive {
            continue;
        }
        for &contender in Contender::of(Service::Receive) {
            let mut host = contender.host(&scenario)?;
            host.pass(scenario.batch);
            assert!(host.buffer().starts_with(&payload(scenario.payload)));
        }
    }
    Ok(())
}

/// What comes through of a sound frame is one; of one with a changed byte, this.
fn spoiled(service: Service) -> Result<[usize; 2]> {
    let scenario = Scenario {
        service,
        sockets: 1,
        spread: Spread::All,
        batch: 1,
        payload: 22,
    };
    let mut ours = Softnet::new(&scenario, Answer::Copied)?;
    let mut smoltcp = Smoltcp::new(&scenario, Run::Poll)?;
    assert_eq!([ours.pass(1), smoltcp.pass(1)], [1, 1]);
    ours.spoil();
    smoltcp.spoil();
    Ok([ours.pass(1), smoltcp.pass(1)])
}

#[test]
fn both_sides_verify_the_checksum() -> Result<()> {
    for service in [Service::Receive, Service::Echo, Service::Ping] {
        assert_eq!(spoiled(service)?, [0, 0], "{service:?}");
    }
    Ok(())
}

#[test]
fn datagrams_to_all_sockets_meet_each_of_them_once() {
    for scenario in SCENARIOS.iter().filter(|s| s.service != Service::Ping) {
        let mut order = scenario.order();
        order.sort_unstable();
        let expected: Vec<usize> = match scenario.spread {
            Spread::All => (0..scenario.sockets).collect(),
            Spread::Last => vec![scenario.sockets - 1],
        };
        assert_eq!(order, expected);
    }
}

#[test]
fn a_contender_is_found_by_its_argument() {
    for contender in ALL {
        let found = <Contender as clap::ValueEnum>::from_str(&contender.argument(), false);
        assert_eq!(found, Ok(contender));
    }
}
