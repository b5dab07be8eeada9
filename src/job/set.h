/* The jobs of one QEMU, followed from what is heard of them. Pure: no I/O, time comes as an
 * argument. The state machine itself is job/fsm.h; a job's state is written in one place, here.
 *
 * What is heard, from two redundant sources and the queries:
 *   job_set_status()       JOB_STATUS_CHANGE
 *   job_set_block_event()  BLOCK_JOB_*
 *   job_set_reading_*()    a query-jobs or query-block-jobs reply
 *   job_set_started() and _replied()  our own start commands
 * Losing either family of events, or hearing anything twice or in another order, never changes an
 * outcome: whatever does not fit asks for a new reading, and a reading settles it. Where that has
 * nothing to settle it with, what is said is less, not wrong: a cancelled job is "failed" if
 * BLOCK_JOB_CANCELLED was lost and QEMU either gives another reason (5.2, after an I/O error in a
 * backup) or has dismissed the job already.
 */
#ifndef QBLK_SRC_JOB_SET_H
#define QBLK_SRC_JOB_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include <qblk/job.h>

struct job_set;

/* More jobs than this are not kept, nor more bytes of their ids and other texts: a peer that only
 * says there are more and more must not fill the memory. A job for which there is no room is found
 * by a later reading, once there is; a text is left out. */
#define JOB_SET_MAX 131072
#define JOB_SET_TEXTS ((size_t)32 << 20)

/* Called in the order that qblk_jobs_ops promises. The set may not be freed inside; any other call
 * is fine there. */
struct job_set_ops {
    void (*on_job)(void *arg, qblk_job *job);
    void (*on_state)(void *arg, qblk_job *job);
    void (*on_end)(void *arg, qblk_job *job);
    void (*on_gone)(void *arg, qblk_job *job); /* freed after this */
    void (*on_synced)(void *arg);              /* a reading that was asked for is complete */
};

enum block_event { BLOCK_READY, BLOCK_PENDING, BLOCK_COMPLETED, BLOCK_CANCELLED, BLOCK_ERROR };

/* A BLOCK_JOB_* event; what its kind does not carry is 0 or NULL. */
struct block_event_data {
    enum block_event kind;
    const char *id;
    const char *type;
    int64_t len, offset, speed;
    const char *error;     /* COMPLETED */
    const char *operation; /* ERROR: "read" or "write" */
    const char *action;    /* ERROR: "report", "ignore", "stop" */
};

/* One job in a reply. From query-jobs, or (is_block) from query-block-jobs. */
struct job_reading {
    bool is_block;
    const char *id;
    const char *type;
    const char *status;    /* QEMU's word */
    int64_t current, total;
    const char *error;     /* NULL if none */
    int64_t speed;         /* the rest: is_block only */
    const char *io_status;
    bool auto_finalize, auto_dismiss, is_ready, is_paused;
};

/* What the set would like to have read, the more the larger. */
enum job_want {
    JOB_WANT_NOTHING,
    JOB_WANT_JOBS, /* query-jobs: an error text, progress */
    JOB_WANT_ALL   /* query-jobs and query-block-jobs */
};

/* ops is borrowed. NULL if memory is gone. */
struct job_set *job_set_new(qblk_monitor *owner, const struct job_set_ops *ops, void *arg,
                            const struct log *log);
/* Frees it and every job, calling on_gone for each; call job_set_hangup() first for the ends. */
void job_set_free(struct job_set *set);

/* An event may come: what it will touch of the set is fetched, as by fetch_lines(); once that is there,
 * the same of the first job, which for most is all that there is. */
void job_set_fetch(const struct job_set *set);
void job_set_fetch_job(const struct job_set *set);

/* A command that starts the job id is about to be written. Gives the job (STARTING), or NULL if
 * memory is gone. If a job of that id is known and not over, that one is returned unchanged. */
qblk_job *job_set_started(struct job_set *set, const char *id, const char *type, int64_t now_ms);
/* Its reply: refused (error) ends a job of which nothing else was heard, without on_end having an
 * outcome but QBLK_OUTCOME_FAILED and the text given. */
void job_set_replied(struct job_set *set, const char *id, const qblk_error *refused,
                     int64_t now_ms);

/* QEMU's clock, in us, at the event that is heard next; 0: no event, or one without its time. */
void job_set_told(struct job_set *set, int64_t told_us);
void job_set_status(struct job_set *set, const char *id, const char *status, int64_t now_ms);
void job_set_block_event(struct job_set *set, const struct block_event_data *event,
                         int64_t now_ms);

/* Whether the job is stalled and nobody has looked yet at which node. It was looked for: node is
 * NULL if that cannot be told. */
bool job_wants_place(const qblk_job *job);
void job_set_place(struct job_set *set, qblk_job *job, const char *node, int64_t now_ms);

/* A reading begins when its command is written and ends with its reply's last job. A job that is
 * not in a reading, of which nothing was heard since that reading began, is gone. One reading at a
 * time: while one is under way nothing more is wanted. */
void job_set_reading_begin(struct job_set *set, enum job_want what);
void job_set_reading_job(struct job_set *set, const struct job_reading *reading, int64_t now_ms);
void job_set_reading_end(struct job_set *set, int64_t now_ms);
/* Instead of _end: it was refused or could not be understood, and says nothing of absent jobs. */
void job_set_reading_failed(struct job_set *set, int64_t now_ms);

/* What is wanted now, and in how many ms it will be wanted (-1: nothing is coming): after
 * COMPLETED or CANCELLED without a word of "concluded" a reading is wanted a little later, then
 * again at growing distances until it is settled. */
enum job_want job_set_wants(const struct job_set *set, int64_t now_ms);
int job_set_timeout_ms(const struct job_set *set, int64_t now_ms);
void job_set_ask(struct job_set *set, enum job_want what); /* ask from outside */

/* The connection is lost and may come back: nothing that was asked will be answered, everything is
 * to be read anew. */
void job_set_lost(struct job_set *set);
/* The connection is over: every job that has not ended ends as LOST. */
void job_set_hangup(struct job_set *set, const char *why, int64_t now_ms);

/* A verb was accepted or refused locally: 0, or -EPERM and a text naming job, state and verb. */
int job_check_verb(const qblk_job *job, qblk_job_verb verb, qblk_error *error);
/* A verb was sent (remembered, so that an end can be told in the right words). */
void job_verb_sent(qblk_job *job, qblk_job_verb verb);

qblk_job *job_set_find(const struct job_set *set, const char *id);
qblk_job *job_set_next(const struct job_set *set, const qblk_job *job);
/* Whether there is a job that has not ended. */
bool job_set_has_open(const struct job_set *set);

#endif
