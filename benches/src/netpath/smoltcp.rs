//! smoltcp on a ring in memory; and that ring alone.

use super::BATCH;
use super::contender::Host;
use super::scenario::{Scenario, Service};
use super::traffic::{OURS, Readers, Traffic, arp_request, port_of};
use anyhow::{Result, anyhow};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, IpListenEndpoint};

const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Frames of each ring: those that softnet's NIC has by default.
const RING: usize = 256;
/// Bytes of the longest frame, without FCS.
const MAX_FRAME: usize = 1514;
/// Time stands still, so that no neighbour is forgotten.
const NOW: Instant = Instant::from_micros_const(1_000_000);

struct Slot {
    bytes: [u8; MAX_FRAME],
    len: usize,
}

/// Frames between one end that fills them and one that takes them.
struct Ring {
    slots: Box<[Slot]>,
    /// Free-running counters of frames filled and taken.
    filled: usize,
    taken: usize,
}

impl Ring {
    fn new() -> Self {
        let slot = || Slot {
            bytes: [0; MAX_FRAME],
            len: 0,
        };
        Self {
            slots: (0..RING).map(|_| slot()).collect(),
            filled: 0,
            taken: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.filled - self.taken == RING
    }

    #[inline]
    fn fill<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let slot = &mut self.slots[self.filled % RING];
        self.filled += 1;
        slot.len = len;
        fill(&mut slot.bytes[..len])
    }

    #[inline]
    fn take(&mut self) -> Option<&[u8]> {
        if self.filled == self.taken {
            return None;
        }
        let slot = &self.slots[self.taken % RING];
        self.taken += 1;
        Some(&slot.bytes[..slot.len])
    }

    /// Takes all without a look.
    #[inline]
    fn clear(&mut self) -> usize {
        let count = self.filled - self.taken;
        self.taken = self.filled;
        count
    }
}

/// A NIC of two rings, and its wire.
struct Nic {
    rx: Ring,
    tx: Ring,
    traffic: Traffic,
}

impl Nic {
    fn new(scenario: &Scenario) -> Self {
        Self {
            rx: Ring::new(),
            tx: Ring::new(),
            traffic: Traffic::new(scenario, MAC),
        }
    }

    #[inline]
    fn arrive(&mut self, batch: usize) {
        if batch == BATCH {
            for frame in self.traffic.next_batch() {
                self.rx.fill(frame.len(), |to| to.copy_from_slice(frame));
            }
        } else {
            let frame = self.traffic.next();
            self.rx.fill(frame.len(), |to| to.copy_from_slice(frame));
        }
    }
}

struct RxToken<'a>(&'a [u8]);
struct TxToken<'a>(&'a mut Ring);

impl phy::RxToken for RxToken<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.fill(len, f)
    }
}

impl Device for Nic {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    #[inline]
    fn receive(&mut self, _now: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if self.tx.is_full() {
            return None;
        }
        Some((RxToken(self.rx.take()?), TxToken(&mut self.tx)))
    }

    #[inline]
    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        (!self.tx.is_full()).then_some(TxToken(&mut self.tx))
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}

/// What runs the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// All of it.
    Poll,
    /// Its receiving half.
    Ingress,
}

/// smoltcp and the sockets on it.
pub(super) struct Smoltcp {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    readers: Readers,
    service: Service,
    run: Run,
    buffer: [u8; 2048],
}

impl Smoltcp {
    pub(super) fn new(scenario: &Scenario, run: Run) -> Result<Self> {
        let mut nic = Nic::new(scenario);
        let mut interface = Interface::new(Config::new(EthernetAddress(MAC).into()), &mut nic, NOW);
        let mut full = false;
        interface.update_ip_addrs(|addresses| {
            full = addresses.push(IpCidr::new(OURS.into(), 24)).is_err();
        });
        if full {
            return Err(anyhow!("no room for an address"));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let mut handles = Vec::new();
        for number in 0..scenario.sockets {
            handles.push(sockets.add(socket(number, scenario)?));
        }
        let mut host = Self {
            nic,
            interface,
            sockets,
            handles,
            readers: Readers::new(scenario),
            service: scenario.service,
            run,
            buffer: [0; 2048],
        };
        host.learn_peer();
        Ok(host)
    }

    /// It has no permanent neighbours; one that asks is remembered.
    fn learn_peer(&mut self) {
        let request = arp_request();
        let fill = |to: &mut [u8]| to.copy_from_slice(&request);
        self.nic.rx.fill(request.len(), fill);
        self.interface.poll(NOW, &mut self.nic, &mut self.sockets);
        self.nic.tx.clear();
    }

    #[inline]
    fn poll(&mut self, batch: usize) {
        let Self {
            interface,
            nic,
            sockets,
            ..
        } = self;
        match self.run {
            Run::Poll => {
                interface.poll(NOW, nic, sockets);
            }
            Run::Ingress => {
                for _ in 0..batch {
                    interface.poll_ingress_single(NOW, nic, sockets);
                }
            }
        }
    }

    #[inline]
    fn serve(&mut self) -> Option<()> {
        let handle = self.handles[self.readers.next()];
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(handle);
        let (len, from) = socket.recv_slice(&mut self.buffer).ok()?;
        if self.service == Service::Echo {
            socket.send_slice(&self.buffer[..len], from).ok()?;
        }
        Some(())
    }

    #[inline]
    fn serve_all(&mut self, batch: usize) -> usize {
        (0..batch).filter(|_| self.serve().is_some()).count()
    }

    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        self.nic.traffic.spoil();
    }
}

fn socket(number: usize, scenario: &Scenario) -> Result<udp::Socket<'static>> {
    let buffer = |packets: usize| {
        let meta = vec![PacketMetadata::EMPTY; packets];
        PacketBuffer::new(meta, vec![0; packets * scenario.payload])
    };
    let to_send = if scenario.service == Service::Echo {
        BATCH
    } else {
        1
    };
    let mut socket = udp::Socket::new(buffer(BATCH), buffer(to_send));
    let endpoint = IpListenEndpoint {
        addr: Some(OURS.into()),
        port: port_of(number),
    };
    let bound = socket.bind(endpoint);
    bound.map_err(|error| anyhow!("smoltcp does not bind: {error}"))?;
    Ok(socket)
}

impl Host for Smoltcp {
    fn pass(&mut self, batch: usize) -> usize {
        self.nic.arrive(batch);
        self.poll(batch);
        match self.service {
            Service::Receive => self.serve_all(batch),
            Service::Echo => {
                self.serve_all(batch);
                self.poll(batch);
                self.nic.tx.clear()
            }
            Service::Ping => self.nic.tx.clear(),
        }
    }

    fn buffer(&self) -> &[u8] {
        &self.buffer
    }
}

/// The rings with nobody behind them.
pub(super) struct Wire {
    nic: Nic,
    service: Service,
}

impl Wire {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            nic: Nic::new(scenario),
            service: scenario.service,
        }
    }
}

impl Host for Wire {
    fn pass(&mut self, batch: usize) -> usize {
        self.nic.arrive(batch);
        if self.service != Service::Receive {
            self.nic.tx.clear();
        }
        batch
    }
}
