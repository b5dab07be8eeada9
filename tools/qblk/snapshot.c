/* The verb snapshot: its disks and their files. */
#include <stdlib.h>
#include <string.h>

#include "op.h"
#include "report.h"
#include "target.h"
#include "verbs.h"

struct snapshot_args {
    qblk_snapshot_disk *disks;
    char **owned; /* the strings in disks, two each */
    size_t n;
    char *quiesce; /* the agent's socket, or NULL */
};

static int start_snapshot(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    const struct snapshot_args *args = run->what;
    qblk_snapshot_options options = QBLK_INIT(qblk_snapshot_options);

    options.common = *common;
    options.reuse = run->cli->opt.reuse;
    options.no_bitmaps = run->cli->opt.no_bitmaps;
    options.relative = run->cli->opt.relative;
    options.quiesce = args->quiesce;
    options.quiesce_optional = run->cli->opt.quiesce_optional;
    return qblk_snapshot(run->session.monitor, args->disks, args->n, &options, &run->op, error);
}

static int add(struct snapshot_args *args, const char *disk, size_t disk_len, const char *file,
               qblk_error *error)
{
    char *path;

    if (disk_len == 0)
        return usage_error(error, "'%.200s' names no disk: give DISK=FILE", disk);
    if (target_path(file, &path, error) < 0)
        return -1;
    args->owned[2 * args->n] = xstrndup(disk, disk_len);
    args->owned[2 * args->n + 1] = path;
    args->disks[args->n] = (qblk_snapshot_disk){ args->owned[2 * args->n], path };
    args->n++;
    return 0;
}

static int read_options(const struct options *opt, struct snapshot_args *args, qblk_error *error)
{
    if (opt->relative && opt->reuse)
        return usage_error(error, "--relative and --reuse-external exclude one another: an overlay that "
                           "was prepared records what it records");
    if (opt->quiesce == NULL)
        return opt->quiesce_optional
                   ? usage_error(error, "--quiesce-optional needs --quiesce SOCKET") : 0;
    return target_agent(opt->quiesce, &args->quiesce, error);
}

/* DISK=FILE of each, or DISK FILE of one. */
static int read_args(struct cli *cli, struct snapshot_args *args, qblk_error *error)
{
    const char *equals = strchr(cli->args[0], '=');

    if (equals == NULL && cli->n_args == 2)
        return add(args, cli->args[0], strlen(cli->args[0]), cli->args[1], error);
    for (int i = 0; i < cli->n_args; i++) {
        equals = strchr(cli->args[i], '=');
        if (equals == NULL)
            return usage_error(error, "'%.200s' says not which file its overlay is to be in: give "
                               "DISK=FILE for each disk", cli->args[i]);
        if (add(args, cli->args[i], (size_t)(equals - cli->args[i]), equals + 1, error) < 0)
            return -1;
    }
    return 0;
}

int run_snapshot(struct cli *cli)
{
    struct snapshot_args args = { NULL, NULL, 0, NULL };
    struct op_run run = { .cli = cli, .past = "took snapshot of", .what = &args };
    qblk_error error;
    int status;

    args.disks = xrealloc(NULL, (size_t)cli->n_args, sizeof(*args.disks));
    args.owned = xrealloc(NULL, (size_t)cli->n_args, 2 * sizeof(*args.owned));
    if (read_args(cli, &args, &error) < 0 || read_options(&cli->opt, &args, &error) < 0)
        status = report_error(cli, &error);
    else
        status = op_run_whole(&run, start_snapshot, "snapshot", args.disks[0].disk);
    for (size_t i = 0; i < 2 * args.n; i++)
        free(args.owned[i]);
    free(args.quiesce);
    free(args.owned);
    free(args.disks);
    return status;
}
