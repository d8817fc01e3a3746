/* Stacks with threads of their own, and applications with several. */
#include <pthread.h>

#include "check.h"

enum { ROUNDS = 500 };

static void start(const struct pair *pair)
{
    for (int host = 0; host < 2; host++)
        OK(softnet_stack_start(pair->stack[host], NULL, 0, 0));
    wait_links(pair);
}

static void *echo(void *argument)
{
    softnet_sock *sock = (softnet_sock *)argument;
    char buffer[64];
    struct sockaddr_in from;
    size_t len = 0;
    for (int round = 0; round < ROUNDS; round++) {
        socklen_t fromlen = sizeof from;
        OK(softnet_recvfrom(sock, buffer, sizeof buffer, -1, (struct sockaddr *)&from,
                            &fromlen, &len));
        OK(softnet_sendto(sock, buffer, len, (struct sockaddr *)&from, fromlen));
    }
    return NULL;
}

static void an_echo_answers_every_datagram(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_MONOTONIC, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    softnet_counters counters;
    pthread_t thread;
    char payload[32];

    start(&pair);
    OK(bind_to(server, "10.0.0.2", 7));
    OK(connect_to(client, "10.0.0.2", 7));
    CHECK(pthread_create(&thread, NULL, echo, server) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(payload, sizeof payload, "round %d", round);
        OK(softnet_send(client, payload, strlen(payload)));
        expect(client, 60000, payload, "10.0.0.2", 7);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    /* Inline again, the counters stand still. */
    OK(softnet_stack_stop(pair.stack[1]));
    OK(softnet_counters_read(pair.stack[1], &counters, sizeof counters));
    CHECK(counters.udp_in_datagrams == ROUNDS && counters.interrupts > 0);
    CHECK(counters.delivered == counters.processed && counters.dropped == 0);
    free_pair(&pair);
}

/* A thread that waits, and what became of it. */
struct waiter {
    softnet_sock *sock;
    int result;
};

static void *wait_for_ever(void *argument)
{
    struct waiter *waiter = (struct waiter *)argument;
    waiter->result = receive(waiter->sock, -1);
    return NULL;
}

static int ended(int result)
{
    /* Bad handle: it was closed before the other thread had come to wait. */
    return result == SOFTNET_RESULT_CLOSED || result == SOFTNET_RESULT_BAD_HANDLE;
}

static void closing_a_socket_ends_the_receive_that_waits(void)
{
    softnet_stack *stack = new_stack(SOFTNET_CLOCK_MONOTONIC, 1);
    OK(softnet_stack_start(stack, NULL, 0, 0));
    for (int round = 0; round < 50; round++) {
        struct waiter waiter;
        pthread_t thread;
        waiter.sock = udp_socket(stack);
        OK(bind_to(waiter.sock, "0.0.0.0", 7));
        CHECK(pthread_create(&thread, NULL, wait_for_ever, &waiter) == 0);
        OK(softnet_close(waiter.sock));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(ended(waiter.result));
    }
    OK(softnet_stack_free(stack));
}

static void freeing_a_stack_ends_the_receives_that_wait(void)
{
    enum { WAITERS = 4 };
    softnet_stack *stack = new_stack(SOFTNET_CLOCK_MONOTONIC, 1);
    struct waiter waiters[WAITERS];
    pthread_t threads[WAITERS];
    OK(softnet_stack_start(stack, NULL, 0, 0));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].sock = udp_socket(stack);
        CHECK(pthread_create(&threads[i], NULL, wait_for_ever, &waiters[i]) == 0);
    }
    OK(softnet_stack_free(stack));
    for (int i = 0; i < WAITERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(ended(waiters[i].result));
    }
}

static void *send_many(void *argument)
{
    softnet_sock *sock = (softnet_sock *)argument;
    for (int i = 0; i < ROUNDS; i++) {
        softnet_result result;
        do {
            result = send_to(sock, "from many threads", "10.0.0.1", 7);
        } while (result == SOFTNET_RESULT_WOULD_BLOCK ||
                 result == SOFTNET_RESULT_NO_RESOURCES);
        OK(result);
    }
    return NULL;
}

/* One socket, two threads that send, one that waits: the kernel's sockets can
 * do that too. */
static void a_socket_is_used_by_several_threads_at_once(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_MONOTONIC, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    softnet_counters counters;
    pthread_t threads[2];
    int received = 0;
    int large = 4 << 20;

    start(&pair);
    OK(softnet_setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &large, sizeof large));
    OK(bind_to(sock, "10.0.0.1", 7));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, send_many, sock) == 0);
    /* All arrive, or are counted as dropped. */
    for (;;) {
        softnet_result result = receive(sock, 0);
        received += result == SOFTNET_RESULT_OK;
        OK(softnet_counters_read(pair.stack[0], &counters, sizeof counters));
        if (counters.dropped + (uint64_t)received == 2 * ROUNDS)
            break;
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(received > 0);
    free_pair(&pair);
}

struct second {
    softnet_sock *sock;
    int result;
};

static void *wait_second(void *argument)
{
    struct second *second = (struct second *)argument;
    /* Until the first one waits, this one waits itself for a moment. */
    do {
        second->result = receive(second->sock, 1);
    } while (second->result == SOFTNET_RESULT_TIMED_OUT);
    return NULL;
}

static void only_one_thread_waits_for_a_socket(void)
{
    softnet_stack *stack = new_stack(SOFTNET_CLOCK_MONOTONIC, 1);
    struct waiter first;
    struct second second;
    pthread_t threads[2];
    OK(softnet_stack_start(stack, NULL, 0, 0));
    first.sock = second.sock = udp_socket(stack);
    first.result = SOFTNET_RESULT_BUSY;
    CHECK(pthread_create(&threads[1], NULL, wait_second, &second) == 0);
    /* The first may meet the second one's moment: then it is the busy one. */
    do {
        first.result = receive(first.sock, 20);
    } while (first.result == SOFTNET_RESULT_BUSY);
    CHECK(first.result == SOFTNET_RESULT_TIMED_OUT);
    CHECK(pthread_create(&threads[0], NULL, wait_for_ever, &first) == 0);
    CHECK(pthread_join(threads[1], NULL) == 0);
    CHECK(second.result == SOFTNET_RESULT_BUSY);
    OK(softnet_close(first.sock));
    CHECK(pthread_join(threads[0], NULL) == 0);
    CHECK(ended(first.result) || first.result == SOFTNET_RESULT_BUSY);
    OK(softnet_stack_free(stack));
}

/* A receive that runs an inline stack hands over to its threads. */
static void starting_a_stack_takes_over_a_receive_that_waits(void)
{
    for (int round = 0; round < 10; round++) {
        struct pair pair = new_pair(SOFTNET_CLOCK_MONOTONIC, NULL);
        softnet_sock *client = udp_socket(pair.stack[0]);
        struct waiter waiter;
        pthread_t thread;
        waiter.sock = udp_socket(pair.stack[0]);
        OK(bind_to(waiter.sock, "10.0.0.1", 7));
        CHECK(pthread_create(&thread, NULL, wait_for_ever, &waiter) == 0);
        OK(softnet_stack_start(pair.stack[0], NULL, 0, 0));
        OK(send_to(client, "x", "10.0.0.1", 7));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(waiter.result == SOFTNET_RESULT_OK);
        free_pair(&pair);
    }
}

static void *free_it(void *argument)
{
    return (void *)(intptr_t)softnet_stack_free((softnet_stack *)argument);
}

/* Whoever comes second frees nothing. */
static void two_threads_free_a_stack_once(void)
{
    for (int round = 0; round < 20; round++) {
        softnet_stack *stack = new_stack(SOFTNET_CLOCK_VIRTUAL, 1);
        pthread_t threads[2];
        int freed = 0;
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, free_it, stack) == 0);
        for (int i = 0; i < 2; i++) {
            void *result;
            CHECK(pthread_join(threads[i], &result) == 0);
            freed += (intptr_t)result == SOFTNET_RESULT_OK;
        }
        CHECK(freed == 1);
    }
}

int main(void)
{
    an_echo_answers_every_datagram();
    closing_a_socket_ends_the_receive_that_waits();
    freeing_a_stack_ends_the_receives_that_wait();
    a_socket_is_used_by_several_threads_at_once();
    only_one_thread_waits_for_a_socket();
    starting_a_stack_takes_over_a_receive_that_waits();
    two_threads_free_a_stack_once();
    return 0;
}
