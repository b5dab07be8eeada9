/* What an operation of the public API tells, written down; and all the operations there are, each
 * under a name, to be set going against a peer. */
#ifndef QBLK_TESTS_UNIT_RECORDER_H
#define QBLK_TESTS_UNIT_RECORDER_H

#include "peer.h"

enum recorder_call { CALL_PLAN, CALL_STEP, CALL_JOB, CALL_END, N_CALLS };

struct recorder {
    int calls[N_CALLS];
    int undone;         /* of the steps */
    int disorder;       /* undone not in reverse */
    const void *last_undone;
    char operation[9];
    int releases;
    int late;           /* calls after on_end or after release: always wrong */
    qblk_result result;
    bool has_error;
    qblk_error error;
    char notes[4096];
    char *planned;      /* the plan's commands, a line each */
    char job[64];       /* in the report */

    /* wishes: at the n-th call of that kind act(op) is called */
    enum recorder_call act_call;
    int act_at;
    void (*act)(qblk_op *op);
};

extern struct recorder recorder;

void recorder_reset(void);
void recorder_watch(qblk_op_common *common);
bool recorder_ended(void);
bool recorder_released(void);

struct errand {
    const char *name;
    const char *kind; /* "pull", "copy", "swap", "backup", "snapshot" */
    const char *base, *sync, *format;
    qblk_ending ending;
    bool shallow, reuse, legacy;
    bool is_of_two; /* disks: vd1 as well, to "target2" */
    qblk_result result;
};

extern const struct errand errands[];
#define N_ERRANDS 17
#define N_WITH_JOB 14 /* those with a main job come first */

/* Starts it on disk vd0, the target being "target" in the peer's directory. */
int errand_start(const struct errand *errand, struct peer *peer, qblk_monitor *monitor,
                 bool is_dry, qblk_op **ret_op, qblk_error *error);
/* The same, and it must start; a file to reuse is there. */
void errand_begin(const struct errand *errand, struct peer *peer, qblk_monitor *monitor,
                  bool is_dry);

#endif
