/* The verb events: QEMU's events as they come, one a line. */
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
    uint64_t seen;
    bool is_interrupted;
    bool is_lost;
    qblk_error lost;
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
    if (is_enough(listener) || listener->cli->out_errno != 0)
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

static const struct session_ops hooks = {
    .on_event = on_event,
    .on_signal = on_signal,
    .on_lost = on_lost,
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
    if (listener->seen == 0 || (session->is_timed_out && cli->opt.count > 0 &&
                                !is_enough(listener))) {
        (void)own_error(&error, QBLK_KIND_TIMEOUT, QBLK_E_TIMEOUT, "%s after %llu matching events, "
                        "waiting for more",
                        listener->is_interrupted ? "interrupted" : "timed out",
                        (unsigned long long)listener->seen);
        return listener->is_interrupted ? report_error_as(cli, "interrupted", &error)
                                        : report_error(cli, &error);
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
    struct session session;
    qblk_error error;

    if (cli->opt.follow && cli->opt.count > 0) {
        (void)usage_error(&error, "--follow and --count contradict one another");
        return report_error(cli, &error);
    }
    if (session_open(&session, cli, &hooks, &listener, &error) < 0 ||
        session_loop(&session, &error) < 0)
        return session_end(&session, report_error(cli, &error));
    session_run(&session);
    return session_end(&session, say_end(&session, &listener));
}
