/* Who is in the way of an operation, and how to be rid of him: named before anything is sent, since
 * QEMU says little more than that a node is in use. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "ops/op.h"

/* ---- jobs ------------------------------------------------------------------------------------ */

static const char *state_of(const qblk_job_info *info)
{
    if (info->is_stalled)
        return str_equal(info->stall_reason, "nospace") ? "stopped for want of space"
                                                        : "stopped on an I/O error";
    return info->status != NULL ? info->status : "state unknown";
}

/* What frees the node, by the state of the job. */
static void advise(struct buf *text, const qblk_job_info *info, bool is_ours)
{
    const char *id = info->id;

    if (info->is_stalled || info->state == QBLK_JOB_PAUSED || info->state == QBLK_JOB_STANDBY) {
        (void)buf_addf(text, "%slet it go on with \"qblk job resume %s\", or end it with \"qblk "
                       "job cancel %s\"", info->is_stalled ? "mend that, then " : "it is paused: ", id, id);
        return;
    }
    if (info->state == QBLK_JOB_CONCLUDED && is_ours)
        (void)buf_adds(text, "it is over, and its outcome was not heard yet");
    else if (info->state == QBLK_JOB_CONCLUDED)
        (void)buf_addf(text, "it is over and waits to be dismissed: free the disk with \"qblk job "
                       "dismiss %s\"", id);
    else if (info->state == QBLK_JOB_READY)
        (void)buf_addf(text, "it is in sync and goes on until it is ended: \"qblk job complete %s\" "
                       "(pivot), \"qblk job finish %s\" or \"qblk job cancel %s\"", id, id, id);
    else if (info->state == QBLK_JOB_PENDING)
        (void)buf_addf(text, "it waits to be finalized: \"qblk job finalize %s\", or \"qblk job "
                       "cancel %s\"", id, id);
    else
        (void)buf_addf(text, "wait for it with \"qblk job wait %s\" or free the disk with \"qblk job "
                       "cancel %s\"", id, id);
}

static int job_in_the_way(qblk_op *op, const char *disk, const char *id, const char *node,
                          qblk_error *error)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    qblk_job *job = qblk_job_find(op->monitor, id);
    struct buf how = BUF_INIT;
    char owner[9];
    bool is_ours = str_our_name(id, owner) != NULL;
    int r;

    info.id = id;
    if (job != NULL)
        qblk_job_get_info(job, &info);
    advise(&how, &info, is_ours);
    if (is_ours)
        (void)buf_addf(&how, "; %stake the operation up with \"qblk recover --operation %s\"%s",
                       info.state == QBLK_JOB_CONCLUDED ? "" : "or ", owner,
                       info.state == QBLK_JOB_READY ? " and --pivot, --finish or --undo" : "");
    if (buf_ok(&how) < 0) {
        buf_done(&how);
        return err_nomem(error);
    }
    r = err_set(error, QBLK_E_BUSY, "disk %s is busy: node %s is held by %s job %s (%s), which "
                "belongs to %s%s; %s", disk, node,
                info.type != NULL && info.type[0] != '\0' ? info.type : "a", id, state_of(&info),
                is_ours ? "qblk operation " : "somebody else", is_ours ? owner : "", how.data);
    if (error != NULL)
        (void)snprintf(error->job, sizeof(error->job), "%s", id);
    buf_done(&how);
    return r;
}

int plan_check_busy_from(qblk_op *op, int from, int stop, qblk_error *error)
{
    const char *node = NULL, *id = graph_job_on(op->graph, from, stop, &node);

    return id == NULL ? 0 : job_in_the_way(op, op->disk_name, id, node, error);
}

int plan_check_size_free(const qblk_op *op, qblk_error *error)
{
    const char *who = graph_who_forbids(op->graph, op->root, "resize");

    if (who == NULL)
        return 0;
    return err_set(error, QBLK_E_BUSY, "disk %s cannot be resized while %s uses node %s, which counts "
                   "on its size; take that away first (an export with block-export-del)",
                   op->disk_name, who, qblk_graph_node(op->graph, op->root)->name);
}

int plan_check_part_busy(qblk_op *op, const struct op_part *part, qblk_error *error)
{
    const char *node = NULL, *id = graph_job_on(op->graph, part->root, -1, &node);

    return id == NULL ? 0 : job_in_the_way(op, part->disk_name, id, node, error);
}

int plan_check_busy(qblk_op *op, int stop, qblk_error *error)
{
    return plan_check_busy_from(op, op->root, stop, error);
}

/* ---- others ---------------------------------------------------------------------------------- */

/* Whether the node is the disk's, in its chain. */
static bool is_in_chain(const qblk_op *op, const char *name)
{
    int node = qblk_graph_find_node(op->graph, name);

    for (int i = op->root, steps = qblk_graph_node_count(op->graph); i >= 0 && steps-- > 0;
         i = qblk_graph_node(op->graph, i)->backing) {
        if (i == node)
            return true;
    }
    return false;
}

static int check_user(const qblk_op *op, int image, bool is_base, const qblk_user *user,
                      qblk_error *error)
{
    const qblk_node *node = qblk_graph_node(op->graph, image);
    bool is_node = strcmp(user->kind, "node") == 0;

    if (strcmp(user->kind, "job") == 0 || (is_node && is_in_chain(op, user->name)))
        return 0;
    if (is_node)
        return err_set(error, QBLK_E_BUSY, "image %s (node %s) is used by node %s too, whose data "
                       "the commit would change; pull that one first, or commit into an image that "
                       "only disk %s uses", node->filename, node->name, user->name, op->disk_name);
    if (is_base) /* those who only read it may */
        return 0;
    return err_set(error, QBLK_E_BUSY, "image %s (node %s) is used by %s %s too, and is worth nothing "
                   "by itself from the commit on; take that away first (\"qblk tree %s\" shows who "
                   "uses what)", node->filename, node->name, user->kind,
                   user->name[0] != '\0' ? user->name : "without a name, such as an export,",
                   op->disk_name);
}

int plan_check_users(const qblk_op *op, int top, int base, qblk_error *error)
{
    int below = graph_backing_image(op->graph, base), r = 0;
    qblk_user user;

    /* The disk's own top image is used by the disk. */
    for (int image = top != op->top ? top : graph_backing_image(op->graph, top);
         r == 0 && image >= 0 && image != below; image = graph_backing_image(op->graph, image)) {
        for (int k = 0; r == 0 && qblk_graph_user(op->graph, image, k, &user) > 0; k++)
            r = check_user(op, image, image == base, &user, error);
    }
    return r;
}
