/* Swap: a copy into an image that is there, a pivot, and then the size that the disk is to have.
 * Contract: as a copy that pivots; the jobs of others are left alone. A disk that could not be
 * resized has moved all the same, and that is said.
 *
 * A mirror wants both sides equal. A raw target that is bigger is therefore opened as a window of
 * the disk's size, and opened as a whole once the disk is there. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/like.h"
#include "ops/op.h"
#include "ops/record.h"
#include "qapi_types.h"

#define SECTOR 512u
#define OPT_RESIZE "resize="

struct swap {
    uint64_t resize;  /* as asked, or 0 */
    bool is_bigger;   /* the target has room beyond the disk's end */
    bool must_ask;    /* ...and whether that can be opened later is not known yet */
    size_t size_step; /* number of the step that depends on that, from 1 */
};

/* The node to resize: with filters above the image the uppermost, or their size would be stale. */
static const char *node_to_resize(const qblk_op *op)
{
    int node = op->root;

    if (node >= 0 && strcmp(qblk_graph_node(op->graph, node)->name, op->names.filter) == 0)
        node = qblk_graph_node(op->graph, node)->backing;
    return node < 0 || node == op->top ? op->landing : qblk_graph_node(op->graph, node)->name;
}

static void set_size(qblk_op *op, struct step *step, uint64_t size)
{
    struct qapi_block_resize_args args = { .size = (int64_t)size };

    args.node_name = node_to_resize(op);
    step_command(&op->engine, step, &qapi_cmd_block_resize, &args);
}

static void set_node(qblk_op *op, struct step *step, uint64_t window)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_RAW,
                                          .node_name = op->to.names.node };
    struct qapi_blockdev_cache_options cache = { 0 };

    like_disk(op, &op->to, false, &node, &cache);
    node.u.raw.file = op->to.names.file;
    node.u.raw.has_size = true;
    node.u.raw.size = (int64_t)window;
    step_command(&op->engine, step, &qapi_cmd_blockdev_add, &node);
}

static int check_reopen(const qblk_op *op, qblk_error *error)
{
    if (features_has(op->monitor, FEATURE_REOPEN))
        return 0;
    return err_set(error, QBLK_E_UNSUPPORTED, "the target %s is bigger than disk %s, and this QEMU "
                   "cannot open the rest of it afterwards (blockdev-reopen, since 6.1); give it a "
                   "target of the same size", op->to.path, op->disk_name);
}

static int take_bigger(qblk_op *op, uint64_t have, qblk_error *error)
{
    struct swap *swap = op->own;
    struct step *steps = op->engine.steps;
    int r;

    if (swap->resize != 0 && swap->resize < have)
        return err_set(error, QBLK_E_SIZE_MISMATCH, "the target %s has %" PRIu64 " bytes, and "
                       "--resize asks for fewer: what is beyond would be lost; leave --resize out "
                       "to have all of it", op->to.path, have);
    swap->must_ask = !features_known(op->monitor);
    r = swap->must_ask ? 0 : check_reopen(op, error);
    if (r == 0)
        r = plan_check_size_free(op, error);
    if (r < 0)
        return r;
    swap->is_bigger = true;
    free(steps[op->to.node_step - 1].command);
    set_node(op, &steps[op->to.node_step - 1], op->to.size);
    if (swap->resize == 0)
        set_size(op, &steps[swap->size_step - 1], have);
    return engine_ready(&op->engine, error);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static int see_features(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    int r = features_take(op->monitor, reply, error);

    (void)engine;
    return r < 0 ? r : check_reopen(op, error);
}

static void plan_look(qblk_op *op)
{
    struct swap *swap = op->own;
    struct step *step = plan_step(op, STEP_CHECK, "see that a bigger target can be opened later");

    step->check = see_features;
    step->when = &swap->must_ask;
    step_command(&op->engine, step, &qapi_cmd_query_qmp_schema, NULL);
}

static int taken(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    (void)arg;
    (void)engine;
    (void)reply;
    (void)error;
    return 0;
}

/* What an earlier client had in mind, and what is there. */
static uint64_t recall(qblk_op *op, struct swap *swap)
{
    uint64_t size = 0, file = 0;
    bool is_raw = false;

    swap->resize = journal_opt_number(&op->journal, OPT_RESIZE);
    for (size_t i = 0; op->nodes != NULL && i < op->nodes->n; i++) {
        const struct qapi_block_device_info *node = &op->nodes->v[i];

        if (str_equal(node->node_name, op->to.names.node)) {
            size = (uint64_t)node->image.virtual_size;
            is_raw = strcmp(node->drv, "raw") == 0;
        } else if (str_equal(node->node_name, op->to.names.file)) {
            file = (uint64_t)node->image.virtual_size;
        }
    }
    swap->is_bigger = is_raw && file > size;
    /* A disk is only ever grown here: a record may be old, or nobody's. */
    if (swap->resize != 0)
        return swap->resize > size ? swap->resize : 0;
    return is_raw && file >= size ? file : 0;
}

/* The job goes after the disk has grown. Without it there is the record alone, which anybody may have written. */
static void tell_small(qblk_op *op, struct swap *swap, uint64_t size)
{
    if (swap->is_bigger || (swap->resize != 0 && size != 0))
        engine_note(&op->engine, "disk %s was to have %" PRIu64 " bytes then, by the record alone: \"qblk resize\" "
                    "gives it that size", op->disk_name, size);
    swap->is_bigger = false;
}

static void plan_grow(qblk_op *op)
{
    struct swap *swap = op->own;
    qblk_job_info job;
    struct qapi_blockdev_options whole = { .driver = QAPI_BLOCKDEV_DRIVER_RAW,
                                           .node_name = op->to.names.node };
    struct qapi_blockdev_reopen_args args = { .options = { &whole, 1 } };
    struct qapi_blockdev_cache_options cache = { 0 };
    int there = qblk_graph_find_node(op->graph, op->to.names.node);
    struct step *step;
    uint64_t size;

    size = op->is_resumed ? recall(op, swap) : swap->resize;
    if (op->is_resumed && record_find_job(op, &job) == NULL) {
        tell_small(op, swap, size);
        return;
    }
    whole.u.raw.file = op->to.names.file;
    /* What is left out goes back to its default. */
    if (there >= 0)
        like_node(qblk_graph_node(op->graph, there), &whole, &cache);
    else if (op->top >= 0)
        like_disk(op, &op->to, false, &whole, &cache);
    step = plan_step(op, STEP_CHECK, "the disk has moved; open the rest of its image");
    step->check = taken;
    step->when = &swap->is_bigger;
    step->unless = &op->has_stayed;
    step_command(&op->engine, step, &qapi_cmd_blockdev_reopen, &args);
    if (op->is_resumed && size == 0)
        return;
    step = plan_step(op, STEP_CHECK, "the disk has moved; resize it");
    step->check = taken;
    step->unless = &op->has_stayed;
    swap->size_step = op->engine.n;
    if (size != 0)
        set_size(op, step, size);
    else
        step->when = &swap->is_bigger;
}

/* ---- the kind -------------------------------------------------------------------------------- */

static int plan(qblk_op *op, qblk_error *error)
{
    struct swap *swap = op->own;
    uint64_t now = qblk_graph_node(op->graph, op->root)->virtual_size;
    int r;

    swap->is_bigger = false; /* to be seen, perhaps not for the first time */
    if (swap->resize != 0 && swap->resize < now)
        return err_set(error, QBLK_E_SIZE_MISMATCH, "disk %s has %" PRIu64 " bytes, and --resize %"
                       PRIu64 " would cut it off; \"qblk resize --shrink\" does that",
                       op->disk_name, now, swap->resize);
    /* Who uses the disk moves with it. */
    r = swap->resize > now ? plan_check_size_free(op, error) : 0;
    if (r < 0)
        return r;
    if (swap->resize != 0) {
        AUTO_FREE char *opt = mem_printf(OPT_RESIZE "%" PRIu64, swap->resize);

        if (opt == NULL || journal_opt(&op->journal, opt) < 0)
            return err_nomem(error);
    }
    return op_copy.plan(op, error);
}

static void plan_end(qblk_op *op)
{
    op_copy.plan_end(op);
}

static void plan_clean(qblk_op *op)
{
    if (op->ending == QBLK_END_PIVOT)
        plan_grow(op);
    op_copy.plan_clean(op);
}

const struct op_kind op_swap = {
    .name = "swap",
    .job_type = "mirror",
    .own_size = sizeof(struct swap),
    .plan = plan,
    .take_bigger = take_bigger,
    .plan_look = plan_look,
    .plan_end = plan_end,
    .plan_clean = plan_clean,
    .has_endings = true,
};

/* ---- public ---------------------------------------------------------------------------------- */

int qblk_swap(qblk_monitor *monitor, const char *disk, const char *target,
              const qblk_swap_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_swap_options o = QBLK_INIT(qblk_swap_options);
    struct swap *swap;
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_swap_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = op_check_target(target, o.format, error);
    if (r == 0 && (o.resize > INT64_MAX || o.resize % SECTOR != 0))
        r = err_set(error, QBLK_E_ARGUMENT, "a disk cannot have a size of %" PRIu64 " bytes: it is "
                    "a multiple of 512, below 2^63", o.resize);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_swap, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->ending = QBLK_END_PIVOT;
    op->to.reuse = true;
    op->to.kind = remote_is_uri(target) ? TARGET_NBD : TARGET_FILE;
    op->no_bitmaps = o.no_bitmaps;
    swap = op->own;
    swap->resize = o.resize;

    const struct op_string strings[] = {
        { &op->to.path, target },
        { &op->to.format, o.format },
        { &op->sync, "full" },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}
