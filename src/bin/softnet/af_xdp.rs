//! An interface of the kernel as the NIC.

use crate::args::Run;
use anyhow::Result;
use softnet::Machine;
use softnet::netstack::{IfIndex, StackConfig};

#[cfg(feature = "af-xdp")]
pub(crate) use built_in::{Tuned, announce, machine, plug_in};

#[cfg(feature = "af-xdp")]
mod built_in {
    use super::{IfIndex, Machine, Result, Run, StackConfig};
    use crate::values::{Nic, Steer, XdpMode};
    use anyhow::Context;
    use softnet::af_xdp::bpf::{AttachError, Existing, PortRule, Steering, Transport};
    use softnet::af_xdp::events::BusyPoll;
    use softnet::af_xdp::handover::Connection;
    use softnet::af_xdp::netlink::{Deferral, Interface};
    use softnet::af_xdp::settings::{Consent, Settings};
    use softnet::af_xdp::{AfXdpConfig, Mode, ModeChoice, TxMetadata, Umem, UmemConfig};
    use softnet::netstack::NicOptions;
    use softnet::nic_hal::MacAddress;
    use softnet::rss_of;

    /// The interface's settings, as far as they were changed. They are put back at
    /// the end, however that comes.
    pub(crate) struct Tuned {
        settings: Option<Settings>,
        /// The device's interrupts are to be put off once the kernel polls it.
        to_defer: bool,
    }

    impl Tuned {
        /// Sets what has to be set before the sockets are opened.
        pub(crate) fn before(args: &Run) -> Result<Self> {
            let Nic::AfXdp(name) = &args.nic else {
                return Ok(Self {
                    settings: None,
                    to_defer: false,
                });
            };
            let mut consent = Consent::empty();
            consent.set(Consent::QUEUES, args.af_xdp.set_queues.is_some());
            consent.set(Consent::DEFERRAL, args.af_xdp.busy_poll.is_some());
            let mut settings = Settings::new(Interface::open(name)?, consent)?;
            if let Some(queues) = args.af_xdp.set_queues {
                settings.set_queues(u32::from(queues))?;
            }
            Ok(Self {
                settings: Some(settings),
                to_defer: args.af_xdp.busy_poll.is_some(),
            })
        }

        /// Puts the device's interrupts off, once the kernel polls the device instead:
        /// packets would wait for a timer otherwise.
        pub(crate) fn look(&mut self, machine: &Machine) -> Result<()> {
            if let Some(settings) = &mut self.settings
                && self.to_defer
                && machine.is_busy_polled()
            {
                self.to_defer = false;
                settings.set_deferral(Deferral {
                    defer_hard_irqs: 2,
                    gro_flush_timeout_ns: 200_000,
                    irq_suspend_timeout_ns: 0,
                })?;
            }
            Ok(())
        }

        /// Puts everything back, once the sockets are closed.
        pub(crate) fn restore(self) -> Result<()> {
            if self.to_defer {
                eprintln!(
                    "softnet: the kernel did not poll the device, whose interrupts were left alone"
                );
            }
            Ok(self.settings.map_or(Ok(()), Settings::restore)?)
        }
    }

    /// Frames for each queue: four times those of its receive ring.
    const FRAMES: u32 = 4096;

    /// A machine whose frames the kernel knows, enough for the interface's queues.
    pub(crate) fn machine(config: &StackConfig, interface: &str, args: &Run) -> Result<Machine> {
        let opened = Interface::open(interface)?;
        let queues = opened.rx_queues()?;
        let umem = UmemConfig {
            chunks: FRAMES.saturating_mul(queues.clamp(1, 16)),
            tx_metadata: match args.af_xdp.tx_metadata {
                true => TxMetadata::Room,
                false => TxMetadata::Off,
            },
            ..UmemConfig::default()
        };
        let rss = opened.rss()?.and_then(|view| rss_of(&view, config.cpus));
        let config = StackConfig {
            rss,
            ..config.clone()
        };
        let Some(helper) = &args.af_xdp.helper else {
            return Ok(Machine::on_umem(&config, umem)?);
        };
        let umem = Umem::from_helper(umem, Connection::open(helper)?)?;
        Ok(Machine::with_umem(&config, umem)?)
    }

    pub(crate) fn plug_in(machine: &mut Machine, interface: &str, args: &Run) -> Result<IfIndex> {
        let mut config = AfXdpConfig::new(interface);
        if let Some(mode) = args.af_xdp.xdp_mode {
            config.mode = ModeChoice::Only(mode.into());
        }
        if args.af_xdp.replace_program {
            config.existing = Existing::Replace;
        }
        config.steering = steering(interface, args)?;
        config.busy_poll = args.af_xdp.busy_poll.map(|usecs| BusyPoll {
            usecs,
            ..BusyPoll::default()
        });
        let added = machine.add_af_xdp(config, &NicOptions::default());
        added.map_err(|error| explain(error.into(), interface))
    }

    /// Names the interface, and the option that helps.
    fn explain(error: anyhow::Error, interface: &str) -> anyhow::Error {
        let attached = |cause: &(dyn std::error::Error + 'static)| {
            let cause = cause.downcast_ref();
            matches!(cause, Some(AttachError::AlreadyAttached(_)))
        };
        if error.chain().any(attached) {
            return error.context(format!(
                "{interface} is in use; --replace-program takes the other program's place"
            ));
        }
        error.context(interface.to_owned())
    }

    impl From<XdpMode> for Mode {
        fn from(mode: XdpMode) -> Self {
            match mode {
                XdpMode::ZeroCopy => Self::ZeroCopy,
                XdpMode::Copy => Self::Copy,
                XdpMode::Skb => Self::Skb,
            }
        }
    }

    /// What is ours: by default, what goes to the stack's addresses.
    fn steering(interface: &str, args: &Run) -> Result<Steering> {
        let addresses = || args.address.iter().map(|cidr| cidr.address);
        let by_address = |rules| addresses().fold(rules, Steering::address);
        let mut rules = Steering::none();
        if args.af_xdp.steer.is_empty() {
            return Ok(by_address(rules));
        }
        for steer in &args.af_xdp.steer {
            rules = match *steer {
                Steer::All => return Ok(Steering::all()),
                Steer::Mac => rules.mac(station(interface)?).broadcast(),
                Steer::Ip => by_address(rules),
                Steer::Udp(first, last) => {
                    let rules = rules.ports(PortRule::new(Transport::Udp, first..=last));
                    addresses().fold(rules, Steering::ports_only_to)
                }
            };
        }
        Ok(rules)
    }

    fn station(interface: &str) -> Result<MacAddress> {
        let link = Interface::open(interface)?.link()?;
        link.mac
            .with_context(|| format!("{interface} has no station address: use another --steer"))
    }

    /// Says how the kernel hands frames over, and why not faster.
    pub(crate) fn announce(machine: &Machine, eth0: IfIndex) {
        let Some(nic) = machine.af_xdp(eth0) else {
            return;
        };
        let name = softnet::af_xdp::Kernel::name(nic.kernel());
        if let Some(mode) = nic.mode() {
            eprintln!("softnet: {name} in {mode} mode");
        }
        nic.kernel().with_refusals(|refusals| {
            for refusal in refusals {
                eprintln!("softnet: not in {refusal}");
            }
        });
    }
}

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn plug_in(_machine: &mut Machine, _interface: &str, _args: &Run) -> Result<IfIndex> {
    not_built_in()
}

#[cfg(not(feature = "af-xdp"))]
pub(crate) struct Tuned;

#[cfg(not(feature = "af-xdp"))]
#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "it stands for what is not built in"
)]
impl Tuned {
    pub(crate) fn before(_args: &Run) -> Result<Self> {
        Ok(Self)
    }

    pub(crate) fn look(&mut self, _machine: &Machine) -> Result<()> {
        Ok(())
    }

    pub(crate) fn restore(self) -> Result<()> {
        Ok(())
    }
}

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn announce(_machine: &Machine, _eth0: IfIndex) {}

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn machine(_config: &StackConfig, _interface: &str, _args: &Run) -> Result<Machine> {
    not_built_in()
}

#[cfg(not(feature = "af-xdp"))]
fn not_built_in<T>() -> Result<T> {
    anyhow::bail!(
        "this softnet was built without AF_XDP: build it with `cargo build --release --features af-xdp`"
    )
}
