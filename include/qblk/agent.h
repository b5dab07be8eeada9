/* qblk/agent.h - the guest agent (qemu-ga), as far as it concerns disks. Manual: libqblk(3).
 *
 * An operation that quiesces the guest speaks to the agent by itself. These calls are for what is
 * left to a person or a script: to see whether an agent answers, and to thaw a guest that a client
 * which died has left frozen. There is no call that only freezes, because nobody would be bound to
 * thaw.
 *
 * path is the UNIX socket of the agent's channel on the host (-chardev socket,path=...,server=on),
 * not a QMP socket. QEMU serves one client of a channel at a time. All calls block, need no
 * monitor, and may be made in any thread.
 */
#ifndef QBLK_AGENT_H
#define QBLK_AGENT_H

#include <qblk/base.h>
#include <qblk/monitor.h>

QBLK_BEGIN_DECLS

typedef struct qblk_agent_options {
    size_t size;
    int answer_ms; /* how long to wait for the connection and for each answer; 0: 5000 */
    int thaw_ms;   /* how long a thaw is repeated until it is answered; 0: 60000 */
    /* As in qblk_monitor_options: it may make no call of the library. */
    void (*on_log)(qblk_log_level level, const char *text, void *arg);
    void *arg;
    int timeout_ms; /* for all of it: QBLK_E_TIMEOUT; 0: no limit but those above */
} qblk_agent_options;

typedef struct qblk_agent_state {
    size_t size;
    bool is_frozen;   /* the guest's file systems are frozen */
    bool can_freeze;  /* the agent takes guest-fsfreeze-freeze; false if it does not tell, and while
                       * the guest is frozen */
    char version[32]; /* of the agent; "" if it does not tell */
} qblk_agent_state;

/* Whether an agent answers: sends guest-sync-delimited and guest-ping. options may be NULL. Blocks
 * for two answers at most. Returns 0; -ENOTCONN, -ENOENT, -ECONNREFUSED and the like
 * (QBLK_E_NO_AGENT: nobody listens or answers there); -EIO (QBLK_E_AGENT: it refused), -EPROTO,
 * -EINVAL, -ETIMEDOUT (timeout_ms has passed). Since: 0.1. */
QBLK_API int qblk_agent_ping(const char *path, const qblk_agent_options *options,
                             qblk_error *error) QBLK_MUST_CHECK;

/* Looks at agent and guest: sends guest-sync-delimited, guest-info and guest-fsfreeze-status. The
 * size of *ret_state is the caller's to set. Blocks for three answers at most. Returns what
 * qblk_agent_ping() does. Since: 0.1. */
QBLK_API int qblk_agent_look(const char *path, const qblk_agent_options *options,
                             qblk_agent_state *ret_state, qblk_error *error) QBLK_MUST_CHECK;

/* Thaws the guest, frozen or not: sends guest-sync-delimited, guest-fsfreeze-thaw and
 * guest-fsfreeze-status, again and on new connections until the guest is thawed. *ret_count (may be
 * NULL) is the number of file systems that the agent says it has thawed. Blocks up to thaw_ms.
 * Returns what qblk_agent_ping() does, or -EIO with QBLK_E_FROZEN: the guest may still be frozen.
 * Since: 0.1. */
QBLK_API int qblk_agent_thaw(const char *path, const qblk_agent_options *options,
                             int64_t *ret_count, qblk_error *error) QBLK_MUST_CHECK;

QBLK_END_DECLS

#endif
