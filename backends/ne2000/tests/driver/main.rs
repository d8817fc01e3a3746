//! The driver against a scripted card: the manual is the only judge.

#[cfg(test)]
mod fake;
#[cfg(test)]
mod irq;
#[cfg(test)]
mod noise;
#[cfg(test)]
mod open;
#[cfg(test)]
mod overflow;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod receive;
#[cfg(test)]
mod transmit;
