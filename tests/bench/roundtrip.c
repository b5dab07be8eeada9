/* roundtrip SOCKET1 SOCKET2 SOCKET3 SOCKET4: query-status on four monitors of one QEMU, in short
 * rounds one after the other, so that whatever drifts drifts for all of them:
 *
 *   plain    a loop that writes fixed bytes and reads up to the newline; what a person types
 *   with id  the same loop, with an id in the bytes as long as the library's
 *   execute  qblk_monitor_execute()
 *   send     qblk_monitor_send() with a callback, the monitor turned by poll(2)
 *
 * Prints one line each: NAME MEDIAN_US P10_US P90_US CPU_US TO_WITH_ID TO_PLAIN. The last two are
 * ratios to the floors: the median over the rounds of the ratio of the medians within a round. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include <qblk/qblk.h>

#define ROUNDS 200
#define PER_ROUND 25

enum which { PLAIN, WITH_ID, EXECUTE, SEND, WHICH_N };

static const char *const names[] = { "plain", "with-id", "execute", "send" };

struct contest {
    struct raw plain, with_id;
    qblk_monitor *execute, *send;
    unsigned long n; /* commands of each so far: as many digits as the library's id */
    struct series us[WHICH_N];
    double cpu_us[WHICH_N];             /* of all rounds together */
    struct series to[WHICH_N][EXECUTE]; /* ratios to the floors, one a round */
};

static qblk_monitor *open_monitor(const char *path)
{
    qblk_monitor *monitor;
    qblk_error error;

    if (qblk_monitor_open(&monitor, path, 5000, NULL, &error) < 0)
        bench_die("%s", error.text);
    return monitor;
}

static void by_execute(struct contest *contest)
{
    qblk_error error;
    char *reply;

    if (qblk_monitor_execute(contest->execute, "query-status", NULL, 5000, &reply, &error) < 0)
        bench_die("%s", error.text);
    free(reply);
}

static void on_reply(qblk_monitor *monitor, const char *reply, const qblk_error *error, void *arg)
{
    bool *has_come = arg;

    (void)monitor;
    if (reply == NULL)
        bench_die("%s", error->text);
    *has_come = true;
}

static void by_send(struct contest *contest)
{
    qblk_monitor *monitor = contest->send;
    bool has_come = false;
    qblk_error error;

    if (qblk_monitor_send(monitor, "{\"execute\":\"query-status\"}", -1, on_reply, &has_come,
                          &error) < 0)
        bench_die("%s", error.text);
    while (!has_come) {
        struct pollfd pfd = { .fd = qblk_monitor_fd(monitor),
                              .events = qblk_monitor_events(monitor) };

        (void)poll(&pfd, 1, qblk_monitor_timeout(monitor));
        if (qblk_monitor_process(monitor, pfd.revents, &error) < 0)
            bench_die("%s", error.text);
    }
}

static void once(struct contest *contest, enum which which)
{
    static const char plain[] = "{\"execute\":\"query-status\"}\n";
    char with_id[64];
    int len;

    switch (which) {
    case PLAIN:
        raw_send(&contest->plain, plain, sizeof(plain) - 1);
        (void)raw_line(&contest->plain);
        break;
    case WITH_ID:
        len = snprintf(with_id, sizeof(with_id), "{\"execute\":\"query-status\",\"id\":%lu}",
                       contest->n % 9 + 1);
        raw_send(&contest->with_id, with_id, (size_t)len);
        (void)raw_line(&contest->with_id);
        break;
    case EXECUTE:
        by_execute(contest);
        break;
    case SEND:
        by_send(contest);
        break;
    case WHICH_N:
        break;
    }
}

/* The median of one round. */
static double turn(struct contest *contest, enum which which, bool counts)
{
    static struct series round;
    double cpu = bench_cpu_us();

    round.n = 0;
    for (int i = 0; i < PER_ROUND; i++) {
        double from = bench_now_us(), us;

        once(contest, which);
        us = bench_now_us() - from;
        series_add(&round, us);
        if (counts)
            series_add(&contest->us[which], us);
        contest->n++;
    }
    if (counts)
        contest->cpu_us[which] += bench_cpu_us() - cpu;
    return series_at(&round, 0.5);
}

/* Every second round goes the other way round. */
static void round_of_all(struct contest *contest, int number)
{
    double us[WHICH_N] = { 0 };

    for (int i = 0; i < WHICH_N; i++) {
        int which = number % 2 == 0 ? i : WHICH_N - 1 - i;

        us[which] = turn(contest, (enum which)which, number > 0);
    }
    for (int i = 0; i < WHICH_N && number > 0; i++) {
        for (int floor = 0; floor < EXECUTE; floor++)
            series_add(&contest->to[i][floor], us[i] / us[floor]);
    }
}

int main(int argc, char **argv)
{
    static struct contest contest;

    if (argc != 5)
        bench_die("usage: roundtrip SOCKET1 SOCKET2 SOCKET3 SOCKET4");
    raw_connect(&contest.plain, argv[1]);
    raw_handshake(&contest.plain);
    raw_connect(&contest.with_id, argv[2]);
    raw_handshake(&contest.with_id);
    contest.execute = open_monitor(argv[3]);
    contest.send = open_monitor(argv[4]);
    for (int i = 0; i <= ROUNDS; i++) /* the first one warms up */
        round_of_all(&contest, i);
    for (int i = 0; i < WHICH_N; i++)
        printf("%s %.2f %.2f %.2f %.2f %.3f %.3f\n", names[i], series_at(&contest.us[i], 0.5),
               series_at(&contest.us[i], 0.1), series_at(&contest.us[i], 0.9),
               contest.cpu_us[i] / (ROUNDS * PER_ROUND), series_at(&contest.to[i][WITH_ID], 0.5),
               series_at(&contest.to[i][PLAIN], 0.5));
    (void)qblk_monitor_free(contest.execute);
    (void)qblk_monitor_free(contest.send);
    return 0;
}
