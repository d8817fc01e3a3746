#![doc = include_str!("../README.md")]
#![expect(
    non_camel_case_types,
    reason = "types have the names under which C knows them"
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "the header's introduction says once, for all functions, what pointers must be"
)]

mod address;
mod error;
mod handle;
mod memory;

// The functions stand in the header in the order of these modules; the empty
// lines keep rustfmt from sorting them.
mod result;

mod config;

mod stack;

mod wire;

mod nic;

mod sock;

mod frame;

mod counters;

pub use config::{
    softnet_clock, softnet_config, softnet_config_init, softnet_nic_config, softnet_nic_config_init,
};
pub use counters::{
    softnet_counter, softnet_counter_fn, softnet_counters, softnet_counters_read,
    softnet_counters_visit,
};
pub use frame::{
    softnet_datagram, softnet_frame, softnet_frame_release, softnet_frame_send, softnet_recv_borrow,
};
pub use nic::{
    softnet_nic, softnet_nic_add, softnet_nic_add_address, softnet_nic_add_neighbour,
    softnet_nic_add_route, softnet_nic_mac, softnet_nic_remove, softnet_nic_wait_link,
};
pub use result::{softnet_last_error, softnet_result, softnet_strerror, softnet_version};
pub use sock::{
    softnet_bind, softnet_close, softnet_connect, softnet_getpeername, softnet_getsockname,
    softnet_getsockopt, softnet_poll_fd, softnet_recvfrom, softnet_send, softnet_sendto,
    softnet_setsockopt, softnet_sock, softnet_socket,
};
pub use stack::{
    softnet_progress, softnet_stack, softnet_stack_advance, softnet_stack_free, softnet_stack_new,
    softnet_stack_now, softnet_stack_run_for, softnet_stack_run_once, softnet_stack_run_until_idle,
    softnet_stack_start, softnet_stack_stop,
};
pub use wire::{
    softnet_wire, softnet_wire_cable, softnet_wire_free, softnet_wire_open, softnet_wire_record,
};
