/* What one message from the peer is. */
#ifndef QBLK_SRC_QMP_MSG_H
#define QBLK_SRC_QMP_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include <qblk/base.h>

enum msg_kind { MSG_GREETING, MSG_RETURN, MSG_ERROR, MSG_EVENT };

/* A piece of the message's text. */
struct msg_span {
    const char *text;
    size_t len; /* 0: not there */
};

struct msg {
    enum msg_kind kind;
    const char *text; /* the whole message */
    size_t len;
    struct msg_span id;        /* value of "id", as text */
    struct msg_span id_member; /* the member with the comma that goes with it: cut it out and the
                                * rest is the message without id */
    char event[64];            /* name of an event, cut off if longer */
    unsigned version;          /* of a greeting: major * 1000000 + minor * 1000 + micro */
    bool has_oob;              /* of a greeting */
};

/* Checks the whole text by the codec's JSON policy and says what it is. The spans point into text.
 * Returns 0, or the negative errno of QBLK_E_PROTOCOL (not JSON by our policy, or none of the four
 * kinds) or of QBLK_E_MEMORY. */
int msg_read(struct msg *ret_msg, const char *text, size_t len, qblk_error *error);

/* Class and text of an error message, into a qblk_error of code QBLK_E_QEMU. */
void msg_error(const struct msg *msg, qblk_error *error);

/* Appends the message without its id; if id.len is not 0, that id is put in at the end. */
int msg_without_id(const struct msg *msg, struct msg_span id, struct buf *out);

/* Checks a command that the user wrote: one JSON object with "execute" (or "exec-oob") that QEMU's
 * parser can take (nesting, tokens, size), so that a reply without an id can never be meant for it.
 * Returns 0 and the parts; QBLK_E_ARGUMENT otherwise. ret_body: everything but the id, appended,
 * ready to take ,"id":N} at its end: it is an object's text without the closing brace. */
int msg_check_command(const char *json, struct buf *ret_body, struct msg_span *ret_id,
                      bool *ret_is_oob, qblk_error *error);

#endif
