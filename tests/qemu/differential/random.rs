//! Sequences made from a seed, and cut short when they find something.

use super::run::{Chip, Found, Pair};
use super::script::Op;
use std::path::Path;

/// How a chip's random sequences are made, and what is compared after each operation.
pub(crate) struct Random<'a> {
    pub(crate) qemu: &'a Path,
    pub(crate) chip: &'a Chip,
    /// What brings both chips to where the operations begin.
    pub(crate) prelude: Vec<Op>,
    /// Registers to compare, and the bits of them that are known to differ.
    pub(crate) visible: &'a [(&'static str, u32)],
    /// The next operation.
    pub(crate) next: fn(&mut fastrand::Rng) -> Vec<Op>,
}

/// More than any timer of a chip takes.
const REST: Op = Op::Advance(1_500_000);

impl Random<'_> {
    /// Runs so many seeds, or those that the environment asks for.
    pub(crate) fn run_all(&self, seeds: u64, count: usize) {
        let first = variable("SOFTNET_SEED", 1);
        for seed in first..first + variable("SOFTNET_SEEDS", seeds) {
            self.run(seed, count);
        }
    }

    /// Runs so many operations from that seed; panics with the shortest sequence that
    /// was found to end in a difference.
    fn run(&self, seed: u64, count: usize) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ops: Vec<Vec<Op>> = (0..count).map(|_| (self.next)(&mut rng)).collect();
        let Some((at, _)) = self.attempt(&ops) else {
            return;
        };
        let shortest = self.shorten(ops[..=at].to_vec());
        let how = self
            .attempt(&shortest)
            .map_or(String::new(), |(_, how)| how);
        let script: String = shortest
            .iter()
            .flatten()
            .map(|op| format!("{op}\n"))
            .collect();
        panic!("seed {seed}, operation {at}: {how}\nshortest script after the prelude:\n{script}");
    }

    /// Where the models first differ, and how.
    fn attempt(&self, ops: &[Vec<Op>]) -> Option<(usize, Found)> {
        let mut pair = Pair::new(self.qemu, self.chip);
        for op in &self.prelude {
            if let Err(how) = pair.run(op) {
                panic!("the prelude: {op}: {how}");
            }
        }
        let groups = ops.iter().enumerate();
        groups
            .filter_map(|(at, group)| Some((at, self.group(&mut pair, group).err()?)))
            .next()
    }

    /// Operations that belong together, and then a comparison.
    fn group(&self, pair: &mut Pair, group: &[Op]) -> Result<(), Found> {
        group
            .iter()
            .chain([&REST])
            .try_for_each(|op| pair.run(op))?;
        for &(name, known) in self.visible {
            pair.compare_register(self.chip.register(name), known)?;
        }
        pair.compare(self.chip.normal)
    }

    /// Leaves operations out as long as the rest still ends in a difference.
    fn shorten(&self, mut ops: Vec<Vec<Op>>) -> Vec<Vec<Op>> {
        let mut chunk = ops.len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < ops.len() {
                let mut less = ops.clone();
                less.drain(at..(at + chunk).min(ops.len()));
                if self.attempt(&less).is_some() {
                    ops = less;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        ops
    }
}

fn variable(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |given| given.parse().unwrap())
}
