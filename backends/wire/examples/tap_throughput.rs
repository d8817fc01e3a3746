//! How many frames of 64 bytes a TAP carries in a second, each way, without
//! anybody else in the measurement: the kernel's queue is filled before it is
//! read, and what is written is of an EtherType that the kernel drops.
//!
//! `cargo run --release -p softnet-wire --example tap_throughput`

use softnet_nic_hal::wire::Wire;
use softnet_wire::netns::Namespace;
use softnet_wire::tap::{Tap, TapConfig, TapIoChoice};
use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const FRAMES: u32 = 16_000;
const ROUNDS: u32 = 30;
const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 255);

fn main() -> Result<(), Box<dyn Error>> {
    let _namespace = Namespace::enter()?;
    for io in [TapIoChoice::Uring, TapIoChoice::Plain] {
        let mut tap = open(io)?;
        let read = median_rate(|| read(&mut tap))?;
        let written = median_rate(|| Ok(write(&mut tap)))?;
        println!(
            "{:?}: read {read:.2} Mpps, written {written:.2} Mpps",
            tap.io()
        );
    }
    Ok(())
}

fn open(io: TapIoChoice) -> Result<Tap, Box<dyn Error>> {
    let mut config = TapConfig::named("tap0");
    config.io = io;
    let mut tap = Tap::open(&config)?;
    tap.interface().set_ipv6_enabled(false)?;
    tap.interface().set_tx_queue_len(2 * FRAMES)?;
    tap.interface().set_address(KERNEL.into(), 24)?;
    tap.interface().set_up(true)?;
    tap.wait(Some(0));
    Ok(tap)
}

/// The median of the rounds, in millions of frames a second.
fn median_rate(
    mut round: impl FnMut() -> Result<(u32, Duration), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (frames, took) = round()?;
        rates.push(f64::from(frames) / took.as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

fn read(tap: &mut Tap) -> Result<(u32, Duration), Box<dyn Error>> {
    let socket = UdpSocket::bind((KERNEL, 0))?;
    socket.set_broadcast(true)?;
    for _ in 0..FRAMES {
        socket.send_to(&[0; 22], (BROADCAST, 9))?;
    }
    let started = Instant::now();
    let mut frames = 0;
    while tap.receive(0, 64, &mut |_| frames += 1) > 0 {}
    Ok((frames, started.elapsed()))
}

fn write(tap: &mut Tap) -> (u32, Duration) {
    let mut frame = [0; 64];
    frame[..6].fill(0xff);
    // The EtherType for local experiments (IEEE 802).
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let started = Instant::now();
    for _ in 0..FRAMES {
        // What is lost shows in the interface's counters.
        let _ = tap.transmit(&frame, 0);
    }
    tap.flush(0);
    (FRAMES, started.elapsed())
}
