/* Bytes in, one whole JSON text at a time out; QMP's framing, without parsing JSON.
 *
 * QEMU ends a message with CR LF, but with pretty=on a message spans lines: so a message ends where
 * its outermost brace closes, and blanks between messages are skipped. Only new bytes are scanned.
 */
#ifndef QBLK_SRC_WIRE_FRAMES_H
#define QBLK_SRC_WIRE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include <qblk/base.h>

#define FRAMES_MAX_DEPTH 2048

struct frames {
    struct buf buf;
    size_t cap;      /* largest message accepted */
    size_t start;    /* first byte that no message has taken */
    size_t scan;     /* first byte not looked at */
    unsigned depth;
    bool in_string;
    bool is_escaped;
    bool is_broken;  /* a protocol error was reported: nothing more comes out */
    unsigned char squares[FRAMES_MAX_DEPTH / 8]; /* bit n: the bracket at depth n is square */
};

void frames_init(struct frames *frames, size_t cap);
void frames_done(struct frames *frames);

/* Room for reading straight into: at least 1 byte, *ret_len of them. NULL: out of memory. The
 * buffer grows with a message and is given back when nothing is left in it, so that an idle
 * connection holds nothing. What could not be read at all is said by frames_fed(frames, 0). */
void *frames_space(struct frames *frames, size_t *ret_len);
void frames_fed(struct frames *frames, size_t len);
/* Both at once, for tests and fuzzers. */
int frames_feed(struct frames *frames, const void *data, size_t len);

/* The next whole message: returns 1 and its text (an object's first to last brace, not
 * NUL-terminated, valid until the next frames_* call), 0 if more bytes are needed, or the negative
 * errno of QBLK_E_PROTOCOL: a byte that cannot begin a message or stand in one, brackets that do
 * not match, too deep, a message above the cap. The error's text shows the bytes. */
int frames_next(struct frames *frames, const char **ret_text, size_t *ret_len, qblk_error *error);

/* Whether a part of a message is waiting for its rest. */
bool frames_is_partial(const struct frames *frames);

#endif
