//! An interface of the kernel as the NIC.

use crate::args::Run;
use anyhow::{Result, bail};
use softnet::Machine;
use softnet::netstack::IfIndex;

pub(crate) fn plug_in(_machine: &mut Machine, interface: &str, _args: &Run) -> Result<IfIndex> {
    bail!(
        "this softnet cannot take {interface}, since it was built without AF_XDP: build it with `cargo build --release --features af-xdp`"
    )
}
