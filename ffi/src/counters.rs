//! Counters: the main ones in a structure, all of them by name.

use crate::handle;
use crate::memory::{self, Versioned};
use crate::result::{Error, boundary, softnet_result};
use crate::stack::softnet_stack;
use libc::{c_int, c_void};
use softnet::netstack::Snmp;
use softnet::report::{DeviceReport, Report};
use softnet::softirq::Vector;
use std::ffi::{CString, c_char};

/// The main counters of a stack, of all its CPUs and NICs together, from its
/// beginning. softnet_counters_visit() has all the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct softnet_counters {
    /// Bytes of this structure that were filled.
    pub size: usize,
    /// When they were read, in nanoseconds of the stack's clock.
    pub time_ns: u64,
    /// Packets that the NICs received and handed to the stack.
    pub rx_packets: u64,
    /// Bytes of those, without FCS.
    pub rx_bytes: u64,
    /// Packets that the NICs have sent.
    pub tx_packets: u64,
    /// Bytes of those, without FCS.
    pub tx_bytes: u64,
    /// Packets that found no free receive descriptor: lost at the NIC.
    pub rx_missed: u64,
    /// Hard interrupts.
    pub interrupts: u64,
    /// Runs of the NET_RX softirq.
    pub net_rx: u64,
    /// Runs of the NET_TX softirq.
    pub net_tx: u64,
    /// Times that NAPI polled a NIC.
    pub napi_polls: u64,
    /// Packets that the CPUs took from NICs and backlogs: the first column of
    /// /proc/net/softnet_stat.
    pub processed: u64,
    /// Times that NET_RX stopped at its budget: the third column.
    pub time_squeeze: u64,
    /// Received packets that reached somebody: a socket, a reply, a cache.
    pub delivered: u64,
    /// Received packets that were dropped.
    pub rx_dropped: u64,
    /// All packets that were dropped, those to be sent too.
    pub dropped: u64,
    /// UDP datagrams queued to a socket.
    pub udp_in_datagrams: u64,
    /// UDP datagrams sent.
    pub udp_out_datagrams: u64,
    /// UDP datagrams for a port on which nobody listens.
    pub udp_no_ports: u64,
    /// UDP datagrams dropped because a socket's receive buffer was full.
    pub udp_rcvbuf_errors: u64,
}

// SAFETY: C's layout, the size first, and numbers only.
unsafe impl Versioned for softnet_counters {
    const OLDEST: usize = 160;
    const NAME: &'static str = "softnet_counters";

    fn defaults() -> Self {
        Self::default()
    }
}

/// One counter, as softnet_counters_visit() shows it. The texts are valid during
/// the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct softnet_counter {
    /// Where it comes from: "device" (as in `ip -s link`), "ethtool", "queue",
    /// "chip", "wire", "interrupts", "softirqs", "softnet_stat", "snmp" or
    /// "drops".
    pub group: *const c_char,
    /// Whose it is: the device ("eth0"), the interrupt's line ("16 e1000"), the
    /// protocol ("Udp"); "" where there is nothing to tell apart.
    pub object: *const c_char,
    /// The counter's name: "rx_packets", "NET_RX", "NoPorts", "NO_SOCKET".
    pub name: *const c_char,
    /// For drops: what happened, and what to do about it. NULL otherwise.
    pub explanation: *const c_char,
    /// Its value.
    pub value: u64,
    /// The CPU that counted it, or -1 for all together.
    pub cpu: c_int,
}

/// What softnet_counters_visit() calls for each counter, with the caller's `user`.
/// It must return: no longjmp(3), no exception. It may call the library.
pub type softnet_counter_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, counter: *const softnet_counter)>;

/// Reads the main counters. `size` is `sizeof *out_counters`.
///
/// The packets go on meanwhile: the counters of a stack at rest add up, those of
/// a stack at work nearly do.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_counters_read(
    stack: *mut softnet_stack,
    out_counters: *mut softnet_counters,
    size: usize,
) -> softnet_result {
    boundary(|| {
        let mut counters = main_counters(&report(stack)?);
        counters.size = size;
        // SAFETY: the caller has room for `size` bytes.
        unsafe { memory::write_sized(out_counters, size, &counters) }
    })
}

/// Calls `visit` on this thread for every counter of the stack, drops by reason
/// with their explanations included. The counters are read before the first call.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_counters_visit(
    stack: *mut softnet_stack,
    visit: softnet_counter_fn,
    user: *mut c_void,
) -> softnet_result {
    boundary(|| {
        let visit = visit.ok_or_else(|| Error::null("visit"))?;
        // The stack's lock is free again: `visit` may call the library.
        for counter in named_counters(&report(stack)?) {
            counter.show(|counter| {
                // SAFETY: the caller's function, with what it expects.
                unsafe { visit(user, counter) };
            });
        }
        Ok(())
    })
}

fn report(stack: *mut softnet_stack) -> Result<Report, Error> {
    handle::shared(stack)?.with(|machine| Ok(machine.report()))
}

fn main_counters(report: &Report) -> softnet_counters {
    let devices = |count: fn(&DeviceReport) -> u64| report.devices.iter().map(count).sum();
    let softirqs = |vector| report.softirqs.iter().map(|cpu| cpu.vector(vector)).sum();
    let polls = |device: &DeviceReport| device.queues.iter().map(|queue| queue.polls).sum();
    softnet_counters {
        size: size_of::<softnet_counters>(),
        time_ns: report.time_ns,
        rx_packets: devices(|device| device.stats.rx_packets),
        rx_bytes: devices(|device| device.stats.rx_bytes),
        tx_packets: devices(|device| device.stats.tx_packets),
        tx_bytes: devices(|device| device.stats.tx_bytes),
        rx_missed: devices(|device| device.stats.rx_missed_errors),
        interrupts: report.interrupts.total(),
        net_rx: softirqs(Vector::NetRx),
        net_tx: softirqs(Vector::NetTx),
        napi_polls: devices(polls),
        processed: report.softnet.iter().map(|cpu| cpu.processed).sum(),
        time_squeeze: report.softnet.iter().map(|cpu| cpu.time_squeeze).sum(),
        delivered: report.protocols.delivered,
        rx_dropped: report.protocols.dropped,
        dropped: report.drops.iter().map(|drops| drops.packets).sum(),
        udp_in_datagrams: report.snmp(Snmp::UdpInDatagrams),
        udp_out_datagrams: report.snmp(Snmp::UdpOutDatagrams),
        udp_no_ports: report.snmp(Snmp::UdpNoPorts),
        udp_rcvbuf_errors: report.snmp(Snmp::UdpRcvbufErrors),
    }
}

/// A counter on its way to C.
struct Named {
    group: &'static str,
    object: String,
    name: String,
    explanation: Option<&'static str>,
    value: u64,
    cpu: c_int,
}

impl Named {
    fn new(group: &'static str, object: &str, name: &str, value: u64) -> Self {
        Self {
            group,
            object: object.to_owned(),
            name: name.to_owned(),
            explanation: None,
            value,
            cpu: -1,
        }
    }

    fn on(mut self, cpu: usize) -> Self {
        self.cpu = c_int::try_from(cpu).unwrap_or(c_int::MAX);
        self
    }

    fn explained(mut self, explanation: &'static str) -> Self {
        self.explanation = Some(explanation);
        self
    }

    fn show(&self, show: impl FnOnce(&softnet_counter)) {
        // No name of ours holds a NUL, and a device's comes from a C string.
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let (group, object, name) = (text(self.group), text(&self.object), text(&self.name));
        let explanation = self.explanation.map(text);
        show(&softnet_counter {
            group: group.as_ptr(),
            object: object.as_ptr(),
            name: name.as_ptr(),
            explanation: explanation
                .as_ref()
                .map_or(std::ptr::null(), |text| text.as_ptr()),
            value: self.value,
            cpu: self.cpu,
        });
    }
}

fn named_counters(report: &Report) -> Vec<Named> {
    let mut all = Vec::new();
    for device in &report.devices {
        add_device(&mut all, device);
    }
    add_interrupts(&mut all, report);
    add_cpus(&mut all, report);
    for &(counter, value) in &report.protocols.snmp {
        let (protocol, name) = counter.name();
        all.push(Named::new("snmp", protocol, name, value));
    }
    for drops in &report.drops {
        let named = Named::new("drops", "", drops.reason.as_str(), drops.packets);
        all.push(named.explained(drops.explanation));
    }
    all
}

fn add_device(all: &mut Vec<Named>, device: &DeviceReport) {
    let add = |group, name: &str, value| Named::new(group, &device.name, name, value);
    let common = device.stats.named();
    all.extend(common.map(|(name, value)| add("device", name, value)));
    all.extend(
        device
            .ethtool
            .0
            .iter()
            .map(|&(name, value)| add("ethtool", name, value)),
    );
    all.extend(
        device
            .wire
            .0
            .iter()
            .map(|&(name, value)| add("wire", name, value)),
    );
    all.push(add("chip", "dma_faults", device.dma_faults));
    for queue in &device.queues {
        let counters = [
            ("polls", queue.polls),
            ("rx_packets", queue.rx_packets),
            ("rx_bytes", queue.rx_bytes),
            ("alloc_failed", queue.alloc_failed),
            ("tx_packets", queue.tx_packets),
            ("tx_bytes", queue.tx_bytes),
            ("tx_requeues", queue.tx_requeues),
        ];
        all.extend(counters.map(|(name, value)| add("queue", name, value).on(queue.cpu)));
    }
}

fn add_interrupts(all: &mut Vec<Named>, report: &Report) {
    for line in &report.interrupts.lines {
        let object = format!(
            "{} {}",
            line.irq.0,
            line.action.as_deref().unwrap_or(&line.source)
        );
        for (cpu, &value) in line.delivered.iter().enumerate() {
            all.push(Named::new("interrupts", &object, "delivered", value).on(cpu));
        }
        for (cpu, &value) in line.unhandled.iter().enumerate() {
            all.push(Named::new("interrupts", &object, "unhandled", value).on(cpu));
        }
    }
}

fn add_cpus(all: &mut Vec<Named>, report: &Report) {
    for softirqs in &report.softirqs {
        let cpu = softirqs.cpu.0 as usize;
        all.extend(Vector::ALL.into_iter().map(|vector| {
            Named::new("softirqs", "", vector.name(), softirqs.vector(vector)).on(cpu)
        }));
    }
    for softnet in &report.softnet {
        let cpu = softnet.cpu.0 as usize;
        let columns = [
            ("processed", softnet.processed),
            ("dropped", softnet.dropped),
            ("time_squeeze", softnet.time_squeeze),
            ("received_rps", softnet.received_rps),
            ("flow_limit", softnet.flow_limit),
        ];
        all.extend(
            columns.map(|(name, value)| Named::new("softnet_stat", "", name, value).on(cpu)),
        );
    }
}
