//! Drivers with hardware that does not keep to its manual, and models with drivers
//! that do not.
//!
//! What is held to here from seeds, `cargo xtask fuzz` explores by coverage. Each of
//! these changes was made on purpose, and was found: a driver that trusts a
//! descriptor's length; a driver that polls a register until it has the right value;
//! a model that may reach the memory beside its own.

mod targets;

use softnet_nic_hal::testing::hostile::Whim;
use targets::TARGETS;

/// Sequences, and operations of each.
const SEEDS: u64 = 60;
const OPERATIONS: usize = 400;

fn hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.0 == name);
    let (_, torment) = target.expect("a target of that name");
    let stood: usize = (0..SEEDS)
        .map(|seed| {
            // A panic names its seed.
            println!("{name}, seed {seed}");
            torment(&Whim::from_seed(seed), OPERATIONS)
        })
        .sum();
    let all = SEEDS as usize * OPERATIONS;
    assert!(
        stood > all / 4,
        "only {stood} of {all} operations found something to torment"
    );
}

#[test]
fn the_e1000_driver_bears_hostile_hardware() {
    hold("driver_e1000");
}

#[test]
fn the_igb_driver_bears_hostile_hardware() {
    hold("driver_igb");
}

#[test]
fn the_ne2000_driver_bears_hostile_hardware() {
    hold("driver_ne2000");
}

#[test]
fn the_82540em_model_bears_a_hostile_driver() {
    hold("model_e1000");
}

#[test]
fn the_82576_model_bears_a_hostile_driver() {
    hold("model_igb");
}

#[test]
fn the_ne2000_model_bears_a_hostile_driver() {
    hold("model_ne2000");
}
