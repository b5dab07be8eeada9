#include "job/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* What QEMU's job-cancel leaves as the error: strerror(ECANCELED), in the locale that it sets up
 * for itself, which is C. */
static const char cancelled_text[] = "Operation canceled";

/* The length at which a text is cut off, not inside of a character. */
static size_t kept_length(const char *text)
{
    size_t len = strlen(text), cut = len < JOB_TEXT_MAX ? len : JOB_TEXT_MAX;

    while (cut > 0 && cut < len && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    return cut;
}

static void drop_text(qblk_job *job, char **text)
{
    if (*text != NULL)
        *job->held -= strlen(*text) + 1;
    free(*text);
    *text = NULL;
}

/* Losing a text for want of memory is not worth losing a job for: *text becomes NULL then. Half of
 * what may be held is kept for the ids of other jobs. */
static void keep_text(qblk_job *job, char **text, const char *from)
{
    size_t len = from != NULL ? kept_length(from) : 0;

    if (from != NULL && *text != NULL && strncmp(*text, from, len) == 0 && (*text)[len] == '\0')
        return;
    drop_text(job, text);
    if (from == NULL || *job->held + len + 1 > JOB_SET_TEXTS / 2)
        return;
    *text = mem_strndup(from, len);
    if (*text != NULL)
        *job->held += len + 1;
}

qblk_job *job_new(qblk_monitor *owner, const char *id, const char *type, size_t *held,
                  const struct log *log, void *room)
{
    size_t len = strlen(id);
    qblk_job *job = room;

    if (len >= JOB_SET_TEXTS - *held)
        return NULL;
    if (job == NULL && (job = mem_zalloc(sizeof(*job) + len + 1)) == NULL)
        return NULL;
    list_init(&job->link);
    list_init(&job->work);
    job->owner = owner;
    job->log = log;
    job->held = held;
    memcpy(job->id, id, len);
    *held += len + 1;
    job_note_type(job, type);
    (void)str_our_name(id, job->operation);
    job->state = FSM_STARTING;
    job->visited = 1u << FSM_STARTING;
    return job;
}

qblk_job *job_free(qblk_job *job)
{
    if (job == NULL)
        return NULL;
    list_remove(&job->link);
    list_remove(&job->work);
    *job->held -= strlen(job->id) + 1;
    drop_text(job, &job->type);
    drop_text(job, &job->odd_status);
    drop_text(job, &job->said_error);
    drop_text(job, &job->refusal);
    drop_text(job, &job->error);
    drop_text(job, &job->stall_node);
    drop_text(job, &job->stall_op);
    free(job);
    return NULL;
}

void job_note_refusal(qblk_job *job, const char *text)
{
    job->has_refusal = true;
    keep_text(job, &job->refusal, text);
}

enum fsm_action job_apply(qblk_job *job, enum fsm_event event)
{
    enum fsm_state from = job->state;
    struct fsm_step step = fsm_next(from, event);

    if (step.to != from) {
        job->before = from;
        if (from == FSM_PAUSED || from == FSM_STANDBY)
            job->user_paused = false; /* a user's pause ends by being taken back */
        job->is_changed = job->is_changed || fsm_public(from) != fsm_public(step.to);
    }
    job->state = step.to;
    job->visited |= 1u << step.to;
    if (step.to != from || !step.fits)
        log_debug(job->log, "job %s: %s --%s--> %s (%s)%s%s", job->id, fsm_state_name(from),
                  fsm_event_name(event), fsm_state_name(step.to), fsm_action_name(step.act),
                  step.fits ? "" : ", does not fit",
                  fsm_qemu_reaches(from, step.to) || fsm_is_over(step.to)
                          || step.to == FSM_VANISHED
                      ? ""
                      : ", no way that QEMU is known to go");
    return step.act;
}

void job_note_status(qblk_job *job, enum fsm_event event, const char *status)
{
    bool is_odd = event == EV_UNKNOWN || event == EV_SEEN_UNKNOWN;

    if (is_odd && !str_equal(job->odd_status, status)) {
        log_debug(job->log, "job %s: status \"%s\" is not known here, keeping %s", job->id, status,
                  fsm_state_name(job->state));
        job->is_changed = true;
    }
    keep_text(job, &job->odd_status, is_odd ? status : NULL);
}

void job_note_type(qblk_job *job, const char *type)
{
    if (type != NULL && job->type == NULL)
        keep_text(job, &job->type, type);
}

static uint64_t unsign(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

static void set_progress(qblk_job *job, int64_t current, int64_t total)
{
    if (job->current != unsign(current) || job->total != unsign(total))
        job->is_changed = true;
    job->current = unsign(current);
    job->total = unsign(total);
}

void job_note_block_event(qblk_job *job, const struct block_event_data *event)
{
    job_note_type(job, event->type);
    if (event->kind != BLOCK_ERROR && !fsm_is_over(job->state)) {
        set_progress(job, event->offset, event->len);
        job->speed = unsign(event->speed);
    }
    switch (event->kind) {
    case BLOCK_READY:
        job->is_ready = true;
        break;
    case BLOCK_COMPLETED:
        /* An error is never hidden: not by a cancel, not by hearing it told otherwise. */
        if (job->said == JOB_SAID_NOTHING)
            job->said = event->error != NULL ? JOB_SAID_FAILED : JOB_SAID_COMPLETED;
        keep_text(job, &job->said_error, event->error);
        break;
    case BLOCK_CANCELLED:
        if (job->said == JOB_SAID_NOTHING)
            job->said = JOB_SAID_CANCELLED;
        break;
    case BLOCK_ERROR:
        job->errors++;
        keep_text(job, &job->stall_op, event->operation);
        if (event->action != NULL && strcmp(event->action, "stop") == 0)
            job->stop_heard = true;
        break;
    case BLOCK_PENDING:
    default:
        break;
    }
}

bool job_update_stall(qblk_job *job)
{
    bool was = job->is_stalled;

    job->is_ready = job->is_ready || job->state == FSM_READY || job->state == FSM_STANDBY;
    switch (job->state) {
    case FSM_PAUSED:
    case FSM_STANDBY:
        job->is_stalled = was || job->stop_heard;
        job->stop_heard = false;
        break;
    case FSM_STARTING:
    case FSM_CREATED:
    case FSM_RUNNING:
    case FSM_READY:
        job->is_stalled = false;
        break;
    case FSM_WAITING:
    case FSM_PENDING:
    case FSM_ABORTING:
    case FSM_CONCLUDED:
    case FSM_ENDED:
    case FSM_VANISHED:
    case FSM_GONE:
    case FSM_LOST:
    default:
        job->is_stalled = job->stop_heard = false;
        break;
    }
    if (job->is_stalled != was) {
        job->is_changed = true;
        job->is_nospace = job->is_reason_read = job->is_place_sought = false;
        if (job->is_stalled) {
            drop_text(job, &job->stall_node); /* of the last time */
            log_debug(job->log, "job %s: stalled on a %s error", job->id,
                      job->stall_op != NULL ? job->stall_op : "I/O");
        }
    }
    return job->is_stalled && !was;
}

/* The rate is an average over the samples of a running job that fades with RATE_FADE_MS. */
#define RATE_FADE_MS 3000

static void take_sample(qblk_job *job, enum fsm_event event, int64_t now_ms)
{
    int64_t dt = now_ms - job->sample_ms;

    if (event != EV_SEEN_RUNNING && event != EV_SEEN_READY) {
        job->has_sample = false;
        return;
    }
    if (!job->has_sample || dt < 0 || job->current < job->sample) {
        job->has_sample = true;
    } else if (dt == 0) {
        return;
    } else {
        uint64_t moved = job->current - job->sample;
        uint64_t now = moved / (uint64_t)dt * 1000 + moved % (uint64_t)dt * 1000 / (uint64_t)dt;

        if (job->rate == 0)
            job->rate = now;
        else if (now > job->rate)
            job->rate += (now - job->rate) / (uint64_t)(dt + RATE_FADE_MS) * (uint64_t)dt;
        else
            job->rate -= (job->rate - now) / (uint64_t)(dt + RATE_FADE_MS) * (uint64_t)dt;
    }
    job->sample = job->current;
    job->sample_ms = now_ms;
}

static void note_block_reading(qblk_job *job, const struct job_reading *reading, bool is_stale)
{
    bool is_bad = reading->io_status != NULL && strcmp(reading->io_status, "ok") != 0;
    bool is_nospace = is_bad && strcmp(reading->io_status, "nospace") == 0;
    bool rests = job->state == FSM_PAUSED || job->state == FSM_STANDBY;

    if (!job->is_listed || job->speed != unsign(reading->speed)
        || job->auto_finalize != reading->auto_finalize
        || job->auto_dismiss != reading->auto_dismiss)
        job->is_changed = true;
    job->is_listed = true;
    job->speed = unsign(reading->speed);
    job->auto_finalize = reading->auto_finalize;
    job->auto_dismiss = reading->auto_dismiss;
    if (reading->is_ready && !job->is_ready)
        job->is_ready = job->is_changed = true;
    if (is_stale || !rests)
        return;
    job->user_paused = reading->is_paused;
    if (!is_bad && reading->io_status != NULL && job->is_stalled) {
        job->is_stalled = false; /* resumed, and paused by something else */
        job->is_changed = true;
    } else if (is_bad && reading->is_paused) {
        if (!job->is_stalled || !job->is_reason_read || job->is_nospace != is_nospace)
            job->is_changed = true;
        if (!job->is_stalled)
            job->is_place_sought = false;
        job->is_stalled = job->is_reason_read = true;
        job->is_nospace = is_nospace;
        if (is_nospace && job->stall_op == NULL)
            keep_text(job, &job->stall_op, "write"); /* nothing else runs out of space */
    }
}

void job_note_reading(qblk_job *job, const struct job_reading *reading, bool is_stale,
                      int64_t now_ms)
{
    job_note_type(job, reading->type);
    if (reading->is_block)
        note_block_reading(job, reading, is_stale);
    if (!is_stale || unsign(reading->current) >= job->current)
        set_progress(job, reading->current, reading->total);
    if (!reading->is_block)
        take_sample(job, fsm_seen(reading->status), now_ms);
}

void job_note_place(qblk_job *job, const char *node)
{
    job->is_place_sought = job->is_changed = true;
    if (node != NULL)
        keep_text(job, &job->stall_node, node);
}

bool job_wants_place(const qblk_job *job)
{
    return job->is_stalled && !job->is_place_sought;
}

bool job_is_passing(const qblk_job *job)
{
    static const char *const told[] = { "stream", "commit", "mirror", "backup" };

    if (job->state != FSM_PENDING || job->type == NULL)
        return job->state == FSM_ABORTING;
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        if (strcmp(told[i], job->type) == 0)
            return false; /* BLOCK_JOB_COMPLETED comes, or somebody has to finalize it */
    return !job->is_listed;
}

static bool settle(qblk_job *job, qblk_job_outcome outcome, const char *error)
{
    if (job->outcome != QBLK_OUTCOME_NONE)
        return false;
    job->outcome = outcome;
    job->has_error = error != NULL;
    keep_text(job, &job->error, error);
    log_debug(job->log, "job %s: %s%s%s", job->id, qblk_job_outcome_name(outcome),
              error != NULL ? ": " : "", error != NULL ? error : "");
    return true;
}

bool job_settle_read(qblk_job *job, const char *error)
{
    if (error == NULL)
        return settle(job, QBLK_OUTCOME_COMPLETED, NULL);
    if (job->said == JOB_SAID_CANCELLED)
        return settle(job, QBLK_OUTCOME_CANCELLED, error);
    if (job->said == JOB_SAID_NOTHING && strcmp(error, cancelled_text) == 0)
        return settle(job, QBLK_OUTCOME_CANCELLED, error);
    return settle(job, QBLK_OUTCOME_FAILED, error);
}

bool job_settle_gone(qblk_job *job)
{
    switch (job->said) {
    case JOB_SAID_COMPLETED:
        return settle(job, QBLK_OUTCOME_COMPLETED, NULL);
    case JOB_SAID_FAILED:
        return settle(job, QBLK_OUTCOME_FAILED,
                      job->said_error != NULL ? job->said_error : "QEMU's reason did not fit into "
                                                                  "memory");
    case JOB_SAID_CANCELLED:
        return settle(job, QBLK_OUTCOME_CANCELLED, cancelled_text);
    case JOB_SAID_NOTHING:
    default:
        break;
    }
    if (job->has_refusal)
        return settle(job, QBLK_OUTCOME_FAILED,
                      job->refusal != NULL ? job->refusal : "QEMU refused to start it");
    if ((job->visited & (1u << FSM_ABORTING)) != 0)
        return settle(job, QBLK_OUTCOME_FAILED,
                      "it failed or was cancelled, and QEMU kept no reason: the job was dismissed "
                      "before its result could be read (was auto-dismiss on?)");
    if ((job->visited & 1u << FSM_PENDING) != 0 && (job->visited & 1u << FSM_CONCLUDED) != 0)
        return settle(job, QBLK_OUTCOME_COMPLETED, NULL); /* there was no aborting between */
    return settle(job, QBLK_OUTCOME_LOST,
                  "it vanished from QEMU without a word of how it ended; look at the images");
}

bool job_settle_lost(qblk_job *job, const char *why)
{
    static const char *const said[] = {
        [JOB_SAID_NOTHING] = "",
        [JOB_SAID_COMPLETED] = ", and it had said that it completed",
        [JOB_SAID_FAILED] = ", and it had said that it failed: ",
        [JOB_SAID_CANCELLED] = ", and it had said that it was cancelled",
    };
    AUTO_FREE char *text = NULL;

    if (job->outcome != QBLK_OUTCOME_NONE)
        return false;
    text = mem_printf("%s; the job was %s at %" PRIu64 " of %" PRIu64 "%s%s",
                      why != NULL ? why : "the connection ended", fsm_state_name(job->before),
                      job->current, job->total, said[job->said],
                      job->said == JOB_SAID_FAILED && job->said_error != NULL ? job->said_error
                                                                              : "");
    return settle(job, QBLK_OUTCOME_LOST, text != NULL ? text : "the connection ended");
}
