#include "watch.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <qblk/ev.h>

#include "change.h"
#include "json.h"
#include "report.h"

#define LISTEN_MS 10000    /* a socket that nobody listens at is tried for so long */
#define PATIENCE_S 2.0     /* then a monitor that says nothing is told of */
#define RECONNECT_MS 10000 /* a lost monitor keeps its jobs for so long */
#define AGAIN_FIRST_MS 10  /* after a loss */
#define AGAIN_LAST_MS 1000

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

static bool was_said(const struct spot *spot, const char *word)
{
    return spot->said != NULL && strcmp(spot->said, word) == 0;
}

void spot_say(struct spot *spot, const char *word, const char *why)
{
    struct text line = { NULL, 0, 0 };
    struct cli *cli = spot->watch->cli;

    if (spot->watch->is_over || was_said(spot, word))
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
        json_job(&line, info);
        json_close(&line, '}');
        out_line(cli, &line);
    } else {
        text_add_clock(&line);
        text_addf(&line, "%s ", spot->path);
        add_job_change(&line, info, is_gone);
        out_plain(cli, &line);
    }
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

static void say_connected(struct spot *spot, qblk_monitor *monitor)
{
    unsigned version = qblk_monitor_qemu_version(monitor);
    char text[64];

    (void)snprintf(text, sizeof(text), "QEMU %u.%u.%u", version / 1000000, version / 1000 % 1000,
                   version % 1000);
    spot_say(spot, "connected", text);
}

static void on_synced(qblk_monitor *monitor, void *arg)
{
    struct spot *spot = arg;

    spot->is_synced = true;
    ev_timer_stop(spot->watch->session.loop, &spot->patience);
    say_connected(spot, monitor); /* once more if it was said to be stalled meanwhile */
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

/* Returns whether the socket by that name is another one than was seen last. It is looked at before
 * connect() is called: whoever takes the name later is another one then, and gets no number that is
 * in use, which the old one's is for as long as there is a connection to it. */
static bool see_socket(struct spot *spot)
{
    struct stat st;
    bool is_other;

    if (stat(spot->path, &st) < 0)
        return false;
    is_other = spot->ino != 0 && (st.st_dev != spot->dev || st.st_ino != spot->ino);
    spot->dev = st.st_dev;
    spot->ino = st.st_ino;
    spot->was_ready = spot->was_ready && !is_other;
    return is_other;
}

static void on_ready(qblk_monitor *monitor, void *arg)
{
    struct spot *spot = arg;

    spot->was_ready = true;
    spot->may_be_old = false;
    be_patient(spot);
    say_connected(spot, monitor);
}

/* Its jobs are kept: their ends are seen after the return. */
static void on_lost(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    (void)monitor;
    (void)see_socket(arg); /* which is tried from now on */
    spot_say(arg, "lost", error->text);
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
    spot_say(spot, spot->is_lost ? "lost" : "failed", error->text);
    (void)qblk_monitor_free(monitor); /* the rest when that is done */
}

static void start_later(struct spot *spot, int ms)
{
    ev_timer_stop(spot->watch->session.loop, &spot->again);
    ev_timer_set(&spot->again, ms / 1000.0, 0.);
    ev_timer_start(spot->watch->session.loop, &spot->again);
}

/* One that there was no descriptor for can have that of another. */
static void feed_starved(const void *node, VISIT visit, int depth)
{
    struct spot *spot = *(struct spot *const *)node;

    (void)depth;
    if ((visit != postorder && visit != leaf) || !spot->is_starved)
        return;
    spot->is_starved = false;
    start_later(spot, AGAIN_LAST_MS / 4);
}

/* Who was there may come back at once; who never was, or does not speak QMP, is waited for. */
static void settle(struct spot *spot)
{
    struct watch *watch = spot->watch;

    spot->monitor = NULL;
    ev_timer_stop(watch->session.loop, &spot->patience);
    ev_timer_stop(watch->session.loop, &spot->again);
    if (watch->is_over) {
        drop(spot);
    } else if (access(spot->path, F_OK) < 0) {
        /* A link that leads nowhere was never there. */
        if (spot->said != NULL && !was_said(spot, "awaited"))
            spot_say(spot, "gone", NULL);
        if (!spot->is_named)
            drop(spot);
    } else if (spot->is_lost || spot->is_new) {
        spot->again_ms = spot->is_new || spot->is_synced ? AGAIN_FIRST_MS : spot->again_ms * 2;
        if (spot->again_ms > AGAIN_LAST_MS)
            spot->again_ms = AGAIN_LAST_MS;
        start_later(spot, spot->again_ms);
    }
}

static void released(void *arg)
{
    struct spot *spot = arg;
    struct watch *watch = spot->watch;

    if (spot->is_starting)
        return; /* start() has it in hand */
    settle(spot);
    if (!watch->is_over)
        twalk(watch->spots, feed_starved);
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
    spot->is_synced = spot->is_lost = spot->is_new = spot->may_be_old = false;
    spot->is_starting = true;
    (void)see_socket(spot);
    r = qblk_monitor_connect(&spot->monitor, spot->path, &options, error);
    spot->is_starting = false;
    if (r < 0) {
        spot->monitor = NULL;
        return r;
    }
    r = qblk_monitor_attach_ev(spot->monitor, loop, error);
    if (r == 0)
        r = qblk_jobs_track(spot->monitor, &ops, spot, error);
    be_patient(spot);
    return r;
}

/* It was not even tried: for want of a descriptor perhaps, which is said as such, once. */
static void failed(struct spot *spot, const qblk_error *error)
{
    struct rlimit limit = { 0, 0 };
    char text[256];

    spot->is_starved = error->err == EMFILE || error->err == ENFILE;
    if (!spot->is_starved) {
        spot_say(spot, "failed", error->text);
        settle(spot);
        return;
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    (void)snprintf(text, sizeof(text), "no file descriptor is left for it: this process may have %llu, "
                   "and each monitor takes one; raise the limit (ulimit -n). It is tried again when "
                   "another monitor is gone", (unsigned long long)limit.rlim_cur);
    spot_say(spot, "failed", text);
}

/* What is no socket is not going to become one: another has to take its place. */
static bool is_no_socket(const struct spot *spot)
{
    struct stat st;

    return stat(spot->path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

/* The name has gone, and whoever had it has not served us. */
static void leave(struct spot *spot)
{
    if (qblk_monitor_get_state(spot->monitor) != QBLK_MONITOR_READY && access(spot->path, F_OK) < 0)
        (void)qblk_monitor_free(spot->monitor);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct spot *spot = timer->data;
    qblk_error error;

    (void)loop;
    (void)revents;
    if (spot->monitor != NULL) {
        leave(spot);
        return;
    }
    if (is_no_socket(spot))
        spot_say(spot, "failed", "it is not a socket");
    else if (start(spot, &error) < 0 && spot->monitor == NULL)
        failed(spot, &error);
}

/* A QEMU that was killed leaves its socket behind, and whoever takes the name makes another. */
static bool is_left_behind(const struct spot *spot)
{
    struct stat st;

    return spot->was_ready && stat(spot->path, &st) == 0 && st.st_dev == spot->dev &&
           st.st_ino == spot->ino;
}

static bool is_kept_waiting(const struct spot *spot)
{
    return was_said(spot, "busy") || was_said(spot, "stalled");
}

/* Nothing is lost with a place in the line of a QEMU whose name another one has now, which it would
 * keep from being followed for as long as somebody else is served. */
static void give_up(struct spot *spot)
{
    if (is_kept_waiting(spot))
        spot_say(spot, "replaced", "another socket is there now; the old one was not connected, and is given "
                 "up");
    (void)qblk_monitor_free(spot->monitor); /* the new one when that is done */
}

static void on_patience(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct spot *spot = timer->data;
    qblk_monitor_state state;

    (void)loop;
    (void)revents;
    if (spot->monitor == NULL)
        return;
    state = qblk_monitor_get_state(spot->monitor);
    if (spot->may_be_old && state != QBLK_MONITOR_READY && state != QBLK_MONITOR_DEAD &&
        qblk_monitor_fd(spot->monitor) >= 0) {
        give_up(spot);
        return;
    }
    switch (state) {
    case QBLK_MONITOR_CONNECTING:
        spot_say(spot, "silent", is_left_behind(spot) ? "nobody listens there any more" : "nobody listens there yet");
        be_patient(spot);
        break;
    case QBLK_MONITOR_GREETING:
        spot_say(spot, "busy", "no greeting comes: it serves another client, or QEMU hangs");
        break;
    case QBLK_MONITOR_NEGOTIATING:
    case QBLK_MONITOR_READY:
        spot_say(spot, "stalled", "QEMU does not answer");
        break;
    case QBLK_MONITOR_AWAY:
    case QBLK_MONITOR_DEAD:
    default:
        break;
    }
}

/* ---- the sockets ----------------------------------------------------------------------------- */

struct spot *spot_at(struct watch *watch, const char *path)
{
    struct spot key = { .path = xstrdup(path) };
    void *found = tfind(&key, &watch->spots, by_path);

    free(key.path);
    return found != NULL ? *(struct spot **)found : NULL;
}

struct spot *spot_add(struct watch *watch, const char *path)
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

void spot_appeared(struct spot *spot)
{
    bool is_other;

    if (spot->monitor == NULL) {
        start_later(spot, 0);
        return;
    }
    is_other = see_socket(spot);
    if (qblk_monitor_get_state(spot->monitor) != QBLK_MONITOR_READY) {
        spot->is_new = true;
        if (!is_other || qblk_monitor_fd(spot->monitor) < 0)
            return;
        /* The connection may be to the new one by now: who has not kept it waiting has time to
         * serve it. */
        spot->may_be_old = true;
        if (is_kept_waiting(spot))
            give_up(spot);
        else
            be_patient(spot);
    } else if (is_other) {
        spot->is_new = true;
        spot_say(spot, "replaced", "another socket is there now; the QEMU of the old one is followed until it "
                 "ends");
    }
}

/* A connection outlives its socket's name, once QEMU serves it. */
void spot_vanished(struct spot *spot)
{
    /* Taken again already: that is heard of next. */
    if (access(spot->path, F_OK) == 0)
        return;
    spot->is_new = spot->may_be_old = spot->is_starved = false;
    ev_timer_stop(spot->watch->session.loop, &spot->again);
    if (spot->monitor == NULL)
        settle(spot);
    else if (qblk_monitor_get_state(spot->monitor) == QBLK_MONITOR_CONNECTING ||
             qblk_monitor_get_state(spot->monitor) == QBLK_MONITOR_AWAY)
        (void)qblk_monitor_free(spot->monitor);
    else
        start_later(spot, 0); /* what it said before is heard first */
}

static void note_missing(const void *node, VISIT visit, int depth)
{
    struct spot *spot = *(struct spot *const *)node;
    struct watch *watch = spot->watch;

    (void)depth;
    if ((visit != postorder && visit != leaf) || access(spot->path, F_OK) == 0 ||
        was_said(spot, "awaited"))
        return;
    watch->missing =
        xrealloc(watch->missing, (size_t)watch->n_missing + 1, sizeof(*watch->missing));
    watch->missing[watch->n_missing++] = spot;
}

/* Not on the way through the tree, which they leave. */
void spots_look(struct watch *watch)
{
    twalk(watch->spots, note_missing);
    for (int i = 0; i < watch->n_missing; i++)
        spot_vanished(watch->missing[i]);
    free(watch->missing);
    watch->missing = NULL;
    watch->n_missing = 0;
}

void spot_end_one(struct watch *watch)
{
    struct spot *spot = *(struct spot **)watch->spots;

    if (spot->monitor != NULL)
        (void)qblk_monitor_free(spot->monitor);
    else
        drop(spot);
}
