/* A guest agent's channel: a UNIX socket on the host behind which qemu-ga listens in the guest.
 *
 * It runs errands, one at a time, and the one rule above all is that a guest that was frozen, or
 * may have been, is thawed: a freeze that did not answer in time is followed by a thaw, a thaw is
 * repeated, on new connections if need be, until the guest says that it is thawed or its limit has
 * passed, and an agent that is freed while the guest may be frozen sends the thaw that nobody will
 * hear the answer to. What cannot be thawed is said in the error and in is_frozen.
 *
 * Nothing here blocks, and time is handed in. The owner waits for fd, events and time as for a
 * monitor's, and calls agent_turn().
 */
#ifndef QBLK_SRC_AGENT_AGENT_H
#define QBLK_SRC_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include <qblk/base.h>

struct agent;

enum agent_errand {
    AGENT_PING,   /* whether somebody answers */
    AGENT_LOOK,   /* what the agent is, and whether the guest is frozen */
    AGENT_HAIL,   /* whether a freeze would be refused, as far as can be told without one */
    AGENT_FREEZE, /* refused if the guest is frozen already: that is somebody else's */
    AGENT_THAW,   /* whatever the state is */
    AGENT_MEND    /* thaws the guest if it is frozen */
};

/* Milliseconds; 0: the default. */
struct agent_limits {
    int answer_ms; /* for the connection and for each answer but a freeze's: 5 seconds */
    int freeze_ms; /* the guest writes out all that is dirty: 3 minutes */
    int thaw_ms;   /* for all attempts of one thaw: 1 minute */
};

/* What an errand has found. */
struct agent_found {
    bool is_frozen;   /* the guest is frozen, or may be */
    bool was_frozen;  /* MEND: it was, before */
    bool can_freeze;  /* LOOK: the agent's administrator allows it */
    int64_t count;    /* FREEZE, THAW, MEND: file systems; -1: not known */
    char version[32]; /* LOOK; "" if the agent does not tell */
};

/* The end of an errand, exactly once, inside agent_turn() and as the last thing in it: the agent
 * may be freed, or sent on another errand. error is NULL if all went well; QBLK_E_NO_AGENT,
 * QBLK_E_AGENT, QBLK_E_BUSY (FREEZE, HAIL: frozen already), QBLK_E_TIMEOUT, QBLK_E_CANCELLED, or, in
 * capitals in its text, QBLK_E_FROZEN: the guest may be frozen and could not be thawed. */
typedef void agent_done_fn(void *arg, const struct agent_found *found, const qblk_error *error);

/* Nothing is opened yet. limits and log may be NULL. */
struct agent *agent_new(const char *path, const struct agent_limits *limits, const struct log *log,
                        qblk_error *error);
/* If the guest may be frozen, sends a thaw and does not wait. The errand under way is not told.
 * NULL is fine. Returns NULL. */
struct agent *agent_free(struct agent *agent);

/* The owner hears that fd is about to be closed, so that it is no longer waited for. */
void agent_on_close(struct agent *agent, void (*fn)(void *arg), void *arg);

/* Begins an errand; there must be none. now as monitor_now_ms() counts. */
void agent_start(struct agent *agent, enum agent_errand errand, int64_t now, agent_done_fn *fn,
                 void *arg);
bool agent_is_busy(const struct agent *agent);
/* A freeze under way is not wanted any more: it ends at once, as QBLK_E_CANCELLED, by a thaw. A HAIL
 * ends so too. */
void agent_give_up(struct agent *agent, int64_t now);
/* Whether the guest is frozen by us, or may be. */
bool agent_is_frozen(const struct agent *agent);

int agent_fd(const struct agent *agent);       /* -1: none just now */
short agent_events(const struct agent *agent); /* as for poll(2) */
int64_t agent_time(const struct agent *agent); /* when agent_turn() is due; -1: never */
void agent_turn(struct agent *agent, int64_t now);

#endif
