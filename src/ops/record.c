#include "ops/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* ---- the job --------------------------------------------------------------------------------- */

static bool is_main_job(const qblk_job_info *info)
{
    const struct op_kind *kind = op_kind_find(str_our_name(info->id, NULL));

    return kind != NULL && kind->job_type != NULL &&
           (info->type == NULL || strcmp(info->type, kind->job_type) == 0);
}

qblk_job *record_find_job(const qblk_op *op, qblk_job_info *ret_info)
{
    qblk_job *job = NULL;

    while ((job = qblk_job_next(op->monitor, job)) != NULL) {
        ret_info->size = sizeof(*ret_info);
        qblk_job_get_info(job, ret_info);
        if (str_equal(ret_info->operation, op->id) && ret_info->state != QBLK_JOB_GONE &&
            is_main_job(ret_info))
            return job;
    }
    return NULL;
}

/* ---- what was meant -------------------------------------------------------------------------- */

/* The kind of operation that the record names, and its ending; NULL if one is unknown here. */
static const struct op_kind *read_intent(qblk_op *op)
{
    static const struct {
        const char *word;
        qblk_ending ending;
    } intents[] = {
        { "finish", QBLK_END_FINISH }, { "pivot", QBLK_END_PIVOT }, { "keep", QBLK_END_KEEP },
        { "merge", QBLK_END_DEFAULT },
    };
    const struct journal *journal = &op->journal;
    const struct op_kind *kind = op_kind_find(journal->op);
    int intent = -1;

    for (int i = 0; i < (int)(sizeof(intents) / sizeof(intents[0])); i++) {
        if (strcmp(journal->intent, intents[i].word) == 0)
            intent = i;
    }
    if (kind == NULL || intent < 0 ||
        (kind != &op_commit && intents[intent].ending == QBLK_END_DEFAULT) ||
        (!kind->has_endings && intents[intent].ending != QBLK_END_FINISH) ||
        (kind == &op_commit && journal->base == NULL) ||
        (kind == &op_detach && journal->old_nodes.n == 0) ||
        (kind != &op_snapshot && journal->n_more > 0))
        return NULL;
    op->ending = intents[intent].ending;
    return kind;
}

/* The main job is named after the kind. One that is named after another is not this record's. And
 * it knows better than a mark whether it has ended well. */
static int check_job(qblk_op *op, qblk_error *error)
{
    qblk_job_info info;

    if (record_find_job(op, &info) == NULL)
        return 0;
    if (strcmp(info.id, op->names.job) == 0) {
        op->journal.has_ended = op->journal.has_ended && info.outcome == QBLK_OUTCOME_COMPLETED;
        return 0;
    }
    return err_set(error, QBLK_E_JOURNAL, "the record of operation %s is of a %s, and its job is %s: they "
                   "do not belong together; end the job by \"qblk job cancel %s\" if it is yours, and "
                   "remove the record by \"qblk qmp blockdev-del node-name=%s\"", op->id, op->kind->name,
                   info.id, info.id, op->names.journal);
}

int record_check_node(const qblk_op *op, const char *driver, qblk_error *error)
{
    if (strcmp(driver, "null-co") == 0)
        return 0;
    return err_set(error, QBLK_E_JOURNAL, "node %s is a %s node, and a journal is a null-co node: it is somebody "
                   "else's, and is left alone", op->names.journal, driver);
}

int record_take(qblk_op *op, char *const *names, size_t n, qblk_error *error)
{
    struct journal *journal = &op->journal;
    const struct op_kind *kind;
    int r = journal_decode(names, n, journal, error);

    if (r < 0) {
        if (error != NULL && error->code == QBLK_E_JOURNAL)
            err_prefix(error, "operation %s", op->id);
        return r;
    }
    kind = read_intent(op);
    if (kind == NULL)
        return err_set(error, QBLK_E_JOURNAL, "operation %s is a \"%.40s\" with the intent "
                       "\"%.40s\", which this version of qblk does not know; use the version "
                       "that started it", op->id, journal->op, journal->intent);
    r = op_set_kind(op, kind, error);
    if (r < 0)
        return r;
    op_name(op);
    r = check_job(op, error);
    if (r < 0)
        return r;
    op->landing = op->kind == &op_commit ? journal->base : op->to.names.node;
    op->active_late = journal_has_opt(journal, "active-late");
    free(op->disk_name);
    op->disk_name = mem_strdup(journal->disk);
    if (op->disk_name == NULL)
        return err_nomem(error);
    op->is_nameless = false;
    (void)plan_find_disk(op, NULL); /* it may have been unplugged */
    return 0;
}

/* ---- what is not taken up -------------------------------------------------------------------- */

int record_refuse_hazard(const qblk_job_info *info, qblk_error *error)
{
    return err_set(error, QBLK_E_HAZARD, "reading the journal could crash this version of QEMU while %s "
                   "job %s exists; wait for it and dismiss it first (\"qblk job wait %s\", \"qblk job "
                   "dismiss %s\")", info->type, info->id, info->id, info->id);
}

int record_refuse_companion(const qblk_op *op, const char *id, qblk_error *error)
{
    return err_set(error, QBLK_E_JOURNAL, "the record of operation %s says that it was started together "
                   "with %.8s, whose own record does not say so: it is not believed, and neither is "
                   "touched for its sake; remove it by \"qblk qmp blockdev-del node-name=%s\" if it is "
                   "nobody's", op->id, id, op->names.journal);
}

/* ---- what has come to pass ------------------------------------------------------------------- */

bool record_has_endings(const qblk_op *op)
{
    return op->kind->has_endings && op->ending != QBLK_END_DEFAULT;
}

/* Whether somebody besides jobs uses the node: anybody, or somebody who has no node above it. */
static bool is_used(const qblk_op *op, int node, bool by_nodes)
{
    qblk_user user;

    for (int k = 0; qblk_graph_user(op->graph, node, k, &user) > 0; k++) {
        if (strcmp(user.kind, "job") != 0 && (by_nodes || strcmp(user.kind, "node") != 0))
            return true;
    }
    return false;
}

static int find_landing(const qblk_op *op)
{
    return op->landing != NULL ? qblk_graph_find_node(op->graph, op->landing) : -1;
}

/* What a copy is made to is in no chain before; an overlay may have been put above it since. */
static bool is_on_landing(const qblk_op *op)
{
    int landing = find_landing(op);

    return landing >= 0 && op->top >= 0 &&
           (op->top == landing || (op->kind != &op_commit && plan_is_below(op, landing, op->top)));
}

/* A disk may have been named by its top node, and in the storage daemon it has no other name: it
 * has moved if nobody uses that one any more, but somebody where it was to go. */
bool record_has_pivoted(const qblk_op *op)
{
    int landing = find_landing(op);

    return is_on_landing(op) ||
           (landing >= 0 && (op->top < 0 || !is_used(op, op->root, true)) &&
            is_used(op, landing, false));
}

void record_see_ending(qblk_op *op)
{
    if (record_has_endings(op))
        op->ending = record_has_pivoted(op) ? QBLK_END_PIVOT : QBLK_END_FINISH;
}

bool record_is_seen_done(const qblk_op *op)
{
    qblk_job_info info;

    if (op->kind->is_seen_done != NULL)
        return op->kind->is_seen_done(op);
    if (op->journal.op == NULL || !record_has_endings(op) || op->top < 0 ||
        record_find_job(op, &info) != NULL)
        return false;
    /* The target of a copy is its own; the base of a commit may have had users all along. */
    return op->kind == &op_commit ? is_on_landing(op) : record_has_pivoted(op);
}

enum group_found record_how_far(const qblk_op *op, bool has_job, qblk_job_outcome outcome)
{
    if (op->journal.op == NULL)
        return GROUP_FOUND_NOTHING;
    if (op->journal.has_ended || (has_job && outcome == QBLK_OUTCOME_COMPLETED))
        return GROUP_FOUND_ENDED;
    if (!has_job)
        return GROUP_FOUND_BEGUN;
    return outcome == QBLK_OUTCOME_NONE ? GROUP_FOUND_JOB : GROUP_FOUND_FAILED;
}
