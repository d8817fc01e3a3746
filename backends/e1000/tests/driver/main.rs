//! The driver against a scripted function: the manual is the only judge.

#[cfg(test)]
mod ethtool;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod irq;
#[cfg(test)]
mod offload;
#[cfg(test)]
mod open;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod scatter;
