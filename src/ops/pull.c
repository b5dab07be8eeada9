/* Pull: block-stream the data of backing images into the top image, or into one further down.
 * Contract: the disk reads the same at every instant; what was pulled before a failure or a cancel
 * stays, so that pulling again goes on.
 *
 * Where it ends is said by the base, which stays, or by the bottom, the last image to be pulled:
 * then what is below that may change meanwhile, as by a commit, and QEMU itself finds what to
 * record.
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

/* Nodes; -1: none. */
struct images {
    int into;   /* takes the data */
    int base;   /* what it is on afterwards */
    int bottom; /* the lowest to be pulled, if the caller has said that one */
};

static int find_image(qblk_op *op, const char *name, const char *what, int above,
                      int *ret_image, qblk_error *error)
{
    int image = qblk_graph_find_in_chain(op->graph, op->disk, name, error);

    if (image < 0)
        return image;
    if (image == above)
        return err_set(error, QBLK_E_TARGET_INVALID, "the %s %s is %s; name an image below it",
                       what, name, above == op->top ? "the disk's top image itself"
                                              : "the image itself that is to take the data");
    if (above >= 0 && !plan_is_below(op, image, above))
        return err_set(error, QBLK_E_TARGET_INVALID, "the %s (node %s) is not below the image that "
                       "is to take the data (node %s) in the chain of disk %s; a pull takes "
                       "data up", what, qblk_graph_node(op->graph, image)->name,
                       qblk_graph_node(op->graph, above)->name, op->disk_name);
    *ret_image = image;
    return 0;
}

static int find_images(qblk_op *op, struct images *ret_images, qblk_error *error)
{
    struct images images = { op->top, -1, -1 };
    int r = 0;

    if (op->into != NULL)
        r = find_image(op, op->into, "image", -1, &images.into, error);
    if (r == 0 && op->base != NULL)
        r = find_image(op, op->base, "base", images.into, &images.base, error);
    if (r == 0 && op->bottom != NULL) {
        r = find_image(op, op->bottom, "bottom", images.into, &images.bottom, error);
        if (r == 0)
            images.base = graph_backing_image(op->graph, images.bottom);
    }
    *ret_images = images;
    return r;
}

/* ---- what QEMU can do ------------------------------------------------------------------------ */

/* A base without a format of its own: QEMU would record the name of its protocol as its format. */
static bool has_no_format(const qblk_op *op, int base)
{
    return base >= 0 && qblk_graph_node(op->graph, base)->is_protocol;
}

static bool needs_features(qblk_op *op)
{
    struct images images;

    return find_images(op, &images, NULL) == 0 &&
           (images.bottom >= 0 || has_no_format(op, images.base));
}

static int check_bottom(qblk_op *op, const struct images *images, qblk_error *error)
{
    const qblk_node *base;

    if (images->bottom < 0)
        return 0;
    if (!features_has(op->monitor, FEATURE_STREAM_BOTTOM))
        return err_set(error, QBLK_E_UNSUPPORTED, "this QEMU cannot leave what is below a pull "
                       "open (block-stream has no \"bottom\"); say --base, and let nothing change "
                       "below meanwhile");
    if (images->base < 0)
        return 0;
    /* It is QEMU that says what the base is called then. */
    base = qblk_graph_node(op->graph, images->base);
    if (plan_is_portable(base->filename))
        return 0;
    return err_set(error, QBLK_E_TARGET_INVALID, "the image below the bottom, %s (node %s), was "
                   "opened by a relative name, which QEMU would record; say --base with "
                   "--backing-file, or start QEMU with absolute names", base->filename, base->name);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static int name_base(qblk_op *op, const struct images *images, char **ret_text, qblk_error *error)
{
    if (op->backing_file != NULL) {
        *ret_text = mem_strdup(op->backing_file);
        return *ret_text != NULL ? 0 : err_nomem(error);
    }
    if (op->relative)
        return plan_relative_string(op, images->into, images->base, ret_text, error);
    return plan_backing_string(op, images->base, plan_file_name(op, images->into),
                               ret_text, error);
}

static int start(qblk_op *op, const struct images *images, qblk_error *error)
{
    AUTO_FREE char *backing_file = NULL;
    struct qapi_block_stream_args args = {
        .job_id = op->names.job, .device = qblk_graph_node(op->graph, images->into)->name,
        .has_speed = op->common.speed > 0, .speed = (int64_t)op->common.speed,
        .has_on_error = op->common.on_error != NULL,
        .on_error = plan_on_error(op->common.on_error),
        .has_auto_finalize = true, .auto_finalize = true,
        .has_auto_dismiss = true, .auto_dismiss = false,
    };
    struct step *step;
    int r = 0;

    if (images->bottom >= 0) {
        args.bottom = qblk_graph_node(op->graph, images->bottom)->name;
    } else if (images->base >= 0) {
        args.base_node = qblk_graph_node(op->graph, images->base)->name;
        r = name_base(op, images, &backing_file, error);
        args.backing_file = backing_file;
    }
    if (r < 0)
        return r;
    if (has_no_format(op, images->base))
        args.has_backing_mask_protocol = args.backing_mask_protocol =
            plan_masks(op, FEATURE_STREAM_MASKS_PROTOCOL, images->into, images->base);
    step = plan_step(op, STEP_START, "start block-stream");
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

/* The images whose data is pulled; and the base too if a filter is above it: a commit's, which
 * would take the base away whose name is recorded. With a bottom that is not in the way. */
static int check_busy(qblk_op *op, const struct images *images, qblk_error *error)
{
    int stop = images->base, r;

    if (images->bottom >= 0) {
        stop = qblk_graph_node(op->graph, images->bottom)->backing;
    } else {
        for (int i = images->into; i >= 0 && i != images->base;) {
            const qblk_node *node = qblk_graph_node(op->graph, i);

            i = node->backing;
            if (node->is_filter && i >= 0 && i == images->base)
                stop = qblk_graph_node(op->graph, i)->backing;
        }
    }
    r = plan_check_busy_from(op, op->into != NULL ? images->into : op->root, stop, error);
    return r < 0 ? r : others_check_disk(op, op->disk, op->disk_name, error);
}

/* QEMU 5.2 heeds the ends of none of them, 7.2 and later those of all but the first. */
static int check_ends(const qblk_op *op, const struct images *images, qblk_error *error)
{
    int r = 0;

    for (int i = graph_backing_image(op->graph, images->into); r == 0 && i >= 0 && i != images->base;
         i = graph_backing_image(op->graph, i))
        r = plan_check_end(op, images->into, i, images->base, error);
    return r;
}

static int warn(qblk_op *op, int into, int from, int base, qblk_error *error)
{
    struct buf text = BUF_INIT;

    plan_tell_clear(op, into, from, base, &text);
    return plan_warn(op, &text, error);
}

static int plan(qblk_op *op, qblk_error *error)
{
    struct images images;
    int below, r = find_images(op, &images, error);

    if (r == 0)
        r = check_bottom(op, &images, error);
    if (r == 0)
        r = check_busy(op, &images, error);
    if (r == 0)
        r = check_ends(op, &images, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r < 0)
        return r;
    below = graph_backing_image(op->graph, images.into);
    if (below == images.base) {
        engine_note(&op->engine, images.base < 0 ? "the image has no backing image: there is "
                                                   "nothing to pull on disk %s"
                                                 : "nothing lies between that base and the image "
                                                   "that is to take the data on disk %s",
                    op->disk_name);
        return plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    }
    r = warn(op, images.into, below, images.base, error);
    if (r == 0)
        r = plan_list_pulled(op, images.into, images.base, error);
    if (r == 0)
        r = plan_open_journal(op, "finish", error);
    if (r == 0)
        r = bitmaps_plan_merge(op, op->top, below, images.base, error);
    if (r == 0)
        r = start(op, &images, error);
    if (r < 0)
        return r;
    plan_end(op);
    return plan_chain_without(op, images.into, images.base, &op->chain_after, error);
}

const struct op_kind op_pull = {
    .name = "pull",
    .job_type = "stream",
    .needs_features = needs_features,
    .plan = plan,
    .plan_end = plan_end,
    .plan_clean = plan_delete_old,
};

/* ---- public --------------------------------------------------------------------------------- */

static int check_options(const qblk_pull_options *o, qblk_error *error)
{
    if (o->base != NULL && o->bottom != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "a base and a bottom exclude one another: the base "
                       "is the image below the bottom");
    if (o->backing_file != NULL && o->base == NULL)
        return err_set(error, QBLK_E_ARGUMENT, "a backing file to record makes sense only with a "
                       "base to keep%s", o->bottom != NULL ? "; with a bottom QEMU itself sees "
                                                        "what is below it then" : "");
    if (o->relative && o->base == NULL)
        return err_set(error, QBLK_E_ARGUMENT, "a relative name to record makes sense only with a "
                       "base to keep");
    if (o->relative && o->backing_file != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "either the backing file to record is named, or a "
                       "relative name for it is to be found; not both");
    return 0;
}

int qblk_pull(qblk_monitor *monitor, const char *disk, const qblk_pull_options *options,
              qblk_op **ret_op, qblk_error *error)
{
    qblk_pull_options o = QBLK_INIT(qblk_pull_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_pull_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = check_options(&o, error);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_pull, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->no_bitmaps = o.no_bitmaps;
    op->relative = o.relative;

    const struct op_string strings[] = {
        { &op->base, o.base },
        { &op->backing_file, o.backing_file },
        { &op->into, o.into },
        { &op->bottom, o.bottom },
    };

    return op_launch(op, strings, sizeof(strings) / sizeof(strings[0]), ret_op, error);
}
