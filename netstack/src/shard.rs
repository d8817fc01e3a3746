//! One CPU's own state: what softirq and NAPI lend to their handlers.

use crate::device::NetDevice;
use crate::early::{Early, Station};
use crate::link::{HandlerTaken, LinkLayer, PacketTap};
use crate::message::{Control, TxMessage};
use crate::netcore::NetCore;
use crate::peer::{Doors, TX_MESSAGES};
use crate::protocol::{ProtocolHandler, Verdict};
use crate::route::IfIndex;
use crate::skb::SkBuff;
use crate::steering::Steering;
use crate::transport::Transports;
use crate::watchdog::Watchdogs;
use crate::wire::ethernet::EtherType;
use crate::wire::ipv4::IpProtocol;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use softnet_dma_ring::{Frame, HashKind, mpsc};
use softnet_napi::{Budget, HasSoftnet, NapiHandle, NapiPoll, PollOutcome, SoftnetData};
use softnet_softirq::{Cpu, SoftIrq, Vector};

/// One CPU's shard of the stack, split by level: a handler of one level is
/// called with the levels below it.
pub struct Shard {
    pub(crate) core: NetCore,
    pub(crate) link: LinkLayer,
    pub(crate) transports: Transports,
    pub(crate) softnet: SoftnetData<Shard>,
    pub(crate) watchdogs: Watchdogs,
    pub(crate) steering: Arc<Steering>,
    /// Queues whose ring could not be refilled, to be polled again.
    pub(crate) starved: Vec<NapiHandle>,
    /// Whether the last round of a busy-polling CPU ran softirqs instead.
    pub(crate) poll_is_due: bool,
    doors: Doors,
    early: Early,
}

impl HasSoftnet for Shard {
    fn softnet(&mut self) -> &mut SoftnetData<Self> {
        &mut self.softnet
    }
}

impl Shard {
    pub(crate) fn new(
        core: NetCore,
        transports: Transports,
        softnet: SoftnetData<Shard>,
        steering: Arc<Steering>,
        doors: Doors,
    ) -> Self {
        let link = LinkLayer::default();
        let watchdogs = Watchdogs::default();
        let starved = Vec::new();
        Self {
            core,
            link,
            transports,
            softnet,
            watchdogs,
            steering,
            starved,
            poll_is_due: false,
            doors,
            early: Early::default(),
        }
    }

    /// The levels below the protocols.
    pub fn core(&mut self) -> &mut NetCore {
        &mut self.core
    }

    /// Adds a tap for all packets of this CPU (`ptype_all`).
    pub fn add_tap(&mut self, tap: Box<dyn PacketTap>) {
        self.core.taps.add(tap);
    }

    /// Adds this CPU's handler of an EtherType (`ptype_base`).
    ///
    /// # Errors
    /// [`HandlerTaken`] when it has one, or is built in.
    pub fn add_link_handler(
        &mut self,
        ether_type: EtherType,
        handler: Box<dyn ProtocolHandler>,
    ) -> Result<(), HandlerTaken> {
        self.link.add(ether_type, handler)
    }

    /// Adds this CPU's handler of an IP protocol number (`inet_protos`).
    ///
    /// # Errors
    /// [`HandlerTaken`] when it has one, or is built in.
    pub fn add_protocol(
        &mut self,
        protocol: IpProtocol,
        handler: Box<dyn ProtocolHandler>,
    ) -> Result<(), HandlerTaken> {
        self.transports.add(protocol, handler)
    }

    /// Starts a pass: the clock is read once for all its packets.
    #[inline]
    pub(crate) fn begin(&mut self, cpu: &Cpu) {
        self.core.set_now(cpu.now_ns());
    }

    /// Ends a pass: everything that was gathered goes on its way.
    #[inline]
    pub(crate) fn end(&mut self, cpu: &mut Cpu) {
        self.core.flush();
        self.transports.udp.wake();
        if let Some(deadline_ns) = self.core.take_neigh_deadline() {
            cpu.program_timer(deadline_ns);
        }
    }

    /// Takes up a packet that came in by a NIC's queue of this CPU, if it is one
    /// for [`Early`]: the caller counts it then.
    #[inline]
    pub(crate) fn receive_early(&mut self, frame: Frame, station: Station) -> Result<(), Frame> {
        let udp = &mut self.transports.udp;
        self.early.receive(&mut self.core, udp, station, frame)
    }

    /// To be called before packets are taken up; see [`Early::revalidate`].
    #[inline]
    pub(crate) fn revalidate_early(&mut self) {
        self.early.revalidate(&self.core, &self.transports.udp);
    }

    /// Takes back the frames that applications are done with.
    pub(crate) fn collect(&mut self) {
        self.transports.udp.collect(&mut self.core.cache);
    }

    /// Whether [`Early`] may take packets: not when they are steered or tapped,
    /// since then all have to go by the layers.
    #[inline]
    pub(crate) fn is_early(&self) -> bool {
        !self.steering.is_active() && self.core.taps.is_empty()
    }

    /// Takes a packet up layer by layer (`netif_receive_skb`): here, or on the CPU
    /// that its flow belongs to (RPS).
    #[inline(never)]
    pub(crate) fn receive_by_layers(&mut self, frame: Frame, dev: IfIndex) {
        let mut skb = SkBuff::new(frame, dev);
        if let Some(cpu) = self.steer(&mut skb) {
            // What was handed over is counted where it arrives.
            let refused = self.core.steer(cpu, skb);
            if refused != Verdict::Delivered {
                self.core.count_received(&refused);
            }
            return;
        }
        self.receive_here(skb);
    }

    #[inline]
    pub(crate) fn receive_here(&mut self, skb: SkBuff) {
        let verdict = self.link.receive(&mut self.core, &mut self.transports, skb);
        self.core.count_received(&verdict);
    }

    /// Sends at most `most` of the packets that wait at this CPU's door.
    #[inline]
    fn send_waiting(&mut self, most: usize) {
        for _ in 0..most {
            match self.doors.tx.pop() {
                Some(TxMessage::Udp { socket, frame, to }) => {
                    self.transports.udp.send(&mut self.core, socket, frame, to);
                }
                Some(TxMessage::Xmit { dev, frame }) => self.core.xmit_handed(dev, frame),
                None => return,
            }
        }
    }

    /// The other CPU that a packet belongs to, if it is not this one.
    #[inline]
    fn steer(&self, skb: &mut SkBuff) -> Option<usize> {
        if !self.steering.is_active() {
            return None;
        }
        let (mut hash, kind) = skb.frame().hash();
        if kind == HashKind::None {
            let kind;
            (hash, kind) = self.steering.flow_hash(skb.data());
            skb.frame_mut().set_hash(hash, kind);
            if kind == HashKind::None {
                return None;
            }
        }
        let cpu = self.steering.cpu_of(hash);
        (cpu != self.core.cpu()).then_some(cpu)
    }

    /// A part of a device on this CPU.
    #[must_use]
    pub fn device(&self, index: IfIndex) -> Option<&NetDevice> {
        self.core.device(index)
    }
}

/// The NET_TX softirq: packets from applications and from other CPUs go out
/// (`net_tx_action`).
pub(crate) struct NetTxAction;

/// Packets that one NET_TX pass sends at most, before it lets others run.
const TX_BUDGET: usize = 256;

impl SoftIrq<Shard> for NetTxAction {
    fn vector(&self) -> Vector {
        Vector::NetTx
    }

    fn run(&mut self, cpu: &mut Cpu, shard: &mut Shard) {
        shard.begin(cpu);
        shard.send_waiting(TX_BUDGET);
        if !shard.doors.tx.is_empty() {
            cpu.raise(Vector::NetTx);
        }
        shard.end(cpu);
        shard.core.wake_senders();
    }
}

/// The TIMER softirq: neighbours and watchdogs.
pub(crate) struct TimerAction;

impl SoftIrq<Shard> for TimerAction {
    fn vector(&self) -> Vector {
        Vector::Timer
    }

    fn run(&mut self, cpu: &mut Cpu, shard: &mut Shard) {
        shard.begin(cpu);
        shard.core.run_neigh_timers();
        shard.collect();
        shard.run_watchdogs(cpu);
        for napi in shard.starved.drain(..) {
            napi.schedule();
        }
        if let Some(due_ns) = shard.softnet.poll_deferred(cpu.now_ns()) {
            cpu.program_timer(due_ns);
        }
        shard.end(cpu);
    }
}

/// The TASKLET softirq: the control plane's messages.
pub(crate) struct ControlAction;

impl SoftIrq<Shard> for ControlAction {
    fn vector(&self) -> Vector {
        Vector::Tasklet
    }

    fn run(&mut self, cpu: &mut Cpu, shard: &mut Shard) {
        shard.begin(cpu);
        while let Some(message) = shard.doors.control.pop() {
            match message {
                Control::Neighbour { dev, ip, mac, how } => {
                    // The device may have gone since.
                    if shard.core.device(dev).is_some() {
                        shard.core.neigh_learn(dev, ip, mac, how);
                    }
                }
                Control::Close(id) => {
                    // What the application sent before it closed still leaves.
                    shard.send_waiting(TX_MESSAGES);
                    shard.transports.udp.close(id);
                }
                #[cfg(feature = "std")]
                Control::Exec(work) => work(shard, cpu),
            }
        }
        shard.end(cpu);
    }
}

/// Packets that other CPUs steered here (`process_backlog`).
pub(crate) struct Backlog {
    packets: mpsc::Receiver<SkBuff>,
}

impl Backlog {
    pub(crate) fn new(packets: mpsc::Receiver<SkBuff>) -> Self {
        Self { packets }
    }
}

impl NapiPoll<Shard> for Backlog {
    fn poll(&mut self, shard: &mut Shard, cpu: &mut Cpu, budget: Budget) -> PollOutcome {
        shard.begin(cpu);
        let packets = self
            .packets
            .pop_each(budget.0, |skb| shard.receive_here(skb));
        shard.end(cpu);
        PollOutcome::from_packets(packets, budget)
    }

    fn can_busy_poll(&self) -> bool {
        false
    }

    /// The backlog's interrupt is a call by another CPU; there is none to mask.
    fn mask_irq(&self) {}

    /// Other CPUs schedule after each batch that they push, so what arrives
    /// between the last pop and here schedules again by itself.
    fn unmask_irq(&self) {}
}
