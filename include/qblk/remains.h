/* qblk/remains.h - what clients have left in QEMU: operations that are open, and what is nobody's.
 *
 *     qblk_remains *remains;
 *     const qblk_open_op *op;
 *
 *     if (qblk_remains_read(monitor, -1, &remains, &error) < 0)
 *         ...
 *     for (int i = 0; (op = qblk_remains_op(remains, i)) != NULL; i++)
 *         printf("%s: %s, %s; would %s\n", op->operation, op->kind != NULL ? op->kind : "?",
 *                qblk_stage_name(op->stage), qblk_fate_name(op->fate));
 *     qblk_remains_free(remains);
 *
 * Reading changes nothing. qblk_resume() takes an operation up.
 */
#ifndef QBLK_REMAINS_H
#define QBLK_REMAINS_H

#include <qblk/base.h>
#include <qblk/job.h>
#include <qblk/ops.h>

QBLK_BEGIN_DECLS

/* How far an operation has got. May grow at the end: keep a default arm. */
typedef enum qblk_stage {
    QBLK_STAGE_UNKNOWN,  /* its record cannot be read just now, is not understood, or is not there */
    QBLK_STAGE_BEGUN,    /* it has looked at its target, or opened its journal; nothing is changed */
    QBLK_STAGE_PREPARED, /* what it means to do is recorded, its job has not started */
    QBLK_STAGE_RUNNING,  /* its job is at work, or without one: what it asks for is asked for */
    QBLK_STAGE_READY,    /* its job is in sync and waits to be ended */
    QBLK_STAGE_ENDED,    /* its job is over, and nobody has heard how: job->outcome */
    QBLK_STAGE_CLEANING  /* it has ended well, and its job is dismissed; only cleaning is left */
} qblk_stage;

/* What qblk_resume() would do with it by its recorded intent. May grow at the end. */
typedef enum qblk_fate {
    QBLK_FATE_LEAVE,  /* nothing: why says why */
    QBLK_FATE_LATER,  /* its record cannot be read before another job is over: why names it */
    QBLK_FATE_CLOSE,  /* remove its own nodes; it has changed nothing */
    QBLK_FATE_UNDO,   /* undo it */
    QBLK_FATE_WAIT,   /* wait for its job, which ends by itself, and clean up */
    QBLK_FATE_FINISH, /* wait until its job is ready, end it without a pivot, and clean up */
    QBLK_FATE_PIVOT,  /* the same by a pivot */
    QBLK_FATE_KEEP,   /* leave its job at work, once it is ready */
    QBLK_FATE_CLEAN,  /* report how it has ended, and clean up */
    QBLK_FATE_GO_ON   /* there is no job: do what is left of it, and clean up */
} qblk_fate;

/* An operation that is open. Pointers live as long as the list. */
typedef struct qblk_open_op {
    size_t size;
    const char *operation;     /* its id, 8 hex digits */
    const char *kind;          /* "pull", "copy", ...; NULL if nothing tells */
    const char *disk;          /* as it was recorded; of several the first; NULL if it is not known */
    const char *target;        /* the file, or NULL; of several the first */
    const qblk_op_disk *disks; /* of an operation that takes several: each; else NULL */
    size_t n_disks;
    const char *intent;        /* "finish", "pivot", "keep", "merge", as recorded; or NULL */
    const char *const *files;  /* those that it makes: removed if it is undone, if it is proved that it
                                * made them */
    size_t n_files;
    const char *const *with;   /* ids of the open operations that are to end as it does: qblk_resume()
                                * wants them in one group */
    size_t n_with;
    const qblk_job_info *job;  /* its main job, or else one that carries its id; NULL: there is none */
    bool has_journal;
    qblk_stage stage;
    qblk_fate fate;
    qblk_error why;            /* of LEAVE and LATER; else its code is QBLK_E_NONE */
    bool has_client;           /* somebody is at work on it, perhaps this process: qblk_resume() is refused
                                * (QBLK_E_BUSY) until he has ended. Seen are those of the same network
                                * namespace, of this user, of root, and of the user whose QEMU it is */
    long client;               /* his process id; 0 if it cannot be seen */
} qblk_open_op;

/* What belongs to no operation that is open. It is touched by nobody but who names it. */
typedef struct qblk_stray {
    size_t size;
    const char *kind;    /* "job"; "export"; "node": one that nothing uses, and that has a name */
    const char *name;    /* its id, or node-name */
    const char *what;    /* "mirror, ready", "nbd of node top", "qcow2 /images/a.qcow2" */
    const char *command; /* what frees it: a command line without "qblk -s SOCKET"; never NULL */
    const char *qmp;     /* the same as QMP, JSON; NULL: there is nothing to do but wait */
} qblk_stray;

/* What clients have left behind. Belongs to the caller. */
typedef struct qblk_remains qblk_remains;

/* Reads it: the jobs, the block graph with its bitmaps, and the exports, as qblk_jobs_sync() and
 * qblk_graph_read() do. Blocks up to timeout_ms (-1: for ever). Returns 0 and the list, also if
 * nothing is open; -ETIMEDOUT, -ECONNRESET, -ENOMEM, ... Since: 0.1. */
QBLK_API int qblk_remains_read(qblk_monitor *monitor, int timeout_ms, qblk_remains **ret_remains,
                               qblk_error *error) QBLK_MUST_CHECK;

/* Frees it; NULL is fine. Returns NULL. Since: 0.1. */
QBLK_API qblk_remains *qblk_remains_free(qblk_remains *remains);

/* The operation, or stray thing, of that number from 0; NULL if there are not that many. Borrowed.
 * Operations whose job keeps the records of others from being read come first. Never blocks.
 * Since: 0.1. */
QBLK_API const qblk_open_op *qblk_remains_op(const qblk_remains *remains, int index);
QBLK_API const qblk_stray *qblk_remains_stray(const qblk_remains *remains, int index);

/* Words for people and for JSON: "running", "pivot". Static storage, never NULL. Since: 0.1. */
QBLK_API const char *qblk_stage_name(qblk_stage stage);
QBLK_API const char *qblk_fate_name(qblk_fate fate);

QBLK_END_DECLS

#endif
