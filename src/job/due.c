/* What is to be read again, and when: at once, or after a while in which what is missing may be
 * heard. */
#include "job/set_priv.h"

#include <limits.h>

#define STEP_LAST_MS 1000

void set_disarm(qblk_job *job, unsigned why)
{
    if (job->due == 0)
        return;
    job->due &= ~why;
    if (job->due == 0)
        heap_remove(&job->set->due, &job->due_node);
}

/* A reason that is there already keeps its distance, unless it wants a look at once. */
void set_arm(struct job_set *set, qblk_job *job, enum job_due why, int first_ms)
{
    bool is_new = (job->due & (unsigned)why) == 0;
    int64_t due_ms = set->now_ms + first_ms;

    if (job->due == 0) {
        job->step_ms = STEP_FIRST_MS;
        heap_push(&set->due, &job->due_node, due_ms);
    }
    if (is_new || first_ms == 0) {
        job->due_epoch = set->epoch;
        if (due_ms < job->due_node.key) {
            heap_remove(&set->due, &job->due_node);
            heap_push(&set->due, &job->due_node, due_ms);
        }
    }
    job->due |= (unsigned)why;
}

void set_ask(struct job_set *set, enum job_want what)
{
    if (what > set->want)
        set->want = what;
}

void set_ask_later(struct job_set *set)
{
    set->retry_due = true;
    set->retry_ms = set->now_ms + STEP_LAST_MS;
}

void job_set_expect_null(qblk_job *job)
{
    set_arm(job->set, job, JOB_DUE_DISMISS, STEP_FIRST_MS);
}

void job_set_ask(struct job_set *set, enum job_want what)
{
    set_ask(set, what);
    set->ask_is_told = true;
}

enum job_want job_set_wants(const struct job_set *set, int64_t now_ms)
{
    return job_set_timeout_ms(set, now_ms) != 0 ? JOB_WANT_NOTHING
           : set->want != JOB_WANT_NOTHING      ? set->want
           : set->retry_due && set->retry_ms <= now_ms ? JOB_WANT_ALL
                                                       : JOB_WANT_JOBS;
}

int job_set_timeout_ms(const struct job_set *set, int64_t now_ms)
{
    int64_t left = INT64_MAX;

    if (set->is_reading || set->is_over)
        return -1; /* one at a time */
    if (set->want != JOB_WANT_NOTHING)
        return 0;
    if (set->retry_due)
        left = set->retry_ms - now_ms;
    if (set->due.top != NULL && set->due.top->key - now_ms < left)
        left = set->due.top->key - now_ms;
    if (left == INT64_MAX)
        return -1;
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* The reading that has just ended did not settle what these wait for. */
void set_postpone(struct job_set *set)
{
    struct heap_node *passed = NULL, *next;

    while (set->due.top != NULL && set->due.top->key <= set->now_ms) {
        struct heap_node *node = set->due.top;

        heap_remove(&set->due, node);
        node->next = passed;
        passed = node;
    }
    for (; passed != NULL; passed = next) {
        qblk_job *job = HEAP_ENTRY(passed, qblk_job, due_node);
        int64_t due_ms = passed->key;

        next = passed->next;
        if (job->due_epoch < set->epoch) {
            due_ms = set->now_ms + job->step_ms;
            job->step_ms = job->step_ms * 2 < STEP_LAST_MS ? job->step_ms * 2 : STEP_LAST_MS;
        }
        heap_push(&set->due, passed, due_ms);
    }
}
