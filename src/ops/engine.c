#include "ops/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "qapi_types.h"

/* Where a step is. */
enum {
    PHASE_IDLE,    /* nothing given out yet */
    PHASE_SENT,    /* its command is in flight */
    PHASE_JOB,     /* waits for a job, or for what was urged */
    PHASE_DISMISS, /* the job has ended and is to be dismissed */
    PHASE_LAST     /* that dismiss is in flight */
};

/* ---- going forward -------------------------------------------------------------------------- */

static void turn_back(struct engine *engine, const qblk_error *error)
{
    if (engine->error.code == QBLK_E_NONE)
        engine->error = *error;
    engine->mode = ENGINE_UNDO;
    engine->phase = PHASE_IDLE;
    if (engine->at < engine->n)
        engine->at++; /* undoing looks at the step before "at" */
}

static void next_step(struct engine *engine)
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

static void job_error(const struct engine_job *job, qblk_error *error)
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

    if (engine->main.outcome == QBLK_OUTCOME_NONE)
        (void)err_set(&error, QBLK_E_CANCELLED, "it was left before its job started");
    else
        job_error(&engine->main, &error);
    turn_back(engine, &error);
}

/* The main job's part of a waiting step. Returns true if the step is over (either way). */
static bool wait_main(struct engine *engine, const struct step *step)
{
    qblk_error error;

    if (engine->main.outcome == QBLK_OUTCOME_NONE) {
        if (step->kind == STEP_READY && engine->main.is_ready && !engine->cancel_asked) {
            next_step(engine);
            return true;
        }
        return false;
    }
    if (step->kind == STEP_OVER) {
        next_step(engine);
        return true;
    }
    if (engine->main.outcome != QBLK_OUTCOME_COMPLETED) {
        job_error(&engine->main, &error);
        if (engine->main.outcome == QBLK_OUTCOME_CANCELLED && engine->cancel_asked)
            error = engine->cancel_error;
        turn_back(engine, &error);
        return true;
    }
    if (step->kind == STEP_ENDED)
        engine->is_past = true;
    next_step(engine);
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
            turn_back(engine, &error);
        else
            next_step(engine);
        return true;
    }
    if (engine->is_past || step->check != NULL)
        return false;
    if (!has_main(engine)) {
        if (!engine->cancel_asked)
            return false;
        turn_back(engine, &engine->cancel_error);
        return true;
    }
    return engine->main.outcome != QBLK_OUTCOME_NONE && wait_main(engine, step);
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
    if (step->when != NULL && !*step->when)
        return true;
    switch (step->kind) {
    case STEP_MARK:
        return true;
    case STEP_VERB:
        return is_over;
    case STEP_DISMISS:
        return engine->main.is_gone;
    case STEP_SURVEY:
        return engine->n_doubts == 0;
    case STEP_START:
        return step->command == NULL;
    case STEP_THAW:
        return step->retires > 0 && !engine->steps[step->retires - 1].is_done;
    case STEP_FREEZE:
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
    return step->kind == STEP_FREEZE || step->kind == STEP_THAW || step->kind == STEP_MEND;
}

/* Cleaning needs no reply to go on, and QEMU answers in order: the next cleaning command is given out
 * while earlier ones are in flight. */
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

static void fail_step(struct engine *engine, qblk_error *error)
{
    err_prefix(error, "%s", engine->steps[engine->at].name);
    turn_back(engine, error);
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
        next_step(engine);
    } else {
        /* What a failed creation leaves is ours to remove: the file was not there before. */
        step->is_done = true;
        job_error(&engine->side, &error);
        fail_step(engine, &error);
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
    fail_step(engine, &error);
}

/* A STEP_URGE. True if *act is to be handed out. */
static bool urge(struct engine *engine, struct act *act)
{
    const struct step *step = &engine->steps[engine->at];

    if (engine->phase == PHASE_JOB && engine->has_come) {
        if (engine->no_come.code != QBLK_E_NONE) {
            fail_step(engine, &engine->no_come);
        } else {
            engine->is_past = true;
            next_step(engine);
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
        next_step(engine);
        return false;
    }
    if (step->kind == STEP_UNDO) {
        undo_left(engine);
        return false;
    }
    if (engine->phase == PHASE_IDLE && engine->cancel_asked && !engine->is_past && !is_wait &&
        engine->main.outcome == QBLK_OUTCOME_NONE && step->kind != STEP_VERB &&
        step->kind != STEP_THAW && step->kind != STEP_MEND && step->command != NULL) {
        turn_back(engine, &engine->cancel_error);
        return false;
    }
    if (step->kind == STEP_URGE)
        return urge(engine, act);
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

/* ---- what happened -------------------------------------------------------------------------- */

/* What QEMU said to a command; 0 for a return. */
static int judge(const char *reply, const qblk_error *error, qblk_error *ret_error)
{
    if (reply == NULL)
        return err_copy(ret_error, error);
    return codec_reply(&qapi_cmd_job_dismiss, reply, NULL, ret_error);
}

static void reply_undo(struct engine *engine, const char *reply, const qblk_error *error)
{
    const struct step *step = &engine->steps[engine->at - 1];
    qblk_error mine;

    if (judge(reply, error, &mine) < 0 && step->kind != STEP_START)
        engine_note(engine, "could not undo \"%s\": %s", step->name, mine.text);
    engine->phase = PHASE_IDLE;
    engine->at--;
}

/* The reply to the command of a STEP_CREATE or to the dismiss that ends it. */
static void reply_create(struct engine *engine, int r, qblk_error *error)
{
    const struct step *step = &engine->steps[engine->at];

    if (engine->phase == PHASE_LAST) {
        if (r < 0)
            engine_note(engine, "job %s could not be dismissed: %s", step->job, error->text);
        if (engine->side.outcome == QBLK_OUTCOME_COMPLETED || step->command == NULL) {
            next_step(engine);
        } else {
            engine->steps[engine->at].is_done = true;
            job_error(&engine->side, error);
            fail_step(engine, error);
        }
    } else if (r < 0) {
        fail_step(engine, error);
    } else {
        engine->phase = PHASE_JOB;
    }
}

/* QEMU's words with a code of ours. */
static void fail_as(qblk_error_code code, qblk_error *error)
{
    qblk_error mine;

    (void)err_set(&mine, code, "%s", error->text);
    (void)snprintf(mine.qmp_class, sizeof(mine.qmp_class), "%s", error->qmp_class);
    *error = mine;
}

static void reply_forward(struct engine *engine, const char *reply, const qblk_error *error)
{
    struct step *step = &engine->steps[engine->at];
    enum step_kind kind = step->kind; /* a check may move the list */
    qblk_error mine;
    int r = judge(reply, error, &mine);

    switch (kind) {
    case STEP_CREATE:
        reply_create(engine, r, &mine);
        return;
    case STEP_ABSENT:
        if (r < 0 && mine.code == QBLK_E_QEMU) {
            engine->at++; /* not done: there is nothing to undo */
            engine->phase = PHASE_IDLE;
            return;
        }
        if (r == 0) {
            step->is_done = true;
            (void)step->check(engine->arg, engine, reply, &mine);
        }
        turn_back(engine, &mine);
        return;
    case STEP_CHECK:
        if (r == 0)
            r = step->check(engine->arg, engine, reply, &mine);
        if (r < 0 && engine->is_past) {
            err_prefix(&mine, "%s", engine->steps[engine->at].name);
            if (engine->error.code == QBLK_E_NONE)
                engine->error = mine;
            r = 0;
        }
        break;
    case STEP_SURVEY:
        if (r == 0)
            (void)step->check(engine->arg, engine, reply, &mine);
        r = 0;
        break;
    case STEP_CLEAN:
        if (r < 0 && step->node != NULL) {
            engine->n_doubts++;
            engine_note(engine, "node %s could not be removed: %s", step->node, mine.text);
        } else if (r < 0 && !step->is_quiet) {
            engine_note(engine, "%s: %s%s%s", step->name, mine.text,
                        step->otherwise != NULL ? "; " : "",
                        step->otherwise != NULL ? step->otherwise : "");
        }
        r = 0;
        break;
    case STEP_POINT:
        engine->is_past = r == 0;
        break;
    case STEP_DISMISS:
        if (r < 0)
            engine_note(engine, "job %s could not be dismissed: %s", engine->main.id, mine.text);
        r = 0;
        break;
    case STEP_URGE:
        if (r < 0 && !engine->has_come)
            r = step->check(engine->arg, engine, reply, &mine);
        if (r >= 0 || engine->has_come) {
            engine->phase = PHASE_JOB;
            return;
        }
        break;
    case STEP_CALL:
    case STEP_START:
    case STEP_VERB:
    case STEP_READY:
    case STEP_ENDED:
    case STEP_OVER:
    case STEP_UNDO:
    case STEP_MARK:
    case STEP_FREEZE:
    case STEP_THAW:
    case STEP_MEND:
    case STEP_BARRIER:
    default:
        break;
    }
    if (r < 0 && kind == STEP_CALL && step->fails_as != QBLK_E_NONE && mine.code == QBLK_E_QEMU)
        fail_as(step->fails_as, &mine);
    if (r < 0 && kind == STEP_VERB && engine->main.is_ending)
        r = 0; /* it ended before the verb came; its outcome decides, known yet or not */
    if (r < 0)
        fail_step(engine, &mine);
    else
        next_step(engine);
}

void engine_reply(struct engine *engine, enum act_tag tag, const char *reply,
                  const qblk_error *error)
{
    if (tag == TAG_AUX)
        engine->aux_busy = false; /* refused: the job ends by itself, and that is what counts */
    else if (engine->mode == ENGINE_UNDO)
        reply_undo(engine, reply, error);
    else if (engine->mode == ENGINE_FORWARD)
        reply_forward(engine, reply, error);
}

/* The guest could not be frozen, or is in doubt: then it is to be thawed, by undoing or in its turn. */
static void freeze_failed(struct engine *engine, const qblk_error *error, bool is_frozen)
{
    struct step *step = &engine->steps[engine->at];
    qblk_error mine = *error;

    step->is_done = is_frozen;
    if (!step->is_optional) {
        /* It is not the monitor that was lost. */
        if (mine.kind == QBLK_KIND_CONNECTION)
            mine.kind = QBLK_KIND_FAILED;
        fail_step(engine, &mine);
        return;
    }
    if (!engine->cancel_asked)
        engine_note(engine, "the guest is not quiesced: %s", error->text);
    engine->at++;
    engine->phase = PHASE_IDLE;
}

void engine_agent(struct engine *engine, const qblk_error *error, bool is_frozen)
{
    bool is_freeze = engine->mode == ENGINE_FORWARD &&
                     engine->steps[engine->at].kind == STEP_FREEZE;

    if (engine->mode == ENGINE_OVER)
        return;
    if (error != NULL && is_freeze) {
        freeze_failed(engine, error, is_frozen);
        return;
    }
    if (error != NULL)
        engine_note(engine, "%s", error->text);
    if (engine->mode == ENGINE_FORWARD) {
        next_step(engine);
    } else {
        engine->phase = PHASE_IDLE;
        engine->at--;
    }
}

void engine_unlinked(struct engine *engine, int err)
{
    struct step *step = &engine->steps[engine->at - 1];

    if (err != 0 && err != ENOENT)
        engine_note(engine, "file %s could not be removed: %s", step->unlink, strerror(err));
    engine->phase = PHASE_IDLE;
    step->is_unlinked = true;
    if (step->undo == NULL)
        engine->at--;
}

static void hear(struct engine_job *job, const qblk_job_info *info)
{
    job->is_known = true;
    job->is_ready = job->is_ready || info->is_ready;
    job->is_ending = info->state >= QBLK_JOB_WAITING;
    if (info->outcome != QBLK_OUTCOME_NONE && job->outcome == QBLK_OUTCOME_NONE) {
        job->outcome = info->outcome;
        (void)snprintf(job->error, sizeof(job->error), "%s",
                       info->error != NULL ? info->error : "");
    }
    if (info->state == QBLK_JOB_GONE)
        job->is_gone = true;
}

void engine_hear_job(struct engine *engine, const qblk_job_info *info)
{
    if (strcmp(info->id, engine->main.id) == 0) {
        hear(&engine->main, info);
        return;
    }
    if (engine->mode != ENGINE_FORWARD || engine->at >= engine->n)
        return;
    const struct step *step = &engine->steps[engine->at];

    if (step->kind != STEP_CREATE || !str_equal(step->job, info->id))
        return;
    if (strcmp(engine->side.id, info->id) != 0) {
        memset(&engine->side, 0, sizeof(engine->side));
        (void)snprintf(engine->side.id, sizeof(engine->side.id), "%s", info->id);
    }
    hear(&engine->side, info);
}

void engine_no_job(struct engine *engine, const char *id)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    info.id = id;
    info.state = QBLK_JOB_GONE;
    info.outcome = QBLK_OUTCOME_LOST;
    engine_hear_job(engine, &info);
}

const void *engine_subject(const struct engine *engine)
{
    return engine->at < engine->n ? engine->steps[engine->at].subject : NULL;
}

bool engine_has_begun(const struct engine *engine, enum step_kind kind)
{
    for (size_t i = 0; i < engine->n; i++) {
        const struct step *step = &engine->steps[i];
        bool is_now = engine->mode == ENGINE_FORWARD && i == engine->at &&
                      engine->phase != PHASE_IDLE;

        if (step->kind == kind && (step->is_done || is_now))
            return true;
    }
    return false;
}

void engine_give_up(struct engine *engine, const qblk_error *why)
{
    if (engine->is_past || engine->mode != ENGINE_FORWARD || engine->cancel_asked)
        return;
    engine->cancel_asked = true;
    engine->cancel_error = *why;
}

void engine_cancel(struct engine *engine)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_CANCELLED, "cancelled by the user");
    engine_give_up(engine, &error);
}

void engine_pass(struct engine *engine, int barrier)
{
    if (engine->passed < barrier)
        engine->passed = barrier;
}

int engine_barrier(const struct engine *engine)
{
    if (engine->mode != ENGINE_FORWARD || engine->at >= engine->n ||
        engine->steps[engine->at].kind != STEP_BARRIER)
        return 0;
    return engine->steps[engine->at].barrier;
}

void engine_come(struct engine *engine, const qblk_error *why)
{
    if (engine->has_come || engine->tried == 0)
        return;
    engine->has_come = true;
    if (why != NULL)
        engine->no_come = *why;
}

void engine_time(struct engine *engine)
{
    engine->is_time = true;
}

bool engine_has_changed(const struct engine *engine)
{
    for (size_t i = 0; i < engine->at && i < engine->n; i++) {
        if (engine->steps[i].is_done)
            return true;
    }
    return engine->at < engine->n && engine->phase != PHASE_IDLE;
}
