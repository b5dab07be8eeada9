#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

void bench_die(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

double bench_now_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static double usage_us(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e6 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

double bench_cpu_us(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return usage_us(&usage);
}

void series_add(struct series *series, double value)
{
    if (series->n == series->room) {
        series->room = series->room == 0 ? 1024 : series->room * 2;
        series->v = realloc(series->v, series->room * sizeof(*series->v));
        if (series->v == NULL)
            bench_die("out of memory");
    }
    series->v[series->n++] = value;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double series_at(struct series *series, double part)
{
    if (series->n == 0)
        bench_die("nothing was measured");
    qsort(series->v, series->n, sizeof(*series->v), by_value);
    return series->v[(size_t)(part * (double)(series->n - 1))];
}

void raw_connect(struct raw *raw, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        bench_die("%s: too long for a socket", path);
    strcpy(address.sun_path, path);
    raw->len = 0;
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (raw->fd < 0 || connect(raw->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        bench_die("%s: %s", path, strerror(errno));
}

void raw_send(struct raw *raw, const char *bytes, size_t len)
{
    if (send(raw->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        bench_die("sending failed: %s", strerror(errno));
}

char *raw_line(struct raw *raw)
{
    static char line[sizeof(raw->in)];
    char *end;

    while ((end = memchr(raw->in, '\n', raw->len)) == NULL) {
        ssize_t n = recv(raw->fd, raw->in + raw->len, sizeof(raw->in) - raw->len, 0);

        if (n <= 0)
            bench_die("the monitor ended: %s", n == 0 ? "closed" : strerror(errno));
        raw->len += (size_t)n;
    }
    size_t len = (size_t)(end - raw->in) + 1;

    memcpy(line, raw->in, len - 1);
    line[len - 1] = '\0';
    raw->len -= len;
    if (raw->len != 0)
        memmove(raw->in, end + 1, raw->len);
    return line;
}

void raw_handshake(struct raw *raw)
{
    static const char caps[] = "{\"execute\":\"qmp_capabilities\"}\n";

    (void)raw_line(raw);
    raw_send(raw, caps, sizeof(caps) - 1);
    (void)raw_line(raw);
}

pid_t bench_spawn(char *const argv[])
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int r;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        bench_die("%s: %s", argv[0], strerror(r));
    return pid;
}

void bench_wait(pid_t pid, const char *name, struct rusage *ret_usage)
{
    int status;

    while (wait4(pid, &status, 0, ret_usage) < 0) {
        if (errno != EINTR)
            bench_die("wait: %s", strerror(errno));
    }
    if (status != 0)
        bench_die("%s ended with wait status 0x%x", name, (unsigned)status);
}

void bench_run(char *const argv[], struct run *ret_run)
{
    double from = bench_now_us();
    struct rusage usage;

    bench_wait(bench_spawn(argv), argv[0], &usage);
    ret_run->wall_us = bench_now_us() - from;
    ret_run->cpu_us = usage_us(&usage);
    ret_run->rss_kib = usage.ru_maxrss;
}
