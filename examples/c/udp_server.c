/*
 * A UDP server on softnet: the lines that one would write for the kernel, on a
 * stack of the program's own with an emulated e1000.
 *
 *     udp_server WIRE ADDRESS PORT [COUNT]
 *
 *     cargo build -p softnet-ffi
 *     cc -I include examples/c/udp_server.c target/debug/libsoftnet_ffi.a \
 *        -lpthread -lm -ldl -o udp_server
 *     sudo ip tuntap add sn0 mode tap user $USER
 *     sudo ip addr add 10.9.0.1/24 dev sn0 && sudo ip link set sn0 up
 *     ./udp_server tap:sn0 10.9.0.2/24 9000 &
 *     echo hello | nc -u -w1 10.9.0.2 9000
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softnet.h"

static void check(softnet_result result, const char *what)
{
    if (result != SOFTNET_RESULT_OK) {
        fprintf(stderr, "%s: %s\n", what, softnet_last_error());
        exit(1);
    }
}

/* What the kernel has at hand already: a host with a NIC and an address. */
static softnet_stack *bring_up(const char *wire_name, const char *address)
{
    softnet_stack *stack;
    softnet_wire *wire;
    softnet_nic *eth0;

    check(softnet_stack_new(NULL, &stack), "stack");
    check(softnet_wire_open(wire_name, &wire), wire_name);
    check(softnet_nic_add(stack, NULL, wire, &eth0), "eth0");
    check(softnet_nic_add_address(eth0, address), address);
    check(softnet_stack_start(stack, NULL, 0, 0), "threads");
    check(softnet_nic_wait_link(eth0, 10000), "link");
    return stack;
}

/* And this is the server. */
static void serve(softnet_stack *stack, unsigned port, long count)
{
    softnet_sock *sock;
    struct sockaddr_in local, from;
    char buf[2048], host[INET_ADDRSTRLEN];
    size_t len;

    memset(&local, 0, sizeof local);
    local.sin_family = AF_INET;
    local.sin_port = htons((uint16_t)port);
    local.sin_addr.s_addr = htonl(INADDR_ANY);

    check(softnet_socket(stack, AF_INET, SOCK_DGRAM, 0, &sock), "socket");
    check(softnet_bind(sock, (struct sockaddr *)&local, sizeof local), "bind");
    printf("listening on port %u\n", port);
    while (count < 0 || count-- > 0) {
        socklen_t fromlen = sizeof from;
        check(softnet_recvfrom(sock, buf, sizeof buf, -1, (struct sockaddr *)&from,
                               &fromlen, &len), "recvfrom");
        inet_ntop(AF_INET, &from.sin_addr, host, sizeof host);
        printf("%s:%d: %.*s\n", host, ntohs(from.sin_port), (int)len, buf);
        check(softnet_sendto(sock, buf, len, (struct sockaddr *)&from, fromlen),
              "sendto");
    }
    check(softnet_close(sock), "close");
}

int main(int argc, char **argv)
{
    softnet_stack *stack;

    if (argc < 4) {
        fprintf(stderr, "usage: udp_server WIRE ADDRESS PORT [COUNT]\n"
                        "such as: udp_server tap:sn0 10.9.0.2/24 9000\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    stack = bring_up(argv[1], argv[2]);
    serve(stack, (unsigned)atoi(argv[3]), argc > 4 ? atol(argv[4]) : -1);
    check(softnet_stack_free(stack), "free");
    return 0;
}
