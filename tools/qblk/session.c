#include "session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <qblk/ev.h>

#include "report.h"

/* Who is told to end waits no longer than this for a reader. */
#define DYING_MS 500

int64_t clock_ms(void)
{
    struct timespec now = { 0, 0 };

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int cli_left_ms(const struct cli *cli)
{
    int64_t left;

    if (cli->deadline_ms < 0)
        return -1;
    left = cli->deadline_ms - clock_ms();
    return left < 0 ? 0 : (int)left;
}

static void on_log(qblk_log_level level, const char *text, void *arg)
{
    struct session *session = arg;

    if (level == QBLK_LOG_DEBUG || session->cli->opt.verbose > 1)
        log_line(session->cli, text);
}

static void on_event(qblk_monitor *monitor, const char *name, const char *json, void *arg)
{
    struct session *session = arg;

    (void)monitor;
    if (session->ops->on_event != NULL)
        session->ops->on_event(session, name, json, session->arg);
}

static void on_away(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    struct session *session = arg;

    (void)monitor;
    if (session->ops != NULL && session->ops->on_away != NULL)
        session->ops->on_away(session, error, session->arg);
    else
        note(session->cli, "%s; trying again", error->text);
}

static void on_back(qblk_monitor *monitor, void *arg)
{
    struct session *session = arg;

    (void)monitor;
    if (session->ops != NULL && session->ops->on_back != NULL)
        session->ops->on_back(session, session->arg);
    else
        note(session->cli, "the connection is back");
}

static void on_lost(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    struct session *session = arg;

    (void)monitor;
    /* Before there is a loop the call that connects says it. */
    if (session->loop != NULL && session->ops->on_lost != NULL)
        session->ops->on_lost(session, error, session->arg);
}

void session_begin(struct session *session, struct cli *cli, const struct session_ops *ops,
                   void *arg)
{
    memset(session, 0, sizeof(*session));
    session->cli = cli;
    session->ops = ops;
    session->arg = arg;
}

int session_open(struct session *session, struct cli *cli, const struct session_ops *ops, void *arg,
                 qblk_error *error)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    const char *socket = cli->opt.socket;

    session_begin(session, cli, ops, arg);
    if (socket == NULL)
        socket = getenv("QBLK_SOCKET");
    if (socket == NULL || *socket == '\0')
        return usage_error(error, "no socket: give QEMU's QMP socket by -s PATH or in the "
                           "environment variable QBLK_SOCKET");
    options.wait_ms = (int)cli->opt.wait_ms;
    options.arg = session;
    options.reconnect_ms = (int)cli->opt.reconnect_ms;
    options.on_lost = on_away;
    options.on_back = on_back;
    if (cli->opt.verbose > 0)
        options.on_log = on_log;
    if (ops != NULL) {
        options.ops.size = sizeof(options.ops);
        options.ops.on_event = ops->on_event != NULL ? on_event : NULL;
        options.ops.on_end = on_lost;
    }
    return qblk_monitor_open(&session->monitor, socket, cli_left_ms(cli), &options, error);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int revents)
{
    struct session *session = watcher->data;

    (void)loop;
    (void)revents;
    if (session->ops->on_signal != NULL) {
        session->ops->on_signal(session, watcher->signum, session->arg);
        return;
    }
    session->die_of = watcher->signum;
    session_stop(session);
}

static void on_deadline(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    struct session *session = watcher->data;

    (void)loop;
    (void)revents;
    if (session->ops->on_deadline != NULL) {
        session->ops->on_deadline(session, session->arg);
        return;
    }
    session->is_timed_out = true;
    session_stop(session);
}

static void hear_signals(struct session *session)
{
    static const int numbers[3] = { SIGINT, SIGTERM, SIGHUP };

    for (int i = 0; i < 3; i++) {
        struct sigaction old;

        /* nohup(1) has said that a hangup is to be ignored, a script that Ctrl-C is not for what it has
         * started in the background. */
        if (numbers[i] != SIGTERM && sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        ev_signal_init(&session->signals[i], on_signal, numbers[i]);
        session->signals[i].data = session;
        ev_signal_start(session->loop, &session->signals[i]);
    }
}

static void on_output_failed(void *arg)
{
    session_stop(arg);
}

int session_loop(struct session *session, qblk_error *error)
{
    int r = 0;

    session->loop = ev_loop_new(EVFLAG_AUTO);
    if (session->loop == NULL)
        return own_error(error, QBLK_KIND_FAILED, QBLK_E_SYSTEM, "cannot make an event loop");
    if (session->monitor != NULL)
        r = qblk_monitor_attach_ev(session->monitor, session->loop, error);
    if (r < 0)
        return r;
    out_attach(session->cli->out, session->loop,
               session->ops->ends_with_output ? on_output_failed : NULL, session);
    if (session->cli->err != session->cli->out)
        out_attach(session->cli->err, session->loop, NULL, NULL);
    hear_signals(session);
    ev_timer_init(&session->deadline, on_deadline, 0., 0.);
    session->deadline.data = session;
    if (cli_left_ms(session->cli) >= 0)
        session_rearm(session, cli_left_ms(session->cli));
    return 0;
}

void session_deafen(struct session *session, bool is_deaf)
{
    if (is_deaf && session->loop != NULL)
        for (int i = 0; i < 3; i++)
            ev_signal_stop(session->loop, &session->signals[i]);
    else if (session->loop != NULL)
        hear_signals(session);
}

void session_rearm(struct session *session, int64_t ms)
{
    ev_timer_stop(session->loop, &session->deadline);
    ev_now_update(session->loop);
    ev_timer_set(&session->deadline, (double)ms / 1000, 0.);
    ev_timer_start(session->loop, &session->deadline);
}

void session_run(struct session *session)
{
    if (!session->is_stopped)
        (void)ev_run(session->loop, 0);
}

void session_stop(struct session *session)
{
    session->is_stopped = true;
    if (session->loop != NULL)
        ev_break(session->loop, EVBREAK_ALL);
}

static void die_of(int signo)
{
    struct sigaction action;
    sigset_t set;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    (void)sigaction(signo, &action, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, signo);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(signo);
}

bool session_asks_again(const struct session *session, const qblk_error *error)
{
    return error->code == QBLK_E_LOST &&
           qblk_monitor_get_state(session->monitor) == QBLK_MONITOR_AWAY;
}

int session_end(struct session *session, int status)
{
    progress_clear(&session->cli->progress);
    session->monitor = qblk_monitor_free(session->monitor);
    if (session->loop != NULL) {
        for (int i = 0; i < 3; i++)
            ev_signal_stop(session->loop, &session->signals[i]);
        ev_timer_stop(session->loop, &session->deadline);
        out_detach(session->cli->out);
        out_detach(session->cli->err);
        ev_loop_destroy(session->loop);
        session->loop = NULL;
    }
    if (session->die_of != 0) {
        out_drain(session->cli->out, DYING_MS);
        out_drain(session->cli->err, DYING_MS);
        die_of(session->die_of);
        return 128 + session->die_of;
    }
    return status;
}

int session_report_timeout(struct session *session, const char *what)
{
    qblk_error error;

    (void)own_error(&error, QBLK_KIND_TIMEOUT, QBLK_E_TIMEOUT,
                    "timed out after %.3g s, waiting for %s; nothing was stopped by that",
                    (double)session->cli->opt.timeout_ms / 1000, what);
    return report_error(session->cli, &error);
}

int session_report_signal(struct session *session, const char *what)
{
    qblk_error error;

    (void)own_error(&error, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED,
                    "interrupted while waiting for %s; nothing was stopped by that", what);
    return report_error_as(session->cli, "interrupted", &error);
}
