//! What is measured: each row, once for all contenders.

use super::BATCH;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// UDP: its payload reaches the caller.
    Receive,
    /// UDP: its payload goes back to the sender.
    Echo,
    /// ICMP: the stack answers it.
    Ping,
}

/// To which sockets the datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// To all, each as often as any other.
    All,
    /// To the one that was opened last.
    Last,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What becomes of a frame.
    pub service: Service,
    /// Open sockets.
    pub sockets: usize,
    /// To which of them the datagrams go.
    pub spread: Spread,
    /// Frames that arrive together.
    pub batch: usize,
    /// Bytes behind the UDP or ICMP header.
    pub payload: usize,
}

/// Ethernet 14, IPv4 20, UDP or ICMP 8 bytes.
pub(super) const HEADERS: usize = 42;
/// Payload of a frame of 64 bytes, without FCS.
const SHORT: usize = 64 - HEADERS;
/// Payload that nearly fills a frame of MTU 1500.
const LONG: usize = 1460;

/// All rows, in the order of the table.
pub const SCENARIOS: [Scenario; 26] = {
    use Service::{Echo, Ping, Receive};
    use Spread::{All, Last};
    const fn row(service: Service, sockets: usize, spread: Spread, batch: usize) -> Scenario {
        Scenario {
            service,
            sockets,
            spread,
            batch,
            payload: SHORT,
        }
    }
    const fn long(service: Service, batch: usize) -> Scenario {
        Scenario {
            payload: LONG,
            ..row(service, 1, All, batch)
        }
    }
    [
        row(Receive, 1, All, 1),
        row(Receive, 1, All, BATCH),
        row(Receive, 100, All, 1),
        row(Receive, 100, All, BATCH),
        row(Receive, 10_000, All, 1),
        row(Receive, 10_000, All, BATCH),
        row(Receive, 10_000, Last, 1),
        row(Receive, 10_000, Last, BATCH),
        long(Receive, 1),
        long(Receive, BATCH),
        row(Echo, 1, All, 1),
        row(Echo, 1, All, BATCH),
        row(Echo, 100, All, 1),
        row(Echo, 100, All, BATCH),
        row(Echo, 10_000, All, 1),
        row(Echo, 10_000, All, BATCH),
        row(Echo, 10_000, Last, 1),
        row(Echo, 10_000, Last, BATCH),
        long(Echo, 1),
        long(Echo, BATCH),
        row(Ping, 1, All, 1),
        row(Ping, 1, All, BATCH),
        row(Ping, 100, All, 1),
        row(Ping, 100, All, BATCH),
        row(Ping, 10_000, All, 1),
        row(Ping, 10_000, All, BATCH),
    ]
};

impl Scenario {
    /// The group that its rows stand in.
    #[must_use]
    pub fn group(&self) -> &'static str {
        match self.service {
            Service::Receive => "udp receive",
            Service::Echo => "udp echo",
            Service::Ping => "icmp echo",
        }
    }

    /// Its name in the group.
    #[must_use]
    pub fn name(&self) -> String {
        let sockets = match (self.sockets, self.spread) {
            (1, _) => "1 socket".to_owned(),
            (many, Spread::All) => format!("{many} sockets"),
            (many, Spread::Last) => format!("last of {many} sockets"),
        };
        let how = match self.batch {
            1 => "one by one".to_owned(),
            batch => format!("by {batch}"),
        };
        let bytes = self.frame_len();
        format!("{bytes} B, {sockets}, {how}")
    }

    /// Whether it is short enough for a look.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.payload == SHORT && (self.sockets == 1 || self.spread == Spread::Last)
    }

    /// Bytes of a frame, without FCS.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        HEADERS + self.payload
    }

    /// The sockets that the frames go to, in turn. The order jumps by about 0.618
    /// of the range, which visits each socket once and leaves no part of the
    /// range out for long.
    pub(super) fn order(&self) -> Vec<usize> {
        let last = self.sockets.saturating_sub(1);
        match (self.spread, self.service) {
            (Spread::Last, _) | (_, Service::Ping) => vec![last],
            (Spread::All, _) => {
                let step = (self.sockets * 618 / 1000) | 1;
                let jump = (step..)
                    .step_by(2)
                    .find(|jump| gcd(*jump, self.sockets) == 1);
                let jump = jump.unwrap_or(1);
                (0..self.sockets).map(|n| n * jump % self.sockets).collect()
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
