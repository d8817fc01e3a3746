//! A process that outlives this one by a moment, to put settings back when this
//! one is killed without having done it.
//!
//! The keeper is forked off a process that may have many threads, so it does
//! nothing but system calls on memory that was there before: no allocation, no
//! lock. It gives up all that it has inherited: descriptors, since a
//! `bpf_link` or an XDP socket lives until its last descriptor is closed, and
//! shared mappings, since the rings of a socket keep it open.

use super::undo;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, read, setsid};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Bytes of all the ways back that a keeper can hold.
const ROOM: usize = 64 * 1024;
/// Bytes of the longest single way back.
const LONGEST: usize = 16 * 1024;
/// Says that the settings were put back already.
const DISMISS: [u8; 1] = [0];
/// Attempts at a setting that is in use, 10 ms apart: sockets of the process that
/// was killed may be open for some time yet.
const TRIES: u32 = 500;

/// The process that stands by.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Pid,
    /// It ends when the other end is closed.
    orders: OwnedFd,
    used: usize,
}

impl Keeper {
    /// Starts the process.
    ///
    /// Its own system calls are all that it may fail by later, and those go to
    /// `generic`, a netlink socket of the right namespace.
    pub(super) fn start(generic: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (orders, inbox) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let parent = own_pidfd()?;
        let memory = Memory::new();
        // No handler of this process runs in the child, and Ctrl-C is not for it.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child calls `stand_by` alone, which neither allocates nor
        // takes a lock, and does not return.
        let forked = unsafe { fork() };
        if matches!(forked, Ok(ForkResult::Child)) {
            stand_by(inbox.as_fd(), parent.as_fd(), generic, memory);
        }
        before.thread_set_mask()?;
        match forked? {
            ForkResult::Parent { child: process } => Ok(Self {
                process,
                orders,
                used: 0,
            }),
            ForkResult::Child => Err(Errno::ECHILD),
        }
    }

    /// Has it put a setting back when this process ends. Once this returns, the
    /// setting may be changed.
    pub(super) fn remember(&mut self, undo: &[u8]) -> Result<(), Errno> {
        let used = self.used + undo.len() + Memory::HEADER;
        if used > ROOM || undo.len() > LONGEST {
            return Err(Errno::ENOSPC);
        }
        send(self.orders.as_raw_fd(), undo, MsgFlags::MSG_NOSIGNAL)?;
        self.used = used;
        Ok(())
    }

    /// Ends it, with everything put back already.
    pub(super) fn dismiss(self) {
        if send(self.orders.as_raw_fd(), &DISMISS, MsgFlags::MSG_NOSIGNAL).is_ok() {
            // Somebody who waits for all children may have taken it.
            let _ = waitpid(self.process, None);
        }
    }

    /// Has it put back everything when this process ends.
    pub(super) fn leave_it_all_to_it(self) {
        // It waits for the other end of its socket to be closed.
        std::mem::forget(self.orders);
    }
}

/// A descriptor that becomes readable when this process has ended.
fn own_pidfd() -> Result<OwnedFd, Errno> {
    let process = getpid().as_raw();
    // SAFETY: the call takes two numbers and makes a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor was just made, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the keeper has been told, in memory that was reserved before the fork:
/// each way back behind its length.
struct Memory {
    told: Vec<u8>,
    buffer: Vec<u8>,
    starts: Vec<usize>,
}

impl Memory {
    const HEADER: usize = 8;

    fn new() -> Self {
        Self {
            told: Vec::with_capacity(ROOM),
            buffer: vec![0; LONGEST],
            starts: Vec::with_capacity(ROOM / Self::HEADER),
        }
    }

    /// Takes one order; whether there is more to come.
    fn take(&mut self, inbox: BorrowedFd<'_>) -> Order {
        match recv(inbox.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Order::Restore,
            Ok(len) => self.keep(len),
            Err(Errno::EAGAIN) => Order::None,
            Err(Errno::EINTR) => Order::Taken,
            Err(_) => Order::Restore,
        }
    }

    fn keep(&mut self, len: usize) -> Order {
        let order = self.buffer.get(..len).unwrap_or(&[]);
        if order == DISMISS {
            return Order::Dismiss;
        }
        // The sender keeps within the room, so that this does not allocate.
        if self.told.len() + order.len() <= self.told.capacity()
            && self.starts.len() < self.starts.capacity()
        {
            self.starts.push(self.told.len());
            self.told.extend_from_slice(order);
        }
        Order::Taken
    }

    /// Puts everything back, the last change first.
    fn restore(&self, generic: BorrowedFd<'_>) {
        let mut end = self.told.len();
        for &start in self.starts.iter().rev() {
            let undo = self.told.get(start..end).unwrap_or(&[]);
            // There is nobody to tell.
            let _ = undo::run(generic, undo, TRIES);
            end = start;
        }
    }
}

enum Order {
    /// A way back was taken.
    Taken,
    /// There is none now.
    None,
    /// Put everything back.
    Restore,
    /// All was put back.
    Dismiss,
}

/// The life of the keeper.
fn stand_by(
    inbox: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    generic: BorrowedFd<'_>,
    mut memory: Memory,
) -> ! {
    // A session of its own: what is sent to the parent's process group does not
    // reach it.
    let _ = setsid();
    let _ = nix::sys::prctl::set_name(c"softnet-keeper");
    close_others([inbox, parent, generic].map(|fd| fd.as_raw_fd()));
    unmap_shared();
    if wait_for_the_end(inbox, parent, &mut memory) {
        memory.restore(generic);
    }
    // SAFETY: `_exit` ends the process; nothing of it runs any more.
    unsafe { libc::_exit(0) }
}

/// Takes orders until the parent has ended; whether it left settings changed.
fn wait_for_the_end(inbox: BorrowedFd<'_>, parent: BorrowedFd<'_>, memory: &mut Memory) -> bool {
    loop {
        let mut fds = [
            PollFd::new(inbox, PollFlags::POLLIN),
            PollFd::new(parent, PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE);
        let ended = fds[1].any() == Some(true);
        match drain(inbox, memory) {
            Order::Dismiss => return false,
            Order::Restore => return true,
            _ if ended => return true,
            _ => {}
        }
    }
}

fn drain(inbox: BorrowedFd<'_>, memory: &mut Memory) -> Order {
    loop {
        match memory.take(inbox) {
            Order::Taken => {}
            order => return order,
        }
    }
}

/// Closes every descriptor but these.
fn close_others(mut keep: [RawFd; 3]) {
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        close_range(first, fd - 1);
        first = fd + 1;
    }
    close_range(first, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: the process owns all its descriptors, and uses only those
        // that the caller leaves out.
        let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Unmaps all shared mappings. The text of `/proc/self/maps` has one mapping a
/// line, as `7f12a000-7f12b000 rw-s ...` (proc_pid_maps(5)).
fn unmap_shared() {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let Ok(maps) = open(c"/proc/self/maps", flags, Mode::empty()) else {
        return;
    };
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = read(&maps, &mut buffer) {
        for byte in buffer.iter().take(len) {
            if let Some((start, end)) = lines.shared_mapping(*byte) {
                unmap(start, end);
            }
        }
    }
}

fn unmap(start: usize, end: usize) {
    let at = std::ptr::without_provenance_mut(start);
    // SAFETY: the mapping is shared memory of the process that this one was
    // forked from. This one's code, stack and heap are private mappings, and it
    // holds no reference to anything else.
    let _ = unsafe { libc::munmap(at, end.wrapping_sub(start)) };
}

/// Reads the beginning of each line, byte by byte.
#[derive(Default)]
struct Lines {
    /// The numbers so far: start and end.
    numbers: [usize; 2],
    /// Which field this is: start, end, flags, the rest.
    field: usize,
    /// How many bytes of the flags there were.
    flags: usize,
}

impl Lines {
    /// A mapping, when its fourth flag turns out to be `s`.
    fn shared_mapping(&mut self, byte: u8) -> Option<(usize, usize)> {
        match (self.field, byte) {
            (_, b'\n') => *self = Self::default(),
            (0, b'-') | (1 | 2, b' ') => self.field += 1,
            (field @ (0 | 1), digit) => {
                let value = char::from(digit).to_digit(16).unwrap_or(0);
                self.numbers[field] = (self.numbers[field] << 4) | value as usize;
            }
            (2, flag) => {
                self.flags += 1;
                return (self.flags == 4 && flag == b's').then_some(self.numbers.into());
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_mappings_are_found_and_no_other() {
        let text = "55d0c000-55d0e000 r--p 00000000 08:01 12 /bin/s-s s\n\
                    7f12a000-7f12b000 rw-s 80000000 00:08 9999 socket:[9999]\n\
                    7f12c000-7f12d000 ---p 00000000 00:00 0\n\
                    7ffd0000-7ffd1000 r--s 00000000 00:0f 3 anon_inode:[io_uring]\n";
        let mut lines = Lines::default();
        let found: Vec<_> = text
            .bytes()
            .filter_map(|byte| lines.shared_mapping(byte))
            .collect();
        let expected = [(0x7f12_a000, 0x7f12_b000), (0x7ffd_0000, 0x7ffd_1000)];
        assert_eq!(found, expected);
    }

    #[test]
    fn more_than_the_keeper_can_hold_is_refused_before_the_change() {
        let generic = undo::generic_socket().unwrap();
        let mut keeper = Keeper::start(generic.as_fd()).unwrap();
        let long = vec![9; LONGEST + 1];
        assert_eq!(keeper.remember(&long), Err(Errno::ENOSPC));
        let whole = vec![9; LONGEST];
        let taken = (0..10).map_while(|_| keeper.remember(&whole).ok()).count();
        assert_eq!(taken, ROOM / LONGEST - 1);
        keeper.dismiss();
    }

    #[test]
    fn a_keeper_that_is_dismissed_has_ended() {
        let generic = undo::generic_socket().unwrap();
        let keeper = Keeper::start(generic.as_fd()).unwrap();
        let process = keeper.process;
        assert_eq!(nix::sys::signal::kill(process, None), Ok(()));
        keeper.dismiss();
        assert_eq!(nix::sys::signal::kill(process, None), Err(Errno::ESRCH));
    }

    #[test]
    fn a_keeper_holds_nothing_that_this_process_has_open_or_mapped() {
        let file = nix::sys::memfd::memfd_create(c"shared", nix::sys::memfd::MFdFlags::empty());
        let file = std::fs::File::from(file.unwrap());
        file.set_len(4096).unwrap();
        let (null, shared) = (std::ptr::null_mut(), libc::MAP_SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let mapped =
            unsafe { libc::mmap(null, 4096, libc::PROT_READ, shared, file.as_raw_fd(), 0) };
        assert_ne!(mapped, libc::MAP_FAILED);
        let generic = undo::generic_socket().unwrap();
        let keeper = Keeper::start(generic.as_fd()).unwrap();
        let process = keeper.process;
        let has_mapping = || {
            let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
            maps.contains("memfd:shared")
        };
        let descriptors = || {
            std::fs::read_dir(format!("/proc/{process}/fd"))
                .unwrap()
                .count()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // The socket for orders, the one for netlink, and the pidfd.
        while has_mapping() || descriptors() != 3 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        keeper.dismiss();
        // SAFETY: the mapping was made above, and nothing refers to it.
        unsafe { libc::munmap(mapped, 4096) };
    }
}
