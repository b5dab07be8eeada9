/* The verb watch: the jobs of many QEMUs on one loop, each of which may come, go, be busy or hang
 * without the others noticing. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "json.h"
#include "places.h"
#include "report.h"
#include "verbs.h"
#include "watch.h"

#define SOCKET_PATH_MAX ((int)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* ---- sockets come and go --------------------------------------------------------------------- */

static void appeared(const char *path, void *arg)
{
    spot_appeared(spot_add(arg, path));
}

static void vanished(const char *path, void *arg)
{
    struct spot *spot = spot_at(arg, path);

    if (spot != NULL)
        spot_vanished(spot);
}

static void look(void *arg)
{
    spots_look(arg);
}

static void dir_missing(const char *dir, void *arg)
{
    struct watch *watch = arg;

    warn(watch->cli, "directory %s is not there: it is waited for",
         *dir != '\0' ? dir : ".");
}

static const struct places_ops places_hooks = { appeared, vanished, look, dir_missing };

/* ---- the verb -------------------------------------------------------------------------------- */

static void on_signal(struct session *session, int signo, void *arg)
{
    (void)arg;
    if (signo != SIGINT) /* which is its ordinary end */
        session->die_of = signo;
    session_stop(session);
}

static const struct session_ops hooks = { .on_signal = on_signal, .ends_with_output = true };

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
    struct spot *spot = spot_add(watch, path);
    int r;

    spot->is_named = true;
    r = places_add(watch->places, path, false, error);
    if (r == 0 && access(path, F_OK) < 0)
        spot_say(spot, "awaited", "there is no such socket yet");
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
    if (r == 0 && cli->n_args == 0 && cli->opt.globs.n == 0)
        r = begin_named(watch, cli->opt.socket, error);
    for (int i = 0; r == 0 && i < cli->opt.globs.n; i++)
        r = places_add(watch->places, cli->opt.globs.v[i], true, error);
    return r;
}

static int end(struct watch *watch, int status)
{
    watch->is_over = true;
    places_close(watch->places);
    while (watch->spots != NULL)
        spot_end_one(watch);
    return session_end(&watch->session, status);
}

/* What it takes and would not heed. */
static int check_options(const struct cli *cli, qblk_error *error)
{
    if (cli->opt.wait_ms > 0)
        return usage_error(error, "--wait means nothing to 'watch', which waits for sockets by itself");
    if (cli->opt.socket != NULL && (cli->n_args > 0 || cli->opt.globs.n > 0))
        return usage_error(error, "-s names the one socket to watch where no other is given: name '%.200s' "
                           "as an argument, beside the others", cli->opt.socket);
    for (int i = 0; i < cli->n_args; i++) {
        size_t len = strlen(cli->args[i]);

        if (len == 0 || len > (size_t)SOCKET_PATH_MAX)
            return usage_error(error, "'%.120s%s' cannot be a socket: its path has 1 to %d bytes; make a "
                               "symbolic link to its directory and name it by that", cli->args[i],
                               len > 120 ? "..." : "", SOCKET_PATH_MAX);
    }
    return 0;
}

int run_watch(struct cli *cli)
{
    struct watch watch = { .cli = cli };
    struct text line = { NULL, 0, 0 };
    qblk_error error;

    if (check_options(cli, &error) < 0)
        return report_error(cli, &error);
    if (cli->opt.socket == NULL)
        cli->opt.socket = getenv("QBLK_SOCKET");
    if (cli->n_args == 0 && cli->opt.globs.n == 0 &&
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
