//! Whether an interface will do as a NIC, and what would make it do better.
//!
//! [`examine`] looks at this process, the kernel and the interface, then tries
//! to open the interface in each mode, and tells all of it as [`Finding`]s: how
//! it stands, why, and the command that mends it.

mod explain;
mod host;
mod nic;
mod trial;

pub use host::{Host, HugePages};
pub use nic::{Nic, XdpSupport};
pub use trial::{Failure, Trial};

use crate::mode::Mode;
use crate::netlink::{Interface, NetlinkError};
use serde::Serialize;

/// What was found out about an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The interface.
    pub interface: String,
    /// Whether it can be used, as far as it was tried.
    pub verdict: Verdict,
    /// The best mode in which a socket was opened, by its name.
    #[serde(serialize_with = "name_of_best")]
    pub mode: Option<Mode>,
    /// This process and the kernel.
    pub host: Host,
    /// The interface; `None` if there is no such interface.
    pub nic: Option<Nic>,
    /// What was tried.
    pub trials: Vec<Trial>,
    /// All of it in words, what is wrong first where it matters first: the host,
    /// the interface, the trials.
    pub findings: Vec<Finding>,
}

/// Whether an interface can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A socket was opened in some mode, and nothing else is in the way.
    Works,
    /// Something is in the way.
    Fails,
    /// Nothing was found against it, and nothing was tried.
    Untried,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it stands.
    pub state: State,
    /// What is so, and why it matters.
    pub detail: String,
    /// What to run against it.
    pub remedy: Option<String>,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// It works, and could be better; or it is good to know.
    Note,
    /// It could not be found out.
    Unknown,
    /// It does not work.
    Bad,
}

impl State {
    /// Its name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Bad => "no",
        }
    }
}

impl Finding {
    fn new(check: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self {
            check,
            state,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, State::Good, detail)
    }

    fn note(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, State::Note, detail)
    }

    fn unknown(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, State::Unknown, detail)
    }

    fn bad(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, State::Bad, detail)
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }
}

/// How far an examination may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// Open the interface in each mode, for a moment and with a program that takes
    /// no frame. Some drivers reset the link when a program is attached.
    #[default]
    Try,
    /// Only look.
    Look,
}

/// Examines the interface called `interface`, of the calling thread's network
/// namespace.
///
/// There is no error: what cannot be found out is a finding.
#[must_use]
pub fn examine(interface: &str, extent: Extent) -> Report {
    let host = Host::read();
    let mut findings = host::findings(&host);
    let (nic, trials) = match Interface::open(interface) {
        Ok(opened) => examine_nic(&opened, &host, extent, &mut findings),
        Err(error) => {
            findings.push(missing(&error));
            (None, Vec::new())
        }
    };
    let mode = best(&trials);
    Report {
        interface: interface.to_owned(),
        verdict: verdict(&findings, &trials),
        mode,
        host,
        nic,
        trials,
        findings,
    }
}

/// The best mode that works.
fn best(trials: &[Trial]) -> Option<Mode> {
    let working = trials.iter().filter(|trial| trial.works());
    working.map(|trial| trial.mode).min()
}

fn missing(error: &NetlinkError) -> Finding {
    Finding::bad("interface", error.to_string()).mend("ip -br link")
}

fn examine_nic(
    interface: &Interface,
    host: &Host,
    extent: Extent,
    findings: &mut Vec<Finding>,
) -> (Option<Nic>, Vec<Trial>) {
    let nic = match Nic::read(interface) {
        Ok(nic) => nic,
        Err(error) => {
            findings.push(missing(&error));
            return (None, Vec::new());
        }
    };
    findings.extend(nic::findings(&nic, host));
    let trials = match extent {
        Extent::Try => trial::all(&nic),
        Extent::Look => Vec::new(),
    };
    if let Some(best) = best(&trials) {
        findings.push(trial::metadata(&nic, best));
    }
    findings.extend(trials.iter().map(Trial::finding));
    (Some(nic), trials)
}

/// What is wrong with the host or the interface counts even where a socket can be
/// opened: no frame passes a link that is down.
fn verdict(findings: &[Finding], trials: &[Trial]) -> Verdict {
    let tried = findings.len() - trials.len();
    let wrong = |finding: &Finding| finding.state == State::Bad;
    match trials {
        _ if findings.iter().take(tried).any(wrong) => Verdict::Fails,
        [] => Verdict::Untried,
        trials if trials.iter().any(Trial::works) => Verdict::Works,
        _ => Verdict::Fails,
    }
}

fn name_of_best<S: serde::Serializer>(mode: &Option<Mode>, to: S) -> Result<S::Ok, S::Error> {
    match mode {
        Some(mode) => to.serialize_str(mode.name()),
        None => to.serialize_none(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn name_of_mode<S: serde::Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.name())
}
