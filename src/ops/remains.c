/* What an operation of an earlier client has made, as far as it is there: its nodes and jobs, which
 * its id names, and the files of its targets. From these come the steps to undo it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/made.h"
#include "ops/remains.h"
#include "qapi_types.h"

/* Whether it has so many targets, as far as that is known: anybody can give a node or a job any name. */
static bool has_target(const qblk_op *op, size_t number)
{
    if (op->is_own || op->n_parts > 0)
        return number < op_n_targets(op);
    return op->journal.op == NULL || number <= op->journal.n_more;
}

/* Whether that is a name of the operation for the role, of whichever target: its number, else
 * -1. */
static int number_of(const qblk_op *op, const char *name, const char *role)
{
    size_t len = strlen(role);
    char id[9];
    const char *rest = name != NULL ? str_our_name(name, id) : NULL;
    long number;

    if (rest == NULL || strcmp(id, op->id) != 0 || strncmp(rest, role, len) != 0)
        return -1;
    rest += len;
    if (*rest == '\0')
        return 0;
    if (rest[0] != '.' || rest[1] < '1' || rest[1] > '9' || strlen(rest + 1) > 3 ||
        strspn(rest + 1, "0123456789") != strlen(rest + 1))
        return -1;
    number = strtol(rest + 1, NULL, 10);
    return has_target(op, (size_t)number) ? (int)number : -1;
}

static int node_number(const qblk_op *op, const char *name)
{
    static const char *const roles[] = { "probe", "look", "file", "target" };
    int number = -1;

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]) && number < 0; i++)
        number = number_of(op, name, roles[i]);
    return number;
}

static int job_number(const qblk_op *op, const qblk_job_info *info)
{
    int number = number_of(op, info->id, "create-file");

    if (info->state == QBLK_JOB_GONE)
        return -1;
    return number >= 0 ? number : number_of(op, info->id, "create-format");
}

const struct qapi_block_device_info *
remains_find_node(const struct qapi_block_device_info_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_equal(list->v[i].node_name, name))
            return &list->v[i];
    }
    return NULL;
}

bool remains_has_look(const qblk_op *op, const struct qapi_block_device_info_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (number_of(op, list->v[i].node_name, "probe") >= 0 ||
            number_of(op, list->v[i].node_name, "look") >= 0)
            return true;
    }
    return false;
}

/* ---- several targets ------------------------------------------------------------------------- */

static size_t count_targets(const qblk_op *op, const struct qapi_block_device_info_list *list)
{
    int most = (int)op->journal.n_more;
    qblk_job *job = NULL;

    for (size_t i = 0; i < list->n; i++) {
        int number = node_number(op, list->v[i].node_name);

        most = number > most ? number : most;
    }
    while ((job = qblk_job_next(op->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        int number;

        qblk_job_get_info(job, &info);
        number = job_number(op, &info);
        most = number > most ? number : most;
    }
    return (size_t)most + 1;
}

/* The file's own node says it best: a raw image of a part of its file has a description for a name. */
static const char *target_file(qblk_op *op, size_t number, const struct qapi_block_device_info_list *list)
{
    const struct target_names *names = &op_target(op, number)->names;
    const char *path = journal_file(&op->journal, number);
    const struct qapi_block_device_info *node;

    if (path != NULL)
        return path;
    node = remains_find_node(list, names->file);
    if (node == NULL)
        node = remains_find_node(list, names->node);
    return node != NULL ? node->image.filename : NULL;
}

/* What is known of it without asking for it again. */
static int fill_part(qblk_op *op, size_t number, const struct qapi_block_device_info_list *list)
{
    struct op_part *part = &op->parts[number];
    const char *disk = number == 0 ? op->journal.disk : NULL;
    const char *path = target_file(op, number, list);

    if (number > 0 && number <= op->journal.n_more)
        disk = op->journal.more[number - 1].disk;
    part->disk_name = mem_strdup(disk);
    part->to.path = mem_strdup(path);
    return (disk != NULL && part->disk_name == NULL) || (path != NULL && part->to.path == NULL)
               ? -ENOMEM : 0;
}

int remains_make_parts(qblk_op *op, const struct qapi_block_device_info_list *list,
                       qblk_error *error)
{
    size_t n = count_targets(op, list);
    const char *path;
    int r;

    if (op->n_parts > 0)
        return 0; /* this client's own, over a new connection */
    if (n == 1 && op->kind != &op_snapshot) {
        path = op->to.path == NULL ? target_file(op, 0, list) : NULL;
        op->to.path = path != NULL ? mem_strdup(path) : op->to.path;
        return path != NULL && op->to.path == NULL ? err_nomem(error) : 0;
    }
    r = op_make_parts(op, n, error);
    for (size_t i = 0; i < op->n_parts && r == 0; i++) {
        if (fill_part(op, i, list) < 0)
            r = err_nomem(error);
    }
    return r;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_job_there(const qblk_op *op, const char *id)
{
    qblk_job *job = qblk_job_find(op->monitor, id);
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (job != NULL)
        qblk_job_get_info(job, &info);
    return job != NULL && info.state != QBLK_JOB_GONE;
}

/* Whether its main job runs. One that has ended may have moved the disk to the target. */
static bool is_at_work(const qblk_op *op)
{
    qblk_job *job = qblk_job_find(op->monitor, op->names.job);
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    if (job != NULL)
        qblk_job_get_info(job, &info);
    return job != NULL && info.state < QBLK_JOB_WAITING;
}

/* File systems give a file more than it asks for, and take that back. */
#define SPARE 65536

static bool has_other_size(const struct qapi_block_device_info *node, const char *file)
{
    const struct qapi_image_info *image = &node->image;
    struct stat st;

    return stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
           (((int64_t)st.st_size + 511) / 512 * 512 != image->virtual_size ||
            (image->has_actual_size && (image->actual_size < 0 ||
                                        llabs((int64_t)st.st_blocks * 512 - image->actual_size) > SPARE)));
}

/* Whether the name leads from here to another file than the target that QEMU has open: somebody has put it
 * there, or QEMU runs on another machine. The target is locked while a job writes to it, or a format that has
 * metadata; where nobody writes, QEMU knows how large it is. */
static bool is_exchanged(const qblk_op *op, const struct target_names *names,
                         const struct qapi_block_device_info_list *list, const char *file)
{
    const struct qapi_block_device_info *node = remains_find_node(list, names->node);
    const struct qapi_block_device_info *bytes = remains_find_node(list, names->file);
    bool is_written = is_job_there(op, names->create_fmt) ||
                      (is_job_there(op, op->names.job) && op->engine.main.outcome == QBLK_OUTCOME_NONE);

    if (is_at_work(op) || (node != NULL && !node->ro && strcmp(node->drv, "raw") != 0))
        return made_is_held(file) == 0;
    return bytes != NULL && !is_written && has_other_size(bytes, file);
}

/* Whether somebody else has put the target to use: a disk, an export, an image above it. The job
 * that makes the image in it and the main job are no somebody: they use it without a name, or by a node
 * that QEMU named. */
static bool is_in_use(const qblk_op *op, const struct target_names *names)
{
    const char *const nodes[] = { names->node, names->file };
    bool is_formatted = is_job_there(op, names->create_fmt);
    qblk_user user;
    char id[9];

    for (int i = 0; i < 2; i++) {
        int node = op->graph != NULL ? qblk_graph_find_node(op->graph, nodes[i]) : -1;

        for (int k = 0; node >= 0 && qblk_graph_user(op->graph, node, k, &user) > 0; k++) {
            bool is_own = str_our_name(user.name, id) != NULL && strcmp(id, op->id) == 0;
            bool is_named = user.name[0] != '\0' && user.name[0] != '#';

            if (strcmp(user.kind, "job") != 0 && !is_own &&
                (is_named || !(is_formatted || op->engine.main.is_known)))
                return true;
        }
    }
    return false;
}

/* Whether that is a node of the operation's: by its name, as what its main job writes to (QEMU has named it
 * then), or as the file of such a one. */
static bool is_own_node(const qblk_op *op, const struct target_names *names, const char *name, bool is_file)
{
    int node = op->graph != NULL && name != NULL ? qblk_graph_find_node(op->graph, name) : -1;
    qblk_user user;

    if (str_equal(name, names->node) || str_equal(name, names->file))
        return true;
    for (int k = 0; node >= 0 && qblk_graph_user(op->graph, node, k, &user) > 0; k++) {
        bool is_job = strcmp(user.kind, "job") == 0 && strcmp(user.name, op->names.job) == 0;

        if ((is_job && strcmp(user.role, "target") == 0) ||
            (is_file && strcmp(user.kind, "node") == 0 && strcmp(user.role, "file") == 0 &&
             is_own_node(op, names, user.name, false)))
            return true;
    }
    return false;
}

/* Whether the main job alone says that the file is there because of it: one that has ended, and QEMU has
 * removed its target since. As long as that is there it tells its file itself. */
static bool is_jobs_file(const qblk_op *op, const struct target_names *names,
                         const struct qapi_block_device_info_list *list)
{
    return op->engine.main.is_known && !is_at_work(op) && remains_find_node(list, names->node) == NULL &&
           remains_find_node(list, names->file) == NULL;
}

/* A record is only a text that anybody can write, or that was true once. A file is removed only if
 * something else says that this operation made it: the job that did, as long as nobody has written to it, a
 * node of the operation that has it open, or the main job; and if nothing else uses it. */
static bool is_made_file(qblk_op *op, size_t number,
                         const struct qapi_block_device_info_list *list)
{
    const struct target_names *names = &op_target(op, number)->names;
    const char *file = journal_file(&op->journal, number);
    bool is_ours = false;

    if (file == NULL || file[0] != '/')
        return false;
    if (is_job_there(op, names->create_file))
        is_ours = made_is_bare(file);
    else if (is_jobs_file(op, names, list))
        is_ours = made_is_held(file) <= 0;
    /* Its job was at work when the connection was lost, and somebody else has ended it since:
     * nobody knows whether the copy is whole. */
    if (op->was_running && !op->engine.main.is_known)
        return false;
    /* Perhaps somebody has ended and dismissed the job, and uses the target now. Without the disk
     * it cannot be seen whether it had moved there, unless the image is still being made. */
    if (is_in_use(op, names) || (!op->engine.main.is_known && op->kind->has_endings && op->top < 0 &&
                                 !is_job_there(op, names->create_fmt)))
        return false;
    for (size_t i = 0; i < list->n; i++) {
        const char *name = list->v[i].node_name;
        bool is_own;

        if (!target_is_same_file(list->v[i].file, file))
            continue;
        is_own = is_own_node(op, names, name, true);
        if (!is_own && (name == NULL || name[0] != '#'))
            return false;
        is_ours = is_ours || is_own;
    }
    return is_ours && !is_exchanged(op, names, list, file);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static struct step *plan_wait(qblk_op *op, const char *job, qblk_error *error)
{
    struct step *step;

    /* The names of jobs beyond the first target's are no longer known here; the step needs one that
     * stays. */
    if (journal_add(&op->old_creations, job) < 0) {
        (void)err_nomem(error);
        return NULL;
    }
    step = plan_step(op, STEP_CREATE, "wait for a creation's end");
    step->job = op->old_creations.v[op->old_creations.n - 1];
    return step;
}

int remains_plan_creation_end(qblk_op *op, const char *job, qblk_error *error)
{
    struct step *step = plan_wait(op, job, error);

    if (step == NULL)
        return -ENOMEM;
    step->keeps_job = true;
    return 0;
}

/* Creations that are still there; with_undo: their end is part of what is to be undone. */
static int plan_creations(qblk_op *op, bool with_undo,
                          const struct qapi_block_device_info_list *list, qblk_error *error)
{
    qblk_job *job = NULL;

    while ((job = qblk_job_next(op->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        struct qapi_job_dismiss_args dismiss;
        struct step *step;
        int number;

        qblk_job_get_info(job, &info);
        number = job_number(op, &info);
        if (number < 0)
            continue;
        step = plan_wait(op, info.id, error);
        if (step == NULL)
            return -ENOMEM;
        if (!with_undo || number_of(op, info.id, "create-file") < 0)
            continue;
        step->keeps_job = true;
        if (is_made_file(op, (size_t)number, list))
            step->unlink = mem_strdup(journal_file(&op->journal, (size_t)number));
        dismiss.id = info.id;
        step_undo(&op->engine, step, &qapi_cmd_job_dismiss, &dismiss);
    }
    return 0;
}

static void plan_target(qblk_op *op, size_t number, bool has_job,
                        const struct qapi_block_device_info_list *list)
{
    const struct target_names *names = &op_target(op, number)->names;
    const char *const nodes[] = { names->probe, names->look, names->file, names->node };

    for (int i = 0; i < 4; i++) {
        struct qapi_blockdev_del_args del = { .node_name = nodes[i] };

        /* A target that drive-mirror has made goes with its job. */
        if (remains_find_node(list, nodes[i]) == NULL ||
            (has_job && i == 3 && remains_find_node(list, names->file) == NULL &&
             !journal_has_opt(&op->journal, "blockdev")))
            continue;
        step_undo(&op->engine, plan_step(op, STEP_MARK, "a node was added"), &qapi_cmd_blockdev_del,
                  &del);
    }
}

static void plan_file(qblk_op *op, size_t number, bool has_job,
                      const struct qapi_block_device_info_list *list)
{
    const struct target_names *names = &op_target(op, number)->names;
    const char *file = journal_file(&op->journal, number);
    bool is_undone = !has_job || (op->how == QBLK_RESUME_UNDO && is_at_work(op)) ||
                     op->engine.main.outcome == QBLK_OUTCOME_FAILED ||
                     op->engine.main.outcome == QBLK_OUTCOME_CANCELLED;

    if (is_made_file(op, number, list)) {
        struct step *step = plan_step(op, STEP_MARK, "the target's file was made");

        step->unlink = mem_strdup(file);
    } else if (file != NULL && is_at_work(op) && op->how == QBLK_RESUME_UNDO &&
               is_in_use(op, names)) {
        engine_note(&op->engine, "file %s is left: somebody uses it", file);
    } else if (file != NULL && op->how == QBLK_RESUME_UNDO && is_exchanged(op, names, list, file)) {
        engine_note(&op->engine, "file %s is left: the target that QEMU has open is another one", file);
    } else if (file != NULL && !op->journal.has_ended && is_undone && access(file, F_OK) == 0) {
        engine_note(&op->engine, "file %s is left alone: the journal names it, but nothing proves "
                    "that operation %s made it; remove it if it is not yours", file, op->id);
    }
}

int remains_plan(qblk_op *op, const struct qapi_block_device_info_list *list, bool has_job,
                 qblk_error *error)
{
    struct qapi_blockdev_del_args del = { .node_name = op->names.journal };
    struct step *step;
    int r;

    if (remains_find_node(list, op->names.journal) != NULL) {
        step = plan_step(op, STEP_MARK, "the journal is open");
        step->is_vital = true;
        step_undo(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    }
    old_plan_marked(op);
    r = plan_creations(op, !has_job && !op->journal.has_ended, list, error);
    for (size_t i = 0; i < op_n_targets(op); i++)
        plan_target(op, i, has_job, list);
    if (has_job)
        (void)plan_step(op, STEP_START, "the job was started");
    for (size_t i = 0; i < op_n_targets(op); i++)
        plan_file(op, i, has_job, list);
    return r;
}
