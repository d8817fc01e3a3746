//! The applications on softnet's sockets.

use super::BATCH;
use super::scenario::{Scenario, Service};
use super::traffic::{OURS, Readers, port_of};
use anyhow::Result;
use core::net::{IpAddr, SocketAddr};
use softnet_netstack::{Stack, StackConfig, UdpOptions, UdpSocket};

/// How an application answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By way of a buffer of its own.
    Copied,
    /// In the frame that came in.
    SameFrame,
}

/// The sockets, read in the order in which datagrams come for them.
pub(crate) struct Apps {
    sockets: Vec<UdpSocket>,
    readers: Readers,
    answer: Answer,
    buffer: [u8; 2048],
}

impl Apps {
    pub(crate) fn open(stack: &mut Stack, scenario: &Scenario, answer: Answer) -> Result<Self> {
        let frame = StackConfig::default().pool.buffer_size as usize + 64;
        let options = UdpOptions {
            receive_buffer: BATCH * frame,
            ..UdpOptions::default()
        };
        let address = |socket| SocketAddr::new(IpAddr::V4(OURS), port_of(socket));
        let open = |socket| stack.udp_bind(address(socket), &options);
        Ok(Self {
            sockets: (0..scenario.sockets).map(open).collect::<Result<_, _>>()?,
            readers: Readers::new(scenario),
            answer,
            buffer: [0; 2048],
        })
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Serves as many datagrams; returns how many there were.
    #[inline]
    pub(crate) fn serve(&mut self, service: Service, batch: usize) -> usize {
        let mut served = 0;
        for _ in 0..batch {
            let done = match (service, self.answer) {
                (Service::Receive, _) => self.receive().is_some(),
                (_, Answer::Copied) => self.echo().is_some(),
                (_, Answer::SameFrame) => self.echo_in_place().is_some(),
            };
            served += usize::from(done);
        }
        served
    }

    #[inline]
    fn receive(&mut self) -> Option<usize> {
        let socket = &mut self.sockets[self.readers.next()];
        let (len, _) = socket.try_recv_from(&mut self.buffer).ok()?;
        Some(len)
    }

    #[inline]
    fn echo(&mut self) -> Option<()> {
        let socket = &mut self.sockets[self.readers.next()];
        let (len, from) = socket.try_recv_from(&mut self.buffer).ok()?;
        socket.try_send_to(&self.buffer[..len], from).ok()
    }

    #[inline]
    fn echo_in_place(&mut self) -> Option<()> {
        let socket = &mut self.sockets[self.readers.next()];
        let datagram = socket.try_recv().ok()?;
        let from = datagram.from();
        socket.try_send_datagram(datagram, from).ok()
    }
}
