/* What is to be done next. */
#include "ops/engine_priv.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"

/* ---- going forward -------------------------------------------------------------------------- */

void engine_turn_back(struct engine *engine, const qblk_error *error)
{
    if (engine->error.code == QBLK_E_NONE)
        engine->error = *error;
    engine->mode = ENGINE_UNDO;
    engine->phase = PHASE_IDLE;
    if (engine->at < engine->n)
        engine->at++; /* undoing looks at the step before "at" */
}

void engine_next_step(struct engine *engine)
{
    struct step *step = &engine->steps[engine->at];

    step->is_done = true;
    if (step->retires > 0)
        engine->steps[step->retires - 1].is_done = false;
    engine->at++;
    engine->phase = engine->sent > engine->at ? PHASE_SENT : PHASE_IDLE;
}

static struct act give(enum act_kind kind, const char *text, const struct step *step, bool undo)
{
    struct act act = { kind, TAG_STEP, text, step, undo, 0 };

    return act;
}

static const char *job_verb(struct engine *engine, const char *verb, const char *id)
{
    /* Ids made by qblk need no escaping; see str_our_name(). */
    static const char format[] = "{\"execute\":\"%s\",\"arguments\":{\"id\":\"%s\"}}";

    (void)snprintf(engine->scratch, sizeof(engine->scratch), format, verb, id);
    return engine->scratch;
}

void engine_job_error(const struct engine_job *job, qblk_error *error)
{
    switch (job->outcome) {
    case QBLK_OUTCOME_CANCELLED:
        (void)err_set(error, QBLK_E_CANCELLED, "job %s was cancelled", job->id);
        break;
    case QBLK_OUTCOME_LOST:
        (void)err_set(error, QBLK_E_JOB_LOST, "job %s was lost: %s", job->id,
                      job->error[0] != '\0' ? job->error : "QEMU no longer knows it");
        break;
    case QBLK_OUTCOME_NONE:
    case QBLK_OUTCOME_COMPLETED:
    case QBLK_OUTCOME_FAILED:
    default:
        (void)err_set(error, QBLK_E_JOB_FAILED, "job %s failed: %s", job->id,
                      job->error[0] != '\0' ? job->error : "QEMU gave no reason");
        break;
    }
    (void)snprintf(error->job, sizeof(error->job), "%s", job->id);
}

static void undo_left(struct engine *engine)
{
    qblk_error error;

    if (engine->main.outcome == QBLK_OUTCOME_NONE) {
        (void)err_set(&error, QBLK_E_CANCELLED, "it was left before its job started");
        engine->is_left = engine->error.code == QBLK_E_NONE && !engine->cancel_asked;
    } else {
        engine_job_error(&engine->main, &error);
    }
    engine_turn_back(engine, &error);
}

/* The main job's part of a waiting step. Returns true if the step is over (either way). */
static bool wait_main(struct engine *engine, const struct step *step)
{
    qblk_error error;

    if (engine->main.outcome == QBLK_OUTCOME_NONE) {
        if (step->kind == STEP_READY && engine->main.is_ready && !engine->main.is_ending &&
            !engine->cancel_asked) {
            engine_next_step(engine);
            return true;
        }
        return false;
    }
    if (step->kind == STEP_OVER) {
        engine_next_step(engine);
        return true;
    }
    if (engine->main.outcome != QBLK_OUTCOME_COMPLETED) {
        engine_job_error(&engine->main, &error);
        if (engine->main.outcome == QBLK_OUTCOME_CANCELLED && engine->cancel_asked)
            error = engine->cancel_error;
        engine_turn_back(engine, &error);
        return true;
    }
    if (step->kind == STEP_ENDED)
        engine->is_past = true;
    engine_next_step(engine);
    return true;
}

static bool has_main(const struct engine *engine)
{
    for (size_t i = 0; i < engine->at; i++) {
        if (engine->steps[i].kind == STEP_START && engine->steps[i].is_done)
            return true;
    }
    return false;
}

/* The same at a barrier. A main job that has ended meanwhile is no reason to wait. */
static bool wait_others(struct engine *engine, const struct step *step)
{
    qblk_error error;

    if (engine->passed >= step->barrier) {
        if (step->check != NULL && step->check(engine->arg, engine, NULL, &error) < 0)
            engine_turn_back(engine, &error);
        else
            engine_next_step(engine);
        return true;
    }
    if (engine->is_past || step->check != NULL)
        return false;
    if (!has_main(engine)) {
        if (!engine->cancel_asked || engine->is_blind)
            return false;
        engine_turn_back(engine, &engine->cancel_error);
        return true;
    }
    return engine->main.outcome != QBLK_OUTCOME_NONE && wait_main(engine, step);
}

bool engine_awaits_end(const struct engine *engine, const struct step *step)
{
    return step->kind == STEP_CALL && !engine->is_past && engine->main.is_ending &&
           engine->main.outcome != QBLK_OUTCOME_COMPLETED && has_main(engine);
}

/* At a barrier only what is known to be there can be cancelled. */
static bool may_cancel(const struct engine *engine, const struct step *step)
{
    return step->kind != STEP_BARRIER ||
           (step->check == NULL && !engine->is_past && has_main(engine));
}

static bool is_left_out(const struct engine *engine, const struct step *step)
{
    bool is_over = engine->main.outcome != QBLK_OUTCOME_NONE;

    if (step->if_completed && engine->main.outcome != QBLK_OUTCOME_COMPLETED)
        return true;
    if ((step->when != NULL && !*step->when) || (step->unless != NULL && *step->unless))
        return true;
    switch (step->kind) {
    case STEP_MARK:
        return true;
    case STEP_VERB:
        return is_over || engine->main.is_ending;
    case STEP_DISMISS:
        return engine->main.is_gone;
    case STEP_SURVEY:
        return !engine->is_in_doubt;
    case STEP_START:
        return step->command == NULL;
    case STEP_THAW:
        return step->retires > 0 && !engine->steps[step->retires - 1].is_done;
    case STEP_FREEZE:
        return engine->main.is_ending;
    case STEP_HAIL:
    case STEP_MEND:
    case STEP_CALL:
    case STEP_ABSENT:
    case STEP_CREATE:
    case STEP_READY:
    case STEP_ENDED:
    case STEP_OVER:
    case STEP_POINT:
    case STEP_UNDO:
    case STEP_CHECK:
    case STEP_BARRIER:
    case STEP_CLEAN:
    case STEP_URGE:
    default:
        return false;
    }
}

bool engine_is_agents(const struct step *step)
{
    return step->kind == STEP_HAIL || step->kind == STEP_FREEZE || step->kind == STEP_THAW ||
           step->kind == STEP_MEND;
}

/* Passes over the step. Nothing is to be undone of a freeze that came too late. */
static void leave_out(struct engine *engine)
{
    if (engine->steps[engine->at].kind != STEP_FREEZE) {
        engine_next_step(engine);
        return;
    }
    engine_note(engine, "the guest is not quiesced: the job ended before it was frozen");
    engine->at++;
}

/* Cleaning needs no reply to go on, and QEMU answers in order: the next cleaning command is given
 * out while earlier ones are in flight. */
static bool look_ahead(struct engine *engine, struct act *act)
{
    const struct step *step;

    if (!engine->is_past || engine->sent >= engine->n)
        return false;
    for (size_t i = engine->at; i < engine->sent; i++) {
        if (engine->steps[i].kind != STEP_CLEAN && engine->steps[i].kind != STEP_DISMISS)
            return false;
    }
    step = &engine->steps[engine->sent];
    if ((step->kind != STEP_CLEAN && step->kind != STEP_DISMISS && step->kind != STEP_CHECK) ||
        is_left_out(engine, step))
        return false;
    engine->sent++;
    *act = give(ACT_SEND, step->command, step, false);
    return true;
}

void engine_fail_step(struct engine *engine, qblk_error *error)
{
    err_prefix(error, "%s", engine->steps[engine->at].name);
    engine_turn_back(engine, error);
}

/* The job of a STEP_CREATE is over. True if it is to be dismissed. */
static bool creation_over(struct engine *engine)
{
    struct step *step = &engine->steps[engine->at];
    bool is_old = step->command == NULL;
    qblk_error error;

    if (!step->keeps_job && !engine->side.is_gone)
        return true;
    if (is_old || engine->side.outcome == QBLK_OUTCOME_COMPLETED) {
        engine_next_step(engine);
    } else {
        /* What a failed creation leaves is ours to remove: the file was not there before. */
        step->is_done = true;
        engine_job_error(&engine->side, &error);
        engine_fail_step(engine, &error);
    }
    return false;
}

static void give_up(struct engine *engine)
{
    const struct step *step = &engine->steps[engine->at];
    qblk_error error;

    if (engine->cancel_asked)
        (void)err_set(&error, QBLK_E_CANCELLED, "cancelled by the user; what was asked for cannot "
                      "be taken back, and may still come about");
    else
        (void)err_set(&error, QBLK_E_TIMEOUT, "nothing came of it in %d %s of %g s; it may still "
                      "come about, and asking again does no harm", step->tries,
                      step->tries == 1 ? "try" : "tries", (double)step->again_ms / 1000);
    engine_fail_step(engine, &error);
}

/* A STEP_URGE. True if *act is to be handed out. */
static bool urge(struct engine *engine, struct act *act)
{
    const struct step *step = &engine->steps[engine->at];

    if (engine->phase == PHASE_JOB && engine->has_come) {
        if (engine->no_come.code != QBLK_E_NONE) {
            engine_fail_step(engine, &engine->no_come);
        } else {
            engine->is_past = true;
            engine_next_step(engine);
        }
        return false;
    }
    if (engine->phase == PHASE_JOB &&
        (engine->cancel_asked || (engine->is_time && engine->tried >= step->tries))) {
        give_up(engine);
        return false;
    }
    if (engine->phase == PHASE_IDLE || (engine->phase == PHASE_JOB && engine->is_time)) {
        engine->phase = PHASE_SENT;
        engine->sent = engine->at + 1;
        engine->is_time = false;
        engine->tried++;
        *act = give(ACT_SEND, step->command, step, false);
        return true;
    }
    *act = give(ACT_WAIT, NULL, step, false);
    act->wait_ms = engine->phase == PHASE_JOB ? step->again_ms : 0;
    return true;
}

/* One look at the current step. True if there is something to hand out in *act. */
static bool forward(struct engine *engine, struct act *act)
{
    const struct step *step = &engine->steps[engine->at];
    bool is_wait = step->kind == STEP_READY || step->kind == STEP_ENDED ||
                   step->kind == STEP_OVER || step->kind == STEP_BARRIER;

    if (engine->phase == PHASE_IDLE && is_left_out(engine, step)) {
        leave_out(engine);
        return false;
    }
    if (step->kind == STEP_UNDO) {
        undo_left(engine);
        return false;
    }
    if (engine->phase == PHASE_IDLE && engine->cancel_asked && !engine->is_blind &&
        !engine->is_past && !is_wait &&
        engine->main.outcome == QBLK_OUTCOME_NONE && step->kind != STEP_VERB &&
        step->kind != STEP_THAW && step->kind != STEP_MEND && step->command != NULL &&
        !step->in_spite) {
        engine_turn_back(engine, &engine->cancel_error);
        return false;
    }
    if (step->kind == STEP_URGE)
        return urge(engine, act);
    if (engine->phase == PHASE_IDLE && engine_awaits_end(engine, step)) {
        if (wait_main(engine, step))
            return false;
        *act = give(ACT_WAIT, NULL, step, false);
        return true;
    }
    if (is_wait) {
        if (step->kind == STEP_BARRIER ? wait_others(engine, step) : wait_main(engine, step))
            return false;
        if (engine->cancel_asked && !engine->cancel_sent && may_cancel(engine, step)) {
            engine->cancel_sent = engine->aux_busy = true;
            *act = give(ACT_SEND, job_verb(engine, "job-cancel", engine->main.id), step, false);
            act->tag = TAG_AUX;
            return true;
        }
        *act = give(ACT_WAIT, NULL, step, false);
        return true;
    }
    if (engine->phase == PHASE_IDLE && step->command == NULL) {
        engine->phase = PHASE_JOB;
        *act = give(ACT_LOOK, step->job, step, false);
        return true;
    }
    if (engine->phase == PHASE_IDLE) {
        engine->phase = PHASE_SENT;
        engine->sent = engine->at + 1;
        *act = give(engine_is_agents(step) ? ACT_AGENT : ACT_SEND, step->command, step, false);
        return true;
    }
    if (engine->phase == PHASE_SENT && look_ahead(engine, act))
        return true;
    if (engine->phase == PHASE_JOB && engine->side.outcome != QBLK_OUTCOME_NONE) {
        if (!creation_over(engine))
            return false;
        engine->phase = PHASE_DISMISS;
    }
    if (engine->phase == PHASE_DISMISS) {
        engine->phase = PHASE_LAST;
        *act = give(ACT_SEND, job_verb(engine, "job-dismiss", step->job), step, false);
        return true;
    }
    *act = give(ACT_WAIT, NULL, step, false);
    return true;
}

/* ---- going back ----------------------------------------------------------------------------- */

/* The main job's undo: end it if it lives, then dismiss it. True if *act is to be handed out. */
static bool undo_job(struct engine *engine, const struct step *step, struct act *act)
{
    /* Not while the dismiss is in flight: the job goes before the reply comes. */
    if (engine->main.is_gone && engine->phase == PHASE_IDLE) {
        engine->at--;
        return false;
    }
    if (engine->main.outcome == QBLK_OUTCOME_NONE) {
        if (!engine->cancel_sent) {
            engine->cancel_sent = engine->aux_busy = true;
            *act = give(ACT_SEND, job_verb(engine, "job-cancel", engine->main.id), step, true);
            act->tag = TAG_AUX;
        } else {
            *act = give(ACT_WAIT, NULL, step, true);
        }
        return true;
    }
    if (engine->phase == PHASE_IDLE) {
        engine->phase = PHASE_SENT;
        *act = give(ACT_SEND, job_verb(engine, "job-dismiss", engine->main.id), step, true);
    } else {
        *act = give(ACT_WAIT, NULL, step, true);
    }
    return true;
}

static bool backward(struct engine *engine, struct act *act)
{
    const struct step *step;

    if (engine->at == 0) {
        engine->mode = ENGINE_OVER;
        return false;
    }
    step = &engine->steps[engine->at - 1];
    if (step->is_done && step->kind == STEP_START)
        return undo_job(engine, step, act);
    if (!step->is_done || (step->undo == NULL && step->unlink == NULL)) {
        engine->at--;
        return false;
    }
    if (engine->phase == PHASE_IDLE && engine->keeps_files && step->unlink != NULL && !step->is_unlinked) {
        engine_unlinked(engine, EBUSY);
        return false;
    }
    if (engine->phase == PHASE_IDLE) {
        engine->phase = PHASE_SENT;
        *act = step->unlink != NULL && !step->is_unlinked
                   ? give(ACT_UNLINK, step->unlink, step, true)
                   : give(engine_is_agents(step) ? ACT_AGENT : ACT_SEND, step->undo, step, true);
    } else {
        *act = give(ACT_WAIT, NULL, step, true);
    }
    return true;
}

void engine_hold(struct engine *engine, const struct step *step)
{
    if (step == &engine->steps[engine->at])
        engine->phase = PHASE_IDLE;
    engine->sent--;
}

struct act engine_next(struct engine *engine)
{
    struct act act = give(ACT_OVER, NULL, NULL, false);

    while (engine->mode != ENGINE_OVER) {
        if (engine->mode == ENGINE_FORWARD && engine->at == engine->n)
            engine->mode = ENGINE_OVER;
        else if (engine->mode == ENGINE_FORWARD ? forward(engine, &act) : backward(engine, &act))
            return act;
    }
    return engine->aux_busy ? give(ACT_WAIT, NULL, NULL, false) : act;
}
