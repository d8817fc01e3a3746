//! The structures in which C describes a stack and a NIC.

use crate::memory::{self, Versioned};
use crate::result::{Code, Error, boundary, softnet_result};
use softnet::dma_ring::PoolConfig;
use softnet::netstack::StackConfig;
use softnet::nic_hal::MacAddress;
use softnet::softirq::VirtualClock;
use softnet::{NicConfig, NicKind, Time};
use std::ffi::c_char;
use std::sync::Arc;

/// Where a stack takes its time from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum softnet_clock {
    /// The system's monotonic clock, from 0 on.
    SOFTNET_CLOCK_MONOTONIC = 0,
    /// A clock that stands still until softnet_stack_advance(),
    /// softnet_stack_run_for() or a receive with a timeout moves it. The stack is
    /// inline then, and with the same seed two runs do exactly the same.
    SOFTNET_CLOCK_VIRTUAL = 1,
}

/// The shape of a stack. Fill it with softnet_config_init(), then change what
/// should be different.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct softnet_config {
    /// Bytes of this structure; softnet_config_init() sets it.
    pub size: usize,
    /// CPUs, 1 to 64: each has its own share of the flows, and its own thread
    /// after softnet_stack_start(). Default: 1.
    pub cpus: u32,
    /// A softnet_clock. Default: SOFTNET_CLOCK_MONOTONIC.
    pub clock: u32,
    /// What all randomness comes from: ports, identifications, timeouts. Give one
    /// that an attacker cannot guess. Default: 0.
    pub seed: u64,
    /// Frames of all CPUs, rings and sockets together. Default: 4096.
    pub frames: u32,
    /// Bytes of a frame's buffer, a multiple of 64, the headers' 128 bytes
    /// included. Default: 2176.
    pub frame_size: u32,
}

/// How a NIC is plugged in. Fill it with softnet_nic_config_init(), then change
/// what should be different.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct softnet_nic_config {
    /// Bytes of this structure; softnet_nic_config_init() sets it.
    pub size: usize,
    /// The chip: "e1000" (Intel 82540EM), "igb" (Intel 82576) or "ne2000" (NE2000
    /// on PCI); NULL: "e1000".
    pub model: *const c_char,
    /// The device's name; NULL: "eth0", "eth1", ...
    pub name: *const c_char,
    /// The station address; all zeros: one is chosen.
    pub mac: [u8; 6],
    /// The largest IP packet, in bytes; 0: 1500.
    pub mtu: u16,
    /// Descriptors of each ring; 0: 256.
    pub ring: u16,
    /// 1 if frames to other stations come in too. Default: 0.
    pub promiscuous: u8,
    /// Zeros.
    pub reserved: [u8; 5],
}

// SAFETY: C's layout, the size first, and numbers only.
unsafe impl Versioned for softnet_config {
    const OLDEST: usize = 32;
    const NAME: &'static str = "softnet_config";

    fn defaults() -> Self {
        let pool = PoolConfig::default();
        Self {
            size: size_of::<Self>(),
            cpus: 1,
            clock: softnet_clock::SOFTNET_CLOCK_MONOTONIC as u32,
            seed: 0,
            frames: pool.frames,
            frame_size: pool.buffer_size,
        }
    }
}

// SAFETY: C's layout, the size first, and numbers and pointers only.
unsafe impl Versioned for softnet_nic_config {
    const OLDEST: usize = 40;
    const NAME: &'static str = "softnet_nic_config";

    fn defaults() -> Self {
        Self {
            size: size_of::<Self>(),
            model: std::ptr::null(),
            name: std::ptr::null(),
            mac: [0; 6],
            mtu: 0,
            ring: 0,
            promiscuous: 0,
            reserved: [0; 5],
        }
    }
}

/// Fills a configuration with the defaults that its fields tell. `size` is
/// `sizeof *config`.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_config_init(
    config: *mut softnet_config,
    size: usize,
) -> softnet_result {
    // SAFETY: the caller has `size` bytes there.
    boundary(|| unsafe { init(config, size) })
}

/// Fills a NIC's configuration with the defaults that its fields tell. `size` is
/// `sizeof *config`.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softnet_nic_config_init(
    config: *mut softnet_nic_config,
    size: usize,
) -> softnet_result {
    // SAFETY: the caller has `size` bytes there.
    boundary(|| unsafe { init(config, size) })
}

/// # Safety
/// `to` is NULL, or good for writing `size` bytes.
unsafe fn init<T: Versioned>(to: *mut T, size: usize) -> Result<(), Error> {
    // SAFETY: the caller vouches for it.
    unsafe { memory::write_sized(to, size, &T::defaults()) }?;
    // SAFETY: every version begins with its size, which is that of the caller.
    unsafe { memory::store(to.cast(), size, T::NAME) }
}

impl softnet_config {
    /// The stack that is described, and its clock.
    pub(crate) fn to_stack(self) -> Result<(StackConfig, Time), Error> {
        let pool = PoolConfig {
            frames: self.frames,
            buffer_size: self.frame_size,
            ..PoolConfig::default()
        };
        let config = StackConfig {
            cpus: self.cpus as usize,
            pool,
            seed: self.seed,
            ..StackConfig::default()
        };
        let time = match self.clock {
            0 => Time::Real,
            1 => Time::Virtual(Arc::new(VirtualClock::new(0))),
            other => return Err(Error::invalid(format_args!("there is no clock {other}"))),
        };
        Ok((config, time))
    }
}

impl softnet_nic_config {
    /// The NIC that is described.
    ///
    /// # Safety
    /// `model` and `name` are NULL or strings.
    pub(crate) unsafe fn to_nic(self) -> Result<(NicKind, NicConfig), Error> {
        // SAFETY: the caller vouches for it.
        let model = unsafe { memory::optional_string(self.model, "model") }?;
        let kind = model.map_or(Ok(NicKind::default()), str::parse);
        let kind = kind.map_err(|error| Error::new(Code::SOFTNET_RESULT_UNSUPPORTED, error))?;
        // SAFETY: as above.
        let name = unsafe { memory::optional_string(self.name, "name") }?;
        let config = NicConfig {
            mac: Some(MacAddress(self.mac)).filter(|mac| mac.0 != [0; 6]),
            name: name.map(str::to_owned),
            ring: Some(self.ring).filter(|&ring| ring != 0),
            mtu: Some(self.mtu).filter(|&mtu| mtu != 0),
            promiscuous: self.promiscuous != 0,
        };
        Ok((kind, config))
    }
}
