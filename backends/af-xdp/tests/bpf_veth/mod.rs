//! A veth pair in a network namespace of the calling thread.

use crate::support;
use softnet_af_xdp::bpf::{Program, ProgramOptions};
use softnet_test_support::skip;

/// The indexes of the two ends, `xdpa` and `xdpb`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Veth {
    pub(crate) a: u32,
    pub(crate) b: u32,
}

/// Runs the test in a network namespace of its own with a veth pair that is up,
/// or skips it where no program can be loaded.
pub(crate) fn on_veth(test: impl FnOnce(Veth) + Send + 'static) {
    if let Err(reason) = Program::load(&ProgramOptions::default()) {
        return skip(reason);
    }
    support::in_namespace(|| {
        support::veth("xdpa", "xdpb", 1);
        test(Veth {
            a: index("xdpa"),
            b: index("xdpb"),
        });
    });
}

pub(crate) fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}
