//! This process and the kernel, as far as XDP sockets depend on them.

use super::Finding;
use crate::umem::UmemConfig;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// This process and the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Host {
    /// The kernel's release, as `6.18.3`.
    pub kernel: String,
    /// Which of the capabilities that matter this thread has in effect, by
    /// capabilities(7)'s names.
    pub capabilities: BTreeMap<&'static str, bool>,
    /// Whether the capabilities are those of the first user namespace; those of
    /// another one do not go for bpf(2).
    pub first_user_namespace: bool,
    /// Bytes of memory that may be locked without CAP_IPC_LOCK; `None` is any
    /// number.
    pub memlock: Option<u64>,
    /// The mode of the kernel's lockdown, as `none` or `integrity`; `None` if it
    /// cannot be seen.
    pub lockdown: Option<String>,
    /// Huge pages of the default size.
    pub huge_pages: HugePages,
    /// Whether io_uring may be used; `None` if the kernel does not say, which is
    /// so before 6.6.
    pub io_uring: Option<bool>,
}

/// Huge pages of the default size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct HugePages {
    /// Those that nobody uses.
    pub free: u64,
    /// Bytes of one; 0 if the kernel has none.
    pub bytes: u64,
}

/// What a capability is needed for.
const CAPABILITIES: [(&str, CapabilitySet); 5] = [
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_BPF", CapabilitySet::BPF),
    ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN),
    ("CAP_IPC_LOCK", CapabilitySet::IPC_LOCK),
];

impl Host {
    pub(super) fn read() -> Self {
        let uname = rustix::system::uname();
        let lockdown = read("/sys/kernel/security/lockdown");
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            capabilities: effective(),
            first_user_namespace: is_first_namespace(&read("/proc/self/uid_map")),
            memlock: memlock(),
            lockdown: lockdown_mode(&lockdown),
            huge_pages: huge_pages(&read("/proc/meminfo")),
            io_uring: io_uring(&read("/proc/sys/kernel/io_uring_disabled")),
        }
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability) == Some(&true)
    }

    /// Those that an XDP socket with its program needs and this thread lacks.
    fn missing(&self) -> Vec<&'static str> {
        let needed = ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF"];
        // CAP_BPF was split off CAP_SYS_ADMIN, which stands for it.
        let stands_in = |name: &str| name == "CAP_BPF" && self.has("CAP_SYS_ADMIN");
        let lacks = |name: &&str| !self.has(name) && !stands_in(name);
        needed.into_iter().filter(lacks).collect()
    }

    /// Whether the kernel's release is at least this one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        release(&self.kernel).is_none_or(|found| found >= (major, minor))
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn effective() -> BTreeMap<&'static str, bool> {
    let effective = capabilities(None).map(|sets| sets.effective);
    let effective = effective.unwrap_or(CapabilitySet::empty());
    let each = CAPABILITIES.into_iter();
    each.map(|(name, one)| (name, effective.contains(one)))
        .collect()
}

fn memlock() -> Option<u64> {
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map(|(soft, _)| soft);
    limit.ok().filter(|bytes| *bytes != RLIM_INFINITY)
}

/// The first namespace maps every user to himself (user_namespaces(7)).
fn is_first_namespace(uid_map: &str) -> bool {
    let mut words = uid_map.split_ascii_whitespace();
    [words.next(), words.next(), words.next()] == [Some("0"), Some("0"), Some("4294967295")]
}

/// The file lists the modes, the one in force in brackets.
fn lockdown_mode(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    Some(mode.to_owned())
}

fn huge_pages(meminfo: &str) -> HugePages {
    let value = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        let word = line.and_then(|line| line.split_ascii_whitespace().next());
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    HugePages {
        free: value("HugePages_Free:"),
        bytes: value("Hugepagesize:") * 1024,
    }
}

/// 0 is for everybody, 1 for a group, 2 for nobody.
fn io_uring(disabled: &str) -> Option<bool> {
    disabled.trim().parse::<u8>().ok().map(|mode| mode == 0)
}

fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|byte: char| !byte.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    vec![
        kernel(host),
        privileges(host),
        locked_memory(host),
        lockdown(host),
        pages(host),
        waiting(host),
    ]
}

fn kernel(host: &Host) -> Finding {
    let check = "kernel";
    let release = &host.kernel;
    if !host.is_at_least(5, 9) {
        let why = "XDP programs hang on a link, which Linux has from 5.9 on";
        return Finding::bad(check, format!("{release}: {why}"));
    }
    if !host.is_at_least(6, 6) {
        let why = "frames in several buffers need 6.6";
        return Finding::note(check, format!("{release}: {why}"));
    }
    Finding::good(check, release.as_str())
}

fn privileges(host: &Host) -> Finding {
    let check = "capabilities";
    let missing = host.missing();
    if !missing.is_empty() {
        let detail = format!(
            "{} missing: CAP_NET_RAW makes XDP sockets, CAP_NET_ADMIN and CAP_BPF load and attach the program",
            missing.join(", ")
        );
        return Finding::bad(check, detail).mend(setcap());
    }
    if !host.first_user_namespace {
        let detail = "all there, but of a user namespace: bpf(2) wants those of the first one";
        return Finding::bad(check, detail).mend("run it as root outside of the container");
    }
    let detail = "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF are there";
    match host.has("CAP_SYS_ADMIN") {
        true => Finding::good(check, detail),
        false => Finding::good(
            check,
            format!("{detail}; without CAP_SYS_ADMIN the programs of others have no name"),
        ),
    }
}

/// The command that gives this program the capabilities.
pub(super) fn setcap() -> String {
    let program = std::env::current_exe().ok();
    let path = program.map_or_else(|| "PROGRAM".to_owned(), |path| path.display().to_string());
    format!("sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep {path}")
}

/// Bytes of the UMEM that a NIC has by default.
fn umem_bytes() -> u64 {
    let config = UmemConfig::default();
    u64::from(config.chunks) * u64::from(config.chunk_size.bytes())
}

fn locked_memory(host: &Host) -> Finding {
    let check = "memlock";
    let need = umem_bytes();
    if host.has("CAP_IPC_LOCK") {
        return Finding::good(check, "no limit (CAP_IPC_LOCK)");
    }
    match host.memlock {
        None => Finding::good(check, "no limit"),
        Some(limit) if limit < need => {
            let detail = format!("{limit} bytes, less than a UMEM of {need} bytes");
            Finding::bad(check, detail).mend("ulimit -l unlimited")
        }
        Some(limit) => Finding::good(check, format!("{limit} bytes; a UMEM has {need}")),
    }
}

fn lockdown(host: &Host) -> Finding {
    let check = "lockdown";
    match host.lockdown.as_deref() {
        Some("none") => Finding::good(check, "off"),
        None => Finding::unknown(check, "/sys/kernel/security shows none; see what is tried"),
        Some("integrity") => Finding::good(check, "integrity, which allows XDP programs"),
        Some(mode) => {
            let detail = format!("{mode}: the kernel may refuse programs that read packets");
            Finding::note(check, detail)
        }
    }
}

fn pages(host: &Host) -> Finding {
    let check = "huge pages";
    let HugePages { free, bytes } = host.huge_pages;
    if bytes == 0 {
        return Finding::note(check, "this kernel has none: the UMEM gets ordinary pages");
    }
    let need = umem_bytes().div_ceil(bytes);
    if free >= need {
        return Finding::good(check, format!("{free} free, a UMEM takes {need}"));
    }
    let detail = format!("{free} free, a UMEM would take {need}: it gets ordinary pages");
    Finding::note(check, detail).mend(format!("sysctl vm.nr_hugepages={}", need * 2))
}

fn waiting(host: &Host) -> Finding {
    let io_uring = match host.io_uring {
        Some(true) => "io_uring is allowed too",
        Some(false) => "io_uring is turned off",
        None => "the kernel does not say whether io_uring is allowed",
    };
    Finding::good("waiting", format!("epoll; {io_uring}"))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn host() -> Host {
        Host {
            kernel: "6.18.3-amd64".into(),
            capabilities: CAPABILITIES.map(|(name, _)| (name, true)).into(),
            first_user_namespace: true,
            memlock: Some(8 << 20),
            lockdown: Some("none".into()),
            huge_pages: HugePages {
                free: 100,
                bytes: 2 << 20,
            },
            io_uring: Some(true),
        }
    }

    #[test]
    fn nothing_is_held_against_a_good_host() {
        let findings = findings(&host());
        assert!(findings.iter().all(|finding| finding.state == State::Good));
    }

    #[test]
    fn the_missing_capabilities_are_named_with_the_command() {
        let mut host = host();
        host.capabilities.insert("CAP_NET_RAW", false);
        host.capabilities.insert("CAP_BPF", false);
        // CAP_SYS_ADMIN stands for CAP_BPF.
        let finding = privileges(&host);
        assert!(finding.detail.starts_with("CAP_NET_RAW missing"));
        host.capabilities.insert("CAP_SYS_ADMIN", false);
        let finding = privileges(&host);
        assert!(finding.detail.starts_with("CAP_NET_RAW, CAP_BPF missing"));
        assert!(finding.remedy.unwrap().contains("setcap cap_net_raw"));
    }

    #[test]
    fn capabilities_of_another_user_namespace_do_not_go() {
        let mut host = host();
        host.first_user_namespace = false;
        assert_eq!(privileges(&host).state, State::Bad);
        assert!(is_first_namespace("         0          0 4294967295\n"));
        assert!(!is_first_namespace("         0       1000          1\n"));
    }

    #[test]
    fn memory_that_may_not_be_locked_counts_without_cap_ipc_lock_only() {
        let mut host = host();
        host.memlock = Some(64 << 10);
        assert_eq!(locked_memory(&host).state, State::Good);
        host.capabilities.insert("CAP_IPC_LOCK", false);
        assert_eq!(locked_memory(&host).state, State::Bad);
        host.memlock = None;
        assert_eq!(locked_memory(&host).state, State::Good);
    }

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        let mut host = host();
        for (text, state) in [
            ("5.4.0-42-generic", State::Bad),
            ("5.10.1", State::Note),
            ("6.6", State::Good),
            ("10.0-rc1", State::Good),
            ("unheard-of", State::Good),
        ] {
            host.kernel = text.into();
            assert_eq!(kernel(&host).state, state, "{text}");
        }
    }

    #[test]
    fn the_kernels_files_are_understood() {
        let text =
            "HugePages_Total:      16\nHugePages_Free:       12\nHugepagesize:       2048 kB\n";
        let (free, bytes) = (12, 2 << 20);
        assert_eq!(huge_pages(text), HugePages { free, bytes });
        assert_eq!(huge_pages(""), HugePages::default());
        assert_eq!(io_uring("0\n"), Some(true));
        assert_eq!(io_uring("2\n"), Some(false));
        assert_eq!(io_uring(""), None);
        let modes = "none [integrity] confidentiality\n";
        assert_eq!(lockdown_mode(modes).as_deref(), Some("integrity"));
        assert_eq!(lockdown_mode("[none] integrity\n").as_deref(), Some("none"));
        assert_eq!(lockdown_mode(""), None);
    }
}
