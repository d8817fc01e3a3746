//! DPDK's `dpdk-testpmd` on the near end: rx-drop and l2fwd by the poll-mode driver for
//! XDP sockets.

use super::flood::Flood;
use super::forward::{Rates, Span, Task};
use super::lab::{Lab, NEAR, NEAR_STACK};
use crate::pair::CPUS;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The name in the rows.
pub const NAME: &str = "dpdk-testpmd";

/// Whether it is installed.
#[must_use]
pub fn is_installed() -> bool {
    let found = Command::new(NAME).arg("--version").output();
    found.is_ok()
}

/// A testpmd whose prompt is spoken to.
struct Testpmd {
    child: Child,
    say: ChildStdin,
    heard: BufReader<ChildStdout>,
}

impl Testpmd {
    fn start(task: Task) -> Result<Self> {
        let mode = match task {
            Task::RxDrop => "rxonly",
            Task::L2fwd => "macswap",
        };
        let cpu = CPUS[0];
        // Into a pipe it would say nothing before it has a page full.
        let mut child = Command::new("stdbuf")
            .args(["-oL", NAME, "--no-huge"])
            .args([
                "--no-shconf",
                "--no-pci",
                "-m",
                "512",
                "--log-level",
                "error",
            ])
            .args(["--lcores", &format!("(0,1)@{cpu}")])
            .args(["--vdev", &format!("net_af_xdp0,iface={NEAR},force_copy=1")])
            .args(["--", "-i", "--auto-start", "--nb-cores=1"])
            .args(["--forward-mode", mode, "--burst=64"])
            .args(["--total-num-mbufs=16384"])
            .args(["--rxd=1024", "--txd=1024"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("dpdk-testpmd does not start")?;
        let say = child.stdin.take().context("no prompt")?;
        let heard = child.stdout.take().context("no output")?;
        let mut new = Self {
            child,
            say,
            heard: BufReader::new(heard),
        };
        // The prompt is there, and forwarding has begun, when it answers.
        new.received()?;
        Ok(new)
    }

    /// Packets received so far.
    fn received(&mut self) -> Result<u64> {
        writeln!(self.say, "show port stats 0")?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.heard.read_line(&mut line)? == 0 {
                bail!("dpdk-testpmd has ended");
            }
            let Some((_, rest)) = line.split_once("RX-packets:") else {
                continue;
            };
            let count = rest.split_whitespace().next();
            return Ok(count.context("dpdk-testpmd does not count")?.parse()?);
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = writeln!(self.say, "quit");
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One run, as [`forward::run`](super::forward::run) does it.
///
/// # Errors
/// testpmd does not run here.
pub fn run(lab: &Lab, task: Task, span: Span) -> Result<Rates> {
    let mut testpmd = Testpmd::start(task)?;
    let flood = Flood::start(lab, NEAR_STACK)?;
    std::thread::sleep(span.warm_up);
    let (sent, arrived, received) = (flood.sent(), lab.arrived()?, testpmd.received()?);
    let start = Instant::now();
    std::thread::sleep(span.measured);
    let (sent, arrived) = (flood.sent() - sent, lab.arrived()? - arrived);
    let (received, seconds) = (testpmd.received()? - received, start.elapsed());
    flood.stop()?;
    let done = match task {
        Task::RxDrop => received,
        Task::L2fwd => arrived,
    };
    let rate = |count: u64| count as f64 / seconds.as_secs_f64() / 1e3;
    Ok(Rates {
        offered: rate(sent),
        done: rate(done),
    })
}
