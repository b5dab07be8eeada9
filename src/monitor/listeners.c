/* Who follows the jobs of a monitor, and what they are told. */
#include "monitor/monitor.h"

#include "base/mem.h"
#include "job/job.h"

/* A callback may end its own listener or another one: nothing leaves the list while it is
 * walked. */
static void sweep(qblk_monitor *monitor)
{
    if (monitor->listening_depth > 0)
        return;
    LIST_FOR_EACH_SAFE(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (listener->is_removed) {
            list_remove(&listener->link);
            if (listener->is_owned)
                free(listener);
        }
    }
}

enum word { WORD_JOB, WORD_STATE, WORD_END, WORD_GONE };

static void tell_one(const struct job_listener *listener, enum word word, qblk_job *job)
{
    void (*fn)(qblk_job *job, void *arg) = NULL;

    switch (word) {
    case WORD_JOB:
        fn = listener->ops.on_job;
        break;
    case WORD_STATE:
        fn = listener->ops.on_state;
        break;
    case WORD_END:
        fn = listener->ops.on_end;
        break;
    case WORD_GONE:
    default:
        fn = listener->ops.on_gone;
        break;
    }
    if (fn != NULL && !listener->is_removed)
        fn(job, listener->arg);
}

/* Who listens later hears first of what there is, as far as the others have been told of it. */
static void introduce(qblk_monitor *monitor, struct job_listener *listener)
{
    qblk_job *job = NULL;

    while ((job = job_set_next(monitor->jobs, job)) != NULL) {
        if (!job->is_announced)
            continue;
        tell_one(listener, WORD_JOB, job);
        if (job->outcome != QBLK_OUTCOME_NONE && !job->end_due)
            tell_one(listener, WORD_END, job);
    }
    listener->is_new = false;
}

/* job is NULL if there is nothing to be told but that. */
static void tell(qblk_monitor *monitor, enum word word, qblk_job *job)
{
    monitor->listening_depth++;
    LIST_FOR_EACH(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        /* Inside another call it would hear twice of what that one is about. Of a job that is going it has not
         * heard, and will not; and to a monitor that goes nobody is introduced any more. */
        if (listener->is_new && monitor->listening_depth == 1 && !monitor->free_asked &&
            (job == NULL || word == WORD_GONE || job->state != FSM_GONE))
            introduce(monitor, listener);
        else if (!listener->is_new && job != NULL)
            tell_one(listener, word, job);
    }
    monitor->listening_depth--;
    sweep(monitor);
}

static void tell_job(void *arg, qblk_job *job)
{
    stall_look(arg, job);
    tell(arg, WORD_JOB, job);
}

static void tell_state(void *arg, qblk_job *job)
{
    stall_look(arg, job);
    tell(arg, WORD_STATE, job);
}

static void tell_end(void *arg, qblk_job *job)
{
    tell(arg, WORD_END, job);
}

static void tell_gone(void *arg, qblk_job *job)
{
    tell(arg, WORD_GONE, job);
}

static void tell_synced(void *arg)
{
    qblk_monitor *monitor = arg;

    monitor->is_synced = true;
    /* What was asked of one that stands still went with the last connection. */
    for (qblk_job *job = job_set_next(monitor->jobs, NULL); job != NULL; job = job_set_next(monitor->jobs, job))
        stall_look(monitor, job);
    tell(monitor, WORD_JOB, NULL);
    monitor->listening_depth++;
    LIST_FOR_EACH(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (!listener->is_removed && !listener->is_new && listener->ops.on_synced != NULL)
            listener->ops.on_synced(monitor, listener->arg);
    }
    monitor->listening_depth--;
    sweep(monitor);
}

const struct job_set_ops listeners_set_ops = { tell_job, tell_state, tell_end, tell_gone,
                                               tell_synced };

void jobs_listen(qblk_monitor *monitor, struct job_listener *listener)
{
    listener->is_removed = false;
    list_append(&monitor->job_listeners, &listener->link);
}

void jobs_unlisten(qblk_monitor *monitor, struct job_listener *listener)
{
    listener->is_removed = true;
    sweep(monitor);
}

void listeners_done(qblk_monitor *monitor)
{
    LIST_FOR_EACH_SAFE(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        list_remove(&listener->link);
        if (listener->is_owned) {
            if (listener->ops.release != NULL)
                listener->ops.release(listener->arg);
            free(listener);
        }
    }
}
