//! Wires: what a NIC is plugged into.

use crate::handle::{self, kind};
use crate::memory;
use crate::result::{Code, Error, boundary, softnet_result};
use softnet::nic_hal::wire::Wire;
use softnet::wire::Recorder;
use softnet::wire::cable::{self, CableConfig};
use softnet::wire::pcap::{Capture, CaptureConfig, Replay, ReplayConfig};
use softnet::wire::tap::{Tap, TapConfig};
use std::ffi::c_char;

/// One end of an Ethernet link, before a NIC is plugged into it.
pub struct softnet_wire {
    _opaque: [u8; 0],
}

/// A wire; `None` only for the moment in which something is put before it.
pub(crate) type WireObject = Option<Box<dyn Wire>>;

kind!(softnet_wire, Wire, WireObject, "wire");

/// Opens a wire by its description:
///
/// - "tap:NAME": a TAP interface of the kernel, made if there is none of that
///   name. Bringing it up and giving it an address is left to the caller
///   (`ip link set NAME up`). Needs CAP_NET_ADMIN, or a TAP that belongs to the
///   user.
/// - "replay:FILE": the packets of a pcap or pcapng file arrive, as fast as the
///   NIC takes them; what is sent is counted and gone.
///
/// The caller owns `*out_wire`, until softnet_nic_add() takes it over or
/// softnet_wire_free() frees it. On a failure nothing is stored.
///
/// SOFTNET_RESULT_UNSUPPORTED: there is no wire of that description.
/// SOFTNET_RESULT_SYSTEM: the interface or the file cannot be opened;
/// softnet_last_error() says why and what to do.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_wire_open(
    description: *const c_char,
    out_wire: *mut *mut softnet_wire,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_wire, "out_wire")?;
        // SAFETY: the caller gives a string.
        let description = unsafe { memory::string(description, "description") }?;
        let wire = handle::insert(Some(open(description)?))?;
        // SAFETY: not NULL; the caller has room for a handle.
        unsafe { memory::store(out_wire, wire, "out_wire") }
    })
}

fn open(description: &str) -> Result<Box<dyn Wire>, Error> {
    match description.split_once(':') {
        Some(("tap", name)) => Ok(Box::new(Tap::open(&TapConfig::named(name))?)),
        Some(("replay", file)) => Ok(Box::new(Replay::open(file, ReplayConfig::default())?)),
        _ => Err(Error::new(
            Code::SOFTNET_RESULT_UNSUPPORTED,
            format_args!("there is no wire {description:?}: \"tap:NAME\" or \"replay:FILE\""),
        )),
    }
}

/// Makes a cable with two ends, each for one NIC, of the same stack or of
/// different ones.
///
/// The caller owns both ends, as in softnet_wire_open().
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_wire_cable(
    out_left: *mut *mut softnet_wire,
    out_right: *mut *mut softnet_wire,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_left, "out_left")?;
        memory::wanted(out_right, "out_right")?;
        let (left, right) = cable::pair(&CableConfig::default());
        let left = handle::insert::<softnet_wire>(Some(Box::new(left)))?;
        let right = handle::insert::<softnet_wire>(Some(Box::new(right)))
            .inspect_err(|_| drop(handle::remove(left)))?;
        // SAFETY: not NULL; the caller has room for a handle.
        unsafe { memory::store(out_left, left, "out_left") }?;
        // SAFETY: as above.
        unsafe { memory::store(out_right, right, "out_right") }
    })
}

/// Records every frame that passes the wire, both ways, in a new pcapng file. The
/// file is complete when the NIC is removed, or its stack freed.
///
/// SOFTNET_RESULT_SYSTEM: the file cannot be made.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_wire_record(
    wire: *mut softnet_wire,
    path: *const c_char,
) -> softnet_result {
    boundary(|| {
        // SAFETY: the caller gives a string.
        let path = unsafe { memory::string(path, "path") }?;
        // A handle that is no wire must not cost the caller a file.
        handle::with(wire, |_| ())?;
        let capture = Capture::create(path, &CaptureConfig::default()).map_err(|error| {
            Error::new(Code::SOFTNET_RESULT_SYSTEM, format_args!("{path}: {error}"))
        })?;
        handle::with(wire, |wire| {
            *wire = wire
                .take()
                .map(|wire| -> Box<dyn Wire> { Box::new(Recorder::new(wire, capture)) });
        })
    })
}

/// Frees a wire that no NIC was plugged into.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_wire_free(wire: *mut softnet_wire) -> softnet_result {
    boundary(|| handle::remove(wire).map(drop))
}

/// Takes a wire over from the caller.
pub(crate) fn take(wire: *mut softnet_wire) -> Result<Box<dyn Wire>, Error> {
    handle::remove(wire)?.ok_or_else(crate::stack::broken)
}
