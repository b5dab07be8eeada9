/* What agent.c (the connection) and errand.c (what is asked, and what the answers mean) share. */
#ifndef QBLK_SRC_AGENT_AGENT_PRIV_H
#define QBLK_SRC_AGENT_AGENT_PRIV_H

#include "agent/agent.h"
#include "agent/talk.h"
#include "wire/outq.h"

/* The answer that is waited for. */
enum agent_question { ASK_NOTHING, ASK_SYNC, ASK_PING, ASK_INFO, ASK_STATUS, ASK_FREEZE, ASK_THAW };

struct agent {
    char *path;
    struct agent_limits limits;
    struct log log;
    void (*closing)(void *arg);
    void *closing_arg;

    int fd;              /* or -1 */
    struct talk talk;
    struct outq out;
    int64_t retry_at;    /* the next attempt to connect; -1: none is to be made */
    int64_t refused_at;  /* since when nobody listens; -1: not so */
    bool has_connected, has_synced; /* ever */

    bool is_busy;
    enum agent_errand errand;
    agent_done_fn *fn;
    void *arg;
    enum agent_question asked;
    int64_t limit_at;    /* for the answer; -1: none is waited for */
    bool is_unsent;      /* there was no memory for the question */
    bool is_thawing;     /* on the way back: the thaw is sent until it is answered */
    int64_t thaw_until;
    bool is_frozen;      /* the guest is, or may be */
    struct agent_found found;
    qblk_error cause;    /* what a freeze failed of, while the guest is thawed */
    qblk_error thaw_error; /* what the last attempt to thaw failed of */
    bool is_over;        /* fn is to be told */
    qblk_error error;    /* with this; QBLK_E_NONE: all went well */
};

/* agent.c */
/* False: no memory. */
bool agent_send(struct agent *agent, const struct buf *text);
/* The connection cannot be used any more. */
void agent_hang_up(struct agent *agent);
/* The errand is over. */
void agent_finish(struct agent *agent, const qblk_error *error);

/* errand.c */
void agent_begin(struct agent *agent, int64_t now);
/* There is a connection: asks what is to be asked first. */
void agent_connected(struct agent *agent, int64_t now);
/* The sync was answered. */
void agent_synced(struct agent *agent, int64_t now);
void agent_reply(struct agent *agent, const char *reply, int64_t now);
/* The connection failed, or what came over it made no sense; it is closed. */
void agent_broken(struct agent *agent, const qblk_error *error, int64_t now);
/* limit_at has passed. */
void agent_late(struct agent *agent, int64_t now);
/* Thaws, and then ends the errand with that error; NULL: with what the thaw comes to. */
void agent_thaw(struct agent *agent, const qblk_error *cause, int64_t now);
/* The bytes that thaw a guest, sync and all. */
int agent_thaw_text(struct agent *agent, struct buf *out);

#endif
