//! Round trips of one datagram at a time, at a low rate: a kernel socket at the far end
//! asks, and the near end answers.

use super::echo;
use super::lab::{Lab, NEAR_KERNEL, NEAR_STACK};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use softnet::Machine;
use softnet::netstack::UdpOptions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

const PORT: u16 = 7;
/// From one question to the next.
const PAUSE: Duration = Duration::from_micros(200);
/// An answer that takes as long will not come.
const PATIENCE: Duration = Duration::from_secs(2);

/// How both ends wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// They sleep.
    Blocking,
    /// They look again and again.
    Spinning,
}

impl Waiting {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Blocking, Self::Spinning];

    /// The name in the rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Spinning => "busy polling",
        }
    }
}

/// One run: so many round trips, in nanoseconds.
///
/// # Errors
/// The kernel refuses, or no answer comes.
pub fn run(
    lab: &Lab,
    server: echo::Server,
    waiting: Waiting,
    trips: u32,
) -> Result<Histogram<u64>> {
    match server {
        echo::Server::Softnet => softnet(lab, waiting, trips),
        echo::Server::Kernel => kernel(lab, waiting, trips),
    }
}

type Asked = Receiver<Result<Histogram<u64>>>;

fn begin(lab: &Lab, to: Ipv4Addr, waiting: Waiting, trips: u32) -> Result<Asked> {
    lab.begin_at_far_end(move || ask(to, waiting, trips))
}

/// The result, when it is there.
fn answered(asked: &Asked) -> Result<Option<Histogram<u64>>> {
    match asked.try_recv() {
        Ok(result) => result.map(Some),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => bail!("the far thread has panicked"),
    }
}

fn softnet(lab: &Lab, waiting: Waiting, trips: u32) -> Result<Histogram<u64>> {
    let (mut machine, _) = echo::machine()?;
    let at = SocketAddr::from((NEAR_STACK, PORT));
    let mut socket = machine.stack_mut().udp_bind(at, &UdpOptions::default())?;
    let asked = begin(lab, NEAR_STACK, waiting, trips)?;
    let mut turns = 0_u32;
    loop {
        match waiting {
            Waiting::Spinning => {
                machine.run_once();
            }
            Waiting::Blocking => sleep(&mut machine, &socket)?,
        }
        let mut served = false;
        while let Ok(datagram) = socket.try_recv() {
            let from = datagram.from();
            let _ = socket.try_send_datagram(datagram, from);
            served = true;
        }
        if served {
            machine.run_once();
        }
        turns = turns.wrapping_add(1);
        // While it spins, the look is not to come between two packets.
        let look = waiting == Waiting::Blocking || turns.is_multiple_of(1 << 16);
        if look && let Some(result) = answered(&asked)? {
            return Ok(result);
        }
    }
}

/// Sleeps until a datagram is there, or for so long that the end is noticed.
fn sleep(machine: &mut Machine, socket: &softnet::netstack::UdpSocket) -> Result<()> {
    let until = machine.now_ns() + 100_000_000;
    machine.run_until(until, |_| socket.is_readable())?;
    Ok(())
}

fn kernel(lab: &Lab, waiting: Waiting, trips: u32) -> Result<Histogram<u64>> {
    let socket = UdpSocket::bind((NEAR_KERNEL, PORT))?;
    set(&socket, waiting, Duration::from_millis(100))?;
    let asked = begin(lab, NEAR_KERNEL, waiting, trips)?;
    let (mut buffer, mut turns) = ([0; 2048], 0_u32);
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => drop(socket.send_to(&buffer[..len], from)?),
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(error.into()),
        }
        turns = turns.wrapping_add(1);
        let look = waiting == Waiting::Blocking || turns.is_multiple_of(1 << 14);
        if look && let Some(result) = answered(&asked)? {
            return Ok(result);
        }
    }
}

fn set(socket: &UdpSocket, waiting: Waiting, patience: Duration) -> Result<()> {
    match waiting {
        Waiting::Blocking => socket.set_read_timeout(Some(patience))?,
        Waiting::Spinning => socket.set_nonblocking(true)?,
    }
    Ok(())
}

fn is_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The client.
fn ask(to: Ipv4Addr, waiting: Waiting, trips: u32) -> Result<Histogram<u64>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set(&socket, waiting, PATIENCE)?;
    socket.connect((to, PORT))?;
    let mut histogram = Histogram::new(3)?;
    // The first ones find neighbours and warm caches.
    let warm_up = 200;
    for trip in 0..trips + warm_up {
        let start = Instant::now();
        round_trip(&socket, trip, start)?;
        let ns = u64::try_from(start.elapsed().as_nanos())?;
        if trip >= warm_up {
            histogram.record(ns)?;
        }
        pause(waiting, start + PAUSE);
    }
    Ok(histogram)
}

fn round_trip(socket: &UdpSocket, trip: u32, start: Instant) -> Result<()> {
    let (question, mut answer) = (trip.to_be_bytes(), [0; 64]);
    socket.send(&question)?;
    loop {
        match socket.recv(&mut answer) {
            Ok(len) if answer[..len] == question => return Ok(()),
            Ok(_) => {}
            Err(error) if is_early(&error) && start.elapsed() < PATIENCE => {}
            Err(error) => return Err(error).context("no answer"),
        }
    }
}

fn pause(waiting: Waiting, until: Instant) {
    match waiting {
        Waiting::Blocking => {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        Waiting::Spinning => {
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
}
