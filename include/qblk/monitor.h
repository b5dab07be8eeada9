/* qblk/monitor.h - one connection to one QMP monitor. Manual: libqblk(3).
 *
 * A monitor is made by one of the three _connect, _adopt, _listen calls, none of which waits for
 * QEMU. It then does its work inside qblk_monitor_process(), which a loop calls when the monitor's
 * descriptor is ready or its time has come: bring your own loop with the four functions below, use
 * qblk/ev.h, or use the blocking calls, which turn a private loop on this one monitor.
 */
#ifndef QBLK_MONITOR_H
#define QBLK_MONITOR_H

#include <qblk/base.h>

QBLK_BEGIN_DECLS

typedef enum qblk_monitor_state {
    QBLK_MONITOR_CONNECTING,  /* no connection yet: waiting for the socket or for QEMU to call */
    QBLK_MONITOR_GREETING,    /* connected, the greeting has not come */
    QBLK_MONITOR_NEGOTIATING, /* qmp_capabilities sent */
    QBLK_MONITOR_READY,       /* commands are answered, events come */
    QBLK_MONITOR_DEAD,        /* over; qblk_monitor_free() is all that is left */
    QBLK_MONITOR_AWAY         /* lost after it was ready, and being made again (reconnect_ms) */
} qblk_monitor_state;

/* Each may be NULL. Order: on_ready at most once, on_event any number of times, on_end at most
 * once (not if the user frees the monitor first), release exactly once and last. */
typedef struct qblk_monitor_ops {
    size_t size;
    /* The handshake is done. */
    void (*on_ready)(qblk_monitor *monitor, void *arg);
    /* Every event, jobs' too. json is QEMU's text of the whole message, borrowed for the call. */
    void (*on_event)(qblk_monitor *monitor, const char *name, const char *json, void *arg);
    /* The connection is over; error says why (QBLK_E_LOST for an ordinary end). */
    void (*on_end)(qblk_monitor *monitor, const qblk_error *error, void *arg);
    void (*release)(void *arg);
} qblk_monitor_ops;

typedef enum qblk_log_level { QBLK_LOG_TRACE, QBLK_LOG_DEBUG } qblk_log_level;

typedef struct qblk_monitor_options {
    size_t size;
    int wait_ms;             /* _connect: how long to wait for the socket to appear; 0: not at
                              * all, -1: for ever */
    int greeting_ms;         /* how long to wait for the greeting before the monitor is called
                              * busy; 0: 1000, -1: for ever */
    /* Limits of what a peer can make the monitor hold; a buffer may take twice its limit while it
     * grows, and a message of many small elements ten times its size while it is read. Of jobs, see
     * qblk_jobs_track(). Idle, a monitor holds a few KiB. */
    size_t max_message;      /* largest message accepted, bytes; 0: 64 MiB */
    size_t max_output;       /* most bytes waiting to be written; 0: 64 MiB */
    size_t max_events;       /* most bytes of events kept for qblk_monitor_next_event(); 0: 64
                              * MiB */
    bool queue_events;       /* keep events for qblk_monitor_next_event() from the start */
    bool oob;                /* ask for out-of-band execution where it is offered */
    qblk_monitor_ops ops;    /* ops.size may stay 0 if none is set */
    void *arg;               /* handed to every callback of ops and to on_log */
    /* The one log: TRACE is every message in and out, DEBUG every change of state. It may run
     * inside any call of the library, and may make none itself. */
    void (*on_log)(qblk_log_level level, const char *text, void *arg);
    int negotiation_ms;      /* how long qmp_capabilities may take; 0: 30000, -1: for ever */
    int reconnect_ms;        /* _connect: for how long a connection that was ready and is lost is
                              * tried to be made again, each time; 0: not at all, -1: for ever. See
                              * below */
    /* The connection is lost, error says why, and is being made again; it is there again. */
    void (*on_lost)(qblk_monitor *monitor, const qblk_error *error, void *arg);
    void (*on_back)(qblk_monitor *monitor, void *arg);
} qblk_monitor_options;

/* A connection that comes back. With reconnect_ms a loss does not end the monitor: its state is
 * AWAY while it is tried again, first after 5 ms, then after twice as long each time, up to a
 * second. QEMU may be the same or another one at the same path. Nothing is sent a second time:
 * every command that had not been answered ends with QBLK_E_LOST, and whether QEMU carried it out
 * has to be looked up; commands given while the monitor is away wait until it is back. Jobs are
 * read anew: one that has ended meanwhile ends with its outcome if QEMU still knows it, and as
 * QBLK_OUTCOME_LOST if it does not. Events that QEMU sent meanwhile are gone;
 * qblk_monitor_next_event() says so once, by -ENOBUFS. If reconnect_ms pass, or something else than
 * QMP answers, the monitor ends as always, by on_end. */

/* Starts connecting to the UNIX socket at path. Never blocks. Sends (later) qmp_capabilities.
 * options may be NULL. Returns 0; -ENAMETOOLONG (path over 107 bytes), -EINVAL, -ENOENT or
 * -ECONNREFUSED (nothing there and wait_ms is 0), -ENOMEM. On failure ops.release has run (if the
 * sizes are set). The monitor is the caller's, to be ended by qblk_monitor_free(). Since: 0.1. */
QBLK_API int qblk_monitor_connect(qblk_monitor **ret_monitor, const char *path,
                                  const qblk_monitor_options *options,
                                  qblk_error *error) QBLK_MUST_CHECK;

/* The same over a stream socket that is connected already. fd becomes the monitor's, on failure
 * too. Never blocks. Since: 0.1. */
QBLK_API int qblk_monitor_adopt(qblk_monitor **ret_monitor, int fd,
                                const qblk_monitor_options *options,
                                qblk_error *error) QBLK_MUST_CHECK;

/* Listens at path and takes the first peer that connects: for QEMU started as the client
 * (-chardev socket,path=...,server=off). wait_ms is how long to wait for it (0: for ever). The
 * socket file is made by this call and removed once the peer has come or the monitor is freed; an
 * existing file is an error (-EADDRINUSE). Never blocks. Since: 0.1. */
QBLK_API int qblk_monitor_listen(qblk_monitor **ret_monitor, const char *path,
                                 const qblk_monitor_options *options,
                                 qblk_error *error) QBLK_MUST_CHECK;

/* Blocking connect: qblk_monitor_connect() and then qblk_monitor_wait_ready(). timeout_ms: -1 for
 * ever. Returns what these two return. Since: 0.1. */
QBLK_API int qblk_monitor_open(qblk_monitor **ret_monitor, const char *path, int timeout_ms,
                               const qblk_monitor_options *options,
                               qblk_error *error) QBLK_MUST_CHECK;

/* Ends the connection and frees everything of it: every waiter and operation hears QBLK_E_LOST
 * once, then the releases run. QEMU and its jobs go on; nothing is sent. From inside a callback
 * the freeing happens when the outermost process() returns. NULL is fine. Returns NULL.
 * Since: 0.1. */
QBLK_API qblk_monitor *qblk_monitor_free(qblk_monitor *monitor);

QBLK_API qblk_monitor_state qblk_monitor_get_state(const qblk_monitor *monitor);

/* QEMU's version from the greeting as major * 1000000 + minor * 1000 + micro, 0 before it came.
 * For showing; what this QEMU can do is asked of its schema. Since: 0.1. */
QBLK_API unsigned qblk_monitor_qemu_version(const qblk_monitor *monitor);

/* Why the monitor is dead; NULL while it is not. Borrowed. Since: 0.1. */
QBLK_API const qblk_error *qblk_monitor_why(const qblk_monitor *monitor);

/* ---- bring your own loop --------------------------------------------------------------------
 * Before each turn ask for fd, events and timeout anew (the descriptor changes when a connection
 * is made, and while an operation speaks to a guest agent too); after it call process() with what
 * poll(2) reported, 0 if only the time has come. */

/* The descriptor to watch, -1 if there is none just now. Owned by the monitor. Since: 0.1. */
QBLK_API int qblk_monitor_fd(const qblk_monitor *monitor);
/* POLLIN and POLLOUT as wanted. Since: 0.1. */
QBLK_API short qblk_monitor_events(const qblk_monitor *monitor);
/* Milliseconds until process() must be called whatever the descriptor does; -1: never. */
QBLK_API int qblk_monitor_timeout(const qblk_monitor *monitor);
/* Reads, writes, and runs callbacks; never blocks. Returns 0 while the monitor lives, else the
 * negative errno of its end, and the same again when called once more. May be called at any time;
 * inside a callback it does nothing and returns 0. Since: 0.1. */
QBLK_API int qblk_monitor_process(qblk_monitor *monitor, short revents, qblk_error *error);

/* ---- blocking ------------------------------------------------------------------------------ */

/* Waits for the handshake. Returns 0; -ETIMEDOUT; -EBUSY (no greeting: the monitor is busy);
 * -EPROTO (not QMP); -ECONNRESET. Since: 0.1. */
QBLK_API int qblk_monitor_wait_ready(qblk_monitor *monitor, int timeout_ms,
                                     qblk_error *error) QBLK_MUST_CHECK;

/* Runs one command and waits for its reply. arguments is a JSON object as text, or NULL. The reply
 * is QEMU's whole message as text, {"return": ...} or {"error": ...}, integers and all, without
 * the id that this library put in; it is the caller's. Returns 0 when a reply came, an error reply
 * too (*error is then left alone); -EINVAL (not JSON, nothing sent); -ETIMEDOUT (the reply, should
 * it come later, is dropped); -ECONNRESET, -EPROTO. Since: 0.1. */
QBLK_API int qblk_monitor_execute(qblk_monitor *monitor, const char *command,
                                  const char *arguments, int timeout_ms, char **ret_reply,
                                  qblk_error *error) QBLK_MUST_CHECK;

/* The same with the whole command as text: {"execute": ..., "arguments": ..., "id": ...}. An id of
 * the caller's is put back into the reply. fd (or -1) goes along by SCM_RIGHTS; it stays the
 * caller's and may be closed as soon as the call returns. Since: 0.1. */
QBLK_API int qblk_monitor_command(qblk_monitor *monitor, const char *json, int fd, int timeout_ms,
                                  char **ret_reply, qblk_error *error) QBLK_MUST_CHECK;

/* Takes the next event whose name matches one of patterns (shell wildcards; NULL: any), waiting up
 * to timeout_ms (0: not at all, but the socket is read; -1: for ever). Events that do not match
 * stay queued, in order. The first call turns queueing on if options did not. Returns 1 and the
 * event's text, the caller's; 0 if none came in time; -ENOBUFS once if events had to be dropped at
 * max_events; -ECONNRESET or -EPROTO, only after every queued match was taken. Since: 0.1. */
QBLK_API int qblk_monitor_next_event(qblk_monitor *monitor, const char *const *patterns,
                                     int timeout_ms, char **ret_json,
                                     qblk_error *error) QBLK_MUST_CHECK;

/* ---- not blocking -------------------------------------------------------------------------- */

/* Exactly once for every command that was accepted: with the reply as qblk_monitor_command()
 * gives it (borrowed for the call), or with NULL and error. */
typedef void qblk_reply_fn(qblk_monitor *monitor, const char *reply, const qblk_error *error,
                           void *arg);

/* Queues a command; on_reply hears the end. fd as above. May be called before the monitor is
 * ready. Returns 0; -EINVAL (not a JSON command); -EMSGSIZE (max_output); on a dead
 * monitor the errno of its end (-ECONNRESET, -EPROTO). Since: 0.1. */
QBLK_API int qblk_monitor_send(qblk_monitor *monitor, const char *json, int fd,
                               qblk_reply_fn *on_reply, void *arg,
                               qblk_error *error) QBLK_MUST_CHECK;

/* Passes fd to QEMU now, ahead of the command that will name it (getfd, add-fd); a copy is made,
 * so the caller may close its own at once. Returns 0; -EBADF; -EBUSY: before the monitor is ready, or
 * while commands wait to be sent, which it would overtake (qblk_monitor_send() takes one along); or the
 * errno of a dead monitor's end. Since: 0.1. */
QBLK_API int qblk_monitor_send_fd(qblk_monitor *monitor, int fd, qblk_error *error) QBLK_MUST_CHECK;

QBLK_END_DECLS

#endif
