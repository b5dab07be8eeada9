/* The verbs pull, copy and backup: their options, as the library wants them. */
#include <stdlib.h>
#include <string.h>

#include "op.h"
#include "report.h"
#include "target.h"
#include "verbs.h"

static int start_pull(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    qblk_pull_options options = QBLK_INIT(qblk_pull_options);

    options.common = *common;
    options.base = run->cli->opt.base;
    options.backing_file = run->cli->opt.backing_file;
    options.no_bitmaps = run->cli->opt.no_bitmaps;
    options.relative = run->cli->opt.relative;
    options.into = run->cli->opt.into;
    options.bottom = run->cli->opt.bottom;
    return qblk_pull(run->session.monitor, run->disk, &options, &run->op, error);
}

static int start_commit(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_commit_options options = QBLK_INIT(qblk_commit_options);

    options.common = *common;
    options.ending = opt->ending;
    options.top = opt->top;
    options.base = opt->base;
    options.backing_file = opt->backing_file;
    options.no_bitmaps = opt->no_bitmaps;
    options.relative = opt->relative;
    return qblk_commit(run->session.monitor, run->disk, &options, &run->op, error);
}

static int start_copy(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_copy_options options = QBLK_INIT(qblk_copy_options);

    options.common = *common;
    options.ending = opt->ending;
    options.format = opt->format;
    options.shallow = opt->shallow;
    options.reuse = opt->reuse;
    options.legacy = opt->legacy;
    options.sync = opt->sync;
    options.granularity = opt->granularity;
    options.buf_size = opt->buf_size;
    options.active = opt->active;
    options.active_late = opt->active_late;
    options.on_source_error = opt->on_source_error;
    options.on_target_error = opt->on_target_error;
    options.blockdev = opt->blockdev;
    options.no_bitmaps = opt->no_bitmaps;
    options.quiesce = opt->quiesce;
    options.quiesce_optional = opt->quiesce_optional;
    options.relative = opt->relative;
    options.group = run->many != NULL ? run->many->group : NULL;
    return qblk_copy(run->session.monitor, run->disk, run->target, &options, &run->op, error);
}

static int start_swap(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_swap_options options = QBLK_INIT(qblk_swap_options);

    options.common = *common;
    options.format = opt->format;
    options.resize = opt->resize;
    options.no_bitmaps = opt->no_bitmaps;
    return qblk_swap(run->session.monitor, run->disk, run->target, &options, &run->op, error);
}

static int start_backup(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct options *opt = &run->cli->opt;
    qblk_backup_options options = QBLK_INIT(qblk_backup_options);

    options.common = *common;
    options.sync = opt->sync;
    options.format = opt->format;
    options.reuse = opt->reuse;
    options.compress = opt->compress;
    options.legacy = opt->legacy;
    return qblk_backup(run->session.monitor, run->disk, run->target, &options, &run->op, error);
}

int run_pull(struct cli *cli)
{
    const struct options *opt = &cli->opt;
    qblk_error error;
    int r = 0;

    if (opt->base != NULL && opt->bottom != NULL)
        r = usage_error(&error, "--base and --bottom exclude one another: the base is the image below "
                        "the bottom");
    else if (opt->backing_file != NULL && opt->bottom != NULL)
        r = usage_error(&error, "--backing-file needs --base: with --bottom QEMU itself sees what is "
                        "below it when the job ends");
    else if (opt->backing_file != NULL && opt->base == NULL)
        r = usage_error(&error, "--backing-file needs --base: without a base the image has no "
                        "backing file any more");
    else if (opt->relative && opt->base == NULL)
        r = usage_error(&error, "--relative needs --base: it says how the name of the base is to be "
                        "recorded");
    if (r < 0)
        return report_error(cli, &error);
    return op_run(cli, start_pull, "pull", "pulled", NULL);
}

int run_commit(struct cli *cli)
{
    return op_run(cli, start_commit, "commit", "committed", NULL);
}

static int run_to_target(struct cli *cli, op_start_fn *start, const char *verb, const char *past)
{
    char *target;
    qblk_error error;
    int status;

    if (target_path(cli->args[1], &target, &error) < 0)
        return report_error(cli, &error);
    status = op_run(cli, start, verb, past, target);
    free(target);
    return status;
}

/* DISK=TARGET, more than once perhaps. A lone DISK TARGET may have = in its names. */
static bool is_pairs(const struct cli *cli)
{
    for (int i = 0; i < cli->n_args; i++) {
        if (strchr(cli->args[i], '=') == NULL)
            return false;
    }
    return true;
}

static int split_pairs(struct cli *cli, struct op_run *runs, char **targets, qblk_error *error)
{
    for (int i = 0; i < cli->n_args; i++) {
        char *equals = strchr(cli->args[i], '=');

        if (equals == NULL || equals == cli->args[i])
            return usage_error(error, "'%.200s' names no disk before the =", cli->args[i]);
        *equals = '\0';
        runs[i].disk = cli->args[i];
        if (target_path(equals + 1, &targets[i], error) < 0)
            return -1;
        runs[i].target = targets[i];
    }
    return 0;
}

static int copy_pairs(struct cli *cli)
{
    struct op_run head = { .cli = cli, .past = "copied" };
    size_t n = (unsigned)cli->n_args;
    struct many many = { .n = n, .ends_command = true };
    char **targets = xrealloc(NULL, n, sizeof(*targets));
    qblk_error error;
    int status;

    many.runs = xrealloc(NULL, n, sizeof(*many.runs));
    memset(targets, 0, n * sizeof(*targets));
    memset(many.runs, 0, n * sizeof(*many.runs));
    if (split_pairs(cli, many.runs, targets, &error) < 0 || op_open(&head, &error) < 0) {
        status = report_error(cli, &error);
    } else {
        if (session_loop(&head.session, &error) < 0)
            status = report_error(cli, &error);
        else
            status = many_continue(&head, &many, start_copy, "copy", &error);
        status = session_end(&head.session, status);
    }
    for (size_t i = 0; i < n; i++)
        free(targets[i]);
    free(targets);
    free(many.runs);
    return status;
}

static int copy_all(struct cli *cli)
{
    qblk_error error;

    if (cli->opt.blockdev != NULL && cli->n_args == 1)
        return op_run(cli, start_copy, "copy", "copied", NULL);
    if (cli->opt.blockdev != NULL)
        (void)usage_error(&error, "--blockdev describes the target of one disk: qblk copy DISK "
                          "--blockdev JSON");
    else if (is_pairs(cli))
        return copy_pairs(cli);
    else if (cli->n_args == 2)
        return run_to_target(cli, start_copy, "copy", "copied");
    else if (cli->n_args == 1)
        (void)usage_error(&error, "no target: qblk copy DISK TARGET");
    else
        (void)usage_error(&error, "several disks are given as DISK=TARGET, each of them");
    return report_error(cli, &error);
}

int run_copy(struct cli *cli)
{
    char *agent = NULL;
    qblk_error error;
    int status;

    if (cli->opt.quiesce_optional && cli->opt.quiesce == NULL) {
        (void)usage_error(&error, "--quiesce-optional needs --quiesce SOCKET");
        return report_error(cli, &error);
    }
    if (cli->opt.quiesce != NULL && target_agent(cli->opt.quiesce, &agent, &error) < 0)
        return report_error(cli, &error);
    cli->opt.quiesce = agent;
    status = copy_all(cli);
    free(agent);
    return status;
}

int run_swap(struct cli *cli)
{
    return run_to_target(cli, start_swap, "swap", "moved");
}

int run_backup(struct cli *cli)
{
    return run_to_target(cli, start_backup, "backup", "backed up");
}
