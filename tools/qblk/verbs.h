/* The table of verbs (main.c) and what each of them runs. */
#ifndef QBLK_TOOL_VERBS_H
#define QBLK_TOOL_VERBS_H

#include <stdint.h>

struct cli;

/* One bit each, for the option table to say where an option belongs. */
#define VERB_DISKS (1u << 0)
#define VERB_TREE (1u << 1)
#define VERB_PULL (1u << 2)
#define VERB_COPY (1u << 3)
#define VERB_BACKUP (1u << 4)
#define VERB_JOB_LIST (1u << 5)
#define VERB_JOB_INFO (1u << 6)
#define VERB_JOB_WAIT (1u << 7)
#define VERB_JOB_WATCH (1u << 8)
#define VERB_JOB_QUICK (1u << 9) /* pause, resume, speed */
#define VERB_JOB_END (1u << 10)  /* cancel, finish, pivot, finalize */
#define VERB_EVENTS (1u << 11)
#define VERB_QMP (1u << 12)
#define VERB_HELP (1u << 13)
#define VERB_RECOVER (1u << 14)
#define VERB_COMMIT (1u << 15)
#define VERB_AGENT (1u << 16)
#define VERB_SNAPSHOT (1u << 20)
#define VERB_JOB_CHANGE (1u << 24)
#define VERB_RESIZE (1u << 25)
#define VERB_THROTTLE (1u << 26)
#define VERB_DETACH (1u << 27)
#define VERB_WATCH (1u << 30)
#define VERB_SWAP (1u << 18)
#define VERB_JOB_DISMISS (1u << 21)
#define VERB_OPS (VERB_PULL | VERB_COPY | VERB_SWAP | VERB_BACKUP | VERB_COMMIT)
#define VERB_SMALL (VERB_RESIZE | VERB_THROTTLE | VERB_DETACH) /* operations without a job */
#define VERB_ALL (~0u)

struct verb {
    const char *name;    /* one or two words */
    uint32_t bit;
    int min_args;
    int max_args;        /* -1: any number */
    const char *args;    /* for the synopsis */
    const char *summary; /* one line */
    const char *detail;  /* more for --help, or NULL */
    int (*run)(struct cli *cli);
};

extern const struct verb verbs[];
extern const int n_verbs;

int run_disks(struct cli *cli);
int run_tree(struct cli *cli);
int run_pull(struct cli *cli);
int run_commit(struct cli *cli);
int run_copy(struct cli *cli);
int run_swap(struct cli *cli);
int run_backup(struct cli *cli);
int run_resize(struct cli *cli);
int run_throttle(struct cli *cli);
int run_detach(struct cli *cli);
int run_snapshot(struct cli *cli);
int run_job_list(struct cli *cli);
int run_job_info(struct cli *cli);
int run_job_wait(struct cli *cli);
int run_job_watch(struct cli *cli);
int run_job_act(struct cli *cli);
int run_watch(struct cli *cli);
int run_recover(struct cli *cli);
int run_events(struct cli *cli);
int run_qmp(struct cli *cli);
int run_agent(struct cli *cli);
int run_help(struct cli *cli);

#endif
