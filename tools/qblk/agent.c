/* The verbs agent ping, agent status, agent thaw: the guest agent, without a monitor. */
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "report.h"
#include "verbs.h"

static void on_log(qblk_log_level level, const char *text, void *arg)
{
    struct cli *cli = arg;

    if (cli->opt.verbose > (level == QBLK_LOG_TRACE ? 1 : 0))
        log_line(cli, text);
}

/* A thaw that is given up says what the guest is then, and so has a limit of its own. */
static void fill_options(struct cli *cli, bool is_thaw, qblk_agent_options *options)
{
    int left = cli_left_ms(cli);

    if (left >= 0)
        *(is_thaw ? &options->thaw_ms : &options->timeout_ms) = left > 0 ? left : 1;
    if (left >= 0 && is_thaw)
        options->answer_ms = options->thaw_ms;
    if (cli->opt.verbose > 0) {
        options->on_log = on_log;
        options->arg = cli;
    }
}

static void open_result(struct text *line)
{
    json_open(line, NULL, '{');
    json_open(line, "result", '{');
}

static void close_result(struct cli *cli, struct text *line)
{
    json_close(line, '}');
    json_close(line, '}');
    out_line(cli, line);
}

static int ping(struct cli *cli, const qblk_agent_options *options, qblk_error *error)
{
    struct text line = { NULL, 0, 0 };
    int r = qblk_agent_ping(cli->args[0], options, error);

    if (r < 0)
        return r;
    if (cli->opt.json) {
        open_result(&line);
        json_bool(&line, "answers", true);
        close_result(cli, &line);
    } else {
        text_add(&line, "the guest agent answers");
        out_line(cli, &line);
    }
    return 0;
}

static int status(struct cli *cli, const qblk_agent_options *options, qblk_error *error)
{
    qblk_agent_state state = QBLK_INIT(qblk_agent_state);
    struct text line = { NULL, 0, 0 };
    int r = qblk_agent_look(cli->args[0], options, &state, error);

    if (r < 0)
        return r;
    if (cli->opt.json) {
        open_result(&line);
        json_bool(&line, "frozen", state.is_frozen);
        json_bool(&line, "can_freeze", state.can_freeze);
        json_word(&line, "version", state.version);
        close_result(cli, &line);
        return 0;
    }
    text_add(&line, state.is_frozen ? "frozen" : "thawed");
    if (state.version[0] != '\0') {
        text_add(&line, "; agent ");
        text_add_plain(&line, state.version, false);
        if (!state.is_frozen && !state.can_freeze)
            text_add(&line, ", which may not freeze");
    }
    out_line(cli, &line);
    return 0;
}

static int thaw(struct cli *cli, const qblk_agent_options *options, qblk_error *error)
{
    struct text line = { NULL, 0, 0 };
    int64_t count = -1;
    int r = qblk_agent_thaw(cli->args[0], options, &count, error);

    if (r < 0)
        return r;
    if (cli->opt.json) {
        open_result(&line);
        json_bool(&line, "frozen", false);
        if (count >= 0)
            json_i64(&line, "thawed", count);
        else
            json_null(&line, "thawed");
        close_result(cli, &line);
    } else {
        if (count > 0)
            text_addf(&line, "thawed; %lld file system%s had been frozen", (long long)count,
                      count == 1 ? "" : "s");
        else
            text_add(&line, "thawed; nothing had been frozen");
        out_line(cli, &line);
    }
    return 0;
}

int run_agent(struct cli *cli)
{
    qblk_agent_options options = QBLK_INIT(qblk_agent_options);
    const char *verb = cli->verb->name + strlen("agent ");
    qblk_error error;
    int r;

    fill_options(cli, strcmp(verb, "thaw") == 0, &options);
    if (strcmp(verb, "ping") == 0)
        r = ping(cli, &options, &error);
    else if (strcmp(verb, "status") == 0)
        r = status(cli, &options, &error);
    else
        r = thaw(cli, &options, &error);
    return r < 0 ? report_error(cli, &error) : EXIT_DONE;
}
