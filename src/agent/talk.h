/* The guest agent's side of the wire without I/O: what is written to it, and which replies are
 * ours.
 *
 * An agent's channel has no greeting, no ids that all versions give back, and no end: what an
 * earlier client asked is answered to whoever listens next, and half a command that it left stands
 * in the agent's parser. So every conversation begins with a byte of 0xFF, which flushes that
 * parser, and guest-sync-delimited with a random id; all that comes is dropped until a byte of 0xFF
 * is followed by the reply with that id. From there replies come in the order of the commands.
 */
#ifndef QBLK_SRC_AGENT_TALK_H
#define QBLK_SRC_AGENT_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "codec/engine.h"
#include "wire/frames.h"

/* The largest reply accepted: guest-info, some 4 kB, is the longest that is asked for. */
#define TALK_REPLY_MAX ((size_t)1 << 20)

struct talk {
    struct frames in;
    struct buf raw;     /* bytes that are not looked at yet */
    struct buf reply;   /* the last one handed out */
    int64_t id;         /* of the sync under way */
    bool is_synced;
    bool is_dropping;   /* until the next 0xFF */
    size_t n_first;
    char first[32];     /* the first bytes of this connection, to say what it is if it is no agent's */
};

void talk_init(struct talk *talk);
void talk_done(struct talk *talk);

/* A new connection: forgets all that came. */
void talk_reset(struct talk *talk);

/* Appends the flush and the sync with that id to out; replies to it and to what is appended after
 * it are waited for from now on. The same id again asks once more: whichever answer comes first
 * counts. */
int talk_sync(struct talk *talk, int64_t id, struct buf *out, qblk_error *error);
/* Appends a command and its line end. */
int talk_command(const struct codec_command *command, const void *args, struct buf *out,
                 qblk_error *error);

/* Bytes from the agent. 0 or -ENOMEM. */
int talk_feed(struct talk *talk, const void *data, size_t len);

/* The next reply that is ours: returns 1 and its text (NUL-terminated, valid until the next call),
 * 0 if more bytes are needed, or a negative errno: QBLK_E_PROTOCOL once synced, -ENOMEM. That the
 * sync itself is answered is seen by is_synced. */
int talk_next(struct talk *talk, const char **ret_reply, qblk_error *error);

/* Whether the peer has greeted like QEMU's own monitor. */
bool talk_is_monitor(const struct talk *talk);

#endif
