/* Dirty bitmaps when images leave a chain. What an incremental backup reads is, for each name, the
 * bitmaps of that name from the disk's top image downward, as far as they follow each other without
 * a gap, and all of them together: the writes since the first was added. A bitmap counts if it is
 * persistent, records, is not inconsistent, and the top image has one of its name.
 *
 *   pull, commit below the top   before the job starts the bitmaps of the images that will go are
 *                                merged into those of the top image. All of them together are the same
 *                                afterwards, so doing it twice, or for a job that then fails, does no
 *                                harm; and images that QEMU opened by itself are gone once it ends
 *   pivot of a commit or copy    once the job is READY, the node that takes over gets what all images
 *                                above it have. From then on it records the job's own writes, and those
 *                                are all there are. If it has such a bitmap already, the job has made
 *                                it say that all is new: its own bits are merged into the top image's
 *                                before the job starts, and in the end it is cleared and gets them back
 *
 * One transaction each, and none where there is nothing to carry. That it fails fails the
 * operation: a bitmap that is lost in silence makes a backup that lacks data. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

bool bitmaps_counts(const qblk_bitmap *bitmap)
{
    return bitmap->is_persistent && bitmap->is_recording && !bitmap->is_inconsistent;
}

static bool find(const qblk_graph *graph, int node, const char *name, qblk_bitmap *ret_bitmap)
{
    for (int k = 0; qblk_graph_bitmap(graph, node, k, ret_bitmap) > 0; k++) {
        if (strcmp(ret_bitmap->name, name) == 0)
            return true;
    }
    return false;
}

/* Whether the bitmap of that name goes from the top image down to this one without a gap. */
static bool reaches(const qblk_graph *graph, int top, int image, const char *name)
{
    qblk_bitmap bitmap;
    int at = top;

    while (at >= 0 && find(graph, at, name, &bitmap) && bitmaps_counts(&bitmap)) {
        if (at == image)
            return true;
        at = graph_backing_image(graph, at);
    }
    return false;
}

/* ---- what will be lost, and what cannot be done ---------------------------------------------- */

static void note_lost(qblk_op *op, int node, const qblk_bitmap *bitmap, const char *why)
{
    engine_note(&op->engine, "bitmap %s of node %s is not carried on: %s; the next backup that relies "
                "on it has to be a full one", bitmap->name, qblk_graph_node(op->graph, node)->name,
                why);
}

static const char *why_not(const qblk_bitmap *bitmap)
{
    if (bitmap->is_inconsistent)
        return "it is inconsistent, QEMU can only remove it";
    if (!bitmap->is_recording)
        return "it is disabled and has missed writes";
    return "it is not persistent";
}

/* Notes on those of an image that goes. */
static void note_image(qblk_op *op, int top, int image)
{
    qblk_bitmap bitmap, above;

    for (int k = 0; qblk_graph_bitmap(op->graph, image, k, &bitmap) > 0; k++) {
        if (str_our_name(bitmap.name, NULL) != NULL)
            continue; /* the mark of an operation */
        if (!bitmaps_counts(&bitmap))
            note_lost(op, image, &bitmap, why_not(&bitmap));
        else if (!find(op->graph, top, bitmap.name, &above))
            note_lost(op, image, &bitmap, "the disk's top image has none of this name");
        else if (!bitmaps_counts(&above))
            note_lost(op, image, &bitmap, "that of the disk's top image is of no use");
        else if (!reaches(op->graph, top, image, bitmap.name))
            note_lost(op, image, &bitmap, "an image above has none of this name that is of use");
    }
}

static int check_one(qblk_op *op, int top, int image, const qblk_bitmap *bitmap, qblk_error *error)
{
    const qblk_node *disk = qblk_graph_node(op->graph, top);
    const qblk_node *node = qblk_graph_node(op->graph, image);

    if (bitmap->is_busy)
        return err_set(error, QBLK_E_BUSY, "bitmap %s of node %s is in use by a backup or an export, "
                       "so it cannot be carried on; wait for that to end, or say --no-bitmaps to "
                       "give it up, after which the next backup has to be a full one",
                       bitmap->name, node->name);
    if (bitmap->count > 0 && node->virtual_size != disk->virtual_size)
        return err_set(error, QBLK_E_SIZE_MISMATCH, "bitmap %s of node %s cannot be carried on: QEMU "
                       "merges bitmaps of images of the same size only, and the disk has %llu bytes, "
                       "this image %llu; say --no-bitmaps to give it up, after which the next backup "
                       "has to be a full one", bitmap->name, node->name,
                       (unsigned long long)disk->virtual_size,
                       (unsigned long long)node->virtual_size);
    return 0;
}

/* The images from first down to above stop; those of the top image itself too. */
static int check(qblk_op *op, int top, int first, int stop, qblk_error *error)
{
    qblk_bitmap bitmap, own;
    int r = 0;

    for (int image = first; r == 0 && image >= 0 && image != stop;
         image = graph_backing_image(op->graph, image)) {
        for (int k = 0; r == 0 && qblk_graph_bitmap(op->graph, image, k, &bitmap) > 0; k++) {
            if (!reaches(op->graph, top, image, bitmap.name))
                continue;
            r = check_one(op, top, image, &bitmap, error);
            if (r == 0 && find(op->graph, top, bitmap.name, &own))
                r = check_one(op, top, top, &own, error);
        }
    }
    return r;
}

/* Without the node query only the bitmaps of what a device uses are known. */
static int check_known(qblk_op *op, int top, qblk_error *error)
{
    if (graph_is_complete(op->graph) ||
        (top == op->root && qblk_graph_node(op->graph, top)->bitmaps == 0))
        return 0;
    return plan_check_hazard(op, "looking for bitmaps to carry on (--no-bitmaps leaves them)", error);
}

/* ---- one transaction ------------------------------------------------------------------------- */

struct merging {
    qblk_op *op;
    int top;
    struct qapi_transaction_action *actions;
    size_t n;
    struct qapi_block_dirty_bitmap *sources;
    size_t n_sources;
    struct qapi_transaction_action *undo;
    size_t n_undo;
    struct journal_nodes marks; /* names that say in the journal what is added */
};

static int begin(struct merging *merging, qblk_op *op, int top)
{
    size_t images = 0, bitmaps = (size_t)qblk_graph_node(op->graph, top)->bitmaps;

    for (int image = top; image >= 0; image = graph_backing_image(op->graph, image))
        images++;
    memset(merging, 0, sizeof(*merging));
    merging->op = op;
    merging->top = top;
    merging->actions = mem_zalloc((bitmaps * 3 + 1) * sizeof(*merging->actions));
    merging->undo = mem_zalloc((bitmaps + 1) * sizeof(*merging->undo));
    merging->sources = mem_zalloc((bitmaps * images + 1) * sizeof(*merging->sources));
    return merging->actions != NULL && merging->undo != NULL && merging->sources != NULL ? 0
                                                                                         : -ENOMEM;
}

static void end(struct merging *merging)
{
    free(merging->actions);
    free(merging->undo);
    free(merging->sources);
    journal_free_nodes(&merging->marks);
}

/* The action that merges the bitmaps of that name of the images from first down to above stop. Of
 * images that nobody writes to, those without a bit are left out. False if there is nothing. */
static bool merge(struct merging *merging, const char *name, int first, int stop, const char *to)
{
    const qblk_graph *graph = merging->op->graph;
    struct qapi_transaction_action *action = &merging->actions[merging->n];
    struct qapi_block_dirty_bitmap_merge *data = &action->u.block_dirty_bitmap_merge.data;
    qblk_bitmap bitmap;

    memset(action, 0, sizeof(*action)); /* tried before, in vain */
    action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE;
    data->node = to;
    data->target = name;
    data->bitmaps.v = &merging->sources[merging->n_sources];
    for (int image = first; image >= 0 && image != stop;
         image = graph_backing_image(graph, image)) {
        if (!reaches(graph, merging->top, image, name))
            break;
        if (!find(graph, image, name, &bitmap) || (image != merging->top && bitmap.count == 0))
            continue;
        data->bitmaps.v[data->bitmaps.n].node = qblk_graph_node(graph, image)->name;
        data->bitmaps.v[data->bitmaps.n++].name = name;
    }
    if (data->bitmaps.n == 0)
        return false;
    merging->n_sources += data->bitmaps.n;
    merging->n++;
    return true;
}

static void add_step(struct merging *merging, const char *name)
{
    struct qapi_transaction_args args = { .actions = { merging->actions, merging->n } };
    struct step *step;

    if (merging->n == 0)
        return;
    step = plan_step(merging->op, STEP_CALL, name);
    step_command(&merging->op->engine, step, &qapi_cmd_transaction, &args);
    args.actions.v = merging->undo;
    args.actions.n = merging->n_undo;
    if (merging->n_undo > 0)
        step_undo(&merging->op->engine, step, &qapi_cmd_transaction, &args);
}

/* ---- images below the top go ----------------------------------------------------------------- */

static int plan_merge(qblk_op *op, int top, int first, int stop, const char *step_name,
                      qblk_error *error)
{
    struct merging merging;
    qblk_bitmap bitmap;
    int r = check_known(op, top, error);

    if (r == 0)
        r = check(op, top, first, stop, error);
    if (r < 0)
        return r;
    if (begin(&merging, op, top) < 0)
        r = err_nomem(error);
    for (int k = 0; r == 0 && qblk_graph_bitmap(op->graph, top, k, &bitmap) > 0; k++) {
        if (bitmaps_counts(&bitmap))
            (void)merge(&merging, bitmap.name, first, stop,
                        qblk_graph_node(op->graph, top)->name);
    }
    if (r == 0)
        add_step(&merging, step_name);
    end(&merging);
    return r;
}

int bitmaps_plan_merge(qblk_op *op, int top, int first, int stop, qblk_error *error)
{
    if (op->no_bitmaps)
        return 0;
    for (int image = first; image >= 0 && image != stop;
         image = graph_backing_image(op->graph, image))
        note_image(op, top, image);
    return plan_merge(op, top, first, stop, "keep the bitmaps of the images that go", error);
}

/* ---- the top image goes ---------------------------------------------------------------------- */

/* Formats that store bitmaps. */
static bool can_store(const char *driver)
{
    return driver == NULL || strcmp(driver, "qcow2") == 0;
}

/* One that the node has already must be of use. */
static int check_there(const qblk_op *op, int top, int to, qblk_error *error)
{
    qblk_bitmap bitmap, there;

    for (int k = 0; qblk_graph_bitmap(op->graph, top, k, &bitmap) > 0; k++) {
        if (bitmaps_counts(&bitmap) && find(op->graph, to, bitmap.name, &there) &&
            (!bitmaps_counts(&there) || there.is_busy))
            return err_set(error, QBLK_E_TARGET_INVALID, "bitmap %s of node %s cannot be carried on "
                           "to node %s, which has one of that name already: %s; remove that one "
                           "(\"qblk qmp block-dirty-bitmap-remove node=%s name=%s\"), or say "
                           "--no-bitmaps to leave both alone", bitmap.name,
                           qblk_graph_node(op->graph, top)->name,
                           qblk_graph_node(op->graph, to)->name,
                           there.is_busy ? "it is in use by a backup or an export"
                                         : why_not(&there),
                           qblk_graph_node(op->graph, to)->name, bitmap.name);
    }
    return 0;
}

static int check_move(qblk_op *op, int top, int stop, int to, qblk_error *error)
{
    int r = check_known(op, top, error);

    if (r == 0)
        r = check(op, top, top, stop, error);
    if (r == 0 && to >= 0)
        r = check_there(op, top, to, error);
    return r;
}

int bitmaps_check_move(qblk_op *op, int top, int stop, int to, const char *format,
                       qblk_error *error)
{
    bool can = can_store(format);
    qblk_bitmap bitmap;
    int r = 0;

    if (op->no_bitmaps)
        return 0;
    if (can)
        r = check_move(op, top, stop, to, error);
    if (r < 0)
        return r;
    for (int image = top; image >= 0 && image != stop;
         image = graph_backing_image(op->graph, image))
        note_image(op, top, image);
    for (int k = 0; qblk_graph_bitmap(op->graph, top, k, &bitmap) > 0; k++) {
        if (!bitmaps_counts(&bitmap))
            continue;
        if (!can)
            note_lost(op, top, &bitmap, "the image that takes over has a format that stores none");
        else if (op->journal.bitmaps == NULL &&
                 (op->journal.bitmaps = mem_strdup(JOURNAL_BITMAPS_MOVE)) == NULL)
            return err_nomem(error);
    }
    return 0;
}

int bitmaps_plan_save(qblk_op *op, int top, int to, qblk_error *error)
{
    if (op->journal.bitmaps == NULL)
        return 0;
    return plan_merge(op, top, to, graph_backing_image(op->graph, to), "keep the base's bitmaps",
                      error);
}

static void add_bitmap(struct merging *merging, const char *node, const char *name)
{
    struct qapi_transaction_action *action = &merging->actions[merging->n++];

    action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD;
    action->u.block_dirty_bitmap_add.data.node = node;
    action->u.block_dirty_bitmap_add.data.name = name;
}

static void remove_bitmap(struct merging *merging, const char *node, const char *name)
{
    struct qapi_transaction_action *action = &merging->undo[merging->n_undo++];

    action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE;
    action->u.block_dirty_bitmap_remove.data.node = node;
    action->u.block_dirty_bitmap_remove.data.name = name;
}

/* So that whoever undoes this knows whose the bitmap is. One that was undone before has its
 * mark. */
static void mark_added(struct merging *merging, const char *bitmap)
{
    struct qapi_block_dirty_bitmap_add *add;
    qblk_op *op = merging->op;
    AUTO_FREE char *mark = NULL;

    if (journal_has_node(&op->journal.added, bitmap))
        return;
    if (journal_encode_added(bitmap, &mark) < 0 ||
        (mark != NULL && journal_add(&merging->marks, mark) < 0)) {
        op->engine.failed_alloc = true;
        return;
    }
    if (mark == NULL)
        return;
    add = &merging->actions[merging->n].u.block_dirty_bitmap_add.data;
    add_bitmap(merging, op->names.journal, merging->marks.v[merging->marks.n - 1]);
    add->has_disabled = add->disabled = true;
}

static void move(struct merging *merging, const qblk_bitmap *bitmap, int stop, const char *to)
{
    struct qapi_transaction_action *action = &merging->actions[merging->n];
    struct qapi_block_dirty_bitmap_add *add = &action->u.block_dirty_bitmap_add.data;
    struct qapi_block_dirty_bitmap *one = &action->u.block_dirty_bitmap_clear.data;
    int node = qblk_graph_find_node(merging->op->graph, to);
    qblk_bitmap there;

    if (node < 0 || !find(merging->op->graph, node, bitmap->name, &there)) {
        add_bitmap(merging, to, bitmap->name);
        add->has_granularity = add->has_persistent = add->persistent = true;
        add->granularity = bitmap->granularity;
        mark_added(merging, bitmap->name);
        remove_bitmap(merging, to, bitmap->name);
    } else if (!merging->op->is_resumed && reaches(merging->op->graph, merging->top, node,
                                                   bitmap->name)) {
        /* Only with its bits in the top image's, of which only who has planned it can be sure. */
        action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR;
        one->node = to;
        one->name = bitmap->name;
        merging->n++;
    }
    (void)merge(merging, bitmap->name, merging->top, stop, to);
}

void bitmaps_plan_move(qblk_op *op, int top, int stop, const char *to)
{
    struct merging merging;
    qblk_bitmap bitmap;

    /* Taken up after the pivot the top image is what it was to be. */
    if (op->journal.bitmaps == NULL || top < 0 ||
        strcmp(qblk_graph_node(op->graph, top)->name, to) == 0)
        return;
    if (!graph_is_complete(op->graph))
        engine_note(&op->engine, "the bitmaps of disk %s could not be looked at just now and are not "
                    "carried on; the next backup has to be a full one", op->disk_name);
    if (begin(&merging, op, top) < 0)
        op->engine.failed_alloc = true;
    for (int k = 0; !op->engine.failed_alloc && graph_is_complete(op->graph) &&
                    qblk_graph_bitmap(op->graph, top, k, &bitmap) > 0; k++) {
        if (bitmaps_counts(&bitmap))
            move(&merging, &bitmap, stop, to);
    }
    add_step(&merging, "carry the bitmaps on");
    end(&merging);
}

void bitmaps_plan_moved(qblk_op *op, int top, const char *to)
{
    int node = to != NULL ? qblk_graph_find_node(op->graph, to) : -1;
    struct qapi_transaction_args args = { 0 };
    struct merging merging;
    qblk_bitmap bitmap, there;
    struct step *step;

    /* A record may name any node as a commit's base. Once the job is over that cannot be written
     * to, and its bitmaps stay; so they are removed before it is cancelled. */
    if (op->journal.added.n == 0 || node < 0 || top < 0 || node == top ||
        op->engine.main.outcome == QBLK_OUTCOME_COMPLETED ||
        qblk_graph_node(op->graph, node)->is_read_only ||
        (op->kind == &op_commit && !plan_is_below(op, node, top)))
        return;
    if (begin(&merging, op, top) < 0)
        op->engine.failed_alloc = true;
    for (int k = 0; !op->engine.failed_alloc && qblk_graph_bitmap(op->graph, top, k, &bitmap) > 0;
         k++) {
        if (bitmaps_counts(&bitmap) && journal_has_node(&op->journal.added, bitmap.name) &&
            find(op->graph, node, bitmap.name, &there) && bitmaps_counts(&there) && !there.is_busy)
            remove_bitmap(&merging, to, bitmap.name);
    }
    args.actions.v = merging.undo;
    args.actions.n = merging.n_undo;
    if (merging.n_undo > 0 && op->how == QBLK_RESUME_UNDO) {
        step = plan_step(op, STEP_CLEAN, "take the bitmaps back");
        step->in_spite = true;
        step_command(&op->engine, step, &qapi_cmd_transaction, &args);
    } else if (merging.n_undo > 0) {
        step_undo(&op->engine, plan_step(op, STEP_MARK, "the bitmaps were carried on"),
                  &qapi_cmd_transaction, &args);
    }
    end(&merging);
}
