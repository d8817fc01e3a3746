//! How an interface of the kernel spreads packets, as the stack wants to know it.

use softnet_af_xdp::netlink::RssView;
use softnet_netstack::rss::{INDIRECTION_LEN, KEY_LEN, Rss};

/// The hash and the table for [`StackConfig::rss`], with which a stack of so many
/// CPUs takes each flow for that of the CPU on whose queue the NIC delivers it: the
/// queues go to the CPUs in turn.
///
/// `None` if software cannot say what the NIC does: another hash, a table that
/// is too long, or ports that are not hashed. The stack steers packets itself then.
///
/// [`StackConfig::rss`]: softnet_netstack::StackConfig::rss
#[must_use]
pub fn rss_of(view: &RssView, cpus: usize) -> Option<Rss> {
    if view.udp_ports == Some(false) {
        return None;
    }
    let key = view.toeplitz_key::<KEY_LEN>()?;
    let queues = view.indirection::<INDIRECTION_LEN>()?;
    let count = u16::try_from(cpus).ok().filter(|count| *count > 0)?;
    Some(Rss::new(&key, count).with_indirection(queues.map(|queue| queue % count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use softnet_af_xdp::netlink::RssFunction;
    use softnet_netstack::rss::DEFAULT_KEY;

    /// Four queues, and a key of 52 bytes as some NICs have.
    fn view() -> RssView {
        RssView {
            key: [&DEFAULT_KEY[..], &[7; 12]].concat(),
            table: vec![3, 0, 1, 2],
            function: RssFunction::Toeplitz,
            symmetric: false,
            udp_ports: Some(true),
            queues: 4,
        }
    }

    #[test]
    fn a_flow_belongs_to_the_cpu_of_the_queue_that_it_comes_in_on() {
        let rss = rss_of(&view(), 2).unwrap();
        let cpus = [0, 1, 2, 3, 4].map(|hash| rss.cpu(hash));
        assert_eq!(cpus, [1, 0, 1, 0, 1]);
        // The flow and its hash are of the specification's examples.
        let remote = "66.9.149.187:2794".parse().unwrap();
        let local = "161.142.100.80:1766".parse().unwrap();
        assert_eq!(rss.cpu_of_flow(local, remote), rss.cpu(0x51cc_c178));
    }

    #[test]
    fn what_software_cannot_compute_is_left_to_steering() {
        let with = |change: fn(&mut RssView)| {
            let mut view = view();
            change(&mut view);
            rss_of(&view, 2).is_none()
        };
        assert!(with(|view| view.udp_ports = Some(false)));
        assert!(with(|view| view.function = RssFunction::Xor));
        assert!(with(|view| view.symmetric = true));
        assert!(with(|view| view.table = vec![0, 1, 2]));
        assert!(with(|view| view.key.truncate(16)));
    }
}
