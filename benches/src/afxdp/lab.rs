//! The veth pair, its two namespaces, and the thread at the far end.

use crate::pair::{CPUS, pin};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use softnet::nic_hal::MacAddress;
use softnet::wire::netns::Beside;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc::Receiver;

/// The near end, in the namespace of the thread that made the [`Lab`].
pub const NEAR: &str = "near0";
/// The far end, in that of the far thread.
pub const FAR: &str = "far0";
/// The near end's station address.
pub const NEAR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x0a]);
/// An address that no station has: what goes there is dropped at the far end as soon
/// as it has arrived.
pub const NOBODY_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x99]);
/// The near kernel's address.
pub const NEAR_KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of softnet's stack at the near end.
pub const NEAR_STACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The far kernel's address.
pub const FAR_KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 8);
/// Where a flood pretends to come from.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

/// The pair. It lives until the process ends, as its namespaces do.
pub struct Lab {
    far: Beside,
}

impl Lab {
    /// Takes the calling thread, which is to be the process's only one, into a new
    /// namespace and to the first CPU, and makes the pair.
    ///
    /// # Errors
    /// The rights to do so, or the command `ip`, are missing.
    pub fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("no network namespace")?;
        let far = Beside::new()?;
        far.run(|| pin(CPUS[1]))?;
        pin(CPUS[0]);
        let lab = Self { far };
        lab.plug_in()?;
        Ok(lab)
    }

    fn plug_in(&self) -> Result<()> {
        let far_thread = self.far.id();
        ip(&format!(
            "link add {NEAR} address {NEAR_MAC} type veth peer name {FAR}"
        ))?;
        ip(&format!("link set {FAR} netns {far_thread}"))?;
        self.at_far_end(|| set_up(FAR, FAR_KERNEL))??;
        set_up(NEAR, NEAR_KERNEL)?;
        ip(&format!(
            "neigh add {NOBODY} lladdr {NOBODY_MAC} dev {NEAR} nud permanent"
        ))
    }

    /// Has the far thread do something, and waits for it.
    ///
    /// # Errors
    /// The far thread has panicked.
    pub fn at_far_end<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R> {
        Ok(self.far.run(job)?)
    }

    /// Has the far thread do something. The result comes out of the channel.
    ///
    /// # Errors
    /// The far thread has panicked.
    pub fn begin_at_far_end<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Receiver<R>> {
        Ok(self.far.begin(job)?)
    }

    /// Packets that have arrived at the far end so far.
    ///
    /// # Errors
    /// procfs does not say.
    pub fn arrived(&self) -> Result<u64> {
        let path = format!("/proc/self/task/{}/net/dev", self.far.id());
        let table = std::fs::read_to_string(path)?;
        let mut lines = table.lines().map(str::trim_start);
        let line = lines.find_map(|line| line.strip_prefix(FAR)?.strip_prefix(':'));
        let packets = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(packets.context("no such interface")?.parse()?)
    }
}

/// Brings an end up, with an address and without frames of its own.
fn set_up(name: &str, address: Ipv4Addr) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    // A kernel without IPv6 sends no frames of its own either.
    let _ = std::fs::write(path, "1");
    ip(&format!("address add {address}/24 dev {name}"))?;
    ip(&format!("link set {name} up"))
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split_whitespace()).output();
    let output = output.context("the command ip is needed: apt-get install iproute2")?;
    if !output.status.success() {
        bail!("ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
