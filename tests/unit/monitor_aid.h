/* What the tests of the monitor share: a peer in this process, one in a child, counts. */
#ifndef QBLK_TESTS_MONITOR_AID_H
#define QBLK_TESTS_MONITOR_AID_H

#include <sys/types.h>

#include <qblk/qblk.h>

/* A monitor whose peer is the test itself, so that each byte comes when the test wants it. */
struct local {
    int peer;
    qblk_monitor *monitor;
};

/* Connected, nothing said yet. options may be NULL. */
void local_start(struct local *local, const qblk_monitor_options *options);
/* The same with the handshake done. */
void local_ready(struct local *local, const qblk_monitor_options *options);
void local_greet(struct local *local);
/* Answers qmp_capabilities. */
void local_negotiate(struct local *local);
/* Puts text into the monitor's socket; does not turn the monitor. */
void local_say(struct local *local, const char *text);
/* Everything that the monitor wrote since the last call, as a string of a static buffer. */
const char *local_heard(struct local *local);
/* The reply to the last command of what was heard, in a static buffer: with its id, if it has one.
 * result is JSON. */
const char *local_reply(const char *heard, const char *result);
/* Turns the monitor once. Returns what process() does. */
int local_turn(struct local *local);
void local_hang_up(struct local *local);
void local_end(struct local *local);

/* A monitor of a scripted peer in a child (see fake/qmp_server.h), ready. */
qblk_monitor *scripted(const char *script, const qblk_monitor_options *options, pid_t *ret_pid);
/* The child has played its script to the end. */
void script_ended(pid_t pid);

/* Calls of each callback, and the order of them as a string: R ready, E event, X end, r release. */
struct seen {
    int ready, events, ends, releases;
    char order[64];
    qblk_error end;
    char last_event[64];
    char free_in; /* the letter of the callback that frees the monitor */
};
qblk_monitor_options seen_options(struct seen *seen);

/* Ends of commands, by qblk_monitor_send(). */
struct told {
    int n;
    qblk_error error;
    char reply[256]; /* "" if it was an error */
    bool frees;      /* the callback frees the monitor */
};
void told_reply(qblk_monitor *monitor, const char *reply, const qblk_error *error, void *arg);

int count_fds(void);

#endif
