/* Runs one operation from its start to the report: what pull, copy and backup share. */
#ifndef QBLK_TOOL_OP_H
#define QBLK_TOOL_OP_H

#include "cli.h"
#include "session.h"
#include "text.h"

struct op_run;

/* Calls qblk_pull() or its like with *common in its options. */
typedef int op_start_fn(struct op_run *run, const qblk_op_common *common, qblk_error *error);

struct op_run {
    struct cli *cli;
    struct session session;
    op_start_fn *start;
    const char *past;   /* "copied" */
    const char *disk;   /* as the user named it */
    const char *target; /* absolute, or NULL */
    const void *what;   /* for the start function: what else it needs, or NULL */
    qblk_op *op;
    char label[128];    /* of the progress line */
    bool is_cancelling; /* by Ctrl-C or at the deadline */
    bool is_timed_out;
    bool is_async_done; /* left on purpose, since the job runs */
    bool was_stalled;
    bool may_try_again;  /* recover: a refusal for what is under way is not the last word */
    bool is_to_try_again;
    bool is_gone;        /* recover: its client has brought it to its end meanwhile */
    bool is_one_of_many; /* the last line is somebody else's: end with an event */
    bool has_endings;    /* recover: it can end by a pivot or without one */
    const qblk_open_op *open; /* recover: what is taken up, as it was seen before; or NULL */
    bool are_files_told; /* recover: since the connection was lost */
    bool is_last_said;   /* recover: the last line was printed, as an error */
    bool has_changed;    /* recover: one has ended, and not by being kept as it was */
    bool has_failed;     /* one of many has, for this reason */
    qblk_error failure;
    struct text results; /* of many: their results as JSON, one behind the other */
    struct many *many;   /* the disks of which this is one, or which this runs; or NULL */
    struct op_run *many_head; /* of one of them: the run that has the connection */
    bool is_running;     /* its job has been seen at work */
    uint64_t current, total; /* of its job, as last heard */
    int leave_signal;   /* the signal for which it was left, 0 if none */
    int late_signal;    /* one that came between two operations */
    int status;
};

/* verb is "copy", past "copied". */
int op_run(struct cli *cli, op_start_fn *start, const char *verb, const char *past,
           const char *target);
/* The same for a run that is filled in: its cli, past, target or what. */
int op_run_whole(struct op_run *run, op_start_fn *start, const char *verb, const char *disk);

/* The same in parts, for a verb that runs several, one after the other, on one connection:
 * op_open(), session_loop(), op_continue() for each, session_end(). */
int op_open(struct op_run *run, qblk_error *error);
int op_continue(struct op_run *run, op_start_fn *start, const char *verb, const char *disk,
                qblk_error *error);

/* What the library wants to know of a run. */
void op_fill_common(struct op_run *run, qblk_op_common *common);

/* ---- many.c: several operations that begin and end together ------------------------------------ */

struct many {
    struct op_run *runs;
    size_t n, live;
    qblk_group *group;
    bool ends_command;   /* its end is the command's: the last line is its */
    char left[9];        /* the id of one that was left open, or "" */
    size_t n_left;       /* how many were */
    qblk_result result;  /* of the last one that ended well */
    qblk_result other_end; /* of one that op_is_other_end(), or NONE */
    struct text summary; /* "vd0: pivoted, vd1: failed" */
    struct text results;
    qblk_error cause;    /* of the failure of the whole; code NONE if there is none */
    size_t n_refused;    /* nothing has become of these */
    size_t n_cancelled;  /* by the user, and undone */
};

/* Runs the operations of many, on the connection of head, which has its loop. Returns the exit
 * status. */
int many_continue(struct op_run *head, struct many *many, op_start_fn *start, const char *verb,
                  qblk_error *error);
void many_cancel(struct op_run *head);
void many_leave(struct op_run *head, int signo);
/* One of them has been heard of, has ended. */
void many_hear(struct op_run *run, const qblk_job_info *job);
void many_end(struct op_run *run, const qblk_op_report *report, const qblk_error *error);

/* ---- op_report.c: what is said about it ---------------------------------------------------- */

void op_say_plan(struct op_run *run, const qblk_plan *plan);
void op_say_step(struct op_run *run, const qblk_step *step, bool is_undoing);
void op_say_job(struct op_run *run, const qblk_job_info *job);
/* The result as members of a JSON object, the notes for people, and that it was left open. */
void op_result_members(struct text *line, const qblk_op_report *report);
/* Its member "disks". */
void op_disk_members(struct text *line, const qblk_op_disk *disks, size_t n);
void op_result_line(struct op_run *run, const qblk_op_report *report);
void op_say_notes(struct op_run *run, const qblk_op_report *report);
/* Of what recover was to take up when the connection was lost: its files, but those that the notes of the
 * report, which may be NULL, name. */
void op_say_files(struct op_run *run, const qblk_op_report *report);
/* How to be rid of a record that recover cannot read, which is refused for ever. For its id. */
#define RECORD_DROP "qmp blockdev-del node-name=qblk.%s.journal"
#define RECORD_ADVICE "\"qblk " RECORD_DROP "\" drops the record, once what is left is seen to"
void op_say_record(struct op_run *run, const qblk_error *error);
int op_say_left(struct op_run *run, const qblk_op_report *report);
/* One of many that recover takes up is told as an event with --json, and the first at the end. Returns the
 * exit status. */
int op_say_error(struct op_run *run, const qblk_error *error);
/* Whether what recover has found open is not open any more, which is nobody's failure: that is said. */
bool op_is_gone(struct op_run *run, const qblk_error *error);
/* It was undone because its user has cancelled it, and not because somebody has cancelled its job. */
bool op_is_users_cancel(const qblk_error *error);
/* Whether what recover was told to pivot, or to finish, has ended otherwise: mostly, somebody was faster. And
 * that error. */
bool op_is_other_end(const struct op_run *run, qblk_result result);
int op_say_other_end(struct op_run *run, const qblk_op_report *report);
/* The last word; returns the exit status. */
int op_say_end(struct op_run *run, const qblk_op_report *report, const qblk_error *error);

#endif
