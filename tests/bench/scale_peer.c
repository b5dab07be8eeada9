/* Many fake QEMUs in one process: each listens at a socket of its own, greets whoever connects,
 * answers what a client that follows jobs asks, and has one job, a ready mirror. On request their
 * jobs go to and fro between "ready" and "standby" in turn, at a given rate, each event stamped with
 * the monotonic clock instead of the time of day. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "scale.h"

static const char greeting[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
static const char jobs[] =
    "[{\"current-progress\": 1048576, \"status\": \"%s\", \"total-progress\": 1048576, "
    "\"type\": \"mirror\", \"id\": \"job0\"}]";
static const char block_jobs[] =
    "[{\"auto-finalize\": true, \"io-status\": \"ok\", \"device\": \"job0\", \"auto-dismiss\": "
    "false, \"busy\": false, \"len\": 1048576, \"offset\": 1048576, \"status\": \"%s\", \"paused\": "
    "false, \"speed\": 0, \"ready\": true, \"type\": \"mirror\"}]";

struct fake {
    int fd; /* the listener, then the connection */
    bool is_connected;
    bool rests; /* its job is in standby */
};

static struct fake *fakes;

static void say(const struct fake *fake, const char *text, size_t len)
{
    if (send(fake->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        bench_die("peer: a socket took less than a message");
}

static void answer(const struct fake *fake, const char *command)
{
    const char *id = strstr(command, "\"id\":");
    const char *status = fake->rests ? "standby" : "ready";
    char line[1024], result[512] = "{}";
    int len;

    if (id == NULL)
        bench_die("peer: a command without id: %s", command);
    if (strstr(command, "query-jobs") != NULL)
        (void)snprintf(result, sizeof(result), jobs, status);
    else if (strstr(command, "query-block-jobs") != NULL)
        (void)snprintf(result, sizeof(result), block_jobs, status);
    len = snprintf(line, sizeof(line), "{\"return\": %s, \"id\": %.*s}\r\n", result,
                   (int)strcspn(id + 5, "}"), id + 5);
    say(fake, line, (size_t)len);
}

/* Commands of this client hold no brace that would close them early. */
static void hear(struct fake *fake)
{
    char text[4096];
    ssize_t n = recv(fake->fd, text, sizeof(text) - 1, 0);
    char *at = text, *end;

    if (n <= 0)
        exit(0); /* the client has what it wanted */
    text[n] = '\0';
    while ((end = strchr(at, '}')) != NULL) {
        *end = '\0';
        answer(fake, at);
        at = end + 1;
    }
}

static void serve(int epoll, int which)
{
    struct fake *fake = &fakes[which];
    struct epoll_event event = { .events = EPOLLIN, .data.fd = which };
    int fd;

    if (fake->is_connected) {
        hear(fake);
        return;
    }
    fd = accept4(fake->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        bench_die("peer: accept: %s", strerror(errno));
    (void)close(fake->fd);
    fake->fd = fd;
    fake->is_connected = true;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die("peer: epoll_ctl: %s", strerror(errno));
    say(fake, greeting, sizeof(greeting) - 1);
}

/* The time is taken as late as it can be: what is left until the message is in the other's socket is
 * the writing of one line and send() itself. */
static void send_event(struct fake *fake, unsigned number, bool is_floor)
{
    struct timespec now;
    char line[256];
    int len;

    if (!is_floor)
        fake->rests = !fake->rests;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    len = snprintf(line, sizeof(line), "{\"timestamp\": {\"seconds\": %ld, \"microseconds\": %ld}, "
                   "\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"status\": \"%s\", \"id\": "
                   "\"job0\", \"number\": %u}}\r\n", (long)now.tv_sec, now.tv_nsec / 1000,
                   fake->rests ? "standby" : "ready", number);
    say(fake, line, (size_t)len);
}

static void sleep_until(double at_us)
{
    double left = at_us - bench_now_us();
    struct timespec rest = { 0, (long)(left * 1e3) };

    if (left > 0)
        (void)nanosleep(&rest, NULL);
}

/* One monitor after the other in an order that no cache foresees. Where the machine made this process
 * late it catches up at twice the rate, not in a burst, which would measure the length of the burst. */
static void play(const struct scale_order *order, int control)
{
    static unsigned long state = 1;
    double start = bench_now_us(), step = 1e6 / order->per_second, last = 0;
    struct scale_report report = { 0, 0 };

    for (unsigned i = 0; i < order->n_events; i++) {
        double due = start + (double)i * step;

        sleep_until(due > last + step / 2 ? due : last + step / 2);
        last = bench_now_us();
        state = state * 6364136223846793005ul + 1442695040888963407ul;
        send_event(&fakes[(state >> 33) % (unsigned)order->n_monitors], i, order->is_floor);
        report.n_sent++;
    }
    report.took_us = bench_now_us() - start;
    if (write(control, &report, sizeof(report)) != (ssize_t)sizeof(report))
        exit(0);
}

static int listen_at(const char *dir, int which)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), SCALE_PATH, dir, which) >=
        sizeof(address.sun_path))
        bench_die("%s: too long for a socket", dir);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        bench_die("%s: %s", address.sun_path, strerror(errno));
    return fd;
}

void scale_peer(const char *dir, int n, int control)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = -1 };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct scale_order order;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_TIMERSLACK, 1000ul);
    fakes = calloc((size_t)n, sizeof(*fakes));
    if (epoll < 0 || fakes == NULL || epoll_ctl(epoll, EPOLL_CTL_ADD, control, &event) < 0)
        bench_die("peer: no memory, or no epoll");
    for (int i = 0; i < n; i++) {
        fakes[i].fd = listen_at(dir, i);
        event.data.fd = i;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fakes[i].fd, &event) < 0)
            bench_die("peer: epoll_ctl: %s", strerror(errno));
    }
    if (write(control, "r", 1) != 1)
        exit(1);
    while (epoll_wait(epoll, &event, 1, -1) >= 0 || errno == EINTR) {
        if (event.data.fd >= 0)
            serve(epoll, event.data.fd);
        else if (read(control, &order, sizeof(order)) == (ssize_t)sizeof(order))
            play(&order, control);
        else
            exit(0);
    }
    bench_die("peer: epoll_wait: %s", strerror(errno));
}
