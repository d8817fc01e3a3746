//! XDP features, NAPI instances and queues, through the generic netlink family
//! `netdev` (Documentation/netlink/specs/netdev.yaml).

use super::attributes::{Attribute, Attributes, Read, attribute};
use super::error::Refusal;
use super::uapi::netdev;
use bitflags::bitflags;
use serde::Serialize;

bitflags! {
    /// What a driver's XDP can do (`NETDEV_XDP_ACT_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct XdpFeatures: u64 {
        /// XDP_ABORTED, XDP_DROP, XDP_PASS and XDP_TX.
        const BASIC = 1;
        /// XDP_REDIRECT, without which no XDP socket gets a frame in driver mode.
        const REDIRECT = 1 << 1;
        /// It sends frames that are redirected to it.
        const NDO_XMIT = 1 << 2;
        /// XDP sockets without a copy.
        const XSK_ZEROCOPY = 1 << 3;
        /// Programs that run in the NIC.
        const HW_OFFLOAD = 1 << 4;
        /// Frames in several buffers.
        const RX_SG = 1 << 5;
        /// Frames in several buffers that are redirected to it.
        const NDO_XMIT_SG = 1 << 6;
    }

    /// What an XDP program can ask the driver about a frame
    /// (`NETDEV_XDP_RX_METADATA_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RxMetadata: u64 {
        /// When the NIC received it.
        const TIMESTAMP = 1;
        /// The hash that the NIC computed.
        const HASH = 1 << 1;
        /// The VLAN tag that the NIC took off.
        const VLAN_TAG = 1 << 2;
    }

    /// What a sender may ask of the driver by a frame's metadata
    /// (`NETDEV_XSK_FLAGS_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct XskFeatures: u64 {
        /// When the frame was sent.
        const TX_TIMESTAMP = 1;
        /// To fill in a checksum.
        const TX_CHECKSUM = 1 << 1;
        /// To send it at a given time.
        const TX_LAUNCH_TIME_FIFO = 1 << 2;
    }
}

/// What the driver says about XDP (`NETDEV_CMD_DEV_GET`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpDevice {
    /// What its XDP can do; empty for a driver without XDP.
    pub features: XdpFeatures,
    /// Descriptors that a frame may have in zero-copy mode; `None` if zero-copy
    /// is not there.
    pub zc_max_segs: Option<u32>,
    /// What a program can ask about a received frame.
    pub rx_metadata: RxMetadata,
    /// What a sender can ask for a frame; `None` if the kernel does not tell.
    pub xsk: Option<XskFeatures>,
}

/// A NAPI instance of the interface (`NETDEV_CMD_NAPI_GET`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Napi {
    /// Its number; `SO_INCOMING_NAPI_ID` gives the same.
    pub id: u32,
    /// Its interrupt.
    pub irq: Option<u32>,
    /// When its interrupts are held back; `None` on kernels before 6.13.
    pub deferral: Option<Deferral>,
}

/// When a NAPI instance leaves its interrupt masked, so that busy polling is not
/// disturbed (Documentation/networking/napi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Deferral {
    /// Consecutive empty polls after which the interrupt is unmasked; 0 unmasks
    /// at once.
    pub defer_hard_irqs: u32,
    /// How long a timer waits before it polls, while the interrupt is masked,
    /// in nanoseconds; 0 is no timer.
    pub gro_flush_timeout_ns: u64,
    /// How long the interrupt stays masked while an application polls busily
    /// and finds packets, in nanoseconds; 0 is not at all.
    pub irq_suspend_timeout_ns: u64,
}

/// A queue of the interface (`NETDEV_CMD_QUEUE_GET`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Queue {
    /// Its number within its direction.
    pub id: u32,
    /// Its direction.
    pub direction: Direction,
    /// The NAPI instance that polls it.
    pub napi: Option<u32>,
    /// Whether an XDP socket in zero-copy mode has it.
    pub has_xsk: bool,
}

/// Which way a queue goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It receives.
    Rx,
    /// It sends.
    Tx,
}

pub(super) fn device_request(index: u32) -> Result<Vec<Attribute>, Refusal> {
    Ok(vec![attribute(netdev::DEV_IFINDEX, index)?])
}

pub(super) fn parse_device(answer: &Attributes) -> XdpDevice {
    let bits = |kind| answer.uint(kind);
    XdpDevice {
        features: XdpFeatures::from_bits_retain(bits(netdev::DEV_XDP_FEATURES).unwrap_or(0)),
        zc_max_segs: answer.u32(netdev::DEV_XDP_ZC_MAX_SEGS),
        rx_metadata: RxMetadata::from_bits_retain(bits(netdev::DEV_RX_METADATA).unwrap_or(0)),
        xsk: bits(netdev::DEV_XSK_FEATURES).map(XskFeatures::from_bits_retain),
    }
}

pub(super) fn napi_request(index: u32) -> Result<Vec<Attribute>, Refusal> {
    Ok(vec![attribute(netdev::NAPI_IFINDEX, index)?])
}

pub(super) fn parse_napi(answer: &Attributes) -> Option<Napi> {
    Some(Napi {
        id: answer.u32(netdev::NAPI_ID)?,
        irq: answer.u32(netdev::NAPI_IRQ),
        deferral: deferral(answer),
    })
}

fn deferral(answer: &Attributes) -> Option<Deferral> {
    let suspend = answer.uint(netdev::NAPI_IRQ_SUSPEND_TIMEOUT);
    Some(Deferral {
        defer_hard_irqs: answer.u32(netdev::NAPI_DEFER_HARD_IRQS)?,
        gro_flush_timeout_ns: answer.uint(netdev::NAPI_GRO_FLUSH_TIMEOUT)?,
        irq_suspend_timeout_ns: suspend.unwrap_or(0),
    })
}

/// Only what differs is asked for, so that a kernel without the newest of the
/// three takes the others.
pub(super) fn deferral_request(
    napi: u32,
    now: Deferral,
    wanted: Deferral,
) -> Result<Vec<Attribute>, Refusal> {
    let mut request = vec![attribute(netdev::NAPI_ID, napi)?];
    if now.defer_hard_irqs != wanted.defer_hard_irqs {
        request.push(attribute(
            netdev::NAPI_DEFER_HARD_IRQS,
            wanted.defer_hard_irqs,
        )?);
    }
    for (kind, now, wanted) in [
        (
            netdev::NAPI_GRO_FLUSH_TIMEOUT,
            now.gro_flush_timeout_ns,
            wanted.gro_flush_timeout_ns,
        ),
        (
            netdev::NAPI_IRQ_SUSPEND_TIMEOUT,
            now.irq_suspend_timeout_ns,
            wanted.irq_suspend_timeout_ns,
        ),
    ] {
        if now != wanted {
            request.push(attribute(kind, wanted)?);
        }
    }
    Ok(request)
}

pub(super) fn queue_request(index: u32) -> Result<Vec<Attribute>, Refusal> {
    Ok(vec![attribute(netdev::QUEUE_IFINDEX, index)?])
}

pub(super) fn parse_queue(answer: &Attributes) -> Option<Queue> {
    let direction = match answer.u32(netdev::QUEUE_TYPE)? {
        0 => Direction::Rx,
        1 => Direction::Tx,
        _ => return None,
    };
    Some(Queue {
        id: answer.u32(netdev::QUEUE_ID)?,
        direction,
        napi: answer.u32(netdev::QUEUE_NAPI_ID),
        has_xsk: answer.bytes(netdev::QUEUE_XSK).is_some(),
    })
}
