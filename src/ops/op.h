/* One operation: what was asked, what is planned, how far it is, how it ended. */
#ifndef QBLK_SRC_OPS_OP_H
#define QBLK_SRC_OPS_OP_H

#include "graph/graph.h"
#include "monitor/monitor.h"
#include "ops/engine.h"
#include "ops/journal.h"
#include "qapi_types.h"
#include <qblk/ops.h>

enum op_kind { OP_PULL, OP_COPY, OP_BACKUP, OP_COMMIT, N_OP_KINDS };

/* Node and job names: "qblk.<id>.<role>", within QEMU's 31 characters. */
#define OP_NAME_MAX 32

struct op_names {
    char job[OP_NAME_MAX];         /* .pull .copy .backup */
    char journal[OP_NAME_MAX];     /* .journal */
    char target[OP_NAME_MAX];      /* .target: the format node */
    char file[OP_NAME_MAX];        /* .file: the node of its bytes */
    char filter[OP_NAME_MAX];      /* .filter */
    char probe[OP_NAME_MAX];       /* .probe: a file looked at before anything is changed */
    char look[OP_NAME_MAX];        /* .look: the same for the image in it */
    char create_file[OP_NAME_MAX]; /* .create-file */
    char create_fmt[OP_NAME_MAX];  /* .create-format */
};

struct qblk_op {
    struct monitor_child child;
    qblk_monitor *monitor;
    bool *ret_is_gone; /* of the qblk_op_wait() under way: told when this is freed */
    enum op_kind kind;
    char id[9];
    struct op_names names;

    /* what was asked */
    qblk_op_common common;
    char *disk_name, *target, *base, *commit_top, *backing_file, *format, *sync;
    qblk_ending ending;
    bool shallow, reuse, legacy, compress;

    bool is_resumed;     /* an operation of an earlier client */
    qblk_resume_how how;

    /* what is there */
    struct graph_reading *reading;
    qblk_graph *graph;
    int disk;
    int root, top;       /* nodes of the disk: what the device uses; the format node */
    bool is_new_file;    /* the target is to be made */
    bool has_empty_file; /* it is there and empty: to be used, not to be removed */

    /* what is to be done */
    struct engine engine;
    struct journal journal;
    char **record;       /* the journal's bitmap names */
    int n_record;
    qblk_step *steps;
    char *chain_before, *chain_after, *warning;
    const char *landing; /* the node that the disk's device uses after a pivot; borrowed */
    struct job_listener *listener; /* freed by the monitor, once nobody walks its list */

    /* how it goes */
    bool is_pumping;
    bool is_left;
    bool is_idle;        /* left before anything was changed: its id means nothing */
    bool is_over;
    unsigned in_flight;  /* replies that will still come */
    bool free_asked;
    int64_t started_ms;
    uint64_t bytes;
    bool has_job;
    const char *starting; /* id of the job whose start command is in flight, or NULL */
    qblk_op_report report;
    qblk_error error;
};

/* op.c */
const char *op_kind_name(enum op_kind kind);
/* Makes the operation and sets it going. On failure common.ops.release has run. */
int op_start(qblk_monitor *monitor, enum op_kind kind, const char *disk,
             const qblk_op_common *common, qblk_op **ret_op, qblk_error *error);
int op_begin(qblk_op *op, qblk_error *error); /* asks for the graph; on failure op is freed */
/* Makes the names from the id and the kind. */
void op_name(qblk_op *op);
/* Brings the public list of steps up to date with the engine's. */
int op_face_steps(qblk_op *op, qblk_error *error);
void op_end(qblk_op *op, qblk_result result, const qblk_error *error);
/* Frees an operation that never began. */
void op_drop(qblk_op *op);
/* Refuses: nothing was changed. */
void op_refuse(qblk_op *op, const qblk_error *error);

/* run.c: carries out what the engine says until there is nothing to do but wait. */
void op_run(qblk_op *op);
int op_listen(qblk_op *op, qblk_error *error);

/* lost.c: notes for the user when the connection has ended: where the operation stood, which file it
 * made, what that is worth. QEMU may be dead or alive. */
void lost_tell(qblk_op *op);

/* plan.c: parts that plans have in common. All return 0 or a negative errno and *error. */
int plan_find_disk(qblk_op *op, qblk_error *error);
int plan_check_busy(qblk_op *op, int stop, qblk_error *error);
/* Whether the node query is safe just now; QBLK_E_HAZARD naming the job in the way. doing is what
 * needs it, for the text. */
int plan_check_hazard(qblk_op *op, const char *doing, qblk_error *error);
struct step *plan_step(qblk_op *op, enum step_kind kind, const char *name);
/* Two steps: the journal node, and the record as it stands in op->journal with that intent. */
int plan_open_journal(qblk_op *op, const char *intent, qblk_error *error);
/* A step that records that the main job has ended well and only cleaning is left. */
struct step *plan_end_journal(qblk_op *op);
/* The last steps: the journal goes; and if something could not be removed, what is left is seen. */
void plan_close_journal(qblk_op *op);
void plan_dismiss(qblk_op *op);
/* A step that removes a node; that it cannot go is only a note. */
void plan_delete(qblk_op *op, const char *node);
/* Puts the nodes of the images below the disk's own, down to above stop, that nothing but the chain
 * uses into the journal's list of old nodes; to be called before the journal is opened. */
int plan_list_pulled(qblk_op *op, int stop, qblk_error *error);
/* Steps that remove the journal's old nodes. */
void plan_delete_old(qblk_op *op);
/* The string that the image at image_path has to record for the image backing. */
int plan_backing_string(const qblk_op *op, int backing, const char *image_path, char **ret_text,
                        qblk_error *error);
/* A chain in one line: first (or nothing), then the image below and what is under it. */
int plan_chain_text(const qblk_op *op, const char *first, int below, char **ret_text,
                    qblk_error *error);

/* The same for an image that is replaced: whatever uses it now moves on with it, and so does not
 * count. */
int plan_list_replaced(qblk_op *op, int node, int stop, qblk_error *error);
/* A step that ends the READY main job as op->ending says. */
void plan_end_job(qblk_op *op);
/* A step that sees, after a pivot, that the disk uses op->landing. */
void plan_verify(qblk_op *op);
/* The I/O error policy by its word: its number in the schema, or -1. */
int plan_on_error_find(const char *word);
enum qapi_blockdev_on_error plan_on_error(const qblk_op *op);

/* target.c: the image that copy and backup write to. */
const char *target_format(const qblk_op *op);
/* Whether it may be used, as far as that can be told from here. */
int target_check(qblk_op *op, qblk_error *error);
/* Steps that let QEMU look at it before anything is changed: whether it sees a file where we do not;
 * what the size of an image is that is to be reused. */
void target_plan_look(qblk_op *op);
/* Steps that make (or open) the target; backing is the node it is to lie on, or -1. */
int target_plan(qblk_op *op, int backing, qblk_error *error);
/* The same for drive-mirror and drive-backup, which make or open it themselves; start adds the step
 * that starts the job. */
void target_plan_legacy(qblk_op *op, void (*start)(qblk_op *op));
/* Into the journal: its file, if the operation makes it. */
int target_record(qblk_op *op, qblk_error *error);
/* Steps that remove the target's nodes after success; drive-mirror's and drive-backup's go by
 * themselves. */
void target_plan_removal(qblk_op *op);

/* pull.c copy.c backup.c */
int pull_plan(qblk_op *op, qblk_error *error);
int copy_plan(qblk_op *op, qblk_error *error);
int backup_plan(qblk_op *op, qblk_error *error);
int commit_plan(qblk_op *op, qblk_error *error);

/* The ends of them, for an operation that is taken up again. */
void pull_plan_end(qblk_op *op);
void copy_plan_end(qblk_op *op);
void backup_plan_end(qblk_op *op);
void commit_plan_end(qblk_op *op);
/* resume.c */
int resume_plan(qblk_op *op, qblk_error *error);

#endif
