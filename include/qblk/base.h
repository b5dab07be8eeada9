/* qblk/base.h - what every other header needs: version, errors, handles.
 *
 * Conventions of the whole library, said once:
 *
 *   Results    A function returns 0 (or a count) on success and a negative errno value on failure.
 *              Outputs named ret_* are written only on success, *error only on failure; every
 *              error argument may be NULL.
 *   Units      Sizes and offsets are bytes, rates bytes per second, times milliseconds.
 *   Strings    UTF-8, NUL-terminated. A const char * handed to a callback or found in a struct is
 *              borrowed and lives as long as the page of that callback or struct says; a char *
 *              written to a ret_* output is the caller's, to be given to free(3).
 *   Structs    A struct that begins with "size" may grow at its end. The caller sets size to
 *              sizeof the struct (QBLK_INIT does) and zero means "default" for every member.
 *   Callbacks  Run inside qblk_monitor_process(), inside a blocking call on the same monitor, or
 *              inside qblk_monitor_free(); never inside the call that registered them, but for
 *              the release of one that fails. Any qblk_* call is allowed in them,
 *              qblk_monitor_free() included; blocking calls inside a callback are refused with
 *              -EDEADLK. An on_log may run inside any call, and may make none itself.
 *   Threads    One thread at a time for a monitor and everything that belongs to it. Different
 *              monitors are independent: the library has no global state.
 *   Output     The library prints nothing and raises no signal; see qblk_monitor_options.on_log.
 */
#ifndef QBLK_BASE_H
#define QBLK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define QBLK_BEGIN_DECLS extern "C" {
#define QBLK_END_DECLS }
#else
#define QBLK_BEGIN_DECLS
#define QBLK_END_DECLS
#endif

#if defined(__GNUC__)
#define QBLK_API __attribute__((visibility("default")))
#define QBLK_MUST_CHECK __attribute__((warn_unused_result))
#else
#define QBLK_API
#define QBLK_MUST_CHECK
#endif

#define QBLK_VERSION_MAJOR 0
#define QBLK_VERSION_MINOR 1
#define QBLK_VERSION_MICRO 0

/* First member of a sized struct: qblk_copy_options o = QBLK_INIT(qblk_copy_options); */
#ifdef __cplusplus
#define QBLK_INIT(type) { sizeof(type) }
#else
#define QBLK_INIT(type) { .size = sizeof(type) }
#endif

QBLK_BEGIN_DECLS

/* One connection to one QEMU (or qemu-storage-daemon) and everything known through it. */
typedef struct qblk_monitor qblk_monitor;
/* One block job as this client sees it; belongs to its monitor. */
typedef struct qblk_job qblk_job;
/* One operation (pull, copy, backup): its steps, its job, its outcome; belongs to its monitor. */
typedef struct qblk_op qblk_op;
/* Operations that start and end together; belongs to its monitor. */
typedef struct qblk_group qblk_group;
/* A picture of the block graph at one instant; belongs to the caller. */
typedef struct qblk_graph qblk_graph;

/* What went wrong, coarsely. The command's exit status is made from this alone. */
typedef enum qblk_error_kind {
    QBLK_KIND_NONE,
    QBLK_KIND_FAILED,     /* it was tried and failed; the text is QEMU's where QEMU gave one */
    QBLK_KIND_USAGE,      /* the arguments of the call make no sense; nothing was sent */
    QBLK_KIND_CONNECTION, /* no connection, a busy monitor, a malformed peer, a lost connection */
    QBLK_KIND_TIMEOUT,    /* the deadline passed; what was asked may still happen */
    QBLK_KIND_CANCELLED,  /* somebody cancelled it */
    QBLK_KIND_REFUSED     /* not possible in this state; nothing was changed */
} qblk_error_kind;

/* What went wrong, exactly. May grow at the end: keep a default arm. */
typedef enum qblk_error_code {
    QBLK_E_NONE,
    QBLK_E_ARGUMENT,       /* an argument is malformed or contradicts another */
    QBLK_E_MEMORY,         /* out of memory */
    QBLK_E_SYSTEM,         /* a system call failed; errno is in err */
    QBLK_E_DEADLOCK,       /* a blocking call inside a callback */
    QBLK_E_LIMIT,          /* a documented limit of this library would be passed */
    QBLK_E_NO_MONITOR,     /* nothing listens at that path */
    QBLK_E_MONITOR_BUSY,   /* connected, but no greeting: QEMU serves one client a monitor */
    QBLK_E_NOT_QMP,        /* the first bytes are not a QMP greeting */
    QBLK_E_PROTOCOL,       /* the peer broke the protocol later on */
    QBLK_E_LOST,           /* the connection ended */
    QBLK_E_TIMEOUT,        /* a deadline passed */
    QBLK_E_CANCELLED,      /* cancelled */
    QBLK_E_QEMU,           /* QEMU answered a command with an error; see qmp_class */
    QBLK_E_JOB_FAILED,     /* the job ended with an error */
    QBLK_E_JOB_LOST,       /* the job vanished, its outcome cannot be known */
    QBLK_E_UNKNOWN_DISK,   /* no such disk, node or image in a chain */
    QBLK_E_AMBIGUOUS,      /* more than one thing answers to that name */
    QBLK_E_UNKNOWN_JOB,    /* no such job */
    QBLK_E_JOB_STATE,      /* the verb is not allowed in the job's state */
    QBLK_E_BUSY,           /* a job or another user holds the node; another client is at work on the
                            * operation, or makes the target */
    QBLK_E_TARGET_EXISTS,  /* the target has content and its reuse was not asked for */
    QBLK_E_TARGET_INVALID, /* the target cannot serve: format, place, or it is part of the chain */
    QBLK_E_SIZE_MISMATCH,  /* source and target differ in virtual size */
    QBLK_E_UNSUPPORTED,    /* this QEMU cannot do it */
    QBLK_E_HAZARD,         /* it would crash or hang this version of QEMU */
    QBLK_E_JOURNAL,        /* a journal record that this version does not understand */
    QBLK_E_NO_AGENT,       /* no guest agent answers there */
    QBLK_E_AGENT,          /* the guest agent refused a command */
    QBLK_E_FROZEN          /* the guest may be frozen and could not be thawed */
} qblk_error_code;

/* An error by value: nothing to free, usable when memory is gone. */
typedef struct qblk_error {
    qblk_error_kind kind;
    qblk_error_code code;
    int err;             /* the positive errno value of which the call returned the negative */
    char qmp_class[32];  /* QEMU's error class, or "" */
    char job[128];       /* the job concerned, or "" (cut off if longer) */
    char operation[16];  /* the operation's id, or "" */
    char text[1024];     /* for people: what, why, and what to do */
} qblk_error;

/* The stable word for a code as the command prints it in JSON, such as "monitor-busy".
 * Static storage, never NULL. Never blocks. Since: 0.1. */
QBLK_API const char *qblk_error_code_name(qblk_error_code code);

/* The stable word for a kind, such as "refused". Static storage, never NULL. Since: 0.1. */
QBLK_API const char *qblk_error_kind_name(qblk_error_kind kind);

/* The version of the library in use, "0.1.0". Static storage. Since: 0.1. */
QBLK_API const char *qblk_version(void);

QBLK_END_DECLS

#endif
