/* Readings: what query-jobs and query-block-jobs say. A reading is believed about a job of which
 * nothing was heard since the query was written; about others it may be older than the events. */
#include "job/set_priv.h"

#include <string.h>

/* The reply that is due may tell why it is not there; if it said how it ended, there is no need. */
static enum fsm_event absent(const qblk_job *job)
{
    return job->reply_due && job->said == JOB_SAID_NOTHING ? EV_ABSENT_EARLY : EV_ABSENT;
}

void set_each(struct job_set *set, enum fsm_event event, const char *text,
              bool (*is_meant)(const struct job_set *set, const qblk_job *job))
{
    struct list meant;

    list_init(&meant);
    LIST_FOR_EACH (link, &set->jobs) {
        qblk_job *job = LIST_ENTRY(link, qblk_job, link);

        if (is_meant != NULL && !is_meant(set, job))
            continue;
        list_remove(&job->work);
        list_append(&meant, &job->work);
    }
    while (!list_is_empty(&meant)) {
        qblk_job *job = LIST_ENTRY(meant.next, qblk_job, work);

        list_remove(&job->work);
        if (job->state == FSM_GONE)
            continue;
        set_feed(set, job, event == EV_ABSENT ? absent(job) : event, text);
    }
}

void job_set_reading_begin(struct job_set *set, enum job_want what)
{
    set->epoch++;
    set->is_reading = true;
    set->reads = what;
    set->is_told = false;
    if (what < set->want)
        return;
    set->is_told = set->ask_is_told;
    set->ask_is_told = false;
    set->want = JOB_WANT_NOTHING;
    if (what == JOB_WANT_ALL)
        set->retry_due = false;
}

static bool heard_since(const struct job_set *set, const qblk_job *job)
{
    return job->heard_epoch >= set->epoch;
}

/* An older word may only add what cannot change any more. */
static void read_older(struct job_set *set, qblk_job *job, const struct job_reading *reading,
                       enum fsm_event event)
{
    if (event == EV_SEEN_CONCLUDED && job->born_epoch < set->epoch) {
        set_feed(set, job, event, reading->error);
        return;
    }
    /* It was meant to settle a surprise and could not: once more. */
    if (set->is_told && set->want == JOB_WANT_NOTHING && !fsm_is_over(job->state)
        && strcmp(reading->status, fsm_state_name(job->state)) != 0)
        set->want = JOB_WANT_JOBS;
    set_deliver(set, job);
}

static void read_job(struct job_set *set, qblk_job *job, const struct job_reading *reading,
                     int64_t now_ms)
{
    enum fsm_event event = fsm_seen(reading->status);
    bool is_older = heard_since(set, job);

    job_note_reading(job, reading, is_older, now_ms);
    job->seen_epoch = set->epoch;
    if (reading->is_block && job->is_announced) {
        if (is_older && job->is_stalled && !job->is_reason_read)
            set->want = JOB_WANT_ALL; /* it was to tell the reason */
        set_deliver(set, job);
        return;
    }
    /* Only query-jobs is believed about a result: what query-block-jobs has is poorer on 5.2. */
    if (reading->is_block && event == EV_SEEN_CONCLUDED)
        event = EV_CONCLUDED;
    if (is_older) {
        read_older(set, job, reading, event);
        return;
    }
    job_note_status(job, event, reading->status);
    set_feed(set, job, event == EV_ABSENT ? absent(job) : event, reading->error);
}

void job_set_reading_job(struct job_set *set, const struct job_reading *reading, int64_t now_ms)
{
    qblk_job *job;

    if (!set->is_reading || set->is_over || reading->id == NULL || reading->status == NULL)
        return;
    set_enter(set, now_ms);
    job = job_set_find(set, reading->id);
    if (job != NULL) {
        read_job(set, job, reading, now_ms);
    } else if (set->gone_epoch >= set->epoch) {
        /* It may be one that has gone since the query was written. */
        if (set->want == JOB_WANT_NOTHING)
            set->want = JOB_WANT_ALL;
    } else if (fsm_seen(reading->status) != EV_ABSENT) {
        job = set_add_found(set, reading->id, reading->type);
        if (job != NULL) {
            job->born_epoch = job->heard_epoch = 0;
            read_job(set, job, reading, now_ms);
        }
    }
    set_leave(set);
}

static bool is_missing(const struct job_set *set, const qblk_job *job)
{
    return job->seen_epoch < set->epoch && !heard_since(set, job);
}

void job_set_reading_end(struct job_set *set, int64_t now_ms)
{
    if (!set->is_reading || set->is_over)
        return;
    set_enter(set, now_ms);
    set_each(set, EV_ABSENT, NULL, is_missing);
    set->is_reading = false;
    set_postpone(set);
    if (set->is_told && set->ops->on_synced != NULL)
        set->ops->on_synced(set->arg);
    set_leave(set);
}

void job_set_reading_failed(struct job_set *set, int64_t now_ms)
{
    if (!set->is_reading || set->is_over)
        return;
    set->now_ms = now_ms;
    set->is_reading = false;
    /* Whoever refuses now would refuse again at once. */
    if (set->is_told) {
        set->ask_is_told = true;
        set_ask_later(set);
    }
    set_postpone(set);
}
