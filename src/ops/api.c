/* The public start calls: what can be judged without asking QEMU is judged here. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/op.h"
#include "qapi_types.h"

static int check_size(size_t size, size_t ours, const char *what, qblk_error *error)
{
    if (size == 0 || size > ours)
        return err_set(error, QBLK_E_ARGUMENT, "the size member of %s is not set; use "
                       "QBLK_INIT(%s)", what, what);
    return 0;
}

static int check_common(const qblk_monitor *monitor, const char *disk,
                        const qblk_op_common *common, qblk_error *error)
{
    if (monitor->state == QBLK_MONITOR_DEAD)
        return monitor_dead(monitor, error);
    if (disk == NULL || disk[0] == '\0')
        return err_set(error, QBLK_E_ARGUMENT, "no disk was named; \"qblk disks\" lists them");
    if (common->speed > INT64_MAX)
        return err_set(error, QBLK_E_ARGUMENT, "a speed of %llu bytes per second is more than "
                       "QEMU can be told (2^63-1)", (unsigned long long)common->speed);
    if (common->on_error != NULL && plan_on_error_find(common->on_error) < 0)
        return err_set(error, QBLK_E_ARGUMENT, "\"%s\" is no policy for I/O errors; choose report, "
                       "stop, ignore or enospc", common->on_error);
    return 0;
}

static int check_target(const char *target, const char *format, qblk_error *error)
{
    if (target == NULL || target[0] == '\0')
        return err_set(error, QBLK_E_ARGUMENT, "no target was named");
    if (target[0] != '/')
        return err_set(error, QBLK_E_ARGUMENT, "the target %s is not an absolute path; QEMU would "
                       "look for it in a directory of its own", target);
    if (format != NULL && strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
        return err_set(error, QBLK_E_ARGUMENT, "\"%s\" is no format for a target; choose qcow2 or "
                       "raw", format);
    return 0;
}

/* What the caller's start call failed with; its release runs whatever happens. */
static int refuse(const qblk_op_common *common, int r)
{
    if (common->ops.release != NULL)
        common->ops.release(common->arg);
    return r;
}

/* Copies the strings, and begins. Freeing after a failure is done by op_begin() or here. */
static int begin(qblk_op *op, const char *const from[], char **const to[], int n,
                 qblk_op **ret_op, qblk_error *error)
{
    int r;

    for (int i = 0; i < n; i++) {
        if (from[i] != NULL && (*to[i] = mem_strdup(from[i])) == NULL) {
            op_drop(op);
            return err_nomem(error);
        }
    }
    r = op_begin(op, error);
    if (r == 0 && ret_op != NULL)
        *ret_op = op;
    return r;
}

int qblk_pull(qblk_monitor *monitor, const char *disk, const qblk_pull_options *options,
              qblk_op **ret_op, qblk_error *error)
{
    qblk_pull_options o = QBLK_INIT(qblk_pull_options);
    qblk_op *op;
    int r = options == NULL ? 0 : check_size(options->size, sizeof(o), "qblk_pull_options", error);

    if (r < 0)
        return r;
    if (options != NULL)
        memcpy(&o, options, options->size);
    r = check_common(monitor, disk, &o.common, error);
    if (r == 0 && o.backing_file != NULL && o.base == NULL)
        r = err_set(error, QBLK_E_ARGUMENT, "a backing file to record makes sense only with a "
                    "base to keep");
    if (r < 0)
        return refuse(&o.common, r);
    r = op_start(monitor, OP_PULL, disk, &o.common, &op, error);
    if (r < 0)
        return r;

    const char *const from[] = { o.base, o.backing_file };
    char **const to[] = { &op->base, &op->backing_file };

    return begin(op, from, to, 2, ret_op, error);
}

int qblk_copy(qblk_monitor *monitor, const char *disk, const char *target,
              const qblk_copy_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_copy_options o = QBLK_INIT(qblk_copy_options);
    qblk_op *op;
    int r = options == NULL ? 0 : check_size(options->size, sizeof(o), "qblk_copy_options", error);

    if (r < 0)
        return r;
    if (options != NULL)
        memcpy(&o, options, options->size);
    r = check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = check_target(target, o.format, error);
    if (r == 0 && (o.ending < QBLK_END_DEFAULT || o.ending > QBLK_END_KEEP))
        r = err_set(error, QBLK_E_ARGUMENT, "there is no ending number %d", (int)o.ending);
    if (r < 0)
        return refuse(&o.common, r);
    r = op_start(monitor, OP_COPY, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->ending = o.ending;
    op->shallow = o.shallow;
    op->reuse = o.reuse;
    op->legacy = o.legacy;

    const char *const from[] = { target, o.format };
    char **const to[] = { &op->target, &op->format };

    return begin(op, from, to, 2, ret_op, error);
}

int qblk_commit(qblk_monitor *monitor, const char *disk, const qblk_commit_options *options,
                qblk_op **ret_op, qblk_error *error)
{
    qblk_commit_options o = QBLK_INIT(qblk_commit_options);
    qblk_op *op;
    int r = options == NULL ? 0
                            : check_size(options->size, sizeof(o), "qblk_commit_options", error);

    if (r < 0)
        return r;
    if (options != NULL)
        memcpy(&o, options, options->size);
    r = check_common(monitor, disk, &o.common, error);
    if (r == 0 && (o.ending < QBLK_END_DEFAULT || o.ending > QBLK_END_KEEP))
        r = err_set(error, QBLK_E_ARGUMENT, "there is no ending number %d", (int)o.ending);
    if (r < 0)
        return refuse(&o.common, r);
    r = op_start(monitor, OP_COMMIT, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->ending = o.ending;

    const char *const from[] = { o.top, o.base, o.backing_file };
    char **const to[] = { &op->commit_top, &op->base, &op->backing_file };

    return begin(op, from, to, 3, ret_op, error);
}

int qblk_backup(qblk_monitor *monitor, const char *disk, const char *target,
                const qblk_backup_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_backup_options o = QBLK_INIT(qblk_backup_options);
    qblk_op *op;
    int r = options == NULL ? 0
                            : check_size(options->size, sizeof(o), "qblk_backup_options", error);

    if (r < 0)
        return r;
    if (options != NULL)
        memcpy(&o, options, options->size);
    if (o.sync == NULL)
        o.sync = "full";
    r = check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = check_target(target, o.format, error);
    if (r == 0 && strcmp(o.sync, "full") != 0 && strcmp(o.sync, "top") != 0)
        r = err_set(error, QBLK_E_ARGUMENT, "\"%s\" is nothing to back up; choose full or top",
                    o.sync);
    if (r < 0)
        return refuse(&o.common, r);
    r = op_start(monitor, OP_BACKUP, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    op->reuse = o.reuse;
    op->legacy = o.legacy;
    op->compress = o.compress;

    const char *const from[] = { target, o.format, o.sync };
    char **const to[] = { &op->target, &op->format, &op->sync };

    return begin(op, from, to, 3, ret_op, error);
}

static bool is_operation_id(const char *id)
{
    return id != NULL && strlen(id) == 8 && strspn(id, "0123456789abcdef") == 8;
}

int qblk_resume(qblk_monitor *monitor, const char *id, const qblk_resume_options *options,
                qblk_op **ret_op, qblk_error *error)
{
    qblk_resume_options o = QBLK_INIT(qblk_resume_options);
    qblk_op *op;
    int r = options == NULL ? 0
                            : check_size(options->size, sizeof(o), "qblk_resume_options", error);

    if (r < 0)
        return r;
    if (options != NULL)
        memcpy(&o, options, options->size);
    r = check_common(monitor, "?", &o.common, error);
    if (r == 0 && !is_operation_id(id))
        r = err_set(error, QBLK_E_ARGUMENT, "\"%.40s\" is not the id of an operation, which is 8 "
                    "hex digits", id != NULL ? id : "");
    if (r < 0)
        return refuse(&o.common, r);
    r = op_start(monitor, OP_PULL, "?", &o.common, &op, error);
    if (r < 0)
        return r;
    memcpy(op->id, id, sizeof(op->id));
    op_name(op);
    engine_done(&op->engine);
    engine_init(&op->engine, op->names.job, op);
    op->is_resumed = true;
    op->how = o.how;
    return begin(op, NULL, NULL, 0, ret_op, error);
}
