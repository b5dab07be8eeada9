#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct code_row {
    const char *name;
    qblk_error_kind kind;
    int err;
};

static const struct code_row codes[] = {
    [QBLK_E_NONE] = { "none", QBLK_KIND_NONE, 0 },
    [QBLK_E_ARGUMENT] = { "argument", QBLK_KIND_USAGE, EINVAL },
    [QBLK_E_MEMORY] = { "memory", QBLK_KIND_FAILED, ENOMEM },
    [QBLK_E_SYSTEM] = { "system", QBLK_KIND_FAILED, EIO },
    [QBLK_E_DEADLOCK] = { "deadlock", QBLK_KIND_USAGE, EDEADLK },
    [QBLK_E_LIMIT] = { "limit", QBLK_KIND_USAGE, EMSGSIZE },
    [QBLK_E_NO_MONITOR] = { "no-monitor", QBLK_KIND_CONNECTION, ENOENT },
    [QBLK_E_MONITOR_BUSY] = { "monitor-busy", QBLK_KIND_CONNECTION, EBUSY },
    [QBLK_E_NOT_QMP] = { "not-qmp", QBLK_KIND_CONNECTION, EPROTO },
    [QBLK_E_PROTOCOL] = { "protocol", QBLK_KIND_CONNECTION, EPROTO },
    [QBLK_E_LOST] = { "lost", QBLK_KIND_CONNECTION, ECONNRESET },
    [QBLK_E_TIMEOUT] = { "timeout", QBLK_KIND_TIMEOUT, ETIMEDOUT },
    [QBLK_E_CANCELLED] = { "cancelled", QBLK_KIND_CANCELLED, ECANCELED },
    [QBLK_E_QEMU] = { "qemu", QBLK_KIND_FAILED, EIO },
    [QBLK_E_JOB_FAILED] = { "job-failed", QBLK_KIND_FAILED, EIO },
    [QBLK_E_JOB_LOST] = { "job-lost", QBLK_KIND_CONNECTION, ECONNRESET },
    [QBLK_E_UNKNOWN_DISK] = { "unknown-disk", QBLK_KIND_REFUSED, ENOENT },
    [QBLK_E_AMBIGUOUS] = { "ambiguous", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_UNKNOWN_JOB] = { "unknown-job", QBLK_KIND_REFUSED, ENOENT },
    [QBLK_E_JOB_STATE] = { "job-state", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_BUSY] = { "busy", QBLK_KIND_REFUSED, EBUSY },
    [QBLK_E_TARGET_EXISTS] = { "target-exists", QBLK_KIND_REFUSED, EEXIST },
    [QBLK_E_TARGET_INVALID] = { "target-invalid", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_SIZE_MISMATCH] = { "size-mismatch", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_UNSUPPORTED] = { "unsupported", QBLK_KIND_REFUSED, EOPNOTSUPP },
    [QBLK_E_HAZARD] = { "hazard", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_JOURNAL] = { "journal", QBLK_KIND_REFUSED, EPERM },
    [QBLK_E_NO_AGENT] = { "no-agent", QBLK_KIND_CONNECTION, ENOTCONN },
    [QBLK_E_AGENT] = { "agent", QBLK_KIND_FAILED, EIO },
    [QBLK_E_FROZEN] = { "frozen", QBLK_KIND_FAILED, EIO },
};

#define N_CODES (sizeof(codes) / sizeof(codes[0]))

static const char *const kinds[] = {
    [QBLK_KIND_NONE] = "none",
    [QBLK_KIND_FAILED] = "failed",
    [QBLK_KIND_USAGE] = "usage",
    [QBLK_KIND_CONNECTION] = "connection",
    [QBLK_KIND_TIMEOUT] = "timeout",
    [QBLK_KIND_CANCELLED] = "cancelled",
    [QBLK_KIND_REFUSED] = "refused",
};

const char *qblk_error_code_name(qblk_error_code code)
{
    return (size_t)code < N_CODES ? codes[code].name : "unknown";
}

const char *qblk_error_kind_name(qblk_error_kind kind)
{
    return (size_t)kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : "unknown";
}

static int __attribute__((format(printf, 4, 0)))
fill(qblk_error *error, qblk_error_code code, int err, const char *format, va_list ap)
{
    if (error != NULL) {
        memset(error, 0, sizeof(*error));
        error->code = code;
        error->kind = codes[code].kind;
        error->err = err;
        (void)vsnprintf(error->text, sizeof(error->text), format, ap);
    }
    return -err;
}

int err_set(qblk_error *error, qblk_error_code code, const char *format, ...)
{
    va_list ap;
    int r;

    va_start(ap, format);
    r = fill(error, code, codes[code].err, format, ap);
    va_end(ap);
    return r;
}

int err_sys(qblk_error *error, int err, const char *format, ...)
{
    va_list ap;
    int r;

    va_start(ap, format);
    r = fill(error, err == ENOMEM ? QBLK_E_MEMORY : QBLK_E_SYSTEM, err, format, ap);
    va_end(ap);
    if (error != NULL) {
        size_t len = strlen(error->text);

        (void)snprintf(error->text + len, sizeof(error->text) - len, ": %s", strerror(err));
    }
    return r;
}

int err_nomem(qblk_error *error)
{
    return err_set(error, QBLK_E_MEMORY, "out of memory");
}

int err_copy(qblk_error *to, const qblk_error *from)
{
    if (to != NULL)
        *to = *from;
    return -from->err;
}

void err_prefix(qblk_error *error, const char *format, ...)
{
    char old[sizeof(error->text)];
    va_list ap;
    size_t len;

    if (error == NULL)
        return;
    memcpy(old, error->text, sizeof(old));
    va_start(ap, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, ap);
    va_end(ap);
    len = strlen(error->text);
    (void)snprintf(error->text + len, sizeof(error->text) - len, ": %s", old);
}
