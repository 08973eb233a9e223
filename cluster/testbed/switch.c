/* A network switch in user space, for kernels without `tc netem`. Every port is a TAP device "eth0" inside the network
 * namespace of a host. The switch carries frames between the ports, and can delay, lose or withhold them.
 *
 *   switch FIFO         reads commands from FIFO, one a line; prints nothing unless something fails
 *
 *   add PORT PID        a new eth0 in the network namespace of process PID; PORT is 1 to 63
 *   cut PORT            nothing passes this port any more, in neither direction; its device stays up
 *   join PORT           it passes again
 *   delay PORT MS       every frame that passes this port is late by so much (both ports of a way add up)
 *   loss PORT PERCENT   so many frames that pass this port are lost, by a fixed sequence of random numbers
 *
 * Port p has the hardware address 02:00:00:00:00:pp, which is all that the switch needs to know of a host. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <linux/if_tun.h> // needs net/if.h before it
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PORTS = 64,
    FRAME_MAX = 9216, // bytes; the hosts have an MTU of 9000
    HELD_MAX =
        64 * 1024 * 1024 // bytes of delayed frames in all; more than that are lost, as in a full router
};

/* A frame on its way. Each port has a list of them, the next one to be delivered first. */
struct frame {
    struct frame *next;
    int64_t due_ns;
    size_t bytes;
    unsigned char data[];
};

static struct port {
    int fd; // 0: no such port
    bool cut;
    int64_t delay_ns;
    double loss;                // probability
    struct frame *first, *last; // frames to be delivered here
} ports[PORTS];

static size_t held_bytes;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* In [0, 1): xorshift64*. */
static double random_unit(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (double)((random_state * 0x2545f4914f6cdd1du) >> 11) * 0x1p-53;
}

/* Creates the device of a port inside the namespace of process pid, and returns to the own one. */
static void add_port(int number, int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), away = open(path, O_RDONLY | O_CLOEXEC);
    if (home < 0 || away < 0 || setns(away, CLONE_NEWNET) != 0) die(path);

    struct ifreq request = {.ifr_name = "eth0", .ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) die("/dev/net/tun");
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, (unsigned char[]){2, 0, 0, 0, 0, (unsigned char)number}, 6);
    if (control < 0 || ioctl(control, SIOCSIFHWADDR, &request) != 0) die("hardware address of eth0");

    if (setns(home, CLONE_NEWNET) != 0) die("setns");
    close(control);
    close(home);
    close(away);
    if (ports[number].fd > 0) close(ports[number].fd); // the same host again, after it was lost
    ports[number].fd = fd;
    ports[number].cut = false;
}

static void obey(const char *line)
{
    char verb[16];
    int number;
    double value = 0;
    int words = sscanf(line, "%15s %d %lf", verb, &number, &value);
    if (words < 2 || number < 1 || number >= PORTS) {
        fprintf(stderr, "switch: not a command: %s\n", line);
        return;
    }
    struct port *port = &ports[number];
    if (strcmp(verb, "add") == 0)
        add_port(number, (int)value);
    else if (strcmp(verb, "cut") == 0)
        port->cut = true;
    else if (strcmp(verb, "join") == 0)
        port->cut = false;
    else if (strcmp(verb, "delay") == 0)
        port->delay_ns = (int64_t)(value * 1e6);
    else if (strcmp(verb, "loss") == 0)
        port->loss = value / 100;
    else
        fprintf(stderr, "switch: unknown command: %s\n", line);
}

/* Commands may come in pieces, and several at a time. */
static void read_commands(int fifo)
{
    static char text[4096];
    static size_t length;
    ssize_t got = read(fifo, text + length, sizeof text - 1 - length);
    if (got <= 0) return;
    length += (size_t)got;
    char *end;
    while ((end = memchr(text, '\n', length)) != NULL) {
        *end = '\0';
        obey(text);
        length -= (size_t)(end + 1 - text);
        memmove(text, end + 1, length);
    }
}

/* A full or vanished device loses the frame, as a real one would. */
static void deliver(const struct port *port, const void *data, size_t bytes)
{
    if (port->cut || port->fd <= 0) return;
    ssize_t written = write(port->fd, data, bytes);
    (void)written;
}

static void hold(struct port *port, int64_t due_ns, const void *data, size_t bytes)
{
    if (held_bytes + bytes > HELD_MAX) return;
    struct frame *frame = malloc(sizeof *frame + bytes);
    if (frame == NULL) die("malloc");
    *frame = (struct frame){.due_ns = due_ns, .bytes = bytes};
    memcpy(frame->data, data, bytes);
    held_bytes += bytes;
    // Nearly always the latest one; not where the senders have different delays.
    if (port->last != NULL && port->last->due_ns <= due_ns) {
        port->last->next = frame;
        port->last = frame;
        return;
    }
    struct frame **place = &port->first;
    while (*place != NULL && (*place)->due_ns <= due_ns) place = &(*place)->next;
    frame->next = *place;
    *place = frame;
    if (frame->next == NULL) port->last = frame;
}

static void send_to(struct port *from, struct port *to, const void *data, size_t bytes)
{
    if (to == from || to->fd <= 0 || to->cut) return;
    double passes = (1 - from->loss) * (1 - to->loss);
    if (passes < 1 && random_unit() >= passes) return;
    int64_t delay_ns = from->delay_ns + to->delay_ns;
    if (delay_ns > 0)
        hold(to, now_ns() + delay_ns, data, bytes);
    else
        deliver(to, data, bytes);
}

/* Reads some frames of a port; few enough that the other ports and the clock get their turn. */
static void forward_from(struct port *from)
{
    unsigned char frame[FRAME_MAX];
    for (int i = 0; i < 32; i++) {
        ssize_t bytes = read(from->fd, frame, sizeof frame);
        if (bytes < 0 && errno != EAGAIN &&
            errno != EINTR) { // the host's namespace is gone, or the device is still down
            if (errno != EIO) {
                close(from->fd);
                from->fd = 0;
            }
            return;
        }
        if (bytes < 14) return;
        if (from->cut) continue;
        bool everybody = (frame[0] & 1) != 0;
        for (int number = 1; number < PORTS; number++)
            if (everybody || number == frame[5]) send_to(from, &ports[number], frame, (size_t)bytes);
    }
}

/* Delivers what is due. Returns when the next frame is, in ns from now, or -1. */
static int64_t deliver_due(void)
{
    int64_t now = now_ns(), next = -1;
    for (int number = 1; number < PORTS; number++) {
        struct port *port = &ports[number];
        while (port->first != NULL && port->first->due_ns <= now) {
            struct frame *frame = port->first;
            deliver(port, frame->data, frame->bytes);
            port->first = frame->next;
            if (port->first == NULL) port->last = NULL;
            held_bytes -= frame->bytes;
            free(frame);
        }
        if (port->first != NULL && (next < 0 || port->first->due_ns - now < next))
            next = port->first->due_ns - now;
    }
    return next;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: switch FIFO\n");
        return 2;
    }
    int fifo = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC); // for writing, too: so it never ends
    if (fifo < 0) die(argv[1]);
    while (true) {
        struct pollfd polled[PORTS];
        struct port *polled_port[PORTS];
        nfds_t count = 1;
        polled[0] = (struct pollfd){.fd = fifo, .events = POLLIN};
        for (int number = 1; number < PORTS; number++) {
            if (ports[number].fd <= 0) continue;
            polled_port[count] = &ports[number];
            polled[count++] = (struct pollfd){.fd = ports[number].fd, .events = POLLIN};
        }
        int64_t wait_ns = deliver_due();
        struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
        if (ppoll(polled, count, wait_ns < 0 ? NULL : &wait, NULL) < 0 && errno != EINTR) die("poll");
        for (nfds_t i = 1; i < count; i++)
            if (polled[i].revents != 0) forward_from(polled_port[i]);
        if (polled[0].revents != 0) read_commands(fifo);
    }
}
