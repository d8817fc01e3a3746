//! A UDP client on the kernel's sockets.

use serde::Serialize;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Datagrams that are sent to be echoed.
const DATAGRAMS: usize = 1000;
/// The longest payload that fits one packet of 1500 bytes.
const LONGEST: usize = 1472;
const PATIENCE: Duration = Duration::from_secs(1);
/// A port on which nobody listens: tcpmux, which has no UDP service.
const CLOSED: u16 = 1;

/// What the client saw.
#[derive(Debug, Serialize)]
pub(crate) struct ClientReport {
    /// Datagrams sent to the service echo.
    pub(crate) sent: usize,
    /// Of those, the ones that came back as they were.
    pub(crate) echoed: usize,
    /// The median of the round trips, in microseconds.
    pub(crate) rtt_median_us: f64,
    /// The longest one of 99 in 100 round trips, in microseconds.
    pub(crate) rtt_p99_us: f64,
    /// Whether a datagram to a closed port was answered with ICMP, so that the
    /// kernel refused the next one.
    pub(crate) refused: bool,
    /// Why the client gave up.
    pub(crate) error: Option<String>,
}

impl ClientReport {
    pub(crate) fn is_success(&self) -> bool {
        self.echoed == DATAGRAMS && self.refused
    }
}

/// Talks to the stack at `stack` from the kernel's address `kernel`.
pub(crate) fn run(kernel: IpAddr, stack: IpAddr) -> ClientReport {
    let mut round_trips = Vec::with_capacity(DATAGRAMS);
    let echoed = echo(kernel, stack, &mut round_trips);
    let refused = refused(kernel, stack);
    round_trips.sort_unstable();
    let rtt = |percent: usize| {
        let at = round_trips.len() * percent / 100;
        let found = round_trips.get(at).or(round_trips.last());
        found.map_or(0.0, |rtt: &Duration| rtt.as_secs_f64() * 1e6)
    };
    let error = echoed.err().or(refused.as_ref().err().map(describe));
    ClientReport {
        sent: DATAGRAMS,
        echoed: round_trips.len(),
        rtt_median_us: rtt(50),
        rtt_p99_us: rtt(99),
        refused: refused.unwrap_or(false),
        error,
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer within a second".to_owned(),
        _ => error.to_string(),
    }
}

fn connect(kernel: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(kernel, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    Ok(socket)
}

/// Sends datagrams of all lengths one after the other, and notes how long each
/// was under way.
fn echo(kernel: IpAddr, stack: IpAddr, round_trips: &mut Vec<Duration>) -> Result<(), String> {
    let socket = connect(kernel, SocketAddr::new(stack, 7)).map_err(|error| describe(&error))?;
    let mut answer = [0; LONGEST + 1];
    for turn in 0..DATAGRAMS {
        let payload = payload(turn);
        let start = Instant::now();
        socket.send(&payload).map_err(|error| describe(&error))?;
        let len = socket
            .recv(&mut answer)
            .map_err(|error| format!("datagram {turn}: {}", describe(&error)))?;
        if answer[..len] != payload {
            return Err(format!("datagram {turn} came back changed"));
        }
        round_trips.push(start.elapsed());
    }
    Ok(())
}

fn payload(turn: usize) -> Vec<u8> {
    let len = turn * LONGEST / (DATAGRAMS - 1);
    (0..len).map(|at| (at ^ turn) as u8).collect()
}

/// Whether the kernel hears that a port is closed.
fn refused(kernel: IpAddr, stack: IpAddr) -> io::Result<bool> {
    let socket = connect(kernel, SocketAddr::new(stack, CLOSED))?;
    socket.send(b"is anybody there?")?;
    match socket.recv(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}
