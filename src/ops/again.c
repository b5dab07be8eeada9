/* The connection was lost in the middle of an operation, and is there again. What was in flight may
 * have been carried out or not, so nothing is repeated: the operation is taken up as recover would,
 * from what QEMU and the journal say, by the same object. Where that finds that its job was never
 * started, or its transaction never carried out, all is undone, and the operation begins again. So
 * it is with each operation of a group, whose others wait for it: group.c.
 *
 * Kinds with a plan_again() have no job. What is left to do of theirs is planned anew from what is
 * there, by the client that began it and so knows what was meant. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/guest.h"

/* Whether its main job runs in QEMU: somebody else may end and dismiss it meanwhile. So may this client
 * have done with one that was cancelled or failed. */
static bool is_running(const qblk_op *op)
{
    qblk_job *job = qblk_job_find(op->monitor, op->names.job);
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (job == NULL)
        return false;
    qblk_job_get_info(job, &info);
    return info.state >= QBLK_JOB_RUNNING && info.state < QBLK_JOB_GONE &&
           info.outcome <= QBLK_OUTCOME_COMPLETED;
}

void op_lost(struct monitor_child *child, const qblk_error *why)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);

    (void)why;
    op->is_read_anew = false;
    if (op->is_over || op->is_away || op->listener == NULL) /* it has not even begun */
        return;
    op->is_away = true;
    op->was_running = op->was_running || is_running(op);
    op_end_turn(op);
    monitor_timer_stop(&op->timer);
    monitor_timer_stop(&op->resend);
    op->unsent.kind = ACT_WAIT;
    if (op->reading != NULL)
        graph_read_abandon(op->reading);
    op->reading = NULL;
    features_abandon(&op->asking);
    guest_away(op);
    log_debug(&op->monitor->log, "operation %s: waits for the connection", op->id);
}

void op_synced(qblk_monitor *monitor, void *arg)
{
    qblk_op *op = arg;

    if (!op->is_away)
        return;
    op->is_read_anew = true;
    monitor_ask_turn(monitor);
}

static void forget_part(struct op_part *part)
{
    target_forget(&part->to);
    part->disk = part->root = part->top = -1;
}

/* What an earlier client meant is read again. */
static void forget_parts(qblk_op *op)
{
    for (size_t i = 0; i < op->n_parts; i++)
        forget_part(&op->parts[i]);
    if (!op->is_own && op->is_resumed)
        op_free_parts(op);
}

bool op_plans_again(const qblk_op *op)
{
    return op->kind->plan_again != NULL && !op->is_resumed;
}

/* Forgets what was planned and what was seen, but not what was said. */
static void forget_plan(qblk_op *op)
{
    struct journal journal = op->journal;
    struct engine old;

    /* Which of the nodes that could not be removed are there at all was not seen any more. */
    for (size_t i = 0; i < op->engine.n && op->engine.is_in_doubt; i++) {
        if (op->engine.steps[i].node != NULL)
            engine_unnote(&op->engine, op->engine.steps[i].node);
    }
    old = op->engine;
    op->engine.notes = NULL;
    op->engine.n_notes = op->engine.notes_room = 0;
    engine_done(&op->engine);
    engine_init(&op->engine, op->names.job, op);
    op->engine.notes = old.notes;
    op->engine.n_notes = old.n_notes;
    op->engine.notes_room = old.notes_room;
    if (op_plans_again(op))
        memset(&op->journal, 0, sizeof(op->journal)); /* the only record that there is: kept */
    op_drop_plan(op);
    if (op_plans_again(op))
        op->journal = journal;
    memset(&op->found, 0, sizeof(op->found));
    op->disk = op->root = op->top = op->below = -1;
    op->is_planned = op->begins_again = false;
    group_forget(op);
    op->landing = op->starting = NULL;
    target_forget(&op->to);
    forget_parts(op);
}

static void read_anew(qblk_op *op)
{
    qblk_error error;

    if (op_read_graph(op, &error) < 0)
        op_refuse(op, &error);
}

/* Whether QEMU has said that the journal is there. */
static bool is_recorded(const qblk_op *op)
{
    for (size_t i = 0; i < op->engine.n; i++) {
        const struct step *step = &op->engine.steps[i];

        if (step->is_done && step->undo != NULL && strstr(step->undo, op->names.journal) != NULL)
            return true;
    }
    return op->is_resumed && !op->is_own;
}

/* From its beginning, or, where its kind can do that, from what is there. */
static void plan_anew(qblk_op *op)
{
    const qblk_error why = op->engine.cancel_error;
    bool is_cancelled = op->engine.cancel_asked;

    forget_plan(op);
    if (is_cancelled) {
        engine_give_up(&op->engine, &why);
        monitor_ask_turn(op->monitor);
    }
    read_anew(op); /* the operation may be over after that, and gone */
}

void op_see_cause(qblk_op *op)
{
    const struct engine *engine = &op->engine;

    if (!op->has_returned)
        return;
    if (engine->is_past && !op->was_past)
        memset(&op->cause, 0, sizeof(op->cause)); /* of an undoing that came too late */
    op->was_past = op->was_past || engine->is_past;
    if (op->cause.code != QBLK_E_NONE)
        return;
    if (op->is_own && engine->is_left)
        op->was_undoing = true;
    else
        op->cause = engine->error;
    if (op->was_past)
        return;
    if (op->cause.code == QBLK_E_NONE && engine->cancel_asked)
        op->cause = engine->cancel_error;
    if (op->cause.code != QBLK_E_NONE)
        op->how = QBLK_RESUME_UNDO;
}

void op_take_up(qblk_op *op)
{
    const struct engine *engine = &op->engine;
    bool is_begun = op->has_returned || (op->is_planned && engine_has_changed(engine));

    op->is_away = false;
    op->is_own = op->is_own || (op->is_planned && !op->is_resumed);
    if (!is_begun) {
        plan_anew(op);
        return;
    }
    if (!op->has_returned)
        op->asked = op->ending;
    lost_remember(op);
    op->has_returned = true;
    op->was_urged = op->was_urged || engine->tried > 0;
    op_see_cause(op);
    if (op_plans_again(op)) {
        plan_anew(op);
        return;
    }
    op->is_recorded = op->is_recorded || is_recorded(op);
    op->is_resumed = true;
    forget_plan(op);
    read_anew(op);
}

static void begin_again(qblk_op *op)
{
    engine_note(&op->engine, "the connection was lost before anything had come of the operation; it was "
                "begun again");
    op->ending = op->asked;
    op->has_returned = op->is_resumed = op->is_recorded = op->was_undoing = false;
    forget_plan(op);
    group_begins_again(op);
    read_anew(op);
}

static void vanished(qblk_op *op)
{
    (void)err_set(&op->engine.error, QBLK_E_LOST, "the connection was lost, and operation %s is not in "
                  "QEMU any more: QEMU has been started anew, or another client has ended the "
                  "operation; look at the images", op->id);
    lost_recall(op);
}

static void job_vanished(qblk_op *op)
{
    (void)err_set(&op->engine.error, QBLK_E_JOB_LOST, "job %s was there when the connection was lost, "
                  "and is not any more: somebody else has ended it", op->names.job);
}

/* What is found is what counts, of which the engine's error is the beginning. True if the operation
 * is to begin again. */
static bool judge(qblk_op *op)
{
    qblk_error *error = &op->engine.error;
    bool is_gone = error->code == QBLK_E_UNKNOWN_JOB;
    bool is_undone = error->kind == QBLK_KIND_CANCELLED &&
                     op->engine.main.outcome == QBLK_OUTCOME_NONE;
    bool is_whole = op->is_own && !op->engine.cancel_asked, is_lost;

    /* Past the end only cleaning was left; if the journal is gone, that was done, and the last
     * message of it was lost. What had gone wrong by then has gone wrong. */
    if (op->was_past && (is_gone || error->code == QBLK_E_NONE)) {
        *error = op->cause;
        return false;
    }
    if (!is_gone && error->kind != QBLK_KIND_CANCELLED)
        return false;
    if (op->cause.code != QBLK_E_NONE || group_gives_up(op, &op->cause)) {
        *error = op->cause;
        return false;
    }
    if (is_gone && !op->is_own) /* it was there when it was taken up */
        vanished(op);
    if (!is_whole || !(is_gone || is_undone))
        return false;
    is_lost = is_gone && op->is_recorded && !op->was_undoing;
    if (is_lost)
        vanished(op);
    else if (op->was_running)
        job_vanished(op);
    return !op->was_running && !is_lost;
}

bool op_over_again(qblk_op *op)
{
    if (!op->has_returned || op_plans_again(op))
        return false;
    if (judge(op)) {
        begin_again(op);
        return true;
    }
    return op->engine.error.code != QBLK_E_NONE && guest_outlives(op, &op->engine.error);
}
