//! NICs: plugged in, configured, removed.

use crate::config::softnet_nic_config;
use crate::handle::{self, kind};
use crate::memory;
use crate::result::{Code, Error, boundary, softnet_result};
use crate::sock::Wait;
use crate::stack::{SLICE_NS, StackObject, softnet_stack};
use crate::wire::{self, softnet_wire};
use softnet::netstack::IfIndex;
use softnet::netstack::route::{IpPrefix, Route};
use softnet::nic_hal::MacAddress;
use std::ffi::{c_char, c_int};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A NIC in a stack's service.
pub struct softnet_nic {
    _opaque: [u8; 0],
}

/// The object behind a `softnet_nic`.
pub(crate) struct NicObject {
    stack: Arc<StackObject>,
    dev: IfIndex,
}

kind!(softnet_nic, Nic, Arc<NicObject>, "NIC");

/// Plugs an emulated NIC into the stack and into `wire`, binds its driver, and
/// puts it into service. `config` may be NULL, for the defaults; it is not kept.
/// The link comes up about a millisecond of the stack's clock later:
/// softnet_nic_wait_link().
///
/// `wire` belongs to the NIC from now on, whatever the outcome, unless its handle
/// is refused. The stack owns the NIC: softnet_nic_remove() removes it earlier
/// than softnet_stack_free().
///
/// SOFTNET_RESULT_DEVICE: the driver does not take the NIC as it is configured.
/// SOFTNET_RESULT_UNSUPPORTED: there is no such model.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_add(
    stack: *mut softnet_stack,
    config: *const softnet_nic_config,
    wire: *mut softnet_wire,
    out_nic: *mut *mut softnet_nic,
) -> softnet_result {
    boundary(|| {
        memory::wanted(out_nic, "out_nic")?;
        let stack = handle::shared(stack)?;
        // SAFETY: the caller gives a configuration, or NULL.
        let (kind, config) = unsafe { read_config(config) }?;
        let wire = wire::take(wire)?;
        let dev = stack.with(|machine| Ok(machine.add_nic(kind, wire, &config)?))?;
        let object = NicObject {
            stack: stack.clone(),
            dev,
        };
        let nic = handle::insert(Arc::new(object))
            .inspect_err(|_| drop(stack.with(|machine| Ok(machine.remove_nic(dev)?))))?;
        stack
            .own_nic(nic)
            .inspect_err(|_| drop(handle::remove(nic)))?;
        // SAFETY: not NULL; the caller has room for a handle.
        unsafe { memory::store(out_nic, nic, "out_nic") }
    })
}

/// # Safety
/// `config` is NULL, or a configuration with its strings.
unsafe fn read_config(
    config: *const softnet_nic_config,
) -> Result<(softnet::NicKind, softnet::NicConfig), Error> {
    if config.is_null() {
        return Ok(Default::default());
    }
    // SAFETY: the caller has as many bytes there as `size` says.
    let config = unsafe { memory::read_sized(config) }?;
    // SAFETY: the caller vouches for its strings.
    unsafe { config.to_nic() }
}

/// Takes a NIC out of service and unplugs it. Its handle is bad afterwards.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_remove(nic: *mut softnet_nic) -> softnet_result {
    boundary(|| {
        let object = handle::remove(nic)?;
        object.stack.disown_nic(nic);
        let dev = object.dev;
        object.stack.with(|machine| Ok(machine.remove_nic(dev)?))
    })
}

/// Waits until the NIC's link is up, at most `timeout_ms` milliseconds (-1: for
/// as long as it takes). An inline stack runs meanwhile, on the calling thread;
/// with a virtual clock the timeout is of that clock, and must not be -1.
///
/// SOFTNET_RESULT_TIMED_OUT: it is still down. What a TAP lacks then is
/// `ip link set NAME up`.
///
/// Thread-safe; calls that run or change a stack wait for each other, for some
/// milliseconds of this one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_wait_link(
    nic: *mut softnet_nic,
    timeout_ms: c_int,
) -> softnet_result {
    boundary(|| {
        let nic = handle::shared(nic)?;
        let until = nic.stack.deadline_ns(Wait::from_ms(timeout_ms))?;
        loop {
            let (up, now) = nic.stack.with(|machine| {
                let left = until.saturating_sub(machine.now_ns()).min(SLICE_NS);
                let up = machine.wait_for_link(nic.dev, Duration::from_nanos(left))?;
                Ok((up, machine.now_ns()))
            })?;
            if up {
                return Ok(());
            }
            if now >= until {
                let message = "the link is still down: is the other end there, and up?";
                return Err(Error::new(Code::SOFTNET_RESULT_TIMED_OUT, message));
            }
        }
    })
}

/// The NIC's station address: 6 bytes are stored.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_mac(
    nic: *mut softnet_nic,
    out_mac: *mut u8,
) -> softnet_result {
    boundary(|| {
        let nic = handle::shared(nic)?;
        let mac = nic
            .stack
            .with(|machine| Ok(machine.interface(nic.dev)?.mac()))?;
        // SAFETY: the caller has room for 6 bytes.
        unsafe { memory::store(out_mac.cast::<[u8; 6]>(), mac.0, "out_mac") }
    })
}

/// Gives the NIC an address with its network, as in "10.0.0.2/24", and the route
/// to that network.
///
/// SOFTNET_RESULT_INVALID: the text is no such address, or no host's.
/// SOFTNET_RESULT_EXISTS: the NIC has it already.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_add_address(
    nic: *mut softnet_nic,
    address: *const c_char,
) -> softnet_result {
    boundary(|| {
        let nic = handle::shared(nic)?;
        // SAFETY: the caller gives a string.
        let text = unsafe { memory::string(address, "address") }?;
        let (address, len) = parse_network(text)?;
        let dev = nic.dev;
        nic.stack
            .with(|machine| Ok(machine.stack_mut().add_address(dev, address, len)?))
    })
}

/// Adds a route through the NIC: `destination` is a network such as
/// "192.0.2.0/24", or "default"; `gateway` is the router's address, or NULL if the
/// network is on the NIC's own link.
///
/// SOFTNET_RESULT_INVALID: a text is no such address.
/// SOFTNET_RESULT_EXISTS: there is such a route already.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_add_route(
    nic: *mut softnet_nic,
    destination: *const c_char,
    gateway: *const c_char,
) -> softnet_result {
    boundary(|| {
        let nic = handle::shared(nic)?;
        // SAFETY: the caller gives a string.
        let text = unsafe { memory::string(destination, "destination") }?;
        let (network, len) = parse_network(if text == "default" { "0.0.0.0/0" } else { text })?;
        let prefix = IpPrefix::new(network, len).ok_or_else(|| no_network(text))?;
        // SAFETY: the caller gives a string or NULL.
        let gateway = unsafe { memory::optional_string(gateway, "gateway") }?;
        let route = match gateway {
            Some(gateway) => Route::via(prefix, nic.dev, parse_address(gateway)?.into()),
            None => Route::on_link(prefix, nic.dev),
        };
        nic.stack
            .with(|machine| Ok(machine.stack_mut().add_route(route)?))
    })
}

/// Sets a neighbour's station address for good, so that it is never asked for by
/// ARP. `address` is a text such as "10.0.0.1"; `mac` are 6 bytes.
///
/// SOFTNET_RESULT_INVALID: the text is no such address.
///
/// Thread-safe; calls that change a stack wait for each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_add_neighbour(
    nic: *mut softnet_nic,
    address: *const c_char,
    mac: *const u8,
) -> softnet_result {
    boundary(|| {
        let nic = handle::shared(nic)?;
        // SAFETY: the caller gives a string.
        let text = unsafe { memory::string(address, "address") }?;
        let address = parse_address(text)?;
        // SAFETY: the caller has 6 bytes there.
        let bytes = unsafe { memory::bytes(mac, 6, "mac") }?;
        let mac = MacAddress(bytes.first_chunk().copied().unwrap_or_default());
        let dev = nic.dev;
        nic.stack
            .with(|machine| Ok(machine.stack_mut().add_neighbour(dev, address, mac)?))
    })
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), Error> {
    let parsed = text
        .split_once('/')
        .and_then(|(address, len)| Some((address.parse().ok()?, len.parse().ok()?)));
    parsed.ok_or_else(|| no_network(text))
}

fn no_network(text: &str) -> Error {
    Error::invalid(format_args!(
        "{text:?} is no address with a prefix length, such as \"10.0.0.2/24\""
    ))
}

fn parse_address(text: &str) -> Result<Ipv4Addr, Error> {
    text.parse().map_err(|_| {
        Error::invalid(format_args!(
            "{text:?} is no IPv4 address, such as \"10.0.0.1\""
        ))
    })
}
