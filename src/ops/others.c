/* What operations that are open have to do with a new one: their records, as far as QEMU tells of bitmaps.
 * Whoever recovers them must not meet what has become of their disk or file since. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "ops/op.h"

/* The record in that node, if it is the journal of another operation: 1; 0: it is not, or nobody can tell what
 * is in it; -ENOMEM. */
static int read_other(const qblk_op *op, int node, char ret_id[9], struct journal *ret)
{
    const char *role = str_our_name(qblk_graph_node(op->graph, node)->name, ret_id);
    struct journal_nodes names = { NULL, 0, 0 };
    qblk_bitmap bitmap;
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (role == NULL || strcmp(role, "journal") != 0 || strcmp(ret_id, op->id) == 0)
        return 0;
    for (int k = 0; r == 0 && qblk_graph_bitmap(op->graph, node, k, &bitmap) > 0; k++)
        r = journal_add(&names, bitmap.name);
    if (r == 0 && names.n > 0) {
        r = journal_decode(names.v, names.n, ret, NULL);
        r = r == -ENOMEM ? r : r == 0;
    }
    journal_free_nodes(&names);
    return r;
}

typedef bool judge_fn(const qblk_op *op, const struct journal *record, const char *id, const void *what);

/* Writes the id of the first that is in the way: 1; 0: none is; -ENOMEM. */
static int find(const qblk_op *op, judge_fn *judge, const void *what, char ret_id[9])
{
    int r = 0;

    for (int i = 0; r == 0 && i < qblk_graph_node_count(op->graph); i++) {
        struct journal record;

        r = read_other(op, i, ret_id, &record);
        if (r > 0) {
            r = judge(op, &record, ret_id, what);
            journal_done(&record);
        }
    }
    return r;
}

static bool makes_file(const qblk_op *op, const struct journal *record, const char *id, const void *what)
{
    bool is_it = false;

    (void)op;
    (void)id;
    for (size_t i = 0; i <= record->n_more && !is_it; i++) {
        const char *file = journal_file(record, i);

        is_it = file != NULL && target_is_same_path(file, what);
    }
    return is_it;
}

int others_check_file(const qblk_op *op, const char *path, qblk_error *error)
{
    char id[9];
    int r = find(op, makes_file, path, id);

    return r == 0 ? 0 : r < 0 ? err_nomem(error)
         : err_set(error, QBLK_E_BUSY, "the target %s is that of operation %s, which was left open and may remove "
                   "it: end that first with \"qblk recover --operation %s\"", path, id, id);
}

/* Its job may have moved the disk, and where the disk is tells whoever closes it what has become of it. */
static bool has_moved(const qblk_op *op, const struct journal *record, const char *id, const void *what)
{
    bool moves = strcmp(record->intent, "pivot") == 0 || strcmp(record->intent, "keep") == 0;
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    char name[OP_NAME_MAX];
    qblk_job *job;

    if (!moves || qblk_graph_find_disk(op->graph, record->disk, NULL) != *(const int *)what)
        return false;
    (void)snprintf(name, sizeof(name), "qblk.%s.%s", id, record->op);
    job = qblk_job_find(op->monitor, name);
    if (job != NULL)
        qblk_job_get_info(job, &info);
    return record->has_ended || info.outcome == QBLK_OUTCOME_COMPLETED;
}

int others_check_disk(const qblk_op *op, int disk, const char *name, qblk_error *error)
{
    char id[9];
    int r = find(op, has_moved, &disk, id);

    return r == 0 ? 0 : r < 0 ? err_nomem(error)
         : err_set(error, QBLK_E_BUSY, "disk %s is busy: operation %s was to move it, is over and not closed yet; if its "
                   "client has died, \"qblk recover --operation %s\" does that", name, id, id);
}
