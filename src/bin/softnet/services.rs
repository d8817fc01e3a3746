//! The services echo (RFC 862), discard (RFC 863) and chargen (RFC 864) on UDP.

use serde::Serialize;
use softnet::Machine;
use softnet::netstack::{BindError, Datagram, Notify, RecvError, UdpOptions, UdpSocket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const DAYTIME: u16 = 13;
const QOTD: u16 = 17;
const CHARGEN: u16 = 19;

/// Datagrams that one service handles before the next one's turn.
const TURN: usize = 64;

/// The services, on a thread of their own.
pub(crate) struct Services {
    stop: Arc<AtomicBool>,
    notify: Arc<Notify>,
    counts: Arc<[Counts; 3]>,
    thread: Option<JoinHandle<()>>,
}

/// What a service has done.
#[derive(Default)]
struct Counts {
    received: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
}

/// What a service has done, for a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServiceReport {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Datagrams received.
    pub(crate) received: u64,
    /// Answers given to the stack.
    pub(crate) answered: u64,
    /// Answers that were not sent: the stack had no room, or the sender was
    /// itself a service, with which it would go on for ever.
    pub(crate) unanswered: u64,
}

/// The services by their place in all arrays.
const SERVICES: [(&str, u16); 3] = [("echo", ECHO), ("discard", DISCARD), ("chargen", CHARGEN)];

impl Services {
    /// Binds the sockets and starts the thread.
    pub(crate) fn start(machine: &mut Machine) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let notify = machine.stack().new_notify();
        let counts: Arc<[Counts; 3]> = Arc::default();
        let mut server = Server {
            sockets: bind_all(machine, &notify)?,
            notify: notify.clone(),
            stop: stop.clone(),
            counts: counts.clone(),
            characters: 0,
        };
        let thread = std::thread::Builder::new()
            .name("services".into())
            .spawn(move || server.serve())?;
        Ok(Self {
            stop,
            notify,
            counts,
            thread: Some(thread),
        })
    }

    pub(crate) fn report(&self) -> Vec<ServiceReport> {
        let services = SERVICES.iter().zip(&*self.counts);
        let reports = services.map(|(&(name, port), counts)| ServiceReport {
            name,
            port,
            received: counts.received.load(Ordering::Relaxed),
            answered: counts.answered.load(Ordering::Relaxed),
            unanswered: counts.unanswered.load(Ordering::Relaxed),
        });
        reports.collect()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.notify.notify();
        if let Some(thread) = self.thread.take() {
            // A panic has been told on standard error.
            let _ = thread.join();
        }
    }
}

fn bind_all(machine: &mut Machine, notify: &Arc<Notify>) -> Result<[UdpSocket; 3], BindError> {
    let options = UdpOptions {
        notify: Some(notify.clone()),
        ..UdpOptions::default()
    };
    let mut bind = |port| {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        machine.stack_mut().udp_bind(address, &options)
    };
    Ok([bind(ECHO)?, bind(DISCARD)?, bind(CHARGEN)?])
}

struct Server {
    sockets: [UdpSocket; 3],
    notify: Arc<Notify>,
    stop: Arc<AtomicBool>,
    counts: Arc<[Counts; 3]>,
    /// Answers of chargen so far: where in the pattern the next one starts.
    characters: usize,
}

impl Server {
    fn serve(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let mut handled = 0;
            for service in 0..SERVICES.len() {
                handled += self.turn(service);
            }
            if handled == 0 {
                let (sockets, stop) = (&self.sockets, &self.stop);
                self.notify.wait(None, || {
                    stop.load(Ordering::Acquire) || sockets.iter().any(UdpSocket::is_readable)
                });
            }
        }
    }

    fn turn(&mut self, service: usize) -> usize {
        for handled in 0..TURN {
            match self.sockets[service].try_recv() {
                Ok(datagram) => self.answer(service, datagram),
                Err(RecvError::WouldBlock) => return handled,
                // An answer that came back undeliverable: the peer has gone.
                Err(_) => {}
            }
        }
        TURN
    }

    fn answer(&mut self, service: usize, datagram: Datagram) {
        let counts = self.counts.clone();
        counts[service].received.fetch_add(1, Ordering::Relaxed);
        let (to, socket) = (datagram.from(), &mut self.sockets[service]);
        let answered = match SERVICES[service].1 {
            _ if is_service(to.port()) => false,
            ECHO => socket.try_send_datagram(datagram, to).is_ok(),
            CHARGEN => {
                self.characters = self.characters.wrapping_add(1);
                socket.try_send_to(&characters(self.characters), to).is_ok()
            }
            _ => return,
        };
        let count = if answered {
            &counts[service].answered
        } else {
            &counts[service].unanswered
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a port answers whatever comes: two of those never end.
fn is_service(port: u16) -> bool {
    [ECHO, DAYTIME, QOTD, CHARGEN].contains(&port)
}

/// The longest answer of chargen, in bytes (RFC 864).
const LONGEST: usize = 512;
/// The printing characters of ASCII, which the pattern goes through.
const PRINTING: usize = 95;

/// A datagram of 0 to 512 characters: lines of 72 of the printing characters,
/// each line shifted by one against the line before.
fn characters(turn: usize) -> Vec<u8> {
    // Spread over all lengths; that nobody can foretell them is not asked for.
    let len = turn.wrapping_mul(0x9e37) % (LONGEST + 1);
    let lines = (turn..).flat_map(|first| {
        let line = (first..first + 72).map(|at| b' ' + (at % PRINTING) as u8);
        line.chain(*b"\r\n")
    });
    lines.take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chargen_sends_lines_of_72_that_shift_by_one() {
        let longest = (1..2000).map(characters).max_by_key(Vec::len).unwrap();
        assert!(longest.len() <= LONGEST && longest.len() > 400);
        let lines: Vec<_> = longest.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines[0].len(), 73);
        assert_eq!(lines[0][1..72], lines[1][..71]);
        assert!(lines[0].ends_with(b"\r"));
    }
}
