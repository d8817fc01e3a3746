//! `--fault`: the faults of a wire.

use crate::values;
use softnet::wire::fault::{Chance, FaultConfig, Impairment, Rate, Reorder};
use std::str::FromStr;

/// Frames that overtake one that is held back.
const OVERTAKERS: u32 = 3;
/// A held-back frame goes on after this, in nanoseconds, if nothing follows it.
const REORDER_TIMEOUT_NS: u64 = 50_000_000;
/// Frames that wait for a paced line: Linux's `txqueuelen`.
const LINE_QUEUE: usize = 1000;

/// What happens to frames, in both directions alike.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Faults(Impairment);

impl Faults {
    pub(crate) fn config(&self, seed: u64) -> FaultConfig {
        let mut config = FaultConfig::seeded(seed);
        config.transmit = self.0.clone();
        config.receive = self.0.clone();
        config
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let mut faults = Impairment::default();
        for fault in list.split(',') {
            let (name, value) = fault
                .split_once('=')
                .ok_or_else(|| format!("{fault:?} lacks its value, as in loss=1%"))?;
            set(&mut faults, name, value)?;
        }
        Ok(Self(faults))
    }
}

fn set(faults: &mut Impairment, name: &str, value: &str) -> Result<(), String> {
    match name {
        "loss" => faults.loss = chance(value)?,
        "duplicate" => faults.duplicate = chance(value)?,
        "corrupt" => faults.corrupt = chance(value)?,
        "reorder" => {
            faults.reorder = Some(Reorder {
                chance: chance(value)?,
                packets: OVERTAKERS,
                timeout_ns: REORDER_TIMEOUT_NS,
            });
        }
        "delay" => faults.delay_ns = nanoseconds(value)?,
        "jitter" => faults.jitter_ns = nanoseconds(value)?,
        "rate" => {
            faults.rate = Some(Rate {
                bits_per_second: bits_per_second(value)?,
                queue_frames: LINE_QUEUE,
            });
        }
        _ => {
            return Err(format!(
                "there is no fault {name:?}: use loss, duplicate, corrupt, reorder, delay, jitter or rate"
            ));
        }
    }
    Ok(())
}

fn chance(text: &str) -> Result<Chance, String> {
    let wanted = || format!("{text:?} is no chance: use 0% to 100%, as in loss=1%");
    let number = text.strip_suffix('%').ok_or_else(wanted)?;
    let percent: f64 = number.parse().map_err(|_| wanted())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wanted());
    }
    Ok(Chance::of(percent / 100.0))
}

fn nanoseconds(text: &str) -> Result<u64, String> {
    let duration = values::duration(text)?;
    u64::try_from(duration.as_nanos()).map_err(|_| format!("{text:?} is too long"))
}

fn bits_per_second(text: &str) -> Result<u64, String> {
    let wanted = || format!("{text:?} is no rate: use a number and kbit, mbit or gbit");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(wanted()),
    };
    let number: u64 = digits.parse().map_err(|_| wanted())?;
    let rate = number.checked_mul(unit).filter(|&rate| rate > 0);
    rate.ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_faults_becomes_the_injectors_settings() {
        let faults: Faults = "loss=1%,delay=5ms,rate=10mbit".parse().unwrap();
        let config = faults.config(7);
        assert_eq!(config.seed, 7);
        assert_eq!(config.receive.loss, Chance::of(0.01));
        assert_eq!(config.transmit.delay_ns, 5_000_000);
        let rate = config.transmit.rate.map(|rate| rate.bits_per_second);
        assert_eq!(rate, Some(10_000_000));
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for wrong in [
            "",
            "loss",
            "loss=1",
            "loss=101%",
            "loss=x%",
            "rain=1%",
            "delay=",
            "rate=10",
            "rate=0mbit",
            "loss=1%,,delay=1ms",
        ] {
            let parsed = wrong.parse::<Faults>();
            assert_eq!(parsed.is_err(), wrong != "{wrong}");
        }
    }
}
