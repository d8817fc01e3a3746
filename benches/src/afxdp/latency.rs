//! Round trips of one datagram at a time, at a low rate: a kernel socket at the far end
//! asks, and the near end answers.

use super::echo;
use super::lab::{Lab, NEAR_KERNEL, NEAR_STACK};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use softnet::Machine;
use softnet::netstack::UdpOptions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

const PORT: u16 = 7;
const WARM_UP: u32 = 50;
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

/// One run: so many round trips, in nanoseconds. Those during which the scheduler took
/// the CPU from either end are left out: they say nothing about either.
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

/// How often the scheduler took the CPU from the calling thread.
fn preemptions() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD)?.involuntary_context_switches())
}

/// A client at its work.
struct Asking {
    result: Receiver<Result<Histogram<u64>>>,
    /// The server's preemptions when it had last answered.
    disturbed: Arc<AtomicI64>,
}

impl Asking {
    fn begin(lab: &Lab, to: Ipv4Addr, waiting: Waiting, trips: u32) -> Result<Self> {
        let disturbed = Arc::<AtomicI64>::default();
        let seen = disturbed.clone();
        let result = lab.begin_at_far_end(move || ask(to, waiting, trips, &seen))?;
        Ok(Self { result, disturbed })
    }

    /// An answer is out; the client looks at this a while later.
    fn answered(&self) -> Result<()> {
        self.disturbed.store(preemptions()?, Ordering::SeqCst);
        Ok(())
    }

    /// The result, when it is there.
    fn ended(&self) -> Result<Option<Histogram<u64>>> {
        match self.result.try_recv() {
            Ok(result) => result.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("the far thread has panicked"),
        }
    }
}

fn softnet(lab: &Lab, waiting: Waiting, trips: u32) -> Result<Histogram<u64>> {
    let (mut machine, _) = echo::machine()?;
    let at = SocketAddr::from((NEAR_STACK, PORT));
    let mut socket = machine.stack_mut().udp_bind(at, &UdpOptions::default())?;
    let asking = Asking::begin(lab, NEAR_STACK, waiting, trips)?;
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
            asking.answered()?;
        }
        turns = turns.wrapping_add(1);
        // While it spins, the look is not to come between two packets.
        let look = waiting == Waiting::Blocking || turns.is_multiple_of(1 << 16);
        if look && let Some(result) = asking.ended()? {
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
    let asking = Asking::begin(lab, NEAR_KERNEL, waiting, trips)?;
    let (mut buffer, mut turns) = ([0; 2048], 0_u32);
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                socket.send_to(&buffer[..len], from)?;
                asking.answered()?;
            }
            Err(error) if is_early(&error) => {}
            Err(error) => return Err(error.into()),
        }
        turns = turns.wrapping_add(1);
        let look = waiting == Waiting::Blocking || turns.is_multiple_of(1 << 14);
        if look && let Some(result) = asking.ended()? {
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
fn ask(to: Ipv4Addr, waiting: Waiting, trips: u32, server: &AtomicI64) -> Result<Histogram<u64>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set(&socket, waiting, PATIENCE)?;
    socket.connect((to, PORT))?;
    let mut histogram = Histogram::new(3)?;
    let preempted = || Ok::<_, anyhow::Error>((preemptions()?, server.load(Ordering::SeqCst)));
    // The first ones find neighbours and warm caches.
    for trip in 0..trips + WARM_UP {
        let before = preempted()?;
        let start = Instant::now();
        round_trip(&socket, trip, start)?;
        let ns = u64::try_from(start.elapsed().as_nanos())?;
        pause(waiting, start + PAUSE);
        if trip >= WARM_UP && preempted()? == before {
            histogram.record(ns)?;
        }
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
