/* The nodes that an operation makes useless: a pull the images whose data it has taken up, a pivot
 * the images that the disk leaves, a detach those of its disk. They are the user's and have names of
 * the user's. So that nobody takes anybody else's for them, each carries, from before the record is
 * written until it is removed or is to stay, a disabled dirty bitmap qblk.<id>.old: what the record
 * alone calls useless is left alone by whoever takes the operation up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/remains.h"
#include "qapi_types.h"

/* ---- which ----------------------------------------------------------------------------------- */

/* Adds what goes with the images from node down to above stop; list holds what goes already. */
static int list_below(qblk_op *op, int *list, int room, int n, int node, int stop,
                      qblk_error *error)
{
    struct journal *journal = &op->journal;

    for (int image = node; image >= 0 && image != stop;
         image = graph_backing_image(op->graph, image)) {
        int before = n;

        (void)graph_deletable(op->graph, image, list, room, &n);
        for (int i = before; i < n; i++) {
            if (journal_add(&journal->old_nodes, qblk_graph_node(op->graph, list[i])->name) < 0)
                return err_nomem(error);
        }
        /* An image that stays keeps all below it. */
        if (n == before && qblk_graph_node(op->graph, image)->name[0] != '#')
            break;
    }
    return 0;
}

int plan_list_pulled(qblk_op *op, int into, int stop, qblk_error *error)
{
    int room = qblk_graph_node_count(op->graph);
    AUTO_FREE int *list = mem_zalloc(((size_t)room + 1) * sizeof(*list));

    if (list == NULL)
        return err_nomem(error);
    /* The image that takes their data lets go of them, so it does not count as their user. */
    list[0] = into;
    return list_below(op, list, room, 1, graph_backing_image(op->graph, into), stop, error);
}

int plan_list_replaced(qblk_op *op, int node, int stop, qblk_error *error)
{
    int room = qblk_graph_node_count(op->graph), n = 0;
    AUTO_FREE int *list = mem_zalloc(((size_t)room + 1) * sizeof(*list));
    struct journal *journal = &op->journal;
    qblk_child child;

    if (list == NULL)
        return err_nomem(error);
    list[n++] = node;
    for (int k = 0; qblk_graph_child(op->graph, node, k, &child) > 0; k++) {
        if (strcmp(child.role, "file") == 0 || strcmp(child.role, "data-file") == 0)
            (void)graph_deletable(op->graph, child.node, list, room, &n);
    }
    for (int i = 0; i < n; i++) {
        const char *name = qblk_graph_node(op->graph, list[i])->name;

        if (name[0] != '#' && journal_add(&journal->old_nodes, name) < 0)
            return err_nomem(error);
    }
    return list_below(op, list, room, n, graph_backing_image(op->graph, node), stop, error);
}

/* ---- the mark -------------------------------------------------------------------------------- */

static bool is_mark(const qblk_op *op, const char *name)
{
    return name != NULL && strcmp(name, op->names.old) == 0;
}

static bool list_has_mark(const qblk_op *op, const struct qapi_block_device_info *node)
{
    for (size_t i = 0; node != NULL && i < node->dirty_bitmaps.n; i++) {
        if (is_mark(op, node->dirty_bitmaps.v[i].name))
            return true;
    }
    return false;
}

static bool graph_has_mark(const qblk_op *op, int node)
{
    qblk_bitmap bitmap;

    for (int k = 0; node >= 0 && qblk_graph_bitmap(op->graph, node, k, &bitmap) > 0; k++) {
        if (is_mark(op, bitmap.name))
            return true;
    }
    return false;
}

/* What was read last says: with the journal, or else before the plan was made. */
bool old_has_mark(const qblk_op *op, const char *node)
{
    return op->nodes != NULL ? list_has_mark(op, remains_find_node(op->nodes, node))
                             : graph_has_mark(op, qblk_graph_find_node(op->graph, node));
}

static void undo_mark(qblk_op *op, struct step *step, const char *node)
{
    struct qapi_block_dirty_bitmap mark = { .node = node, .name = op->names.old };

    step_undo(&op->engine, step, &qapi_cmd_block_dirty_bitmap_remove, &mark);
    step->is_quiet = true; /* the node may have gone meanwhile */
}

/* One command each: a transaction would first wait for all I/O of all disks, and there may be one whose
 * storage does not answer. */
void old_plan_marks(qblk_op *op)
{
    for (size_t i = 0; i < op->journal.old_nodes.n; i++) {
        const char *node = op->journal.old_nodes.v[i];
        struct qapi_block_dirty_bitmap_add mark = { .node = node, .name = op->names.old,
                                                    .has_disabled = true, .disabled = true };
        AUTO_FREE char *name = mem_printf("mark node %s as one that is to go", node);
        struct step *step = plan_step(op, STEP_CALL, name != NULL ? name : "mark a node");

        step_command(&op->engine, step, &qapi_cmd_block_dirty_bitmap_add, &mark);
        undo_mark(op, step, node);
    }
}

static void plan_marked(qblk_op *op, const char *node)
{
    undo_mark(op, plan_step(op, STEP_MARK, "a node was marked"), node);
}

/* The record, which is written last, may not be there; and where nodes cannot be asked for there is only
 * what this client remembers. */
void old_plan_marked(qblk_op *op)
{
    const struct journal_nodes *old = &op->journal.old_nodes;

    if (op->nodes != NULL) {
        for (size_t i = 0; i < op->nodes->n; i++) {
            if (list_has_mark(op, &op->nodes->v[i]))
                plan_marked(op, op->nodes->v[i].node_name);
        }
    } else if (graph_is_complete(op->graph)) {
        for (int i = 0; i < qblk_graph_node_count(op->graph); i++) {
            if (graph_has_mark(op, i))
                plan_marked(op, qblk_graph_node(op->graph, i)->name);
        }
    } else {
        for (size_t i = 0; i < old->n; i++)
            plan_marked(op, old->v[i]);
    }
}

static void plan_unmark(qblk_op *op, const char *node, const bool *when)
{
    struct qapi_block_dirty_bitmap mark = { .node = node, .name = op->names.old };
    AUTO_FREE char *name = mem_printf("leave node %s as it was", node);
    struct step *step = plan_step(op, STEP_CLEAN, name != NULL ? name : "leave a node as it was");

    step_command(&op->engine, step, &qapi_cmd_block_dirty_bitmap_remove, &mark);
    step->when = when;
    step->is_quiet = step->in_spite = true;
}

/* ---- whose ----------------------------------------------------------------------------------- */

/* Why a node is not what the operation has made useless, whatever its record says; or NULL. */
static const char *why_spared(const qblk_op *op, const char *node)
{
    char id[9], journal[OP_NAME_MAX];
    const char *role = str_our_name(node, id);

    if (role != NULL && strcmp(role, "journal") == 0)
        return "it is the record of an operation that is open";
    if (role != NULL && strcmp(id, op->id) != 0) {
        (void)snprintf(journal, sizeof(journal), "qblk.%s.journal", id);
        if (remains_find_node(op->nodes, journal) != NULL)
            return "it belongs to an operation that is open";
    }
    return old_has_mark(op, node) ? NULL : "nothing on the node itself says so, or not any more";
}

/* Taken up, only those that are there and have the mark are what the record says. One that is spared for
 * another reason has the mark taken off. */
static void believe(qblk_op *op)
{
    struct journal_nodes *old = &op->journal.old_nodes;
    size_t n = 0;

    if (op->nodes == NULL)
        return;
    for (size_t i = 0; i < old->n; i++) {
        bool is_there = remains_find_node(op->nodes, old->v[i]) != NULL;
        const char *why = is_there ? why_spared(op, old->v[i]) : NULL;

        if (why != NULL)
            engine_note(&op->engine, "node %s is left alone: the record of operation %s calls it "
                        "useless, but %s", old->v[i], op->id, why);
        if (why != NULL && old_has_mark(op, old->v[i]))
            plan_unmark(op, old->v[i], NULL);
        if (is_there && why == NULL)
            old->v[n++] = old->v[i];
        else
            free(old->v[i]);
    }
    old->n = n;
}

/* ---- what becomes of them -------------------------------------------------------------------- */

void plan_delete_old(qblk_op *op)
{
    const struct journal_nodes *old = &op->journal.old_nodes;

    believe(op);
    for (size_t i = 0; i < old->n; i++)
        plan_delete(op, old->v[i])->unless = &op->has_stayed;
    for (size_t i = 0; i < old->n; i++)
        plan_unmark(op, old->v[i], &op->engine.is_in_doubt);
    if (op->ending == QBLK_END_PIVOT && str_equal(op->journal.intent, "finish"))
        old_tell_left(op);
}

/* Nobody has listed or marked them. */
void old_tell_left(qblk_op *op)
{
    engine_note(&op->engine, "the nodes that disk %s leaves stay, if they were added by hand: \"qblk recover "
                "--list --all\" shows what nothing uses", op->disk_name);
}

void plan_keep_old(qblk_op *op)
{
    for (size_t i = 0; i < op->journal.old_nodes.n; i++)
        plan_unmark(op, op->journal.old_nodes.v[i], NULL);
}
