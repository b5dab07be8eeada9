#include "wire/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#define FIRST_ROOM 4096     /* the buffer a small message is read into, its NUL included */
#define LEAST_SPACE 1024    /* a read into less than this is not worth a system call */
#define KEEP_ROOM 65536     /* a larger buffer shrinks as soon as most of it is unused */
#define SHOWN_BYTES 40

enum byte_class { OTHER, BLANK, QUOTE, OPEN, CLOSE, BAD };

static enum byte_class class_of(unsigned char c)
{
    switch (c) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return BLANK;
    case '"':
        return QUOTE;
    case '{':
    case '[':
        return OPEN;
    case '}':
    case ']':
        return CLOSE;
    default:
        return c < 0x20 || c >= 0x7f ? BAD : OTHER;
    }
}

void frames_init(struct frames *frames, size_t cap)
{
    memset(frames, 0, sizeof(*frames));
    buf_init(&frames->buf);
    frames->cap = cap;
}

void frames_done(struct frames *frames)
{
    buf_done(&frames->buf);
    frames->start = frames->scan = 0;
}

/* Moves what no message has taken to the front. Only called where that costs no more than was read
 * since the last time: a part of a message is moved once, since it begins at 0 after that. */
static void move_to_front(struct frames *frames)
{
    size_t rest = frames->buf.len - frames->start;

    if (frames->start == 0)
        return;
    buf_drop(&frames->buf, frames->start);
    frames->scan -= frames->start;
    frames->start = 0;
    if (frames->buf.room > KEEP_ROOM && rest < frames->buf.room / 4) {
        size_t room = rest * 2 + FIRST_ROOM;
        char *data = mem_realloc(frames->buf.data, room);

        /* If that failed, a large buffer is no reason to fail. */
        if (data != NULL) {
            frames->buf.data = data;
            frames->buf.room = room;
        }
    }
}

/* Gives memory back where nothing, or little, is kept in it. */
static void tidy(struct frames *frames)
{
    size_t rest = frames->buf.len - frames->start;

    if (rest == 0)
        frames_done(frames);
    else if (frames->buf.room > KEEP_ROOM && rest < frames->buf.room / 4)
        move_to_front(frames);
}

void *frames_space(struct frames *frames, size_t *ret_len)
{
    struct buf *buf = &frames->buf;

    if (buf->len != 0 && frames->start == buf->len)
        frames_done(frames);
    if (buf->room < buf->len + 1 + LEAST_SPACE) {
        move_to_front(frames);
        if (buf->room < buf->len + 1 + LEAST_SPACE &&
            buf_reserve(buf, buf->len < FIRST_ROOM / 2 ? FIRST_ROOM - 1 - buf->len : buf->len) ==
                NULL) {
            buf->failed = 0;
            if (buf->room < buf->len + 2)
                return NULL;
        }
    }
    *ret_len = buf->room - buf->len - 1;
    return buf->data + buf->len;
}

void frames_fed(struct frames *frames, size_t len)
{
    frames->buf.len += len;
    if (frames->buf.data != NULL)
        frames->buf.data[frames->buf.len] = '\0';
    if (len == 0)
        tidy(frames);
}

int frames_feed(struct frames *frames, const void *data, size_t len)
{
    const char *from = data;

    while (len != 0) {
        size_t space;
        void *to = frames_space(frames, &space);

        if (to == NULL)
            return -ENOMEM;
        if (space > len)
            space = len;
        memcpy(to, from, space);
        frames_fed(frames, space);
        from += space;
        len -= space;
    }
    return 0;
}

/* Ends the stream: what is wrong at the byte that is looked at, and that byte and the next ones. */
static int broken_at(struct frames *frames, qblk_error *error, const char *what)
{
    char shown[SHOWN_BYTES + 4];

    frames->is_broken = true;
    return err_set(error, QBLK_E_PROTOCOL, "the peer does not speak QMP: %s: \"%s\"", what,
                   str_show(shown, sizeof(shown), frames->buf.data + frames->scan,
                            frames->buf.len - frames->scan));
}

static int too_large(struct frames *frames, qblk_error *error)
{
    frames->is_broken = true;
    return err_set(error, QBLK_E_PROTOCOL,
                   "the peer sent a message of more than %zu bytes, the most that is accepted here",
                   frames->cap);
}

static int open_bracket(struct frames *frames, unsigned char c, qblk_error *error)
{
    unsigned char bit = (unsigned char)(1u << (frames->depth % 8));

    if (frames->depth == FRAMES_MAX_DEPTH)
        return broken_at(frames, error, "a message nested too deeply, here at");
    if (c == '[')
        frames->squares[frames->depth / 8] |= bit;
    else
        frames->squares[frames->depth / 8] &= (unsigned char)~bit;
    frames->depth++;
    return 0;
}

static int close_bracket(struct frames *frames, unsigned char c, qblk_error *error)
{
    unsigned at = frames->depth - 1;
    bool is_square = frames->squares[at / 8] & (1u << (at % 8));

    if (is_square != (c == ']'))
        return broken_at(frames, error, "a closing bracket that does not match, here at");
    frames->depth = at;
    return 0;
}

/* Looks at bytes inside a string up to its end. */
static int scan_string(struct frames *frames, qblk_error *error)
{
    const char *data = frames->buf.data;
    size_t len = frames->buf.len;

    while (frames->scan < len) {
        unsigned char c;

        if (!frames->is_escaped)
            frames->scan += str_plain(data + frames->scan, len - frames->scan);
        if (frames->scan == len)
            break;
        c = (unsigned char)data[frames->scan];
        if (c < 0x20)
            return broken_at(frames, error, "a control character inside a string, here at");
        frames->scan++;
        if (frames->is_escaped) {
            frames->is_escaped = false;
        } else if (c == '\\') {
            frames->is_escaped = true;
        } else if (c == '"') {
            frames->in_string = false;
            break;
        }
    }
    return 0;
}

/* Looks at bytes until the message is whole (depth 0) or the bytes are used up. */
static int scan_message(struct frames *frames, qblk_error *error)
{
    int r = 0;

    while (r == 0 && frames->scan < frames->buf.len) {
        unsigned char c = (unsigned char)frames->buf.data[frames->scan];

        if (frames->in_string) {
            r = scan_string(frames, error);
            continue;
        }
        switch (class_of(c)) {
        case OPEN:
            r = open_bracket(frames, c, error);
            break;
        case CLOSE:
            r = close_bracket(frames, c, error);
            break;
        case QUOTE:
            frames->in_string = true;
            break;
        case BAD:
            return broken_at(frames, error, "a byte that JSON does not have, here at");
        case OTHER:
        case BLANK:
            break;
        }
        if (r == 0)
            frames->scan++;
        if (frames->depth == 0)
            break;
    }
    return r;
}

int frames_next(struct frames *frames, const char **ret_text, size_t *ret_len, qblk_error *error)
{
    struct buf *buf = &frames->buf;
    int r;

    if (frames->is_broken)
        return err_set(error, QBLK_E_PROTOCOL,
                       "the peer broke the protocol before; the connection cannot be used");
    if (frames->depth == 0) {
        while (frames->scan < buf->len &&
               class_of((unsigned char)buf->data[frames->scan]) == BLANK)
            frames->scan++;
        frames->start = frames->scan;
        if (frames->scan < buf->len && buf->data[frames->scan] != '{')
            return broken_at(frames, error, "instead of a message it sent");
    }
    r = scan_message(frames, error);
    if (r != 0)
        return r;
    if (frames->scan - frames->start > frames->cap)
        return too_large(frames, error);
    if (frames->depth != 0 || frames->scan == frames->start) {
        tidy(frames);
        return 0;
    }
    *ret_text = buf->data + frames->start;
    *ret_len = frames->scan - frames->start;
    frames->start = frames->scan;
    return 1;
}

bool frames_is_partial(const struct frames *frames)
{
    return frames->depth != 0;
}
