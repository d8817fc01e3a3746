//! Two hosts on a cable: one asks, the other echoes. No thread, no root, and
//! a virtual clock, so that every run does exactly the same.
//!
//!     cargo run --example udp_echo

use softnet::netstack::{StackConfig, UdpOptions, UdpSocket};
use softnet::nic_hal::wire::Wire;
use softnet::softirq::VirtualClock;
use softnet::wire::cable::{self, CableConfig};
use softnet::{Machine, MachineError, NicConfig, Time, run_together};
use std::error::Error;
use std::sync::Arc;

/// A host `10.0.0.N` with an emulated e1000 on its end of the cable.
fn host(n: u8, end: impl Wire + 'static, time: &Time) -> Result<Machine, MachineError> {
    let mut machine = Machine::new(&StackConfig::default(), time.clone())?;
    let nic = NicConfig {
        mac: Some(softnet::nic_hal::MacAddress([2, 0, 0, 0, 0, n])),
        ..NicConfig::default()
    };
    let eth0 = machine.add_e1000(Box::new(end), &nic)?;
    machine
        .stack_mut()
        .add_address(eth0, [10, 0, 0, n].into(), 24)?;
    Ok(machine)
}

/// Sends back what has come, in the frames that it came in.
fn echo(server: &mut UdpSocket) {
    while let Ok(datagram) = server.try_recv() {
        let from = datagram.from();
        if let Err((error, _)) = server.try_send_datagram(datagram, from) {
            eprintln!("no answer to {from}: {error}");
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let time = Time::Virtual(Arc::new(VirtualClock::new(0)));
    let (near, far) = cable::pair(&CableConfig::default());
    let mut hosts = [host(1, near, &time)?, host(2, far, &time)?];
    let options = UdpOptions::default();
    let mut client = hosts[0]
        .stack_mut()
        .udp_bind("10.0.0.1:0".parse()?, &options)?;
    let mut server = hosts[1]
        .stack_mut()
        .udp_bind("10.0.0.2:7".parse()?, &options)?;
    // The links come up.
    run_together(&mut hosts, 10_000_000)?;

    for word in ["ring", "interrupt", "softirq", "socket"] {
        client.try_send_to(word.as_bytes(), server.local_addr())?;
        run_together(&mut hosts, 1_000_000)?;
        echo(&mut server);
        run_together(&mut hosts, 1_000_000)?;
        let answer = client.try_recv()?;
        println!(
            "{} says: {}",
            answer.from(),
            String::from_utf8_lossy(&answer)
        );
    }
    println!("\n{}", hosts[1].report());
    Ok(())
}
