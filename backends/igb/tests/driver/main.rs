//! The driver against a scripted function: the datasheet is the only judge.

#[cfg(test)]
mod ethtool;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod irq;
#[cfg(test)]
mod nonsense;
#[cfg(test)]
mod offload;
#[cfg(test)]
mod open;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod rss;
#[cfg(test)]
mod split;
#[cfg(test)]
mod stamps;
