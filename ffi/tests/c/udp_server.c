/* The example server, driven by a client of the kernel: through a TAP, in a
 * network namespace that this test makes for itself.
 *
 * The last answer may never leave: a server that ends right after its sendto()
 * takes the stack with it. So it is asked for one datagram more than are
 * compared. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "check.h"

#define main udp_server_main
#include "../../../examples/c/udp_server.c"
#undef main

enum { ROUNDS = 20, PORT = 9000 };

static int skip(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return 77;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd >= 0) {
        ssize_t written = write(fd, text, strlen(text));
        (void)written;
        close(fd);
    }
}

/* A network namespace, with a user namespace if that is what it takes. */
static int enter_namespace(void)
{
    char map[64];
    unsigned uid = getuid(), gid = getgid();
    if (unshare(CLONE_NEWNET) == 0)
        return 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return -1;
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
    return 0;
}

/* The kernel's end of the TAP gets its address and comes up: netdevice(7). */
static void bring_kernel_up(const char *name)
{
    struct ifreq request;
    struct sockaddr_in address = in_addr_of("10.9.0.1", 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0);
    memset(&request, 0, sizeof request);
    memcpy(request.ifr_name, name, strlen(name));
    memcpy(&request.ifr_addr, &address, sizeof address);
    CHECK(ioctl(fd, SIOCSIFADDR, &request) == 0);
    address = in_addr_of("255.255.255.0", 0);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    CHECK(ioctl(fd, SIOCSIFNETMASK, &request) == 0);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
    request.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
}

/* A persistent TAP: the kernel's side can be set up before the server is
 * there. */
static int make_tap(const char *name)
{
    enum { TAP_NO_PI = 0x1002 };
    const unsigned long tunsetiff = 0x400454ca, tunsetpersist = 0x400454cb;
    struct ifreq request;
    int fd = open("/dev/net/tun", O_RDWR);
    if (fd < 0)
        return -1;
    memset(&request, 0, sizeof request);
    memcpy(request.ifr_name, name, strlen(name));
    request.ifr_flags = TAP_NO_PI;
    if (ioctl(fd, tunsetiff, &request) != 0 || ioctl(fd, tunsetpersist, 1) != 0) {
        close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

/* The server, with its output on a pipe. */
static FILE *start_server(pid_t *child)
{
    static char name[] = "udp_server", wire[] = "tap:sn0";
    static char address[] = "10.9.0.2/24", port[] = "9000", count[] = "21";
    char *argv[] = {name, wire, address, port, count, NULL};
    int ends[2];
    CHECK(pipe(ends) == 0);
    *child = fork();
    CHECK(*child >= 0);
    if (*child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(dup2(ends[1], STDOUT_FILENO) >= 0);
        close(ends[0]);
        close(ends[1]);
        exit(udp_server_main(5, argv));
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

static void expect_line(FILE *output, const char *expected)
{
    char line[256];
    CHECK(fgets(line, sizeof line, output) != NULL);
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, expected) != 0) {
        fprintf(stderr, "printed \"%s\", not \"%s\"\n", line, expected);
        exit(1);
    }
}

static int kernel_client(void)
{
    struct sockaddr_in server = in_addr_of("10.9.0.2", PORT);
    struct sockaddr_in local = in_addr_of("10.9.0.1", 40000);
    struct timeval patience;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&patience, 0, sizeof patience);
    patience.tv_sec = 60;
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(bind(fd, (struct sockaddr *)&local, sizeof local) == 0);
    CHECK(connect(fd, (struct sockaddr *)&server, sizeof server) == 0);
    return fd;
}

int main(void)
{
    char payload[32], expected[64], answer[64];
    pid_t child;
    FILE *output;
    int fd, status;

    if (enter_namespace() != 0)
        return skip("no network namespace can be made");
    if (make_tap("sn0") != 0)
        return skip("no TAP can be made");
    bring_kernel_up("sn0");
    output = start_server(&child);
    expect_line(output, "listening on port 9000");
    fd = kernel_client();
    for (int round = 0; round <= ROUNDS; round++) {
        size_t len = (size_t)snprintf(payload, sizeof payload, "round %d", round);
        CHECK(send(fd, payload, len, 0) == (ssize_t)len);
        snprintf(expected, sizeof expected, "10.9.0.1:40000: %s", payload);
        expect_line(output, expected);
        if (round == ROUNDS)
            break;
        CHECK(recv(fd, answer, sizeof answer, 0) == (ssize_t)len);
        CHECK(memcmp(answer, payload, len) == 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fclose(output);
    close(fd);
    return 0;
}
