//! The kernel's own `ping`, started as a program.

use serde::Serialize;
use softnet::wire::netns::Namespace;
use std::io::ErrorKind;
use std::net::IpAddr;

/// Echo requests that are sent.
pub(crate) const COUNT: u32 = 5;

/// What `ping` said.
#[derive(Debug, Serialize)]
pub(crate) struct PingReport {
    pub(crate) transmitted: u32,
    pub(crate) received: u32,
    /// What it printed.
    pub(crate) output: String,
    /// Why it could not be run.
    pub(crate) error: Option<String>,
}

impl PingReport {
    pub(crate) fn is_success(&self) -> bool {
        self.received == COUNT
    }

    fn failed(error: String) -> Self {
        Self {
            transmitted: 0,
            received: 0,
            output: String::new(),
            error: Some(error),
        }
    }
}

/// Pings `address` from the namespace.
pub(crate) fn run(namespace: &Namespace, address: IpAddr) -> PingReport {
    let (count, target) = (COUNT.to_string(), address.to_string());
    let mut command = namespace.command("ping");
    command.args(["-c", &count, "-i", "0.2", "-W", "2", &target]);
    command.env("LC_ALL", "C");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return PingReport::failed(
                "there is no ping: install the package iputils-ping (Debian, Ubuntu) or iputils"
                    .to_owned(),
            );
        }
        Err(error) => return PingReport::failed(format!("ping could not be run: {error}")),
    };
    let (transmitted, received) = summary(&String::from_utf8_lossy(&output.stdout));
    let text = [output.stdout, output.stderr].concat();
    PingReport {
        transmitted,
        received,
        output: String::from_utf8_lossy(&text).trim_end().to_owned(),
        error: None,
    }
}

/// The two numbers of `5 packets transmitted, 5 received, ...`.
fn summary(output: &str) -> (u32, u32) {
    let line = output.lines().find(|line| line.contains("transmitted"));
    let mut numbers = line.unwrap_or("").split(',').map(|part| {
        let first = part.split_ascii_whitespace().next();
        first.and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_each_ping_is_understood() {
        let iputils = "5 packets transmitted, 4 received, 20% packet loss, time 803ms";
        let busybox = "3 packets transmitted, 3 packets received, 0% packet loss";
        assert_eq!(summary(iputils), (5, 4));
        assert_eq!(summary(busybox), (3, 3));
        assert_eq!(summary("connect: Network is unreachable"), (0, 0));
    }
}
