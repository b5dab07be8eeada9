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
    return qblk_copy(run->session.monitor, run->disk, run->target, &options, &run->op, error);
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
    qblk_error error;

    if (cli->opt.backing_file != NULL && cli->opt.base == NULL) {
        (void)usage_error(&error, "--backing-file needs --base: without a base the image has no "
                          "backing file any more");
        return report_error(cli, &error);
    }
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

int run_copy(struct cli *cli)
{
    return run_to_target(cli, start_copy, "copy", "copied");
}

int run_backup(struct cli *cli)
{
    return run_to_target(cli, start_backup, "backup", "backed up");
}
