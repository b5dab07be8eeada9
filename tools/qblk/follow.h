/* Follows jobs by name (or all of them) in the session's loop: what job wait, watch and the verbs
 * that change a job share. */
#ifndef QBLK_TOOL_FOLLOW_H
#define QBLK_TOOL_FOLLOW_H

#include "cli.h"
#include "session.h"

/* A job as far as it was seen; stays when the library has forgotten it. */
struct followed {
    char *id;
    bool is_seen;
    bool is_ended;
    bool is_gone;
    bool is_ready;
    bool is_stalled;        /* and it is known where and why */
    bool is_end_told;       /* the verb's own mark */
    bool is_pause_told;     /* that of job wait */
    bool is_waiting;        /* as follow_say_waiting() has told */
    int state;              /* the last qblk_job_state, -1 at first */
    qblk_job_outcome outcome;
    char *error; /* QEMU's words, or NULL */
};

struct follow {
    struct cli *cli;
    struct session session;
    struct followed *jobs;
    int n_jobs;
    bool is_all;   /* jobs that were not named are added as they come */
    bool is_synced;
    bool is_interrupted; /* SIGINT, where that is an ordinary end */
    bool is_failed;
    qblk_error failure;
    /* Connected, nothing asked: the place for blocking calls. A failure is follow_open()'s. NULL:
     * none. */
    int (*on_open)(struct follow *follow, qblk_error *error);
    /* The jobs are known. NULL: nothing to be done. */
    void (*on_synced)(struct follow *follow);
    /* Something about the job changed: state, stalled, ended, gone, or only its progress. state
     * and is_stalled are still as they were before, the rest is as of now. */
    void (*on_change)(struct follow *follow, struct followed *job, const qblk_job_info *info);
    void *arg;
};

/* Opens the session and starts tracking. Of a watcher SIGINT stops the loop, and so does an output
 * that fails; otherwise it ends the command like the other signals. Returns 0 or negative with the error. */
int follow_open(struct follow *follow, struct cli *cli, bool is_watcher, qblk_error *error);
/* Adds a job to be followed; before follow_open(). A name given twice is followed once. */
void follow_add(struct follow *follow, const char *id);
/* Ends the loop with an error. */
void follow_fail(struct follow *follow, const qblk_error *error);
/* If the loop ended otherwise than by the verb's own decision, says so and gives the exit status;
 * else -1. what is what was waited for. */
int follow_trouble(struct follow *follow, const char *what);
int follow_end(struct follow *follow, int status);

/* A note, once, of what a job waits for that comes to no end by itself: ready, or to be finalized. is_told: it
 * has been told to end as it is ready. */
void follow_say_waiting(struct follow *follow, struct followed *job, const qblk_job_info *info, bool is_told);

/* Fills *error for a job that ended, but not by completing. */
void follow_outcome_error(const struct followed *job, qblk_error *error);
/* The error for a job that QEMU does not know. */
void follow_unknown_error(const char *id, qblk_error *error);
/* If what was called a job in such an error is a disk, and one job works on that, says which.
 * Blocks. */
void follow_name_job(struct session *session, qblk_error *error);

#endif
