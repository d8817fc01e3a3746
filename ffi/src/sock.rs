//! UDP sockets, in the manner of the kernel's.

mod object;
mod options;

pub(crate) use object::{SockObject, Wait};
pub use options::{softnet_getsockopt, softnet_setsockopt};

use crate::address;
use crate::handle::{self, kind};
use crate::memory;
use crate::result::{Code, Error, boundary, softnet_result};
use crate::stack::softnet_stack;
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::net::SocketAddr;
use std::sync::Arc;

/// A socket.
///
/// Any thread may use it at any time: calls wait for each other, but not for a
/// receive that waits for a datagram. Two receives cannot wait at once.
pub struct softnet_sock {
    _opaque: [u8; 0],
}

kind!(softnet_sock, Sock, Arc<SockObject>, "socket");

/// Makes a socket: socket(2). `domain` is AF_INET, `type` is SOCK_DGRAM,
/// `protocol` is 0 or IPPROTO_UDP.
///
/// The caller closes it with softnet_close(), or frees the stack.
///
/// SOFTNET_RESULT_UNSUPPORTED: any other kind of socket.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_socket(
    stack: *mut softnet_stack,
    domain: c_int,
    r#type: c_int,
    protocol: c_int,
    out_sock: *mut *mut softnet_sock,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_sock, "out_sock")?;
        let stack = handle::shared(stack)?;
        check_kind(domain, r#type, protocol)?;
        let sock = handle::insert(Arc::new(SockObject::new(stack.clone())))?;
        stack
            .own_sock(sock)
            .inspect_err(|_| drop(handle::remove(sock)))?;
        // SAFETY: not NULL; the caller has room for a handle.
        unsafe { memory::store(out_sock, sock, "out_sock") }
    })
}

fn check_kind(domain: c_int, kind: c_int, protocol: c_int) -> Result<(), Error> {
    let known = domain == libc::AF_INET
        && kind == libc::SOCK_DGRAM
        && [0, libc::IPPROTO_UDP].contains(&protocol);
    known.then_some(()).ok_or_else(|| {
        Error::new(
            Code::SOFTNET_RESULT_UNSUPPORTED,
            format_args!(
                "no socket of domain {domain}, type {kind}, protocol {protocol}: \
                 AF_INET, SOCK_DGRAM, 0 is what is supported"
            ),
        )
    })
}

/// Binds a socket to an address of the stack: bind(2). INADDR_ANY takes datagrams
/// to any of its addresses, port 0 asks for an ephemeral port.
///
/// SOFTNET_RESULT_ADDRESS_IN_USE, SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE,
/// SOFTNET_RESULT_BOUND: the socket is bound already.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_bind(
    sock: *mut softnet_sock,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // SAFETY: the caller has `addrlen` bytes there.
        sock.bind(unsafe { address::read(addr, addrlen) }?)
    })
}

/// Connects a socket: connect(2). It then receives from that peer alone, sends
/// there by default, and hears of ICMP errors. A socket that is not bound gets an
/// ephemeral port.
///
/// SOFTNET_RESULT_NETWORK_UNREACHABLE: there is no route to the peer.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_connect(
    sock: *mut softnet_sock,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // SAFETY: the caller has `addrlen` bytes there.
        sock.connect(unsafe { address::read(addr, addrlen) }?)
    })
}

/// Sends a datagram of `len` bytes to `addr`: sendto(2), without waiting. `buf`
/// is copied. A socket that is not bound gets an ephemeral port.
///
/// The datagram leaves when its CPU runs next: at once with threads, in the next
/// turn of an inline stack. What goes wrong later is the result of a later
/// receive.
///
/// SOFTNET_RESULT_WOULD_BLOCK: too many datagrams wait to be sent.
/// SOFTNET_RESULT_MESSAGE_TOO_LONG: it does not fit a frame.
/// SOFTNET_RESULT_NO_RESOURCES: all frames are in use.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_sendto(
    sock: *mut softnet_sock,
    buf: *const c_void,
    len: usize,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // SAFETY: the caller has `addrlen` bytes there.
        let to = unsafe { address::read(addr, addrlen) }?;
        // SAFETY: the caller has `len` bytes there.
        let payload = unsafe { memory::bytes(buf.cast(), len, "buf") }?;
        sock.send(payload, Some(to))
    })
}

/// Sends a datagram of `len` bytes to the connected peer: send(2). As
/// softnet_sendto() otherwise.
///
/// SOFTNET_RESULT_NOT_CONNECTED: there is no peer.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_send(
    sock: *mut softnet_sock,
    buf: *const c_void,
    len: usize,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // SAFETY: the caller has `len` bytes there.
        let payload = unsafe { memory::bytes(buf.cast(), len, "buf") }?;
        sock.send(payload, None)
    })
}

/// Receives a datagram into `buf`, which has room for `len` bytes: recvfrom(2).
/// What does not fit is lost. `*out_len` is told how many bytes were stored.
///
/// `timeout_ms` is how long to wait for a datagram, in milliseconds: 0 does not
/// wait, -1 waits for as long as it takes. An inline stack runs meanwhile, on the
/// calling thread; with a virtual clock the timeout is of that clock, and must
/// not be -1.
///
/// `addr` may be NULL. Otherwise `*addrlen` says how much room is there, and is
/// told how many bytes the sender's address has.
///
/// SOFTNET_RESULT_WOULD_BLOCK, SOFTNET_RESULT_TIMED_OUT: nothing came.
/// SOFTNET_RESULT_CLOSED: another thread closed the socket meanwhile.
/// SOFTNET_RESULT_BUSY: another thread waits for this socket's datagrams already.
/// SOFTNET_RESULT_CONNECTION_REFUSED and the like: what became of an earlier
/// datagram of a connected socket; the next call receives again.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_recvfrom(
    sock: *mut softnet_sock,
    buf: *mut c_void,
    len: usize,
    timeout_ms: c_int,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
    out_len: *mut usize,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // All is checked before a datagram is taken: it could not be put back.
        memory::check(buf.cast(), len, "buf")?;
        memory::wanted(out_len, "out_len")?;
        if !addr.is_null() {
            memory::wanted(addrlen, "addrlen")?;
        }
        let datagram = sock.receive(Wait::from_ms(timeout_ms))?;
        // SAFETY: the caller has room for `len` bytes there.
        let copied = unsafe { memory::copy_out(buf.cast(), len, &datagram) };
        // SAFETY: the caller has room for what `addrlen` says.
        unsafe { address::write(datagram.from(), addr, addrlen) }?;
        // SAFETY: the caller has room for a number.
        unsafe { memory::store(out_len, copied, "out_len") }
    })
}

/// The address that the socket is bound to: getsockname(2). Zeros if it is not
/// bound.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_getsockname(
    sock: *mut softnet_sock,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> softnet_result {
    boundary(|| {
        let local = handle::shared(sock)?.local()?;
        let local = local.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        memory::wanted(addr, "addr")?;
        // SAFETY: the caller has room for what `addrlen` says.
        unsafe { address::write(local, addr, addrlen) }
    })
}

/// The peer that the socket is connected to: getpeername(2).
///
/// SOFTNET_RESULT_NOT_CONNECTED: there is none.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_getpeername(
    sock: *mut softnet_sock,
    addr: *mut sockaddr,
    addrlen: *mut socklen_t,
) -> softnet_result {
    boundary(|| {
        let peer = handle::shared(sock)?.peer()?;
        memory::wanted(addr, "addr")?;
        let peer = peer.ok_or(Code::SOFTNET_RESULT_NOT_CONNECTED)?;
        // SAFETY: the caller has room for what `addrlen` says.
        unsafe { address::write(peer, addr, addrlen) }
    })
}

/// A file descriptor that poll(2) finds readable (POLLIN) when the socket may have
/// a datagram or an error: for event loops that wait for other things too.
///
/// Do nothing with it but wait. When it is readable, call softnet_recvfrom() or
/// softnet_recv_borrow() without a timeout until it says
/// SOFTNET_RESULT_WOULD_BLOCK; that makes it unreadable until the next datagram.
/// On an inline stack somebody has to run the stack meanwhile.
///
/// It belongs to the socket and is closed with it.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_poll_fd(
    sock: *mut softnet_sock,
    out_fd: *mut c_int,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        memory::wanted(out_fd, "out_fd")?;
        // SAFETY: not NULL; the caller has room for a number.
        unsafe { memory::store(out_fd, sock.poll_fd()?, "out_fd") }
    })
}

/// Closes a socket: close(2). Its handle is bad afterwards. A receive that waits
/// on another thread returns SOFTNET_RESULT_CLOSED.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_close(sock: *mut softnet_sock) -> softnet_result {
    boundary(|| {
        let object = handle::remove(sock)?;
        object.stack().disown_sock(sock);
        object.close();
        Ok(())
    })
}
