/* Objects are made and freed; what is wrong about a call is told, and does no
 * harm. */
#include <stdint.h>

#include "check.h"

static softnet_stack *a_stack(void)
{
    return new_stack(SOFTNET_CLOCK_VIRTUAL, 1);
}

static void defaults_are_enough(void)
{
    softnet_stack *stack = NULL;
    uint64_t now = 0;
    OK(softnet_stack_new(NULL, &stack));
    OK(softnet_stack_now(stack, &now));
    OK(softnet_stack_free(stack));
}

static void a_freed_handle_is_bad_for_ever(void)
{
    softnet_stack *stack = a_stack();
    softnet_stack *next;
    softnet_sock *sock;
    OK(softnet_stack_free(stack));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_stack_free(stack));
    /* The slot is used again; the old handle is not the new one's. */
    next = a_stack();
    CHECK(next != stack);
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_stack_free(stack));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_stack_run_once(stack, NULL));

    sock = udp_socket(next);
    OK(softnet_close(sock));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_close(sock));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, receive(sock, 0));
    OK(softnet_stack_free(next));
}

static void a_stack_takes_its_nics_and_sockets_with_it(void)
{
    softnet_stack *stack = a_stack();
    softnet_wire *left = NULL, *right = NULL;
    softnet_nic *nic = NULL;
    softnet_sock *sock = udp_socket(stack);
    OK(softnet_wire_cable(&left, &right));
    OK(softnet_nic_add(stack, NULL, left, &nic));
    OK(softnet_stack_free(stack));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_close(sock));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_nic_remove(nic));
    /* The NIC had taken the wire over; the other end is still the caller's. */
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_wire_free(left));
    OK(softnet_wire_free(right));
}

static void a_removed_nic_is_gone(void)
{
    softnet_stack *stack = a_stack();
    softnet_wire *left = NULL, *right = NULL;
    softnet_nic *nic = NULL;
    uint8_t mac[6];
    OK(softnet_wire_cable(&left, &right));
    OK(softnet_nic_add(stack, NULL, left, &nic));
    OK(softnet_nic_mac(nic, mac));
    CHECK((mac[0] & 1) == 0);
    OK(softnet_nic_remove(nic));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_nic_mac(nic, mac));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_nic_add_address(nic, "10.0.0.1/8"));
    OK(softnet_wire_free(right));
    OK(softnet_stack_free(stack));
}

static void a_link_without_another_end_stays_down(void)
{
    softnet_stack *stack = a_stack();
    softnet_wire *left = NULL, *right = NULL;
    softnet_nic *nic = NULL;
    OK(softnet_wire_cable(&left, &right));
    OK(softnet_wire_free(right));
    OK(softnet_nic_add(stack, NULL, left, &nic));
    RESULT(SOFTNET_RESULT_TIMED_OUT, softnet_nic_wait_link(nic, 100));
    OK(softnet_stack_free(stack));
}

static void wrong_kinds_are_refused(void)
{
    softnet_stack *stack = a_stack();
    softnet_sock *sock = udp_socket(stack);
    RESULT(SOFTNET_RESULT_WRONG_KIND, softnet_stack_free((softnet_stack *)sock));
    RESULT(SOFTNET_RESULT_WRONG_KIND, softnet_close((softnet_sock *)stack));
    RESULT(SOFTNET_RESULT_WRONG_KIND, softnet_nic_remove((softnet_nic *)sock));
    RESULT(SOFTNET_RESULT_WRONG_KIND, softnet_wire_free((softnet_wire *)sock));
    RESULT(SOFTNET_RESULT_WRONG_KIND, softnet_frame_release((softnet_frame *)stack));
    /* Both are still what they were. */
    OK(softnet_close(sock));
    OK(softnet_stack_free(stack));
}

static void made_up_handles_are_refused(void)
{
    static const uintptr_t values[] = {1, 0xfffff, 0x100000, 0xdeadbeef, UINTPTR_MAX};
    int local = 0;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_close((softnet_sock *)values[i]));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_stack_free((softnet_stack *)&local));
}

static void null_is_refused_everywhere(void)
{
    softnet_stack *stack = a_stack();
    softnet_sock *sock = udp_socket(stack);
    softnet_wire *wire = NULL, *other = NULL;
    softnet_nic *nic = NULL;
    softnet_counters counters;
    softnet_datagram datagram;
    struct sockaddr_in address = in_addr_of("127.0.0.1", 9);
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t addrlen = sizeof address;
    size_t len = 0;
    int value = 1;
    const int null = SOFTNET_RESULT_NULL;

    OK(softnet_wire_cable(&wire, &other));
    RESULT(null, softnet_config_init(NULL, sizeof(softnet_config)));
    RESULT(null, softnet_nic_config_init(NULL, sizeof(softnet_nic_config)));
    RESULT(null, softnet_stack_new(NULL, NULL));
    RESULT(null, softnet_stack_free(NULL));
    RESULT(null, softnet_stack_start(NULL, NULL, 0, 0));
    RESULT(null, softnet_stack_start(stack, NULL, 1, 0));
    RESULT(null, softnet_stack_stop(NULL));
    RESULT(null, softnet_stack_run_once(NULL, NULL));
    RESULT(null, softnet_stack_run_until_idle(NULL, NULL));
    RESULT(null, softnet_stack_run_for(NULL, 1));
    RESULT(null, softnet_stack_now(NULL, NULL));
    RESULT(null, softnet_stack_now(stack, NULL));
    RESULT(null, softnet_stack_advance(NULL, 1));
    RESULT(null, softnet_wire_open(NULL, &wire));
    RESULT(null, softnet_wire_open("tap:x", NULL));
    RESULT(null, softnet_wire_cable(NULL, &wire));
    RESULT(null, softnet_wire_cable(&wire, NULL));
    RESULT(null, softnet_wire_record(NULL, "/dev/null"));
    RESULT(null, softnet_wire_record(wire, NULL));
    RESULT(null, softnet_wire_free(NULL));
    RESULT(null, softnet_nic_add(NULL, NULL, wire, &nic));
    RESULT(null, softnet_nic_add(stack, NULL, NULL, &nic));
    RESULT(null, softnet_nic_add(stack, NULL, wire, NULL));
    OK(softnet_nic_add(stack, NULL, wire, &nic));
    RESULT(null, softnet_nic_remove(NULL));
    RESULT(null, softnet_nic_wait_link(NULL, 0));
    RESULT(null, softnet_nic_mac(nic, NULL));
    RESULT(null, softnet_nic_add_address(nic, NULL));
    RESULT(null, softnet_nic_add_route(nic, NULL, NULL));
    RESULT(null, softnet_nic_add_neighbour(nic, "10.0.0.1", NULL));
    RESULT(null, softnet_socket(NULL, AF_INET, SOCK_DGRAM, 0, &sock));
    RESULT(null, softnet_socket(stack, AF_INET, SOCK_DGRAM, 0, NULL));
    RESULT(null, softnet_bind(NULL, any, addrlen));
    RESULT(null, softnet_bind(sock, NULL, addrlen));
    RESULT(null, softnet_connect(sock, NULL, addrlen));
    RESULT(null, softnet_sendto(sock, NULL, 1, any, addrlen));
    RESULT(null, softnet_sendto(sock, "x", 1, NULL, addrlen));
    RESULT(null, softnet_send(sock, NULL, 1));
    RESULT(null, softnet_recvfrom(sock, NULL, 1, 0, NULL, NULL, &len));
    RESULT(null, softnet_recvfrom(sock, &value, 1, 0, any, NULL, &len));
    RESULT(null, softnet_recvfrom(sock, &value, 1, 0, NULL, NULL, NULL));
    RESULT(null, softnet_recv_borrow(sock, 0, NULL));
    RESULT(null, softnet_recv_borrow(NULL, 0, &datagram));
    RESULT(null, softnet_frame_release(NULL));
    RESULT(null, softnet_frame_send(sock, NULL, any, addrlen));
    RESULT(null, softnet_getsockname(sock, NULL, &addrlen));
    RESULT(null, softnet_getsockname(sock, any, NULL));
    RESULT(null, softnet_getpeername(sock, NULL, &addrlen));
    RESULT(null, softnet_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, NULL, sizeof value));
    RESULT(null, softnet_getsockopt(sock, SOL_SOCKET, SO_RCVBUF, NULL, &addrlen));
    RESULT(null, softnet_getsockopt(sock, SOL_SOCKET, SO_RCVBUF, &value, NULL));
    RESULT(null, softnet_poll_fd(sock, NULL));
    RESULT(null, softnet_close(NULL));
    RESULT(null, softnet_counters_read(NULL, &counters, sizeof counters));
    RESULT(null, softnet_counters_read(stack, NULL, sizeof counters));
    RESULT(null, softnet_counters_visit(stack, NULL, NULL));
    OK(softnet_wire_free(other));
    OK(softnet_stack_free(stack));
}

static void a_structure_of_a_strange_size_is_refused(void)
{
    softnet_config config;
    softnet_nic_config nic_config;
    softnet_counters counters;
    softnet_stack *stack = NULL;
    softnet_wire *left = NULL, *right = NULL;
    softnet_nic *nic = NULL;
    const int invalid = SOFTNET_RESULT_INVALID;

    memset(&config, 0, sizeof config);
    RESULT(invalid, softnet_stack_new(&config, &stack));
    RESULT(invalid, softnet_config_init(&config, 7));
    RESULT(invalid, softnet_config_init(&config, sizeof config + 1));
    OK(softnet_config_init(&config, sizeof config));
    config.size = (size_t)-1;
    RESULT(invalid, softnet_stack_new(&config, &stack));
    CHECK(stack == NULL);

    stack = a_stack();
    OK(softnet_wire_cable(&left, &right));
    memset(&nic_config, 0, sizeof nic_config);
    RESULT(invalid, softnet_nic_add(stack, &nic_config, left, &nic));
    RESULT(invalid, softnet_counters_read(stack, &counters, sizeof counters - 1));
    RESULT(invalid, softnet_counters_read(stack, &counters, (size_t)-1));
    /* The wire is still the caller's. */
    OK(softnet_wire_free(left));
    OK(softnet_wire_free(right));
    OK(softnet_stack_free(stack));
}

static softnet_result with_config(uint32_t cpus, uint32_t clock, uint32_t frames,
                                  uint32_t frame_size)
{
    softnet_config config;
    softnet_stack *stack = NULL;
    OK(softnet_config_init(&config, sizeof config));
    config.cpus = cpus;
    config.clock = clock;
    config.frames = frames;
    config.frame_size = frame_size;
    return softnet_stack_new(&config, &stack);
}

static void values_that_cannot_be_are_refused(void)
{
    softnet_stack *stack = a_stack();
    softnet_wire *left = NULL, *right = NULL, *none = NULL;
    softnet_nic_config config;
    softnet_nic *nic = NULL;
    softnet_sock *sock = NULL;
    const int invalid = SOFTNET_RESULT_INVALID;
    const int unsupported = SOFTNET_RESULT_UNSUPPORTED;

    RESULT(invalid, with_config(0, 0, 1024, 2176));
    RESULT(invalid, with_config(65, 0, 1024, 2176));
    RESULT(invalid, with_config(1, 2, 1024, 2176));
    RESULT(invalid, with_config(1, 0, 0, 2176));
    RESULT(invalid, with_config(1, 0, 1024, 1));
    RESULT(invalid, with_config(1, 0, 1024, UINT32_MAX));

    RESULT(unsupported, softnet_wire_open("token-ring:0", &none));
    RESULT(unsupported, softnet_wire_open("tap", &none));
    RESULT(SOFTNET_RESULT_SYSTEM, softnet_wire_open("replay:/no/such/file", &none));
    CHECK(strstr(softnet_last_error(), "/no/such/file") != NULL);
    RESULT(SOFTNET_RESULT_SYSTEM,
           softnet_wire_open("tap:a-name-that-is-too-long-for-it", &none));
    CHECK(none == NULL);

    OK(softnet_wire_cable(&left, &right));
    RESULT(SOFTNET_RESULT_SYSTEM, softnet_wire_record(left, "/no/such/folder/file"));
    OK(softnet_nic_config_init(&config, sizeof config));
    config.model = "rtl8139";
    RESULT(unsupported, softnet_nic_add(stack, &config, left, &nic));
    config.model = "e1000";
    config.ring = 7;
    RESULT(SOFTNET_RESULT_DEVICE, softnet_nic_add(stack, &config, left, &nic));
    CHECK(nic == NULL);
    OK(softnet_nic_add(stack, NULL, right, &nic));

    RESULT(invalid, softnet_nic_add_address(nic, "10.0.0.1"));
    RESULT(invalid, softnet_nic_add_address(nic, "10.0.0.1/33"));
    RESULT(invalid, softnet_nic_add_address(nic, "10.0.0/24"));
    RESULT(invalid, softnet_nic_add_address(nic, "224.0.0.1/24"));
    RESULT(unsupported, softnet_nic_add_address(nic, "2001:db8::1/64"));
    RESULT(invalid, softnet_nic_add_address(nic, "\xff\xfe"));
    OK(softnet_nic_add_address(nic, "10.0.0.1/24"));
    RESULT(SOFTNET_RESULT_EXISTS, softnet_nic_add_address(nic, "10.0.0.1/24"));
    RESULT(invalid, softnet_nic_add_route(nic, "anywhere", NULL));
    RESULT(invalid, softnet_nic_add_route(nic, "default", "over there"));
    OK(softnet_nic_add_route(nic, "default", "10.0.0.254"));
    RESULT(SOFTNET_RESULT_EXISTS, softnet_nic_add_route(nic, "default", "10.0.0.254"));
    RESULT(invalid, softnet_nic_add_neighbour(nic, "10.0.0", config.mac));

    RESULT(unsupported, softnet_socket(stack, AF_INET, SOCK_STREAM, 0, &sock));
    RESULT(unsupported, softnet_socket(stack, AF_INET6, SOCK_DGRAM, 0, &sock));
    RESULT(unsupported, softnet_socket(stack, AF_INET, SOCK_DGRAM, 99, &sock));
    CHECK(sock == NULL);
    OK(softnet_stack_free(stack));
}

static void how_a_stack_runs_decides_what_can_be_done(void)
{
    softnet_stack *real = new_stack(SOFTNET_CLOCK_MONOTONIC, 1);
    softnet_stack *virtually = a_stack();
    const int state = SOFTNET_RESULT_STATE;
    uint64_t before = 0, after = 0;

    RESULT(state, softnet_stack_start(virtually, NULL, 0, 0));
    RESULT(state, softnet_stack_advance(real, 1));
    OK(softnet_stack_now(virtually, &before));
    OK(softnet_stack_advance(virtually, 5 * MS));
    OK(softnet_stack_now(virtually, &after));
    CHECK(after == before + 5 * MS);
    OK(softnet_stack_run_for(virtually, 7 * MS));
    OK(softnet_stack_now(virtually, &before));
    CHECK(before == after + 7 * MS);

    OK(softnet_stack_stop(real));
    OK(softnet_stack_start(real, NULL, 0, 0));
    RESULT(state, softnet_stack_start(real, NULL, 0, 0));
    RESULT(state, softnet_stack_run_once(real, NULL));
    RESULT(state, softnet_stack_run_until_idle(real, NULL));
    RESULT(state, softnet_stack_run_for(real, 1));
    OK(softnet_stack_stop(real));
    OK(softnet_stack_run_until_idle(real, &after));
    OK(softnet_stack_free(real));
    OK(softnet_stack_free(virtually));
}

static void results_have_words(void)
{
    CHECK(strcmp(softnet_strerror(SOFTNET_RESULT_OK), "success") == 0);
    CHECK(strcmp(softnet_strerror(1), "not a result of softnet") == 0);
    CHECK(strcmp(softnet_strerror(-1000), "not a result of softnet") == 0);
    for (int result = SOFTNET_RESULT_OK; result >= SOFTNET_RESULT_PANIC; result--)
        CHECK(strcmp(softnet_strerror(result), softnet_strerror(1)) != 0);
    CHECK(strchr(softnet_version(), '.') != NULL);
    RESULT(SOFTNET_RESULT_NULL, softnet_close(NULL));
    CHECK(strcmp(softnet_last_error(), "socket must not be NULL") == 0);
}

int main(void)
{
    defaults_are_enough();
    a_freed_handle_is_bad_for_ever();
    a_stack_takes_its_nics_and_sockets_with_it();
    a_removed_nic_is_gone();
    a_link_without_another_end_stays_down();
    wrong_kinds_are_refused();
    made_up_handles_are_refused();
    null_is_refused_everywhere();
    a_structure_of_a_strange_size_is_refused();
    values_that_cannot_be_are_refused();
    how_a_stack_runs_decides_what_can_be_done();
    results_have_words();
    return 0;
}
