/* scale N PER_SECOND EVENTS DIR: follows the jobs of N monitors on one loop, while their peers in one
 * other process tell of changes, one each 1/PER_SECOND of a second. A round is played for each line of
 * standard input, so that rounds of several of these programs can take turns.
 *
 * A round is one of the library and one of a floor: a bare loop over the same sockets, which waits,
 * reads, and takes the time out of the same bytes. What both meet is the machine's.
 *
 * Prints, once all is connected: the bytes of resident memory a monitor beyond the first. Then for each
 * round, for library and floor: CPU_US P50_US P99_US WORST_US, and at the end: PER_SECOND
 *   this process's CPU for an event; the time from before the peer's send() to the end of the job's
 *   callback (or until the floor has read it); the events a second that were sent indeed, the fewer of
 *   the two.
 *
 * Every event carries a number: one that does not come, or comes twice, or that no job's callback is
 * called for, ends the program with status 1. */
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <qblk/ev.h>
#include <qblk/qblk.h>

#include "bench.h"
#include "scale.h"

struct followed {
    qblk_monitor *monitor;
    bool is_known;
};

static struct ev_loop *loop;
static unsigned n_synced, n_changes, n_wanted;
static unsigned char *is_seen; /* by number, of the round */
static struct series delays;

static void on_synced(qblk_monitor *monitor, void *arg)
{
    bool *is_known = arg;

    (void)monitor;
    if (*is_known)
        return;
    *is_known = true;
    if (++n_synced == n_wanted)
        ev_break(loop, EVBREAK_ALL);
}

static void on_state(qblk_job *job, void *arg)
{
    (void)job;
    (void)arg;
    n_changes++;
}

static double number_at(const char *json, const char *key)
{
    const char *at = strstr(json, key);

    if (at == NULL)
        bench_die("an event without %s: %s", key, json);
    return strtod(at + strlen(key), NULL);
}

static void note(const char *json)
{
    double sent = number_at(json, "\"seconds\": ") * 1e6 + number_at(json, "\"microseconds\": ");
    unsigned number = (unsigned)number_at(json, "\"number\": ");

    if (number >= n_wanted || is_seen[number])
        bench_die("event %u of %u came twice, or late", number, n_wanted);
    is_seen[number] = 1;
    series_add(&delays, bench_now_us() - sent);
}

static void on_event(qblk_monitor *monitor, const char *name, const char *json, void *arg)
{
    (void)monitor;
    (void)name;
    (void)arg;
    note(json);
    if (delays.n == n_wanted)
        ev_break(loop, EVBREAK_ALL);
}

static void on_end(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    (void)monitor;
    (void)arg;
    bench_die("a monitor ended: %s", error->text);
}

static void too_long(struct ev_loop *l, ev_timer *timer, int revents)
{
    (void)l;
    (void)timer;
    (void)revents;
    bench_die("nothing happened for a minute (%u of %u heard)", n_synced + (unsigned)delays.n,
              n_wanted);
}

static void run_loop(void)
{
    ev_timer limit;

    ev_timer_init(&limit, too_long, 60.0, 0.0);
    ev_timer_start(loop, &limit);
    ev_run(loop, 0);
    ev_timer_stop(loop, &limit);
}

static void follow(const char *dir, int which, struct followed *to)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    qblk_error error;
    char path[256];

    options.ops.size = sizeof(options.ops);
    options.ops.on_event = on_event;
    options.ops.on_end = on_end;
    options.greeting_ms = 30000;
    ops.on_synced = on_synced;
    ops.on_state = on_state;
    (void)snprintf(path, sizeof(path), SCALE_PATH, dir, which);
    if (qblk_monitor_connect(&to->monitor, path, &options, &error) < 0 ||
        qblk_monitor_attach_ev(to->monitor, loop, &error) < 0 ||
        qblk_jobs_track(to->monitor, &ops, &to->is_known, &error) < 0)
        bench_die("%s", error.text);
}

static long resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long size, pages;

    if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2)
        bench_die("/proc/self/statm cannot be read");
    (void)fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Each that can be read is read once a turn. Messages end in CR LF, and each comes whole. */
static void floor_turn(int epoll)
{
    struct epoll_event events[64];
    char text[65536];
    int n = epoll_wait(epoll, events, 64, 60000);

    if (n <= 0 && errno != EINTR)
        bench_die("nothing happened for a minute (%zu of %u read)", delays.n, n_wanted);
    for (int i = 0; i < n; i++) {
        ssize_t len = recv(events[i].data.fd, text, sizeof(text) - 1, MSG_DONTWAIT);
        char *end;

        if (len <= 0)
            bench_die("floor: recv: %s", len == 0 ? "closed" : strerror(errno));
        text[len] = '\0';
        for (char *at = text; (end = strstr(at, "\r\n")) != NULL; at = end + 2) {
            *end = '\0';
            note(at);
        }
    }
}

static int floor_open(const struct followed *all, int n)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    for (int i = 0; i < n; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = qblk_monitor_fd(all[i].monitor) };

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) < 0)
            bench_die("floor: epoll_ctl: %s", strerror(errno));
    }
    return epoll;
}

/* One round, by the library or (epoll is one) by the floor. Gives what was sent a second. */
static double play(int control, const struct scale_order *order, int epoll)
{
    struct scale_report report;

    delays.n = 0;
    n_changes = 0;
    n_wanted = order->n_events;
    memset(is_seen, 0, n_wanted);
    if (write(control, order, sizeof(*order)) != (ssize_t)sizeof(*order))
        bench_die("the peers have ended");
    while (epoll >= 0 && delays.n < n_wanted)
        floor_turn(epoll);
    if (epoll < 0)
        run_loop();
    if (read(control, &report, sizeof(report)) != (ssize_t)sizeof(report))
        bench_die("the peers have ended");
    if (report.n_sent != delays.n || (epoll < 0 && n_changes != report.n_sent))
        bench_die("%u events were sent, %zu came, %u changes of jobs were told", report.n_sent,
                  delays.n, n_changes);
    return report.n_sent * 1e6 / report.took_us;
}

/* Prints the figures, but for what was sent a second, which it gives. */
static double measure(int control, const struct scale_order *order, int epoll)
{
    double before = bench_cpu_us(), rate = play(control, order, epoll);

    printf(" %.3f", (bench_cpu_us() - before) / order->n_events);
    printf(" %.0f %.0f %.0f", series_at(&delays, 0.5), series_at(&delays, 0.99), series_at(&delays, 1.0));
    return rate;
}

static void measure_both(int control, const struct scale_order *order, const struct followed *all)
{
    struct scale_order same = *order;
    double library, floor;
    int epoll;

    library = measure(control, order, -1);
    epoll = floor_open(all, order->n_monitors);
    same.is_floor = true;
    floor = measure(control, &same, epoll);
    (void)close(epoll);
    printf(" %.0f\n", library < floor ? library : floor);
    (void)fflush(stdout);
}

static void raise_limit(int n)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)n + 100;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < wanted)
        bench_die("%d monitors need more descriptors than this machine gives (%lu)", n,
                  (unsigned long)limit.rlim_max);
    if (limit.rlim_cur < wanted)
        limit.rlim_cur = wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int start_peer(const char *dir, int n)
{
    int ends[2];
    char ready;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        bench_die("socketpair: %s", strerror(errno));
    if (fork() == 0) {
        (void)close(ends[0]);
        scale_peer(dir, n, ends[1]);
    }
    (void)close(ends[1]);
    if (read(ends[0], &ready, 1) != 1)
        bench_die("the peers did not start");
    return ends[0];
}

static void connect_some(const char *dir, struct followed *all, int from, int to)
{
    n_wanted = n_synced + (unsigned)(to - from);
    for (int i = from; i < to; i++)
        follow(dir, i, &all[i]);
    if (to > from)
        run_loop();
}

int main(int argc, char **argv)
{
    struct scale_order order;
    struct followed *all;
    long first, rest;
    int n, control;
    char line[16];

    if (argc != 5 || (n = atoi(argv[1])) < 1)
        bench_die("usage: scale N PER_SECOND EVENTS DIR");
    raise_limit(n);
    control = start_peer(argv[4], n);
    order = (struct scale_order){ 1, (unsigned)atoi(argv[3]), atof(argv[2]), false };
    loop = ev_loop_new(EVFLAG_AUTO);
    all = calloc((size_t)n, sizeof(*all));
    is_seen = calloc(order.n_events, 1);
    if (loop == NULL || all == NULL || is_seen == NULL)
        bench_die("out of memory");
    for (unsigned i = 0; i < order.n_events; i++)
        series_add(&delays, 1.0); /* its memory is not the library's */
    connect_some(argv[4], all, 0, 1);
    (void)play(control, &order, -1);
    first = resident();
    connect_some(argv[4], all, 1, n);
    order.n_monitors = n;
    (void)play(control, &order, -1);
    rest = resident();
    printf("%ld\n", n > 1 ? (rest - first) / (n - 1) : 0);
    (void)fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL)
        measure_both(control, &order, all);
    for (int i = 0; i < n; i++)
        (void)qblk_monitor_free(all[i].monitor);
    ev_loop_destroy(loop);
    return 0;
}
