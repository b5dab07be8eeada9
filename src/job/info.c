/* The public face of a job: what it looks like, and what may be done to it. */
#include <string.h>

#include "base/err.h"
#include "job/job.h"

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* QEMU's word where QEMU has one; the state as it was before, once the job is lost. */
static const char *status_word(const qblk_job *job)
{
    if (job->odd_status != NULL)
        return job->odd_status;
    return qblk_job_state_name(fsm_public(job->state));
}

static int64_t estimate(const qblk_job *job)
{
    uint64_t left;

    if (job->total <= job->current || job->rate == 0 || job->state != FSM_RUNNING)
        return -1;
    left = job->total - job->current;
    if (left / job->rate > (uint64_t)INT64_MAX / 1000 - 1)
        return -1;
    return (int64_t)(left / job->rate * 1000)
           + (int64_t)((double)(left % job->rate) * 1000.0 / (double)job->rate);
}

void qblk_job_get_info(const qblk_job *job, qblk_job_info *ret_info)
{
    qblk_job_info info = { .size = sizeof(info) };
    size_t size = ret_info->size;
    bool moves = job->state == FSM_RUNNING || job->state == FSM_READY;

    info.id = job->id;
    info.type = or_empty(job->type);
    info.status = status_word(job);
    info.state = fsm_public(job->state);
    info.outcome = job->outcome;
    info.error = !job->has_error      ? NULL
                 : job->error != NULL ? job->error
                                      : "the text did not fit into memory";
    info.operation = job->operation[0] != '\0' ? job->operation : NULL;
    info.current = job->current;
    info.total = job->total;
    info.speed = job->speed;
    info.rate = moves ? job->rate : 0;
    info.eta_ms = estimate(job);
    info.is_ready = job->is_ready;
    info.is_stalled = job->is_stalled;
    info.is_listed = job->is_listed;
    info.auto_finalize = job->auto_finalize;
    info.auto_dismiss = job->auto_dismiss;
    info.stall_reason = !job->is_stalled ? NULL : job->is_nospace ? "nospace" : "failed";
    info.stall_node = job->is_stalled ? job->stall_node : NULL;
    info.stall_op = job->is_stalled ? job->stall_op : NULL;
    info.errors = job->errors;
    info.is_stall_known = job->is_stalled && job->is_reason_read && job->is_place_sought;
    info.told_us = job->told_us;

    /* An older caller gets the members it knows, a newer one zeros for those that we do not. */
    if (size > sizeof(info)) {
        memset((char *)ret_info + sizeof(info), 0, size - sizeof(info));
        size = sizeof(info);
    }
    if (size > sizeof(info.size))
        memcpy((char *)ret_info + sizeof(info.size), (const char *)&info + sizeof(info.size),
               size - sizeof(info.size));
}

qblk_monitor *qblk_job_monitor(const qblk_job *job)
{
    return job->owner;
}

const char *qblk_job_state_name(qblk_job_state state)
{
    for (unsigned s = 0; s < FSM_STATES; s++)
        if (fsm_public((enum fsm_state)s) == state && s != FSM_ENDED && s != FSM_VANISHED)
            return fsm_state_name((enum fsm_state)s);
    return "unknown";
}

const char *qblk_job_outcome_name(qblk_job_outcome outcome)
{
    switch (outcome) {
    case QBLK_OUTCOME_NONE:
        return "none";
    case QBLK_OUTCOME_COMPLETED:
        return "completed";
    case QBLK_OUTCOME_FAILED:
        return "failed";
    case QBLK_OUTCOME_CANCELLED:
        return "cancelled";
    case QBLK_OUTCOME_LOST:
        return "lost";
    default:
        return "unknown";
    }
}

const char *qblk_job_verb_name(qblk_job_verb verb)
{
    static const char *const names[FSM_VERBS] = {
        [QBLK_VERB_PAUSE] = "pause",       [QBLK_VERB_RESUME] = "resume",
        [QBLK_VERB_SPEED] = "speed",       [QBLK_VERB_CANCEL] = "cancel",
        [QBLK_VERB_FINISH] = "finish",     [QBLK_VERB_COMPLETE] = "complete",
        [QBLK_VERB_FINALIZE] = "finalize", [QBLK_VERB_DISMISS] = "dismiss",
        [QBLK_VERB_CHANGE] = "change",
    };

    return (unsigned)verb < FSM_VERBS ? names[verb] : "unknown";
}

bool qblk_job_allows(qblk_job_state state, qblk_job_verb verb)
{
    for (unsigned s = 0; s < FSM_STATES; s++)
        if (fsm_public((enum fsm_state)s) == state && fsm_allows((enum fsm_state)s, verb))
            return true;
    return false;
}

/* What the user can do instead. */
static const char *advice(const qblk_job *job, qblk_job_verb verb)
{
    if (fsm_is_over(job->state))
        return job->state == FSM_ENDED ? "; it is over, dismiss it" : "; it is over";
    if (job->state == FSM_CONCLUDED)
        return "; it is over and its result is being read, wait for that";
    if (job->state == FSM_ABORTING)
        return "; it is ending by itself, wait for it";
    switch (verb) {
    case QBLK_VERB_FINISH:
    case QBLK_VERB_COMPLETE:
        return job->state == FSM_PENDING  ? "; finalize or cancel it"
               : job->state == FSM_PAUSED ? "; resume it and wait until it is ready, or cancel it"
                                          : "; wait until it is ready, or cancel it";
    case QBLK_VERB_DISMISS:
        return "; only what is over can be dismissed: wait for it or cancel it";
    case QBLK_VERB_FINALIZE:
        return "; it is finalized by itself unless it was started with auto-finalize off";
    case QBLK_VERB_PAUSE:
    case QBLK_VERB_RESUME:
    case QBLK_VERB_SPEED:
    case QBLK_VERB_CANCEL:
    case QBLK_VERB_CHANGE:
    default:
        return job->state == FSM_STARTING ? "; wait until QEMU has it" : "";
    }
}

static int refuse(const qblk_job *job, qblk_error *error, const char *verb, const char *why,
                  const char *instead)
{
    const char *type = job->type != NULL ? job->type : "of a type not known yet";
    int r = err_set(error, QBLK_E_JOB_STATE, "%s refused: job '%s' (%s) is %s%s%s%s", verb, job->id,
                    type, status_word(job), job->is_stalled ? " (stalled)" : "", why, instead);

    if (error != NULL) {
        strncpy(error->job, job->id, sizeof(error->job) - 1);
        strncpy(error->operation, job->operation, sizeof(error->operation) - 1);
    }
    return r;
}

int job_check_verb(const qblk_job *job, qblk_job_verb verb, qblk_error *error)
{
    const char *name = qblk_job_verb_name(verb);
    char needs[128];

    if ((unsigned)verb >= FSM_VERBS)
        return err_set(error, QBLK_E_ARGUMENT, "there is no verb number %d for a job", (int)verb);
    if (!fsm_allows(job->state, verb)) {
        strcpy(needs, ", it must be ");
        strncat(needs, fsm_verb_needs(verb), sizeof(needs) - strlen(needs) - 1);
        return refuse(job, error, name, needs, advice(job, verb));
    }
    if (verb == QBLK_VERB_FINISH && job->state == FSM_STANDBY
        && (job->user_paused || job->is_stalled))
        return refuse(job, error, name, ", and QEMU does not finish a paused job",
                      "; resume it first, or cancel it");
    if (verb == QBLK_VERB_CHANGE && job->type != NULL && strcmp(job->type, "mirror") != 0)
        return refuse(job, error, name, ", and QEMU can change nothing of a job of this type",
                      "; only a mirror can be made an active one");
    return 0;
}

void job_verb_sent(qblk_job *job, qblk_job_verb verb)
{
    if (verb == QBLK_VERB_PAUSE)
        job->user_paused = true;
    else if (verb == QBLK_VERB_RESUME)
        job->user_paused = false;
    else if (verb == QBLK_VERB_DISMISS)
        job_set_expect_null(job);
}
