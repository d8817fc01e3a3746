/* poll(2) waits for sockets by their descriptors. */
#include <poll.h>

#include "check.h"

static int readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd;
    poll_fd.fd = fd;
    poll_fd.events = POLLIN;
    poll_fd.revents = 0;
    int count = poll(&poll_fd, 1, timeout_ms);
    CHECK(count >= 0);
    return count == 1 && poll_fd.revents == POLLIN;
}

static void a_descriptor_is_readable_until_the_socket_is_empty(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    int fd = -1, again = -1;

    OK(softnet_poll_fd(sock, &fd));
    OK(softnet_poll_fd(sock, &again));
    CHECK(fd >= 0 && fd == again);
    OK(bind_to(sock, "10.0.0.1", 7));
    CHECK(!readable(fd, 0));
    for (int round = 0; round < 3; round++) {
        OK(send_to(sock, "one", "10.0.0.1", 7));
        OK(send_to(sock, "two", "10.0.0.1", 7));
        CHECK(!readable(fd, 0));
        OK(softnet_stack_run_until_idle(pair.stack[0], NULL));
        CHECK(readable(fd, 0));
        expect(sock, 0, "one", "10.0.0.1", 7);
        CHECK(readable(fd, 0));
        expect(sock, 0, "two", "10.0.0.1", 7);
        RESULT(SOFTNET_RESULT_WOULD_BLOCK, receive(sock, 0));
        CHECK(!readable(fd, 0));
    }
    free_pair(&pair);
}

/* What came before anybody asked for the descriptor counts too. */
static void a_late_descriptor_is_readable_at_once(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    int fd = -1;
    OK(bind_to(sock, "10.0.0.1", 7));
    OK(send_to(sock, "early", "10.0.0.1", 7));
    OK(softnet_stack_run_until_idle(pair.stack[0], NULL));
    OK(softnet_poll_fd(sock, &fd));
    CHECK(readable(fd, 0));
    free_pair(&pair);
}

/* A receive that has waited does not keep the wake-up from the descriptor. */
static void waiting_and_polling_go_together(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_MONOTONIC, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    int fd = -1;
    OK(softnet_stack_start(pair.stack[0], NULL, 0, 0));
    OK(bind_to(sock, "10.0.0.1", 7));
    OK(softnet_poll_fd(sock, &fd));
    RESULT(SOFTNET_RESULT_TIMED_OUT, receive(sock, 5));
    OK(send_to(sock, "x", "10.0.0.1", 7));
    CHECK(readable(fd, 60000));
    free_pair(&pair);
}

static void threads_make_the_descriptor_readable(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_MONOTONIC, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    int fd = -1;

    for (int host = 0; host < 2; host++)
        OK(softnet_stack_start(pair.stack[host], NULL, 0, 0));
    wait_links(&pair);
    OK(bind_to(server, "10.0.0.2", 7));
    OK(bind_to(client, "10.0.0.1", 4000));
    OK(softnet_poll_fd(server, &fd));
    for (int round = 0; round < 200; round++) {
        softnet_result result;
        int received = 0;
        OK(send_to(client, "wake up", "10.0.0.2", 7));
        while (!received) {
            CHECK(readable(fd, 60000));
            while ((result = receive(server, 0)) == SOFTNET_RESULT_OK)
                received++;
            RESULT(SOFTNET_RESULT_WOULD_BLOCK, result);
        }
        CHECK(received == 1);
    }
    free_pair(&pair);
}

int main(void)
{
    a_descriptor_is_readable_until_the_socket_is_empty();
    a_late_descriptor_is_readable_at_once();
    waiting_and_polling_go_together();
    threads_make_the_descriptor_readable();
    return 0;
}
