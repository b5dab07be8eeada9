/* qblk/ops.h - operations: whole errands made of QMP commands, with undo. Manual: libqblk(3).
 *
 * An operation reads the graph, refuses what cannot work before it changes anything, writes its
 * intent into a journal node inside QEMU, and then takes its steps; a failure undoes the finished
 * steps in reverse. It goes on by itself inside qblk_monitor_process(). Everything it makes is
 * named qblk.<operation>.<role>.
 */
#ifndef QBLK_OPS_H
#define QBLK_OPS_H

#include <qblk/base.h>
#include <qblk/graph.h>
#include <qblk/job.h>

QBLK_BEGIN_DECLS

/* How a copy, or a commit of the disk's top image, ends once it is in sync. */
typedef enum qblk_ending {
    QBLK_END_DEFAULT, /* copy: FINISH; commit: PIVOT */
    QBLK_END_FINISH,  /* the disk stays where it is; the target (or base) is a copy as of that
                       * instant */
    QBLK_END_PIVOT,   /* the disk moves to the target (or base) */
    QBLK_END_KEEP     /* the job stays READY and keeps mirroring; end it with qblk_resume() or by
                       * hand */
} qblk_ending;

/* How an operation ended, in the user's words. */
typedef enum qblk_result {
    QBLK_RESULT_NONE,
    QBLK_RESULT_COMPLETED, /* done: of those that have but one way to end well */
    QBLK_RESULT_FINISHED,  /* copy, commit: the target is a copy, the disk stayed */
    QBLK_RESULT_PIVOTED,   /* copy, commit: the disk uses the target */
    QBLK_RESULT_KEPT,      /* copy --keep: the job is READY and goes on */
    QBLK_RESULT_LEFT,      /* qblk_op_leave(): QEMU goes on alone, the journal stays */
    QBLK_RESULT_FAILED,    /* undone as far as possible; the error says why */
    QBLK_RESULT_CANCELLED, /* undone */
    QBLK_RESULT_LOST,      /* the connection ended first */
    QBLK_RESULT_PLANNED,   /* dry run */
    QBLK_RESULT_UNDONE     /* qblk_resume(): what was left open has been undone */
} qblk_result;

/* One step of an operation's plan. Pointers live as long as the operation. */
typedef struct qblk_step {
    const char *name;    /* "add target node" */
    const char *command; /* the exact JSON sent, without id; NULL for a step that only waits */
    const char *undo;    /* the JSON that undoes it, or NULL */
    const char *agent;   /* the socket of the guest agent that both are sent to; NULL: QEMU */
    bool is_conditional; /* left out unless what the steps before it find makes it necessary; the
                          * command may not be known before that */
} qblk_step;

/* What an operation is going to do. */
typedef struct qblk_plan {
    size_t size;
    const qblk_step *steps;
    size_t n_steps;
    const char *chain_before; /* one line, top first */
    const char *chain_after;  /* as it will be if all goes well */
    const char *warning;      /* what cannot be taken back once it starts, or NULL */
} qblk_plan;

/* One disk of an operation that takes several. */
typedef struct qblk_op_disk {
    const char *disk;   /* as it was named */
    const char *target; /* the file, or NULL if it is not known any more */
    const char *node;   /* the format node that was added for it */
} qblk_op_disk;

typedef struct qblk_op_report {
    size_t size;
    qblk_result result;
    const char *operation;   /* its id, 8 hex digits; NULL if it was left before it began */
    const char *kind;        /* "pull", "copy", "backup", "commit", "snapshot", "resize", ...; NULL if it was
                              * resumed and its record could not be read */
    const char *disk;        /* as resolved; of several the first; NULL likewise */
    const char *target;      /* or NULL; of several the first */
    const char *job;         /* id of its main job, or NULL if none was started */
    uint64_t bytes;          /* what the job did */
    int64_t elapsed_ms;
    const char *const *notes;/* things the user should know: what was left, and how to go on */
    size_t n_notes;
    uint64_t disk_size;      /* of a resize: the disk's size as QEMU says at the end, else 0 */
    const qblk_op_disk *disks; /* snapshot: every disk, in the order asked for; else NULL */
    size_t n_disks;
} qblk_op_report;

/* Each may be NULL. Order: on_plan, (on_step, on_job)*, on_end, release. Pointers handed in are
 * borrowed for the call. */
typedef struct qblk_op_ops {
    size_t size;
    /* The plan is made and checked; nothing has been changed yet. */
    void (*on_plan)(qblk_op *op, const qblk_plan *plan, void *arg);
    /* A step (or, if undoing, its undo) is about to be taken. */
    void (*on_step)(qblk_op *op, const qblk_step *step, bool undoing, void *arg);
    /* The main job was seen, or changed state or progress. */
    void (*on_job)(qblk_op *op, const qblk_job_info *job, void *arg);
    /* It is over: exactly once if the start call returned 0. error is NULL unless the result is
     * FAILED, CANCELLED or LOST. */
    void (*on_end)(qblk_op *op, const qblk_op_report *report, const qblk_error *error, void *arg);
    void (*release)(void *arg); /* exactly once, whatever the start call returned
                                 * (if the sizes are set) */
} qblk_op_ops;

/* What all operations share. */
typedef struct qblk_op_common {
    bool dry_run;         /* read, plan, tell the plan, change nothing */
    uint64_t speed;       /* bytes per second, 0 for no limit */
    const char *on_error; /* "report" (default), "stop", "ignore", "enospc" */
    qblk_op_ops ops;      /* ops.size may stay 0 if none is set */
    void *arg;
} qblk_op_common;

typedef struct qblk_pull_options {
    size_t size;
    qblk_op_common common;
    const char *base;         /* keep this image and what is below it; NULL: pull everything. Refused
                               * if an image in between is shorter than both (SIZE_MISMATCH) */
    const char *backing_file; /* string to record for base instead of the computed one */
    bool no_bitmaps;          /* give up the dirty bitmaps of the images that go */
    bool relative;            /* record a name for base that is relative to the image's directory;
                               * refused if an image in between records an absolute one */
    const char *into;         /* the image that takes the data; NULL: the disk's top */
    const char *bottom;       /* instead of base: the lowest image to be pulled. What is below may
                               * be changed by another job meanwhile. QEMU 6.0 or later */
} qblk_pull_options;

typedef struct qblk_copy_options {
    size_t size;
    qblk_op_common common;
    qblk_ending ending;
    const char *format; /* of the target: "qcow2" or "raw"; NULL: the disk's own, else qcow2 */
    bool shallow;       /* copy the top image only; the target shares the backing chain */
    bool reuse;         /* the target exists and is to be overwritten */
    bool legacy;        /* use drive-mirror, ended by block-job-complete or block-job-cancel */
    qblk_group *group;  /* several disks at once, see qblk_group_new(); NULL: this one alone */
    const char *sync;   /* "full" (default), "top" (as shallow), "none": only what is written from
                         * now on, to a target that is there and holds the rest; not with PIVOT */
    uint64_t granularity; /* bytes of one piece, a power of two from 512 to 64 MiB; 0: QEMU's own */
    uint64_t buf_size;    /* bytes in flight; 0: QEMU's own */
    bool active;          /* each of the guest's writes waits until the target has it too. 7.2 may crash if
                             the target fails just then */
    bool active_late;     /* the same once the copy is in sync, if QEMU can (8.2); else a note */
    const char *on_source_error; /* for reads of the disk; NULL: common.on_error */
    const char *on_target_error; /* for writes to the target; NULL: common.on_error */
    const char *blockdev; /* the target as JSON for blockdev-add, without node-name; target is NULL
                           * then. It is there already: nothing is made, and its size is checked */
    bool no_bitmaps;      /* at a pivot the disk's dirty bitmaps are not carried on to the target */
    const char *quiesce;  /* FINISH: the guest agent's socket, an absolute path; the guest's file
                           * systems are frozen around the end, for a group once around all of
                           * them. It is asked first whether it would (guest-info) */
    bool quiesce_optional; /* go on if the guest cannot be frozen; nothing is asked first */
    bool relative;         /* shallow, to a new file: record the image below by its name relative to
                            * the target's directory */
} qblk_copy_options;

typedef struct qblk_swap_options {
    size_t size;
    qblk_op_common common;
    const char *format; /* of the target, as for copy */
    uint64_t resize;    /* bytes that the disk is to have afterwards; 0: as now, or, on a raw target
                         * that is bigger, all of that */
    bool no_bitmaps;
} qblk_swap_options;

typedef struct qblk_commit_options {
    size_t size;
    qblk_op_common common;
    qblk_ending ending;       /* of the disk's top image: PIVOT (default), FINISH or KEEP; below it
                               * nothing but DEFAULT */
    const char *top;          /* the uppermost image to commit; NULL: the disk's top. Refused if it is
                               * shorter than base and the image above (SIZE_MISMATCH) */
    const char *base;         /* the image that takes the data; NULL: the lowest of the chain. A disk
                               * that is shorter is refused (SIZE_MISMATCH) */
    const char *backing_file; /* string to record for base in the image above top */
    bool no_bitmaps;          /* give up the dirty bitmaps of the images that go */
    bool relative;            /* as for a pull: the name that the image above top records */
} qblk_commit_options;

typedef struct qblk_backup_options {
    size_t size;
    qblk_op_common common;
    const char *sync;   /* "full" (default) or "top" */
    const char *format; /* as for copy */
    bool reuse;
    bool compress;      /* the data; not with format "raw" */
    bool legacy;        /* use drive-backup */
} qblk_backup_options;

/* A disk and the file of the overlay that it gets. */
typedef struct qblk_snapshot_disk {
    const char *disk;
    const char *file; /* an absolute path as QEMU sees it */
} qblk_snapshot_disk;

typedef struct qblk_snapshot_options {
    size_t size;
    qblk_op_common common; /* speed and on_error mean nothing here */
    bool reuse;            /* the files hold overlays that were prepared for the disks: qcow2, of
                            * the disk's size, recording its top image and that image's format,
                            * empty */
    bool no_bitmaps;       /* do not let dirty bitmaps go on in the overlays */
    const char *quiesce;   /* socket of the guest agent, an absolute path: the guest's file systems
                            * are frozen while the snapshots are taken; NULL: they are not. It is
                            * asked before anything else whether it would (guest-info) */
    bool relative;         /* record the image below by its name relative to the overlay's
                            * directory */
    bool quiesce_optional; /* if the guest cannot be frozen, go on without, with a note; nothing is
                            * asked first */
} qblk_snapshot_options;

/* Pulls the data of a disk's backing images into its top image (block-stream), or into another of
 * the chain. Afterwards that image has no backing image, or is on top of base. What was encrypted and
 * is not any more, here and after a commit, the plan's warning says. Never blocks.
 * Returns 0 and the operation, which belongs to the monitor and lives until qblk_op_free() or the
 * monitor's end; -EINVAL, -ENOMEM, the errno of a dead monitor's end. What needs QEMU to be asked
 * is refused through on_end. Since: 0.1. */
QBLK_API int qblk_pull(qblk_monitor *monitor, const char *disk, const qblk_pull_options *options,
                       qblk_op **ret_op, qblk_error *error) QBLK_MUST_CHECK;

/* Commits the data of images of a disk's chain down into one of their backing images
 * (block-commit). From the start on the images between base and top are worth nothing by
 * themselves, which the plan's warning says. Otherwise as qblk_pull(). Since: 0.1. */
QBLK_API int qblk_commit(qblk_monitor *monitor, const char *disk,
                         const qblk_commit_options *options, qblk_op **ret_op,
                         qblk_error *error) QBLK_MUST_CHECK;

/* Copies a disk to a new or existing image file (blockdev-mirror). target is an absolute path as
 * QEMU sees it, or the URI of an export of an NBD server (nbd://host[:port]/export,
 * nbd+unix:///export?socket=/path), which is there already. No target is made where an image that is
 * copied from is encrypted, here and by a backup, nor an overlay of one that is: it would hold the data
 * in clear. A target that may become the disk (pivot or keep; a swap's; a snapshot's overlay) is opened
 * with the cache.direct, cache.no-flush and detect-zeroes of the disk's nodes. Otherwise as qblk_pull().
 * Since: 0.1. */
QBLK_API int qblk_copy(qblk_monitor *monitor, const char *disk, const char *target,
                       const qblk_copy_options *options, qblk_op **ret_op,
                       qblk_error *error) QBLK_MUST_CHECK;

/* Moves a disk to an image that is there (a copy that pivots), and gives it another size then. The
 * target has the disk's size; a raw one may be bigger, with QEMU 6.1 or later (blockdev-reopen,
 * which query-qmp-schema is asked about). If the resizing fails the result is FAILED, the error
 * saying that the disk has moved. Otherwise as qblk_copy(). Since: 0.1. */
QBLK_API int qblk_swap(qblk_monitor *monitor, const char *disk, const char *target,
                       const qblk_swap_options *options, qblk_op **ret_op,
                       qblk_error *error) QBLK_MUST_CHECK;

/* Backs a disk up as of now (blockdev-backup), to a target as above. Since: 0.1. */
QBLK_API int qblk_backup(qblk_monitor *monitor, const char *disk, const char *target,
                         const qblk_backup_options *options, qblk_op **ret_op,
                         qblk_error *error) QBLK_MUST_CHECK;

typedef struct qblk_resize_options {
    size_t size;
    qblk_op_common common;
    bool shrink; /* a smaller size is meant: what is beyond it is lost */
} qblk_resize_options;

/* Changes the size of a disk (block_resize); bytes is rounded up to a multiple of 512. The report's
 * disk_size is what QEMU says after. Refused through on_end: a smaller size without shrink, a job
 * on the disk, a disk that is read-only, and for a host's block device any size but its own. A disk
 * of that size already is left alone, with a note. There is no journal: one command is all there is
 * to it. Otherwise as qblk_pull(). Since: 0.1. */
QBLK_API int qblk_resize(qblk_monitor *monitor, const char *disk, uint64_t bytes,
                         const qblk_resize_options *options, qblk_op **ret_op,
                         qblk_error *error) QBLK_MUST_CHECK;

/* The limits of a disk's I/O by the guest; another thing than the speed of a job. Bytes, or
 * requests, a second; those named MAX are what a burst may have. */
typedef enum qblk_limit {
    QBLK_LIMIT_BPS,
    QBLK_LIMIT_BPS_RD,
    QBLK_LIMIT_BPS_WR,
    QBLK_LIMIT_IOPS,
    QBLK_LIMIT_IOPS_RD,
    QBLK_LIMIT_IOPS_WR,
    QBLK_LIMIT_BPS_MAX,
    QBLK_LIMIT_BPS_RD_MAX,
    QBLK_LIMIT_BPS_WR_MAX,
    QBLK_LIMIT_IOPS_MAX,
    QBLK_LIMIT_IOPS_RD_MAX,
    QBLK_LIMIT_IOPS_WR_MAX,
    QBLK_LIMIT_IOPS_SIZE /* a request of more bytes than this counts as several */
} qblk_limit;
#define QBLK_LIMITS 13

/* "bps", "bps-rd", ..., "iops-size". Static storage, never NULL. Since: 0.1. */
QBLK_API const char *qblk_limit_name(qblk_limit limit);

typedef struct qblk_throttle_options {
    size_t size;
    qblk_op_common common;
    bool off;                     /* no limits at all any more; nothing else may be given then */
    bool is_given[QBLK_LIMITS];   /* the others stay as they are, but a limit on the total takes the
                                   * place of those on reads and writes, and the other way round */
    uint64_t value[QBLK_LIMITS];  /* 0 for no limit */
    const char *group;            /* disks of one group share its limits, and a disk that joins
                                   * takes them over; NULL: as it is */
} qblk_throttle_options;

/* Limits a disk's I/O by the guest (block_set_io_throttle). Refused through on_end: a disk that no
 * device uses, as in qemu-storage-daemon, and one behind a throttle node, whose group has the
 * limits. Otherwise as qblk_resize(). Since: 0.1. */
QBLK_API int qblk_throttle(qblk_monitor *monitor, const char *disk,
                           const qblk_throttle_options *options, qblk_op **ret_op,
                           qblk_error *error) QBLK_MUST_CHECK;

typedef struct qblk_limits {
    size_t size;
    uint64_t value[QBLK_LIMITS]; /* 0 for no limit */
    char group[128];             /* "" if there are no limits; cut off if longer */
    char disk[128];              /* the disk as resolved */
    char node[64];               /* a throttle node in front of the disk, which has limits of its
                                  * own that are not seen here; or "" */
} qblk_limits;

/* Reads the limits. ret_limits->size must be set. Blocks up to timeout_ms (-1: for ever). Returns
 * 0; -EOPNOTSUPP with QBLK_E_UNSUPPORTED (no device uses it), -ENOENT, -ETIMEDOUT, ... Since:
 * 0.1. */
QBLK_API int qblk_throttle_read(qblk_monitor *monitor, const char *disk, int timeout_ms,
                                qblk_limits *ret_limits, qblk_error *error) QBLK_MUST_CHECK;

typedef struct qblk_detach_options {
    size_t size;
    qblk_op_common common;
    bool keep_nodes; /* leave the disk's nodes, to be used again */
    int tries;       /* how often the guest is asked; 0: 8 */
    int interval_ms; /* how long to wait for it each time; 0: 20000 */
} qblk_detach_options;

/* Unplugs the device of a disk: device_del, again after each interval, until DEVICE_DELETED comes
 * for it, and then removes those of the disk's nodes that were added by hand and that nobody else
 * uses (those of a -drive go by themselves), which the journal lists. The result is COMPLETED; if
 * the guest does not let go QBLK_E_TIMEOUT, if it says that it will not QBLK_E_QEMU. Refused
 * through on_end: a job on the disk, a disk without a device. A request cannot be taken back: after
 * a cancel or qblk_op_leave() the device may still go. What was left or lost is taken up by
 * qblk_resume(), which asks again, twice at most, 5 seconds each time. Otherwise as qblk_resize().
 * Since: 0.1. */
QBLK_API int qblk_detach(qblk_monitor *monitor, const char *disk,
                         const qblk_detach_options *options, qblk_op **ret_op,
                         qblk_error *error) QBLK_MUST_CHECK;

/* Takes an external snapshot of one or many disks at one instant: each gets a new qcow2 overlay,
 * which takes what the guest writes from then on, and what was its top image does not change any
 * more (blockdev-create, blockdev-snapshot in one transaction). Persistent bitmaps that record go
 * on in the overlays under their names. All of the disks or none. Filters above the images stay
 * above. disks is an array of n, 1 to 1000, copied. Once the snapshots are taken nothing is undone:
 * a failure after that (an overlay that is found not to record its backing image) is reported, and
 * the disks stay on their overlays. Otherwise as qblk_pull(). Since: 0.1. */
QBLK_API int qblk_snapshot(qblk_monitor *monitor, const qblk_snapshot_disk *disks, size_t n,
                           const qblk_snapshot_options *options, qblk_op **ret_op,
                           qblk_error *error) QBLK_MUST_CHECK;

/* What is to become of an operation that was left open. */
typedef enum qblk_resume_how {
    QBLK_RESUME_INTENT, /* what its owner intended, as recorded */
    QBLK_RESUME_FINISH, /* of a copy: end it without a pivot; else as intended */
    QBLK_RESUME_PIVOT,  /* of a copy: pivot; else as intended */
    QBLK_RESUME_UNDO    /* cancel its job and undo it; not possible once the job has ended well. Of one
                         * that has failed a note tells the reason */
} qblk_resume_how;

typedef struct qblk_resume_options {
    size_t size;
    qblk_op_common common;
    qblk_resume_how how;
    qblk_group *group;  /* with those that were started together with it, see qblk_group_new() */
} qblk_resume_options;

/* Takes up an operation that a client left open (by dying, by qblk_op_leave(), or by
 * QBLK_END_KEEP), from what QEMU knows of it: its job, its journal, its nodes. id is the
 * operation's 8 hex digits, which its job ids and node names carry. Doing so twice, or being killed
 * while doing so, does no harm. The result is the operation's own, or QBLK_RESULT_UNDONE; an
 * operation to be kept stays KEPT. Refused through on_end: no such operation, a record that is not
 * understood. Otherwise as qblk_pull(). Since: 0.1. */
QBLK_API int qblk_resume(qblk_monitor *monitor, const char *id,
                         const qblk_resume_options *options, qblk_op **ret_op,
                         qblk_error *error) QBLK_MUST_CHECK;

/* Waits for the end of the operation and writes its report, whose size member the caller has set
 * and whose pointers live until qblk_op_free() or the monitor's end. Returns 0 for a result other
 * than FAILED, CANCELLED, LOST; for those the error's negative errno; -ETIMEDOUT: it goes on; -EINVAL,
 * however it ended: a callback freed it meanwhile; -EDEADLK inside a callback. Since: 0.1. */
QBLK_API int qblk_op_wait(qblk_op *op, int timeout_ms, qblk_op_report *ret_report,
                          qblk_error *error) QBLK_MUST_CHECK;

/* Frees an operation that has ended (before that: -EBUSY is logged and nothing happens). An
 * operation nobody frees lives as long as its monitor. NULL is fine. Since: 0.1. */
QBLK_API void qblk_op_free(qblk_op *op);

/* Cancels by force and undoes; the end comes through on_end. Once the job can no longer be
 * cancelled it goes on to its real end, which is what is reported. Never blocks. Since: 0.1. */
QBLK_API void qblk_op_cancel(qblk_op *op);

/* Lets go of it: QEMU carries on with what it is doing, the journal stays, on_end hears LEFT with
 * notes on how to take it up again. Never blocks. Since: 0.1. */
QBLK_API void qblk_op_leave(qblk_op *op);

/* The operation's id, 8 hex digits. Borrowed. Since: 0.1. */
QBLK_API const char *qblk_op_id(const qblk_op *op);

/* ---- several operations as one --------------------------------------------------------------- */

/* A group of copies that become ready before any of them ends, and end together or not at all. Each
 * is an operation of its own, with its own callbacks and report, started by qblk_copy() with the
 * group in its options; nothing is sent for them before qblk_group_start(). If one is refused,
 * fails or is cancelled before all are ready, the others are cancelled and undone, and their error
 * names the cause. Once all are ready their ends are told to QEMU in one burst, and what one of
 * them does from then on stops no other. Those that were kept are taken up together as well: if one
 * has ended meanwhile, another end for the others is refused (QBLK_E_JOB_STATE). The group belongs
 * to the monitor and lives until qblk_group_free() or the monitor's end. Returns 0, -ENOMEM, the
 * errno of a dead monitor's end. Since: 0.1. */
QBLK_API int qblk_group_new(qblk_monitor *monitor, qblk_group **ret_group,
                            qblk_error *error) QBLK_MUST_CHECK;

/* All members are named: lets them begin. Never blocks. Returns 0; -EINVAL if the group is empty or
 * has been started before. Since: 0.1. */
QBLK_API int qblk_group_start(qblk_group *group, qblk_error *error) QBLK_MUST_CHECK;

/* Cancels all of them and undoes them, as qblk_op_cancel() of any of them does; without effect once
 * all have been told to end. Never blocks. Since: 0.1. */
QBLK_API void qblk_group_cancel(qblk_group *group);

/* Lets go of all of them, as qblk_op_leave() of any of them does. Since: 0.1. */
QBLK_API void qblk_group_leave(qblk_group *group);

/* Frees the group as soon as all its operations are freed; NULL is fine. Since: 0.1. */
QBLK_API void qblk_group_free(qblk_group *group);

QBLK_API const char *qblk_result_name(qblk_result result);

QBLK_END_DECLS

#endif
