//! softnet, inline, on a NIC without hardware; and that NIC's wire alone.

use super::BATCH;
use super::apps::{Answer, Apps};
use super::contender::Host;
use super::scenario::{Scenario, Service};
use super::traffic::{OURS, PEER, PEER_MAC, Traffic};
use anyhow::{Context, Result};
use core::net::IpAddr;
use softnet_dma_ring::{DmaRing, Frame, FramePool, PoolConfig};
use softnet_netstack::{NicOptions, Stack, StackConfig};
use softnet_nic_hal::testing::{LoopConfig, LoopNic, LoopPort, LoopRx, LoopTx};
use softnet_nic_hal::{IrqHandler, MacAddress, NicHal, OpenConfig, QueueId, QueuePair};
use softnet_softirq::{Clock, VirtualClock};
use std::sync::Arc;

const QUEUE: QueueId = QueueId(0);

/// The wire's end of the NIC.
struct Peer {
    port: LoopPort,
    traffic: Traffic,
}

impl Peer {
    #[inline]
    fn send(&mut self, batch: usize) {
        if batch == BATCH {
            let frames = self.traffic.next_batch();
            self.port.inject_batch(QUEUE, &frames);
        } else {
            self.port.inject(QUEUE, self.traffic.next());
        }
    }

    #[inline]
    fn take(&mut self, batch: usize) -> usize {
        self.port.discard_transmitted(QUEUE, batch)
    }
}

/// softnet and the sockets on it.
pub(super) struct Softnet {
    stack: Stack,
    peer: Peer,
    apps: Apps,
    service: Service,
}

impl Softnet {
    pub(super) fn new(scenario: &Scenario, answer: Answer) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(1_000_000_000));
        let mut stack = Stack::new(&StackConfig::default(), &clock)?;
        let config = LoopConfig::default();
        let (nic, port) = LoopNic::new(config);
        let dev = stack.add_nic(nic, &NicOptions::default())?;
        stack.add_address(dev, IpAddr::V4(OURS), 24)?;
        stack.add_neighbour(dev, PEER, MacAddress(PEER_MAC))?;
        let apps = Apps::open(&mut stack, scenario, answer)?;
        stack.run_until_idle();
        let traffic = Traffic::new(scenario, config.mac.0);
        Ok(Self {
            stack,
            peer: Peer { port, traffic },
            apps,
            service: scenario.service,
        })
    }

    /// The same, with the NIC polled without interrupts; it answers in the frame
    /// that came in.
    pub(super) fn busy_polled(scenario: &Scenario) -> Result<Self> {
        let answer = match scenario.service {
            Service::Receive => Answer::Copied,
            Service::Echo | Service::Ping => Answer::SameFrame,
        };
        let mut host = Self::new(scenario, answer)?;
        host.stack.set_busy_poll(true)?;
        Ok(host)
    }

    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        self.peer.traffic.spoil();
    }
}

impl Host for Softnet {
    fn pass(&mut self, batch: usize) -> usize {
        self.peer.send(batch);
        self.stack.run_once();
        match self.service {
            Service::Receive => self.apps.serve(self.service, batch),
            Service::Echo => {
                self.apps.serve(self.service, batch);
                self.stack.run_once();
                self.peer.take(batch)
            }
            Service::Ping => self.peer.take(batch),
        }
    }

    fn buffer(&self) -> &[u8] {
        self.apps.buffer()
    }
}

/// Descriptors of the rings that only the wire works on.
const RING: u16 = 1024;

/// The NIC with nobody behind it: rings full of frames, and interrupts masked.
pub(super) struct Wire {
    nic: Arc<LoopNic>,
    peer: Peer,
    rings: QueuePair<LoopRx, LoopTx>,
    pool: FramePool,
    service: Service,
    frame_len: usize,
}

struct Nobody;

impl IrqHandler for Nobody {
    fn irq(&self, _queue: QueueId) {}
}

impl Wire {
    pub(super) fn new(scenario: &Scenario) -> Result<Self> {
        let config = LoopConfig::default();
        let (nic, port) = LoopNic::new(config);
        let pool = FramePool::new(PoolConfig::default())?;
        let open = OpenConfig {
            queues: 1,
            rx_ring: RING,
            tx_ring: RING,
            mtu: 1500,
            ..OpenConfig::new(pool.clone())
        };
        let rings = nic.open(&open, Arc::new(Nobody))?.pop();
        let traffic = Traffic::new(scenario, config.mac.0);
        let mut wire = Self {
            nic,
            peer: Peer { port, traffic },
            rings: rings.context("no queue")?,
            pool,
            service: scenario.service,
            frame_len: scenario.frame_len(),
        };
        wire.rest();
        Ok(wire)
    }

    fn to_send(&self) -> Option<Frame> {
        let mut frame = self.pool.alloc()?;
        frame.put(self.frame_len)?;
        Some(frame)
    }
}

impl Host for Wire {
    fn pass(&mut self, batch: usize) -> usize {
        self.peer.send(batch);
        match self.service {
            Service::Receive => batch,
            Service::Echo | Service::Ping => self.peer.take(batch),
        }
    }

    fn stamina(&self) -> usize {
        usize::from(RING)
    }

    /// Empties both rings of what is done, and fills them up.
    fn rest(&mut self) {
        self.nic.mask_irq(QUEUE);
        while self.rings.rx.reap().is_some() {}
        while self.rings.tx.reap().is_some() {}
        while self.rings.rx.free_slots() > 0 {
            let Some(frame) = self.pool.alloc() else {
                break;
            };
            if self.rings.rx.post(frame).is_err() {
                break;
            }
        }
        while self.rings.tx.free_slots() > 0 {
            let Some(frame) = self.to_send() else { break };
            if self.rings.tx.post(frame).is_err() {
                break;
            }
        }
        self.rings.rx.kick();
        self.rings.tx.kick();
    }
}
