/* The inside of a monitor, for the files of this layer and for the operations above it.
 *
 * A monitor owns everything below it: socket, framing, output queue, protocol client, job set, and,
 * as "children" that it does not know closer, the operations that run on it.
 */
#ifndef QBLK_SRC_MONITOR_H
#define QBLK_SRC_MONITOR_H

#include "base/list.h"
#include "base/log.h"
#include "codec/engine.h"
#include "job/set.h"
#include "qmp/client.h"
#include "wire/frames.h"
#include "wire/outq.h"
#include <qblk/qblk.h>

struct ev_attachment;

/* Something that lives on a monitor and must hear of its end. */
struct monitor_child {
    struct list link;
    bool is_due; /* turn() is to run */
    bool is_to_hear; /* of a loss, or a return */
    /* The connection is over. Called once, inside process(). */
    void (*ended)(struct monitor_child *child, const qblk_error *why);
    /* The connection is lost and being made again: replies that were awaited come as QBLK_E_LOST
     * right after this; it is there again. Inside process(). May be NULL. */
    void (*lost)(struct monitor_child *child, const qblk_error *why);
    void (*back)(struct monitor_child *child);
    /* After monitor_ask_turn(): inside process(), so that callbacks may run. May be NULL. */
    void (*turn)(struct monitor_child *child);
    /* An event of QEMU's, inside process(). Remember it, ask for a turn, and call nothing that
     * frees a child. May be NULL. */
    void (*hear)(struct monitor_child *child, const char *name, const char *text);
    /* The monitor is being freed: take yourself out and free yourself. */
    void (*freed)(struct monitor_child *child);
};

/* A descriptor of its own that a child waits for: zeroed, with ready set, then added. Its owner
 * removes it before the descriptor is closed, and before it goes itself; any watch may be removed
 * in any callback. The monitor that has watches hands out another descriptor, which stands for
 * all. */
struct monitor_watch {
    struct list link;
    qblk_monitor *monitor; /* NULL: not added */
    int fd;
    short events;
    bool is_due;
    /* Inside process(), once a turn, so that callbacks may run; there may be nothing to read. Also
     * on a monitor whose connection is over. */
    void (*ready)(struct monitor_watch *watch);
};

/* A time of its own that a child waits for: zeroed, with due set, then set. Owned like a watch. */
struct monitor_timer {
    struct list link;
    bool is_set, is_due;
    int64_t at; /* ms as monitor_now_ms() counts */
    /* Inside process(), once, when the time has come; it may be set again there. Also on a monitor
     * whose connection is over. */
    void (*due)(struct monitor_timer *timer);
};

/* Follows jobs like qblk_jobs_ops does, from inside the library. */
struct job_listener {
    struct list link;
    bool is_new;     /* has not been told of the jobs known so far */
    bool is_removed; /* freed or forgotten once nobody iterates */
    bool is_owned;   /* freed once it is removed and nobody walks the list, or with the monitor */
    void *arg;
    qblk_jobs_ops ops;
};

struct queued_event {
    struct list link;
    size_t len;
    char name[64];
    char text[];
};

/* What every event looks at stands together, from state on: with many monitors each line of memory that
 * an event touches has to be fetched, and each page to be looked up. It stands at the end, as what is
 * allocated next is touched too: the loop's watcher, the set of jobs, a listener. */
struct qblk_monitor {
    char *path;
    bool is_listening;        /* made by _listen: the file at path is ours until the peer comes */
    int64_t connect_deadline; /* ms on the monotonic clock, -1: never */
    int64_t greeting_deadline;
    int64_t negotiation_deadline;
    int64_t retry_at;         /* next attempt to connect */
    int retry_ms;
    bool can_return;          /* made by _connect with reconnect_ms */
    bool is_away;             /* lost, and being made again */
    bool gave_up;

    struct list events;       /* of struct queued_event */
    size_t event_bytes;
    bool events_dropped;
    bool has_gap;             /* the connection was lost since next_event() was last asked */

    bool reading_failed;      /* a reply of the reading under way was an error */
    bool is_synced;           /* the first reading is done */
    int64_t progress_at;

    bool has_features;        /* features.c */
    unsigned features;

    bool *ret_is_gone;        /* of the blocking call under way: told when this is freed */

    qblk_error doom;
    qblk_error why;           /* of the end; while is_away of the loss */
    unsigned n_turns;         /* operations that have had claim_turn() */
    int turn_claim;           /* claim.h; 0: none */

    qblk_monitor_state state;
    int fd;                   /* the connection, or -1 */
    int listener;             /* or -1 */
    int depth;                /* > 0 while callbacks may run */
    int listening_depth;      /* > 0 while the list of job_listeners is walked */
    unsigned readings;        /* replies outstanding of the reading under way */
    int progress_ms;
    bool has_doom;            /* death was found outside process(); it is dealt with there */
    bool has_more;            /* the last turn stopped reading before the socket was empty */
    bool turn_asked;
    bool free_asked;
    bool queue_events;
    bool is_looking;          /* for the node at which a job is stalled */
    struct log log;
    struct job_set *jobs;     /* NULL until tracking begins */
    struct watch_set *watch_set; /* NULL: nothing but the connection is waited for */
    struct ev_attachment *ev;
    struct list job_listeners;
    struct list children;
    struct list timers;       /* of struct monitor_timer */
    struct outq out;
    struct client client;
    struct frames in;
    qblk_monitor_options options;
};

int64_t monitor_now_ms(void);
int64_t monitor_deadline(int timeout_ms); /* -1 for -1 */

/* Sends a command of the schema; fn hears the reply as text. token may be NULL. */
int monitor_call(qblk_monitor *monitor, const struct codec_command *command, const void *args,
                 client_reply_fn *fn, void *arg, uint32_t *ret_token, qblk_error *error);
/* The same for a command that is text already, as codec_command() makes it. */
int monitor_call_text(qblk_monitor *monitor, const char *json, client_reply_fn *fn, void *arg,
                      uint32_t *ret_token, qblk_error *error);
void monitor_abandon(qblk_monitor *monitor, uint32_t token);

/* Turns this one monitor until done() says so, or the deadline or the end of the connection comes.
 * done is asked first, so that what came before the end is not lost. A callback may free the
 * monitor meanwhile: that is -ECONNRESET, every waiter has heard of it, and the monitor is not to
 * be touched. */
int monitor_block(qblk_monitor *monitor, bool (*done)(void *arg), void *arg, int64_t deadline,
                  qblk_error *error);
/* The same, and goes on after the end of the connection while something on the monitor waits for a
 * descriptor or a time. */
int monitor_linger(qblk_monitor *monitor, bool (*done)(void *arg), void *arg, int64_t deadline,
                   qblk_error *error);
/* Whether a blocking call is allowed here. */
int monitor_may_block(const qblk_monitor *monitor, qblk_error *error);
/* The error to give for a dead monitor. */
int monitor_dead(const qblk_monitor *monitor, qblk_error *error);

/* The socket ended or must end; safe anywhere, acted on inside process(). */
void monitor_doom(qblk_monitor *monitor, const qblk_error *why);
void monitor_tell_children(qblk_monitor *monitor, const char *name, const char *text);
/* The children's turn() is to run in the next process(), which is due at once. */
void monitor_ask_turn(qblk_monitor *monitor);
/* Writes what can be written now. */
void monitor_flush(qblk_monitor *monitor);
/* What the loop outside waits for may have changed: fd, events or timeout. */
void monitor_changed(qblk_monitor *monitor);
/* The connection's descriptor (or the listener's), and what it is to be watched for. */
int monitor_own_fd(const qblk_monitor *monitor);
short monitor_own_events(const qblk_monitor *monitor);

/* watch.c. events as for poll(2). Returns 0, or a negative errno (QBLK_E_SYSTEM, QBLK_E_MEMORY)
 * with nothing added. */
int monitor_watch_add(qblk_monitor *monitor, struct monitor_watch *watch, int fd, short events,
                      qblk_error *error);
void monitor_watch_want(struct monitor_watch *watch, short events);
void monitor_watch_remove(struct monitor_watch *watch); /* without effect if it is not added */
void monitor_timer_set(qblk_monitor *monitor, struct monitor_timer *timer, int64_t at);
void monitor_timer_stop(struct monitor_timer *timer);   /* without effect if it is not set */
/* For turn.c, and the last for monitor.c. */
int watch_fd(const qblk_monitor *monitor);
int64_t watch_next_time(const qblk_monitor *monitor);   /* -1: never */
void watch_turn(qblk_monitor *monitor);
void watch_forget_own(qblk_monitor *monitor);           /* before the connection is closed */

void monitor_close(qblk_monitor *monitor); /* the connection's descriptor */

/* For turn.c and block.c. Callbacks may run between the first two; the outermost _leave() frees if
 * that was asked, and returns false if the monitor is gone. */
void monitor_enter(qblk_monitor *monitor);
bool monitor_leave(qblk_monitor *monitor);
/* Everybody who waits hears it, each once, or the connection is made again. Inside process(). */
void monitor_die(qblk_monitor *monitor, const qblk_error *why);
/* The shorter of a timeout in ms and the time left until at; -1: never. */
int monitor_until(int timeout, int64_t at, int64_t now);

/* reconnect.c */
/* Whether the monitor is to live on after that. */
bool reconnect_is_meant(const qblk_monitor *monitor, const qblk_error *why);
void reconnect_begin(qblk_monitor *monitor, const qblk_error *why);
void reconnect_done(qblk_monitor *monitor); /* the handshake is done */
/* The error for a monitor that does not come back, last being why not. */
void reconnect_give_up(qblk_monitor *monitor, const qblk_error *last, qblk_error *ret_why);

/* connect.c */
void connect_retry(qblk_monitor *monitor, int64_t now);
void connect_turn(qblk_monitor *monitor, int64_t now);
void connect_established(qblk_monitor *monitor, int fd);

/* events.c */
void events_keep(qblk_monitor *monitor, const char *name, const char *text, size_t len);
void events_done(qblk_monitor *monitor);

/* jobs.c */
int jobs_start(qblk_monitor *monitor, qblk_error *error);
void jobs_turn(qblk_monitor *monitor, int64_t now); /* readings and progress that are due */
int jobs_timeout(const qblk_monitor *monitor, int64_t now);
void jobs_hangup(qblk_monitor *monitor, const qblk_error *why);
void jobs_lost(qblk_monitor *monitor); /* the connection comes back, perhaps */
void jobs_done(qblk_monitor *monitor);
/* Sends a reading if one is wanted and none is under way. */
void jobs_read(qblk_monitor *monitor, int64_t now);

/* job_events.c: an event of any name; those of jobs are fed to the set. */
void jobs_hear(qblk_monitor *monitor, const char *name, const char *text);

/* listeners.c */
extern const struct job_set_ops listeners_set_ops; /* what the set tells; arg is the monitor */
void jobs_listen(qblk_monitor *monitor, struct job_listener *listener);
void jobs_unlisten(qblk_monitor *monitor, struct job_listener *listener);
void listeners_done(qblk_monitor *monitor);

/* stall.c: finds out at which node a job that is stalled has stopped, once for each stall. */
void stall_look(qblk_monitor *monitor, const qblk_job *job);

/* graphread.c: reads the graph without blocking. Exactly once: a graph, which becomes the
 * callee's, or an error. Not called after the monitor is freed unless abandoned is NULL. */
typedef void graph_read_fn(void *arg, qblk_graph *graph, const qblk_error *error);
struct graph_reading;
int graph_read_start(qblk_monitor *monitor, graph_read_fn *fn, void *arg,
                     struct graph_reading **ret_reading, qblk_error *error);
/* Nobody wants it any more; fn is not called. */
void graph_read_abandon(struct graph_reading *reading);
/* Whether a job is known, in *ret_info, during which this QEMU must not be asked for its nodes. Images that
 * operations are making just now can be left out: a step that asks waits for those. */
bool graph_read_hazard(qblk_monitor *monitor, bool with_creations, qblk_job_info *ret_info);

/* loop_ev.c */
void ev_forget(qblk_monitor *monitor);
void ev_changed(qblk_monitor *monitor); /* see monitor_changed() */

#endif
