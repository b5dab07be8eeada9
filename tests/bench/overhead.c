/* overhead RUNS WATCH_SOCKET TARGET_PREFIX -- COMMAND...: runs a copy with pivot and takes QEMU's
 * own part off. "%" in the command stands for the target of the run, which is PREFIX and a number:
 * the disk wanders from one target to the next.
 *
 * QEMU's own part is the sum over the jobs of the run of the time from "created" to "concluded", by
 * the timestamps in the JOB_STATUS_CHANGE events that a second monitor gets. All else is ours: the
 * process's start and end, every round trip outside of the jobs, and what QEMU does in it. The time
 * that a job waits for us while it is ready is therefore counted as QEMU's; shown apart.
 *
 * Prints: WALL_US QEMU_US OVERHEAD_US READY_US CPU_US JOBS; medians. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define JOBS 8

struct job {
    char id[64];
    double created, ready, standing_by, concluded; /* us; 0: not seen */
};

struct watch {
    struct raw raw;
    struct job jobs[JOBS];
    int n;
};

static double number_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    if (at == NULL)
        bench_die("an event without %s: %s", key, text);
    return strtod(at + strlen(key), NULL);
}

/* QEMU's output is regular enough for this: "key": "value". */
static bool string_after(const char *text, const char *key, char *out, size_t room)
{
    const char *at = strstr(text, key);
    size_t len;

    if (at == NULL)
        return false;
    at += strlen(key);
    len = strcspn(at, "\"");
    (void)snprintf(out, room, "%.*s", (int)len, at);
    return true;
}

static struct job *job_of(struct watch *watch, const char *id)
{
    for (int i = 0; i < watch->n; i++) {
        if (strcmp(watch->jobs[i].id, id) == 0)
            return &watch->jobs[i];
    }
    if (watch->n == JOBS)
        bench_die("more jobs than expected");
    struct job *job = &watch->jobs[watch->n++];

    memset(job, 0, sizeof(*job));
    (void)snprintf(job->id, sizeof(job->id), "%s", id);
    return job;
}

static void take(struct watch *watch, const char *line)
{
    char id[64], status[32];
    struct job *job;
    double at;

    if (strstr(line, "\"JOB_STATUS_CHANGE\"") == NULL)
        return;
    if (!string_after(line, "\"id\": \"", id, sizeof(id)) ||
        !string_after(line, "\"status\": \"", status, sizeof(status)))
        bench_die("not understood: %s", line);
    at = number_after(line, "\"seconds\": ") * 1e6 + number_after(line, "\"microseconds\": ");
    job = job_of(watch, id);
    if (strcmp(status, "created") == 0)
        job->created = at;
    else if (strcmp(status, "ready") == 0)
        job->ready = at;
    else if (strcmp(status, "standby") == 0)
        job->standing_by = at;
    else if (strcmp(status, "concluded") == 0)
        job->concluded = at;
}

/* A command's reply comes after every event that QEMU had emitted before it. */
static void catch_up(struct watch *watch)
{
    static const char ask[] = "{\"execute\":\"query-version\",\"id\":\"mark\"}";
    const char *line;

    raw_send(&watch->raw, ask, sizeof(ask) - 1);
    do {
        line = raw_line(&watch->raw);
        take(watch, line);
    } while (strstr(line, "\"id\": \"mark\"") == NULL);
}

struct result {
    struct series wall, qemu, over, ready, cpu;
};

static void once(struct watch *watch, char *const argv[], struct result *result, bool counts)
{
    double qemu = 0, ready = 0;
    struct run run;

    watch->n = 0;
    bench_run(argv, &run);
    catch_up(watch);
    for (int i = 0; i < watch->n; i++) {
        const struct job *job = &watch->jobs[i];

        if (job->created <= 0 || job->concluded <= 0)
            bench_die("job %s was not seen from created to concluded", job->id);
        qemu += job->concluded - job->created;
        if (job->ready > 0)
            ready += job->concluded - job->ready;
    }
    if (watch->n == 0)
        bench_die("the command started no job");
    if (!counts)
        return;
    series_add(&result->wall, run.wall_us);
    series_add(&result->qemu, qemu);
    series_add(&result->over, run.wall_us - qemu);
    series_add(&result->ready, ready);
    series_add(&result->cpu, run.cpu_us);
}

int main(int argc, char **argv)
{
    static struct watch watch;
    struct result result;
    char target[4096];
    int runs, at = 0;

    memset(&result, 0, sizeof(result));
    if (argc < 6 || strcmp(argv[4], "--") != 0)
        bench_die("usage: overhead RUNS WATCH_SOCKET TARGET_PREFIX -- COMMAND...");
    runs = atoi(argv[1]);
    raw_connect(&watch.raw, argv[2]);
    raw_handshake(&watch.raw);
    for (int i = 5; i < argc; i++) {
        if (strcmp(argv[i], "%") == 0)
            at = i;
    }
    if (at == 0)
        bench_die("no %% in the command");
    for (int i = 0; i <= runs; i++) {
        (void)snprintf(target, sizeof(target), "%s%d.qcow2", argv[3], i);
        argv[at] = target;
        once(&watch, argv + 5, &result, i > 0);
        if (i > 0) {
            (void)snprintf(target, sizeof(target), "%s%d.qcow2", argv[3], i - 1);
            (void)unlink(target);
        }
    }
    printf("%.0f %.0f %.0f %.0f %.0f %d\n", series_at(&result.wall, 0.5),
           series_at(&result.qemu, 0.5), series_at(&result.over, 0.5),
           series_at(&result.ready, 0.5), series_at(&result.cpu, 0.5), watch.n);
    return 0;
}
