/* What the C tests stand on: checks that say what failed, addresses, and two
 * stacks that are joined by a cable. */
#ifndef SOFTNET_TESTS_CHECK_H
#define SOFTNET_TESTS_CHECK_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softnet.h"

#define MS 1000000ull

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__,  \
                    __LINE__, #condition, softnet_last_error());               \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

/* The call gives this result: check_result(SOFTNET_RESULT_OK, softnet_...()). */
#define RESULT(expected, call)                                                 \
    do {                                                                       \
        int result_ = (call);                                                  \
        if (result_ != (expected)) {                                           \
            fprintf(stderr, "%s:%d: %s is \"%s\" (%d), not \"%s\": %s\n",      \
                    __FILE__, __LINE__, #call, softnet_strerror(result_),      \
                    result_, softnet_strerror(expected),                       \
                    softnet_last_error());                                     \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define OK(call) RESULT(SOFTNET_RESULT_OK, call)

static inline struct sockaddr_in in_addr_of(const char *text, unsigned port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    CHECK(inet_pton(AF_INET, text, &address.sin_addr) == 1);
    return address;
}

static inline int is_address(const struct sockaddr_in *address, const char *text,
                             unsigned port)
{
    struct sockaddr_in expected = in_addr_of(text, port);
    return address->sin_family == AF_INET &&
           address->sin_port == expected.sin_port &&
           address->sin_addr.s_addr == expected.sin_addr.s_addr;
}

static inline softnet_result bind_to(softnet_sock *sock, const char *text,
                                     unsigned port)
{
    struct sockaddr_in address = in_addr_of(text, port);
    return softnet_bind(sock, (struct sockaddr *)&address, sizeof address);
}

static inline softnet_result connect_to(softnet_sock *sock, const char *text,
                                        unsigned port)
{
    struct sockaddr_in address = in_addr_of(text, port);
    return softnet_connect(sock, (struct sockaddr *)&address, sizeof address);
}

static inline softnet_result send_to(softnet_sock *sock, const char *payload,
                                     const char *text, unsigned port)
{
    struct sockaddr_in address = in_addr_of(text, port);
    return softnet_sendto(sock, payload, strlen(payload),
                          (struct sockaddr *)&address, sizeof address);
}

/* Receives and compares. */
static inline void expect(softnet_sock *sock, int timeout_ms, const char *payload,
                          const char *from_text, unsigned from_port)
{
    char buffer[2048];
    struct sockaddr_in from;
    socklen_t fromlen = sizeof from;
    size_t len = 0;
    OK(softnet_recvfrom(sock, buffer, sizeof buffer, timeout_ms,
                        (struct sockaddr *)&from, &fromlen, &len));
    CHECK(len == strlen(payload) && memcmp(buffer, payload, len) == 0);
    CHECK(fromlen == sizeof from);
    CHECK(is_address(&from, from_text, from_port));
}

static inline softnet_result receive(softnet_sock *sock, int timeout_ms)
{
    char buffer[2048];
    size_t len = 0;
    return softnet_recvfrom(sock, buffer, sizeof buffer, timeout_ms, NULL, NULL,
                            &len);
}

static inline softnet_sock *udp_socket(softnet_stack *stack)
{
    softnet_sock *sock = NULL;
    OK(softnet_socket(stack, AF_INET, SOCK_DGRAM, 0, &sock));
    CHECK(sock != NULL);
    return sock;
}

static inline softnet_stack *new_stack(softnet_clock clock, uint64_t seed)
{
    softnet_config config;
    softnet_stack *stack = NULL;
    OK(softnet_config_init(&config, sizeof config));
    config.clock = clock;
    config.seed = seed;
    config.frames = 1024;
    OK(softnet_stack_new(&config, &stack));
    return stack;
}

/* Two hosts, 10.0.0.1 and 10.0.0.2, joined by a cable. */
struct pair {
    softnet_stack *stack[2];
    softnet_nic *nic[2];
};

/* `models` are the NICs of the two, as softnet_nic_config has them. */
static inline struct pair new_pair_of(const char *const models[2],
                                      softnet_clock clock, const char *record)
{
    static const char *const addresses[2] = {"10.0.0.1/24", "10.0.0.2/24"};
    struct pair pair;
    softnet_wire *wire[2] = {NULL, NULL};
    OK(softnet_wire_cable(&wire[0], &wire[1]));
    if (record != NULL)
        OK(softnet_wire_record(wire[0], record));
    for (int host = 0; host < 2; host++) {
        softnet_nic_config config;
        OK(softnet_nic_config_init(&config, sizeof config));
        config.model = models[host];
        config.mac[0] = 2;
        config.mac[5] = (uint8_t)(host + 1);
        pair.stack[host] = new_stack(clock, 42 + (uint64_t)host);
        OK(softnet_nic_add(pair.stack[host], &config, wire[host], &pair.nic[host]));
        OK(softnet_nic_add_address(pair.nic[host], addresses[host]));
    }
    return pair;
}

static inline struct pair new_pair(softnet_clock clock, const char *record)
{
    static const char *const models[2] = {NULL, NULL};
    return new_pair_of(models, clock, record);
}

static inline void wait_links(const struct pair *pair)
{
    for (int host = 0; host < 2; host++)
        OK(softnet_nic_wait_link(pair->nic[host], 10000));
}

/* Runs both hosts, inline, until neither has anything to do. */
static inline void settle(const struct pair *pair)
{
    unsigned worked;
    do {
        worked = 0;
        for (int host = 0; host < 2; host++) {
            softnet_progress progress;
            OK(softnet_stack_run_once(pair->stack[host], &progress));
            worked |= progress.worked;
        }
    } while (worked);
}

static inline void free_pair(struct pair *pair)
{
    for (int host = 0; host < 2; host++)
        OK(softnet_stack_free(pair->stack[host]));
}

#endif
