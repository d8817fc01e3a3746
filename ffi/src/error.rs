//! What the layers below refuse, as results.

use crate::result::{Code, Error};
use softnet::MachineError;
use softnet::netstack::route::RouteError;
use softnet::netstack::{BindError, RecvError, SendError, StackError};
use softnet::wire::pcap::PcapError;
use softnet::wire::tap::TapError;

impl From<MachineError> for Error {
    fn from(error: MachineError) -> Self {
        match error {
            MachineError::Stack(error) => error.into(),
            MachineError::VirtualTime | MachineError::Running => {
                Self::new(Code::SOFTNET_RESULT_STATE, error)
            }
            MachineError::Attach(_) => Self::new(Code::SOFTNET_RESULT_NO_RESOURCES, error),
            MachineError::Probe(_) | MachineError::NoDriver | MachineError::Nic(_) => {
                Self::new(Code::SOFTNET_RESULT_DEVICE, error)
            }
            _ => Self::new(Code::SOFTNET_RESULT_SYSTEM, error),
        }
    }
}

impl From<StackError> for Error {
    fn from(error: StackError) -> Self {
        let code = match &error {
            StackError::Cpus(_)
            | StackError::Frames(_)
            | StackError::Pool(_)
            | StackError::Prefix { .. }
            | StackError::BadAddress(_) => Code::SOFTNET_RESULT_INVALID,
            StackError::Family(_) => Code::SOFTNET_RESULT_UNSUPPORTED,
            StackError::Nic(_) => Code::SOFTNET_RESULT_DEVICE,
            StackError::Route(RouteError::Exists { .. }) | StackError::AddressExists(_) => {
                Code::SOFTNET_RESULT_EXISTS
            }
            StackError::Route(_) => Code::SOFTNET_RESULT_INVALID,
            StackError::NoDevice(_) | StackError::NotLocal(_) => Code::SOFTNET_RESULT_NOT_FOUND,
            StackError::Napi(_) | StackError::TooManyDevices => Code::SOFTNET_RESULT_NO_RESOURCES,
            StackError::Running => Code::SOFTNET_RESULT_STATE,
            _ => Code::SOFTNET_RESULT_SYSTEM,
        };
        Self::new(code, error)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        let code = match &error {
            BindError::InUse(_) => Code::SOFTNET_RESULT_ADDRESS_IN_USE,
            BindError::NotLocal(_) => Code::SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE,
            BindError::Exhausted(_) => Code::SOFTNET_RESULT_NO_RESOURCES,
            BindError::Family(_) => Code::SOFTNET_RESULT_UNSUPPORTED,
            BindError::NoRoute(_) => Code::SOFTNET_RESULT_NETWORK_UNREACHABLE,
            BindError::BadPeer(_) => Code::SOFTNET_RESULT_INVALID,
            _ => Code::SOFTNET_RESULT_SYSTEM,
        };
        Self::new(code, error)
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Self {
        let code = match error {
            // Ordinary outcomes cost no message.
            RecvError::WouldBlock => return Code::SOFTNET_RESULT_WOULD_BLOCK.into(),
            RecvError::TimedOut => return Code::SOFTNET_RESULT_TIMED_OUT.into(),
            RecvError::ConnectionRefused => Code::SOFTNET_RESULT_CONNECTION_REFUSED,
            RecvError::NetworkUnreachable => Code::SOFTNET_RESULT_NETWORK_UNREACHABLE,
            RecvError::HostUnreachable => Code::SOFTNET_RESULT_HOST_UNREACHABLE,
            RecvError::MessageTooLong => Code::SOFTNET_RESULT_MESSAGE_TOO_LONG,
            RecvError::Prohibited => Code::SOFTNET_RESULT_PROHIBITED,
            _ => Code::SOFTNET_RESULT_SYSTEM,
        };
        Self::new(code, error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        let code = match error {
            SendError::WouldBlock => return Code::SOFTNET_RESULT_WOULD_BLOCK.into(),
            SendError::NoBuffers => Code::SOFTNET_RESULT_NO_RESOURCES,
            SendError::TooLong { .. } => Code::SOFTNET_RESULT_MESSAGE_TOO_LONG,
            SendError::NotConnected => Code::SOFTNET_RESULT_NOT_CONNECTED,
            SendError::BadDestination(to) if !to.is_ipv4() => Code::SOFTNET_RESULT_UNSUPPORTED,
            SendError::BadDestination(_) => Code::SOFTNET_RESULT_INVALID,
            _ => Code::SOFTNET_RESULT_SYSTEM,
        };
        Self::new(code, error)
    }
}

impl From<TapError> for Error {
    fn from(error: TapError) -> Self {
        Self::new(Code::SOFTNET_RESULT_SYSTEM, error)
    }
}

impl From<PcapError> for Error {
    fn from(error: PcapError) -> Self {
        Self::new(Code::SOFTNET_RESULT_SYSTEM, error)
    }
}
