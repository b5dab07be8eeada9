/* Carries out what the step engine says, on a monitor. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/claim.h"
#include "monitor/hazard.h"
#include "ops/guest.h"
#include "ops/made.h"

/* The id of the job that the step's command starts, or NULL. */
static const char *started_job(const qblk_op *op, const struct step *step)
{
    if (step->kind == STEP_START)
        return op->names.job;
    return step->kind == STEP_CREATE ? step->job : NULL;
}

static const char *started_type(const qblk_op *op, const struct step *step)
{
    return step->kind == STEP_CREATE ? "create" : op->kind->job_type;
}

/* The job set knows that a job is coming, so that lost events do not lose the job. */
static void tell_started(qblk_op *op, const char *reply, const qblk_error *error)
{
    const char *job = op->starting;
    qblk_error refused;

    op->starting = NULL;
    if (job == NULL)
        return;
    if (engine_judge(reply, error, &refused) == 0)
        refused.code = QBLK_E_NONE;
    job_set_replied(op->monitor->jobs, job, refused.code != QBLK_E_NONE ? &refused : NULL,
                    monitor_now_ms());
}

/* There was an answer, and no memory to take it: it may have been done, and is to be undone. What
 * cannot be undone is left to recover, which sees whether it was. */
static void was_unread(qblk_op *op)
{
    struct engine *engine = &op->engine;
    enum step_kind kind;

    if (engine->mode != ENGINE_FORWARD || engine->at >= engine->n)
        return;
    kind = engine->steps[engine->at].kind;
    /* A pivot that was told to a job is seen in that job. */
    if ((kind != STEP_POINT && kind != STEP_VERB) || (kind == STEP_VERB && engine->main.is_ending)) {
        engine->steps[engine->at].is_done = true;
        return;
    }
    op->is_left = op->is_unread = true;
    engine_note(engine, "no memory was left to take the answer to \"%s\": whether it was done is not known",
                engine->steps[engine->at].name);
}

static void on_reply(qblk_op *op, enum act_tag tag, const char *reply, const qblk_error *error)
{
    op->in_flight--;
    if (op->is_over) {
        if (op->free_asked)
            qblk_op_free(op);
        return;
    }
    /* A lost connection ends the operation as a whole, which its monitor tells it. */
    if (reply == NULL && error->kind == QBLK_KIND_CONNECTION)
        return;
    if (tag == TAG_STEP)
        tell_started(op, reply, error);
    if (tag == TAG_STEP && reply == NULL && error->code == QBLK_E_MEMORY)
        was_unread(op);
    if (!op->is_unread)
        engine_reply(&op->engine, tag, reply, error);
    op_run(op);
}

static void step_reply(void *arg, const char *reply, const qblk_error *error)
{
    on_reply(arg, TAG_STEP, reply, error);
}

static void aux_reply(void *arg, const char *reply, const qblk_error *error)
{
    on_reply(arg, TAG_AUX, reply, error);
}

/* A check may have given a later step another command. */
static const qblk_step *face(const qblk_op *op, const struct step *step)
{
    qblk_step *face = &op->steps[step - op->engine.steps];

    face->command = step->command;
    face->undo = step->undo;
    return face;
}

static void tell_step(qblk_op *op, const struct act *act)
{
    if (op->common.ops.on_step != NULL &&
        (act->text == act->step->command || act->text == act->step->undo))
        op->common.ops.on_step(op, face(op, act->step), act->is_undo, op->common.arg);
}

static bool is_command(const char *text, const char *name)
{
    static const char head[] = "{\"execute\":\"";
    size_t len = strlen(name);

    return strncmp(text, head, sizeof(head) - 1) == 0 && strncmp(text + sizeof(head) - 1, name, len) == 0 &&
           text[sizeof(head) - 1 + len] == '"';
}

/* It drains all disks. */
static bool is_drain(const char *text)
{
    return is_command(text, "transaction") || is_command(text, "blockdev-backup") ||
           is_command(text, "drive-backup");
}

/* Some versions of QEMU abort if they are told that while an image is being made. That of an operation takes a
 * moment, and is waited for; somebody else's may take hours. A job of which the type is not known yet may be
 * one. */
static bool must_hold(const qblk_op *op, const struct act *act)
{
    unsigned version = op->monitor->client.version;
    enum hazard hazard = is_drain(act->text) ? HAZARD_DRAIN_WHILE_CREATING : HAZARD_NODES_WHILE_CREATING;
    qblk_job *job = NULL;

    if (op->engine.mode != ENGINE_FORWARD || act->tag != TAG_STEP ||
        (!is_drain(act->text) && !is_command(act->text, "query-named-block-nodes")))
        return false;
    while ((job = qblk_job_next(op->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);

        qblk_job_get_info(job, &info);
        if (info.state < QBLK_JOB_WAITING && info.operation != NULL &&
            hazard_is_known(version, hazard, info.type == NULL || info.type[0] == '\0' ? "create" : info.type))
            return true;
    }
    return false;
}

/* Other clients do not tell what they are about to send, so only one at a time makes an image or drains. Each
 * is a matter of milliseconds, and of the end of each nothing tells. One that is stopped in its middle, or has
 * the name for another reason, is not waited for for ever. */
#define TURN_MS 5
#define TURN_PATIENCE_MS 2000

static bool take_turn(qblk_op *op, const struct act *act)
{
    bool makes = act->step->kind == STEP_CREATE && act->text == act->step->command;
    int64_t now = monitor_now_ms();

    if (op->turn_step != 0 || act->tag != TAG_STEP || act->is_undo || (!makes && !is_drain(act->text)) ||
        !hazard_is_possible(op->monitor->client.version, HAZARD_DRAIN_WHILE_CREATING))
        return true;
    if (claim_turn(op->monitor)) {
        op->turn_step = (size_t)(act->step - op->engine.steps) + 1;
        op->turn_since = 0;
        return true;
    }
    if (op->turn_since == 0)
        op->turn_since = now;
    if (now - op->turn_since >= TURN_PATIENCE_MS) {
        op->turn_since = 0;
        return true;
    }
    monitor_timer_set(op->monitor, &op->timer, now + TURN_MS);
    return false;
}

void op_end_turn(qblk_op *op)
{
    if (op->turn_step != 0)
        claim_turn_done(op->monitor);
    op->turn_step = 0;
}

/* What cleans up must not be left out because memory is short for a moment. Only the start of a job
 * is not tried again: it fails, and nothing has come of it. */
#define RESEND_MS 100
#define MAX_RESENDS 20

static bool send_later(qblk_op *op, const struct act *act)
{
    if (op->resends == MAX_RESENDS)
        return false;
    op->resends++;
    op->unsent = *act;
    op->unsent_at = (size_t)(act->step - op->engine.steps);
    monitor_timer_set(op->monitor, &op->resend, monitor_now_ms() + RESEND_MS);
    return true;
}

static void send(qblk_op *op, const struct act *act)
{
    const char *job;
    qblk_error error;
    int r;

    job = act->tag == TAG_STEP && !act->is_undo && act->text == act->step->command
              ? started_job(op, act->step) : NULL;
    if (job != NULL) {
        if (job_set_started(op->monitor->jobs, job, started_type(op, act->step),
                            monitor_now_ms()) == NULL) {
            (void)err_nomem(&error);
            engine_reply(&op->engine, act->tag, NULL, &error);
            return;
        }
        /* What was told of an earlier job of that name is not about this one. */
        memset(&op->engine.side, 0, sizeof(op->engine.side));
        op->starting = job;
        op->has_job = op->has_job || act->step->kind == STEP_START;
    }
    op->in_flight++;
    r = monitor_call_text(op->monitor, act->text, act->tag == TAG_AUX ? aux_reply : step_reply,
                          op, NULL, &error);
    if (r == 0)
        op->resends = 0;
    if (r < 0) {
        op->in_flight--;
        if (error.code == QBLK_E_MEMORY && job == NULL && send_later(op, act))
            return;
        if (error.kind == QBLK_KIND_CONNECTION)
            return;
        if (job != NULL)
            tell_started(op, NULL, &error);
        engine_reply(&op->engine, act->tag, NULL, &error);
    }
}

static qblk_result success(const qblk_op *op)
{
    if (!op->kind->has_endings || op->ending == QBLK_END_DEFAULT)
        return QBLK_RESULT_COMPLETED;
    if (op->ending == QBLK_END_KEEP)
        return QBLK_RESULT_KEPT;
    return op->ending == QBLK_END_PIVOT ? QBLK_RESULT_PIVOTED : QBLK_RESULT_FINISHED;
}

static void tell_kept(qblk_op *op)
{
    engine_note(&op->engine, "job %s is ready and goes on mirroring every write; end it with "
                "\"qblk recover --operation %s --pivot\", \"--finish\" (keep the copy as it is "
                "then) or \"--undo\"", op->names.job, op->id);
}

/* A disk that has no name but that of its node goes by another one now. */
static void tell_moved(qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);

    if (disk != NULL && disk->qom_path[0] == '\0' && disk->drive[0] == '\0')
        engine_note(&op->engine, "no device names disk %s: node %s has taken its place",
                    op->disk_name, op->landing);
}

/* QEMU's words for a job that failed say neither whose it was nor which file or server they are about. */
static void name_parts(qblk_op *op)
{
    qblk_error *error = &op->engine.error;
    const char *target = op->to.path;
    size_t len = strlen(error->text);

    if (error->code == QBLK_E_JOB_FAILED && error->job[0] != '\0' && !op->is_nameless)
        (void)snprintf(error->text + len, sizeof(error->text) - len, " (disk %s%s%s)", op->disk_name,
                       target != NULL ? ", target " : "", target != NULL ? target : "");
}

static void over(qblk_op *op)
{
    const qblk_error *error = &op->engine.error;

    name_parts(op);
    if (op->engine.flaw.code != QBLK_E_NONE && error->code != QBLK_E_NONE &&
        error->kind != QBLK_KIND_CANCELLED)
        engine_note(&op->engine, "%s", op->engine.flaw.text);
    if (op->engine.flaw.code != QBLK_E_NONE &&
        (error->code == QBLK_E_NONE || error->kind == QBLK_KIND_CANCELLED)) {
        engine_note(&op->engine, "the operation was %s all the same",
                    error->code != QBLK_E_NONE ? "undone" : qblk_result_name(success(op)));
        op_end(op, QBLK_RESULT_FAILED, &op->engine.flaw);
    } else if (op->is_to_undo && error->code == QBLK_E_JOB_FAILED) {
        /* That was asked for; why there was nothing else to be done is news all the same. */
        engine_note(&op->engine, "%s", error->text);
        op_end(op, QBLK_RESULT_UNDONE, NULL);
    } else if (error->code == QBLK_E_NONE) {
        if (success(op) == QBLK_RESULT_KEPT) {
            op->has_job = true; /* also if it was ready before, and nothing had to be heard of it */
            tell_kept(op);
        } else if (success(op) == QBLK_RESULT_PIVOTED) {
            tell_moved(op);
        }
        op_end(op, success(op), NULL);
    } else if (error->kind == QBLK_KIND_CANCELLED && op->is_resumed && !op->is_own) {
        op_end(op, QBLK_RESULT_UNDONE, NULL);
    } else if (error->kind == QBLK_KIND_CANCELLED) {
        op_end(op, QBLK_RESULT_CANCELLED, error);
    } else if (error->kind == QBLK_KIND_CONNECTION) {
        op_end(op, QBLK_RESULT_LOST, error);
    } else {
        op_end(op, QBLK_RESULT_FAILED, error);
    }
}

/* A job that was there before us says nothing by itself. */
static void look(qblk_op *op, const char *id)
{
    qblk_job *job = qblk_job_find(op->monitor, id);
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (job == NULL) {
        engine_no_job(&op->engine, id);
        return;
    }
    qblk_job_get_info(job, &info);
    engine_hear_job(&op->engine, &info);
}

/* Whether the user has said that it is to be undone, or it cannot but be: QEMU was told so. */
static bool is_turning_back(const struct engine *engine)
{
    return engine->mode == ENGINE_UNDO || (engine->cancel_asked && !engine->is_past);
}

/* Its job waits, once it is in sync, for somebody to end it, and nobody has told it yet. */
static bool has_no_end(const qblk_op *op)
{
    return op->kind->has_endings && op->ending != QBLK_END_DEFAULT && !op->engine.main.is_ending;
}

/* Says what goes on without us and how to take it up again. */
static void tell_open(qblk_op *op)
{
    const struct engine *engine = &op->engine;
    const qblk_job *job = qblk_job_find(op->monitor, op->names.job);
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (job != NULL)
        qblk_job_get_info(job, &info);

    if (is_turning_back(engine)) {
        engine_note(&op->engine, "operation %s was being cancelled and undone; \"qblk recover --operation %s "
                    "--undo\" undoes what is left of it", op->id, op->id);
        return;
    }
    if (op->has_job && engine->main.outcome == QBLK_OUTCOME_NONE && info.is_stalled)
        engine_note(&op->engine, "operation %s is left open: job %s is stopped by an I/O error", op->id,
                    op->names.job);
    else if (op->has_job && engine->main.outcome == QBLK_OUTCOME_NONE && has_no_end(op))
        engine_note(&op->engine, "operation %s is left open: job %s goes on in QEMU, and does not end before "
                    "recover ends it", op->id, op->names.job);
    else if (op->has_job && engine->main.outcome == QBLK_OUTCOME_NONE)
        engine_note(&op->engine, "operation %s is left open: job %s goes on in QEMU; \"qblk job "
                    "wait %s\" waits for it", op->id, op->names.job, op->names.job);
    else
        engine_note(&op->engine, "operation %s is left open at the step \"%s\"", op->id,
                    engine->at < engine->n ? engine->steps[engine->at].name
                    : engine->n > 0        ? "the end"
                                           : "see what is there");
    engine_note(&op->engine, "take it up again with \"qblk recover --operation %s\", or undo "
                "it with \"qblk recover --operation %s --undo\"", op->id, op->id);
}

static void leave(qblk_op *op)
{
    const struct engine *engine = &op->engine;
    bool is_begun = op->has_returned || (op->graph != NULL && engine_has_changed(engine));
    qblk_error why;

    op->is_idle = !is_begun;
    if (!is_begun)
        engine_note(&op->engine, "nothing was changed yet");
    else if (op->kind->tell_left != NULL)
        op->kind->tell_left(op);
    else
        tell_open(op);
    if (op->is_unread) {
        (void)err_nomem(&why);
        err_prefix(&why, "%s", engine->steps[engine->at].name);
    }
    op_end(op, op->is_unread ? QBLK_RESULT_FAILED : QBLK_RESULT_LEFT, op->is_unread ? &why : NULL);
}

void op_run(qblk_op *op)
{
    if (op->is_pumping)
        return;
    op->is_pumping = true;
    while (!op->is_over) {
        if (op->is_left) {
            if (!guest_holds(op))
                leave(op);
            break;
        }
        if (op->unsent.kind != ACT_WAIT)
            break;
        if (op->monitor->state == QBLK_MONITOR_DEAD || op->is_away || !op->is_planned)
            break; /* op_end() comes from there, or op_take_up(), or the graph */
        struct act act = engine_next(&op->engine);

        if (act.kind != ACT_WAIT || op->engine.mode != ENGINE_FORWARD || op->engine.at + 1 != op->turn_step)
            op_end_turn(op);
        op->is_held = act.kind == ACT_SEND && (must_hold(op, &act) || !take_turn(op, &act));
        if (op->is_held) {
            engine_hold(&op->engine, act.step);
            break;
        }
        if (act.kind == ACT_WAIT) {
            if (act.wait_ms > 0 && !op->timer.is_set)
                monitor_timer_set(op->monitor, &op->timer, monitor_now_ms() + act.wait_ms);
            break;
        }
        monitor_timer_stop(&op->timer);
        if (act.kind == ACT_OVER && op_over_again(op))
            break;
        if (act.kind == ACT_OVER)
            over(op);
        else if (act.kind == ACT_LOOK)
            look(op, act.text);
        else if (act.kind == ACT_UNLINK)
            engine_unlinked(&op->engine, made_remove(act.step));
        if (act.kind != ACT_SEND && act.kind != ACT_AGENT)
            continue;
        made_see(&op->engine);
        tell_step(op, &act);
        if (act.kind == ACT_AGENT)
            guest_act(op, &act);
        else
            send(op, &act);
    }
    op->is_pumping = false;
    group_notice(op);
    if (op->is_over && op->free_asked)
        qblk_op_free(op);
}

void op_resend_due(struct monitor_timer *timer)
{
    qblk_op *op = LIST_ENTRY(timer, qblk_op, resend);
    struct act act = op->unsent;

    act.step = op->engine.steps + op->unsent_at; /* a reply may have added steps meanwhile */
    op->unsent.kind = ACT_WAIT;
    if (op->is_over || op->is_away || op->monitor->state == QBLK_MONITOR_DEAD)
        return;
    send(op, &act);
    op_run(op);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* A job is heard of for its state and for its end, which may come together. */
static bool is_told_end(qblk_op *op, const qblk_job_info *info)
{
    qblk_job_state before = op->told_end;

    op->told_end = info->outcome != QBLK_OUTCOME_NONE ? info->state : QBLK_JOB_STARTING;
    return info->outcome != QBLK_OUTCOME_NONE && info->state == before;
}

static void hear(qblk_job *job, void *arg)
{
    qblk_op *op = arg;
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (op->is_over || op->is_away)
        return;
    qblk_job_get_info(job, &info);
    /* One that is taken up may wait for what another has under way. */
    if (!str_equal(info.operation, op->id) && !op->is_resumed) {
        if (op->is_held)
            op_run(op);
        return;
    }
    if (strcmp(info.id, op->names.job) == 0) {
        op->has_job = true;
        op->bytes = info.current;
        if (!is_told_end(op, &info) && op->common.ops.on_job != NULL)
            op->common.ops.on_job(op, &info, op->common.arg);
        if (op->is_over)
            return;
    }
    engine_hear_job(&op->engine, &info);
    if (op->is_planned)
        op_run(op);
}

int op_listen(qblk_op *op, qblk_error *error)
{
    op->listener = mem_zalloc(sizeof(*op->listener));
    if (op->listener == NULL)
        return err_nomem(error);
    op->listener->ops.size = sizeof(op->listener->ops);
    op->listener->ops.on_job = hear;
    op->listener->ops.on_state = hear;
    op->listener->ops.on_end = hear;
    op->listener->ops.on_gone = hear;
    op->listener->ops.on_synced = op_synced;
    op->listener->arg = op;
    op->listener->is_owned = true;
    jobs_listen(op->monitor, op->listener);
    return 0;
}
