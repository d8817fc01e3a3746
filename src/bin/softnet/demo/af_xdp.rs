//! The demonstration on an interface of the kernel.

use super::Outcome;
use anyhow::Result;
use softnet::netstack::StackConfig;
use softnet::wire::netns::Namespace;

#[cfg(feature = "af-xdp")]
pub(super) fn demonstrate(namespace: &Namespace, config: StackConfig) -> Result<Outcome> {
    built_in::demonstrate(namespace, config)
}

#[cfg(not(feature = "af-xdp"))]
pub(super) fn demonstrate(_namespace: &Namespace, _config: StackConfig) -> Result<Outcome> {
    anyhow::bail!("this softnet was built without AF_XDP: build it with `--features af-xdp`")
}

#[cfg(feature = "af-xdp")]
mod built_in {
    use super::super::{KERNEL, Outcome, Running, STACK, exchange, start};
    use crate::args::DemoNic;
    use anyhow::{Context, Result, bail};
    use softnet::Machine;
    use softnet::af_xdp::bpf::Steering;
    use softnet::af_xdp::{AfXdpConfig, UmemConfig};
    use softnet::netstack::{NicOptions, StackConfig};
    use softnet::wire::interface::Interface;
    use softnet::wire::netns::{Beside, Namespace};
    use std::io::ErrorKind;

    /// The kernel's end of the pair, and the stack's.
    const FAR: &str = "far0";
    const NEAR: &str = "near0";

    pub(super) fn demonstrate(namespace: &Namespace, config: StackConfig) -> Result<Outcome> {
        if namespace.is_unprivileged() {
            bail!("AF_XDP takes root's rights outside of every user namespace: run it as root");
        }
        let beside = Beside::new()?;
        lay_cable(namespace, &beside)?;
        // The stack's threads are in the namespace of the one that starts them.
        let running = beside.run(move || serve(&config))??;
        let outcome = exchange(DemoNic::AfXdp, namespace, running);
        drop(beside);
        outcome
    }

    /// A veth pair from here to there; the kernel's address is here.
    fn lay_cable(namespace: &Namespace, beside: &Beside) -> Result<()> {
        let there = beside.id().to_string();
        let mut ip = namespace.command("ip");
        ip.args(["link", "add", FAR, "type", "veth"]);
        ip.args(["peer", "name", NEAR, "netns", &there]);
        let output = ip.output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow::anyhow!("there is no ip: install the package iproute2"),
            _ => error.into(),
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("no veth pair could be made: {}", said.trim_end());
        }
        let far = Interface::open(FAR)?;
        // Its multicast would be counted among the packets that are shown.
        far.set_ipv6_enabled(false)?;
        far.set_address(KERNEL.address, KERNEL.prefix_len)?;
        far.set_up(true)?;
        Ok(())
    }

    /// A stack on the near end, which takes what is for its address.
    fn serve(config: &StackConfig) -> Result<Running> {
        let near = Interface::open(NEAR)?;
        near.set_ipv6_enabled(false)?;
        near.set_up(true)?;
        let mut machine = Machine::on_umem(config, UmemConfig::default())?;
        let mut nic = AfXdpConfig::new(NEAR);
        nic.steering = Steering::none().address(STACK.address);
        let eth0 = machine
            .add_af_xdp(nic, &NicOptions::default())
            .context(NEAR)?;
        start((machine, eth0))
    }
}
