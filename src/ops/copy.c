/* Copy: blockdev-mirror (or drive-mirror) the disk to a target, then finish, pivot, or keep going.
 * Contract: until the pivot the disk stays where it is, whatever fails; finish leaves a target that
 * is a copy as of one instant; pivot moves the disk and lets go of the images that nobody uses
 * then.
 *
 * A mirror holds the guest's writes while it is pending, so it finalizes by itself. It lets go of
 * its nodes when it concludes, so they are cleaned up first and the job dismissed last. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/guest.h"
#include "ops/op.h"
#include "qapi_types.h"

/* What blockdev-mirror and drive-mirror know both. */
#define MIRROR_ARGS(op)                                                                            \
    .job_id = (op)->names.job,                                                                     \
    .replaces = (op)->root != (op)->top ? qblk_graph_node((op)->graph, (op)->top)->name : NULL,    \
    .sync = sync_mode(op),                                                                         \
    .has_speed = (op)->common.speed > 0, .speed = (int64_t)(op)->common.speed,                     \
    .has_granularity = (op)->granularity > 0, .granularity = (op)->granularity,                    \
    .has_buf_size = (op)->buf_size > 0, .buf_size = (int64_t)(op)->buf_size,                       \
    .has_on_source_error = policy(op, (op)->on_source_error) != NULL,                              \
    .on_source_error = plan_on_error(policy(op, (op)->on_source_error)),                           \
    .has_on_target_error = policy(op, (op)->on_target_error) != NULL,                              \
    .on_target_error = plan_on_error(policy(op, (op)->on_target_error)),                           \
    .has_copy_mode = (op)->active, .copy_mode = QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING,              \
    .has_auto_dismiss = true, .auto_dismiss = false

static enum qapi_mirror_sync_mode sync_mode(const qblk_op *op)
{
    if (strcmp(op->sync, "none") == 0)
        return QAPI_MIRROR_SYNC_MODE_NONE;
    return op->shallow ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL;
}

static const char *policy(const qblk_op *op, const char *own)
{
    return own != NULL ? own : op->common.on_error;
}

/* "replaces" is named so that a filter above the image survives the pivot. */
static void start_modern(qblk_op *op)
{
    struct qapi_blockdev_mirror_args args = {
        MIRROR_ARGS(op),
        .device = qblk_graph_node(op->graph, op->root)->name,
        .target = op->to.names.node,
        .filter_node_name = op->names.filter,
    };
    struct step *step = plan_step(op, STEP_START, "start blockdev-mirror");

    step_command(&op->engine, step, &qapi_cmd_blockdev_mirror, &args);
}

static void start_legacy(qblk_op *op)
{
    struct qapi_drive_mirror_args args = {
        MIRROR_ARGS(op),
        .device = plan_legacy_device(op),
        .target = op->to.path,
        .format = op->to.format,
        .node_name = op->to.names.node,
        .has_mode = true,
        .mode = op->to.reuse ? QAPI_NEW_IMAGE_MODE_EXISTING : QAPI_NEW_IMAGE_MODE_ABSOLUTE_PATHS,
    };
    struct step *step = plan_step(op, STEP_START, "start drive-mirror");

    step_command(&op->engine, step, &qapi_cmd_drive_mirror, &args);
}

/* From now on every write waits for the target, so that it cannot fall behind again. */
static void plan_active(qblk_op *op)
{
    struct qapi_block_job_change_options change = {
        .id = op->names.job,
        .type = QAPI_JOB_TYPE_MIRROR,
        .u.mirror.copy_mode = QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING,
    };
    struct step *step = plan_step(op, STEP_CLEAN, "let writes wait for the target");

    step->otherwise = mem_strdup("the copy goes on in the background, and comes to its end once "
                                 "the guest writes less than can be copied");
    step_command(&op->engine, step, &qapi_cmd_block_job_change, &change);
}

/* The images that the disk has left, or the target's nodes; drive-mirror's go by themselves. */
static void plan_clean(qblk_op *op)
{
    size_t first;

    if (op->ending == QBLK_END_PIVOT)
        plan_delete_old(op);
    else
        plan_keep_old(op);
    first = op->engine.n;
    if (!op->legacy)
        target_plan_removal(op, &op->to);
    for (; first < op->engine.n; first++) {
        if (op->ending == QBLK_END_PIVOT)
            op->engine.steps[first].when = &op->has_stayed;
        else
            op->engine.steps[first].unless = &op->has_strayed;
    }
}

/* The image of the disk's chain that the target lies on, or -1. */
static int image_below(const qblk_op *op)
{
    int target = qblk_graph_find_node(op->graph, op->to.names.node);

    return target >= 0 ? graph_backing_image(op->graph, target) : op->below;
}

static void plan_end(qblk_op *op)
{
    (void)plan_step(op, STEP_READY, "wait until the job is ready");
    if (op->active_late)
        plan_active(op);
    /* What is written from here on marks the target's bitmaps as well, through the mirror. */
    if (op->ending == QBLK_END_PIVOT)
        bitmaps_plan_move(op, op->top, image_below(op), op->to.names.node);
    group_plan_barrier(op, op->is_quiesced ? GROUP_READY : GROUP_DECIDED,
                       "wait until the other disks are ready");
    if (op->ending == QBLK_END_KEEP)
        return;
    if (op->is_quiesced) {
        plan_freeze(op); /* the first of a group does it for all */
        group_plan_barrier(op, GROUP_DECIDED, "wait until the guest is frozen");
    }
    plan_end_job(op);
    (void)plan_step(op, STEP_ENDED, "wait for the job's end");
    if (op->is_quiesced) {
        group_plan_barrier(op, GROUP_OVER, "wait until the jobs of the other disks are over");
        plan_thaw(op);
    }
    (void)plan_end_journal(op);
    plan_verify(op);
    op->kind->plan_clean(op); /* a swap has more to do than a copy */
    plan_dismiss(op);
    group_plan_barrier(op, GROUP_ENDED, "wait until the other disks are done");
    plan_close_journal(op);
}

/* What the new image is to record for the one that it lies on; QEMU's own name for it otherwise. */
static int name_backing(qblk_op *op, int backing, qblk_error *error)
{
    if (!op->relative || backing < 0)
        return 0;
    return plan_relative_path(op->to.path, plan_file_name(op, backing), &op->to.backing_string,
                              error);
}

static int record(qblk_op *op, int backing, qblk_error *error)
{
    int r = target_record(op, &op->to, error);

    /* A copy that is kept may still pivot one day. */
    if (r == 0 && op->ending != QBLK_END_FINISH)
        r = plan_list_replaced(op, op->top, backing, error);
    if (r < 0)
        return r;
    if (group_list_others(op, &op->journal.with) < 0 ||
        (op->active_late && journal_opt(&op->journal, "active-late") < 0) ||
        (strcmp(op->sync, "none") == 0 && journal_opt(&op->journal, "no-pivot") < 0))
        return err_nomem(error);
    return 0;
}

static int draw_after(qblk_op *op, int backing, qblk_error *error)
{
    AUTO_FREE char *first = NULL;

    if (op->ending != QBLK_END_PIVOT)
        return plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    first = mem_printf("%s (%s)", op->to.names.node, op->to.path);
    if (first == NULL)
        return err_nomem(error);
    /* What a node that the user describes lies on is only known once it is there. */
    if (op->to.kind == TARGET_NODE)
        backing = -1;
    return plan_chain_text(op, first, backing, &op->chain_after, error);
}

static int plan_steps(qblk_op *op, int backing, qblk_error *error)
{
    static const char *const intents[] = {
        [QBLK_END_FINISH] = "finish", [QBLK_END_PIVOT] = "pivot", [QBLK_END_KEEP] = "keep",
    };
    int r;

    group_plan_barrier(op, GROUP_PLANNED, "wait until the other disks have been looked at");
    plan_hail(op);
    target_plan_look(op, &op->to);
    if (op->kind->plan_look != NULL)
        op->kind->plan_look(op);
    r = plan_open_journal(op, intents[op->ending], error);
    if (r < 0)
        return r;
    group_plan_barrier(op, GROUP_OPEN, "wait until the journals of the other disks are open");
    if (op->legacy) {
        target_plan_legacy(op, &op->to, start_legacy);
    } else {
        r = target_plan(op, &op->to, backing, error);
        if (r < 0)
            return r;
        start_modern(op);
    }
    plan_end(op);
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int backing = -1, r;

    if (op->ending == QBLK_END_DEFAULT)
        op->ending = QBLK_END_FINISH;
    op->landing = op->to.names.node;
    r = plan_check_busy(op, -1, error);
    if (r == 0)
        r = others_check_disk(op, op->disk, op->disk_name, error);
    if (r == 0)
        r = group_check_clash(op, error);
    if (r == 0 && op->shallow) {
        backing = graph_backing_image(op->graph, op->top);
        if (backing < 0) {
            engine_note(&op->engine, "disk %s has no backing image, so a shallow copy is a full "
                        "one", op->disk_name);
            op->shallow = false;
        }
    }
    if (r == 0)
        r = target_suit(op, &op->to, error);
    if (r == 0)
        r = target_check(op, &op->to, op->shallow, error);
    if (r == 0)
        r = name_backing(op, backing, error);
    op->below = backing;
    if (r == 0 && op->ending != QBLK_END_FINISH && strcmp(op->sync, "none") != 0)
        r = bitmaps_check_move(op, op->top, backing, -1,
                               op->to.kind != TARGET_NODE ? op->to.format : NULL, error);
    if (r == 0)
        r = record(op, backing, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0)
        r = draw_after(op, backing, error);
    return r == 0 ? plan_steps(op, backing, error) : r;
}

const struct op_kind op_copy = {
    .name = "copy",
    .job_type = "mirror",
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_clean,
    .has_endings = true,
};

/* ---- public --------------------------------------------------------------------------------- */

#define GRANULARITY_MIN 512u
#define GRANULARITY_MAX (64u << 20)
#define BUF_SIZE_MAX (1u << 30)

static int check_sync(const qblk_copy_options *o, const char *target, qblk_error *error)
{
    static const char *const words[] = { "full", "top", "none" };
    bool is_known = o->sync == NULL;

    for (size_t i = 0; i < 3 && !is_known; i++)
        is_known = strcmp(o->sync, words[i]) == 0;
    if (!is_known)
        return err_set(error, QBLK_E_ARGUMENT, "\"%.40s\" is nothing to copy; choose full, top or "
                       "none", o->sync);
    if (o->shallow && o->sync != NULL && strcmp(o->sync, "top") != 0)
        return err_set(error, QBLK_E_ARGUMENT, "a shallow copy is one of the top image, which "
                       "--sync %s contradicts", o->sync);
    if (o->sync == NULL || strcmp(o->sync, "none") != 0)
        return 0;
    /* QEMU does not look at what the target holds: it would pivot to it all the same. */
    if (o->ending == QBLK_END_PIVOT)
        return err_set(error, QBLK_E_ARGUMENT, "--sync none copies only what is written from now "
                       "on, so the disk cannot be moved to the target; use --sync full to pivot");
    if (!o->reuse && target != NULL && !remote_is_uri(target))
        return err_set(error, QBLK_E_ARGUMENT, "--sync none copies only what is written from now "
                       "on, so it needs a target that holds the rest: prepare one, and say "
                       "--reuse-external");
    return 0;
}

static int check_numbers(const qblk_copy_options *o, qblk_error *error)
{
    uint64_t g = o->granularity;

    if (g != 0 && (g < GRANULARITY_MIN || g > GRANULARITY_MAX || (g & (g - 1)) != 0))
        return err_set(error, QBLK_E_ARGUMENT, "a granularity of %llu bytes is not possible; it is "
                       "a power of two from 512 to 64M", (unsigned long long)g);
    if (o->buf_size > BUF_SIZE_MAX)
        return err_set(error, QBLK_E_ARGUMENT, "a buffer of %llu bytes is more than 1G, and QEMU "
                       "would allocate all of it", (unsigned long long)o->buf_size);
    if (g != 0 && o->buf_size != 0 && o->buf_size < g)
        return err_set(error, QBLK_E_ARGUMENT, "a buffer of %llu bytes does not hold one piece of "
                       "%llu (--granularity)", (unsigned long long)o->buf_size,
                       (unsigned long long)g);
    return 0;
}

static int check_described(const qblk_copy_options *o, const char *target, qblk_error *error)
{
    if (target != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "both the target %.200s and --blockdev were given; "
                       "give one of them", target);
    if (o->format != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "--format contradicts --blockdev, whose driver says "
                       "what the format is");
    if (o->legacy)
        return err_set(error, QBLK_E_ARGUMENT, "drive-mirror opens its target itself, so "
                       "--blockdev contradicts --legacy");
    return remote_check_json(o->blockdev, error);
}

static int check_relative(const qblk_copy_options *o, const char *target, qblk_error *error)
{
    bool is_top = o->shallow || (o->sync != NULL && strcmp(o->sync, "top") == 0);

    if (!o->relative)
        return 0;
    if (!is_top)
        return err_set(error, QBLK_E_ARGUMENT, "a relative name to record makes sense only for a "
                       "target that lies on the images below, which --shallow makes");
    if (o->reuse || o->legacy || o->blockdev != NULL || remote_is_uri(target))
        return err_set(error, QBLK_E_ARGUMENT, "a relative name can be recorded in a new image "
                       "only, and not by drive-mirror: --relative contradicts --reuse-external, "
                       "--legacy, --blockdev and NBD targets");
    return 0;
}

static int check_options(const qblk_copy_options *o, const char *target, qblk_error *error)
{
    int r = o->blockdev != NULL ? check_described(o, target, error)
                                : op_check_target(target, o->format, error);

    if (r == 0)
        r = op_check_ending(o->ending, error);
    if (r == 0)
        r = check_sync(o, target, error);
    if (r == 0)
        r = check_numbers(o, error);
    if (r == 0)
        r = check_relative(o, target, error);
    if (r == 0)
        r = op_check_policy(o->on_source_error, error);
    if (r == 0)
        r = op_check_policy(o->on_target_error, error);
    if (r == 0 && o->quiesce != NULL && o->ending != QBLK_END_DEFAULT &&
        o->ending != QBLK_END_FINISH)
        r = err_set(error, QBLK_E_ARGUMENT, "the guest is quiesced for a copy that ends as of one "
                    "instant, which only --finish does: after a pivot the disk goes on as it is");
    if (r == 0 && o->active && o->active_late)
        r = err_set(error, QBLK_E_ARGUMENT, "--active and --active-late contradict one another: "
                    "writes wait for the target from the start, or once it is in sync");
    return r;
}

static int launch(qblk_op *op, const qblk_copy_options *o, const char *target, qblk_op **ret_op,
                  qblk_error *error)
{
    bool is_top = o->shallow || (o->sync != NULL && strcmp(o->sync, "top") == 0);
    int r;

    op->ending = o->ending;
    op->shallow = is_top;
    op->to.reuse = o->reuse;
    op->to.kind = o->blockdev != NULL     ? TARGET_NODE
                  : remote_is_uri(target) ? TARGET_NBD
                                          : TARGET_FILE;
    op->legacy = o->legacy;
    op->granularity = o->granularity;
    op->buf_size = o->buf_size;
    op->active = o->active;
    op->active_late = o->active_late;
    op->no_bitmaps = o->no_bitmaps;
    op->relative = o->relative;
    op->is_quiesced = o->quiesce != NULL;
    r = o->group != NULL ? group_add(o->group, op, error) : 0;
    if (r == 0 && group_is_first(op))
        r = guest_want(op, o->quiesce, o->quiesce_optional, error);
    if (r < 0) {
        op_drop(op);
        return r;
    }

    const struct op_string strings[] = {
        { &op->to.path, o->blockdev != NULL ? o->blockdev : target },
        { &op->to.format, o->format },
        { &op->sync, o->sync != NULL ? o->sync : is_top ? "top" : "full" },
        { &op->on_source_error, o->on_source_error },
        { &op->on_target_error, o->on_target_error },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}

int qblk_copy(qblk_monitor *monitor, const char *disk, const char *target,
              const qblk_copy_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_copy_options o = QBLK_INIT(qblk_copy_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_copy_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = check_options(&o, target, error);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_copy, disk, &o.common, &op, error);
    return r == 0 ? launch(op, &o, target, ret_op, error) : r;
}
