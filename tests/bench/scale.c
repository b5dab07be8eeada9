/* scale N PER_SECOND EVENTS ROUNDS DIR: follows the jobs of N monitors on one loop, while their peers
 * in one other process tell of changes.
 *
 * Prints: BYTES_A_MONITOR CPU_US P50_US P99_US WORST_US
 *   resident memory a monitor beyond the first; and of the rounds the median of: this process's CPU
 *   for an event, the time from the peer's send() to the end of the job's callback. */
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void on_event(qblk_monitor *monitor, const char *name, const char *json, void *arg)
{
    const char *at = strstr(json, "\"seconds\": ");
    double sent;

    (void)monitor;
    (void)name;
    (void)arg;
    if (at == NULL)
        bench_die("an event without its time");
    sent = strtod(at + strlen("\"seconds\": "), NULL) * 1e6;
    at = strstr(at, "\"microseconds\": ");
    sent += at != NULL ? strtod(at + strlen("\"microseconds\": "), NULL) : 0;
    series_add(&delays, bench_now_us() - sent);
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

static void play(int control, const struct scale_order *order)
{
    delays.n = 0;
    n_changes = 0;
    n_wanted = order->n_events;
    if (write(control, order, sizeof(*order)) != (ssize_t)sizeof(*order))
        bench_die("the peers have ended");
    run_loop();
    if (n_changes < order->n_events)
        bench_die("of %u changes of jobs %u were told", order->n_events, n_changes);
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
    struct series cpus = { .n = 0 }, middles = { .n = 0 }, highs = { .n = 0 }, worst = { .n = 0 };
    struct scale_order order;
    struct followed *all;
    int n, rounds, control;
    long first, rest;

    if (argc != 6 || (n = atoi(argv[1])) < 1)
        bench_die("usage: scale N PER_SECOND EVENTS ROUNDS DIR");
    rounds = atoi(argv[4]);
    raise_limit(n);
    control = start_peer(argv[5], n);
    order = (struct scale_order){ 1, (unsigned)atoi(argv[3]), atof(argv[2]) };
    loop = ev_loop_new(EVFLAG_AUTO);
    all = calloc((size_t)n, sizeof(*all));
    if (loop == NULL || all == NULL)
        bench_die("out of memory");
    for (unsigned i = 0; i < order.n_events; i++)
        series_add(&delays, 1.0); /* its memory is not the library's */
    connect_some(argv[5], all, 0, 1);
    play(control, &order);
    first = resident();
    connect_some(argv[5], all, 1, n);
    order.n_monitors = n;
    play(control, &order);
    rest = resident();
    for (int i = 0; i < rounds; i++) {
        double before = bench_cpu_us();

        play(control, &order);
        series_add(&cpus, (bench_cpu_us() - before) / order.n_events);
        series_add(&middles, series_at(&delays, 0.5));
        series_add(&highs, series_at(&delays, 0.99));
        series_add(&worst, series_at(&delays, 1.0));
    }
    printf("%ld %.2f %.0f %.0f %.0f\n", n > 1 ? (rest - first) / (n - 1) : 0, series_at(&cpus, 0.5),
           series_at(&middles, 0.5), series_at(&highs, 0.5), series_at(&worst, 0.5));
    for (int i = 0; i < n; i++)
        (void)qblk_monitor_free(all[i].monitor);
    ev_loop_destroy(loop);
    return 0;
}
