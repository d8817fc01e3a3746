//! QEMU as a child process that does not outlive us.

use crate::QemuError;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};

/// So many bytes of what the program has said are of interest.
const SAID: usize = 4096;

/// The running program. It is killed with this value, and with this process however it
/// ends.
pub(crate) struct Process {
    child: Arc<Mutex<Option<Child>>>,
    said: File,
    /// The thread that has started the program, and what ends it: the kernel's word is
    /// that a child dies with the *thread* that made it.
    keeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Process {
    /// Starts `command`, which keeps `fds` open at their numbers.
    pub(crate) fn start(mut command: Command, fds: Vec<OwnedFd>) -> Result<Self, QemuError> {
        let said = File::from(rustix::fs::memfd_create(
            "qemu-stderr",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?);
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let child = Arc::new(Mutex::new(None));
        let place = Arc::clone(&child);
        let keeper = std::thread::Builder::new()
            .name("qemu".into())
            .spawn(move || {
                let started = spawn(command, &fds).map(|child| *lock(&place) = Some(child));
                drop(fds);
                if tell.send(started).is_ok() {
                    // Until the other half is dropped.
                    let _: Result<(), _> = ended.recv();
                }
            })?;
        let process = Self {
            child,
            said,
            keeper: Some((end, keeper)),
        };
        match told.recv() {
            Ok(started) => started?,
            Err(_) => return Err(QemuError::Ended(String::new())),
        }
        Ok(process)
    }

    /// Ends the program, if it runs.
    pub(crate) fn kill(&self) {
        if let Some(child) = &mut *lock(&self.child) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What the program has said so far.
    pub(crate) fn said(&self) -> String {
        let mut text = vec![0; SAID];
        // Not by the file's position, which is the program's.
        let len = self.said.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..len]);
        text.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some((end, keeper)) = self.keeper.take() {
            drop(end);
            // It does nothing that could panic.
            let _ = keeper.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(mut command: Command, fds: &[OwnedFd]) -> Result<Child, std::io::Error> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let prepare = move || prepare(&numbers);
    // SAFETY: between fork and exec the closure makes system calls only, and allocates
    // nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// What the child does before it becomes the program.
fn prepare(fds: &[RawFd]) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for &fd in fds {
        // SAFETY: the child has a copy of each descriptor that was open when it was
        // made, and these are owned by `spawn`'s caller until then.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        fcntl_setfd(fd, FdFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn shell(script: &str, fds: Vec<OwnedFd>) -> Process {
        // Not sh: some know only descriptors of one digit.
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        Process::start(command, fds).unwrap()
    }

    #[test]
    fn what_the_program_says_is_kept() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        let script = format!("echo no such thing >&2; echo done >&{fd}; exec {fd}>&-");
        let process = shell(&script, vec![theirs.into()]);
        let mut done = String::new();
        ours.read_to_string(&mut done).unwrap();
        assert_eq!(done, "done\n");
        assert_eq!(process.said(), "no such thing");
    }

    #[test]
    fn the_program_ends_with_the_value() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        drop(shell("exec sleep 1000", vec![theirs.into()]));
        // The end of the stream: nobody has the other end any more.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn the_program_outlives_the_thread_that_has_asked_for_it() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        let script = format!("read line <&{fd}; echo $line >&{fd}");
        let start = move || shell(&script, vec![theirs.into()]);
        let process = std::thread::spawn(start).join().unwrap();
        std::io::Write::write_all(&mut ours, b"still there\n").unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "still there\n");
        drop(process);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let result = Process::start(Command::new("/no/such/program"), Vec::new());
        assert!(matches!(result.err(), Some(QemuError::Io(_))));
    }
}
