/* What is going to become of what is open: what resume.c and group.c would make of it now. */
#include "ops/open.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/record.h"

/* ---- together -------------------------------------------------------------------------------- */

/* A record that names an operation whose own record does not name it back is nobody's companion. */
static void look_for_disowned(const qblk_remains *remains, struct open_op *op)
{
    for (size_t i = 0; i < op->shadow->journal.with.n && !op->is_refused; i++) {
        const char *id = op->shadow->journal.with.v[i];
        const struct open_op *other = open_find(remains, id);

        if (other == NULL || other->shadow->journal.op == NULL ||
            journal_has_node(&other->shadow->journal.with, op->shadow->id))
            continue;
        (void)record_refuse_companion(op->shadow, id, &op->told.why);
        op->is_disowned = true;
        (void)open_refuse(op);
    }
}

static bool belongs(const struct open_op *op, const struct open_op *other)
{
    return op != other && !op->is_disowned && !other->is_disowned &&
           (journal_has_node(&op->shadow->journal.with, other->shadow->id) ||
            journal_has_node(&other->shadow->journal.with, op->shadow->id));
}

static int list_companions(const qblk_remains *remains, struct open_op *op)
{
    op->with = mem_zalloc((remains->n_ops + 1) * sizeof(*op->with));
    if (op->with == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < remains->n_ops; i++) {
        if (belongs(op, &remains->ops[i]))
            op->with[op->told.n_with++] = remains->ops[i].shadow->id;
    }
    op->told.with = op->told.n_with > 0 ? op->with : NULL;
    return 0;
}

static bool is_complete(const qblk_remains *remains, const struct open_op *op)
{
    for (size_t i = 0; i < op->shadow->journal.with.n; i++) {
        if (open_find(remains, op->shadow->journal.with.v[i]) == NULL)
            return false;
    }
    return true;
}

/* What group_judge() and, for one alone, resume.c come to. */
static enum group_verdict judge(const qblk_remains *remains, const struct open_op *op,
                                const struct open_op **ret_example)
{
    enum group_verdict verdict = GROUP_GO_ON;

    for (size_t i = 0; i < remains->n_ops; i++) {
        const struct open_op *other = &remains->ops[i];

        if (other != op && !belongs(op, other))
            continue;
        if (other->found == GROUP_FOUND_ENDED) {
            *ret_example = other;
            return GROUP_FOLLOW;
        }
        if (other->found != GROUP_FOUND_JOB || !is_complete(remains, other))
            verdict = GROUP_UNDO;
    }
    return verdict;
}

static void look_for_refused_companion(const qblk_remains *remains, struct open_op *op)
{
    for (size_t i = 0; i < op->told.n_with && op->told.why.code == QBLK_E_NONE; i++) {
        const struct open_op *other = open_find(remains, op->told.with[i]);

        if (!other->is_refused || other->is_disowned)
            continue;
        (void)err_set(&op->told.why, QBLK_E_BUSY, "operation %s belongs together with %s, which cannot be "
                      "taken up: %s", op->shadow->id, other->shadow->id, other->told.why.text);
        op->told.fate = QBLK_FATE_LEAVE;
    }
}

/* ---- what will become of it ------------------------------------------------------------------ */

static bool can_go_on(const qblk_op *shadow)
{
    return shadow->kind->can_go_on != NULL && shadow->kind->can_go_on(shadow);
}

static qblk_stage stage_of(const struct open_op *op)
{
    switch (op->found) {
    case GROUP_FOUND_BEGUN:
        return can_go_on(op->shadow) ? QBLK_STAGE_RUNNING : QBLK_STAGE_PREPARED;
    case GROUP_FOUND_JOB:
        return op->job.is_ready ? QBLK_STAGE_READY : QBLK_STAGE_RUNNING;
    case GROUP_FOUND_FAILED:
        return QBLK_STAGE_ENDED;
    case GROUP_FOUND_ENDED:
        return op->job.id != NULL && op->job.outcome != QBLK_OUTCOME_NONE ? QBLK_STAGE_ENDED
                                                                         : QBLK_STAGE_CLEANING;
    case GROUP_FOUND_NOTHING:
    default:
        return QBLK_STAGE_BEGUN;
    }
}

static qblk_fate fate_of_job(const qblk_op *shadow, qblk_ending ending)
{
    if (!record_has_endings(shadow))
        return QBLK_FATE_WAIT;
    return ending == QBLK_END_PIVOT  ? QBLK_FATE_PIVOT
           : ending == QBLK_END_KEEP ? QBLK_FATE_KEEP
                                     : QBLK_FATE_FINISH;
}

static qblk_fate fate_of(const qblk_remains *remains, const struct open_op *op)
{
    const struct open_op *example = NULL;
    enum group_verdict verdict;

    if (op->found == GROUP_FOUND_NOTHING)
        return QBLK_FATE_CLOSE;
    if (op->found == GROUP_FOUND_ENDED)
        return QBLK_FATE_CLEAN;
    if (op->found == GROUP_FOUND_BEGUN && can_go_on(op->shadow))
        return QBLK_FATE_GO_ON;
    if (op->found != GROUP_FOUND_JOB)
        return QBLK_FATE_UNDO;
    verdict = op->shadow->journal.with.n > 0 ? judge(remains, op, &example) : GROUP_GO_ON;
    if (verdict == GROUP_UNDO)
        return QBLK_FATE_UNDO;
    return fate_of_job(op->shadow, example != NULL ? example->shadow->ending : op->shadow->ending);
}

/* Its record cannot be read before its own job is over, which it waits for. */
static void judge_unread(struct open_op *op)
{
    qblk_job_info info;
    bool is_main = record_find_job(op->shadow, &info) != NULL;

    if (!op->is_late && op->job.id == NULL)
        (void)err_set(&op->told.why, QBLK_E_BUSY, "its record could not be read just now; try again");
    if (op->is_late || op->job.id == NULL) {
        op->told.stage = QBLK_STAGE_UNKNOWN;
        op->told.fate = QBLK_FATE_LATER;
        return;
    }
    if (!is_main) { /* it makes its target, and there is nothing yet to go on with */
        op->told.stage = QBLK_STAGE_PREPARED;
        op->told.fate = QBLK_FATE_UNDO;
        return;
    }
    op->told.stage = op->job.outcome != QBLK_OUTCOME_NONE ? QBLK_STAGE_ENDED : QBLK_STAGE_RUNNING;
    switch (op->job.outcome) {
    case QBLK_OUTCOME_NONE:
        op->told.fate = QBLK_FATE_WAIT;
        break;
    case QBLK_OUTCOME_COMPLETED:
        op->told.fate = QBLK_FATE_CLEAN;
        break;
    case QBLK_OUTCOME_FAILED:
    case QBLK_OUTCOME_CANCELLED:
    case QBLK_OUTCOME_LOST:
    default:
        op->told.fate = QBLK_FATE_UNDO;
        break;
    }
}

int fate_judge_all(qblk_remains *remains)
{
    for (size_t i = 0; i < remains->n_ops; i++)
        look_for_disowned(remains, &remains->ops[i]);
    for (size_t i = 0; i < remains->n_ops; i++) {
        struct open_op *op = &remains->ops[i];

        if (list_companions(remains, op) < 0)
            return -ENOMEM;
        if (op->is_refused)
            continue;
        if (graph_is_complete(remains->graph)) {
            op->told.stage = stage_of(op);
            op->told.fate = fate_of(remains, op);
        } else {
            judge_unread(op);
        }
    }
    for (size_t i = 0; i < remains->n_ops; i++)
        look_for_refused_companion(remains, &remains->ops[i]);
    return 0;
}
