/* Two inline stacks with virtual clocks, joined by a cable: datagrams cross it,
 * every run is the same, and the counters add up. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static void a_datagram_crosses_and_is_answered(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    struct sockaddr_in name;
    socklen_t namelen = sizeof name;

    wait_links(&pair);
    OK(bind_to(server, "0.0.0.0", 7));
    OK(bind_to(client, "10.0.0.1", 4000));
    OK(softnet_getsockname(server, (struct sockaddr *)&name, &namelen));
    CHECK(namelen == sizeof name && is_address(&name, "0.0.0.0", 7));

    OK(send_to(client, "hello", "10.0.0.2", 7));
    RESULT(SOFTNET_RESULT_WOULD_BLOCK, receive(server, 0));
    settle(&pair);
    expect(server, 0, "hello", "10.0.0.1", 4000);
    RESULT(SOFTNET_RESULT_WOULD_BLOCK, receive(server, 0));
    OK(send_to(server, "hello yourself", "10.0.0.1", 4000));
    settle(&pair);
    expect(client, 0, "hello yourself", "10.0.0.2", 7);
    free_pair(&pair);
}

static void every_model_understands_every_other(void)
{
    static const char *const models[4][2] = {
        {"e1000", "ne2000"}, {"ne2000", "igb"}, {"igb", "e1000"}, {"ne2000", "ne2000"}};
    for (int turn = 0; turn < 4; turn++) {
        struct pair pair = new_pair_of(models[turn], SOFTNET_CLOCK_VIRTUAL, NULL);
        softnet_sock *client = udp_socket(pair.stack[0]);
        softnet_sock *server = udp_socket(pair.stack[1]);

        wait_links(&pair);
        OK(bind_to(server, "0.0.0.0", 7));
        OK(bind_to(client, "10.0.0.1", 4000));
        OK(send_to(client, "hello", "10.0.0.2", 7));
        settle(&pair);
        expect(server, 0, "hello", "10.0.0.1", 4000);
        OK(send_to(server, "hello yourself", "10.0.0.1", 4000));
        settle(&pair);
        expect(client, 0, "hello yourself", "10.0.0.2", 7);
        free_pair(&pair);
    }
}

static void what_does_not_fit_the_buffer_is_lost(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    char buffer[4];
    struct sockaddr_in from;
    socklen_t fromlen = 3;
    size_t len = 99;

    OK(bind_to(sock, "10.0.0.1", 7));
    OK(send_to(sock, "too long", "10.0.0.1", 7));
    OK(send_to(sock, "", "10.0.0.1", 7));
    OK(softnet_stack_run_until_idle(pair.stack[0], NULL));
    memset(&from, 0x55, sizeof from);
    OK(softnet_recvfrom(sock, buffer, sizeof buffer, 0, (struct sockaddr *)&from,
                        &fromlen, &len));
    CHECK(len == 4 && memcmp(buffer, "too ", 4) == 0);
    /* The address was cut too, and its length told. */
    CHECK(fromlen == sizeof from && from.sin_family == AF_INET);
    CHECK(((unsigned char *)&from)[3] == 0x55);
    /* An empty datagram is one. */
    OK(softnet_recvfrom(sock, NULL, 0, 0, NULL, NULL, &len));
    CHECK(len == 0);
    RESULT(SOFTNET_RESULT_WOULD_BLOCK, receive(sock, 0));
    free_pair(&pair);
}

static void a_receive_that_waits_runs_its_stack(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    uint64_t before = 0, after = 0;

    OK(bind_to(sock, "10.0.0.1", 7));
    OK(send_to(sock, "to myself", "10.0.0.1", 7));
    expect(sock, 1000, "to myself", "10.0.0.1", 7);
    OK(softnet_stack_now(pair.stack[0], &before));
    RESULT(SOFTNET_RESULT_TIMED_OUT, receive(sock, 50));
    OK(softnet_stack_now(pair.stack[0], &after));
    CHECK(after == before + 50 * MS);
    RESULT(SOFTNET_RESULT_STATE, receive(sock, -1));
    RESULT(SOFTNET_RESULT_STATE, softnet_nic_wait_link(pair.nic[0], -1));
    free_pair(&pair);
}

static void addresses_are_checked(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *first = udp_socket(pair.stack[0]);
    softnet_sock *second = udp_socket(pair.stack[0]);
    struct sockaddr_in address = in_addr_of("10.0.0.1", 7);
    struct sockaddr_in6 six;
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t len = sizeof address;

    memset(&six, 0, sizeof six);
    six.sin6_family = AF_INET6;
    RESULT(SOFTNET_RESULT_INVALID, softnet_bind(first, any, 0));
    RESULT(SOFTNET_RESULT_INVALID, softnet_bind(first, any, sizeof address - 1));
    RESULT(SOFTNET_RESULT_UNSUPPORTED,
           softnet_bind(first, (struct sockaddr *)&six, sizeof six));
    address.sin_family = AF_UNIX;
    RESULT(SOFTNET_RESULT_UNSUPPORTED, softnet_bind(first, any, sizeof address));
    RESULT(SOFTNET_RESULT_ADDRESS_NOT_AVAILABLE, bind_to(first, "10.0.0.9", 7));
    OK(bind_to(first, "10.0.0.1", 7));
    RESULT(SOFTNET_RESULT_BOUND, bind_to(first, "10.0.0.1", 8));
    RESULT(SOFTNET_RESULT_ADDRESS_IN_USE, bind_to(second, "0.0.0.0", 7));
    CHECK(strstr(softnet_last_error(), "in use") != NULL);
    RESULT(SOFTNET_RESULT_INVALID, send_to(second, "x", "10.0.0.2", 0));
    RESULT(SOFTNET_RESULT_NETWORK_UNREACHABLE, connect_to(second, "192.0.2.1", 7));
    RESULT(SOFTNET_RESULT_NOT_CONNECTED, softnet_send(second, "x", 1));
    RESULT(SOFTNET_RESULT_NOT_CONNECTED, softnet_getpeername(second, any, &len));
    /* A socket that has sent is bound: its port is free when it is closed. */
    OK(softnet_close(first));
    first = udp_socket(pair.stack[0]);
    OK(bind_to(first, "10.0.0.1", 7));
    free_pair(&pair);
}

static void a_connected_socket_hears_of_a_closed_port(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    struct sockaddr_in peer;
    socklen_t peerlen = sizeof peer;

    wait_links(&pair);
    OK(connect_to(sock, "10.0.0.2", 9));
    OK(softnet_getpeername(sock, (struct sockaddr *)&peer, &peerlen));
    CHECK(is_address(&peer, "10.0.0.2", 9));
    OK(softnet_send(sock, "anybody?", 8));
    settle(&pair);
    RESULT(SOFTNET_RESULT_CONNECTION_REFUSED, receive(sock, 0));
    RESULT(SOFTNET_RESULT_WOULD_BLOCK, receive(sock, 0));
    free_pair(&pair);
}

static void options_are_set_before_the_socket_is_bound(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    int value = 7, read = 0, off = 0;
    socklen_t len = sizeof read;

    wait_links(&pair);
    OK(softnet_setsockopt(sock, IPPROTO_IP, IP_TTL, &value, sizeof value));
    OK(softnet_getsockopt(sock, IPPROTO_IP, IP_TTL, &read, &len));
    CHECK(read == 7 && len == sizeof read);
    OK(softnet_getsockopt(sock, SOL_SOCKET, SO_TYPE, &read, &len));
    CHECK(read == SOCK_DGRAM);
    value = 0;
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_setsockopt(sock, IPPROTO_IP, IP_TTL, &value, sizeof value));
    value = 256;
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_setsockopt(sock, IPPROTO_IP, IP_TTL, &value, sizeof value));
    value = -1;
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &value, sizeof value));
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &value, 1));
    RESULT(SOFTNET_RESULT_UNSUPPORTED,
           softnet_setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    /* Without SO_BROADCAST nothing goes to everybody. */
    OK(send_to(sock, "all", "10.0.0.255", 9));
    settle(&pair);
    RESULT(SOFTNET_RESULT_PROHIBITED, receive(sock, 0));
    RESULT(SOFTNET_RESULT_BOUND,
           softnet_setsockopt(sock, SOL_SOCKET, SO_BROADCAST, &off, sizeof off));
    OK(softnet_close(sock));

    /* With it, the other host hears it. */
    sock = udp_socket(pair.stack[0]);
    value = 1;
    OK(softnet_setsockopt(sock, SOL_SOCKET, SO_BROADCAST, &value, sizeof value));
    OK(bind_to(sock, "10.0.0.1", 4000));
    softnet_sock *all = udp_socket(pair.stack[1]);
    OK(bind_to(all, "0.0.0.0", 9));
    OK(send_to(sock, "all", "10.0.0.255", 9));
    settle(&pair);
    expect(all, 0, "all", "10.0.0.1", 4000);
    free_pair(&pair);
}

static void a_datagram_that_is_too_long_is_refused(void)
{
    static char payload[70000];
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    struct sockaddr_in to = in_addr_of("10.0.0.2", 7);
    struct sockaddr *any = (struct sockaddr *)&to;
    RESULT(SOFTNET_RESULT_MESSAGE_TOO_LONG,
           softnet_sendto(sock, payload, sizeof payload, any, sizeof to));
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_sendto(sock, payload, (size_t)-1, any, sizeof to));
    free_pair(&pair);
}

/* A set neighbour is not asked for. */
static void neighbours_and_routes_can_be_set(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    uint8_t mac[2][6];
    softnet_counters counters;

    wait_links(&pair);
    for (int host = 0; host < 2; host++)
        OK(softnet_nic_mac(pair.nic[host], mac[host]));
    CHECK(mac[0][5] == 1 && mac[1][5] == 2);
    OK(softnet_nic_add_neighbour(pair.nic[0], "10.0.0.2", mac[1]));
    OK(softnet_nic_add_route(pair.nic[0], "192.0.2.0/24", "10.0.0.2"));
    OK(softnet_nic_add_address(pair.nic[1], "192.0.2.1/32"));
    OK(bind_to(client, "10.0.0.1", 4000));
    OK(bind_to(server, "192.0.2.1", 7));
    OK(send_to(client, "routed", "192.0.2.1", 7));
    settle(&pair);
    expect(server, 0, "routed", "10.0.0.1", 4000);
    OK(softnet_counters_read(pair.stack[0], &counters, sizeof counters));
    CHECK(counters.tx_packets == 1);
    free_pair(&pair);
}

static void exchange(const char *record)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, record);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    wait_links(&pair);
    OK(bind_to(server, "10.0.0.2", 7));
    for (int i = 0; i < 20; i++) {
        OK(send_to(client, "ping", "10.0.0.2", 7));
        OK(send_to(client, "nobody there", "10.0.0.2", 9));
        settle(&pair);
        OK(receive(server, 0));
        for (int host = 0; host < 2; host++)
            OK(softnet_stack_run_for(pair.stack[host], 300 * MS));
        settle(&pair);
    }
    free_pair(&pair);
}

static size_t read_all(const char *path, char *buffer, size_t size)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t len = fread(buffer, 1, size, file);
    CHECK(len < size);
    fclose(file);
    CHECK(remove(path) == 0);
    return len;
}

static void two_runs_are_the_same_to_the_byte(void)
{
    static char traces[2][1 << 16];
    size_t lens[2];
    char folder[] = "/tmp/softnet-cable-XXXXXX";
    char path[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/trace.pcapng", folder);
    for (int run = 0; run < 2; run++) {
        exchange(path);
        lens[run] = read_all(path, traces[run], sizeof traces[run]);
    }
    CHECK(rmdir(folder) == 0);
    CHECK(lens[0] > 60 * 60);
    CHECK(lens[0] == lens[1] && memcmp(traces[0], traces[1], lens[0]) == 0);
}

static void a_replayed_file_arrives(void)
{
    char folder[] = "/tmp/softnet-replay-XXXXXX";
    char path[64], wire_name[80];
    softnet_wire *wire = NULL;
    softnet_nic *nic = NULL;
    softnet_counters counters;
    softnet_nic_config config;
    softnet_stack *stack = new_stack(SOFTNET_CLOCK_VIRTUAL, 7);

    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/trace.pcapng", folder);
    snprintf(wire_name, sizeof wire_name, "replay:%s", path);
    exchange(path);
    OK(softnet_wire_open(wire_name, &wire));
    OK(softnet_nic_config_init(&config, sizeof config));
    config.promiscuous = 1;
    OK(softnet_nic_add(stack, &config, wire, &nic));
    OK(softnet_stack_run_for(stack, 100 * MS));
    OK(softnet_counters_read(stack, &counters, sizeof counters));
    CHECK(counters.delivered + counters.rx_dropped == counters.processed);
    OK(softnet_stack_free(stack));
    CHECK(remove(path) == 0 && rmdir(folder) == 0);
}

/* What the visit has seen. */
struct seen {
    softnet_stack *stack;
    uint64_t no_socket, no_ports, rx_packets, interrupts, net_rx, polls;
    uint64_t cable_rx_frames;
    int explained;
};

static void look(void *user, const softnet_counter *counter)
{
    struct seen *seen = (struct seen *)user;
    uint64_t now = 0;
    /* The library may be called from here. */
    OK(softnet_stack_now(seen->stack, &now));
    if (strcmp(counter->name, "NO_SOCKET") == 0) {
        CHECK(strcmp(counter->group, "drops") == 0 && counter->cpu == -1);
        seen->no_socket = counter->value;
        seen->explained = strlen(counter->explanation) > 20;
    } else if (strcmp(counter->name, "NoPorts") == 0) {
        CHECK(strcmp(counter->group, "snmp") == 0);
        CHECK(strcmp(counter->object, "Udp") == 0);
        CHECK(counter->explanation == NULL);
        seen->no_ports = counter->value;
    } else if (strcmp(counter->group, "device") == 0 &&
               strcmp(counter->name, "rx_packets") == 0) {
        CHECK(strcmp(counter->object, "eth0") == 0);
        seen->rx_packets = counter->value;
    } else if (strcmp(counter->group, "interrupts") == 0 &&
               strcmp(counter->name, "delivered") == 0) {
        seen->interrupts += counter->value;
    } else if (strcmp(counter->group, "softirqs") == 0 &&
               strcmp(counter->name, "NET_RX") == 0) {
        seen->net_rx += counter->value;
    } else if (strcmp(counter->group, "queue") == 0 &&
               strcmp(counter->name, "polls") == 0) {
        CHECK(counter->cpu == 0);
        seen->polls += counter->value;
    } else if (strcmp(counter->name, "cable_rx_frames") == 0) {
        CHECK(strcmp(counter->group, "wire") == 0);
        seen->cable_rx_frames = counter->value;
    }
}

static void counters_tell_what_happened(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    softnet_counters counters;
    struct seen seen;
    int small = 8000;

    wait_links(&pair);
    OK(softnet_setsockopt(server, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
    OK(bind_to(server, "10.0.0.2", 7));
    for (int i = 0; i < 10; i++) {
        OK(send_to(client, "flood", "10.0.0.2", 7));
        settle(&pair);
    }
    for (int i = 0; i < 2; i++) {
        OK(send_to(client, "nobody there", "10.0.0.2", 9));
        settle(&pair);
    }
    OK(softnet_counters_read(pair.stack[1], &counters, sizeof counters));
    CHECK(counters.size == sizeof counters);
    /* 8000 bytes hold three frames of 2240. One packet was the ARP request. */
    CHECK(counters.udp_in_datagrams == 3);
    CHECK(counters.udp_rcvbuf_errors == 7);
    CHECK(counters.udp_no_ports == 2);
    CHECK(counters.rx_packets == 13 && counters.processed == 13);
    CHECK(counters.delivered == 4 && counters.rx_dropped == 9);
    CHECK(counters.dropped == 9 && counters.rx_missed == 0);
    CHECK(counters.interrupts > 0 && counters.net_rx > 0 && counters.napi_polls > 0);
    /* The ARP reply and two ICMP messages. */
    CHECK(counters.tx_packets == 3);

    memset(&seen, 0, sizeof seen);
    seen.stack = pair.stack[1];
    OK(softnet_counters_visit(pair.stack[1], look, &seen));
    CHECK(seen.no_socket == 2 && seen.explained && seen.no_ports == 2);
    CHECK(seen.rx_packets == counters.rx_packets);
    CHECK(seen.interrupts == counters.interrupts);
    CHECK(seen.net_rx == counters.net_rx && seen.polls == counters.napi_polls);
    CHECK(seen.cable_rx_frames == 13);
    free_pair(&pair);
}

int main(void)
{
    a_datagram_crosses_and_is_answered();
    every_model_understands_every_other();
    what_does_not_fit_the_buffer_is_lost();
    a_receive_that_waits_runs_its_stack();
    addresses_are_checked();
    a_connected_socket_hears_of_a_closed_port();
    options_are_set_before_the_socket_is_bound();
    a_datagram_that_is_too_long_is_refused();
    neighbours_and_routes_can_be_set();
    two_runs_are_the_same_to_the_byte();
    a_replayed_file_arrives();
    counters_tell_what_happened();
    return 0;
}
