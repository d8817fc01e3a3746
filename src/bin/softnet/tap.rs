//! A TAP interface, ready to be plugged into.

use crate::values::Cidr;
use anyhow::{Context, Result};
use softnet::wire::tap::{Tap, TapConfig};

/// Opens the interface, and makes it if there is none. The kernel's side gets
/// the address, if there is one, and is brought up.
pub(crate) fn open(name: &str, kernel_address: Option<Cidr>) -> Result<Tap> {
    let tap = Tap::open(&TapConfig::named(name))?;
    let interface = tap.interface();
    if let Some(Cidr {
        address,
        prefix_len,
    }) = kernel_address
    {
        interface.set_address(address, prefix_len)?;
    }
    if !interface.is_up()? {
        interface
            .set_up(true)
            .with_context(|| format!("{name} is down and stays so"))?;
    }
    Ok(tap)
}
