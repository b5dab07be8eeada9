/* What the public start calls share: what can be judged without asking QEMU is judged here. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "ops/op.h"

int op_take_options(void *to, size_t ours, const void *from, const char *what, qblk_error *error)
{
    size_t size;

    if (from == NULL)
        return 0;
    memcpy(&size, from, sizeof(size));
    if (size == 0 || size > ours)
        return err_set(error, QBLK_E_ARGUMENT, "the size member of %s is not set; use "
                       "QBLK_INIT(%s)", what, what);
    memcpy(to, from, size);
    return 0;
}

int op_check_common(const qblk_monitor *monitor, const char *disk, const qblk_op_common *common,
                    qblk_error *error)
{
    if (monitor->state == QBLK_MONITOR_DEAD)
        return monitor_dead(monitor, error);
    if (disk == NULL || disk[0] == '\0')
        return err_set(error, QBLK_E_ARGUMENT, "no disk was named; \"qblk disks\" lists them");
    if (common->speed > INT64_MAX)
        return err_set(error, QBLK_E_ARGUMENT, "a speed of %llu bytes per second is more than "
                       "QEMU can be told (2^63-1)", (unsigned long long)common->speed);
    return op_check_policy(common->on_error, error);
}

int op_check_policy(const char *policy, qblk_error *error)
{
    if (policy != NULL && plan_on_error_find(policy) < 0)
        return err_set(error, QBLK_E_ARGUMENT, "\"%s\" is no policy for I/O errors; choose report, "
                       "stop, ignore or enospc", policy);
    return 0;
}

int op_check_target(const char *target, const char *format, qblk_error *error)
{
    if (target == NULL || target[0] == '\0')
        return err_set(error, QBLK_E_ARGUMENT, "no target was named");
    if (remote_is_uri(target)) {
        struct target to = { 0 };
        int r = remote_parse_uri(target, &to, error);

        target_done(&to);
        if (r < 0)
            return r;
    } else if (target[0] != '/')
        return err_set(error, QBLK_E_ARGUMENT, "the target %s is not an absolute path; QEMU would "
                       "look for it in a directory of its own", target);
    if (format != NULL && strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
        return err_set(error, QBLK_E_ARGUMENT, "\"%s\" is no format for a target; choose qcow2 or "
                       "raw", format);
    return 0;
}

int op_check_ending(qblk_ending ending, qblk_error *error)
{
    if (ending < QBLK_END_DEFAULT || ending > QBLK_END_KEEP)
        return err_set(error, QBLK_E_ARGUMENT, "there is no ending number %d", (int)ending);
    return 0;
}

int op_refused(const qblk_op_common *common, int r)
{
    if (common->ops.release != NULL)
        common->ops.release(common->arg);
    return r;
}

int op_launch(qblk_op *op, const struct op_string *strings, size_t n, qblk_op **ret_op,
              qblk_error *error)
{
    int r;

    for (size_t i = 0; i < n; i++) {
        if (strings[i].from != NULL && (*strings[i].to = mem_strdup(strings[i].from)) == NULL) {
            op_drop(op);
            return err_nomem(error);
        }
    }
    /* One of a group begins with the others. */
    r = op->group != NULL ? 0 : op_begin(op, error);
    if (r == 0 && ret_op != NULL)
        *ret_op = op;
    return r;
}
