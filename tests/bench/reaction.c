/* reaction RUNS QEMU_SOCKET OWN_SOCKET TARGET_PREFIX -- COMMAND...: stands between the command and
 * a real QEMU and takes the time from handing on the first news that a job is ready to the first
 * byte of job-complete (or block-job-complete) in return. Seen from outside, so two changes of
 * process and the kernel's copying are in it. "%" in the command stands for the target of the run.
 *
 * Prints: MEDIAN_US P10_US P90_US COMMANDS_BETWEEN (sent after the news, before job-complete). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"

#define TAIL 64 /* longer than any word that is looked for */

struct side {
    int fd;
    char data[65536 + TAIL];
    size_t tail; /* the last bytes of what came before, for words cut in two */
};

struct proxy {
    struct side client, qemu;
    double ready_at;    /* 0: not yet */
    double complete_at;
    unsigned between;
};

static bool has(const struct side *side, size_t len, const char *word)
{
    return memmem(side->data, side->tail + len, word, strlen(word)) != NULL;
}

static void pass(const struct side *from, size_t len, int to)
{
    const char *at = from->data + from->tail;

    while (len > 0) {
        ssize_t n = send(to, at, len, MSG_NOSIGNAL);

        if (n < 0)
            return; /* the other side has left; its end is read soon */
        at += n;
        len -= (size_t)n;
    }
}

static void keep_tail(struct side *side, size_t len)
{
    size_t all = side->tail + len, keep = all < TAIL ? all : TAIL;

    memmove(side->data, side->data + all - keep, keep);
    side->tail = keep;
}

/* Returns false at the end of the stream. */
static bool from_qemu(struct proxy *proxy)
{
    struct side *side = &proxy->qemu;
    ssize_t n = recv(side->fd, side->data + side->tail, sizeof(side->data) - TAIL, 0);

    if (n <= 0)
        return false;
    if (proxy->ready_at <= 0 && (has(side, (size_t)n, "\"status\": \"ready\"") ||
                                 has(side, (size_t)n, "\"BLOCK_JOB_READY\"")))
        proxy->ready_at = bench_now_us();
    pass(side, (size_t)n, proxy->client.fd);
    keep_tail(side, (size_t)n);
    return true;
}

static bool from_client(struct proxy *proxy)
{
    struct side *side = &proxy->client;
    ssize_t n = recv(side->fd, side->data + side->tail, sizeof(side->data) - TAIL, 0);
    double now = bench_now_us();

    if (n <= 0)
        return false;
    if (proxy->ready_at > 0 && proxy->complete_at <= 0) {
        if (has(side, (size_t)n, "job-complete\""))
            proxy->complete_at = now;
        else
            proxy->between++;
    }
    pass(side, (size_t)n, proxy->qemu.fd);
    keep_tail(side, (size_t)n);
    return true;
}

static void stand_between(struct proxy *proxy)
{
    struct pollfd pfds[2] = { { .fd = proxy->qemu.fd, .events = POLLIN },
                              { .fd = proxy->client.fd, .events = POLLIN } };

    for (;;) {
        if (poll(pfds, 2, 60000) <= 0)
            bench_die("nothing happened for a minute");
        if (pfds[1].revents != 0 && !from_client(proxy))
            return;
        if (pfds[0].revents != 0 && !from_qemu(proxy))
            bench_die("QEMU ended");
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path))
        bench_die("%s: too long for a socket", path);
    strcpy(address.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        bench_die("%s: %s", path, strerror(errno));
    return fd;
}

static void once(int listener, const char *qemu, char *const argv[], struct proxy *proxy)
{
    static struct raw raw;
    struct rusage usage;
    pid_t pid = bench_spawn(argv);
    struct pollfd pfd = { .fd = listener, .events = POLLIN };

    memset(proxy, 0, sizeof(*proxy));
    if (poll(&pfd, 1, 10000) <= 0)
        bench_die("%s did not connect", argv[0]);
    proxy->client.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (proxy->client.fd < 0)
        bench_die("accept: %s", strerror(errno));
    raw_connect(&raw, qemu);
    proxy->qemu.fd = raw.fd;
    stand_between(proxy);
    (void)close(proxy->client.fd);
    (void)close(proxy->qemu.fd);
    bench_wait(pid, argv[0], &usage);
    if (proxy->ready_at <= 0 || proxy->complete_at <= 0)
        bench_die("no job became ready and was completed");
}

int main(int argc, char **argv)
{
    static struct proxy proxy;
    struct series us = { .n = 0 };
    char target[4096];
    int runs, listener, at = 0;

    if (argc < 7 || strcmp(argv[5], "--") != 0)
        bench_die("usage: reaction RUNS QEMU_SOCKET OWN_SOCKET TARGET_PREFIX -- COMMAND...");
    runs = atoi(argv[1]);
    listener = listen_at(argv[3]);
    for (int i = 6; i < argc; i++) {
        if (strcmp(argv[i], "%") == 0)
            at = i;
    }
    if (at == 0)
        bench_die("no %% in the command");
    for (int i = 0; i <= runs; i++) {
        (void)snprintf(target, sizeof(target), "%s%d.qcow2", argv[4], i);
        argv[at] = target;
        once(listener, argv[2], argv + 6, &proxy);
        if (i == 0)
            continue;
        series_add(&us, proxy.complete_at - proxy.ready_at);
        (void)snprintf(target, sizeof(target), "%s%d.qcow2", argv[4], i - 1);
        (void)unlink(target);
    }
    printf("%.1f %.1f %.1f %u\n", series_at(&us, 0.5), series_at(&us, 0.1), series_at(&us, 0.9),
           proxy.between);
    return 0;
}
