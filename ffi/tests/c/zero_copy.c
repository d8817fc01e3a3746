/* Datagrams are borrowed from the stack, answered in place, and given back. */
#include "check.h"

static void a_borrowed_datagram_is_read_and_given_back(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    softnet_datagram datagram;

    wait_links(&pair);
    OK(bind_to(client, "10.0.0.1", 4000));
    OK(bind_to(server, "0.0.0.0", 7));
    RESULT(SOFTNET_RESULT_WOULD_BLOCK, softnet_recv_borrow(server, 0, &datagram));
    OK(send_to(client, "borrow me", "10.0.0.2", 7));
    settle(&pair);
    OK(softnet_recv_borrow(server, 0, &datagram));
    CHECK(datagram.len == 9 && memcmp(datagram.data, "borrow me", 9) == 0);
    CHECK(is_address((struct sockaddr_in *)&datagram.from, "10.0.0.1", 4000));
    CHECK(is_address((struct sockaddr_in *)&datagram.to, "10.0.0.2", 7));
    OK(softnet_frame_release(datagram.frame));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_frame_release(datagram.frame));
    free_pair(&pair);
}

static void an_answer_goes_back_in_the_same_frame(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *client = udp_socket(pair.stack[0]);
    softnet_sock *server = udp_socket(pair.stack[1]);
    softnet_datagram datagram;
    struct sockaddr *to = (struct sockaddr *)&datagram.from;
    struct sockaddr_in nobody = in_addr_of("10.0.0.1", 0);

    wait_links(&pair);
    OK(bind_to(client, "10.0.0.1", 4000));
    OK(bind_to(server, "10.0.0.2", 7));
    OK(send_to(client, "ping", "10.0.0.2", 7));
    settle(&pair);
    OK(softnet_recv_borrow(server, 0, &datagram));
    datagram.data[1] = 'o';
    /* Refused: the frame, and what is in it, is still the caller's. */
    RESULT(SOFTNET_RESULT_INVALID,
           softnet_frame_send(server, datagram.frame, (struct sockaddr *)&nobody,
                              sizeof nobody));
    CHECK(memcmp(datagram.data, "pong", 4) == 0);
    OK(softnet_frame_send(server, datagram.frame, to, sizeof(struct sockaddr_in)));
    RESULT(SOFTNET_RESULT_BAD_HANDLE,
           softnet_frame_send(server, datagram.frame, to, sizeof(struct sockaddr_in)));
    RESULT(SOFTNET_RESULT_BAD_HANDLE, softnet_frame_release(datagram.frame));
    settle(&pair);
    expect(client, 0, "pong", "10.0.0.2", 7);
    free_pair(&pair);
}

static void a_frame_outlives_its_socket_and_its_stack(void)
{
    struct pair pair = new_pair(SOFTNET_CLOCK_VIRTUAL, NULL);
    softnet_sock *sock = udp_socket(pair.stack[0]);
    softnet_datagram datagram;

    OK(bind_to(sock, "10.0.0.1", 7));
    OK(send_to(sock, "still here", "10.0.0.1", 7));
    OK(softnet_recv_borrow(sock, 1000, &datagram));
    OK(softnet_close(sock));
    free_pair(&pair);
    CHECK(datagram.len == 10 && memcmp(datagram.data, "still here", 10) == 0);
    OK(softnet_frame_release(datagram.frame));
}

/* Lent frames are missing: when all are, nothing can be sent; when they are
 * back, everything is as before. */
static void lent_frames_come_home(void)
{
    enum { FRAMES = 1024 };
    static softnet_frame *frames[FRAMES];
    softnet_stack *stack = new_stack(SOFTNET_CLOCK_VIRTUAL, 3);
    softnet_wire *left = NULL, *right = NULL;
    softnet_nic *nic = NULL;
    softnet_sock *sock = udp_socket(stack);
    softnet_datagram datagram;
    softnet_result sent;
    int lent = 0;

    OK(softnet_wire_cable(&left, &right));
    OK(softnet_nic_add(stack, NULL, left, &nic));
    OK(softnet_nic_add_address(nic, "10.0.0.1/24"));
    OK(bind_to(sock, "10.0.0.1", 7));
    while ((sent = send_to(sock, "x", "10.0.0.1", 7)) == SOFTNET_RESULT_OK) {
        CHECK(lent < FRAMES);
        OK(softnet_recv_borrow(sock, 1, &datagram));
        frames[lent++] = datagram.frame;
    }
    RESULT(SOFTNET_RESULT_NO_RESOURCES, sent);
    /* The ring of the NIC and the CPU's cache hold the others. */
    CHECK(lent > 400);
    for (int i = 0; i < lent; i++)
        OK(softnet_frame_release(frames[i]));
    for (int i = 0; i < lent; i++) {
        OK(send_to(sock, "x", "10.0.0.1", 7));
        OK(receive(sock, 1));
    }
    OK(softnet_wire_free(right));
    OK(softnet_stack_free(stack));
}

int main(void)
{
    a_borrowed_datagram_is_read_and_given_back();
    an_answer_goes_back_in_the_same_frame();
    a_frame_outlives_its_socket_and_its_stack();
    lent_frames_come_home();
    return 0;
}
