/* Pull: block-stream the data of backing images into the top image. Contract: the disk reads the same
 * at every instant; what was pulled before a failure or a cancel stays, so that pulling again goes on.
 *
 * A concluded stream job holds its chain until it is dismissed, so the journal says that it ended
 * before it is dismissed, and the nodes go after. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

static int start(qblk_op *op, int base, qblk_error *error)
{
    const qblk_node *top = qblk_graph_node(op->graph, op->top);
    AUTO_FREE char *backing_file = NULL;
    struct qapi_block_stream_args args = {
        .job_id = op->names.job, .device = top->name,
        .has_auto_finalize = true, .auto_finalize = true,
        .has_auto_dismiss = true, .auto_dismiss = false,
    };
    struct step *step = plan_step(op, STEP_START, "start block-stream");

    if (base >= 0) {
        int r = 0;

        args.base_node = qblk_graph_node(op->graph, base)->name;
        if (op->backing_file != NULL)
            backing_file = mem_strdup(op->backing_file);
        else
            r = plan_backing_string(op, base, top->filename, &backing_file, error);
        if (r < 0)
            return r;
        args.backing_file = backing_file;
    }
    args.has_speed = op->common.speed > 0;
    args.speed = (int64_t)op->common.speed;
    if (op->common.on_error != NULL) {
        args.has_on_error = true;
        args.on_error = plan_on_error(op);
    }
    step_command(&op->engine, step, &qapi_cmd_block_stream, &args);
    return 0;
}

static void plan_end(qblk_op *op)
{
    (void)plan_step(op, STEP_ENDED, "wait for the job's end");
    (void)plan_end_journal(op);
    plan_dismiss(op);
    plan_delete_old(op);
    plan_close_journal(op);
}

static int find_base(qblk_op *op, int *ret_base, qblk_error *error)
{
    int base;

    *ret_base = -1;
    if (op->base == NULL)
        return 0;
    base = qblk_graph_find_in_chain(op->graph, op->disk, op->base, error);
    if (base < 0)
        return base;
    if (base == op->top)
        return err_set(error, QBLK_E_TARGET_INVALID, "the base %s is the top image of disk %s "
                       "itself; name an image below it", op->base, op->disk_name);
    *ret_base = base;
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int base, below = graph_backing_image(op->graph, op->top);
    int r = find_base(op, &base, error);

    if (r == 0)
        r = plan_check_busy(op, base, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r < 0)
        return r;
    if (below == base) {
        engine_note(&op->engine, base < 0 ? "disk %s has no backing image: nothing to pull"
                                          : "nothing lies between disk %s and that base",
                    op->disk_name);
        return plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    }
    r = plan_list_pulled(op, base, error);
    if (r == 0)
        r = plan_open_journal(op, "finish", error);
    if (r == 0)
        r = bitmaps_plan_merge(op, op->top, below, base, error);
    if (r == 0)
        r = start(op, base, error);
    if (r < 0)
        return r;
    plan_end(op);

    AUTO_FREE char *first = mem_printf("%s (%s)", qblk_graph_node(op->graph, op->top)->name,
                                       qblk_graph_node(op->graph, op->top)->filename);

    return plan_chain_text(op, first, base, &op->chain_after, error);
}

const struct op_kind op_pull = {
    .name = "pull",
    .job_type = "stream",
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_delete_old,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_pull(qblk_monitor *monitor, const char *disk, const qblk_pull_options *options,
              qblk_op **ret_op, qblk_error *error)
{
    qblk_pull_options o = QBLK_INIT(qblk_pull_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_pull_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0 && o.backing_file != NULL && o.base == NULL)
        r = err_set(error, QBLK_E_ARGUMENT, "a backing file to record makes sense only with a "
                    "base to keep");
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_pull, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->no_bitmaps = o.no_bitmaps;

    const struct op_string strings[] = {
        { &op->base, o.base },
        { &op->backing_file, o.backing_file },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}
