/* Commit: block-commit the data of images down into one of their backing images. Contract: the disk
 * reads the same at every instant; from the start on every image between base and top is worth
 * nothing by itself, also after a cancel.
 *
 * With the disk's top image this is an active commit: it becomes READY like a mirror and is ended
 * by a pivot to the base or by finishing (base is then a copy as of that instant). With an image
 * further down it ends by itself and the image above is moved to the base. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/op.h"
#include "qapi_types.h"

/* The image whose backing image is node, within the disk's chain. */
static int overlay_of(const qblk_op *op, int node)
{
    int image = op->top;

    while (image >= 0 && graph_backing_image(op->graph, image) != node)
        image = graph_backing_image(op->graph, image);
    return image;
}

static int bottom_of(const qblk_op *op)
{
    int image = op->top, below;

    while ((below = graph_backing_image(op->graph, image)) >= 0)
        image = below;
    return image;
}

static int find_images(qblk_op *op, int *ret_top, int *ret_base, qblk_error *error)
{
    int top = op->top, base;

    if (graph_backing_image(op->graph, op->top) < 0)
        return err_set(error, QBLK_E_TARGET_INVALID, "disk %s has no backing image that its data "
                       "could be committed to", op->disk_name);
    if (op->commit_top != NULL) {
        top = qblk_graph_find_in_chain(op->graph, op->disk, op->commit_top, error);
        if (top < 0)
            return top;
    }
    base = bottom_of(op);
    if (op->base != NULL) {
        base = qblk_graph_find_in_chain(op->graph, op->disk, op->base, error);
        if (base < 0)
            return base;
    }
    if (base == top)
        return err_set(error, QBLK_E_TARGET_INVALID, "the base and the top are the same image "
                       "(node %s), so there is nothing to commit; name a base below it",
                       qblk_graph_node(op->graph, base)->name);
    if (!plan_is_below(op, base, top))
        return err_set(error, QBLK_E_TARGET_INVALID, "the base (node %s) is not below the top "
                       "(node %s) in the chain of disk %s; data can only go down",
                       qblk_graph_node(op->graph, base)->name,
                       qblk_graph_node(op->graph, top)->name, op->disk_name);
    *ret_top = top;
    *ret_base = base;
    return 0;
}

/* QEMU records the format of the base in the image above the top: if it has none, its protocol's
 * name, unless it can be told not to. */
static bool needs_features(qblk_op *op)
{
    int top = -1, base = -1;

    return find_images(op, &top, &base, NULL) == 0 && top != op->top &&
           qblk_graph_node(op->graph, base)->is_protocol;
}

static int start(qblk_op *op, int top, int base, qblk_error *error)
{
    AUTO_FREE char *backing_file = NULL;
    struct qapi_block_commit_args args = {
        .job_id = op->names.job,
        .device = qblk_graph_node(op->graph, op->root)->name,
        .top_node = qblk_graph_node(op->graph, top)->name,
        .base_node = qblk_graph_node(op->graph, base)->name,
        .filter_node_name = op->names.filter,
        .has_speed = op->common.speed > 0, .speed = (int64_t)op->common.speed,
        .has_on_error = op->common.on_error != NULL,
        .on_error = plan_on_error(op->common.on_error),
        .has_auto_dismiss = true, .auto_dismiss = false,
    };
    struct step *step;
    int overlay = top != op->top ? overlay_of(op, top) : -1, r = 0;

    if (op->backing_file != NULL) {
        args.backing_file = op->backing_file;
    } else if (overlay >= 0) {
        r = op->relative ? plan_relative_string(op, overlay, base, &backing_file, error)
                         : plan_backing_string(op, base,
                                               plan_file_name(op, overlay),
                                               &backing_file, error);
        args.backing_file = backing_file;
    }
    if (r < 0)
        return r;
    if (overlay >= 0 && qblk_graph_node(op->graph, base)->is_protocol)
        args.has_backing_mask_protocol = args.backing_mask_protocol =
            plan_masks(op, FEATURE_COMMIT_MASKS_PROTOCOL, overlay, base);
    step = plan_step(op, STEP_START, "start block-commit");
    step_command(&op->engine, step, &qapi_cmd_block_commit, &args);
    return 0;
}

static void plan_end(qblk_op *op)
{
    bool is_active = op->ending != QBLK_END_DEFAULT;

    if (is_active) {
        (void)plan_step(op, STEP_READY, "wait until the job is ready");
        if (op->ending == QBLK_END_KEEP)
            return;
        if (op->ending == QBLK_END_PIVOT)
            bitmaps_plan_move(op, op->top, qblk_graph_find_node(op->graph, op->landing),
                              op->landing);
        plan_end_job(op);
    }
    (void)plan_step(op, STEP_ENDED, "wait for the job's end");
    (void)plan_end_journal(op);
    if (is_active)
        plan_verify(op);
    /* An intermediate commit holds its chain until it is dismissed. */
    plan_dismiss(op);
    op->kind->plan_clean(op);
    plan_close_journal(op);
}

/* How it ends: an intermediate commit has one way only, which is DEFAULT here. */
static int choose_ending(qblk_op *op, bool is_active, qblk_error *error)
{
    if (!is_active && op->ending != QBLK_END_DEFAULT)
        return err_set(error, QBLK_E_ARGUMENT, "a commit of images below the disk's top ends by "
                       "itself; --pivot, --finish and --keep are for the top image only");
    if (is_active && op->backing_file != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "a backing file to record makes no sense when the "
                       "disk's top image is committed: no image lies above it");
    if (is_active && op->relative)
        return err_set(error, QBLK_E_ARGUMENT, "a relative name to record makes no sense when the "
                       "disk's top image is committed: no image lies above it");
    if (is_active && op->ending == QBLK_END_DEFAULT)
        op->ending = QBLK_END_PIVOT;
    return 0;
}

static int warn(qblk_op *op, int top, int base, qblk_error *error)
{
    /* An active top stays right on its base. */
    int first = op->ending == QBLK_END_DEFAULT ? top : graph_backing_image(op->graph, top);
    struct buf text = BUF_INIT;

    plan_tell_clear(op, base, top, base, &text);
    if (first != base)
        (void)buf_addf(&text, "%sfrom the start on, also after a cancel, these images are worth nothing by "
                       "themselves:", text.len > 0 ? "; " : "");
    for (int i = first; i >= 0 && i != base; i = graph_backing_image(op->graph, i))
        (void)buf_addf(&text, " %s (%s)", qblk_graph_node(op->graph, i)->name,
                       plan_file_name(op, i));
    return plan_warn(op, &text, error);
}

static int draw(qblk_op *op, int top, int base, qblk_error *error)
{
    int r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);

    if (r < 0)
        return r;
    if (op->ending == QBLK_END_FINISH || op->ending == QBLK_END_KEEP)
        return plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    return plan_chain_without(op, top != op->top ? overlay_of(op, top) : -1, base, &op->chain_after,
                              error);
}

/* QEMU wants the disk's own node for each commit, and the image above the top, whose backing image
 * changes. A job on others further up, such as a pull, is not in the way. */
static int check_busy(qblk_op *op, int top, int base, qblk_error *error)
{
    int from = top == op->top ? op->root : overlay_of(op, top);
    int below = qblk_graph_node(op->graph, op->root)->backing;
    int r = plan_check_busy_from(op, op->root, below, error);

    if (r == 0)
        r = plan_check_busy_from(op, from, qblk_graph_node(op->graph, base)->backing, error);
    if (r == 0)
        r = others_check_disk(op, op->disk, op->disk_name, error);
    return r == 0 ? plan_check_users(op, top, base, error) : r;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int top = -1, base = -1, r = find_images(op, &top, &base, error);

    if (r < 0)
        return r;
    op->landing = qblk_graph_node(op->graph, base)->name;
    r = choose_ending(op, top == op->top, error);
    if (r == 0)
        r = check_busy(op, top, base, error);
    /* A disk that moves to a longer base would become longer itself. */
    if (r == 0)
        r = plan_check_end(op, top != op->top ? overlay_of(op, top) : -1, top, base, error);
    if (r == 0)
        r = warn(op, top, base, error);
    if (r == 0)
        r = draw(op, top, base, error);
    if (r == 0 && op->ending != QBLK_END_FINISH)
        r = plan_list_replaced(op, top, base, error);
    if (r == 0 && (op->journal.base = mem_strdup(qblk_graph_node(op->graph, base)->name)) == NULL)
        r = err_nomem(error);
    if (r == 0 && (op->ending == QBLK_END_PIVOT || op->ending == QBLK_END_KEEP))
        r = bitmaps_check_move(op, op->top, base, base, qblk_graph_node(op->graph, base)->driver,
                               error);
    if (r == 0)
        r = plan_open_journal(op, op->ending == QBLK_END_PIVOT    ? "pivot"
                                  : op->ending == QBLK_END_KEEP   ? "keep"
                                  : op->ending == QBLK_END_FINISH ? "finish"
                                                                  : "merge", error);
    if (r == 0)
        r = op->ending == QBLK_END_DEFAULT ? bitmaps_plan_merge(op, op->top, top, base, error)
                                           : bitmaps_plan_save(op, op->top, base, error);
    if (r == 0)
        r = start(op, top, base, error);
    if (r < 0)
        return r;
    plan_end(op);
    return 0;
}

/* An intermediate commit has made its images useless, one of the top only by a pivot. */
static void plan_clean(qblk_op *op)
{
    if (op->ending != QBLK_END_FINISH)
        plan_delete_old(op);
    else
        plan_keep_old(op);
}

const struct op_kind op_commit = {
    .name = "commit",
    .job_type = "commit",
    .needs_features = needs_features,
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_clean,
    .has_endings = true,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_commit(qblk_monitor *monitor, const char *disk, const qblk_commit_options *options,
                qblk_op **ret_op, qblk_error *error)
{
    qblk_commit_options o = QBLK_INIT(qblk_commit_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_commit_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = op_check_ending(o.ending, error);
    if (r == 0 && o.relative && o.backing_file != NULL)
        r = err_set(error, QBLK_E_ARGUMENT, "either the backing file to record is named, or a "
                    "relative name for it is to be found; not both");
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_commit, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->ending = o.ending;
    op->no_bitmaps = o.no_bitmaps;
    op->relative = o.relative;

    const struct op_string strings[] = {
        { &op->commit_top, o.top },
        { &op->base, o.base },
        { &op->backing_file, o.backing_file },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}
