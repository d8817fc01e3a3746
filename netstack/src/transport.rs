//! The transport protocols of one CPU, by IP protocol number (`inet_protos`).

use crate::drop::DropReason;
use crate::icmp;
use crate::link::HandlerTaken;
use crate::mib::Snmp;
use crate::netcore::NetCore;
use crate::protocol::{NetContext, ProtocolHandler, Verdict};
use crate::skb::SkBuff;
use crate::udp::Udp;
use crate::wire::icmpv4::Unreachable;
use crate::wire::ipv4::IpProtocol;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One CPU's transport protocols. UDP and ICMP are built in.
pub(crate) struct Transports {
    pub(crate) udp: Udp,
    others: Vec<(u8, Box<dyn ProtocolHandler>)>,
}

impl Transports {
    pub(crate) fn new(udp: Udp) -> Self {
        Self {
            udp,
            others: Vec::new(),
        }
    }

    /// Adds the handler of a protocol number (`inet_add_protocol`).
    ///
    /// # Errors
    /// [`HandlerTaken`] when it has one, or is built in.
    pub(crate) fn add(
        &mut self,
        protocol: IpProtocol,
        handler: Box<dyn ProtocolHandler>,
    ) -> Result<(), HandlerTaken> {
        let built_in = [IpProtocol::UDP, IpProtocol::ICMP].contains(&protocol);
        if built_in || self.others.iter().any(|(have, _)| *have == protocol.0) {
            return Err(HandlerTaken("the IP protocol number"));
        }
        self.others.push((protocol.0, handler));
        Ok(())
    }

    /// Delivers a packet of this host; its data starts at the transport header
    /// (`ip_local_deliver_finish`).
    #[inline]
    pub(crate) fn receive(&mut self, core: &mut NetCore, protocol: u8, skb: SkBuff) -> Verdict {
        match IpProtocol(protocol) {
            IpProtocol::UDP => {
                core.mib().inc(Snmp::IpInDelivers);
                self.udp.receive(core, skb)
            }
            IpProtocol::ICMP => {
                core.mib().inc(Snmp::IpInDelivers);
                icmp::receive(core, &self.udp, skb)
            }
            _ => self.receive_other(core, protocol, skb),
        }
    }

    fn receive_other(&mut self, core: &mut NetCore, protocol: u8, skb: SkBuff) -> Verdict {
        if let Some((_, handler)) = self.others.iter_mut().find(|(have, _)| *have == protocol) {
            core.mib().inc(Snmp::IpInDelivers);
            return handler.receive(&mut NetContext::transport(core), skb);
        }
        // RFC 1122 section 3.2.2.1: a protocol that nobody handles is answered.
        core.mib().inc(Snmp::IpInUnknownProtos);
        core.icmp_unreachable(&skb, Unreachable::Protocol);
        core.kfree_skb(skb, DropReason::IpNoproto)
    }
}
