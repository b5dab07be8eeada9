/* qblk/job.h - QEMU's block jobs as this client sees them. Manual: libqblk(3), libqblk-states(7).
 *
 * Tracking starts with qblk_jobs_track(): the jobs are read once (query-jobs, query-block-jobs) and
 * from then on followed by JOB_STATUS_CHANGE and BLOCK_JOB_* events, with a new reading after any
 * surprise. Nothing is polled, save progress, and only while qblk_jobs_progress() asks for it. At
 * most 131,072 jobs are kept of one QEMU; what is beyond that is found when there is room.
 */
#ifndef QBLK_JOB_H
#define QBLK_JOB_H

#include <qblk/base.h>

QBLK_BEGIN_DECLS

/* May grow at the end: keep a default arm. */
typedef enum qblk_job_state {
    QBLK_JOB_STARTING,  /* the command is written, nothing heard yet */
    QBLK_JOB_CREATED,   /* QEMU has it, it does not run yet */
    QBLK_JOB_RUNNING,
    QBLK_JOB_PAUSED,    /* by a user, by an I/O error (see stalled), or for an instant by QEMU */
    QBLK_JOB_READY,     /* in sync; complete, finish or cancel it */
    QBLK_JOB_STANDBY,   /* paused while ready */
    QBLK_JOB_WAITING,   /* done, waits for others of its transaction */
    QBLK_JOB_PENDING,   /* done, waits for finalize */
    QBLK_JOB_ABORTING,  /* failing or being cancelled */
    QBLK_JOB_CONCLUDED, /* over in QEMU; its result can be read until it is dismissed */
    QBLK_JOB_GONE,      /* QEMU has forgotten it */
    QBLK_JOB_LOST       /* the connection ended before the job did */
} qblk_job_state;

/* How it ended. Exactly one of the last four for every job that ends. */
typedef enum qblk_job_outcome {
    QBLK_OUTCOME_NONE,      /* it has not ended */
    QBLK_OUTCOME_COMPLETED,
    QBLK_OUTCOME_FAILED,    /* error says why, in QEMU's words */
    QBLK_OUTCOME_CANCELLED,
    QBLK_OUTCOME_LOST       /* QEMU or the job vanished; what is known is said */
} qblk_job_outcome;

/* What can be done to a job. Which is allowed when: libqblk-states(7). */
typedef enum qblk_job_verb {
    QBLK_VERB_PAUSE,    /* job-pause */
    QBLK_VERB_RESUME,   /* job-resume */
    QBLK_VERB_SPEED,    /* block-job-set-speed; value: bytes per second, 0 is no limit */
    QBLK_VERB_CANCEL,   /* job-cancel: always by force, a mirror's target is then rubbish */
    QBLK_VERB_FINISH,   /* block-job-cancel of a READY mirror or active commit: ends it without a
                         * pivot, the target being a consistent copy as of that instant */
    QBLK_VERB_COMPLETE, /* job-complete: pivot */
    QBLK_VERB_FINALIZE, /* job-finalize */
    QBLK_VERB_DISMISS,  /* job-dismiss */
    QBLK_VERB_CHANGE    /* block-job-change, of a mirror, to copy-mode write-blocking: the guest's
                         * writes wait for the target from then on, so that the copy gets in sync
                         * however fast the guest writes. There is no way back. QEMU 8.2 and
                         * later */
} qblk_job_verb;

/* A job at one instant. Pointers are borrowed from the job and valid for as long as it is. */
typedef struct qblk_job_info {
    size_t size;           /* sizeof(qblk_job_info) */
    const char *id;
    const char *type;      /* QEMU's word: "stream", "commit", "mirror", "backup", "create", ...;
                            * "" until the first reading of it */
    const char *status;    /* QEMU's word for the state, also one that this library does not know */
    qblk_job_state state;
    qblk_job_outcome outcome;
    const char *error;     /* QEMU's text for a failed or cancelled job, else NULL */
    const char *operation; /* the id of the qblk operation that it belongs to, else NULL */
    uint64_t current;      /* progress, in the job's own measure (bytes for block jobs) */
    uint64_t total;        /* equal to current proves nothing; 0 of 0 is legitimate */
    uint64_t speed;        /* limit in bytes per second, 0 for none */
    uint64_t rate;         /* measured, bytes per second, 0 if unknown */
    int64_t eta_ms;        /* estimate of the time to READY or to the end, -1 if unknown */
    bool is_ready;         /* has been READY; it stays so */
    bool is_stalled;       /* stopped on an I/O error: make room or mend it, then resume or
                            * cancel */
    bool is_listed;        /* query-block-jobs knows it: speed, auto_* and io_status are QEMU's */
    bool auto_finalize;
    bool auto_dismiss;
    const char *stall_reason; /* "failed" or "nospace" while stalled, else NULL */
    const char *stall_node;   /* the node it is stalled at (of a stream, the one it fills), or NULL: it is
                               * not stalled, or that cannot be told, or not yet */
    const char *stall_op;     /* "read" or "write"; NULL if it stopped before this client came */
    uint64_t errors;          /* I/O errors that QEMU reported for it so far */
    bool is_stall_known; /* while stalled: reason, node and op are all that can be known of them;
                          * they come a moment after the stall itself, and on_state tells that
                          * too */
    int64_t told_us;          /* the time of day by QEMU's clock, us since 1970, at the event that
                               * told of the last change; 0: it was found by asking. To be shown,
                               * not to be counted with: that clock may jump */
} qblk_job_info;

/* Each may be NULL. For one job, in this order: on_job first of all, on_state any number of times,
 * on_end exactly once, on_gone exactly once. A job pointer is valid until on_gone has returned. */
typedef struct qblk_jobs_ops {
    size_t size;
    /* A job that was not known: started just now, or found at the first reading. */
    void (*on_job)(qblk_job *job, void *arg);
    /* Its state, its being stalled, or (while asked for) its progress changed. */
    void (*on_state)(qblk_job *job, void *arg);
    /* It ended: outcome and error are final. Jobs with auto-dismiss off wait in CONCLUDED for
     * qblk_job_act(QBLK_VERB_DISMISS). */
    void (*on_end)(qblk_job *job, void *arg);
    void (*on_gone)(qblk_job *job, void *arg);
    /* The reading after tracking began (and after each surprise) is done: what is there is
     * known. */
    void (*on_synced)(qblk_monitor *monitor, void *arg);
    void (*release)(void *arg);
} qblk_jobs_ops;

/* Starts tracking and adds a listener; every further call adds one more, which hears on_job for the
 * jobs known so far, and on_end for those that have ended, before anything else. ops may be NULL to
 * start tracking only. Sends query-jobs and query-block-jobs once. At most 131,072 jobs are
 * followed, with 32 MiB of ids, error texts and other words in all, each but an id cut off at 4
 * KiB; more are found once there is room. Never blocks. Returns 0, -ENOMEM, or the errno of a dead
 * monitor's end; on failure ops->release has run (if ops->size is set). Since: 0.1. */
QBLK_API int qblk_jobs_track(qblk_monitor *monitor, const qblk_jobs_ops *ops, void *arg,
                             qblk_error *error) QBLK_MUST_CHECK;

/* Starts tracking if need be and waits until what is there is known. Returns 0, -ETIMEDOUT,
 * -ECONNRESET, ... Blocks. Since: 0.1. */
QBLK_API int qblk_jobs_sync(qblk_monitor *monitor, int timeout_ms,
                            qblk_error *error) QBLK_MUST_CHECK;

/* Asks for progress (query-jobs) every interval_ms while a job runs, for somebody who is looking;
 * 0 stops that. Since: 0.1. */
QBLK_API void qblk_jobs_progress(qblk_monitor *monitor, int interval_ms);

/* The job of that id, or NULL. Borrowed. Since: 0.1. */
QBLK_API qblk_job *qblk_job_find(qblk_monitor *monitor, const char *id);

/* The job after this one in the order they were seen, the first for NULL; NULL at the end.
 * Borrowed. Since: 0.1. */
QBLK_API qblk_job *qblk_job_next(qblk_monitor *monitor, qblk_job *job);

/* Fills *ret_info, whose size member the caller has set. Since: 0.1. */
QBLK_API void qblk_job_get_info(const qblk_job *job, qblk_job_info *ret_info);

QBLK_API qblk_monitor *qblk_job_monitor(const qblk_job *job);

/* Exactly once for each act that was accepted: QEMU took the verb (error NULL) or did not. job is
 * NULL if it is gone by then, as after a dismiss. */
typedef void qblk_act_fn(qblk_job *job, const qblk_error *error, void *arg);

/* Does verb to the job. value is the rate for QBLK_VERB_SPEED, else ignored. A verb that the job's
 * state does not allow is refused here, by name of job, state and verb, and nothing is sent. The
 * reply says that QEMU took the verb; what came of it the events tell: a complete of a job in
 * standby takes effect once it is resumed. on_done may be NULL; its error is QBLK_E_UNSUPPORTED if
 * this QEMU has no such command, QBLK_E_JOB_STATE if it takes no complete in standby. Never blocks.
 * Returns 0; -EPERM (refused); -EINVAL (no such verb, a rate above 2^63-1); -ENOMEM; the errno of a
 * dead monitor's end. Since: 0.1. */
QBLK_API int qblk_job_act(qblk_job *job, qblk_job_verb verb, uint64_t value, qblk_act_fn *on_done,
                          void *arg, qblk_error *error) QBLK_MUST_CHECK;

/* The same, waiting for QEMU's reply. Returns also -EIO (QEMU refused), -ETIMEDOUT, -ECONNRESET.
 * Since: 0.1. */
QBLK_API int qblk_job_do(qblk_job *job, qblk_job_verb verb, uint64_t value, int timeout_ms,
                         qblk_error *error) QBLK_MUST_CHECK;

/* Whether a QMP command may be sent: QEMU lets through device_del, migrate, quit and
 * system_powerdown while a mirror, commit, backup or stream is at work, which is then left without
 * its disk, or lost. For these the jobs are read (query-jobs); any other command is fine at once,
 * but for a blockdev-reopen of nothing, which aborts QEMU. arguments are the command's, as a JSON
 * object, or NULL. Blocks up to timeout_ms (-1: for ever). Returns 0; -EBUSY with QBLK_E_BUSY
 * naming the job and what to do; -EPERM with QBLK_E_HAZARD; -ENOMEM; -ETIMEDOUT, -ECONNRESET, ...
 * Since: 0.1. */
QBLK_API int qblk_guard(qblk_monitor *monitor, const char *command, const char *arguments,
                        int timeout_ms, qblk_error *error) QBLK_MUST_CHECK;

/* Words for people and for JSON: "running", "completed", "pause". Static storage, never NULL. */
QBLK_API const char *qblk_job_state_name(qblk_job_state state);
QBLK_API const char *qblk_job_outcome_name(qblk_job_outcome outcome);
QBLK_API const char *qblk_job_verb_name(qblk_job_verb verb);

/* Whether the verb is allowed in the state, by the table of libqblk-states(7). Since: 0.1. */
QBLK_API bool qblk_job_allows(qblk_job_state state, qblk_job_verb verb);

QBLK_END_DECLS

#endif
