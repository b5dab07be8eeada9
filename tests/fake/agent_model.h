/* A model of qemu-ga: bytes in, bytes out, and a guest that is frozen or not. It parses and answers as
 * version 7.2 does, also the complaint about each 0xFF.
 *
 * Rules make it go wrong: "COMMAND=ACTION", each good for one call of the command, in order; with
 * "*" before the command for all of them.
 *
 *   error:TEXT   refuses
 *   disabled     refuses as for a command that the administrator has blocked
 *   ignore       does nothing and says nothing
 *   mute         does it and says nothing
 *   late         does it, and answers when the next command comes
 *   close        closes the connection instead
 *   half         does it, answers with half a reply, and closes the connection
 *   garbage      does it and answers with what is no JSON
 *   number       does it and answers with 77
 *   huge         does it and answers with 2 MB
 *   stays        answers as usual and does nothing
 */
#ifndef QBLK_TESTS_FAKE_AGENT_MODEL_H
#define QBLK_TESTS_FAKE_AGENT_MODEL_H

#include <stdbool.h>

#include "base/buf.h"

#define AGENT_MODEL_RULES 32

struct agent_model {
    bool is_frozen;
    bool closes;         /* the connection is to be closed once out is written */
    struct buf in;       /* half a command */
    struct buf out;      /* to be written; the user empties it */
    struct buf late;
    struct buf asked;    /* the commands that came, without "guest-", blanks between */
    const char *rules[AGENT_MODEL_RULES];
    int n_rules;
};

void agent_model_init(struct agent_model *model);
void agent_model_done(struct agent_model *model);
/* The text is borrowed. */
void agent_model_rule(struct agent_model *model, const char *rule);
/* False if that is no rule. */
bool agent_model_is_rule(const char *rule);
void agent_model_feed(struct agent_model *model, const void *data, size_t len);
/* The client has gone; what it left half-said stays. */
void agent_model_left(struct agent_model *model);

#endif
