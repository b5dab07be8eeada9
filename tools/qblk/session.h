/* One connection, and for the verbs that wait: one libev loop with signals and the deadline. */
#ifndef QBLK_TOOL_SESSION_H
#define QBLK_TOOL_SESSION_H

#include <ev.h>

#include "cli.h"

struct session;

/* What a waiting verb wants to hear; each may be NULL, with the effect said. */
struct session_ops {
    /* SIGINT, SIGTERM or SIGHUP. NULL: the loop ends and session_end() ends the process by it. */
    void (*on_signal)(struct session *session, int signo, void *arg);
    /* --timeout, or what session_rearm() set, has passed. NULL: the loop ends, is_timed_out. */
    void (*on_deadline)(struct session *session, void *arg);
    /* An event of QEMU's. */
    void (*on_event)(struct session *session, const char *name, const char *json, void *arg);
    /* It was lost and is being made again; it is there again. NULL: a note says so. */
    void (*on_away)(struct session *session, const qblk_error *error, void *arg);
    void (*on_back)(struct session *session, void *arg);
    /* The connection ended. NULL: the verb hears of it in another way. */
    void (*on_lost)(struct session *session, const qblk_error *error, void *arg);
    /* Nothing is done here but to tell: the loop ends when nobody can hear it. */
    bool ends_with_output;
};

struct session {
    struct cli *cli;
    qblk_monitor *monitor;
    struct ev_loop *loop;
    const struct session_ops *ops;
    void *arg;
    ev_signal signals[3];
    ev_timer deadline;
    bool is_stopped;
    int die_of;        /* the signal to end by, 0 for none */
    bool is_timed_out;
};

/* Without a connection, for a verb that makes its own; ops as below, of which on_event and on_lost
 * are not called. */
void session_begin(struct session *session, struct cli *cli, const struct session_ops *ops,
                   void *arg);

/* Connects and waits for the handshake. ops may be NULL (a verb of blocking calls). On failure
 * there is nothing to end. */
int session_open(struct session *session, struct cli *cli, const struct session_ops *ops, void *arg,
                 qblk_error *error);

/* Makes the loop: from here on signals and the deadline are heard. */
int session_loop(struct session *session, qblk_error *error);
/* Turns it until session_stop(). */
void session_run(struct session *session);
void session_stop(struct session *session);
/* Before a call that blocks, in which nobody would hear a signal: it ends the process meanwhile. */
void session_deafen(struct session *session, bool is_deaf);
/* The deadline again, in ms from now. */
void session_rearm(struct session *session, int64_t ms);

/* Whether a question that has failed for this is to be asked again: the connection was lost
 * meanwhile, and is being made again. What only asks can be asked twice. */
bool session_asks_again(const struct session *session, const qblk_error *error);

/* Closes everything. If a signal is to be died of, this does so; else returns status. */
int session_end(struct session *session, int status);

/* What to say when --timeout has passed or a signal came while only waiting: the error line, and
 * its status. what is what was waited for. */
int session_report_timeout(struct session *session, const char *what);
int session_report_signal(struct session *session, const char *what);

#endif
