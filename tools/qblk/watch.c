/* The verb watch: the jobs of many QEMUs on one loop, each of which may come, go, be busy or hang
 * without the others noticing. */
#include <errno.h>
#include <search.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <qblk/ev.h>

#include "change.h"
#include "json.h"
#include "places.h"
#include "report.h"
#include "session.h"
#include "verbs.h"

#define LISTEN_MS 10000    /* a socket that nobody listens at is tried for so long */
#define PATIENCE_S 2.0     /* then a monitor that says nothing is told of */
#define RECONNECT_MS 10000 /* a lost monitor keeps its jobs for so long */
#define AGAIN_FIRST_MS 10  /* after a loss */
#define AGAIN_LAST_MS 1000

struct watch {
    struct cli *cli;
    struct session session;
    struct places *places;
    void *spots; /* tree of struct spot by path */
    bool is_interrupted;
    bool is_over;
};

/* One socket. */
struct spot {
    struct watch *watch;
    char *path;
    bool is_named;     /* by its path: kept when it vanishes */
    qblk_monitor *monitor;
    void *jobs;        /* tree of struct told by job */
    const char *said;  /* the last word about the monitor */
    bool is_synced, is_lost;
    bool is_new;       /* made anew while there was a monitor still */
    int again_ms;
    ev_timer patience, again;
};

/* What was said of a job. */
struct told {
    qblk_job *job;
    int state;
    bool is_stalled, is_ended;
};

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct spot *)a)->path, ((const struct spot *)b)->path);
}

static int by_job(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct told *)a)->job;
    uintptr_t y = (uintptr_t)((const struct told *)b)->job;

    return (x > y) - (x < y);
}

/* ---- what is said ---------------------------------------------------------------------------- */

static void check_output(struct watch *watch)
{
    if (watch->cli->out_errno != 0)
        session_stop(&watch->session);
}

/* A word about the monitor, once until there is another; why may be NULL. */
static void say(struct spot *spot, const char *word, const char *why)
{
    struct text line = { NULL, 0, 0 };
    struct cli *cli = spot->watch->cli;

    if (spot->watch->is_over || (spot->said != NULL && strcmp(spot->said, word) == 0))
        return;
    spot->said = word;
    if (cli->opt.json) {
        json_event(&line, "monitor");
        json_str(&line, "socket", spot->path);
        json_str(&line, "state", word);
        json_str(&line, "message", why);
        json_close(&line, '}');
        out_line(cli, &line);
    } else {
        text_add_clock(&line);
        text_addf(&line, "%s %s%s%s", spot->path, word, why != NULL ? ": " : "",
                  why != NULL ? why : "");
        out_plain(cli, &line);
    }
    check_output(spot->watch);
}

static void say_job(struct spot *spot, const qblk_job_info *info, bool is_gone)
{
    struct text line = { NULL, 0, 0 };
    struct cli *cli = spot->watch->cli;

    if (spot->watch->is_over)
        return;
    if (cli->opt.json) {
        json_event(&line, "job");
        json_str(&line, "socket", spot->path);
        json_time(&line, "qemu_time", info->told_us);
        json_open(&line, "job", '{');
        json_job_members(&line, info);
        json_close(&line, '}');
        json_close(&line, '}');
        out_line(cli, &line);
    } else {
        text_add_clock(&line);
        text_addf(&line, "%s ", spot->path);
        add_job_change(&line, info, is_gone);
        out_plain(cli, &line);
    }
    check_output(spot->watch);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static struct told *told_of(struct spot *spot, qblk_job *job)
{
    struct told key = { .job = job }, *told;
    void *found = tfind(&key, &spot->jobs, by_job);

    if (found != NULL)
        return *(struct told **)found;
    told = xrealloc(NULL, 1, sizeof(*told));
    *told = (struct told){ .job = job, .state = -1 };
    if (tsearch(told, &spot->jobs, by_job) == NULL)
        abort();
    return told;
}

/* Each state once, the end once and with its outcome, a stall once its place is known. */
static void on_job(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct told *told = told_of(arg, job);
    bool is_news;

    qblk_job_get_info(job, &info);
    if (info.is_stalled && !info.is_stall_known)
        return;
    if (info.outcome != QBLK_OUTCOME_NONE)
        is_news = !told->is_ended;
    else
        is_news = info.state != QBLK_JOB_CONCLUDED && /* its outcome is still to come */
                  ((int)info.state != told->state || info.is_stalled != told->is_stalled);
    told->is_ended = info.outcome != QBLK_OUTCOME_NONE;
    told->state = (int)info.state;
    told->is_stalled = info.is_stalled;
    if (is_news)
        say_job(arg, &info, false);
}

static void on_gone(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct spot *spot = arg;
    struct told *told = told_of(spot, job);

    qblk_job_get_info(job, &info);
    if (info.state == QBLK_JOB_GONE)
        say_job(spot, &info, true);
    (void)tdelete(told, &spot->jobs, by_job);
    free(told);
}

static void on_synced(qblk_monitor *monitor, void *arg)
{
    struct spot *spot = arg;

    (void)monitor;
    spot->is_synced = true;
    ev_timer_stop(spot->watch->session.loop, &spot->patience);
}

/* ---- monitors -------------------------------------------------------------------------------- */

static void drop(struct spot *spot)
{
    struct ev_loop *loop = spot->watch->session.loop;

    ev_timer_stop(loop, &spot->patience);
    ev_timer_stop(loop, &spot->again);
    (void)tdelete(spot, &spot->watch->spots, by_path);
    free(spot->path);
    free(spot);
}

/* Looks how far the monitor is, a while from now. */
static void be_patient(struct spot *spot)
{
    struct ev_loop *loop = spot->watch->session.loop;

    ev_timer_stop(loop, &spot->patience);
    ev_timer_set(&spot->patience, PATIENCE_S, 0.);
    ev_timer_start(loop, &spot->patience);
}

static void on_ready(qblk_monitor *monitor, void *arg)
{
    unsigned version = qblk_monitor_qemu_version(monitor);
    struct spot *spot = arg;
    char text[64];

    be_patient(spot);
    (void)snprintf(text, sizeof(text), "QEMU %u.%u.%u", version / 1000000, version / 1000 % 1000,
                   version % 1000);
    say(spot, "connected", text);
}

/* Its jobs are kept: their ends are seen after the return. */
static void on_lost(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    (void)monitor;
    say(arg, "lost", error->text);
}

static void on_back(qblk_monitor *monitor, void *arg)
{
    struct spot *spot = arg;

    spot->is_synced = false;
    on_ready(monitor, spot);
}

static void on_end(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    struct spot *spot = arg;

    spot->is_lost = error->code == QBLK_E_LOST;
    say(spot, spot->is_lost ? "lost" : "failed", error->text);
    (void)qblk_monitor_free(monitor); /* the rest when that is done */
}

static void start_later(struct spot *spot, int ms)
{
    ev_timer_stop(spot->watch->session.loop, &spot->again);
    ev_timer_set(&spot->again, ms / 1000.0, 0.);
    ev_timer_start(spot->watch->session.loop, &spot->again);
}

/* Who was there may come back at once; who never was, or does not speak QMP, is waited for. */
static void released(void *arg)
{
    struct spot *spot = arg;

    spot->monitor = NULL;
    ev_timer_stop(spot->watch->session.loop, &spot->patience);
    if (spot->watch->is_over) {
        drop(spot);
    } else if (access(spot->path, F_OK) < 0) {
        say(spot, "gone", NULL);
        if (!spot->is_named)
            drop(spot);
    } else if (spot->is_lost || spot->is_new) {
        spot->again_ms = spot->is_new || spot->is_synced ? AGAIN_FIRST_MS : spot->again_ms * 2;
        if (spot->again_ms > AGAIN_LAST_MS)
            spot->again_ms = AGAIN_LAST_MS;
        start_later(spot, spot->again_ms);
    }
}

static int start(struct spot *spot, qblk_error *error)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    struct ev_loop *loop = spot->watch->session.loop;
    int r;

    ops.on_job = ops.on_state = ops.on_end = on_job;
    ops.on_gone = on_gone;
    ops.on_synced = on_synced;
    options.wait_ms = LISTEN_MS;
    options.reconnect_ms = spot->watch->cli->opt.reconnect_ms > 0
        ? (int)spot->watch->cli->opt.reconnect_ms : RECONNECT_MS;
    options.on_lost = on_lost;
    options.on_back = on_back;
    options.greeting_ms = -1; /* in line behind the client that is served */
    options.arg = spot;
    options.ops.size = sizeof(options.ops);
    options.ops.on_ready = on_ready;
    options.ops.on_end = on_end;
    options.ops.release = released;
    spot->is_synced = spot->is_lost = spot->is_new = false;
    r = qblk_monitor_connect(&spot->monitor, spot->path, &options, error);
    if (r < 0)
        return r;
    r = qblk_monitor_attach_ev(spot->monitor, loop, error);
    if (r == 0)
        r = qblk_jobs_track(spot->monitor, &ops, spot, error);
    be_patient(spot);
    return r;
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct spot *spot = timer->data;
    qblk_error error;

    (void)loop;
    (void)revents;
    if (spot->monitor == NULL && start(spot, &error) < 0 && spot->monitor == NULL)
        say(spot, "failed", error.text);
}

static void on_patience(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct spot *spot = timer->data;

    (void)loop;
    (void)revents;
    if (spot->monitor == NULL)
        return;
    switch (qblk_monitor_get_state(spot->monitor)) {
    case QBLK_MONITOR_CONNECTING:
        say(spot, "silent", "nobody listens there yet");
        be_patient(spot);
        break;
    case QBLK_MONITOR_GREETING:
        say(spot, "busy", "no greeting comes: it serves another client, or QEMU hangs");
        break;
    case QBLK_MONITOR_NEGOTIATING:
    case QBLK_MONITOR_READY:
        say(spot, "stalled", "QEMU does not answer");
        break;
    case QBLK_MONITOR_AWAY:
    case QBLK_MONITOR_DEAD:
    default:
        break;
    }
}

/* ---- sockets come and go --------------------------------------------------------------------- */

static struct spot *spot_at(struct watch *watch, const char *path)
{
    struct spot key = { .path = xstrdup(path) };
    void *found = tfind(&key, &watch->spots, by_path);

    free(key.path);
    return found != NULL ? *(struct spot **)found : NULL;
}

static struct spot *add_spot(struct watch *watch, const char *path)
{
    struct spot *spot = spot_at(watch, path);

    if (spot != NULL)
        return spot;
    spot = xrealloc(NULL, 1, sizeof(*spot));
    memset(spot, 0, sizeof(*spot));
    spot->watch = watch;
    spot->path = xstrdup(path);
    ev_timer_init(&spot->patience, on_patience, 0., 0.);
    ev_timer_init(&spot->again, on_again, 0., 0.);
    spot->patience.data = spot->again.data = spot;
    if (tsearch(spot, &watch->spots, by_path) == NULL)
        abort();
    return spot;
}

static void appeared(const char *path, void *arg)
{
    struct spot *spot = add_spot(arg, path);

    if (spot->monitor == NULL)
        start_later(spot, 0);
    else if (qblk_monitor_get_state(spot->monitor) != QBLK_MONITOR_READY)
        spot->is_new = true;
}

/* A connection outlives its socket's name. */
static void vanished(const char *path, void *arg)
{
    struct spot *spot = spot_at(arg, path);

    if (spot == NULL)
        return;
    spot->is_new = false;
    ev_timer_stop(spot->watch->session.loop, &spot->again);
    if (spot->monitor == NULL)
        released(spot);
    else if (qblk_monitor_get_state(spot->monitor) == QBLK_MONITOR_CONNECTING ||
             qblk_monitor_get_state(spot->monitor) == QBLK_MONITOR_AWAY)
        (void)qblk_monitor_free(spot->monitor);
}

static void dir_gone(const char *dir, void *arg)
{
    struct watch *watch = arg;

    warn(watch->cli, "directory %s is gone: sockets made there later will not be seen",
         *dir != '\0' ? dir : ".");
}

static const struct places_ops places_hooks = { appeared, vanished, dir_gone };

/* ---- the verb -------------------------------------------------------------------------------- */

static void on_signal(struct session *session, int signo, void *arg)
{
    struct watch *watch = arg;

    if (signo == SIGINT)
        watch->is_interrupted = true;
    else
        session->die_of = signo;
    session_stop(session);
}

static const struct session_ops hooks = { .on_signal = on_signal };

/* A descriptor a monitor: as many as the system gives. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int begin_named(struct watch *watch, const char *socket, qblk_error *error)
{
    char *path = places_path(socket);
    struct spot *spot = add_spot(watch, path);
    int r;

    spot->is_named = true;
    r = places_add(watch->places, path, false, error);
    if (r == 0 && access(path, F_OK) < 0)
        say(spot, "awaited", "there is no such socket yet");
    free(path);
    return r;
}

static int begin(struct watch *watch, qblk_error *error)
{
    struct cli *cli = watch->cli;
    int r = session_loop(&watch->session, error);

    if (r == 0)
        r = places_open(&watch->places, watch->session.loop, &places_hooks, watch, error);
    for (int i = 0; r == 0 && i < cli->n_args; i++)
        r = begin_named(watch, cli->args[i], error);
    if (r == 0 && cli->n_args == 0 && cli->opt.glob == NULL)
        r = begin_named(watch, cli->opt.socket, error);
    if (r == 0 && cli->opt.glob != NULL)
        r = places_add(watch->places, cli->opt.glob, true, error);
    return r;
}

/* Frees the first spot there is, with its monitor. */
static void end_one(struct watch *watch)
{
    struct spot *spot = *(struct spot **)watch->spots;

    if (spot->monitor != NULL)
        (void)qblk_monitor_free(spot->monitor);
    else
        drop(spot);
}

static int end(struct watch *watch, int status)
{
    watch->is_over = true;
    places_close(watch->places);
    while (watch->spots != NULL)
        end_one(watch);
    return session_end(&watch->session, status);
}

int run_watch(struct cli *cli)
{
    struct watch watch = { .cli = cli };
    struct text line = { NULL, 0, 0 };
    qblk_error error;

    if (cli->opt.socket == NULL)
        cli->opt.socket = getenv("QBLK_SOCKET");
    if (cli->n_args == 0 && cli->opt.glob == NULL &&
        (cli->opt.socket == NULL || *cli->opt.socket == '\0')) {
        (void)usage_error(&error, "watch needs to know where: give sockets, or --glob PATTERN");
        return report_error(cli, &error);
    }
    raise_limit();
    session_begin(&watch.session, cli, &hooks, &watch);
    if (begin(&watch, &error) < 0)
        return end(&watch, report_error(cli, &error));
    session_run(&watch.session);
    if (watch.session.die_of != 0)
        return end(&watch, session_report_signal(&watch.session, "changes of jobs"));
    if (watch.session.is_timed_out)
        return end(&watch, session_report_timeout(&watch.session, "changes of jobs"));
    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_null(&line, "result");
        json_close(&line, '}');
        out_line(cli, &line);
    }
    return end(&watch, EXIT_DONE);
}
