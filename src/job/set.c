#include "job/set.h"

#include <string.h>

#include "base/err.h"
#include "base/fetch.h"
#include "base/mem.h"
#include "job/job.h"
#include "job/set_priv.h"

static const struct job_set_ops nobody_listens;

static size_t hash_id(const char *id)
{
    uint64_t h = 14695981039346656037u;

    for (; *id != '\0'; id++)
        h = (h ^ (unsigned char)*id) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

/* Most sets have one job at a time: it lies beside the set, in the same page if that can be. */
static void keep_room(struct job_set *set)
{
    if (set->room == NULL && set->n_jobs == 0)
        set->room = mem_zalloc(JOB_ROOM);
}

struct job_set *job_set_new(qblk_monitor *owner, const struct job_set_ops *ops, void *arg,
                            const struct log *log)
{
    struct job_set *set = mem_zalloc(sizeof(*set));

    if (set == NULL)
        return NULL;
    keep_room(set);
    list_init(&set->jobs);
    list_init(&set->dead);
    set->owner = owner;
    set->ops = ops != NULL ? ops : &nobody_listens;
    set->arg = arg;
    set->log = log;
    set->epoch = 1;
    set->slots = set->few;
    set->n_slots = FEW_SLOTS;
    return set;
}

static void bury(struct job_set *set)
{
    while (!list_is_empty(&set->dead)) {
        qblk_job *job = LIST_ENTRY(set->dead.next, qblk_job, link);

        set_disarm(job, ~0u);
        (void)job_free(job);
        keep_room(set); /* most often it is the memory that has just become free */
    }
}

static void free_slots(struct job_set *set)
{
    if (set->slots != set->few)
        free(set->slots);
}

static void take_out(struct job_set *set, qblk_job *job)
{
    qblk_job **at = &set->slots[hash_id(job->id) & (set->n_slots - 1)];

    while (*at != NULL && *at != job)
        at = &(*at)->chain;
    if (*at == NULL)
        return;
    *at = job->chain;
    set->n_jobs--;
}

void job_set_free(struct job_set *set)
{
    if (set == NULL)
        return;
    set->is_over = true;
    bury(set);
    while (!list_is_empty(&set->jobs)) {
        qblk_job *job = LIST_ENTRY(set->jobs.next, qblk_job, link);

        take_out(set, job);
        if (job->is_announced && set->ops->on_gone != NULL)
            set->ops->on_gone(set->arg, job);
        (void)job_free(job);
    }
    free_slots(set);
    free(set->room);
    free(set);
}

/* ---- what an event will touch ---------------------------------------------------------------- */

void job_set_fetch(const struct job_set *set)
{
    fetch_lines(&set->jobs, sizeof(*set) - offsetof(struct job_set, jobs));
}

void job_set_fetch_job(const struct job_set *set)
{
    if (set->n_jobs > 0)
        fetch_lines(set->jobs.next, offsetof(qblk_job, id) + JOB_USUAL_ID - offsetof(qblk_job, link));
}

/* ---- id -> job ------------------------------------------------------------------------------ */

qblk_job *job_set_find(const struct job_set *set, const char *id)
{
    qblk_job *job = set->slots[hash_id(id) & (set->n_slots - 1)];

    while (job != NULL && strcmp(job->id, id) != 0)
        job = job->chain;
    return job;
}

/* One that is going keeps its place until it has been told. */
qblk_job *job_set_next(const struct job_set *set, const qblk_job *job)
{
    const struct list *link = job == NULL ? &set->jobs : &job->link;
    qblk_job *next;

    do {
        if (link->next == &set->jobs)
            return NULL;
        next = LIST_ENTRY(link->next, qblk_job, link);
        link = &next->link;
    } while (next->state == FSM_GONE);
    return next;
}

bool job_set_has_open(const struct job_set *set)
{
    return set->n_open > 0;
}

static void insert(struct job_set *set, qblk_job *job)
{
    qblk_job **slot = &set->slots[hash_id(job->id) & (set->n_slots - 1)];

    job->chain = *slot;
    *slot = job;
}

/* Without memory for a larger table the chains get longer, that is all. */
static void grow_table(struct job_set *set)
{
    size_t n = set->n_slots * 2;
    qblk_job **slots;

    if (set->n_jobs < set->n_slots)
        return;
    slots = mem_zalloc(n * sizeof(*slots));
    if (slots == NULL)
        return;
    free_slots(set);
    set->slots = slots;
    set->n_slots = n;
    for (qblk_job *job = job_set_next(set, NULL); job != NULL; job = job_set_next(set, job))
        insert(set, job);
}

/* Without memory for it the job has to be found by a later reading; there is none once all is over. */
static qblk_job *add(struct job_set *set, const char *id, const char *type)
{
    void *room = strlen(id) < JOB_USUAL_ID ? set->room : NULL;
    qblk_job *job = NULL;

    if (set->n_jobs < JOB_SET_MAX && !set->is_over)
        job = job_new(set->owner, id, type, &set->text_bytes, set->log, room);
    if (job == NULL) {
        set_ask_later(set);
        return NULL;
    }
    if (room != NULL)
        set->room = NULL;
    job->set = set;
    job->born_epoch = job->heard_epoch = set->epoch;
    grow_table(set);
    insert(set, job);
    list_append(&set->jobs, &job->link);
    set->n_jobs++;
    set->n_open++;
    return job;
}

/* ---- what is told --------------------------------------------------------------------------- */

void set_enter(struct job_set *set, int64_t now_ms)
{
    set->now_ms = now_ms;
    set->depth++;
}

void set_leave(struct job_set *set)
{
    if (--set->depth == 0)
        bury(set);
}

/* Tells what became of a job, in the promised order; it may be on the list of the dead after. */
void set_deliver(struct job_set *set, qblk_job *job)
{
    /* A reading that adds the outcome to an end that was heard leaves it its time. */
    if (set->told_us != 0 || job->is_changed)
        job->told_us = set->told_us;
    if (!job->is_announced) {
        job->is_announced = true;
        job->is_changed = false;
        if (set->ops->on_job != NULL)
            set->ops->on_job(set->arg, job);
    }
    if (job->is_changed && fsm_public(job->state) != QBLK_JOB_GONE) {
        job->is_changed = false;
        if (set->ops->on_state != NULL)
            set->ops->on_state(set->arg, job);
    }
    if (job->end_due) {
        job->end_due = false;
        if (set->ops->on_end != NULL)
            set->ops->on_end(set->arg, job);
    }
    if (job->gone_due) {
        job->gone_due = false;
        if (set->ops->on_gone != NULL)
            set->ops->on_gone(set->arg, job);
        list_remove(&job->link);
        list_append(&set->dead, &job->link);
    }
}

/* ---- feeding the state machine -------------------------------------------------------------- */

static void end(qblk_job *job, bool settled)
{
    job->end_due = job->end_due || settled;
    if (settled)
        job->set->n_open--;
    set_disarm(job, JOB_DUE_START | JOB_DUE_END | JOB_DUE_STOP);
}

static void retire(struct job_set *set, qblk_job *job)
{
    end(job, job_settle_gone(job));
    set_disarm(job, JOB_DUE_DISMISS);
    take_out(set, job);
    set->gone_epoch = set->epoch;
    job->gone_due = true;
}

/* Applies the event and does what follows from it, but tells nothing yet. False if the event is
 * for a new job of that id: this one is gone. */
static bool act(struct job_set *set, qblk_job *job, enum fsm_event event, const char *text)
{
    if (event >= EV_SEEN_CREATED && event <= EV_SEEN_UNKNOWN
        && (job->status_heard || event == EV_SEEN_PAUSED || event == EV_SEEN_STANDBY))
        set_disarm(job, JOB_DUE_STOP);
    switch (job_apply(job, event)) {
    case ACT_NONE:
    case ACT_TELL:
        break;
    case ACT_WATCH:
        set_arm(set, job, JOB_DUE_START, STEP_FIRST_MS);
        set_ask(set, JOB_WANT_ALL);
        break;
    case ACT_ASK:
        set_ask(set, JOB_WANT_ALL);
        set->ask_is_told = true;
        break;
    case ACT_SETTLE:
        set_arm(set, job, JOB_DUE_END, STEP_FIRST_MS);
        break;
    case ACT_COLLECT:
        set_arm(set, job, JOB_DUE_END, 0);
        break;
    case ACT_END:
        end(job, job_settle_read(job, text));
        break;
    case ACT_LOST:
        end(job, job_settle_lost(job, text));
        set_disarm(job, JOB_DUE_DISMISS);
        break;
    case ACT_GONE:
        retire(set, job);
        break;
    case ACT_REPLACE:
        retire(set, job);
        return false;
    default:
        break;
    }
    if (job_update_stall(job))
        set_ask(set, JOB_WANT_ALL); /* for the io-status */
    if (job_is_passing(job))
        set_arm(set, job, JOB_DUE_END, STEP_FIRST_MS);
    return true;
}

/* The job, told of as far as it got; or a new one if the event belongs to one. Both are told. */
void set_feed(struct job_set *set, qblk_job *job, enum fsm_event event, const char *text)
{
    if (!act(set, job, event, text)) {
        qblk_job *next = add(set, job->id, NULL);

        set_deliver(set, job);
        if (next == NULL)
            return;
        job = next;
        set_ask(set, JOB_WANT_ALL);
        (void)act(set, job, event, text);
    }
    set_deliver(set, job);
}

qblk_job *set_add_found(struct job_set *set, const char *id, const char *type)
{
    return add(set, id, type);
}

/* ---- our own start commands ----------------------------------------------------------------- */

qblk_job *job_set_started(struct job_set *set, const char *id, const char *type, int64_t now_ms)
{
    qblk_job *job = job_set_find(set, id);

    set_enter(set, now_ms);
    if (job != NULL && job->state == FSM_ENDED) {
        (void)act(set, job, EV_STARTED, NULL);
        set_deliver(set, job);
        job = NULL;
    }
    if (job == NULL) {
        job = add(set, id, type);
        if (job != NULL) {
            job->reply_due = true;
            set_deliver(set, job);
        }
    }
    set_leave(set);
    return job;
}

void job_set_replied(struct job_set *set, const char *id, const qblk_error *refused,
                     int64_t now_ms)
{
    qblk_job *job = job_set_find(set, id);

    if (job == NULL || !job->reply_due)
        return;
    set_enter(set, now_ms);
    job->reply_due = false;
    job->heard_epoch = set->epoch;
    if (refused != NULL)
        job_note_refusal(job, refused->text);
    set_feed(set, job, refused != NULL ? EV_REFUSED : EV_ACCEPTED, NULL);
    set_leave(set);
}

/* ---- events --------------------------------------------------------------------------------- */

void job_set_status(struct job_set *set, const char *id, const char *status, int64_t now_ms)
{
    enum fsm_event event = fsm_heard(status);
    qblk_job *job = job_set_find(set, id);

    if (set->is_over)
        return;
    set_enter(set, now_ms);
    if (job == NULL && event == EV_CREATED)
        job = add(set, id, NULL);
    if (job == NULL && event != EV_NIL) {
        set_ask(set, JOB_WANT_ALL); /* a reading says whether there is such a job */
    } else if (job != NULL) {
        job->heard_epoch = set->epoch;
        job->status_heard = true;
        set_disarm(job, JOB_DUE_START | JOB_DUE_STOP);
        job_note_status(job, event, status);
        if (event == EV_NIL && job->reply_due && job->said == JOB_SAID_NOTHING)
            event = EV_NIL_EARLY; /* the reply may tell why */
        if (job->type == NULL && event == EV_CREATED)
            set_ask(set, JOB_WANT_ALL); /* that event does not tell the type */
        set_feed(set, job, event, NULL);
    }
    set_leave(set);
}

void job_set_block_event(struct job_set *set, const struct block_event_data *event,
                         int64_t now_ms)
{
    static const enum fsm_event events[] = {
        [BLOCK_READY] = EV_B_READY,         [BLOCK_PENDING] = EV_B_PENDING,
        [BLOCK_COMPLETED] = EV_B_COMPLETED, [BLOCK_CANCELLED] = EV_B_CANCELLED,
        [BLOCK_ERROR] = EV_B_ERROR,
    };
    qblk_job *job = job_set_find(set, event->id);

    if (set->is_over)
        return;
    set_enter(set, now_ms);
    if (job == NULL) {
        /* Late news of a job that is gone already, most often: then a reading has nothing new. */
        if (event->kind == BLOCK_READY || event->kind == BLOCK_PENDING)
            set_ask(set, JOB_WANT_ALL);
    } else {
        if (event->kind != BLOCK_ERROR)
            job->heard_epoch = set->epoch;
        job_note_block_event(job, event);
        if (job->stop_heard && job->state != FSM_PAUSED && job->state != FSM_STANDBY
            && !fsm_is_over(job->state))
            set_arm(set, job, JOB_DUE_STOP, STEP_FIRST_MS);
        set_feed(set, job, events[event->kind], NULL);
    }
    set_leave(set);
}

void job_set_told(struct job_set *set, int64_t told_us)
{
    set->told_us = told_us;
}

void job_set_place(struct job_set *set, qblk_job *job, const char *node, int64_t now_ms)
{
    if (!job_wants_place(job))
        return;
    set_enter(set, now_ms);
    job_note_place(job, node);
    set_deliver(set, job);
    set_leave(set);
}

void job_set_lost(struct job_set *set)
{
    set->is_reading = false;
    LIST_FOR_EACH (link, &set->jobs)
        LIST_ENTRY(link, qblk_job, link)->reply_due = false;
    job_set_ask(set, JOB_WANT_ALL);
}

void job_set_hangup(struct job_set *set, const char *why, int64_t now_ms)
{
    set_enter(set, now_ms);
    set->is_over = true;
    set->is_reading = false;
    set->want = JOB_WANT_NOTHING;
    set_each(set, EV_HANGUP, why, NULL);
    set_leave(set);
}
