//! Hands an interface out to processes without privilege.

use crate::args::AfXdpHelper;
use anyhow::Result;
use std::process::ExitCode;

#[cfg(not(feature = "af-xdp"))]
pub(crate) fn run(args: &AfXdpHelper) -> Result<ExitCode> {
    anyhow::bail!(
        "this softnet cannot hand out {}, since it was built without AF_XDP: build it with `cargo build --release --features af-xdp`",
        args.interface
    )
}

#[cfg(feature = "af-xdp")]
pub(crate) use with_af_xdp::run;

#[cfg(feature = "af-xdp")]
mod with_af_xdp {
    use super::{AfXdpHelper, ExitCode, Result};
    use anyhow::Context;
    use softnet::af_xdp::bpf::Existing;
    use softnet::af_xdp::handover::{Helper, HelperConfig, uid_of};

    pub(crate) fn run(args: &AfXdpHelper) -> Result<ExitCode> {
        let mut config = HelperConfig::new(&args.interface);
        config.max_memory = args.max_memory.saturating_mul(1 << 20);
        if args.replace_program {
            config.existing = Existing::Replace;
        }
        let user = args.user.as_deref().map(uid).transpose()?;
        let helper = Helper::listen(config, &args.socket, user)?;
        let socket = args.socket.clone();
        // What was handed over stays with those that have it.
        ctrlc::set_handler(move || {
            let _ = std::fs::remove_file(&socket);
            std::process::exit(0);
        })?;
        let (interface, place) = (&args.interface, args.socket.display());
        eprintln!("softnet: {interface} is handed out at {place}");
        loop {
            helper.serve_one()?;
        }
    }

    fn uid(user: &str) -> Result<u32> {
        uid_of(user)?.with_context(|| format!("there is no user {user}"))
    }
}
