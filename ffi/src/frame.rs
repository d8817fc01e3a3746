//! Datagrams without a copy: the frame that the NIC filled, lent to C.

use crate::address;
use crate::handle::{self, kind};
use crate::memory;
use crate::result::{Code, Error, boundary, softnet_result};
use crate::sock::{Wait, softnet_sock};
use libc::{c_int, sockaddr, sockaddr_storage, socklen_t};
use softnet::dma_ring::Frame;
use softnet::netstack::Datagram;

/// A frame that was borrowed from a stack.
pub struct softnet_frame {
    _opaque: [u8; 0],
}

/// The object behind a `softnet_frame`; `None` once it was sent.
pub(crate) type FrameObject = Option<Lent>;

kind!(softnet_frame, Frame, FrameObject, "frame");

/// What C has in its hands.
pub(crate) enum Lent {
    Received(Datagram),
    /// A send was refused and has given the frame back.
    Refused(Frame),
}

impl Lent {
    fn into_frame(self) -> Frame {
        match self {
            Self::Received(datagram) => datagram.into_frame(),
            Self::Refused(frame) => frame,
        }
    }
}

/// A datagram that was received without a copy.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct softnet_datagram {
    /// What is given back with softnet_frame_release() or softnet_frame_send().
    pub frame: *mut softnet_frame,
    /// The payload, which may be changed in place. It is the caller's until the
    /// frame is given back.
    pub data: *mut u8,
    /// Bytes of the payload.
    pub len: usize,
    /// When it was received, in nanoseconds of the stack's clock; UINT64_MAX if
    /// that is not known.
    pub timestamp_ns: u64,
    /// Who sent it.
    pub from: sockaddr_storage,
    /// To which of the stack's addresses, or to which broadcast address.
    pub to: sockaddr_storage,
}

/// Receives a datagram without a copy: `*out_datagram` points into the frame that
/// the NIC filled. `timeout_ms` and the results are those of softnet_recvfrom().
///
/// The frame is lent to the caller, who gives it back with
/// softnet_frame_release() or softnet_frame_send(). As long as it is lent the NIC
/// cannot use it: a stack has `frames` of them. Closing the socket, or freeing the
/// stack, does not take it back.
///
/// SOFTNET_RESULT_NO_RESOURCES: too many handles are open; the datagram is lost.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_recv_borrow(
    sock: *mut softnet_sock,
    timeout_ms: c_int,
    out_datagram: *mut softnet_datagram,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_datagram, "out_datagram")?;
        let sock = handle::shared(sock)?;
        let mut datagram = sock.receive(Wait::from_ms(timeout_ms))?;
        let payload = datagram.payload_mut();
        let (data, len) = (payload.as_mut_ptr(), payload.len());
        let (from, to) = (datagram.from(), datagram.to());
        let timestamp_ns = datagram.timestamp_ns().unwrap_or(u64::MAX);
        let lent = softnet_datagram {
            frame: handle::insert(Some(Lent::Received(datagram)))?,
            data,
            len,
            timestamp_ns,
            from: address::storage(from),
            to: address::storage(to),
        };
        // SAFETY: not NULL; the caller has room for a `softnet_datagram`.
        unsafe { memory::store(out_datagram, lent, "out_datagram") }
    })
}

/// Gives a borrowed frame back: its payload must not be touched any more.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_frame_release(frame: *mut softnet_frame) -> softnet_result {
    boundary(|| handle::remove(frame).map(drop))
}

/// Sends a borrowed frame, with its payload as it is now, to `addr`: an answer
/// without a copy. On success the frame is given back; after a failure it is still
/// the caller's, and can be sent again or released.
///
/// The results are those of softnet_sendto().
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_frame_send(
    sock: *mut softnet_sock,
    frame: *mut softnet_frame,
    addr: *const sockaddr,
    addrlen: socklen_t,
) -> softnet_result {
    boundary(|| {
        let sock = handle::shared(sock)?;
        // SAFETY: the caller has `addrlen` bytes there.
        let to = unsafe { address::read(addr, addrlen) }?;
        sock.with_socket(|socket| {
            handle::with(frame, |lent| {
                send(lent, |frame| socket.send_frame(frame, to))
            })?
        })?;
        // The slot is empty, and nobody else can have filled it.
        let _ = handle::remove(frame);
        Ok(())
    })
}

fn send<E: Into<Error>>(
    lent: &mut FrameObject,
    send: impl FnOnce(Frame) -> Result<(), (E, Frame)>,
) -> Result<(), Error> {
    let frame = lent.take().map(Lent::into_frame);
    // Another thread has sent it at this moment.
    let frame = frame.ok_or(Code::SOFTNET_RESULT_BAD_HANDLE)?;
    send(frame).map_err(|(error, frame)| {
        *lent = Some(Lent::Refused(frame));
        error.into()
    })
}
