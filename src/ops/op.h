/* One operation: what was asked, what is planned, how far it is, how it ended. */
#ifndef QBLK_SRC_OPS_OP_H
#define QBLK_SRC_OPS_OP_H

#include "graph/graph.h"
#include "monitor/features.h"
#include "monitor/monitor.h"
#include "ops/engine.h"
#include "ops/group.h"
#include "ops/journal.h"
#include "qapi_types.h"
#include <qblk/ops.h>

/* Node and job names: "qblk.<id>.<role>", within QEMU's 31 characters. */
#define OP_NAME_MAX 32

struct op_names {
    char job[OP_NAME_MAX];     /* that of its kind: .pull .copy .backup ... */
    char journal[OP_NAME_MAX]; /* .journal */
    char filter[OP_NAME_MAX];  /* .filter */
    char old[OP_NAME_MAX];     /* .old: a bitmap */
};

/* The second target of an operation has names that end in .1, and so on. */
struct target_names {
    char node[OP_NAME_MAX];        /* .target: the format node */
    char file[OP_NAME_MAX];        /* .file: the node of its bytes */
    char probe[OP_NAME_MAX];       /* .probe: a file looked at before anything is changed */
    char look[OP_NAME_MAX];        /* .look: the same for the image in it */
    char create_file[OP_NAME_MAX]; /* .create-file */
    char create_fmt[OP_NAME_MAX];  /* .create-format */
};

enum target_kind {
    TARGET_FILE, /* a file or a block device, path */
    TARGET_NBD,  /* an export of an NBD server; path is its URI */
    TARGET_NODE  /* whatever the user described as JSON for blockdev-add; path is that text */
};

/* An image that an operation writes to: target.c; what is no file: remote.c. */
struct target {
    enum target_kind kind;
    char *path, *format;   /* format: as asked; target_suit() fills it in */
    struct {
        char *host, *port; /* or */
        char *socket;
        char *export_name;
    } nbd;
    bool reuse;            /* it exists and is to be overwritten */
    struct target_names names;
    const char *disk_name; /* whose data it is to hold; borrowed */
    uint64_t size;         /* that disk's, bytes */
    bool is_new_file;      /* it is to be made */
    bool has_empty_file;   /* it is there and empty: to be used, not to be removed */
    char *backing_string;  /* what it is to record for its backing image; NULL: its name */
    bool is_overlay;       /* lies on nothing until it is put above its backing image */
    size_t node_step;      /* number, from 1, of the planned step that adds its node */
    int claim;             /* claim.h; 0: none */
    /* What else there is to be seen of an image that is reused, besides its size; or NULL. length
     * is that of its file, 0 if it is in none. */
    int (*judge)(const qblk_op *op, const struct target *to,
                 const struct qapi_block_device_info *seen, uint64_t length, qblk_error *error);
};

/* One disk of an operation that takes several at once: snapshot. */
struct op_part {
    char *disk_name;
    int disk, root, top; /* as in qblk_op */
    struct target to;
};

/* One kind of operation. */
struct op_kind {
    const char *name;     /* the word in the journal and in reports, and the role of its main job */
    const char *job_type; /* QEMU's word for its main job; NULL: it has none */
    /* Whether the plan depends on what QEMU can do (features.h), so that it has to be asked first.
     * The disk is found. May be NULL. */
    bool (*needs_features)(qblk_op *op);
    int (*plan)(qblk_op *op, qblk_error *error);
    /* The look at a raw target that is reused has found it bigger than the disk. Whether it may be.
     * NULL: it may not. */
    int (*take_bigger)(qblk_op *op, uint64_t have, qblk_error *error);
    /* Steps between the look at the target and the first change. May be NULL. */
    void (*plan_look)(qblk_op *op);
    /* Taken up again: the steps from the start of its main job on. NULL: it has no job. */
    void (*plan_end)(qblk_op *op);
    /* Taken up again before its point of no return, without a job: the steps up to there, if it can
     * be gone on with. NULL, or false: what was begun is undone. can_go_on says the same and plans
     * nothing; NULL like that. */
    bool (*plan_on)(qblk_op *op);
    bool (*can_go_on)(const qblk_op *op);
    /* What follows once the job has ended well and is dismissed, or the point of no return is
     * passed: what is to be cleaned, without the journal. NULL: nothing. */
    void (*plan_clean)(qblk_op *op);
    /* It was left in its middle: says what that means, in notes. NULL: in the words for all. */
    void (*tell_left)(qblk_op *op);
    /* An event of QEMU's came. May be NULL. */
    void (*hear)(qblk_op *op, const char *name, const char *text);
    /* Without a job: whether what is in QEMU, besides the journal, shows that the point of no
     * return is passed. NULL: the journal alone says so. */
    bool (*is_seen_done)(const qblk_op *op);
    size_t own_size;      /* of what it alone knows of an operation, op->own; 0: nothing */
    /* Without a job, for the client that began it: plans anew, from what is there now, what is left
     * to do after a connection was lost in its middle. The disk may be gone; the journal, if the
     * kind has one, is still in op->journal. NULL: it goes on as an operation of an earlier client
     * does. */
    int (*plan_again)(qblk_op *op, qblk_error *error);
    bool has_endings;     /* it can end in more than one way: op->ending, if that is not DEFAULT */
};

extern const struct op_kind op_pull, op_copy, op_swap, op_backup, op_commit, op_snapshot,
    op_detach;
/* These have no journal: one command is all there is to them. */
extern const struct op_kind op_resize, op_throttle;

/* Those that have a journal, NULL at the end: kinds.c. */
extern const struct op_kind *const op_kinds[];
const struct op_kind *op_kind_find(const char *name);

struct guest;

struct qblk_op {
    struct monitor_child child;
    qblk_monitor *monitor;
    bool *ret_is_gone; /* of the qblk_op_wait() under way: told when this is freed */
    const struct op_kind *kind; /* of a resumed one: known once the journal is read */
    char id[9];
    struct op_names names;

    /* what was asked */
    qblk_op_common common;
    char *disk_name, *base, *commit_top, *backing_file, *sync;
    char *on_source_error, *on_target_error; /* NULL: as common.on_error */
    char *into, *bottom; /* of a pull */
    bool relative;
    struct target to;
    void *own;           /* what its kind alone knows of, in one piece, zeroed; freed with it */
    struct op_part *parts; /* of an operation on several disks; then to holds nothing but names */
    size_t n_parts;
    qblk_ending ending;
    bool shallow, legacy, compress, active, active_late;
    int claim;           /* claim.h; 0: none */
    bool is_quiesced;    /* copy: the guest is frozen while it ends */
    bool has_stayed;     /* a pivot that was none: the disk is where it was, and all that it uses stays */
    bool has_strayed;    /* one that was not to be: the same where the disk is now */
    uint64_t granularity, buf_size; /* 0: QEMU's own */
    bool no_bitmaps;     /* bitmaps are not carried on */

    bool is_resumed;     /* an operation of an earlier client, or of a connection that was lost */
    qblk_resume_how how;
    bool is_to_undo;     /* resumed: its user wants it undone */
    qblk_group *group;   /* with which it starts and ends; or NULL */
    enum group_found found; /* resumed: how far it was */
    struct qapi_block_device_info_list *nodes; /* resumed: what was there; NULL before */

    /* what is there */
    struct graph_reading *reading;
    struct features_asking asking;
    qblk_graph *graph;
    int disk;
    int root, top;       /* nodes of the disk: what the device uses; the format node */
    int below;           /* copy: the image that the target is to lie on, or -1 */

    /* what is to be done */
    struct engine engine;
    struct journal journal;
    struct journal_nodes old_creations; /* ids of an earlier client's jobs, for its steps */
    char **record;       /* the journal's bitmap names */
    int n_record;
    qblk_step *steps;
    char *chain_before, *chain_after, *warning;
    const char *landing; /* the node that the disk's device uses after a pivot; borrowed */
    qblk_op_disk *told_disks; /* the parts in the report */
    struct guest *guest; /* guest.c; NULL: the operation does not quiesce */
    struct monitor_timer timer; /* of a step that waits for so long */
    struct job_listener *listener; /* freed by the monitor, once nobody walks its list */

    /* when the connection was lost: again.c */
    bool is_away;        /* it is not back, or the jobs have not been read since */
    bool is_read_anew;   /* they have */
    bool has_returned;   /* it was taken up again */
    bool is_own;         /* ...and begun by this client */
    bool is_nameless;    /* ...and its record, which names its kind and its disk, is not read yet */
    bool was_undoing;    /* ...and was being undone then, to begin again */
    bool is_recorded;    /* ...and had its journal by then */
    bool was_past;       /* ...and the point of no return behind it */
    bool was_urged;      /* ...and what its STEP_URGE asks for was asked */
    bool was_running;    /* its main job was seen before the connection was lost */
    bool begins_again;   /* in a group: what there is of it is undone, for it to begin again */
    qblk_ending asked;   /* the ending before the journal was read */
    qblk_error cause;    /* of the undoing that was under way; or what went wrong past that point */
    struct journal_nodes worths; /* what lost_remember() keeps: texts */

    /* how it goes */
    bool is_planned;
    bool is_pumping;
    bool is_held;        /* a command of its next step has to wait until no image is being made */
    size_t turn_step;    /* number of the step, from 1, for which it has claim_turn() */
    int64_t turn_since;  /* it waits for that; 0: it does not */
    bool is_left;
    bool is_unread;      /* left because the answer that decides found no memory */
    bool is_idle;        /* left before anything was changed: its id means nothing */
    bool is_over;
    qblk_error stillborn; /* why it could not begin, to be told from the next turn; or code NONE */
    unsigned in_flight;  /* replies that will still come */
    struct act unsent;   /* for want of memory; kind WAIT: nothing is. Tried again by the timer */
    size_t unsent_at;    /* the number of its step */
    struct monitor_timer resend;
    int resends;         /* in a row */
    bool free_asked;
    int64_t started_ms;
    uint64_t bytes, disk_size;
    bool has_job;
    qblk_job_state told_end; /* the state in which the main job was told of with its outcome */
    const char *starting; /* id of the job whose start command is in flight, or NULL */
    qblk_op_report report;
    qblk_error error;
};

/* run.c */
void op_resend_due(struct monitor_timer *timer);
void op_end_turn(qblk_op *op); /* gives claim_turn() back, if it has that */

/* op.c */
/* Makes the operation and sets it going. On failure common.ops.release has run. */
int op_start(qblk_monitor *monitor, const struct op_kind *kind, const char *disk,
             const qblk_op_common *common, qblk_op **ret_op, qblk_error *error);
/* It is of that kind, and has what that knows of it. */
int op_set_kind(qblk_op *op, const struct op_kind *kind, qblk_error *error);
/* Frees what was read and planned, the steps apart, and what stands for it is empty then. */
void op_drop_plan(qblk_op *op);
/* qblk_op_leave() for this one, whether or not it is in a group. */
void op_leave_alone(qblk_op *op);
/* Makes the names from the id and the kind. */
void op_name(qblk_op *op);
/* Makes the parts; their targets have names and nothing else. */
int op_make_parts(qblk_op *op, size_t n, qblk_error *error);
void op_free_parts(qblk_op *op);
/* Its targets by number: that of its disk, or those of its parts. */
size_t op_n_targets(const qblk_op *op);
struct target *op_target(qblk_op *op, size_t number);
void op_end(qblk_op *op, qblk_result result, const qblk_error *error);
/* Refuses: nothing was changed. */
void op_refuse(qblk_op *op, const qblk_error *error);
/* Frees an operation that never began. */
void op_drop(qblk_op *op);

/* begin.c */
int op_begin(qblk_op *op, qblk_error *error); /* asks for the graph; on failure op is freed */
/* The same for one whose start call has returned long since: a failure is told by its end. */
void op_go(qblk_op *op);
int op_read_graph(qblk_op *op, qblk_error *error); /* what is planned from */
/* Brings the public list of steps up to date with the engine's. */
int op_face_steps(qblk_op *op, qblk_error *error);

/* again.c */
void op_lost(struct monitor_child *child, const qblk_error *why);
void op_synced(qblk_monitor *monitor, void *arg); /* of the job listener */
void op_take_up(qblk_op *op);
/* Whether plan_again() of its kind is what goes on with it: what its own client began is known
 * here, what an earlier one meant is in the journal alone. */
bool op_plans_again(const qblk_op *op);
/* It has returned: remembers what has gone wrong so far, or that it is not wanted any more. Asked
 * before what is left to do is planned, and before the engine is emptied. */
void op_see_cause(qblk_op *op);
/* The engine has nothing more to do. True if the operation has begun again instead, or is ended by
 * the guest's side; else the engine's error is what is to be told. */
bool op_over_again(qblk_op *op);

/* run.c: carries out what the engine says until there is nothing to do but wait. */
void op_run(qblk_op *op);
int op_listen(qblk_op *op, qblk_error *error);

/* lost.c: notes for the user when the connection has ended: where the operation stood, which file
 * it made, what that is worth. QEMU may be dead or alive. */
void lost_tell(qblk_op *op);
/* The connection is back, and what was known of the operation is about to be forgotten: keeps what there was to
 * tell of its files, to be recalled if QEMU does not know of it any more. */
void lost_remember(qblk_op *op);
void lost_recall(qblk_op *op);

/* plan.c: parts that plans have in common. All return 0 or a negative errno and *error. */
int plan_find_disk(qblk_op *op, qblk_error *error);
/* The same for one part. */
int plan_find_part(qblk_op *op, struct op_part *part, qblk_error *error);
/* Whether the node query is safe just now; QBLK_E_HAZARD naming the job in the way. doing is what
 * needs it, for the text. */
int plan_check_hazard(qblk_op *op, const char *doing, qblk_error *error);
/* The same of one that a step asks, which waits while an operation makes an image. */
int plan_check_question(qblk_op *op, const char *doing, qblk_error *error);
struct step *plan_step(qblk_op *op, enum step_kind kind, const char *name);
/* Whether the entry of query-block is that of the disk. */
bool plan_is_disk(const struct qapi_block_info *info, const qblk_disk *disk);
/* Steps: the journal node, the marks on the old nodes, and the record as it stands in op->journal with
 * that intent. */
int plan_open_journal(qblk_op *op, const char *intent, qblk_error *error);
/* A step that records that the main job has ended well and only cleaning is left. */
struct step *plan_end_journal(qblk_op *op);
/* The last steps: the journal goes; and if something could not be removed, what is left is seen. */
void plan_close_journal(qblk_op *op);
/* A step that sees, if a node could not be removed, which of those are there at all. */
void plan_survey(qblk_op *op);
void plan_dismiss(qblk_op *op);
/* A step that removes a node; that it cannot go is only a note. */
struct step *plan_delete(qblk_op *op, const char *node);
/* A step that ends the READY main job as op->ending says. */
void plan_end_job(qblk_op *op);
/* A step that sees, after a pivot, that the disk uses op->landing. */
void plan_verify(qblk_op *op);
/* The I/O error policy by its word: its number in the schema, or -1. */
int plan_on_error_find(const char *word);
enum qapi_blockdev_on_error plan_on_error(const char *word); /* NULL: the default, "report" */
/* What drive-mirror and drive-backup call the disk. */
const char *plan_legacy_device(const qblk_op *op);
/* A step that adds the node, and removes it again if undone. */
struct step *plan_add(qblk_op *op, const char *name, const struct qapi_blockdev_options *options);

/* old.c: the nodes that an operation makes useless, and the mark that says so on each. */
/* Puts the nodes of the images below into, down to above stop, that nothing but the chain uses into
 * the journal's list of old nodes; to be called before the journal is opened. */
int plan_list_pulled(qblk_op *op, int into, int stop, qblk_error *error);
/* The same for an image that is replaced: whatever uses it now moves on with it, and so does not
 * count. */
int plan_list_replaced(qblk_op *op, int node, int stop, qblk_error *error);
/* A step for each that marks it: before the record is written, so that with it they are all there. */
void old_plan_marks(qblk_op *op);
/* Whether that node is marked, as of when the journal was read, or else the graph. */
bool old_has_mark(const qblk_op *op, const char *node);
/* Taken up, or over a new connection: steps whose undo takes off whatever marks there are. */
void old_plan_marked(qblk_op *op);
/* Steps that remove them, of an operation that is taken up only those with the mark; or that take the
 * marks off, as the nodes are to stay. */
void plan_delete_old(qblk_op *op);
/* A note: those that nobody has listed stay. */
void old_tell_left(qblk_op *op);
void plan_keep_old(qblk_op *op);

/* busy.c: refuses with QBLK_E_BUSY, naming who is in the way and what frees the disk. */
/* Jobs on the disk's nodes from the uppermost, or that one, down to above stop (-1: all), and on
 * filters above. */
int plan_check_busy(qblk_op *op, int stop, qblk_error *error);
int plan_check_busy_from(qblk_op *op, int from, int stop, qblk_error *error);
/* The same for all of a part's disk. */
int plan_check_part_busy(qblk_op *op, const struct op_part *part, qblk_error *error);
/* Users of the disk that keep it at its size: an export, say, and QEMU would refuse in words about
 * permissions. */
int plan_check_size_free(const qblk_op *op, qblk_error *error);
/* Users of the images from top down to base, other than the chain, that a commit would harm. */
int plan_check_users(const qblk_op *op, int top, int base, qblk_error *error);

/* others.c: refuses with QBLK_E_BUSY what another operation that is open still counts on: a file that it makes, a
 * disk that its job has moved. */
int others_check_file(const qblk_op *op, const char *path, qblk_error *error);
int others_check_disk(const qblk_op *op, int disk, const char *name, qblk_error *error);

/* chain.c: what images hold. Whether the image, or the file of a raw one, is encrypted. */
bool plan_is_encrypted(const qblk_op *op, int image);
/* Adds to a warning that the data of those from the image from down to above stop (-1: all) that are
 * encrypted is about to be in clear in the image to; nothing if there are none. */
void plan_tell_clear(const qblk_op *op, int to, int from, int stop, struct buf *text);
/* Takes the text, which may be empty, for the plan's warning. */
int plan_warn(qblk_op *op, struct buf *text, qblk_error *error);

/* chain.c: names of images. All return 0 or a negative errno and *error. */
/* The name of the file that an image is in, also where QEMU tells a json: name for it. Borrowed. */
const char *plan_file_name(const qblk_op *op, int image);
/* Whether it means the same everywhere: an absolute name, or a protocol's such as nbd://... or json:{...}. */
bool plan_is_portable(const char *filename);
/* The string that the image at image_path has to record for the image backing. */
int plan_backing_string(const qblk_op *op, int backing, const char *image_path, char **ret_text,
                        qblk_error *error);
/* The same as a name relative to the image's own directory. For an image of the disk's chain: made
 * from what the images between record, refused if one of them records an absolute name. */
int plan_relative_string(const qblk_op *op, int image, int backing, char **ret_text,
                         qblk_error *error);
/* For a new image at that absolute path: the base name of backing, or the way there from directory
 * to directory; refused if that cannot be known. */
int plan_relative_path(const char *image, const char *backing, char **ret_text, qblk_error *error);
/* Whether QEMU is to record "raw" as the format of backing, which has none, in image; if it cannot,
 * that becomes a note. */
bool plan_masks(qblk_op *op, enum feature feature, int image, int backing);
/* Whether the image is below that other one in the disk's chain. */
bool plan_is_below(const qblk_op *op, int image, int above);
/* Behind the end of an image that goes, zeroes are read, and the job does not write them: refuses it if it is
 * shorter than base and than the image above (-1: whatever that is), which would read base's old data there. */
int plan_check_end(const qblk_op *op, int above, int image, int base, qblk_error *error);
/* A chain in one line: first (or nothing), then the image below and what is under it. */
int plan_chain_text(const qblk_op *op, const char *first, int below, char **ret_text,
                    qblk_error *error);
/* The disk's chain down to last (-1: none of it), and then what is from next on. */
int plan_chain_without(const qblk_op *op, int last, int next, char **ret_text, qblk_error *error);

/* target.c: an image that copy, backup or snapshot writes to. */
/* Its node names, in the operation of that id; number 0 is the first. */
void target_name(struct target *to, const char *id, int number);
/* Takes back what planning has made of it: it is to be planned anew. */
void target_forget(struct target *to);
void target_done(struct target *to);
/* Whether two names are those of one file that is there; or, the second, of one that may not be. */
bool target_is_same_file(const char *a, const char *b);
bool target_is_same_path(const char *a, const char *b);
/* Refuses to make it if that image, or one of those below it and above stop (-1: all), is encrypted: it would
 * not be. */
int target_check_clear(const qblk_op *op, const struct target *to, int image, int stop, qblk_error *error);
/* Fits it to the operation's disk: its size, and its format if none was asked for. */
int target_suit(qblk_op *op, struct target *to, qblk_error *error);
/* Whether it may be used, as far as that can be told from here. */
int target_check(qblk_op *op, struct target *to, bool shallow, qblk_error *error);
/* Steps that let QEMU look at it before anything is changed: whether it sees a file where we do
 * not; what the size of an image is that is to be reused. */
void target_plan_look(qblk_op *op, const struct target *to);
/* Steps that make (or open) the target; backing is the node it is to lie on, or -1. */
int target_plan(qblk_op *op, struct target *to, int backing, qblk_error *error);
/* The same for drive-mirror and drive-backup, which make or open it themselves; start adds the step
 * that starts the job. */
void target_plan_legacy(qblk_op *op, const struct target *to, void (*start)(qblk_op *op));
/* Into the journal: its file, if the operation makes it. */
int target_record(qblk_op *op, const struct target *to, qblk_error *error);
/* Steps that remove the target's nodes after success. */
void target_plan_removal(qblk_op *op, const struct target *to);

/* remote.c: targets that are no files. */
/* Whether the text is meant as a URI of an NBD server. */
bool remote_is_uri(const char *text);
/* Takes the URI apart, or checks the JSON of a node. 0, -EINVAL, -ENOMEM. */
int remote_parse_uri(const char *uri, struct target *to, qblk_error *error);
int remote_check_json(const char *json, qblk_error *error);
/* Steps that add the node of an NBD export, or the one described. */
struct step *remote_plan_nbd(qblk_op *op, const struct target *to, const char *name,
                             bool read_only);
struct step *remote_plan_json(qblk_op *op, const struct target *to, const char *name,
                              bool read_only);

/* bitmaps.c: recording persistent bitmaps of images that go. */
/* Whether it is one that an incremental backup can rely on. */
bool bitmaps_counts(const qblk_bitmap *bitmap);
/* All that follow send nothing where there are none, or with op->no_bitmaps, and return 0 or a
 * negative errno and *error: nothing was lost so far. */
/* A step, before the job starts, that merges the bitmaps of the images from first (below the disk's
 * top image) down to above stop into top's. */
int bitmaps_plan_merge(qblk_op *op, int top, int first, int stop, qblk_error *error);
/* For a pivot, three calls. Before the journal is opened: whether those of the images from top down
 * to above stop can be carried on to the node to (-1: one that is to be made) of that format (NULL:
 * unknown), and that it be done, into the journal. */
int bitmaps_check_move(qblk_op *op, int top, int stop, int to, const char *format,
                       qblk_error *error);
/* After the journal, before the job, if that node is in the chain (the base of a commit). */
int bitmaps_plan_save(qblk_op *op, int top, int to, qblk_error *error);
/* After the STEP_READY, before the verb, if it is to pivot; also when an operation is taken up. */
void bitmaps_plan_move(qblk_op *op, int top, int stop, const char *to);
/* Before that, when an operation is taken up whose job is there: undoing removes from that node
 * those that its owner has added. */
void bitmaps_plan_moved(qblk_op *op, int top, const char *to);

/* api.c: what the public start calls share. */
/* Copies the caller's options (NULL: none) over the defaults in *to, of ours bytes. Both begin with
 * their size, which must be set, and not be a newer library's. */
int op_take_options(void *to, size_t ours, const void *from, const char *what, qblk_error *error);
/* The monitor lives, a disk is named, speed and policy make sense. */
int op_check_common(const qblk_monitor *monitor, const char *disk, const qblk_op_common *common,
                    qblk_error *error);
int op_check_target(const char *target, const char *format, qblk_error *error);
int op_check_policy(const char *policy, qblk_error *error);
int op_check_ending(qblk_ending ending, qblk_error *error);
/* What the start call failed with, r; the caller's release runs whatever happens. */
int op_refused(const qblk_op_common *common, int r);
/* Copies the strings into the operation, and begins; on failure the operation is freed. */
struct op_string {
    char **to;
    const char *from; /* or NULL */
};
int op_launch(qblk_op *op, const struct op_string *strings, size_t n, qblk_op **ret_op,
              qblk_error *error);

/* resume.c */
int resume_plan(qblk_op *op, qblk_error *error);

#endif
