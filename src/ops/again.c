/* The connection was lost in the middle of an operation, and is there again. What was in flight may have
 * been carried out or not, so nothing is repeated: the operation is taken up as recover would, from
 * what QEMU and the journal say, by the same object. Where that finds that its job was never started,
 * all is undone, and the operation begins again.
 *
 * Operations that are done in an instant, that leave no journal, on several disks, in a group, or that
 * quiesce the guest are not taken up: they end as lost, as they do where no connection comes back. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/guest.h"

static bool is_meant(const qblk_op *op)
{
    return op->kind->comes_back && op->n_parts == 0 && op->guest == NULL && op->group == NULL &&
           !op->common.dry_run;
}

void op_lost(struct monitor_child *child, const qblk_error *why)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);

    if (op->is_over || op->is_away)
        return;
    if (!is_meant(op)) {
        op->child.ended(child, why);
        return;
    }
    op->is_away = true;
    op->is_read_anew = false;
    monitor_timer_stop(&op->timer);
    if (op->reading != NULL)
        graph_read_abandon(op->reading);
    op->reading = NULL;
    features_abandon(&op->asking);
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

/* Forgets what was planned and what was seen, but not what was said. */
static void forget_plan(qblk_op *op)
{
    struct engine old = op->engine;

    op->engine.notes = NULL;
    op->engine.n_notes = op->engine.notes_room = 0;
    engine_done(&op->engine);
    engine_init(&op->engine, op->names.job, op);
    op->engine.notes = old.notes;
    op->engine.n_notes = old.n_notes;
    op->engine.notes_room = old.notes_room;
    op_drop_plan(op);
    memset(&op->found, 0, sizeof(op->found));
    op->disk = op->root = op->top = op->below = -1;
    op->is_planned = false;
    op->landing = op->starting = NULL;
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
    return op->is_resumed;
}

void op_take_up(qblk_op *op)
{
    const struct engine *engine = &op->engine;

    bool is_cancelled = engine->cancel_asked;

    op->is_away = false;
    if (!op->is_planned && !op->has_returned) {
        forget_plan(op); /* nothing has been done yet */
        if (is_cancelled)
            engine_cancel(&op->engine);
        read_anew(op);
        if (is_cancelled)
            monitor_ask_turn(op->monitor);
        return;
    }
    if (!op->has_returned) {
        op->is_own = !op->is_resumed;
        op->asked = op->ending;
    }
    op->is_recorded = op->is_recorded || is_recorded(op);
    op->was_past = op->was_past || engine->is_past;
    if (op->cause.code == QBLK_E_NONE)
        op->cause = engine->error;
    if (op->cause.code == QBLK_E_NONE && is_cancelled)
        (void)err_set(&op->cause, QBLK_E_CANCELLED, "cancelled by the user");
    if (op->cause.code != QBLK_E_NONE)
        op->how = QBLK_RESUME_UNDO;
    op->has_returned = op->is_resumed = true;
    forget_plan(op);
    read_anew(op);
}

bool op_over_again(qblk_op *op)
{
    const qblk_error *error = &op->engine.error;
    bool is_undone = error->kind == QBLK_KIND_CANCELLED || error->code == QBLK_E_UNKNOWN_JOB;

    if (!op->has_returned || !is_undone)
        return false;
    if (error->code == QBLK_E_UNKNOWN_JOB && op->was_past) {
        memset(&op->engine.error, 0, sizeof(op->engine.error));
        return false; /* its last message was lost, and the journal is gone: it was complete */
    }
    if (op->cause.code != QBLK_E_NONE)
        op->engine.error = op->cause;
    if (!op->is_own || op->engine.cancel_asked || op->cause.code != QBLK_E_NONE)
        return false;
    if (error->code == QBLK_E_UNKNOWN_JOB && op->is_recorded) {
        qblk_error why;

        (void)err_set(&why, QBLK_E_LOST, "the connection was lost, and operation %s is not in QEMU any "
                      "more: QEMU has been started anew, or another client has ended the operation; "
                      "look at the images", op->id);
        op->engine.error = why;
        return false;
    }
    engine_note(&op->engine, "the connection was lost before anything had come of the operation; it was "
                "begun again");
    op->ending = op->asked;
    op->has_returned = op->is_resumed = false;
    forget_plan(op);
    read_anew(op);
    return true;
}
