/* One job: what is known of it. The set (job/set.c) decides what it hears and tells of it. */
#ifndef QBLK_SRC_JOB_JOB_H
#define QBLK_SRC_JOB_JOB_H

#include "base/heap.h"
#include "base/list.h"
#include "base/log.h"
#include "job/fsm.h"
#include "job/set.h"

/* Why a job wants to be read again without anything having been asked; bits of qblk_job.due. */
enum job_due {
    JOB_DUE_START = 1,  /* started, and no status was heard */
    JOB_DUE_END = 2,    /* it is over or says so, and its result is not known */
    JOB_DUE_STOP = 4,   /* it stops on an error, and no pause was heard */
    JOB_DUE_DISMISS = 8 /* its dismissal was sent, and no "null" was heard */
};

/* What the BLOCK_JOB_* events said about the end. */
enum job_said { JOB_SAID_NOTHING, JOB_SAID_COMPLETED, JOB_SAID_FAILED, JOB_SAID_CANCELLED };

/* What every event looks at stands together, at the end, where the id follows: with many monitors
 * each line of memory that an event touches has to be fetched. */
struct qblk_job {
    struct list work;          /* the set's, for a pass over many */
    struct heap_node due_node; /* in the set's heap while due is not 0; the key is the time, ms */
    size_t *held;
    qblk_monitor *owner;

    char *said_error;
    char *refusal;
    char *error;
    char *stall_node, *stall_op;
    uint64_t errors;
    qblk_job_outcome outcome;
    enum job_said said;
    bool has_refusal, has_error, has_sample;
    bool is_listed, auto_finalize, auto_dismiss, is_nospace;
    bool is_reason_read, is_place_sought; /* of the stall: what can be known of it is */
    char operation[9];

    uint64_t current, total, speed;
    uint64_t sample, rate; /* progress at sample_ms, and what it made of that */
    int64_t sample_ms;

    int step_ms;
    uint64_t due_epoch;   /* of the readings: armed in */
    uint64_t born_epoch;
    uint64_t seen_epoch;  /* last listed by query-jobs in */

    struct list link;     /* the set's: order */
    qblk_job *chain;      /* the set's: of the same slot */
    struct job_set *set;
    const struct log *log;
    char *type;
    char *odd_status;     /* QEMU's word while it is one that we do not know */
    int64_t told_us;      /* of the event that told of the last change, 0: none did */
    uint64_t heard_epoch; /* last heard of in */
    enum fsm_state state; /* written by job_apply() alone */
    enum fsm_state before; /* the state before that one */
    unsigned visited;     /* bits 1 << state */
    unsigned due;         /* of enum job_due */
    bool is_announced, is_changed, end_due, gone_due; /* what is still to be told */
    bool reply_due;       /* our start command has not been answered */
    bool status_heard;    /* at least one JOB_STATUS_CHANGE */
    bool is_ready, stop_heard, is_stalled, user_paused;
    char id[];
};

/* Texts of a job longer than this are cut off. */
#define JOB_TEXT_MAX 4096

/* An id with its NUL is seldom longer, and no longer one goes into a room. */
#define JOB_USUAL_ID 32
#define JOB_ROOM (sizeof(qblk_job) + JOB_USUAL_ID)

/* held counts the bytes of the texts of all jobs of a set, up to JOB_SET_TEXTS: it outlives the
 * job. room is NULL, or JOB_ROOM zeroed bytes by mem_zalloc() that become the job. NULL if memory is
 * gone, or if the id does not fit into that. */
qblk_job *job_new(qblk_monitor *owner, const char *id, const char *type, size_t *held,
                  const struct log *log, void *room);
qblk_job *job_free(qblk_job *job);

/* The one writer of job->state: looks the event up, writes one line of log. */
enum fsm_action job_apply(qblk_job *job, enum fsm_event event);

/* Keep what comes with the news, before the event is applied. */
void job_note_status(qblk_job *job, enum fsm_event event, const char *status);
void job_note_block_event(qblk_job *job, const struct block_event_data *event);
void job_note_reading(qblk_job *job, const struct job_reading *reading, bool is_stale,
                      int64_t now_ms);
void job_note_type(qblk_job *job, const char *type);
void job_note_place(qblk_job *job, const char *node);
void job_note_refusal(qblk_job *job, const char *text);
/* Whether it just became stalled. After every change of state. */
bool job_update_stall(qblk_job *job);

/* Whether it is in a state that QEMU leaves by itself and soon, with nothing but "concluded" to say
 * so: were that lost, nobody would hear of the end. */
bool job_is_passing(const qblk_job *job);

/* Settle the outcome, once: by the result in a reading; by what is known of a job that is gone; as
 * lost. False if it was settled before. */
bool job_settle_read(qblk_job *job, const char *error);
bool job_settle_gone(qblk_job *job);
bool job_settle_lost(qblk_job *job, const char *why);

/* Its dismissal was sent: "null" should be heard soon. In due.c. */
void job_set_expect_null(qblk_job *job);

#endif
