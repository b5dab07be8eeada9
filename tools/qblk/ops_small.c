/* The verbs resize, throttle and detach: operations without a job. */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "op.h"
#include "report.h"
#include "sizes.h"
#include "verbs.h"

static int start_resize(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    qblk_resize_options options = QBLK_INIT(qblk_resize_options);
    uint64_t size;

    options.common = *common;
    options.shrink = run->cli->opt.shrink;
    if (parse_size("the size", run->cli->args[1], &size, error) < 0)
        return -1;
    return qblk_resize(run->session.monitor, run->disk, size, &options, &run->op, error);
}

int run_resize(struct cli *cli)
{
    uint64_t size;
    qblk_error error;

    /* Before there is a connection. */
    if (parse_size("the size", cli->args[1], &size, &error) < 0)
        return report_error(cli, &error);
    return op_run(cli, start_resize, "resize", "resized", NULL);
}

static int start_throttle(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_throttle_options options = QBLK_INIT(qblk_throttle_options);

    options.common = *common;
    options.off = opt->off;
    options.group = opt->group;
    for (int i = 0; i < QBLK_LIMITS; i++) {
        options.is_given[i] = opt->limits[i].is_given;
        options.value[i] = opt->limits[i].value;
    }
    return qblk_throttle(run->session.monitor, run->disk, &options, &run->op, error);
}

static void limits_json(struct cli *cli, const qblk_limits *limits)
{
    struct text line = { NULL, 0, 0 };

    json_open(&line, NULL, '{');
    json_open(&line, "result", '{');
    json_str(&line, "disk", limits->disk);
    for (int i = 0; i < QBLK_LIMITS; i++)
        json_u64(&line, qblk_limit_name((qblk_limit)i), limits->value[i]);
    json_word(&line, "group", limits->group);
    json_word(&line, "throttle_node", limits->node);
    json_close(&line, '}');
    json_close(&line, '}');
    out_line(cli, &line);
}

static void limits_lines(struct cli *cli, const qblk_limits *limits)
{
    struct text text = { NULL, 0, 0 };
    char size[SIZE_TEXT];

    for (int i = 0; i < QBLK_LIMITS; i++) {
        const char *name = qblk_limit_name((qblk_limit)i);

        if (limits->value[i] == 0)
            continue;
        if (strncmp(name, "bps", 3) == 0)
            text_addf(&text, "%-12s %s/s\n", name, format_size(limits->value[i], size));
        else if (i == QBLK_LIMIT_IOPS_SIZE)
            text_addf(&text, "%-12s %s\n", name, format_size(limits->value[i], size));
        else
            text_addf(&text, "%-12s %" PRIu64 "/s\n", name, limits->value[i]);
    }
    if (text.len == 0)
        text_add(&text, "no limits\n");
    else if (limits->group[0] != '\0')
        text_addf(&text, "%-12s %s\n", "group", limits->group);
    out_text(cli, text.s);
    text_free(&text);
    if (limits->node[0] != '\0')
        note(cli, "disk %s is behind the throttle node %s, whose group has limits of its own",
             limits->disk, limits->node);
}

static int read_limits(struct session *session, const char *disk, qblk_limits *limits,
                       qblk_error *error)
{
    int r;

    do
        r = qblk_throttle_read(session->monitor, disk, cli_left_ms(session->cli), limits, error);
    while (r < 0 && session_asks_again(session, error));
    return r;
}

static int show_limits(struct cli *cli)
{
    struct session session;
    qblk_limits limits = QBLK_INIT(qblk_limits);
    qblk_error error;
    int status = EXIT_DONE;

    if (session_open(&session, cli, NULL, NULL, &error) < 0 ||
        read_limits(&session, cli->args[0], &limits, &error) < 0)
        status = report_error(cli, &error);
    else if (cli->opt.json)
        limits_json(cli, &limits);
    else
        limits_lines(cli, &limits);
    return session_end(&session, status);
}

int run_throttle(struct cli *cli)
{
    bool is_set = cli->opt.off || cli->opt.group != NULL;
    qblk_error error;

    for (int i = 0; i < QBLK_LIMITS; i++)
        is_set = is_set || cli->opt.limits[i].is_given;
    if (is_set)
        return op_run(cli, start_throttle, "throttle", "throttled", NULL);
    if (!cli->opt.dry_run)
        return show_limits(cli);
    (void)usage_error(&error, "--dry-run needs limits to be set, or --off: showing them changes "
                      "nothing");
    return report_error(cli, &error);
}

static int start_detach(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_detach_options options = QBLK_INIT(qblk_detach_options);

    options.common = *common;
    options.keep_nodes = opt->keep_nodes;
    options.tries = (int)opt->tries;
    options.interval_ms = (int)opt->interval_ms;
    return qblk_detach(run->session.monitor, run->disk, &options, &run->op, error);
}

int run_detach(struct cli *cli)
{
    qblk_error error;

    if (cli->opt.tries > 1000000) {
        (void)usage_error(&error, "--tries %" PRIu64 " is too many: 1000000 at most",
                          cli->opt.tries);
        return report_error(cli, &error);
    }
    return op_run(cli, start_detach, "detach", "detached", NULL);
}
