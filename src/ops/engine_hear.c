/* What the engine makes of that which happened, and what it tells of itself. */
#include "ops/engine_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "qapi_types.h"
#include "qmp/scan.h"

static bool is_return(const char *reply)
{
    struct scan scan;
    struct scan_member member;
    bool is = false;

    scan_init(&scan, reply, strlen(reply));
    while (scan_member_next(&scan, &member))
        is = is || scan_string_is(&member.key, "return");
    return is;
}

int engine_judge(const char *reply, const qblk_error *error, qblk_error *ret_error)
{
    int r;

    if (reply == NULL)
        return err_copy(ret_error, error);
    r = codec_reply(&qapi_cmd_job_dismiss, reply, NULL, ret_error);
    /* What QEMU has done is done, though there be no memory to read that. */
    return r < 0 && ret_error->code == QBLK_E_MEMORY && is_return(reply) ? 0 : r;
}

/* One that is not there any more is no reason: somebody else was faster. */
static bool is_absent(const qblk_error *error)
{
    return strstr(error->text, "find node") != NULL;
}

static bool is_flaw(struct engine *engine, const struct step *step, const qblk_error *error)
{
    if (!step->is_vital || is_absent(error) || engine->flaw.code != QBLK_E_NONE)
        return false;
    engine->flaw = *error;
    err_prefix(&engine->flaw, "the journal could not be removed, and the operation stays open until it is");
    return true;
}

static void reply_undo(struct engine *engine, const char *reply, const qblk_error *error)
{
    const struct step *step = &engine->steps[engine->at - 1];
    qblk_error mine;
    int r = engine_judge(reply, error, &mine);

    if (r < 0 && !is_flaw(engine, step, &mine) && step->kind != STEP_START && !step->is_quiet)
        engine_note(engine, "could not undo \"%s\": %s", step->name, mine.text);
    /* A node that stays has a file under it. One that is not there is no reason to keep that. */
    if (r < 0 && step->undo != NULL && strstr(step->undo, qapi_cmd_blockdev_del.name) != NULL &&
        !is_absent(&mine))
        engine->keeps_files = true;
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
            engine_next_step(engine);
        } else {
            engine->steps[engine->at].is_done = true;
            engine_job_error(&engine->side, error);
            engine_fail_step(engine, error);
        }
    } else if (r < 0) {
        engine_fail_step(engine, error);
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
    bool was_past = engine->is_past;
    qblk_error mine;
    int r = engine_judge(reply, error, &mine);

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
        engine_turn_back(engine, &mine);
        return;
    case STEP_CHECK:
        if (r == 0)
            r = step->check(engine->arg, engine, reply, &mine);
        if (r < 0) /* it may have been about to plan the rest of the list, and no more than about to */
            engine->is_past = was_past;
        if (r < 0 && engine->is_void) {
            engine->is_past = false;
            engine_turn_back(engine, &mine);
            return;
        }
        if (r < 0 && was_past) {
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
            engine->is_in_doubt = true;
            engine_note(engine, "node %s could not be removed: %s", step->node, mine.text);
        } else if (r < 0 && !is_flaw(engine, step, &mine) && !step->is_quiet) {
            engine_note(engine, "%s: %s%s%s", step->name, mine.text,
                        step->otherwise != NULL ? "; " : "",
                        step->otherwise != NULL ? step->otherwise : "");
        } else if (r == 0 && step->note != NULL) {
            engine_note(engine, "%s", step->note);
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
    case STEP_HAIL:
    case STEP_FREEZE:
    case STEP_THAW:
    case STEP_MEND:
    case STEP_BARRIER:
    default:
        break;
    }
    if (r < 0 && kind == STEP_CALL && step->otherwise != NULL)
        engine_note(engine, "%s", step->otherwise);
    if (r < 0 && kind == STEP_CALL && step->fails_as != QBLK_E_NONE && mine.code == QBLK_E_QEMU)
        fail_as(step->fails_as, &mine);
    if (r < 0 && kind == STEP_VERB && engine->main.is_ending)
        r = 0; /* it ended before the verb came; its outcome decides, known yet or not */
    if (r < 0 && engine_awaits_end(engine, &engine->steps[engine->at]))
        engine->phase = PHASE_IDLE;
    else if (r < 0)
        engine_fail_step(engine, &mine);
    else
        engine_next_step(engine);
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

/* The guest could not be frozen, or is in doubt: then it is to be thawed, by undoing or in its
 * turn. Or nobody would freeze it. */
static void freeze_failed(struct engine *engine, const qblk_error *error, bool is_frozen)
{
    struct step *step = &engine->steps[engine->at];
    qblk_error mine = *error;

    step->is_done = is_frozen;
    if (!step->is_optional) {
        if (mine.code == QBLK_E_CANCELLED && engine->cancel_asked) {
            engine_turn_back(engine, &engine->cancel_error);
            return;
        }
        if (step->kind == STEP_HAIL)
            mine.kind = QBLK_KIND_REFUSED;
        else if (mine.kind == QBLK_KIND_CONNECTION) /* it is not the monitor that was lost */
            mine.kind = QBLK_KIND_FAILED;
        engine_fail_step(engine, &mine);
        return;
    }
    if (!engine->cancel_asked)
        engine_note(engine, "the guest is not quiesced: %s", error->text);
    engine->at++;
    engine->phase = PHASE_IDLE;
}

/* What a dead client has frozen stays so, and this is the last that is known of it. */
static void mend_failed(struct engine *engine, const qblk_error *error)
{
    const char *socket = engine->steps[engine->at].otherwise;

    engine->flaw = *error;
    if (error->code != QBLK_E_FROZEN)
        (void)err_set(&engine->flaw, QBLK_E_FROZEN, "THE GUEST MAY STILL BE FROZEN by the client that began "
                      "the operation: %.500s; look with \"qblk agent status %s\", and thaw it with \"qblk "
                      "agent thaw %s\"", error->text, socket != NULL ? socket : "SOCKET",
                      socket != NULL ? socket : "SOCKET");
}

void engine_agent(struct engine *engine, const qblk_error *error, bool is_frozen)
{
    bool is_freeze = engine->mode == ENGINE_FORWARD &&
                     (engine->steps[engine->at].kind == STEP_FREEZE ||
                      engine->steps[engine->at].kind == STEP_HAIL);

    if (engine->mode == ENGINE_OVER)
        return;
    if (error != NULL && is_freeze) {
        freeze_failed(engine, error, is_frozen);
        return;
    }
    if (error != NULL && engine->mode == ENGINE_FORWARD && engine->steps[engine->at].kind == STEP_MEND)
        mend_failed(engine, error);
    else if (error != NULL)
        engine_note(engine, "%s", error->text);
    if (engine->mode == ENGINE_FORWARD) {
        engine_next_step(engine);
    } else {
        engine->phase = PHASE_IDLE;
        engine->at--;
    }
}

void engine_unlinked(struct engine *engine, int err)
{
    struct step *step = &engine->steps[engine->at - 1];

    if (err == EBUSY)
        engine->keeps_files = true;
    if (err == EBUSY)
        engine_note(engine, "file %s is left: somebody uses it", step->unlink);
    else if (err == EEXIST)
        engine_note(engine, "file %s is left: it is not the one that was made, which somebody has put "
                    "elsewhere", step->unlink);
    else if (err != 0 && err != ENOENT)
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

void engine_misheard(struct engine *engine)
{
    if (engine->at < engine->n && engine->tried < engine->steps[engine->at].tries)
        engine->is_time = true;
}

void engine_time(struct engine *engine)
{
    engine->is_time = true;
}

static bool can_change(const struct step *step)
{
    return step->kind != STEP_HAIL && step->kind != STEP_BARRIER;
}

bool engine_has_changed(const struct engine *engine)
{
    for (size_t i = 0; i < engine->at && i < engine->n; i++) {
        if (engine->steps[i].is_done && can_change(&engine->steps[i]))
            return true;
    }
    return engine->at < engine->n && engine->phase != PHASE_IDLE && can_change(&engine->steps[engine->at]);
}
