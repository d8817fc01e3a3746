//! A network namespace of the program's own, also without root.

use crate::interface::{Interface, InterfaceError};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

/// The program could not move into a namespace of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The kernel lets only a process of one thread change its user namespace,
    /// and a network namespace would hold for one thread only.
    #[error(
        "the process has {threads} threads: enter the namespace first in main, before any thread is started"
    )]
    Threads {
        /// Threads of the process.
        threads: usize,
    },
    /// The system allows no user namespaces to this user.
    #[error(
        "this system allows no user namespace to this user ({0}): see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run as root"
    )]
    Refused(#[source] io::Error),
    /// A file of /proc could not be used.
    #[error("{path}: {source}")]
    Proc {
        /// The file.
        path: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A second namespace could not be made.
    #[error("there is no thread in a network namespace of its own: {0}")]
    Beside(#[source] io::Error),
    /// The loopback interface could not be brought up.
    #[error("the loopback interface stays down: {0}")]
    Loopback(#[from] InterfaceError),
}

/// The proof that this process is in a network namespace of its own.
///
/// There is no way back: the namespace lives until the process and its
/// children have ended, and takes its interfaces with it.
#[derive(Debug)]
pub struct Namespace {
    user: bool,
}

impl Namespace {
    /// Moves this process into a new network namespace, in which it may do
    /// everything that root may do to a network, and brings loopback up.
    ///
    /// Without root, a user namespace comes with it (user_namespaces(7)), where
    /// the caller's user and group appear as 0.
    ///
    /// # Errors
    /// See [`NamespaceError`]. It must be called before the program starts a
    /// thread.
    pub fn enter() -> Result<Self, NamespaceError> {
        let threads = count_threads()?;
        if threads != 1 {
            return Err(NamespaceError::Threads { threads });
        }
        let user = match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => false,
            Err(_) => {
                enter_user_and_network()?;
                true
            }
        };
        Interface::open("lo")?.set_up(true)?;
        allow_ping_sockets();
        Ok(Self { user })
    }

    /// Whether a user namespace was needed, that is, whether the program runs
    /// without privilege.
    #[must_use]
    pub const fn is_unprivileged(&self) -> bool {
        self.user
    }

    /// A command that will run in the namespace. Children inherit it, so this
    /// is any command: the method only proves that the namespace is there.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        Command::new(program)
    }
}

/// A thread in another network namespace, to which a cable can lead.
///
/// What it opens and what it starts is in that namespace. The namespace ends with
/// the thread, or with the last socket that was opened in it.
#[derive(Debug)]
pub struct Beside {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    id: u32,
}

type Work = Box<dyn FnOnce() + Send>;

impl Beside {
    /// Makes a network namespace beside the caller's, with loopback up. That takes
    /// the right to do so: root's, or that of who has [entered](Namespace::enter) one.
    ///
    /// # Errors
    /// [`NamespaceError::Beside`], [`NamespaceError::Loopback`].
    pub fn new() -> Result<Self, NamespaceError> {
        let (work, to_do) = mpsc::channel::<Work>();
        let (tell, told) = mpsc::channel();
        let body = move || {
            let made = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid());
            let failed = made.is_err();
            if tell.send(made).is_err() || failed {
                return;
            }
            to_do.into_iter().for_each(|work| work());
        };
        let builder = Builder::new().name("beside".to_owned());
        let thread = builder.spawn(body).map_err(NamespaceError::Beside)?;
        let made = told.recv().map_err(|_| gone())?;
        let id = made.map_err(|error| NamespaceError::Beside(error.into()))?;
        let beside = Self {
            work: Some(work),
            thread: Some(thread),
            id: id.as_raw().unsigned_abs(),
        };
        beside.run(|| Interface::open("lo")?.set_up(true))??;
        Ok(beside)
    }

    /// The thread's number, by which `ip link set .. netns` knows the namespace.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Does `work` on the thread and waits for it.
    ///
    /// # Errors
    /// [`NamespaceError::Beside`] when earlier work, or this one, has panicked.
    pub fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, NamespaceError> {
        self.begin(work)?.recv().map_err(|_| gone())
    }

    /// Has `work` done on the thread. The result comes out of the channel, which
    /// closes without one if the work panics.
    ///
    /// # Errors
    /// [`NamespaceError::Beside`] when earlier work has panicked.
    pub fn begin<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<mpsc::Receiver<R>, NamespaceError> {
        let (result, done) = mpsc::channel();
        let work: Work = Box::new(move || {
            // Whoever asked may have given up.
            let _ = result.send(work());
        });
        let to = self.work.as_ref().ok_or_else(gone)?;
        to.send(work).map_err(|_| gone())?;
        Ok(done)
    }
}

/// The thread has ended, because its work has panicked.
fn gone() -> NamespaceError {
    NamespaceError::Beside(io::ErrorKind::BrokenPipe.into())
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told by `run`.
            let _ = thread.join();
        }
    }
}

fn enter_user_and_network() -> Result<(), NamespaceError> {
    let uid = nix::unistd::geteuid();
    let gid = nix::unistd::getegid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        Errno::EINVAL => NamespaceError::Threads {
            threads: count_threads().unwrap_or(0),
        },
        error => NamespaceError::Refused(error.into()),
    })?;
    // Without CAP_SETGID outside, a process must give up setgroups(2) before it
    // may map its group (user_namespaces(7)).
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_proc("/proc/self/gid_map", &format!("0 {gid} 1"))
}

fn count_threads() -> Result<usize, NamespaceError> {
    let path = "/proc/self/task";
    let entries = fs::read_dir(path).map_err(|source| NamespaceError::Proc { path, source })?;
    Ok(entries.count())
}

fn write_proc(path: &'static str, text: &str) -> Result<(), NamespaceError> {
    fs::write(path, text).map_err(|source| NamespaceError::Proc { path, source })
}

/// A new namespace allows ICMP datagram sockets to nobody. Where this fails,
/// `ping` falls back to a raw socket, for which it has the right in here.
fn allow_ping_sockets() {
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
}
