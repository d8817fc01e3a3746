/* SPDX-License-Identifier: MIT OR Apache-2.0 */

/*
 * softnet: the Linux packet path in user space, for C99 and C++.
 *
 * This file is generated from the sources of softnet-ffi. Do not edit it.
 *
 * Results. Every function that can fail returns a softnet_result:
 * SOFTNET_RESULT_OK (0), or a negative number. softnet_strerror() has a few words
 * for each, softnet_last_error() the full sentence of the calling thread's last
 * failure. What a function gives back it stores through its last pointers, and
 * only when it succeeds. Results that any function may return are not repeated
 * with it: SOFTNET_RESULT_NULL, _BAD_HANDLE, _WRONG_KIND, _CLOSED, _SYSTEM,
 * _PANIC.
 *
 * Handles. Stacks, NICs, wires, sockets and borrowed frames are handles: pointers
 * that are compared and passed on, never followed. NULL, a handle that was closed
 * (also twice), one of another kind and one that was made up are refused with a
 * result; they do no harm.
 *
 * Pointers. Any other pointer must be NULL, which is refused where it makes no
 * sense, or point to what the function says, for as long as the call takes. The
 * library keeps none of them. Texts end with a NUL and are UTF-8. What the library
 * lends (a borrowed datagram's payload, softnet_last_error()) says how long.
 *
 * Threads. Every function may be called from any thread at any time, except in a
 * signal handler, and in a child after fork(2). Calls on one stack's control
 * plane wait for each other; the packet path of a stack with threads waits for
 * none of them. A panic of the library never crosses into C: it becomes
 * SOFTNET_RESULT_PANIC.
 *
 * Addresses are those of <netinet/in.h>: port and address in network byte order.
 */

#ifndef SOFTNET_H
#define SOFTNET_H

#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

// What a call came to. Zero is success, everything else is negative.
typedef enum {
    // The call did what it was asked to do.
    SOFTNET_RESULT_OK = 0,
    // A pointer or a handle is NULL that must not be.
    SOFTNET_RESULT_NULL = -1,
    // The handle was freed or closed already, or was never given out.
    SOFTNET_RESULT_BAD_HANDLE = -2,
    // The handle is of another kind, such as a NIC's for a socket's.
    SOFTNET_RESULT_WRONG_KIND = -3,
    // Another thread waits for the socket's datagrams already.
    SOFTNET_RESULT_BUSY = -4,
    // An argument makes no sense; softnet_last_error() says which and why.
    SOFTNET_RESULT_INVALID = -5,
    // The address family, the socket type or the option is not supported.
    SOFTNET_RESULT_UNSUPPORTED = -6,
    // There is nothing to receive now, or no room to send now.
    SOFTNET_RESULT_WOULD_BLOCK = -7,
    // Nothing came until the time was up.
    SOFTNET_RESULT_TIMED_OUT = -8,
    // Another thread closed the socket, or freed its stack, meanwhile.
    SOFTNET_RESULT_CLOSED = -9,
    // Another socket is bound to the address.
    SOFTNET_RESULT_ADDRESS_IN_USE = -10,
    // It is not an address of this stack.
    SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE = -11,
    // There is no route, or a router said so of an earlier datagram.
    SOFTNET_RESULT_NETWORK_UNREACHABLE = -12,
    // The host of an earlier datagram does not answer.
    SOFTNET_RESULT_HOST_UNREACHABLE = -13,
    // Nobody listened on the port of an earlier datagram.
    SOFTNET_RESULT_CONNECTION_REFUSED = -14,
    // The datagram is too long.
    SOFTNET_RESULT_MESSAGE_TOO_LONG = -15,
    // The socket is not connected, and no destination was given.
    SOFTNET_RESULT_NOT_CONNECTED = -16,
    // The socket is bound already: bind it once, and set options before.
    SOFTNET_RESULT_BOUND = -17,
    // The destination is a broadcast address and SO_BROADCAST is not set.
    SOFTNET_RESULT_PROHIBITED = -18,
    // All frames, ports or handles are in use.
    SOFTNET_RESULT_NO_RESOURCES = -19,
    // There is such an address or route already.
    SOFTNET_RESULT_EXISTS = -20,
    // There is no such device, address or file.
    SOFTNET_RESULT_NOT_FOUND = -21,
    // The call does not fit how the stack runs: inline, on threads, or with
    // another clock.
    SOFTNET_RESULT_STATE = -22,
    // The NIC refused.
    SOFTNET_RESULT_DEVICE = -23,
    // The operating system refused.
    SOFTNET_RESULT_SYSTEM = -24,
    // A defect of the library. The object may only be freed after this.
    SOFTNET_RESULT_PANIC = -25,
} softnet_result;

// Where a stack takes its time from.
typedef enum {
    // The system's monotonic clock, from 0 on.
    SOFTNET_CLOCK_MONOTONIC = 0,
    // A clock that stands still until softnet_stack_advance(),
    // softnet_stack_run_for() or a receive with a timeout moves it. The stack is
    // inline then, and with the same seed two runs do exactly the same.
    SOFTNET_CLOCK_VIRTUAL = 1,
} softnet_clock;

// A frame that was borrowed from a stack.
typedef struct softnet_frame softnet_frame;

// A NIC in a stack's service.
typedef struct softnet_nic softnet_nic;

// A socket.
//
// Any thread may use it at any time: calls wait for each other, but not for a
// receive that waits for a datagram. Two receives cannot wait at once.
typedef struct softnet_sock softnet_sock;

// A network stack with its NICs.
typedef struct softnet_stack softnet_stack;

// One end of an Ethernet link, before a NIC is plugged into it.
typedef struct softnet_wire softnet_wire;

// The shape of a stack. Fill it with softnet_config_init(), then change what
// should be different.
typedef struct {
    // Bytes of this structure; softnet_config_init() sets it.
    size_t size;
    // CPUs, 1 to 64: each has its own share of the flows, and its own thread
    // after softnet_stack_start(). Default: 1.
    uint32_t cpus;
    // A softnet_clock. Default: SOFTNET_CLOCK_MONOTONIC.
    uint32_t clock;
    // What all randomness comes from: ports, identifications, timeouts. Give one
    // that an attacker cannot guess. Default: 0.
    uint64_t seed;
    // Frames of all CPUs, rings and sockets together. Default: 4096.
    uint32_t frames;
    // Bytes of a frame's buffer, a multiple of 64, the headers' 128 bytes
    // included. Default: 2176.
    uint32_t frame_size;
} softnet_config;

// How a NIC is plugged in. Fill it with softnet_nic_config_init(), then change
// what should be different.
typedef struct {
    // Bytes of this structure; softnet_nic_config_init() sets it.
    size_t size;
    // The chip: "e1000" (Intel 82540EM), "igb" (Intel 82576) or "ne2000" (NE2000
    // on PCI); NULL: "e1000".
    const char *model;
    // The device's name; NULL: "eth0", "eth1", ...
    const char *name;
    // The station address; all zeros: one is chosen.
    uint8_t mac[6];
    // The largest IP packet, in bytes; 0: 1500.
    uint16_t mtu;
    // Descriptors of each ring; 0: 256.
    uint16_t ring;
    // 1 if frames to other stations come in too. Default: 0.
    uint8_t promiscuous;
    // Zeros.
    uint8_t reserved[5];
} softnet_nic_config;

// What one turn of an inline stack came to.
typedef struct {
    // When the next timer is due, in nanoseconds of the stack's clock;
    // UINT64_MAX: only after something from outside.
    uint64_t next_event_ns;
    // 1 if a device or a softirq did anything, 0 if nothing is left to do at
    // this time.
    uint32_t worked;
    // 0.
    uint32_t reserved;
} softnet_progress;

// A datagram that was received without a copy.
typedef struct {
    // What is given back with softnet_frame_release() or softnet_frame_send().
    softnet_frame *frame;
    // The payload, which may be changed in place. It is the caller's until the
    // frame is given back.
    uint8_t *data;
    // Bytes of the payload.
    size_t len;
    // When it was received, in nanoseconds of the stack's clock; UINT64_MAX if
    // that is not known.
    uint64_t timestamp_ns;
    // Who sent it.
    struct sockaddr_storage from;
    // To which of the stack's addresses, or to which broadcast address.
    struct sockaddr_storage to;
} softnet_datagram;

// The main counters of a stack, of all its CPUs and NICs together, from its
// beginning. softnet_counters_visit() has all the others.
typedef struct {
    // Bytes of this structure that were filled.
    size_t size;
    // When they were read, in nanoseconds of the stack's clock.
    uint64_t time_ns;
    // Packets that the NICs received and handed to the stack.
    uint64_t rx_packets;
    // Bytes of those, without FCS.
    uint64_t rx_bytes;
    // Packets that the NICs have sent.
    uint64_t tx_packets;
    // Bytes of those, without FCS.
    uint64_t tx_bytes;
    // Packets that found no free receive descriptor: lost at the NIC.
    uint64_t rx_missed;
    // Hard interrupts.
    uint64_t interrupts;
    // Runs of the NET_RX softirq.
    uint64_t net_rx;
    // Runs of the NET_TX softirq.
    uint64_t net_tx;
    // Times that NAPI polled a NIC.
    uint64_t napi_polls;
    // Packets that the CPUs took from NICs and backlogs: the first column of
    // /proc/net/softnet_stat.
    uint64_t processed;
    // Times that NET_RX stopped at its budget: the third column.
    uint64_t time_squeeze;
    // Received packets that reached somebody: a socket, a reply, a cache.
    uint64_t delivered;
    // Received packets that were dropped.
    uint64_t rx_dropped;
    // All packets that were dropped, those to be sent too.
    uint64_t dropped;
    // UDP datagrams queued to a socket.
    uint64_t udp_in_datagrams;
    // UDP datagrams sent.
    uint64_t udp_out_datagrams;
    // UDP datagrams for a port on which nobody listens.
    uint64_t udp_no_ports;
    // UDP datagrams dropped because a socket's receive buffer was full.
    uint64_t udp_rcvbuf_errors;
} softnet_counters;

// One counter, as softnet_counters_visit() shows it. The texts are valid during
// the call.
typedef struct {
    // Where it comes from: "device" (as in `ip -s link`), "ethtool", "queue",
    // "chip", "wire", "interrupts", "softirqs", "softnet_stat", "snmp" or
    // "drops".
    const char *group;
    // Whose it is: the device ("eth0"), the interrupt's line ("16 e1000"), the
    // protocol ("Udp"); "" where there is nothing to tell apart.
    const char *object;
    // The counter's name: "rx_packets", "NET_RX", "NoPorts", "NO_SOCKET".
    const char *name;
    // For drops: what happened, and what to do about it. NULL otherwise.
    const char *explanation;
    // Its value.
    uint64_t value;
    // The CPU that counted it, or -1 for all together.
    int cpu;
} softnet_counter;

// What softnet_counters_visit() calls for each counter, with the caller's `user`.
// It must return: no longjmp(3), no exception. It may call the library.
typedef void (*softnet_counter_fn)(void *user, const softnet_counter *counter);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A few words for a result. For a number that is no result they say that.
//
// The text is static: never freed, the same for ever.
//
// Thread-safe.
const char *softnet_strerror(int result);

// The full sentence of the last call that failed on the calling thread, with
// the values that it was about: "10.0.0.9 is not an address of this host".
// Calls that succeed leave it as it is.
//
// The text belongs to the library and stands until the next call on this thread
// that fails. Never NULL.
//
// Thread-safe: each thread has its own.
const char *softnet_last_error(void);

// The library's version, such as "0.1.0".
//
// The text is static: never freed.
//
// Thread-safe.
const char *softnet_version(void);

// Fills a configuration with the defaults that its fields tell. `size` is
// `sizeof *config`.
//
// Thread-safe.
softnet_result softnet_config_init(softnet_config *config, size_t size);

// Fills a NIC's configuration with the defaults that its fields tell. `size` is
// `sizeof *config`.
//
// Thread-safe.
softnet_result softnet_nic_config_init(softnet_nic_config *config, size_t size);

// Makes a stack. It has no NIC yet, and is inline: it does nothing but in the
// calls that run it, on the calling thread. softnet_stack_start() gives it
// threads. `config` may be NULL, for the defaults; it is not kept.
//
// The caller owns `*out_stack` and frees it with softnet_stack_free(). On a
// failure nothing is stored.
//
// SOFTNET_RESULT_INVALID: the configuration cannot be.
//
// Thread-safe.
softnet_result softnet_stack_new(const softnet_config *config,
                                 softnet_stack **out_stack);

// Stops and frees a stack with its NICs and sockets: all their handles are bad
// afterwards, and calls that wait for a datagram return SOFTNET_RESULT_CLOSED.
// Frames that were borrowed stay until they are released.
//
// Thread-safe. Waits until other calls on the stack have returned.
softnet_result softnet_stack_free(softnet_stack *stack);

// Gives each CPU of the stack, and each NIC, a thread of its own. From now on
// it runs by itself.
//
// `pin_to` names the machine's core for each CPU of the stack, as far as
// `pin_count` goes; NULL and 0 leave that to the system. An idle CPU spins for
// `spin_ns` nanoseconds before it sleeps.
//
// SOFTNET_RESULT_STATE: it runs already, or its clock is virtual.
// SOFTNET_RESULT_SYSTEM: no thread can be had.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_stack_start(softnet_stack *stack,
                                   const uint32_t *pin_to,
                                   size_t pin_count,
                                   uint64_t spin_ns);

// Takes the CPUs and NICs back from their threads: the stack is inline again,
// with its NICs and sockets. Does nothing if it is inline.
//
// A receive that waits on another thread goes on waiting.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_stack_stop(softnet_stack *stack);

// Runs an inline stack for one turn on the calling thread: each NIC once, then
// each CPU once. `out_progress` may be NULL.
//
// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
//
// Thread-safe; calls that run or change a stack wait for each other.
softnet_result softnet_stack_run_once(softnet_stack *stack,
                                      softnet_progress *out_progress);

// Runs an inline stack on the calling thread until nothing is left to do at this
// time. `out_next_event_ns` may be NULL; it is told when the next timer is due,
// in nanoseconds of the stack's clock, or UINT64_MAX for never.
//
// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
//
// Thread-safe; calls that run or change a stack wait for each other.
softnet_result softnet_stack_run_until_idle(softnet_stack *stack,
                                            uint64_t *out_next_event_ns);

// Runs an inline stack on the calling thread for `ns` nanoseconds of its clock.
// A virtual clock is moved from event to event, with the monotonic one the call
// sleeps between them.
//
// SOFTNET_RESULT_STATE: the stack runs on threads of its own.
//
// Thread-safe; calls that run or change a stack wait for each other.
softnet_result softnet_stack_run_for(softnet_stack *stack, uint64_t ns);

// The stack's clock, in nanoseconds.
//
// Thread-safe.
softnet_result softnet_stack_now(softnet_stack *stack, uint64_t *out_ns);

// Moves a virtual clock forward by `ns` nanoseconds, and runs nothing: the
// timers that are due then run in the next turn.
//
// SOFTNET_RESULT_STATE: the clock is not virtual.
//
// Thread-safe.
softnet_result softnet_stack_advance(softnet_stack *stack, uint64_t ns);

// Opens a wire by its description:
//
// - "tap:NAME": a TAP interface of the kernel, made if there is none of that
//   name. Bringing it up and giving it an address is left to the caller
//   (`ip link set NAME up`). Needs CAP_NET_ADMIN, or a TAP that belongs to the
//   user.
// - "replay:FILE": the packets of a pcap or pcapng file arrive, as fast as the
//   NIC takes them; what is sent is counted and gone.
//
// The caller owns `*out_wire`, until softnet_nic_add() takes it over or
// softnet_wire_free() frees it. On a failure nothing is stored.
//
// SOFTNET_RESULT_UNSUPPORTED: there is no wire of that description.
// SOFTNET_RESULT_SYSTEM: the interface or the file cannot be opened;
// softnet_last_error() says why and what to do.
//
// Thread-safe.
softnet_result softnet_wire_open(const char *description, softnet_wire **out_wire);

// Makes a cable with two ends, each for one NIC, of the same stack or of
// different ones.
//
// The caller owns both ends, as in softnet_wire_open().
//
// Thread-safe.
softnet_result softnet_wire_cable(softnet_wire **out_left, softnet_wire **out_right);

// Records every frame that passes the wire, both ways, in a new pcapng file. The
// file is complete when the NIC is removed, or its stack freed.
//
// SOFTNET_RESULT_SYSTEM: the file cannot be made.
//
// Thread-safe.
softnet_result softnet_wire_record(softnet_wire *wire, const char *path);

// Frees a wire that no NIC was plugged into.
//
// Thread-safe.
softnet_result softnet_wire_free(softnet_wire *wire);

// Plugs an emulated NIC into the stack and into `wire`, binds its driver, and
// puts it into service. `config` may be NULL, for the defaults; it is not kept.
// The link comes up about a millisecond of the stack's clock later:
// softnet_nic_wait_link().
//
// `wire` belongs to the NIC from now on, whatever the outcome, unless its handle
// is refused. The stack owns the NIC: softnet_nic_remove() removes it earlier
// than softnet_stack_free().
//
// SOFTNET_RESULT_DEVICE: the driver does not take the NIC as it is configured.
// SOFTNET_RESULT_UNSUPPORTED: there is no such model.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_nic_add(softnet_stack *stack,
                               const softnet_nic_config *config,
                               softnet_wire *wire,
                               softnet_nic **out_nic);

// Takes a NIC out of service and unplugs it. Its handle is bad afterwards.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_nic_remove(softnet_nic *nic);

// Waits until the NIC's link is up, at most `timeout_ms` milliseconds (-1: for
// as long as it takes). An inline stack runs meanwhile, on the calling thread;
// with a virtual clock the timeout is of that clock, and must not be -1.
//
// SOFTNET_RESULT_TIMED_OUT: it is still down. What a TAP lacks then is
// `ip link set NAME up`.
//
// Thread-safe; calls that run or change a stack wait for each other, for some
// milliseconds of this one.
softnet_result softnet_nic_wait_link(softnet_nic *nic, int timeout_ms);

// The NIC's station address: 6 bytes are stored.
//
// Thread-safe.
softnet_result softnet_nic_mac(softnet_nic *nic, uint8_t *out_mac);

// Gives the NIC an address with its network, as in "10.0.0.2/24", and the route
// to that network.
//
// SOFTNET_RESULT_INVALID: the text is no such address, or no host's.
// SOFTNET_RESULT_EXISTS: the NIC has it already.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_nic_add_address(softnet_nic *nic, const char *address);

// Adds a route through the NIC: `destination` is a network such as
// "192.0.2.0/24", or "default"; `gateway` is the router's address, or NULL if the
// network is on the NIC's own link.
//
// SOFTNET_RESULT_INVALID: a text is no such address.
// SOFTNET_RESULT_EXISTS: there is such a route already.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_nic_add_route(softnet_nic *nic,
                                     const char *destination,
                                     const char *gateway);

// Sets a neighbour's station address for good, so that it is never asked for by
// ARP. `address` is a text such as "10.0.0.1"; `mac` are 6 bytes.
//
// SOFTNET_RESULT_INVALID: the text is no such address.
//
// Thread-safe; calls that change a stack wait for each other.
softnet_result softnet_nic_add_neighbour(softnet_nic *nic,
                                         const char *address,
                                         const uint8_t *mac);

// Makes a socket: socket(2). `domain` is AF_INET, `type` is SOCK_DGRAM,
// `protocol` is 0 or IPPROTO_UDP.
//
// The caller closes it with softnet_close(), or frees the stack.
//
// SOFTNET_RESULT_UNSUPPORTED: any other kind of socket.
//
// Thread-safe.
softnet_result softnet_socket(softnet_stack *stack,
                              int domain,
                              int type,
                              int protocol,
                              softnet_sock **out_sock);

// Binds a socket to an address of the stack: bind(2). INADDR_ANY takes datagrams
// to any of its addresses, port 0 asks for an ephemeral port.
//
// SOFTNET_RESULT_ADDRESS_IN_USE, SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE,
// SOFTNET_RESULT_BOUND: the socket is bound already.
//
// Thread-safe.
softnet_result softnet_bind(softnet_sock *sock,
                            const struct sockaddr *addr,
                            socklen_t addrlen);

// Connects a socket: connect(2). It then receives from that peer alone, sends
// there by default, and hears of ICMP errors. A socket that is not bound gets an
// ephemeral port.
//
// SOFTNET_RESULT_NETWORK_UNREACHABLE: there is no route to the peer.
//
// Thread-safe.
softnet_result softnet_connect(softnet_sock *sock,
                               const struct sockaddr *addr,
                               socklen_t addrlen);

// Sends a datagram of `len` bytes to `addr`: sendto(2), without waiting. `buf`
// is copied. A socket that is not bound gets an ephemeral port.
//
// The datagram leaves when its CPU runs next: at once with threads, in the next
// turn of an inline stack. What goes wrong later is the result of a later
// receive.
//
// SOFTNET_RESULT_WOULD_BLOCK: too many datagrams wait to be sent.
// SOFTNET_RESULT_MESSAGE_TOO_LONG: it does not fit a frame.
// SOFTNET_RESULT_NO_RESOURCES: all frames are in use.
//
// Thread-safe.
softnet_result softnet_sendto(softnet_sock *sock,
                              const void *buf,
                              size_t len,
                              const struct sockaddr *addr,
                              socklen_t addrlen);

// Sends a datagram of `len` bytes to the connected peer: send(2). As
// softnet_sendto() otherwise.
//
// SOFTNET_RESULT_NOT_CONNECTED: there is no peer.
//
// Thread-safe.
softnet_result softnet_send(softnet_sock *sock, const void *buf, size_t len);

// Receives a datagram into `buf`, which has room for `len` bytes: recvfrom(2).
// What does not fit is lost. `*out_len` is told how many bytes were stored.
//
// `timeout_ms` is how long to wait for a datagram, in milliseconds: 0 does not
// wait, -1 waits for as long as it takes. An inline stack runs meanwhile, on the
// calling thread; with a virtual clock the timeout is of that clock, and must
// not be -1.
//
// `addr` may be NULL. Otherwise `*addrlen` says how much room is there, and is
// told how many bytes the sender's address has.
//
// SOFTNET_RESULT_WOULD_BLOCK, SOFTNET_RESULT_TIMED_OUT: nothing came.
// SOFTNET_RESULT_CLOSED: another thread closed the socket meanwhile.
// SOFTNET_RESULT_BUSY: another thread waits for this socket's datagrams already.
// SOFTNET_RESULT_CONNECTION_REFUSED and the like: what became of an earlier
// datagram of a connected socket; the next call receives again.
//
// Thread-safe.
softnet_result softnet_recvfrom(softnet_sock *sock,
                                void *buf,
                                size_t len,
                                int timeout_ms,
                                struct sockaddr *addr,
                                socklen_t *addrlen,
                                size_t *out_len);

// The address that the socket is bound to: getsockname(2). Zeros if it is not
// bound.
//
// Thread-safe.
softnet_result softnet_getsockname(softnet_sock *sock,
                                   struct sockaddr *addr,
                                   socklen_t *addrlen);

// The peer that the socket is connected to: getpeername(2).
//
// SOFTNET_RESULT_NOT_CONNECTED: there is none.
//
// Thread-safe.
softnet_result softnet_getpeername(softnet_sock *sock,
                                   struct sockaddr *addr,
                                   socklen_t *addrlen);

// A file descriptor that poll(2) finds readable (POLLIN) when the socket may have
// a datagram or an error: for event loops that wait for other things too.
//
// Do nothing with it but wait. When it is readable, call softnet_recvfrom() or
// softnet_recv_borrow() without a timeout until it says
// SOFTNET_RESULT_WOULD_BLOCK; that makes it unreadable until the next datagram.
// On an inline stack somebody has to run the stack meanwhile.
//
// It belongs to the socket and is closed with it.
//
// Thread-safe.
softnet_result softnet_poll_fd(softnet_sock *sock, int *out_fd);

// Closes a socket: close(2). Its handle is bad afterwards. A receive that waits
// on another thread returns SOFTNET_RESULT_CLOSED.
//
// Thread-safe.
softnet_result softnet_close(softnet_sock *sock);

// Sets an option of a socket: setsockopt(2). The value is an int.
//
// - SOL_SOCKET, SO_RCVBUF: bytes of frames that may wait to be read, on each
//   CPU; at most 4 MiB. Unlike the kernel's it is not doubled.
// - SOL_SOCKET, SO_BROADCAST: 1 allows datagrams to everybody.
// - IPPROTO_IP, IP_TTL: time to live of what is sent, 1 to 255.
//
// SOFTNET_RESULT_BOUND: options are set before the socket is bound, connected,
// or sends.
// SOFTNET_RESULT_UNSUPPORTED: there is no such option.
// SOFTNET_RESULT_INVALID: the value is out of its range, or no int.
//
// Thread-safe.
softnet_result softnet_setsockopt(softnet_sock *sock,
                                  int level,
                                  int optname,
                                  const void *optval,
                                  socklen_t optlen);

// Reads an option of a socket: getsockopt(2). The value is an int; `*optlen` says
// how much room is there, and is told how many bytes were stored.
//
// Those of softnet_setsockopt(), and:
//
// - SOL_SOCKET, SO_TYPE: SOCK_DGRAM.
//
// SOFTNET_RESULT_UNSUPPORTED: there is no such option.
//
// Thread-safe.
softnet_result softnet_getsockopt(softnet_sock *sock,
                                  int level,
                                  int optname,
                                  void *optval,
                                  socklen_t *optlen);

// Receives a datagram without a copy: `*out_datagram` points into the frame that
// the NIC filled. `timeout_ms` and the results are those of softnet_recvfrom().
//
// The frame is lent to the caller, who gives it back with
// softnet_frame_release() or softnet_frame_send(). As long as it is lent the NIC
// cannot use it: a stack has `frames` of them. Closing the socket, or freeing the
// stack, does not take it back.
//
// SOFTNET_RESULT_NO_RESOURCES: too many handles are open; the datagram is lost.
//
// Thread-safe.
softnet_result softnet_recv_borrow(softnet_sock *sock,
                                   int timeout_ms,
                                   softnet_datagram *out_datagram);

// Gives a borrowed frame back: its payload must not be touched any more.
//
// Thread-safe.
softnet_result softnet_frame_release(softnet_frame *frame);

// Sends a borrowed frame, with its payload as it is now, to `addr`: an answer
// without a copy. On success the frame is given back; after a failure it is still
// the caller's, and can be sent again or released.
//
// The results are those of softnet_sendto().
//
// Thread-safe.
softnet_result softnet_frame_send(softnet_sock *sock,
                                  softnet_frame *frame,
                                  const struct sockaddr *addr,
                                  socklen_t addrlen);

// Reads the main counters. `size` is `sizeof *out_counters`.
//
// The packets go on meanwhile: the counters of a stack at rest add up, those of
// a stack at work nearly do.
//
// Thread-safe.
softnet_result softnet_counters_read(softnet_stack *stack,
                                     softnet_counters *out_counters,
                                     size_t size);

// Calls `visit` on this thread for every counter of the stack, drops by reason
// with their explanations included. The counters are read before the first call.
//
// Thread-safe.
softnet_result softnet_counters_visit(softnet_stack *stack,
                                      softnet_counter_fn visit,
                                      void *user);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SOFTNET_H */
