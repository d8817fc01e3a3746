//! UDP echo on an interface of the kernel, by one thread that does everything:
//! it fetches packets from the device's ring, takes them up the stack, answers, and
//! sleeps until more come, or looks for them without a pause.
//!
//!     cargo run --release --features af-xdp --example af_xdp_echo -- eth1 10.0.0.2/24 [spin]
//!
//! Only what goes to that address is taken from the interface.

use softnet::Machine;
use softnet::af_xdp::bpf::Steering;
use softnet::af_xdp::{AfXdpConfig, UmemConfig};
use softnet::netstack::{NicOptions, StackConfig, UdpOptions};
use std::net::{IpAddr, Ipv4Addr};

/// Echo (RFC 862).
const PORT: u16 = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "use: af_xdp_echo INTERFACE ADDRESS/LENGTH [spin]";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [interface, address, rest @ ..] = &arguments[..] else {
        return Err(usage.into());
    };
    let (address, prefix_len) = address.split_once('/').ok_or(usage)?;
    let (address, prefix_len): (IpAddr, u8) = (address.parse()?, prefix_len.parse()?);

    let mut machine = Machine::on_umem(&StackConfig::default(), UmemConfig::default())?;
    let mut config = AfXdpConfig::new(interface);
    config.steering = Steering::none().address(address);
    let eth0 = machine.add_af_xdp(config, &NicOptions::default())?;
    let stack = machine.stack_mut();
    stack.add_address(eth0, address, prefix_len)?;
    let any = (Ipv4Addr::UNSPECIFIED, PORT).into();
    let mut socket = stack.udp_bind(any, &UdpOptions::default())?;
    let device = machine.interface(eth0)?;
    eprintln!("echo on UDP port {PORT} of {address}");
    while !device.is_gone() {
        if rest.is_empty() {
            // Sleeps until something has come, or to look for the device again.
            let until_ns = machine.now_ns() + 1_000_000_000;
            machine.run_until(until_ns, |_| socket.is_readable())?;
        } else {
            machine.run_once();
        }
        while let Ok(datagram) = socket.try_recv() {
            let to = datagram.from();
            // The datagram goes back in the frame in which it came. When there is no
            // room it is lost, as datagrams may be.
            let _ = socket.try_send_datagram(datagram, to);
        }
    }
    Err("the interface is gone".into())
}
