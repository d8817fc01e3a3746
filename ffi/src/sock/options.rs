//! setsockopt(2) and getsockopt(2).

use super::object::State;
use super::softnet_sock;
use crate::handle;
use crate::memory;
use crate::result::{Code, Error, boundary, softnet_result};
use libc::{c_int, c_void, socklen_t};
use softnet::netstack::RMEM_MAX;

/// Sets an option of a socket: setsockopt(2). The value is an int.
///
/// - SOL_SOCKET, SO_RCVBUF: bytes of frames that may wait to be read, on each
///   CPU; at most 4 MiB. Unlike the kernel's it is not doubled.
/// - SOL_SOCKET, SO_BROADCAST: 1 allows datagrams to everybody.
/// - IPPROTO_IP, IP_TTL: time to live of what is sent, 1 to 255.
///
/// SOFTNET_RESULT_BOUND: options are set before the socket is bound, connected,
/// or sends.
/// SOFTNET_RESULT_UNSUPPORTED: there is no such option.
/// SOFTNET_RESULT_INVALID: the value is out of its range, or no int.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_setsockopt(
    sock: *mut softnet_sock,
    level: c_int,
    optname: c_int,
    optval: *const c_void,
    optlen: socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        let option = SockOption::find(level, optname)?;
        // SAFETY: the caller has `optlen` bytes there.
        let bytes = unsafe { memory::bytes(optval.cast(), optlen as usize, "optval") }?;
        let value = bytes.first_chunk().copied().map(c_int::from_ne_bytes);
        let value = value.ok_or_else(|| Error::invalid("the option's value is an int"))?;
        let mut state = sock.state()?;
        if state.socket.is_some() {
            let message = "options are set before the socket is bound";
            return Err(Error::new(Code::SOFTNET_RESULT_BOUND, message));
        }
        option.set(&mut state, value)
    })
}

/// Reads an option of a socket: getsockopt(2). The value is an int; `*optlen` says
/// how much room is there, and is told how many bytes were stored.
///
/// Those of softnet_setsockopt(), and:
///
/// - SOL_SOCKET, SO_TYPE: SOCK_DGRAM.
///
/// SOFTNET_RESULT_UNSUPPORTED: there is no such option.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_getsockopt(
    sock: *mut softnet_sock,
    level: c_int,
    optname: c_int,
    optval: *mut c_void,
    optlen: *mut socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        memory::wanted(optval, "optval")?;
        memory::wanted(optlen, "optlen")?;
        let value = match (level, optname) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_DGRAM,
            _ => SockOption::find(level, optname)?.value(&*sock.state()?),
        };
        // SAFETY: not NULL; the caller says there how much room it has.
        let room = unsafe { optlen.read_unaligned() } as usize;
        // SAFETY: the caller has room for so many bytes.
        let stored = unsafe { memory::copy_out(optval.cast(), room, &value.to_ne_bytes()) };
        // SAFETY: not NULL; the caller has room for a number.
        unsafe { memory::store(optlen, stored as socklen_t, "optlen") }
    })
}

#[derive(Clone, Copy)]
enum SockOption {
    ReceiveBuffer,
    Broadcast,
    Ttl,
}

impl SockOption {
    fn find(level: c_int, name: c_int) -> Result<Self, Error> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => Ok(Self::ReceiveBuffer),
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => Ok(Self::Broadcast),
            (libc::IPPROTO_IP, libc::IP_TTL) => Ok(Self::Ttl),
            _ => Err(Error::new(
                Code::SOFTNET_RESULT_UNSUPPORTED,
                format_args!("there is no option {name} at level {level}"),
            )),
        }
    }

    fn set(self, state: &mut State, value: c_int) -> Result<(), Error> {
        let options = &mut state.options;
        match self {
            Self::ReceiveBuffer => {
                let bytes = usize::try_from(value).ok().filter(|&bytes| bytes > 0);
                let bytes = bytes.ok_or_else(|| out_of_range("SO_RCVBUF", value))?;
                options.receive_buffer = bytes.min(RMEM_MAX);
            }
            Self::Broadcast => options.broadcast = value != 0,
            Self::Ttl => {
                let ttl = u8::try_from(value).ok().filter(|&ttl| ttl > 0);
                options.ttl = ttl.ok_or_else(|| out_of_range("IP_TTL", value))?;
            }
        }
        Ok(())
    }

    fn value(self, state: &State) -> c_int {
        match self {
            // At most 4 MiB.
            Self::ReceiveBuffer => state.options.receive_buffer as c_int,
            Self::Broadcast => state.options.broadcast.into(),
            Self::Ttl => state.options.ttl.into(),
        }
    }
}

fn out_of_range(name: &str, value: c_int) -> Error {
    Error::invalid(format_args!("{value} is out of the range of {name}"))
}
