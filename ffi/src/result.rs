//! The one convention of all functions: a result, and the sentence behind it.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call came to. Zero is success, everything else is negative.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum softnet_result {
    /// The call did what it was asked to do.
    SOFTNET_RESULT_OK = 0,
    /// A pointer or a handle is NULL that must not be.
    SOFTNET_RESULT_NULL = -1,
    /// The handle was freed or closed already, or was never given out.
    SOFTNET_RESULT_BAD_HANDLE = -2,
    /// The handle is of another kind, such as a NIC's for a socket's.
    SOFTNET_RESULT_WRONG_KIND = -3,
    /// Another thread waits for the socket's datagrams already.
    SOFTNET_RESULT_BUSY = -4,
    /// An argument makes no sense; softnet_last_error() says which and why.
    SOFTNET_RESULT_INVALID = -5,
    /// The address family, the socket type or the option is not supported.
    SOFTNET_RESULT_UNSUPPORTED = -6,
    /// There is nothing to receive now, or no room to send now.
    SOFTNET_RESULT_WOULD_BLOCK = -7,
    /// Nothing came until the time was up.
    SOFTNET_RESULT_TIMED_OUT = -8,
    /// Another thread closed the socket, or freed its stack, meanwhile.
    SOFTNET_RESULT_CLOSED = -9,
    /// Another socket is bound to the address.
    SOFTNET_RESULT_ADDRESS_IN_USE = -10,
    /// It is not an address of this stack.
    SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE = -11,
    /// There is no route, or a router said so of an earlier datagram.
    SOFTNET_RESULT_NETWORK_UNREACHABLE = -12,
    /// The host of an earlier datagram does not answer.
    SOFTNET_RESULT_HOST_UNREACHABLE = -13,
    /// Nobody listened on the port of an earlier datagram.
    SOFTNET_RESULT_CONNECTION_REFUSED = -14,
    /// The datagram is too long.
    SOFTNET_RESULT_MESSAGE_TOO_LONG = -15,
    /// The socket is not connected, and no destination was given.
    SOFTNET_RESULT_NOT_CONNECTED = -16,
    /// The socket is bound already: bind it once, and set options before.
    SOFTNET_RESULT_BOUND = -17,
    /// The destination is a broadcast address and SO_BROADCAST is not set.
    SOFTNET_RESULT_PROHIBITED = -18,
    /// All frames, ports or handles are in use.
    SOFTNET_RESULT_NO_RESOURCES = -19,
    /// There is such an address or route already.
    SOFTNET_RESULT_EXISTS = -20,
    /// There is no such device, address or file.
    SOFTNET_RESULT_NOT_FOUND = -21,
    /// The call does not fit how the stack runs: inline, on threads, or with
    /// another clock.
    SOFTNET_RESULT_STATE = -22,
    /// The NIC refused.
    SOFTNET_RESULT_DEVICE = -23,
    /// The operating system refused.
    SOFTNET_RESULT_SYSTEM = -24,
    /// A defect of the library. The object may only be freed after this.
    SOFTNET_RESULT_PANIC = -25,
}

pub(crate) use softnet_result as Code;

impl Code {
    const ALL: [Self; 26] = [
        Self::SOFTNET_RESULT_OK,
        Self::SOFTNET_RESULT_NULL,
        Self::SOFTNET_RESULT_BAD_HANDLE,
        Self::SOFTNET_RESULT_WRONG_KIND,
        Self::SOFTNET_RESULT_BUSY,
        Self::SOFTNET_RESULT_INVALID,
        Self::SOFTNET_RESULT_UNSUPPORTED,
        Self::SOFTNET_RESULT_WOULD_BLOCK,
        Self::SOFTNET_RESULT_TIMED_OUT,
        Self::SOFTNET_RESULT_CLOSED,
        Self::SOFTNET_RESULT_ADDRESS_IN_USE,
        Self::SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE,
        Self::SOFTNET_RESULT_NETWORK_UNREACHABLE,
        Self::SOFTNET_RESULT_HOST_UNREACHABLE,
        Self::SOFTNET_RESULT_CONNECTION_REFUSED,
        Self::SOFTNET_RESULT_MESSAGE_TOO_LONG,
        Self::SOFTNET_RESULT_NOT_CONNECTED,
        Self::SOFTNET_RESULT_BOUND,
        Self::SOFTNET_RESULT_PROHIBITED,
        Self::SOFTNET_RESULT_NO_RESOURCES,
        Self::SOFTNET_RESULT_EXISTS,
        Self::SOFTNET_RESULT_NOT_FOUND,
        Self::SOFTNET_RESULT_STATE,
        Self::SOFTNET_RESULT_DEVICE,
        Self::SOFTNET_RESULT_SYSTEM,
        Self::SOFTNET_RESULT_PANIC,
    ];

    const fn text(self) -> &'static CStr {
        match self {
            Self::SOFTNET_RESULT_OK => c"success",
            Self::SOFTNET_RESULT_NULL => c"a pointer or handle is NULL",
            Self::SOFTNET_RESULT_BAD_HANDLE => c"the handle is closed, or never was one",
            Self::SOFTNET_RESULT_WRONG_KIND => c"the handle is of another kind",
            Self::SOFTNET_RESULT_BUSY => c"another thread waits for the socket already",
            Self::SOFTNET_RESULT_INVALID => c"an argument makes no sense",
            Self::SOFTNET_RESULT_UNSUPPORTED => c"not supported",
            Self::SOFTNET_RESULT_WOULD_BLOCK => c"the call would have to wait",
            Self::SOFTNET_RESULT_TIMED_OUT => c"nothing came in time",
            Self::SOFTNET_RESULT_CLOSED => c"the socket or its stack was closed meanwhile",
            Self::SOFTNET_RESULT_ADDRESS_IN_USE => c"another socket has the address",
            Self::SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE => c"not an address of this stack",
            Self::SOFTNET_RESULT_NETWORK_UNREACHABLE => c"the network cannot be reached",
            Self::SOFTNET_RESULT_HOST_UNREACHABLE => c"the host cannot be reached",
            Self::SOFTNET_RESULT_CONNECTION_REFUSED => c"nobody listens on that port",
            Self::SOFTNET_RESULT_MESSAGE_TOO_LONG => c"the datagram is too long",
            Self::SOFTNET_RESULT_NOT_CONNECTED => c"the socket is not connected",
            Self::SOFTNET_RESULT_BOUND => c"the socket is bound already",
            Self::SOFTNET_RESULT_PROHIBITED => c"broadcasting was not asked for",
            Self::SOFTNET_RESULT_NO_RESOURCES => c"all frames, ports or handles are in use",
            Self::SOFTNET_RESULT_EXISTS => c"it exists already",
            Self::SOFTNET_RESULT_NOT_FOUND => c"there is no such thing",
            Self::SOFTNET_RESULT_STATE => c"it does not fit how the stack runs",
            Self::SOFTNET_RESULT_DEVICE => c"the NIC refused",
            Self::SOFTNET_RESULT_SYSTEM => c"the operating system refused",
            Self::SOFTNET_RESULT_PANIC => c"a defect of the library",
        }
    }
}

/// A failure with its sentence.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) code: Code,
    /// Without one, the code's own text says all there is.
    message: Option<String>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Display) -> Self {
        Self {
            code,
            message: Some(message.to_string()),
        }
    }

    pub(crate) fn invalid(message: impl Display) -> Self {
        Self::new(Code::SOFTNET_RESULT_INVALID, message)
    }

    pub(crate) fn null(what: &str) -> Self {
        Self::new(
            Code::SOFTNET_RESULT_NULL,
            format_args!("{what} must not be NULL"),
        )
    }
}

impl From<Code> for Error {
    /// For outcomes that are no news, such as an empty queue: nothing is
    /// allocated.
    fn from(code: Code) -> Self {
        Self {
            code,
            message: None,
        }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<LastError> = const { RefCell::new(LastError::Text(Code::SOFTNET_RESULT_OK)) };
}

enum LastError {
    Text(Code),
    Message(CString),
}

fn remember(error: Error) {
    let last = match error.message.map(CString::new) {
        Some(Ok(message)) => LastError::Message(message),
        // A NUL inside came from the caller: the code's text must do.
        Some(Err(_)) | None => LastError::Text(error.code),
    };
    // A thread that is ending has no place for it any more, and no reader.
    let _ = LAST_ERROR.try_with(|place| place.replace(last));
}

/// Runs the body of an exported function: no panic crosses into C, and a
/// failure leaves its sentence for `softnet_last_error`.
pub(crate) fn boundary(body: impl FnOnce() -> Result<(), Error>) -> Code {
    // Whatever a panic leaves half done is behind a lock that it has poisoned.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let error = match outcome {
        Ok(Ok(())) => return Code::SOFTNET_RESULT_OK,
        Ok(Err(error)) => error,
        Err(panic) => Error::new(Code::SOFTNET_RESULT_PANIC, panic_message(&*panic)),
    };
    let code = error.code;
    remember(error);
    code
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the library panicked: {}", text.unwrap_or("no message"))
}

/// A few words for a result. For a number that is no result they say that.
///
/// The text is static: never freed, the same for ever.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn softnet_strerror(result: c_int) -> *const c_char {
    let known = Code::ALL.into_iter().find(|&code| code as c_int == result);
    known
        .map_or(c"not a result of softnet", Code::text)
        .as_ptr()
}

/// The full sentence of the last call that failed on the calling thread, with
/// the values that it was about: "10.0.0.9 is not an address of this host".
/// Calls that succeed leave it as it is.
///
/// The text belongs to the library and stands until the next call on this thread
/// that fails. Never NULL.
///
/// Thread-safe: each thread has its own.
#[unsafe(no_mangle)]
pub extern "C" fn softnet_last_error() -> *const c_char {
    let text = LAST_ERROR.try_with(|last| match &*last.borrow() {
        LastError::Message(message) => message.as_ptr(),
        LastError::Text(code) => code.text().as_ptr(),
    });
    text.unwrap_or(c"the thread is ending".as_ptr())
}

/// The library's version, such as "0.1.0".
///
/// The text is static: never freed.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn softnet_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_error() -> String {
        // SAFETY: the text stands until the next failure on this thread.
        let text = unsafe { CStr::from_ptr(softnet_last_error()) };
        text.to_str().expect("it is UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_result_with_its_message() {
        let code = boundary(|| panic!("the ring is {}", "round"));
        assert_eq!(code, Code::SOFTNET_RESULT_PANIC);
        assert_eq!(last_error(), "the library panicked: the ring is round");
    }

    #[test]
    fn success_leaves_the_last_sentence_standing() {
        boundary(|| Err(Error::invalid("7 is not 8")));
        assert_eq!(boundary(|| Ok(())), Code::SOFTNET_RESULT_OK);
        assert_eq!(last_error(), "7 is not 8");
    }

    #[test]
    fn every_result_has_its_number_and_a_text_of_its_own() {
        for (at, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as c_int, -(at as c_int));
            let same = |other: &&Code| other.text() == code.text();
            assert_eq!(Code::ALL.iter().filter(same).count(), 1, "{code:?}");
        }
    }
}
