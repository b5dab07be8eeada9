/* The verb events: QEMU's events as they come, one a line. Those of a time without a connection are
 * lost; what became of the jobs is looked up and told in their place. */
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "rawjson.h"
#include "report.h"
#include "session.h"
#include "verbs.h"

struct listener {
    struct cli *cli;
    struct session session;
    uint64_t seen;
    bool is_interrupted;
    bool is_lost;
    qblk_error lost;
    bool is_behind;     /* the connection was lost, and the jobs have not been read since */
    qblk_job *ended;    /* the job told last, if that was its end */
};

static bool matches(const struct cli *cli, const char *name)
{
    for (int i = 0; i < cli->n_args; i++) {
        if (fnmatch(cli->args[i], name, 0) == 0)
            return true;
    }
    return cli->n_args == 0;
}

static bool is_enough(const struct listener *listener)
{
    return listener->cli->opt.count > 0 && listener->seen >= listener->cli->opt.count;
}

static void on_event(struct session *session, const char *name, const char *json, void *arg)
{
    struct listener *listener = arg;
    struct text line = { NULL, 0, 0 };

    if (is_enough(listener) || !matches(listener->cli, name))
        return;
    /* A monitor with pretty=on spreads a message over many lines. */
    if (strpbrk(json, "\r\n") != NULL)
        rawjson_compact(&line, json, strlen(json));
    else
        text_add(&line, json);
    out_line(listener->cli, &line);
    listener->seen++;
    if (is_enough(listener))
        session_stop(session);
}

static void on_signal(struct session *session, int signo, void *arg)
{
    struct listener *listener = arg;

    if (signo == SIGINT)
        listener->is_interrupted = true;
    else
        session->die_of = signo;
    session_stop(session);
}

static void on_lost(struct session *session, const qblk_error *error, void *arg)
{
    struct listener *listener = arg;

    listener->is_lost = true;
    listener->lost = *error;
    session_stop(session);
}

/* ---- over a lost connection ----------------------------------------------------------------- */

static void say_monitor(struct listener *listener, const char *state, const char *why)
{
    struct text line = { NULL, 0, 0 };

    json_event(&line, "monitor");
    json_str(&line, "state", state);
    json_str(&line, "message", why);
    json_close(&line, '}');
    out_line(listener->cli, &line);
}

static void on_away(struct session *session, const qblk_error *error, void *arg)
{
    struct listener *listener = arg;

    (void)session;
    listener->is_behind = true;
    say_monitor(listener, "lost", error->text);
}

static void on_back(struct session *session, void *arg)
{
    (void)session;
    say_monitor(arg, "connected", NULL);
}

static void on_synced(qblk_monitor *monitor, void *arg)
{
    struct listener *listener = arg;

    (void)monitor;
    /* The first reading of all may have been lost with the connection. */
    listener->is_behind = qblk_monitor_get_state(monitor) != QBLK_MONITOR_READY;
}

static void say_job(struct listener *listener, const qblk_job_info *info)
{
    struct text line = { NULL, 0, 0 };

    json_event(&line, "job");
    json_job(&line, info);
    json_close(&line, '}');
    out_line(listener->cli, &line);
}

static void on_job(qblk_job *job, void *arg)
{
    struct listener *listener = arg;
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    qblk_job_get_info(job, &info);
    if (!listener->is_behind ||
        (info.state == QBLK_JOB_CONCLUDED && info.outcome == QBLK_OUTCOME_NONE))
        return; /* its end is still to come */
    listener->ended = info.outcome != QBLK_OUTCOME_NONE ? job : NULL;
    say_job(listener, &info);
}

static void on_gone(qblk_job *job, void *arg)
{
    struct listener *listener = arg;

    if (listener->ended != job)
        on_job(job, arg);
    listener->ended = NULL;
}

static int follow_jobs(struct listener *listener, qblk_error *error)
{
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);

    if (listener->cli->opt.reconnect_ms == 0)
        return 0;
    ops.on_job = ops.on_state = ops.on_end = on_job;
    ops.on_gone = on_gone;
    ops.on_synced = on_synced;
    return qblk_jobs_track(listener->session.monitor, &ops, listener, error);
}

/* ---- the verb ------------------------------------------------------------------------------- */

static const struct session_ops hooks = {
    .on_away = on_away,
    .on_back = on_back,
    .on_event = on_event,
    .on_signal = on_signal,
    .on_lost = on_lost,
    .ends_with_output = true,
};

static int say_end(struct session *session, const struct listener *listener)
{
    struct cli *cli = listener->cli;
    struct text line = { NULL, 0, 0 };
    qblk_error error;

    if (session->die_of != 0)
        return session_report_signal(session, "events");
    if (!is_enough(listener) && listener->is_lost)
        return report_error(cli, &listener->lost);
    if (!is_enough(listener) && session->is_timed_out)
        return session_report_timeout(session, "events");
    if (!is_enough(listener) && cli->opt.count > 0 && listener->is_interrupted) {
        (void)own_error(&error, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED, "interrupted after %llu of %llu "
                        "events", (unsigned long long)listener->seen,
                        (unsigned long long)cli->opt.count);
        return report_error_as(cli, "interrupted", &error);
    }
    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '{');
        json_u64(&line, "events", listener->seen);
        json_close(&line, '}');
        json_close(&line, '}');
        out_line(cli, &line);
    }
    return EXIT_DONE;
}

int run_events(struct cli *cli)
{
    struct listener listener = { .cli = cli };
    qblk_error error;

    if (cli->opt.follow && cli->opt.count > 0) {
        (void)usage_error(&error, "--follow and --count contradict one another");
        return report_error(cli, &error);
    }
    if (session_open(&listener.session, cli, &hooks, &listener, &error) < 0 ||
        session_loop(&listener.session, &error) < 0 || follow_jobs(&listener, &error) < 0)
        return session_end(&listener.session, report_error(cli, &error));
    session_run(&listener.session);
    return session_end(&listener.session, say_end(&listener.session, &listener));
}
