//! Datagrams of the kernel's sockets in batches: recvmmsg(2) and sendmmsg(2).

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Datagrams of one call.
pub(super) const BATCH: usize = 64;
/// Bytes of the longest one.
const LONGEST: usize = 2048;

/// Buffers for a batch, and what the kernel wants to know of them.
pub(super) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    // What the headers point to; it stays where it is.
    vectors: Box<[libc::iovec]>,
    _names: Box<[libc::sockaddr_in]>,
    _buffers: Box<[[u8; LONGEST]]>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut buffers = vec![[0; LONGEST]; BATCH].into_boxed_slice();
        let mut names = vec![no_name(); BATCH].into_boxed_slice();
        let mut vectors: Box<[_]> = buffers.iter_mut().map(vector).collect();
        let parts = vectors.iter_mut().zip(names.iter_mut());
        Self {
            headers: parts.map(|(vector, name)| header(vector, name)).collect(),
            vectors,
            _names: names,
            _buffers: buffers,
        }
    }

    /// Waits for datagrams, and takes those that are there.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for vector in &mut self.vectors {
            vector.iov_len = LONGEST;
        }
        // SAFETY: the headers point to buffers and names that live in this value.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Sends the first `count` back to where they came from. Returns how many were
    /// sent.
    pub(super) fn send_back(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        for (vector, header) in self.vectors.iter_mut().zip(&self.headers).take(count) {
            vector.iov_len = header.msg_len as usize;
        }
        // SAFETY: as in `receive`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count.min(BATCH) as u32,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn no_name() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: 0,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    }
}

fn vector(buffer: &mut [u8; LONGEST]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: LONGEST,
    }
}

fn header(vector: &mut libc::iovec, name: &mut libc::sockaddr_in) -> libc::mmsghdr {
    // SAFETY: all fields are integers and pointers, which may be zero.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Lets a socket hold so many bytes, whatever the system's limit is.
pub(super) fn force_receive_buffer(socket: &UdpSocket, bytes: i32) -> io::Result<()> {
    // SAFETY: the option's value is an int.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as u32,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
