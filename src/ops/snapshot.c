/* Snapshot: new overlays for one or many disks, put above their top images in one transaction.
 * Contract: up to the transaction nothing has happened to the disks, and whatever fails is undone;
 * with it all of them are on their overlays, and nothing is undone any more. The guest is frozen
 * for the transaction alone.
 *
 * There is no job. The mark of the end is part of the transaction, so that the journal says it if
 * and only if the snapshots are taken. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/guest.h"
#include "ops/op.h"
#include "ops/overlay.h"
#include "qapi_types.h"

/* ---- may it be done? ------------------------------------------------------------------------- */

static int check_distinct(const qblk_op *op, size_t n, qblk_error *error)
{
    const struct op_part *part = &op->parts[n];

    for (size_t i = 0; i < n; i++) {
        const struct op_part *other = &op->parts[i];

        if (other->disk == part->disk || other->top == part->top)
            return err_set(error, QBLK_E_AMBIGUOUS, "%s and %s are the same disk; name each disk "
                           "once", other->disk_name, part->disk_name);
        if (target_is_same_path(other->to.path, part->to.path))
            return err_set(error, QBLK_E_TARGET_INVALID, "disks %s and %s are given the same file, "
                           "%s; each needs an overlay of its own", other->disk_name,
                           part->disk_name, part->to.path);
    }
    return 0;
}

static int check_disk(qblk_op *op, struct op_part *part, qblk_error *error)
{
    int r = plan_find_part(op, part, error);

    if (r < 0)
        return r;
    if (qblk_graph_disk(op->graph, part->disk)->is_read_only)
        return err_set(error, QBLK_E_TARGET_INVALID, "disk %s is read-only: nothing is written to "
                       "it that a snapshot could keep apart; leave it out", part->disk_name);
    r = plan_check_part_busy(op, part, error);
    return r < 0 ? r : others_check_disk(op, part->disk, part->disk_name, error);
}

/* What its overlay has to be like. */
static int suit(qblk_op *op, struct op_part *part, qblk_error *error)
{
    struct target *to = &part->to;
    int r;

    to->disk_name = part->disk_name;
    to->size = qblk_graph_node(op->graph, part->top)->virtual_size;
    to->is_overlay = true;
    to->judge = overlay_judge;
    if (to->format == NULL)
        to->format = mem_strdup("qcow2");
    if (to->format == NULL)
        return err_nomem(error);
    /* What is below stays there. */
    r = target_check_clear(op, to, part->top, graph_backing_image(op->graph, part->top), error);
    if (r < 0 || to->reuse)
        return r;
    if (op->relative)
        return plan_relative_path(to->path, plan_file_name(op, part->top), &to->backing_string,
                                  error);
    return plan_backing_string(op, part->top, to->path, &to->backing_string, error);
}

static int check_part(qblk_op *op, size_t number, qblk_error *error)
{
    struct op_part *part = &op->parts[number];
    int r = check_disk(op, part, error);

    if (r == 0)
        r = check_distinct(op, number, error);
    if (r == 0)
        r = suit(op, part, error);
    if (r == 0)
        r = target_check(op, &part->to, true, error);
    if (r == 0 && overlay_needs_nodes(op, part))
        r = plan_check_question(op, "looking at the overlay", error);
    return r;
}

/* ---- bitmaps --------------------------------------------------------------------------------- */

static bool goes_on(const qblk_op *op, const qblk_bitmap *bitmap)
{
    return !op->no_bitmaps && bitmaps_counts(bitmap);
}

static size_t count_bitmaps(const qblk_op *op, const struct op_part *part)
{
    qblk_bitmap bitmap;
    size_t n = 0;

    for (int k = 0; qblk_graph_bitmap(op->graph, part->top, k, &bitmap); k++)
        n += goes_on(op, &bitmap);
    return n;
}

/* Those that stay behind, as far as somebody may be counting on them. */
static void tell_bitmaps(qblk_op *op, const struct op_part *part)
{
    qblk_bitmap bitmap;

    for (int k = 0; !op->no_bitmaps && qblk_graph_bitmap(op->graph, part->top, k, &bitmap); k++) {
        if (bitmap.is_inconsistent)
            engine_note(&op->engine, "bitmap %s of disk %s is inconsistent, so it is not continued "
                        "in the overlay", bitmap.name, part->disk_name);
        else if (bitmap.is_recording && !bitmap.is_persistent)
            engine_note(&op->engine, "bitmap %s of disk %s is not persistent, so it is not "
                        "continued in the overlay: it stays with node %s, which is written to no "
                        "more",
                        bitmap.name, part->disk_name,
                        qblk_graph_node(op->graph, part->top)->name);
    }
}

/* ---- the transaction ------------------------------------------------------------------------- */

static void add_part(const qblk_op *op, const struct op_part *part,
                     struct qapi_transaction_action_list *actions)
{
    struct qapi_transaction_action *action = &actions->v[actions->n++];
    qblk_bitmap bitmap;

    action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT;
    action->u.blockdev_snapshot.data.node = qblk_graph_node(op->graph, part->top)->name;
    action->u.blockdev_snapshot.data.overlay = part->to.names.node;
    for (int k = 0; qblk_graph_bitmap(op->graph, part->top, k, &bitmap); k++) {
        struct qapi_block_dirty_bitmap_add *data;

        if (!goes_on(op, &bitmap))
            continue;
        action = &actions->v[actions->n++];
        action->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD;
        data = &action->u.block_dirty_bitmap_add.data;
        data->node = part->to.names.node;
        data->name = bitmap.name;
        data->has_granularity = data->has_persistent = data->persistent = true;
        data->granularity = bitmap.granularity;
    }
}

static int plan_transaction(qblk_op *op, qblk_error *error)
{
    struct qapi_transaction_args args = { .actions = { NULL, 0 } };
    AUTO_FREE struct qapi_transaction_action *actions = NULL;
    struct qapi_block_dirty_bitmap_add *mark;
    size_t most = 1;

    for (size_t i = 0; i < op->n_parts; i++)
        most += 1 + count_bitmaps(op, &op->parts[i]);
    actions = mem_zalloc(most * sizeof(*actions));
    if (actions == NULL)
        return err_nomem(error);
    args.actions.v = actions;
    args.actions.n = 1;
    actions->type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD;
    mark = &actions->u.block_dirty_bitmap_add.data;
    mark->node = op->names.journal;
    mark->name = JOURNAL_ENDED;
    mark->has_disabled = mark->disabled = true;
    for (size_t i = 0; i < op->n_parts; i++)
        add_part(op, &op->parts[i], &args.actions);
    step_command(&op->engine, plan_step(op, STEP_POINT, "take the snapshots"),
                 &qapi_cmd_transaction, &args);
    return 0;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static int record(qblk_op *op, qblk_error *error)
{
    int r = target_record(op, &op->parts[0].to, error);

    for (size_t i = 1; i < op->n_parts && r == 0; i++) {
        const struct op_part *part = &op->parts[i];
        struct journal_disk *more = journal_more(&op->journal, i);

        if (more == NULL || (more->disk = mem_strdup(part->disk_name)) == NULL ||
            (part->to.is_new_file && (more->file = mem_strdup(part->to.path)) == NULL))
            r = err_nomem(error);
    }
    return r;
}

/* The chains of all disks in a line, each with its disk's name if there are several. */
static int draw(const qblk_op *op, bool is_after, char **ret_text, qblk_error *error)
{
    struct buf text = BUF_INIT;
    int r = 0;

    for (size_t i = 0; i < op->n_parts && r == 0; i++) {
        const struct op_part *part = &op->parts[i];
        AUTO_FREE char *first = mem_printf("%s (%s)", part->to.names.node, part->to.path);
        AUTO_FREE char *chain = NULL;

        if (first == NULL)
            r = err_nomem(error);
        else
            r = plan_chain_text(op, is_after ? first : NULL, part->top, &chain, error);
        if (r == 0 && op->n_parts > 1)
            (void)buf_addf(&text, "%s%s: ", i > 0 ? "; " : "", part->disk_name);
        if (r == 0)
            (void)buf_adds(&text, chain);
    }
    *ret_text = r == 0 ? buf_take(&text) : NULL;
    buf_done(&text);
    return r == 0 && *ret_text == NULL ? err_nomem(error) : r;
}

static int plan_steps(qblk_op *op, qblk_error *error)
{
    int r;

    plan_hail(op);
    for (size_t i = 0; i < op->n_parts; i++)
        target_plan_look(op, &op->parts[i].to);
    r = plan_open_journal(op, "finish", error);
    for (size_t i = 0; i < op->n_parts && r == 0; i++)
        r = target_plan(op, &op->parts[i].to, op->parts[i].top, error);
    plan_freeze(op);
    overlay_plan_sizes(op);
    if (r == 0)
        r = plan_transaction(op, error);
    if (r < 0)
        return r;
    plan_thaw(op);
    overlay_plan_verify(op);
    plan_close_journal(op);
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int r = 0;

    for (size_t i = 0; i < op->n_parts && r == 0; i++)
        r = check_part(op, i, error);
    if (r == 0)
        r = record(op, error);
    if (r == 0)
        r = draw(op, false, &op->chain_before, error);
    if (r == 0)
        r = draw(op, true, &op->chain_after, error);
    if (r == 0)
        r = plan_steps(op, error);
    for (size_t i = 0; i < op->n_parts && r == 0; i++)
        tell_bitmaps(op, &op->parts[i]);
    return r;
}

/* Overlays that disks use are not to be taken away, whatever a journal says or lacks. */
static bool is_seen_done(const qblk_op *op)
{
    for (size_t i = 0; i < op->n_parts; i++) {
        int node = qblk_graph_find_node(op->graph, op->parts[i].to.names.node);
        qblk_user user;

        if (node >= 0 && qblk_graph_user(op->graph, node, 0, &user))
            return true;
    }
    return false;
}

const struct op_kind op_snapshot = {
    .name = "snapshot",
    .plan = plan,
    .plan_clean = overlay_plan_verify,
    .is_seen_done = is_seen_done,
};

/* ---- public ---------------------------------------------------------------------------------- */

static int check_arguments(const qblk_monitor *monitor, const qblk_snapshot_disk *disks, size_t n,
                           const qblk_snapshot_options *o, qblk_error *error)
{
    int r = 0;

    if (o->reuse && o->relative)
        return err_set(error, QBLK_E_ARGUMENT, "a relative name can be recorded in a new overlay "
                       "only, not in one that was prepared");
    if (n == 0 || n > JOURNAL_DISKS_MAX)
        return err_set(error, QBLK_E_ARGUMENT, "a snapshot is of 1 to %d disks, not of %zu",
                       JOURNAL_DISKS_MAX, n);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = op_check_common(monitor, disks[i].disk, &o->common, error);
        if (r == 0)
            r = op_check_target(disks[i].file, NULL, error);
        if (r == 0 && disks[i].file[0] != '/')
            r = err_set(error, QBLK_E_ARGUMENT, "the overlay %s names a protocol, and an overlay "
                        "is made in a file only", disks[i].file);
    }
    return r;
}

static int take_disks(qblk_op *op, const qblk_snapshot_disk *disks, size_t n, bool reuse,
                      qblk_error *error)
{
    int r = op_make_parts(op, n, error);

    for (size_t i = 0; i < n && r == 0; i++) {
        struct op_part *part = &op->parts[i];

        part->to.reuse = reuse;
        part->disk_name = mem_strdup(disks[i].disk);
        part->to.path = mem_strdup(disks[i].file);
        if (part->disk_name == NULL || part->to.path == NULL)
            r = err_nomem(error);
    }
    return r;
}

int qblk_snapshot(qblk_monitor *monitor, const qblk_snapshot_disk *disks, size_t n,
                  const qblk_snapshot_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_snapshot_options o = QBLK_INIT(qblk_snapshot_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_snapshot_options", error);

    if (r < 0)
        return r;
    r = check_arguments(monitor, disks, n, &o, error);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_snapshot, disks[0].disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->no_bitmaps = o.no_bitmaps;
    op->relative = o.relative;
    r = take_disks(op, disks, n, o.reuse, error);
    if (r == 0)
        r = guest_want(op, o.quiesce, o.quiesce_optional, error);
    if (r < 0) {
        op_drop(op);
        return r;
    }
    return op_launch(op, NULL, 0, ret_op, error);
}
