/* Shared by set.c (events), reading.c (readings) and due.c (when a reading is wanted) alone. */
#ifndef QBLK_SRC_JOB_SET_PRIV_H
#define QBLK_SRC_JOB_SET_PRIV_H

#include "job/job.h"

#define FEW_SLOTS 8

/* What every event looks at stands together, at the end; see struct qblk_job. */
struct job_set {
    qblk_monitor *owner;
    size_t n_open;
    size_t text_bytes; /* of all jobs, up to JOB_SET_TEXTS */
    const struct log *log;
    void *room;       /* for the next job, JOB_ROOM bytes; NULL: it allocates its own */
    int64_t retry_ms;
    uint64_t gone_epoch; /* in which a job went last */
    bool is_told;
    enum job_want reads;
    bool ask_is_told; /* on_synced is due after the reading that answers want */

    struct list jobs; /* in the order they were seen */
    size_t n_jobs;
    const struct job_set_ops *ops;
    void *arg;
    struct heap due;  /* those with a timer, by its time */
    struct list dead; /* told of, freed when the outermost call returns */
    int64_t now_ms; /* the last that was said */
    int64_t told_us; /* of the event that is being heard */
    /* Readings are counted by epochs: what was heard in the epoch of a reading may be newer. */
    uint64_t epoch;
    int depth;
    enum job_want want;
    bool is_over;
    bool retry_due;   /* a job could not be kept for want of memory */
    bool is_reading;
    qblk_job **slots; /* few, or allocated */
    size_t n_slots;
    qblk_job *few[FEW_SLOTS];
};

void set_enter(struct job_set *set, int64_t now_ms);
void set_leave(struct job_set *set);
void set_feed(struct job_set *set, qblk_job *job, enum fsm_event event, const char *text);
void set_deliver(struct job_set *set, qblk_job *job);
qblk_job *set_add_found(struct job_set *set, const char *id, const char *type);

/* due.c. How long "concluded" may take to follow BLOCK_JOB_COMPLETED before it is asked for. */
#define STEP_FIRST_MS 20
void set_ask(struct job_set *set, enum job_want what);
/* A reading of everything, but not at once. */
void set_ask_later(struct job_set *set);
/* The job has that reason, or has it no more, to be read again. */
void set_arm(struct job_set *set, qblk_job *job, enum job_due why, int first_ms);
void set_disarm(qblk_job *job, unsigned why);
void set_postpone(struct job_set *set);

/* Feeds the event to every job for which is_meant (NULL: every one). Callbacks may add and remove
 * jobs meanwhile. */
void set_each(struct job_set *set, enum fsm_event event, const char *text,
              bool (*is_meant)(const struct job_set *set, const qblk_job *job));

#endif
