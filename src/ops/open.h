/* The list of what is open, while it is made: open.c, fate.c, and of what is nobody's: strays.c. */
#ifndef QBLK_SRC_OPS_OPEN_H
#define QBLK_SRC_OPS_OPEN_H

#include "ops/op.h"
#include <qblk/remains.h>

struct open_op {
    qblk_open_op told;
    qblk_job_info job;
    const char **files, **with;
    qblk_op_disk *disks;
    qblk_op *shadow; /* as much of an operation as its record and the graph make; while it is read */
    enum group_found found;
    bool has_look;     /* a node of its own that looks at a target */
    bool is_disowned;  /* names another that does not name it */
    bool is_late;      /* its record cannot be read now */
    bool is_refused;   /* LEAVE, for a reason of its own */
};

struct qblk_remains {
    qblk_monitor *monitor; /* both while it is read */
    qblk_graph *graph;
    struct open_op *ops;
    size_t n_ops, room;
    qblk_stray *strays;
    size_t n_strays, strays_room;
    char **owned;
    size_t n_owned, owned_room;
};

/* Makes the list from what is known: the jobs that the monitor tracks, and the graph, which is not
 * needed afterwards. 0 or -ENOMEM. */
int open_list(qblk_monitor *monitor, qblk_graph *graph, qblk_remains **ret_remains,
              qblk_error *error);

/* The string becomes the list's; NULL: out of memory, also if text is NULL. */
const char *open_own(qblk_remains *remains, char *text);
/* The operation of that id, or NULL. */
struct open_op *open_find(const qblk_remains *remains, const char *id);

/* It is left as it is, for the reason in op->told.why. Returns 0. */
int open_refuse(struct open_op *op);

/* Says of each what belongs to it, how far it is and what will become of it. 0 or -ENOMEM. */
int fate_judge_all(qblk_remains *remains);

/* 0 or -ENOMEM. */
int strays_find(qblk_remains *remains);

#endif
