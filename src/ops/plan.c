/* Parts that the plans of several operations have in common. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/guest.h"
#include "qapi_types.h"

/* ---- the disk ------------------------------------------------------------------------------- */

/* A picture that was made without the node query has nothing on images that no device holds. */
static int check_known(qblk_op *op, const struct op_part *part, qblk_error *error)
{
    int steps = qblk_graph_node_count(op->graph);
    bool is_known = true;

    for (int i = part->top; i >= 0 && steps-- > 0; i = graph_backing_image(op->graph, i))
        is_known = is_known && qblk_graph_node(op->graph, i)->driver[0] != '\0';
    int r = is_known ? 0 : plan_check_hazard(op, "looking at the disk's images", error);

    if (!is_known && r == 0)
        r = err_set(error, QBLK_E_BUSY, "the images of disk %s could not be looked at just now; try "
                    "again", part->disk_name);
    return r;
}

int plan_find_part(qblk_op *op, struct op_part *part, qblk_error *error)
{
    const qblk_disk *disk;
    int i = qblk_graph_find_disk(op->graph, part->disk_name, error);

    if (i < 0)
        return i;
    disk = qblk_graph_disk(op->graph, i);
    if (disk->root < 0 || disk->top < 0)
        return err_set(error, QBLK_E_UNKNOWN_DISK, "disk %s has no medium", disk->name);
    part->disk = i;
    part->root = disk->root;
    part->top = disk->top;
    return check_known(op, part, error);
}

/* The operation's only disk, or its first. */
static struct op_part own_part(const qblk_op *op)
{
    struct op_part part = { .disk_name = op->disk_name, .disk = op->disk, .root = op->root,
                            .top = op->top };

    return part;
}

int plan_find_disk(qblk_op *op, qblk_error *error)
{
    struct op_part part = own_part(op);
    int r = plan_find_part(op, &part, error);

    op->disk = part.disk;
    op->root = part.root;
    op->top = part.top;
    return r;
}

static int check_hazard(qblk_op *op, bool with_creations, const char *doing, qblk_error *error)
{
    qblk_job_info info;

    if (!graph_read_hazard(op->monitor, with_creations, &info))
        return 0;
    return err_set(error, QBLK_E_HAZARD, "%s could crash this version of QEMU while %s job "
                   "%s exists; wait for it and dismiss it first (\"qblk job wait %s\", "
                   "\"qblk job dismiss %s\")", doing, info.type, info.id, info.id, info.id);
}

int plan_check_hazard(qblk_op *op, const char *doing, qblk_error *error)
{
    return check_hazard(op, true, doing, error);
}

int plan_check_question(qblk_op *op, const char *doing, qblk_error *error)
{
    return check_hazard(op, false, doing, error);
}

/* ---- steps ---------------------------------------------------------------------------------- */

struct step *plan_step(qblk_op *op, enum step_kind kind, const char *name)
{
    return engine_add(&op->engine, kind, name);
}

static void record_step(qblk_op *op)
{
    struct qapi_transaction_action actions[JOURNAL_PARTS_MAX];
    struct qapi_transaction_args args = { 0 };
    struct step *step = plan_step(op, STEP_CALL, "record the intent");

    memset(actions, 0, sizeof(actions));
    for (int i = 0; i < op->n_record; i++) {
        struct qapi_block_dirty_bitmap_add *data = &actions[i].u.block_dirty_bitmap_add.data;

        actions[i].type = QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD;
        data->node = op->names.journal;
        data->name = op->record[i];
        data->has_disabled = data->disabled = true;
    }
    args.actions.v = actions;
    args.actions.n = (size_t)op->n_record;
    /* A record of one part in the shortest form: every byte costs QEMU a system call. */
    if (op->n_record == 1)
        step_command(&op->engine, step, &qapi_cmd_block_dirty_bitmap_add,
                     &actions[0].u.block_dirty_bitmap_add.data);
    else
        step_command(&op->engine, step, &qapi_cmd_transaction, &args);
}

int plan_open_journal(qblk_op *op, const char *intent, qblk_error *error)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_NULL_CO,
                                          .node_name = op->names.journal };
    struct qapi_blockdev_del_args del = { .node_name = op->names.journal };
    struct journal *journal = &op->journal;
    struct step *step;
    int n;

    journal->op = mem_strdup(op->kind->name);
    journal->disk = mem_strdup(op->disk_name);
    journal->intent = mem_strdup(intent);
    if (journal->op == NULL || journal->disk == NULL || journal->intent == NULL)
        return err_nomem(error);
    n = guest_record(op, &journal->agent, error);
    if (n == 0)
        n = journal_encode(journal, &op->record, error);
    if (n < 0)
        return n;
    op->n_record = n;
    step = plan_step(op, STEP_CALL, "open the journal");
    step_command(&op->engine, step, &qapi_cmd_blockdev_add, &node);
    step_undo(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    old_plan_marks(op);
    record_step(op);
    return 0;
}

struct step *plan_end_journal(qblk_op *op)
{
    struct qapi_block_dirty_bitmap_add mark = { .node = op->names.journal, .name = JOURNAL_ENDED,
                                                .has_disabled = true, .disabled = true };
    struct step *step;

    if (op->journal.has_ended)
        return &op->engine.none;
    step = plan_step(op, STEP_CLEAN, "record that the job has ended");
    step_command(&op->engine, step, &qapi_cmd_block_dirty_bitmap_add, &mark);
    return step;
}

/* Which of the nodes that could not be removed are there at all: those that QEMU had opened by
 * itself went with their parents. */
static int survey(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    struct qapi_x_dbg_block_graph graph;
    int r = codec_reply(&qapi_cmd_x_debug_query_block_graph, reply, &graph, error);

    (void)arg;
    if (r < 0)
        return r;
    for (size_t i = 0; i < engine->n; i++) {
        const char *node = engine->steps[i].node;
        bool is_there = false;

        if (node == NULL)
            continue;
        for (size_t k = 0; k < graph.nodes.n; k++)
            is_there = is_there || strcmp(graph.nodes.v[k].name, node) == 0;
        if (!is_there)
            engine_unnote(engine, node);
    }
    codec_reply_clear(&qapi_cmd_x_debug_query_block_graph, &graph);
    return 0;
}

void plan_survey(qblk_op *op)
{
    struct step *step = plan_step(op, STEP_SURVEY, "see which nodes are left");

    step->check = survey;
    step_command(&op->engine, step, &qapi_cmd_x_debug_query_block_graph, NULL);
}

void plan_close_journal(qblk_op *op)
{
    struct qapi_blockdev_del_args del = { .node_name = op->names.journal };
    struct step *step = plan_step(op, STEP_CLEAN, "close the journal");

    step->is_vital = op->is_resumed; /* or it would be taken up again and again, each time with success */
    step_command(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    plan_survey(op);
}

void plan_dismiss(qblk_op *op)
{
    struct qapi_job_dismiss_args args = { .id = op->names.job };
    struct step *step = plan_step(op, STEP_DISMISS, "dismiss the job");

    step_command(&op->engine, step, &qapi_cmd_job_dismiss, &args);
}

struct step *plan_delete(qblk_op *op, const char *node)
{
    struct qapi_blockdev_del_args del = { .node_name = node };
    AUTO_FREE char *name = mem_printf("remove node %s", node);
    struct step *step = plan_step(op, STEP_CLEAN, name != NULL ? name : "remove a node");

    step_command(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    step->node = mem_strdup(node);
    if (step->node == NULL)
        op->engine.failed_alloc = true;
    return step;
}

/* ---- the end of a READY job ----------------------------------------------------------------- */

void plan_end_job(qblk_op *op)
{
    struct qapi_job_complete_args complete = { .id = op->names.job };
    struct qapi_block_job_complete_args old_complete = { .device = op->names.job };
    struct qapi_block_job_cancel_args finish = { .device = op->names.job };
    bool is_pivot = op->ending == QBLK_END_PIVOT;
    struct step *step = plan_step(op, STEP_VERB, is_pivot ? "pivot" : "finish without a pivot");

    if (!is_pivot)
        step_command(&op->engine, step, &qapi_cmd_block_job_cancel, &finish);
    else if (op->legacy)
        step_command(&op->engine, step, &qapi_cmd_block_job_complete, &old_complete);
    else
        step_command(&op->engine, step, &qapi_cmd_job_complete, &complete);
}

/* QEMU names a device by its path or, for some kinds, by its id alone. */
bool plan_is_disk(const struct qapi_block_info *info, const qblk_disk *disk)
{
    if (info->qdev != NULL && disk->qom_path[0] != '\0')
        return strcmp(info->qdev, disk->qom_path) == 0 ||
               (disk->device[0] != '\0' && strcmp(info->qdev, disk->device) == 0);
    return disk->drive[0] != '\0' && str_equal(info->device, disk->drive);
}

/* drive-mirror's filter has no name of ours; that the job holds it tells. */
static bool is_of_job(const qblk_op *op, int node)
{
    qblk_user user;

    for (int k = 0; qblk_graph_user(op->graph, node, k, &user) > 0; k++) {
        if (strcmp(user.kind, "job") == 0 && strcmp(user.name, op->names.job) == 0)
            return true;
    }
    return false;
}

/* The filter right above the disk's image, through which the device uses it; -1 if there is none.
 * The job's own goes with it. */
static int filter_above(const qblk_op *op)
{
    int above = -1, node = op->root, steps = qblk_graph_node_count(op->graph);

    for (; node >= 0 && node != op->top && steps-- > 0;
         node = qblk_graph_node(op->graph, node)->backing) {
        if (!is_of_job(op, node))
            above = node;
    }
    return node == op->top ? above : -1;
}

static void tell_unplugged(const qblk_op *op, struct engine *engine)
{
    if (op->ending == QBLK_END_PIVOT)
        engine_note(engine, "disk %s was unplugged meanwhile; node %s holds its content", op->disk_name,
                    op->landing);
}

/* The disk is where it was. Somebody else has ended the job so: its images stay, and what was made of them
 * does as a file. Or we cancelled it just as it got in sync, which QEMU 5.2 takes for the wish to end it:
 * then nobody wants what was made. */
static void stay(qblk_op *op, struct engine *engine, qblk_error *error)
{
    if (engine->cancel_sent) {
        engine->is_void = true;
        *error = engine->cancel_error;
        return;
    }
    op->has_stayed = engine->is_in_doubt = true;
    if (op->to.path != NULL)
        engine_note(engine, "%s is left: a copy of disk %s as it was when the job ended", op->to.path,
                    op->disk_name);
}

/* The disk has moved, which it was not to: what it uses now stays, and so does what it has left. */
static void stray(qblk_op *op, struct engine *engine)
{
    op->has_strayed = true;
    if (op->to.path != NULL)
        engine_note(engine, "%s is no copy of disk %s, but the disk: what the guest writes is in there alone",
                    op->to.path, op->disk_name);
    old_tell_left(op);
}

/* A pivot and a soft cancel look alike in every event; only what the disk uses tells them apart. */
static int judge_move(qblk_op *op, struct engine *engine, bool has_moved, qblk_error *error)
{
    int filter = filter_above(op), r;

    if (has_moved == (op->ending == QBLK_END_PIVOT))
        return 0;
    if (has_moved) {
        stray(op, engine);
        return err_set(error, QBLK_E_JOB_FAILED, "job %s completed, but disk %s is on node %s now; somebody "
                       "else ended the job by a pivot", op->names.job, op->disk_name, op->landing);
    }
    r = err_set(error, QBLK_E_JOB_FAILED, "job %s completed, but %s%s%sdisk %s is not on node %s; somebody else "
                "ended the job without a pivot", op->names.job, filter >= 0 ? "filter " : "",
                filter >= 0 ? qblk_graph_node(op->graph, filter)->name : "", filter >= 0 ? " of " : "",
                op->disk_name, op->landing);
    stay(op, engine, error);
    return r;
}

static int see_pivot(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    struct qapi_block_info_list list;
    size_t i = 0;
    int r = codec_reply(&qapi_cmd_query_block, reply, &list, error);

    if (r < 0)
        return r;
    while (i < list.n && !plan_is_disk(&list.v[i], disk))
        i++;
    if (i == list.n)
        tell_unplugged(op, engine);
    else
        r = judge_move(op, engine, list.v[i].inserted != NULL &&
                       str_equal(list.v[i].inserted->node_name, op->landing), error);
    codec_reply_clear(&qapi_cmd_query_block, &list);
    return r;
}

static const struct qapi_x_dbg_block_graph_node *
find_dbg(const struct qapi_x_dbg_block_graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->nodes.n; i++) {
        if (strcmp(graph->nodes.v[i].name, name) == 0)
            return &graph->nodes.v[i];
    }
    return NULL;
}

/* What the disk's device uses: the filter above its image, which stays, or else its backend, named
 * after its drive or its device. NULL if that is gone. */
static const struct qapi_x_dbg_block_graph_node *
find_above(const qblk_op *op, const struct qapi_x_dbg_block_graph *graph)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    const char *const names[] = { disk->drive, disk->qom_path, disk->device };
    int filter = filter_above(op);

    if (filter >= 0)
        return find_dbg(graph, qblk_graph_node(op->graph, filter)->name);
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        for (size_t i = 0; i < graph->nodes.n && names[n][0] != '\0'; i++) {
            const struct qapi_x_dbg_block_graph_node *node = &graph->nodes.v[i];

            if (strcmp(node->type, "block-backend") == 0 && strcmp(node->name, names[n]) == 0)
                return node;
        }
    }
    return NULL;
}

/* The debug graph is asked: it reads no image. query-block does, and comes upon one half-written
 * when QEMU stores its bitmaps, closing the image of another disk that has moved as well. */
static int see_edge(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    const struct qapi_x_dbg_block_graph_node *above, *landing;
    struct qapi_x_dbg_block_graph graph;
    bool has_moved = false;
    int r = codec_reply(&qapi_cmd_x_debug_query_block_graph, reply, &graph, error);

    if (r < 0)
        return r;
    above = find_above(op, &graph);
    landing = find_dbg(&graph, op->landing);
    for (size_t i = 0; i < graph.edges.n && above != NULL && landing != NULL; i++)
        has_moved = has_moved || (graph.edges.v[i].parent == above->id &&
                                  graph.edges.v[i].child == landing->id);
    if (above == NULL)
        tell_unplugged(op, engine);
    else
        r = judge_move(op, engine, has_moved, error);
    codec_reply_clear(&qapi_cmd_x_debug_query_block_graph, &graph);
    return r;
}

void plan_verify(qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    bool by_edge = graph_has_debug(op->graph);
    bool is_under_filter = disk != NULL && filter_above(op) >= 0;
    struct step *step;

    op->has_stayed = op->has_strayed = false;
    /* No backend stands for a node that no device uses; and query-block sees no further than the
     * filter. */
    if (disk == NULL || (is_under_filter && !by_edge) ||
        (!is_under_filter && disk->qom_path[0] == '\0' && disk->drive[0] == '\0'))
        return;
    step = plan_step(op, STEP_CHECK, op->ending == QBLK_END_PIVOT ? "see that the disk has moved"
                                                                 : "see that the disk has stayed");
    step->check = by_edge ? see_edge : see_pivot;
    step_command(&op->engine, step, by_edge ? &qapi_cmd_x_debug_query_block_graph
                                            : &qapi_cmd_query_block, NULL);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

struct step *plan_add(qblk_op *op, const char *name, const struct qapi_blockdev_options *options)
{
    struct qapi_blockdev_del_args del = { .node_name = options->node_name };
    struct step *step = plan_step(op, STEP_CALL, name);

    step_command(&op->engine, step, &qapi_cmd_blockdev_add, options);
    step_undo(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    return step;
}

/* ---- policies ------------------------------------------------------------------------------- */

int plan_on_error_find(const char *word)
{
    static const struct {
        const char *word;
        enum qapi_blockdev_on_error policy;
    } policies[] = {
        { "report", QAPI_BLOCKDEV_ON_ERROR_REPORT },
        { "stop", QAPI_BLOCKDEV_ON_ERROR_STOP },
        { "ignore", QAPI_BLOCKDEV_ON_ERROR_IGNORE },
        { "enospc", QAPI_BLOCKDEV_ON_ERROR_ENOSPC },
    };

    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (strcmp(policies[i].word, word) == 0)
            return (int)policies[i].policy;
    }
    return -1;
}

enum qapi_blockdev_on_error plan_on_error(const char *word)
{
    return word != NULL ? (enum qapi_blockdev_on_error)plan_on_error_find(word)
                        : QAPI_BLOCKDEV_ON_ERROR_REPORT;
}

const char *plan_legacy_device(const qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);

    return disk->drive[0] != '\0' ? disk->drive : qblk_graph_node(op->graph, op->root)->name;
}
